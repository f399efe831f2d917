// The npm package `ws` as a client of an echo server: `echo.mjs ws://HOST:PORT`.
// Prints one line for each group of cases and `done` at the end; any difference throws.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import WebSocket from "ws";

const base = process.argv[2];
const sizes = [0, 1, 125, 126, 127, 65535, 65536, 1 << 20, 64 << 20];
const codes = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999];

async function open(path, { protocols = [], deflate = false } = {}) {
  const socket = new WebSocket(base + path, protocols, {
    perMessageDeflate: deflate,
    maxPayload: 256 << 20,
    handshakeTimeout: 30_000,
  });
  await once(socket, "open");
  return socket;
}

async function echoes(socket, message) {
  const binary = typeof message !== "string";
  socket.send(message);
  const [answer, isBinary] = await once(socket, "message");
  assert.equal(isBinary, binary);
  assert.ok(answer.equals(Buffer.from(message)), `${message.length} came back different`);
}

async function closed(socket) {
  const [code] = await once(socket, "close");
  return code;
}

for (const deflate of [false, true]) {
  const socket = await open("/echo", { deflate });
  assert.equal(socket.extensions, deflate ? "permessage-deflate" : "");
  for (const size of deflate ? sizes.slice(0, -1) : sizes) {
    await echoes(socket, randomBytes(size));
    await echoes(socket, "é".repeat(size >> 1) + (size & 1 ? "x" : ""));
  }
  socket.close(1000);
  assert.equal(await closed(socket), 1000);
  console.log(`sizes: deflate ${deflate}`);
}

const fragmented = await open("/echo");
fragmented.send("one, ", { fin: false });
fragmented.send("", { fin: false });
fragmented.send("two, ", { fin: false });
fragmented.send("three");
assert.equal((await once(fragmented, "message"))[0].toString(), "one, two, three");
fragmented.ping("are you there");
assert.equal((await once(fragmented, "pong"))[0].toString(), "are you there");
fragmented.close();
console.log("fragments: joined as sent, and a ping");

const chosen = await open("/echo", { protocols: ["chat.v1", "chat.v2"] });
assert.equal(chosen.protocol, "chat.v2");
chosen.close();
console.log("subprotocols: chosen by the server");

for (const code of codes) {
  const byServer = await open(`/close?code=${code}&reason=server${code}`);
  byServer.send("now");
  const [seen, reason] = await once(byServer, "close");
  assert.deepEqual([seen, reason.toString()], [code, `server${code}`]);
  const byClient = await open("/echo");
  byClient.close(code, `client${code}`);
  assert.equal(await closed(byClient), code);
}
console.log(`close: ${codes.length} codes both ways`);
console.log("done");
