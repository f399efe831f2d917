// What a session decides, one decision at a time. Time is a number here.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Options, policyOf, presets } from "../src/options.js";
import type { Output } from "../src/output.js";
import { Session } from "../src/session.js";

/** A session with the other end played by hand. */
class Play {
  now = 1000;
  readonly session: Session;
  outputs: Output[] = [];

  constructor(options: Options = {}, protocols: string[] = []) {
    this.session = new Session("ws://gateway/ws", protocols, policyOf(options), () => 0.5);
    this.does(() => this.session.start(this.now));
  }

  static live(options: Options = {}): Play {
    const play = new Play(options);
    play.opens(1).hears(1, welcome());
    play.outputs = [];
    return play;
  }

  does(input: () => void): this {
    input();
    for (let output = this.session.poll(); output; output = this.session.poll()) this.outputs.push(output);
    return this;
  }

  opens = (key: number, protocol = "longhaul.v1") => this.does(() => this.session.opened(key, protocol, this.now));
  hears = (key: number, data: string) => this.does(() => this.session.received(key, data, this.now));
  loses = (key: number, code = 1006) => this.does(() => this.session.closed(key, code, "", this.now));
  sends = (text: string) => this.does(() => this.session.send(text, text.length, this.now));

  /** Lets time pass to the next deadline and says how much that was. */
  waits(): number {
    const waited = this.session.deadline() - this.now;
    this.now += waited;
    this.does(() => this.session.tick(this.now));
    return waited;
  }

  /** What was done since the last look. */
  take(): Output[] {
    const taken = this.outputs;
    this.outputs = [];
    return taken;
  }

  deeds = () => this.take().map(([deed]) => deed);
  written = (key: number) => this.take().flatMap(([deed, link, data]) => (deed === "write" && link === key ? [data] : []));
}

const welcome = (fields = {}) =>
  JSON.stringify({
    t: "welcome", sid: "s", token: "t1", link: 1, protocol: null, win: [1000, 10], max_msg: 1000, chunk: 100,
    hb: 5000, grace: 120_000, class: "node", resume_url: null, ...fields,
  });
const resumed = (link: number, fields = {}) =>
  JSON.stringify({ t: "resumed", token: `t${link}`, link, recv: 0, lo: 1, hi: 0, ...fields });

test("a link is asked for, greeted, and confirmed at once", () => {
  const play = new Play({}, ["chat"]);
  assert.deepEqual(play.take(), [["dial", 1, "ws://gateway/ws", ["longhaul.v1", "chat"]]]);
  play.opens(1);
  assert.deepEqual(JSON.parse(play.written(1)[0] as string), { t: "hello", v: 1, sdk: "js/0.1", win: [4 << 20, 4096] });
  play.hears(1, welcome({ protocol: "chat" }));
  assert.deepEqual(play.take(), [["state", "live"], ["write", 1, "a0"], ["open", "chat"]]);
});

test("after a link that lasted the next try comes within half a second, after others 2, 4, 8, 16, 32, 60 s", () => {
  const play = Play.live();
  play.now += 30_000;
  play.hears(1, "p").loses(1);
  assert.equal(play.waits(), 250);
  for (const [key, delay] of [[2, 2000], [3, 4000], [4, 8000], [5, 16_000], [6, 32_000], [7, 60_000]] as const) {
    play.loses(key);
    assert.equal(play.waits(), delay, `before link ${key + 1}`);
  }
});

test("it gives up when the gateway has long forgotten the session", () => {
  const play = Play.live();
  const lost = play.now;
  play.loses(1);
  for (let key = 2; play.session.state !== "closed"; key++) {
    play.waits();
    play.loses(key);
    assert.ok(key < 20);
  }
  assert.equal(play.now - lost, 180_000);
  assert.deepEqual(play.take().at(-1), ["end", 4905, "gave up", false]);
});

test("a phone gives up after ten tries, and asks a silent gateway after 5 s", () => {
  const play = Play.live({ ...presets.phone, patience: Infinity });
  assert.equal(play.waits(), 5000);
  assert.deepEqual(play.written(1), ["p"]);
  play.hears(1, "q").loses(1);
  for (let tries = 1; tries <= 10; tries++) {
    assert.equal(play.session.state, "resuming");
    play.waits();
    play.loses(tries + 1);
  }
  assert.equal(play.session.state, "closed");
});

