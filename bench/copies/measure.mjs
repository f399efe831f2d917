// How often a payload is copied on its way through a durable session: `measure.mjs [--gateway PATH] [--messages 200]
// [--sizes 512,1024] [--text] [--fragments 1] [--most COPIES] [-- FLAGS OF THE GATEWAY]`. The replica says each message in
// so many fragments.
//
// The gateway runs with `count.c` in front of the system's memcpy (needs `cc` and glibc), which knows payloads by their
// looks. Prints a table in Markdown, and fails if a payload was copied more often than it may.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { WebSocket as Durable } from "../../sdk/typescript/dist/longhaul.mjs";

const { WebSocket, WebSocketServer } = createRequire(new URL("../../tests/e2e/package.json", import.meta.url))("ws");
const { values, positionals } = parseArgs({
  options: {
    gateway: { type: "string", default: "target/release/longhaul" },
    messages: { type: "string", default: "200" },
    fragments: { type: "string", default: "1" },
    most: { type: "string", default: "Infinity" },
    text: { type: "boolean", default: false },
    sizes: { type: "string", default: "16,128,512,1024,16384,65536,262144" },
  },
  allowPositionals: true,
});

const QUEUE_BYTES = 8 << 20;
const isText = values.text;
const counter = join(mkdtempSync(join(tmpdir(), "longhaul-copies-")), "count.so");
// Without builtins, or the compiler would have memcpy call itself.
const flags = ["-O2", "-shared", "-fPIC", "-fno-builtin", "-fno-tree-loop-distribute-patterns", "-o", counter];
execFileSync("cc", [...flags, fileURLToPath(new URL("count.c", import.meta.url))]);

/** Masks with a key of one letter, as `count.c` expects it. */
class Masking extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { generateMask: (mask) => mask.fill(0x11) });
  }
}

/** Bytes of payloads that the gateway copied while so many messages went one way, one after the other or all at once. */
async function copied(direction, size, count, isBurst) {
  const payload = isText ? "x".repeat(size) : Buffer.alloc(size, "x");
  const say = (socket) => {
    const fragment = Math.ceil(size / Number(values.fragments));
    for (let at = 0; at < size; at += fragment) {
      socket.send(payload.slice(at, at + fragment), { fin: at + fragment >= size });
    }
  };
  let received = 0;
  let told = () => {};
  const server = createServer();
  new WebSocketServer({ server, perMessageDeflate: false }).on("connection", (socket) => {
    socket.on("message", async (data) => {
      if (direction === "up") {
        received += 1;
        // A short answer, so that the next one goes out alone.
        if (!isBurst || received === count) socket.send(".");
        return;
      }
      if (data.toString() === "more") say(socket);
      else for (let sent = 0; sent < count; sent++) say(socket);
    });
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const words = ["run", "--listen", "127.0.0.1:0", "--upstream", `127.0.0.1:${server.address().port}`, ...positionals];
  const gateway = spawn(values.gateway, words, {
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, LD_PRELOAD: counter },
  });
  let log = "";
  const port = await new Promise((resolve, reject) => {
    gateway.on("error", reject);
    gateway.stderr.on("data", (text) => {
      log += text;
      const found = /listening on 127\.0\.0\.1:(\d+)/.exec(log);
      if (found) resolve(found[1]);
    });
  });
  const options = { WebSocket: Masking, require: true, insist: true };
  const socket = new Durable(`ws://127.0.0.1:${port}/`, [], options);
  socket.binaryType = "arraybuffer";
  await new Promise((resolve) => (socket.onopen = resolve));
  let heard = 0;
  socket.onmessage = () => ((heard += 1), told());
  const answered = (wanted) => new Promise((resolve) => (told = () => heard >= wanted && resolve()));
  if (isBurst) {
    const all = answered(direction === "up" ? 1 : count);
    if (direction === "up") for (let sent = 0; sent < count; sent++) socket.send(payload);
    else socket.send("all");
    await all;
  } else {
    for (let sent = 0; sent < count; sent++) {
      const one = answered(sent + 1);
      socket.send(direction === "up" ? payload : "more");
      await one;
    }
  }
  const closed = new Promise((resolve) => (socket.onclose = resolve));
  socket.close(1000);
  await closed;
  gateway.kill();
  await once(gateway, "close");
  server.close();
  server.closeAllConnections();
  const total = /copied (\d+) bytes of payloads/.exec(log);
  if (!total) throw new Error(`nothing was said of copies:\n${log.slice(-2000)}`);
  return Number(total[1]);
}

const count = Number(values.messages);
let most = 0;
const row = (cells) => console.log(`| ${cells.join(" | ")} |`);
row(["payload", "client to replica", "the same, many at once", "replica to client", "the same, many at once"]);
row(Array(5).fill("---"));
for (const size of values.sizes.split(",").map(Number)) {
  const cells = [];
  for (const direction of ["up", "down"]) {
    for (const isBurst of [false, true]) {
      // All at once, they have to fit the client's queue.
      const messages = isBurst ? Math.min(count, Math.floor(QUEUE_BYTES / size)) : count;
      const bytes = await copied(direction, size, messages, isBurst);
      most = Math.max(most, bytes / messages / size);
      cells.push((bytes / messages / size).toFixed(2));
    }
  }
  row([`${size} B`, ...cells]);
}
if (most > Number(values.most)) throw new Error(`a payload was copied ${most} times`);
if (most === 0) throw new Error("payloads that are never copied were not recognised");
console.log("done");
process.exit(0);
