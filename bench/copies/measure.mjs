// How often a payload is copied on its way through a durable session: `measure.mjs [--gateway PATH] [--messages 200]
// [-- FLAGS OF THE GATEWAY]`.
//
// The gateway runs with `count.c` in front of the system's memcpy (needs `cc`, on x86-64). Each case is run with two
// counts of messages and with payloads of one byte as well, and the difference is what a byte takes. Prints a table in
// Markdown.
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
    sizes: { type: "string", default: "512,1024,16384,65536,262144" },
  },
  allowPositionals: true,
});

const counter = join(mkdtempSync(join(tmpdir(), "longhaul-copies-")), "count.so");
// Without builtins, or the compiler would have memcpy call itself.
const flags = ["-O2", "-shared", "-fPIC", "-fno-builtin", "-fno-tree-loop-distribute-patterns", "-o", counter];
execFileSync("cc", [...flags, fileURLToPath(new URL("count.c", import.meta.url))]);

/** Bytes that the gateway copied while so many messages went one way, one after the other or all at once. */
async function copied(direction, size, count, isBurst) {
  const payload = Buffer.alloc(size, "x");
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
      if (data.toString() === "more") socket.send(payload);
      else for (let sent = 0; sent < count; sent++) socket.send(payload);
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
  const options = { WebSocket, require: true, insist: true };
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
  const total = /copied (\d+) bytes/.exec(log);
  if (!total) throw new Error(`nothing was said of copies:\n${log.slice(-2000)}`);
  return Number(total[1]);
}

const count = Number(values.messages);
const row = (cells) => console.log(`| ${cells.join(" | ")} |`);
row(["payload", "client to replica", "replica to client", "the same, many in one read"]);
row(Array(4).fill("---"));
for (const size of values.sizes.split(",").map(Number)) {
  const cells = [];
  for (const [direction, isBurst] of [["up", false], ["down", false], ["down", true]]) {
    // An empty payload takes what is not the payload's: heads, books, tokens.
    const each = [];
    for (const bytes of [size, 1]) {
      const less = await copied(direction, bytes, count, isBurst);
      const more = await copied(direction, bytes, 3 * count, isBurst);
      each.push((more - less) / (2 * count));
    }
    cells.push(((each[0] - each[1]) / (size - 1)).toFixed(2));
  }
  row([`${size} B`, ...cells]);
}
process.exit(0);