test("a link that says nothing for two and a half heartbeats is dead", () => {
  const play = Play.live();
  assert.equal(play.waits(), 12_500);
  assert.deepEqual(play.take(), [["drop", 1], ["state", "resuming"]]);
});

test("a frozen tab asks before it gives a link up", () => {
  const play = Play.live();
  play.now += 60_000;
  play.does(() => play.session.tick(play.now));
  assert.deepEqual(play.take(), [["write", 1, "p"]]);
  play.hears(1, "q");
  assert.equal(play.session.state, "live");
  play.now += 60_000;
  play.does(() => play.session.tick(play.now));
  assert.equal(play.waits(), 2000);
  assert.equal(play.session.state, "resuming");
});

test("when the network may have changed, a link has 2 s to answer, and a wait ends", () => {
  const play = Play.live();
  play.does(() => play.session.wake(play.now));
  assert.deepEqual(play.take(), [["write", 1, "p"]]);
  assert.equal(play.waits(), 2000);
  assert.equal(play.session.state, "resuming");
  play.take();
  play.does(() => play.session.wake(play.now));
  assert.deepEqual(play.deeds(), ["dial"]);
});

test("a connection that hangs on the old network is made anew", () => {
  const play = Play.live();
  play.loses(1).waits();
  play.take();
  play.now += 3000;
  play.does(() => play.session.wake(play.now));
  assert.deepEqual(play.deeds(), ["drop", "dial"]);
});

test("what is unacknowledged goes again from where the gateway is, and its acknowledgement frees it", () => {
  const play = Play.live();
  play.sends("a").sends("b").sends("c").hears(1, "a1").loses(1);
  play.waits();
  play.opens(2);
  const greeting = JSON.parse(play.written(2)[0] as string);
  assert.deepEqual(greeting, { t: "resume", v: 1, token: "t1", link: 2, recv: 0, lo: 2, hi: 3 });
  play.hears(2, resumed(2, { recv: 2 }));
  assert.deepEqual(play.written(2), ["a0", "m3;c"]);
  play.hears(2, "a3");
  assert.equal(play.session.queue.bytes, 0);
});

test("migration: the old link serves until the new one is answered", () => {
  const play = Play.live();
  play.hears(1, '{"t":"migrate","url":null,"delay":700,"deadline":30000}');
  assert.equal(play.waits(), 700);
  play.opens(2).hears(1, "m1;x").sends("y");
  const outputs = play.take();
  assert.ok(outputs.some(([deed, data]) => deed === "message" && data === "x"));
  assert.ok(outputs.some(([deed, link, data]) => deed === "write" && link === 1 && data === "m1;y"));
  play.hears(2, resumed(2, { recv: 1, hi: 1 }));
  assert.deepEqual(play.take(), [["shut", 1, 4000, ""], ["write", 2, "a1"], ["resumed"]]);
});

test("4901 is the end on the highest link, and a lost link on a lower one (R7)", () => {
  const lower = Play.live();
  lower.hears(1, '{"t":"migrate","url":null,"delay":0,"deadline":30000}').waits();
  lower.opens(2).loses(1, 4901);
  assert.equal(lower.session.state, "resuming");
  lower.hears(2, resumed(2));
  assert.equal(lower.session.state, "live");
  lower.loses(2, 4901);
  assert.deepEqual(lower.take().at(-1), ["end", 4901, "", false]);
});

test("a new link that fails after its resume takes the old one along", () => {
  const play = Play.live();
  play.hears(1, '{"t":"migrate","url":null,"delay":0,"deadline":30000}').waits();
  play.opens(2).loses(2);
  assert.equal(play.session.state, "resuming");
});

test("a new link that fails before its resume leaves the old one alone", () => {
  const play = Play.live();
  play.hears(1, '{"t":"migrate","url":null,"delay":0,"deadline":30000}').waits();
  play.loses(2);
  assert.equal(play.session.state, "live");
});

