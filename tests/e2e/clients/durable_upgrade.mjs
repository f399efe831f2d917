// The TypeScript client in Node before an echo server, until TERM: `durable_upgrade.mjs URL [CLIENTS]`.
//
// Each client sends numbers for as long as it is let, and wants each echo once and in order. Prints `ready` when all
// have heard one, and at the end `N messages, M resumed`, then `done`. It trusts whoever answers.
import assert from "node:assert/strict";
import { once } from "node:events";
import WebSocket from "ws";
import { WebSocket as Durable } from "../../../sdk/typescript/dist/longhaul.mjs";

const [url, clients = "4"] = process.argv.slice(2);
/** Numbers under way at once. */
const AHEAD = 16;
let isOver = false;
process.on("SIGTERM", () => (isOver = true));

class Trusting extends WebSocket {
  constructor(address, protocols) {
    super(address, protocols, { rejectUnauthorized: false });
  }
}

const options = { WebSocket: Trusting, require: true, insist: true, retry: { first: 10, delays: [10, 20, 50] } };

async function run(client, heard) {
  const socket = new Durable(`${url}/echo?${client}`, [], options);
  let [sent, next, resumed] = [0, 0, 0];
  socket.onresumed = () => (resumed += 1);
  let complete;
  const completed = new Promise((resolve, reject) => {
    complete = resolve;
    socket.onclose = ({ code, reason }) => reject(new Error(`client ${client}: closed ${code} ${reason} after ${next}`));
  });
  const say = () => {
    while (!isOver && sent < next + AHEAD) socket.send(`${sent++};${"é".repeat(sent % 200)}`);
    if (isOver && next === sent) complete();
  };
  socket.onmessage = ({ data }) => {
    assert.ok(data.startsWith(`${next};`), `client ${client}: ${data} in the place of ${next}`);
    next += 1;
    heard();
    // A pause, so that there is somebody else's turn on a small machine.
    if (next === sent) setTimeout(say, 2);
  };
  await once(socket, "open");
  say();
  await completed;
  socket.onclose = null;
  socket.close(3000, `client ${client}`);
  const [{ code, wasClean }] = await once(socket, "close");
  assert.deepEqual([code, wasClean], [3000, true]);
  return { next, resumed };
}

const waiting = new Set(Array.from({ length: Number(clients) }, (_, client) => client));
const runs = [...waiting].map((client) =>
  run(client, () => {
    if (waiting.delete(client) && waiting.size === 0) console.log("ready");
  }),
);
const all = await Promise.all(runs);
const sum = (what) => all.reduce((total, one) => total + one[what], 0);
console.log(`${sum("next")} messages, ${sum("resumed")} resumed`);
console.log("done");
