// What becomes of messages while every link is cut: `compare.mjs --gateway PATH [--clients 500] [--messages 2000]
// [--pause 100] [--life 1000-10000] [--only durable,plain,socketio] [--log FILE]`, the file for the gateway's log.
//
// Each client sends numbered messages to an echo server, through a proxy that resets every connection after a
// random time. Both ends write down what they got. Prints a table in Markdown, and what it was run with.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { WebSocket as Durable } from "../../sdk/typescript/dist/longhaul.mjs";
import { cutterBefore } from "../../tests/e2e/clients/cutter.mjs";

const require = createRequire(new URL("../../tests/e2e/package.json", import.meta.url));
const { WebSocket, WebSocketServer } = require("ws");
const { Server } = require("socket.io");
const { io } = require("socket.io-client");

const { values } = parseArgs({
  options: {
    gateway: { type: "string", default: "target/release/longhaul" },
    clients: { type: "string", default: "500" },
    messages: { type: "string", default: "2000" },
    pause: { type: "string", default: "100" },
    life: { type: "string", default: "1000-10000" },
    log: { type: "string" },
    only: { type: "string", default: "durable,plain,socketio" },
  },
});
const [clients, messages, pause] = [values.clients, values.messages, values.pause].map(Number);
const [shortest, longest] = values.life.split("-").map(Number);
const RETRY_MS = 20; // Each kind of client tries again after 10 to 30 ms, so that only the rest is compared.
const QUIET_MS = 5_000; // Whoever cannot know that something is missing is done once nothing has come for so long.