test("an address of another scheme is not followed, another is, and given up after two failures", () => {
  const play = Play.live();
  play.hears(1, '{"t":"migrate","url":"http://elsewhere/","delay":0,"deadline":30000}').waits();
  assert.equal(play.take()[0]![2], "ws://gateway/ws");
  play.opens(2).hears(2, resumed(2)).hears(2, '{"t":"migrate","url":"ws://b/","delay":0,"deadline":30000}');
  const dialled: unknown[] = [];
  for (const key of [3, 4, 5]) {
    play.waits();
    dialled.push(...play.take().flatMap(([deed, , url]) => (deed === "dial" ? [url] : [])));
    play.loses(key);
  }
  assert.deepEqual(dialled, ["ws://b/", "ws://b/", "ws://gateway/ws"]);
});

test("goaway says when to come back, once", () => {
  const play = Play.live();
  play.hears(1, '{"t":"goaway","retry":1234}');
  assert.equal(play.waits(), 1234);
  play.loses(2);
  assert.equal(play.waits(), 2000);
});

test("a gateway without room is asked again, one that refuses is not", () => {
  const busy = new Play();
  busy.opens(1).hears(1, '{"t":"goaway","retry":800}');
  assert.equal(busy.waits(), 800);
  busy.opens(2).loses(2, 4903);
  assert.deepEqual(busy.take().at(-1), ["end", 4903, "", false]);
});

test("an expired login is asked for, and the session goes on with it", () => {
  const play = Play.live({ credential: () => "" });
  play.loses(1, 4904);
  assert.deepEqual(play.deeds(), ["state", "credential"]);
  play.does(() => play.session.authenticate("new", play.now));
  play.waits();
  play.opens(2).hears(2, resumed(2));
  assert.ok(play.written(2).includes('{"t":"auth","cred":"new"}'));
  assert.deepEqual(Play.live().loses(1, 4904).take().at(-1), ["end", 4904, "", false]);
});

test("reset ends it with the code that it gives", () => {
  const play = Play.live();
  play.hears(1, '{"t":"reset","code":4907,"recv":3}');
  assert.deepEqual(play.take(), [["shut", 1, 1000, ""], ["state", "closed"], ["end", 4907, "reset", false]]);
});

test("a hole is never delivered past", () => {
  const play = Play.live();
  play.hears(1, "m1;a").hears(1, "m3;c");
  assert.deepEqual(play.take(), [
    ["message", "a"], ["shut", 1, 4902, "3 after 1"], ["state", "closed"], ["end", 4902, "3 after 1", false],
  ]);
});

test("acknowledgements: after 200 ms, at 32 items, at a quarter of the window, with a ping", () => {
  const play = Play.live({ window: [1000, 4096] });
  play.hears(1, "m1;x");
  assert.equal(play.waits(), 200);
  assert.deepEqual(play.written(1), ["a1"]);
  play.now += 25;
  for (let seq = 2; seq <= 33; seq++) play.hears(1, `m${seq};`);
  assert.deepEqual(play.written(1), ["a33"]);
  play.now += 25;
  for (const seq of [34, 35, 36]) play.hears(1, `m${seq};${"x".repeat(100)}`);
  assert.deepEqual(play.written(1), ["a36"]);
  play.hears(1, "m37;").hears(1, "p7");
  assert.deepEqual(play.written(1), ["a37", "q7"]);
});

test("the window holds messages back, lets a large one through alone, and ends last", () => {
  const play = Play.live();
  play.sends("x".repeat(900)).sends("y".repeat(200)).does(() => play.session.close(3000, "", play.now));
  assert.equal(play.written(1).length, 9);
  play.hears(1, "a9");
  assert.deepEqual(play.written(1).map((frame) => String(frame).slice(0, 5)), ["n10;y", "m11;y", "x12;3"]);
  play.hears(1, "a12");
  assert.deepEqual(play.take().at(-1), ["end", 3000, "", true]);
});

test("uncertain messages are handed back", () => {
  const play = Play.live();
  play.sends("a").sends("b".repeat(150)).sends("c").hears(1, 'e1;{"leg":2,"reason":"crash","uncertain":[1,3]}');
  const [notice] = play.take().filter(([deed]) => deed === "notice");
  assert.deepEqual(notice![2], ["a", "b".repeat(150)]);
});
