// The TypeScript client in Node before an echo server: `durable_node.mjs HOST:PORT [CLIENTS MESSAGES]`.
//
// Each client sends its messages over links that are cut after some thousand bytes, and wants each echo once and
// in order. Prints what it counted, then `done`.
import assert from "node:assert/strict";
import { once } from "node:events";
import WebSocket from "ws";
import { WebSocket as Durable } from "../../../sdk/typescript/dist/longhaul.mjs";
import { cutterBefore } from "./cutter.mjs";

const [address, clients = "20", messages = "500"] = process.argv.slice(2);
const total = Number(messages);
const cutter = await cutterBefore(address, () => 500 + Math.random() * 60_000);
const options = { WebSocket, require: true, insist: true, retry: { first: 10, delays: [10, 20, 50] } };

/** Text or bytes, short or in several chunks, by its number. */
function message(number) {
  const text = `${number};${"é€😀x".repeat(number % 50 === 0 ? 4000 : number % 20)}`;
  return number % 3 ? text : Buffer.from(text);
}

async function run(client) {
  const socket = new Durable(`ws://${cutter.address}/echo?${client}`, [], options);
  socket.binaryType = "arraybuffer";
  const lost = [];
  const resumed = [];
  socket.onstatechange = () => (socket.state === "resuming" ? lost.push(performance.now()) : undefined);
  socket.onresumed = () => resumed.push(performance.now() - lost.at(-1));
  let next = 0;
  const complete = new Promise((resolve, reject) => {
    socket.onclose = ({ code, reason }) => reject(new Error(`client ${client}: closed ${code} ${reason} after ${next}`));
    socket.onmessage = ({ data }) => {
      const expected = message(next);
      assert.equal(typeof data === "string", typeof expected === "string", `client ${client}, echo ${next}`);
      const got = typeof data === "string" ? data : Buffer.from(data).toString();
      assert.equal(got, expected.toString(), `client ${client}, echo ${next}`);
      if (++next === total) resolve();
    };
  });
  await once(socket, "open");
  for (let number = 0; number < total; number++) {
    socket.send(message(number));
    if (number % 10 === 9) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await complete;
  socket.onclose = null;
  socket.close(3000, `client ${client}`);
  const [{ code, wasClean }] = await once(socket, "close");
  assert.deepEqual([code, wasClean], [3000, true]);
  return resumed;
}

const resumed = (await Promise.all(Array.from({ length: Number(clients) }, (_, client) => run(client)))).flat();
assert.ok(resumed.length >= Number(clients), `only ${resumed.length} links were replaced: this proved nothing`);
resumed.sort((one, other) => one - other);
const at = (share) => Math.round(resumed[Math.floor(share * (resumed.length - 1))]);
console.log(`${clients} clients, ${clients * total} messages echoed once and in order over ${cutter.cuts} cuts`);
console.log(`resumed ${resumed.length} times, after ${at(0.5)} ms at the median and ${at(0.99)} ms at p99`);
cutter.stop();
console.log("done");
