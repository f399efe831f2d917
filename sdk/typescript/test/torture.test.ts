// Real sockets through a proxy that cuts at any byte: nothing may be lost, repeated or reordered.
//
// `SEED=n` replays the cuts' places; the kernel's part of the story stays its own.

import assert from "node:assert/strict";
import { test } from "node:test";
import { WebSocket as Ws } from "ws";
import { DurableWebSocket, type WebSocketConstructor } from "../src/index.js";
import { Cutter } from "./support/cutter.js";
import type { Owner } from "./support/owner.js";
import { Random } from "./support/random.js";
import { TestServer } from "./support/server.js";
import { until } from "./support/wait.js";

const CLIENTS = 12;
const MESSAGES = 400;

/** Says its number, and is text or bytes, long or short, by it. */
function message(number: number): string | Uint8Array {
  const text = `${number};${"é€😀x".repeat(number % 7 === 0 ? 900 : number % 5)}`;
  return number % 3 ? text : new Uint8Array(Buffer.from(text));
}

const text = (data: string | ArrayBuffer | Uint8Array) =>
  typeof data === "string" ? data : Buffer.from(data as ArrayBuffer).toString();

test("twelve clients lose their links thousands of bytes apart and miss nothing", async () => {
  const seed = Number(process.env.SEED ?? Date.now() % 1e9);
  const random = new Random(seed);
  const server = await TestServer.start({ chunk: 1000, win: [20_000, 50] });
  const cutter = await Cutter.before(server.port, () => random.within(200, 60_000));
  const sessions: { owner: Owner; down: string[] }[] = [];
  server.onSession = (owner) => {
    const down: string[] = [];
    sessions.push({ owner, down });
    // The backend talks of its own accord: what it says does not depend on what it hears.
    const talk = setInterval(() => {
      const next = message(down.length);
      down.push(text(next));
      owner.push(next, performance.now());
      if (down.length === MESSAGES) clearInterval(talk);
    }, 2);
  };
  const clients = Array.from({ length: CLIENTS }, (_, client) => {
    const socket = new DurableWebSocket(`ws://127.0.0.1:${cutter.port}/durable?${client}`, [], {
      WebSocket: Ws as unknown as WebSocketConstructor,
      insist: true,
      require: true,
      window: [30_000, 40],
      retry: { first: 5, delays: [5, 10, 20], lasted: 100 },
    });
    socket.binaryType = "arraybuffer";
    const got: string[] = [];
    socket.onmessage = ({ data }) => got.push(text(data));
    socket.onopen = () => {
      let sent = 0;
      const talk = setInterval(() => {
        socket.send(message(sent++));
        if (sent === MESSAGES) clearInterval(talk);
      }, 2);
    };
    return { socket, got };
  });
  const expected = Array.from({ length: MESSAGES }, (_, number) => text(message(number)));
  const complete = (list: unknown[]) => list.length >= MESSAGES;
  try {
    await until(`everything arrived (SEED=${seed})`, () => {
      if (server.faults.length) throw server.faults[0];
      return (
        clients.every(({ got }) => complete(got)) &&
        server.gateway.owners.filter((owner) => complete(owner.delivered)).length === CLIENTS
      );
    });
    for (const { got } of clients) assert.deepEqual(got, expected, `b2c (SEED=${seed})`);
    for (const { owner } of sessions.filter((session) => session.owner.delivered.length)) {
      assert.deepEqual(owner.delivered.map(text), expected, `c2b (SEED=${seed})`);
    }
    const resumed = clients.reduce((sum, { socket }) => sum + socket.resumed, 0);
    assert.ok(resumed >= CLIENTS, `only ${resumed} resumes: this proved nothing`);
    console.log(`${cutter.cuts} cuts, ${resumed} resumes, ${2 * CLIENTS * MESSAGES} messages`);
    await Promise.all(
      clients.map(async ({ socket }) => {
        socket.close(3001, "done");
        await until("the close", () => socket.readyState === 3);
      }),
    );
  } finally {
    for (const { socket } of clients) socket.close();
    cutter.stop();
    await server.stop();
  }
});
