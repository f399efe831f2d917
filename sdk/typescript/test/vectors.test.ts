// The protocol's vectors (protocol/vectors), as far as a client plays a part in them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { readResumed, readWelcome } from "../src/control.js";
import { Fault, type Item, parse, parseEnd, type Payload, sizeOf } from "../src/grammar.js";
import { Incoming } from "../src/incoming.js";
import { policyOf } from "../src/options.js";
import { Outgoing } from "../src/outgoing.js";
import type { Output } from "../src/output.js";
import { Session } from "../src/session.js";

const FOLDER = join(import.meta.dirname ?? new URL(".", import.meta.url).pathname, "../../../../protocol/vectors");

interface Case {
  name: string;
  [field: string]: any;
}

function vectors(file: string): Case[] {
  const { cases } = JSON.parse(readFileSync(join(FOLDER, file), "utf8"));
  assert.ok(cases.length, `${file} has no cases`);
  return cases;
}

const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, "hex"));
const data = (opcode: string, hex: string): Payload =>
  opcode === "text" ? Buffer.from(hex, "hex").toString() : bytes(hex);
const hex = (payload: Payload) => Buffer.from(payload as string).toString("hex");

/** A window and sizes that are in nobody's way. */
const WELCOME = {
  t: "welcome", sid: "s", token: "k.t", link: 1, protocol: null, win: [1 << 20, 1 << 20],
  max_msg: 1 << 20, chunk: 16_384, hb: 5000, grace: 120_000, class: "node", resume_url: null,
};

function readAs(item: Item): object {
  switch (item.kind) {
    case "m":
      return { kind: "message", seq: item.seq, payload: hex(item.body) };
    case "n":
      return { kind: "chunk", seq: item.seq, payload: hex(item.body) };
    case "e":
      return { kind: "event", seq: item.seq, payload: hex(item.body) };
    case "x":
      return { kind: "end", seq: item.seq, ...parseEnd(item.body as string) };
    case "a":
      return { kind: "ack", seq: item.seq };
    case "p":
      return { kind: "ping", nonce: item.nonce };
    case "q":
      return { kind: "pong", nonce: item.nonce };
    case "{":
      return { kind: "control" };
  }
}

/** The code that reading ends with, or 0. */
function faultOf(read: () => unknown): number {
  try {
    read();
    return 0;
  } catch (fault) {
    assert.ok(fault instanceof Fault, String(fault));
    return fault.code;
  }
}

// The grammar is that of both directions, but for an `e`, which a client never reads from a client.
for (const { name, from, opcode, hex: frame, item, fault } of vectors("items.json")) {
  if (from === "client" && name.includes("event")) continue;
  test(`item: ${name}`, () => {
    if (fault) assert.equal(faultOf(() => parse(data(opcode, frame))), fault);
    else assert.deepEqual(readAs(parse(data(opcode, frame))), item);
  });
}

/** A session with a link that has just been answered. */
function live(): { session: Session; outputs: () => Output[] } {
  const session = new Session("ws://gateway/", [], policyOf({ require: true }), () => 0);
  const outputs = () => {
    const all: Output[] = [];
    for (let output = session.poll(); output; output = session.poll()) all.push(output);
    return all;
  };
  session.start(0);
  session.opened(1, "longhaul.v1", 0);
  session.received(1, JSON.stringify(WELCOME), 0);
  outputs();
  return { session, outputs };
}

for (const { name, from, opcode, text, fault } of vectors("control.json")) {
  if (from !== "server") continue;
  test(`control: ${name}`, () => {
    const frame = opcode === "text" ? text : new Uint8Array(Buffer.from(text));
    const { t } = JSON.parse(text);
    if (t === "welcome" && !fault) return void readWelcome(JSON.parse(text));
    if (t === "resumed" && !fault) return void readResumed(JSON.parse(text));
    const { session, outputs } = live();
    session.received(1, frame, 1);
    const shut = outputs().find(([deed]) => deed === "shut");
    assert.equal(shut?.[2] ?? 0, fault ?? { goaway: 4000, reset: 1000 }[t as string] ?? 0);
  });
}

for (const { name, opcode, payload, first, chunk, items } of vectors("chunks.json")) {
  test(`chunks: ${name}`, () => {
    const outgoing = new Outgoing();
    outgoing.allow({ ...WELCOME, win: [1 << 20, 1 << 20], chunk }, [1 << 20, 1 << 20]);
    for (let seq = 1; seq < first; seq++) outgoing.push("");
    outgoing.start();
    const message = data(opcode, payload);
    outgoing.push(message, sizeOf(message));
    assert.deepEqual(outgoing.start().map(({ frame }) => hex(frame)), items);
  });
}

for (const { name, recv, link, limits, steps } of vectors("receive.json")) {
  test(`receive: ${name}`, () => {
    const incoming = new Incoming();
    incoming.allow({ ...WELCOME, win: [1, 1], ...limits });
    incoming.recv = recv;
    for (const { opcode, hex: frame, then } of steps) {
      let outcome: unknown;
      const fault = faultOf(() => {
        const item = parse(data(opcode, frame));
        assert.ok("seq" in item && "body" in item);
        if (!incoming.isNext(item)) return (outcome = "drop");
        const { message } = incoming.accept(item);
        if (item.kind === "x") {
          const { code, reason } = parseEnd(item.body as string);
          outcome = { end: code, reason };
        } else if (item.kind === "e") outcome = { event: hex(item.body) };
        else if (message === undefined) outcome = "hold";
        else outcome = { deliver: hex(message), opcode: typeof message === "string" ? "text" : "binary" };
      });
      // The session is the one that ignores a hole on an older link.
      if (fault) outcome = fault === 4902 && link === "older" ? "ignore" : fault;
      assert.deepEqual(outcome, then);
    }
  });
}

for (const { name, client, resumed, then } of vectors("resumed.json")) {
  test(`resumed: ${name}`, () => {
    const { session, outputs } = live();
    for (let seq = 1; seq <= client.recv; seq++) session.received(1, `m${seq};`, 0);
    for (let seq = 1; seq <= client.sent; seq++) session.send("", 0, 0);
    session.received(1, `a${client.acked}`, 0);
    // Each resume that is written takes a number.
    let now = 0;
    for (let link = 2; link <= client.link; link++) {
      session.closed(link - 1, 1006, "", now);
      now = session.deadline();
      session.tick(now);
      session.opened(link, "longhaul.v1", now);
    }
    outputs();
    session.received(client.link, JSON.stringify({ t: "resumed", token: "k.u", ...resumed }), now);
    const written = outputs();
    const shut = written.find(([deed]) => deed === "shut");
    const seqs = written.flatMap(([deed, , frame]) => (deed === "write" ? /^m(\d+);/.exec(frame as string)?.[1] ?? [] : []));
    if (then.close) assert.equal(shut?.[2], then.close);
    else assert.deepEqual(seqs.map(Number), then.send);
    if (!then.close) assert.deepEqual(written.find(([deed]) => deed === "write")?.[2], `a${client.recv}`);
  });
}