/** What one end got of one client's messages. */
class Ledger {
  seen = new Set();
  count = 0;
  outOfOrder = 0;
  #last = -1;
  note(number) {
    this.count += 1;
    if (this.seen.has(number)) return;
    this.seen.add(number);
    if (number < this.#last) this.outOfOrder += 1;
    this.#last = Math.max(this.#last, number);
  }
}

const ledgers = () => Array.from({ length: clients }, () => new Ledger());
const listening = async (server) => (server.listen(0, "127.0.0.1"), await once(server, "listening"), server.address().port);
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const clientOf = (text) => text.split(":").map(Number);

async function echoServer(up) {
  const http = createServer();
  new WebSocketServer({ server: http }).on("connection", (socket) => {
    socket.on("error", () => {});
    socket.on("message", (data) => {
      const text = data.toString();
      const [client, number] = clientOf(text);
      up[client].note(number);
      socket.send(text);
    });
  });
  return { port: await listening(http), stop: () => (http.close(), http.closeAllConnections()) };
}

/**
 * Each kind gives: a port to cut before, `open(address, client, hear, lost, back)` that returns `{ send, close }`,
 * and `stop`. */
const kinds = {
  async durable(up) {
    const server = await echoServer(up);
    const flags = ["run", "--listen", "127.0.0.1:0", "--upstream", `127.0.0.1:${server.port}`];
    const gateway = spawn(values.gateway, flags, { stdio: ["ignore", "pipe", "pipe"] });
    const port = await new Promise((resolve, reject) => {
      gateway.on("error", reject);
      for (const stream of [gateway.stdout, gateway.stderr]) {
        stream.on("data", (text) => {
          if (values.log) appendFileSync(values.log, text);
          const found = /listening on 127\.0\.0\.1:(\d+)/.exec(text);
          if (found) resolve(Number(found[1]));
        });
      }
    });
    const options = { WebSocket, require: true, insist: true, retry: { first: RETRY_MS, delays: [RETRY_MS] } };
    const open = (address, client, hear, lost, back) => {
      const socket = new Durable(`ws://${address}/`, [], options);
      socket.onmessage = ({ data }) => hear(data);
      socket.onstatechange = () => socket.state === "resuming" && lost();
      socket.onresumed = back;
      socket.onclose = ({ code }) => code !== 1000 && console.error(`client ${client} was closed with ${code}`);
      const opened = new Promise((resolve) => (socket.onopen = resolve));
      return { opened, send: (text) => socket.send(text), close: () => socket.close(1000) };
    };
    return { port, open, stop: () => (gateway.kill(), server.stop()) };
  },

  /** As careful as a page that keeps what it cannot send, and joins again. */
  async plain(up) {
    const server = await echoServer(up);
    const open = (address, client, hear, lost, back) => {
      let socket, isOver = false, wasLost = false;
      const queue = [];
      const connect = () => {
        socket = new WebSocket(`ws://${address}/`);
        socket.onmessage = ({ data }) => hear(data);
        socket.onerror = () => {};
        socket.onopen = () => {
          if (wasLost) back();
          wasLost = false;
          for (const text of queue.splice(0)) socket.send(text);
        };
        socket.onclose = () => {
          if (isOver) return;
          if (!wasLost) lost();
          wasLost = true;
          setTimeout(connect, RETRY_MS * (0.5 + Math.random()));
        };
      };
      connect();
      const send = (text) => (socket.readyState === WebSocket.OPEN ? socket.send(text) : queue.push(text));
      return { send, close: () => ((isOver = true), socket.close()) };
    };
    return { port: server.port, open, stop: server.stop };
  },

  async socketio(up) {
    const http = createServer();
    const server = new Server(http, { connectionStateRecovery: { maxDisconnectionDuration: 120_000 } });
    server.on("connection", (socket) => {
      socket.on("say", (text) => {
        const [client, number] = clientOf(text);
        up[client].note(number);
        socket.emit("said", text);
      });
    });
    const open = (address, client, hear, lost, back) => {
      const delays = { reconnectionDelay: RETRY_MS, reconnectionDelayMax: RETRY_MS, randomizationFactor: 0.5 };
      const socket = io(`http://${address}`, { transports: ["websocket"], forceNew: true, ...delays });
      let wasLost = false;
      socket.on("said", hear);
      socket.on("disconnect", () => ((wasLost = true), lost()));
      socket.on("connect", () => wasLost && back());
      return { send: (text) => socket.emit("say", text), close: () => socket.off("disconnect").close() };
    };
    return { port: await listening(http), open, stop: () => server.close() };
  },
};

async function run(kind) {
  const [up, down] = [ledgers(), ledgers()];
  const { port, open, stop } = await kinds[kind](up);
  let isCalm = false;
  const life = () => (isCalm ? Infinity : shortest + Math.random() * (longest - shortest));
  const cutter = await cutterBefore(`127.0.0.1:${port}`, undefined, life);
  const resumed = [];
  const began = performance.now();
  let heardAt = began;
  const sockets = Array.from({ length: clients }, (_, client) => {
    let lostAt = 0;
    return open(
      cutter.address,
      client,
      (text) => ((heardAt = performance.now()), down[client].note(clientOf(text)[1])),
      () => (lostAt = performance.now()),
      () => resumed.push(performance.now() - lostAt),
    );
  });
  const talk = async (socket, client) => {
    await socket.opened;
    await wait(Math.random() * pause);
    for (let number = 0; number < messages; number++) {
      socket.send(`${client}:${number}:${"x".repeat(number % 100)}`);
      await wait(pause);
    }
  };
  await Promise.all(sockets.map(talk));
  isCalm = true;
  const isWhole = () => down.every((ledger) => ledger.seen.size === messages);
  while (!isWhole() && performance.now() - heardAt < QUIET_MS) await wait(100);
  const took = (performance.now() - began) / 1000;
  const cuts = cutter.cuts;
  sockets.forEach((socket) => socket.close());
  await wait(500);
  cutter.stop();
  stop();
  const sum = (all, pick) => all.reduce((total, ledger) => total + pick(ledger), 0);
  const doubled = (all) => sum(all, (ledger) => ledger.count - ledger.seen.size);
  const [arrived, returned] = [up, down].map((all) => sum(all, (ledger) => ledger.seen.size));
  resumed.sort((one, other) => one - other);
  const at = (share) => `${Math.round(resumed[Math.floor(share * (resumed.length - 1))] ?? NaN)} ms`;
  return [
    kind, took.toFixed(0) + " s", clients * messages * 2, cuts,
    clients * messages - arrived, arrived - returned,
    doubled(up) + doubled(down), sum([...up, ...down], (ledger) => ledger.outOfOrder), at(0.5), at(0.99),
  ];
}

const rows = [];
for (const kind of values.only.split(",")) rows.push(await run(kind));
const row = (cells) => `| ${cells.join(" | ")} |`;
console.log(`${process.argv.slice(2).join(" ")} on ${cpus().length} × ${cpus()[0].model}, Node ${process.version}\n`);
console.log(row(["client", "took", "messages", "cuts", "lost up", "lost down", "doubled", "out of order", "back p50", "back p99"]));
console.log(row(Array(10).fill("---")));
rows.forEach((cells) => console.log(row(cells)));
process.exit(0);
