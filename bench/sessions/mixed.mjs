// Clients of three kinds at once while every link is cut: `mixed.mjs [--clients 500] [--messages 1000] [--pause 250]
// [--life 1000-10000] [--kinds chromium,node,rust] [--gateway PATH] [--rust PATH]`.
//
// Each client sends numbered messages to an echo server, through a proxy that resets every connection after a
// random time. Server and clients write down what they got. Prints a table in Markdown; fails when anything is missing,
// came twice or came out of order.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { cutterBefore } from "../../tests/e2e/clients/cutter.mjs";

const { WebSocketServer } = createRequire(new URL("../../tests/e2e/package.json", import.meta.url))("ws");
const { values } = parseArgs({
  options: {
    gateway: { type: "string", default: "target/release/longhaul" },
    rust: { type: "string", default: "target/release/examples/many" },
    clients: { type: "string", default: "500" },
    messages: { type: "string", default: "1000" },
    pause: { type: "string", default: "250" },
    life: { type: "string", default: "1000-10000" },
    kinds: { type: "string", default: "chromium,node,rust" },
  },
});
const [clients, messages, pause] = [values.clients, values.messages, values.pause].map(Number);
const [shortest, longest] = values.life.split("-").map(Number);
const retry = 20; // Each client tries again after 10 to 30 ms, so that the rest of the way back shows.
const here = (name) => fileURLToPath(new URL(`clients/${name}`, import.meta.url));
const programs = {
  chromium: [process.execPath, here("chromium.mjs")],
  node: [process.execPath, here("node.mjs")],
  rust: [values.rust],
};

// ---- the server: echoes, and writes down what came up ----

const up = Array.from({ length: clients }, () => ({ seen: new Set(), doubled: 0, outOfOrder: 0, last: -1 }));
let arrived = 0;
function note(text) {
  const [client, number] = text.split(":").map(Number);
  const ledger = up[client];
  arrived += 1;
  if (ledger.seen.has(number)) ledger.doubled += 1;
  else if (number < ledger.last) ledger.outOfOrder += 1;
  ledger.seen.add(number);
  ledger.last = Math.max(ledger.last, number);
}
const http = createServer((_, answer) => answer.end("an echo server"));
new WebSocketServer({ server: http }).on("connection", (socket) => {
  socket.on("error", () => {});
  socket.on("message", (data) => {
    const text = data.toString();
    note(text);
    socket.send(text);
  });
});
await once(http.listen(0, "127.0.0.1"), "listening");

// ---- the gateway, and the proxy that cuts ----

const flags = ["run", "--listen", "127.0.0.1:0", "--upstream", `127.0.0.1:${http.address().port}`];
const gateway = spawn(values.gateway, flags, { stdio: ["ignore", "pipe", "pipe"] });
const port = await new Promise((resolve, reject) => {
  gateway.on("error", reject);
  for (const stream of [gateway.stdout, gateway.stderr]) {
    stream.on("data", (text) => {
      const found = /listening on 127\.0\.0\.1:(\d+)/.exec(text);
      if (found) resolve(found[1]);
    });
  }
});
const isCalm = () => arrived >= clients * messages;
const life = () => (isCalm() ? Infinity : shortest + Math.random() * (longest - shortest));
const cutter = await cutterBefore(`127.0.0.1:${port}`, undefined, life);

// ---- the clients ----

const kinds = values.kinds.split(",");
const began = performance.now();
let given = 0;
const runs = kinds.map(async (kind, index) => {
  const [first, count] = [given, Math.floor((clients - given) / (kinds.length - index))];
  given += count;
  const task = { address: cutter.address, first, count, messages, pause, retry };
  const [program, ...before] = programs[kind];
  const child = spawn(program, [...before, JSON.stringify(task)], { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  child.stdout.on("data", (text) => (said += text));
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`clients of kind ${kind} ended with ${code}: ${said}`);
  return { kind, first, count, ...JSON.parse(said) };
});
const ticker = setInterval(() => {
  const s = ((performance.now() - began) / 1000).toFixed(0);
  console.error(`${s} s: ${arrived} of ${clients * messages} up, ${cutter.cuts} cuts`);
}, 10_000);
let results;
try {
  results = await Promise.all(runs);
} finally {
  clearInterval(ticker);
  gateway.kill();
}
const took = ((performance.now() - began) / 1000).toFixed(0);

// ---- what became of the messages ----

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
const row = (cells) => console.log(`| ${cells.join(" | ")} |`);
console.log(`${process.argv.slice(2).join(" ")} on ${cpus().length} × ${cpus()[0].model}, Node ${process.version}`);
console.log(`\n${took} s, ${cutter.cuts} connections cut\n`);
row(["clients", "messages", "lost up", "lost down", "doubled", "out of order", "resumed", "back p50", "back p99"]);
row(Array(9).fill("---"));
let faults = 0;
for (const { kind, first, count, lost, doubled, outOfOrder, closed, resumed } of results) {
  const ledgers = up.slice(first, first + count);
  const lostUp = sum(ledgers.map((ledger) => messages - ledger.seen.size));
  const twice = doubled + sum(ledgers.map((ledger) => ledger.doubled));
  const disorder = outOfOrder + sum(ledgers.map((ledger) => ledger.outOfOrder));
  if (closed.length > 0) console.error(`${kind}: sessions were closed with ${closed.join(", ")}`);
  faults += lostUp + lost + twice + disorder + closed.length;
  resumed.sort((one, other) => one - other);
  const at = (share) => `${(resumed[Math.floor(share * (resumed.length - 1))] ?? NaN).toFixed(0)} ms`;
  row([`${count} ${kind}`, 2 * count * messages, lostUp, lost - lostUp, twice, disorder, resumed.length, at(0.5), at(0.99)]);
}
process.exit(faults === 0 ? 0 : 1);
