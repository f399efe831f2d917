// The socket as an application in Node has it, over real connections made by the package `ws`.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { Server } from "socket.io";
import { WebSocket as Ws } from "ws";
import { BufferFull, DurableWebSocket, install, type Options, type WebSocketConstructor } from "../src/index.js";
import { Cutter } from "./support/cutter.js";
import { TestServer } from "./support/server.js";
import { next, until } from "./support/wait.js";

const platform = Ws as unknown as WebSocketConstructor;
let server: TestServer;
let cutter: Cutter;

before(async () => {
  server = await TestServer.start();
  cutter = await Cutter.before(server.port);
});
after(async () => {
  cutter.stop();
  await server.stop();
  assert.deepEqual(server.faults, []);
});

const dial = (path: string, options: Options = {}, protocols: string[] = []) =>
  new DurableWebSocket(`ws://127.0.0.1:${cutter.port}${path}`, protocols, {
    WebSocket: platform,
    retry: { first: 5, delays: [10] },
    ...options,
  });

async function open(path: string, options: Options = {}, protocols: string[] = []) {
  const socket = dial(path, options, protocols);
  await next(socket, "open");
  return socket;
}

async function echoed(socket: DurableWebSocket, text: string): Promise<unknown> {
  const answer = next<MessageEvent>(socket, "message");
  socket.send(text);
  return (await answer).data;
}

test("a cut is not seen by the application, only by those who ask", async () => {
  const socket = await open("/durable", {}, ["chat"]);
  assert.equal(socket.protocol, "chat");
  const states: string[] = [];
  socket.onstatechange = () => states.push(socket.state);
  assert.equal(await echoed(socket, "before"), "before");
  cutter.cut();
  assert.equal(await echoed(socket, "after"), "after");
  assert.equal(socket.resumed, 1);
  assert.deepEqual(states, ["resuming", "live"]);
  socket.close();
  const { wasClean } = await next<CloseEvent>(socket, "close");
  assert.equal(wasClean, true);
});

for (const [name, path, protocols] of [
  ["a server that knows no subprotocol", "/plain", []],
  ["a server that picks the application's subprotocol", "/plain", ["chat"]],
  ["a server that echoes whatever is offered first", "/naive", []],
] as const) {
  test(`without a gateway it is a plain WebSocket: ${name}`, async () => {
    const socket = await open(path, {}, [...protocols]);
    assert.equal(socket.state, "plain");
    assert.equal(socket.protocol, protocols[0] ?? "");
    assert.equal(await echoed(socket, "hello"), "hello");
    cutter.cut();
    const { code, wasClean } = await next<CloseEvent>(socket, "close");
    assert.deepEqual([code, wasClean], [1006, false]);
  });
}

test("where a gateway is required, nothing else will do", async () => {
  for (const path of ["/plain", "/naive"]) {
    const socket = dial(path, { require: true });
    const { code } = await next<CloseEvent>(socket, "close");
    assert.ok(code === 1006 || code === 4900, String(code));
  }
});

test("a patient client waits for its first connection", async () => {
  cutter.isClosed = true;
  const before = cutter.cuts;
  const socket = dial("/durable", { insist: true });
  await until("two tries", () => cutter.cuts >= before + 2);
  cutter.isClosed = false;
  await next(socket, "open");
  socket.close();
});

test("a full queue throws, or closes where nobody would catch it", async () => {
  cutter.cut();
  const throws = await open("/durable", { window: [100, 10], queue: [1000, 10], retry: { first: 5, delays: [50] } });
  const closes = await open("/durable", { window: [100, 10], queue: [1000, 10], overflow: "close" });
  cutter.isClosed = true;
  cutter.cut();
  await until("the loss", () => throws.state === "resuming" && closes.state === "resuming");
  for (const socket of [throws, closes]) for (let count = 0; count < 6; count++) socket.send("x".repeat(100));
  assert.throws(() => throws.send("x".repeat(501)), BufferFull);
  assert.equal(throws.readyState, 1);
  assert.equal(throws.bufferedAmount, 600);
  closes.send("x".repeat(501));
  assert.equal(closes.readyState, 2);
  cutter.isClosed = false;
  const { wasClean, code } = await next<CloseEvent>(closes, "close");
  assert.deepEqual([code, wasClean], [1009, false]);
  await until("the queue went", () => throws.bufferedAmount === 0);
  throws.close();
});

test("a message that the gateway would never take is refused at once", async () => {
  const socket = await open("/durable");
  assert.throws(() => socket.send(new Uint8Array((1 << 20) + 1)), RangeError);
  assert.equal(await echoed(socket, "still fine"), "still fine");
  socket.close();
});

test("messages whose fate is unknown are reported as what they were", async () => {
  const socket = await open("/durable");
  const owner = server.gateway.owners.at(-1)!;
  owner.onMessage = (_, now) => owner.event({ leg: 2, reason: "crash", uncertain: [1, 1] }, now);
  const reported = next<Event & { messages: unknown[] }>(socket, "uncertain");
  socket.send("transfer 100");
  const { messages } = await reported;
  assert.deepEqual(messages, ["transfer 100"]);
  assert.equal(socket.uncertain, 1);
  socket.close();
});

test("socket.io-client goes through it, found on the global object like the platform's", async () => {
  const uninstall = install({ WebSocket: platform, retry: { first: 5, delays: [10] } });
  const http = createServer();
  const io = new Server(http);
  io.on("connection", (peer) => peer.on("ask", (text, answer) => answer(`${text}!`)));
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  // Both read the global object when they are loaded.
  const { WebSocket: Transport } = await import("engine.io-client");
  const { io: connect } = await import("socket.io-client");
  const client = connect(`http://127.0.0.1:${(http.address() as AddressInfo).port}`, { transports: [Transport as any] });
  try {
    assert.equal(await client.timeout(30_000).emitWithAck("ask", "hello"), "hello!");
    const inner = (client.io.engine.transport as any).ws;
    assert.ok(inner instanceof DurableWebSocket);
    assert.equal(inner.state, "plain");
  } finally {
    client.disconnect();
    await io.close();
    uninstall();
  }
});

test("what is shipped is small and needs nothing", () => {
  const root = join(new URL(".", import.meta.url).pathname, "../..");
  for (const file of ["dist/longhaul.js", "dist/longhaul.mjs"]) {
    const bytes = gzipSync(readFileSync(join(root, file)), { level: 9 }).length;
    assert.ok(bytes < 8192, `${file}: ${bytes} bytes gzipped`);
    console.log(`${file}: ${bytes} bytes gzipped`);
  }
  const injected = readFileSync(join(root, "../../crates/longhaul-gateway/assets/longhaul.js"), "utf8");
  assert.equal(injected, readFileSync(join(root, "dist/longhaul.js"), "utf8"), "npm run inject gives it to the gateway");
  const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  assert.equal(dependencies, undefined);
});
