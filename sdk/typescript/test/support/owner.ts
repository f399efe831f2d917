// A gateway's half of the protocol, written for the tests from protocol/README.md alone: it shares nothing with
// the client but the text, so that both cannot have one misunderstanding. It is strict: whatever a client may
// not do fails the test, also where a gateway would forgive it.
//
// Owns no socket and no clock. `Gateway` finds the session of a link, `Owner` is one session.

import assert from "node:assert/strict";
import type { Random } from "./random.js";

export type Data = string | Uint8Array;

/** The wire under a link; both calls are final decisions of the owner. */
export interface Wire {
  send(data: Data): void;
  close(code: number): void;
}

export interface Terms {
  win: [number, number];
  max_msg: number;
  chunk: number;
  hb: number;
  grace: number;
}

export const TERMS: Terms = { win: [4 << 20, 4096], max_msg: 1 << 20, chunk: 16_384, hb: 5000, grace: 120_000 };

interface Link {
  wire: Wire;
  number: number;
  heardAt: number;
  saidAt: number;
  /** What was last acknowledged on this link. */
  acked: number;
  lastAck: number;
  confirmed: boolean;
  openedAt: number;
  /** Of the token in its answer; one that came later may have been lost on the way. */
  generation: number;
}

interface Kept {
  seq: number;
  bytes: number;
  frame: Data;
}

/** One session: what it received, what it sent and still holds, which links it has. */
export class Owner {
  delivered: Data[] = [];
  /** Called with each message of the client. */
  onMessage: (message: Data, now: number) => void = () => {};
  /** How the client closed. */
  ended?: { code: number; reason: string };
  /** The session ended in agreement. */
  isDone = false;
  recv = 0;
  acked = 0;
  links = 0;
  newest?: Link;
  older?: Link;
  lostAt = 0;
  #number = 0;
  #next = 1;
  #kept: Kept[] = [];
  #waiting: (Data | { end: string } | { event: string })[] = [];
  #chunks: Data[] = [];
  /** The last item that completed a message: what may be acknowledged. */
  #whole = 0;
  /** What came and is not acknowledged: whole messages, items, bytes. */
  #open = { messages: 0, items: 0, bytes: 0 };
  #clientWindow: [number, number];
  #floor = 0;
  #generation = 0;
  #endSeq = 0;

  constructor(
    readonly id: number,
    readonly terms: Terms,
    clientWindow: [number, number],
    private readonly random: Random,
    private readonly protocol: string | null = null,
  ) {
    this.#clientWindow = [Math.min(clientWindow[0], terms.win[0]), Math.min(clientWindow[1], terms.win[1])];
  }

  get sent(): number {
    return this.#next - 1;
  }

  get isIdle(): boolean {
    return !this.#kept.length && !this.#waiting.length;
  }

  welcome(wire: Wire, now: number): Link {
    this.newest = this.#link(wire, 1, now);
    const { win, max_msg, chunk, hb, grace } = this.terms;
    this.#control(this.newest, {
      t: "welcome", sid: `s${this.id}`, token: this.#token(), link: 1, protocol: this.protocol,
      win, max_msg, chunk, hb, grace, class: "node", resume_url: null,
    }, now);
    return this.newest;
  }

  /** The link that was made for a `resume`, or nothing when the wire was closed. */
  resume(wire: Wire, asked: any, now: number): Link | undefined {
    const generation = Number(asked.token.split(".")[1]);
    const reset = (code: number) => void wire.send(JSON.stringify({ t: "reset", code, recv: this.#whole }));
    if (this.isDone || generation < this.#floor || generation > this.#generation) return reset(4905);
    if (asked.link <= this.#number) return void wire.close(4901);
    assert.ok(asked.link <= this.#number + 10_000, "a link number far ahead");
    assert.ok(asked.recv <= this.sent, `the client has ${asked.recv} of ${this.sent}`);
    assert.ok(asked.lo <= this.recv + 1, `the client forgot ${this.recv + 1}, it holds from ${asked.lo}`);
    assert.ok(asked.lo <= asked.hi + 1);
    this.#floor = generation;
    this.older?.wire.close(4901);
    this.older = this.newest;
    this.newest = this.#link(wire, asked.link, now);
    const from = Math.max(asked.recv, this.acked) + 1;
    this.#control(this.newest, {
      t: "resumed", token: this.#token(), link: asked.link, recv: this.recv, lo: this.acked + 1, hi: this.sent,
    }, now);
    this.#ack(this.newest, now);
    for (const { seq, frame } of this.#kept) if (seq >= from) this.#write(this.newest, frame, now);
    return this.newest;
  }

  #link(wire: Wire, number: number, now: number): Link {
    this.#number = number;
    this.links++;
    return {
      wire, number, heardAt: now, saidAt: now, acked: -1, lastAck: -1, confirmed: false, openedAt: now, generation: this.#generation + 1,
    };
  }

  /** What is sent to the client. */
  push(message: Data, now: number): void {
    this.#waiting.push(message);
    this.#start(now);
  }

  event(body: object, now: number): void {
    this.#waiting.push({ event: JSON.stringify(body) });
    this.#start(now);
  }

  end(code: number, reason: string, now: number): void {
    this.#waiting.push({ end: `${code};${reason}` });
    this.#start(now);
  }

  migrate(delay: number, now: number): void {
    if (this.newest) this.#control(this.newest, { t: "migrate", url: null, delay, deadline: 30_000 }, now);
  }

  goaway(retry: number, now: number): void {
    if (!this.newest) return;
    this.#control(this.newest, { t: "goaway", retry }, now);
    this.newest.wire.close(1012);
    this.lost(this.newest, now);
  }

  reissue(now: number): void {
    if (this.newest) this.#control(this.newest, { t: "token", token: this.#token() }, now);
  }

  receive(link: Link, data: Data, now: number): void {
    if (link !== this.newest && link !== this.older) return;
    link.heardAt = now;
    const text = typeof data === "string" ? data : Buffer.from(data).toString("latin1");
    if (link.lastAck < 0) assert.match(text, /^a\d+$/, "the first word on a link is what the client has");
    const sequenced = /^([mnx])([1-9]\d*);/.exec(text);
    if (sequenced) this.#take(link, sequenced[1]!, Number(sequenced[2]), sequenced[0].length, data, now);
    else if (text[0] === "a") this.#acknowledged(link, Number(text.slice(1)), now);
    else if (text[0] === "p") this.#write(link, `q${text.slice(1)}`, now);
    else assert.ok(text[0] === "q" || text.startsWith('{"t":"auth"'), `the client said ${text}`);
    if (this.random.chance(0.2)) this.#ack(link, now);
  }

  #take(link: Link, kind: string, seq: number, head: number, data: Data, now: number): void {
    if (seq <= this.recv) return;
    if (seq > this.recv + 1) {
      assert.ok(link === this.older, `item ${seq} after ${this.recv} on the newest link`);
      return;
    }
    assert.ok(!this.ended, "an item after the end");
    const body = typeof data === "string" ? data.slice(head) : data.subarray(head);
    this.recv = seq;
    if (kind === "x") {
      const [, code, reason] = /^(\d{4});(.*)$/s.exec(body as string)!;
      assert.equal(this.#chunks.length, 0, "an end inside a message");
      this.ended = { code: Number(code), reason: reason! };
      this.#whole = seq;
      return this.#ack(link, now);
    }
    const bytes = typeof body === "string" ? Buffer.byteLength(body) : body.length;
    assert.ok(bytes <= this.terms.chunk && (bytes || kind === "m"), `a chunk of ${bytes}`);
    assert.ok(!this.#chunks.length || typeof this.#chunks[0] === typeof body, "two opcodes in one message");
    this.#chunks.push(body);
    this.#open.items++;
    this.#open.bytes += bytes;
    const [windowBytes, windowItems] = this.terms.win;
    // One message may be larger than the window, if it is alone. What the client has heard of our acknowledgements
    // is never more than what we said, so this is never stricter than its own rule.
    const keeps = this.#open.bytes <= windowBytes && this.#open.items <= windowItems;
    assert.ok(keeps || !this.#open.messages, `${JSON.stringify(this.#open)} in a window of ${this.terms.win}`);
    if (kind === "n") return;
    const message = joined(this.#chunks);
    this.delivered.push(message);
    this.#chunks = [];
    this.#whole = seq;
    this.#open.messages++;
    this.onMessage(message, now);
  }

  #acknowledged(link: Link, seq: number, now: number): void {
    assert.ok(seq <= this.sent, `acknowledged ${seq} of ${this.sent}`);
    assert.ok(seq >= link.lastAck, "an acknowledgement that falls");
    link.lastAck = seq;
    if (link === this.newest && !link.confirmed) {
      link.confirmed = true;
      this.#floor = link.generation;
      this.older?.wire.close(4901);
      this.older = undefined;
    }
    if (seq <= this.acked) return;
    this.acked = seq;
    this.#kept = this.#kept.filter((item) => item.seq > seq);
    if (this.#endSeq && seq >= this.#endSeq) this.#done();
    this.#start(now);
  }

  #done(): void {
    this.isDone = true;
    this.newest?.wire.close(1000);
    this.older?.wire.close(1000);
    this.newest = this.older = undefined;
  }

  lost(link: Link, now: number, code = 1006): void {
    if (link === this.older) this.older = undefined;
    if (link !== this.newest) return;
    this.newest = undefined;
    this.lostAt = now;
    // Only the one who ended says that the acknowledgement arrived; else a resume asks for it again.
    if (this.ended && link.acked >= this.recv && code === 1000) this.isDone = true;
  }

  tick(now: number): void {
    const { newest, older } = this;
    if (older && now >= (newest?.openedAt ?? 0) + 10_000) {
      older.wire.close(4901);
      this.older = undefined;
    }
    if (!newest) return;
    if (now >= newest.heardAt + 3 * this.terms.hb) {
      newest.wire.close(4000);
      return this.lost(newest, now);
    }
    if (now >= Math.min(newest.heardAt, newest.saidAt) + this.terms.hb) this.#write(newest, "p1", now);
    this.#ack(newest, now);
  }

  #ack(link: Link, now: number): void {
    if (link !== this.newest || this.#whole <= link.acked) return;
    link.acked = this.#whole;
    // What an unfinished message has brought stays unacknowledged.
    const bytes = this.#chunks.reduce((sum, chunk) => sum + Buffer.byteLength(chunk), 0);
    this.#open = { messages: 0, items: this.#chunks.length, bytes };
    this.#write(link, `a${this.#whole}`, now);
  }

  #start(now: number): void {
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      const isMessage = typeof first === "string" || first instanceof Uint8Array;
      const chunks = isMessage ? this.#cut(first as Data) : [];
      const bytes = chunks.reduce((sum, chunk) => sum + Buffer.byteLength(chunk), 0);
      const held = this.#kept.reduce((sum, item) => sum + item.bytes, 0);
      const fits =
        held + bytes <= this.#clientWindow[0] && this.#kept.length + chunks.length <= this.#clientWindow[1];
      if (isMessage && this.#kept.length && !fits) return;
      this.#waiting.shift();
      if (isMessage) chunks.forEach((chunk, at) => this.#keep(at < chunks.length - 1 ? "n" : "m", chunk, now));
      else if ("event" in (first as object)) this.#keep("e", (first as { event: string }).event, now);
      else {
        this.#keep("x", (first as { end: string }).end, now);
        this.#endSeq = this.sent;
      }
    }
  }

  #keep(kind: string, body: Data, now: number): void {
    const seq = this.#next++;
    const head = `${kind}${seq};`;
    const frame = typeof body === "string" ? head + body : Buffer.concat([Buffer.from(head), body]);
    this.#kept.push({ seq, bytes: Buffer.byteLength(body), frame });
    if (this.newest) this.#write(this.newest, frame, now);
  }

  /** Cuts anywhere that is allowed, not where the client would. */
  #cut(message: Data): Data[] {
    const chunks: Data[] = [];
    const points = typeof message === "string" ? [...message] : message;
    for (let at = 0; at < points.length; ) {
      const length = this.random.within(1, Math.max(1, Math.floor(this.terms.chunk / 4)));
      chunks.push(
        points instanceof Uint8Array ? points.subarray(at, at + length) : points.slice(at, at + length).join(""),
      );
      at += length;
      if (chunks.length > 1000) throw new Error("a test's message has too many chunks");
    }
    return chunks.length ? chunks : [message];
  }

  #token(): string {
    return `${this.id}.${++this.#generation}`;
  }

  #control(link: Link, control: object, now: number): void {
    this.#write(link, JSON.stringify(control), now);
  }

  #write(link: Link, data: Data, now: number): void {
    link.saidAt = now;
    link.wire.send(data);
  }
}

/** Finds the session of each link. */
export class Gateway {
  readonly owners: Owner[] = [];

  constructor(
    readonly terms: Terms,
    private readonly random: Random,
    private readonly onSession: (owner: Owner, now: number) => void = () => {},
  ) {}

  /** A new wire; what is returned is to be told what comes over it. */
  accept(wire: Wire, protocol: string | null = null): { receive(data: Data, now: number): void; lost(now: number, code?: number): void } {
    let owner: Owner | undefined;
    let link: Link | undefined;
    let isGreeted = false;
    return {
      receive: (data, now) => {
        if (link) return owner!.receive(link, data, now);
        assert.ok(!isGreeted, `the client said ${data} before it had an answer`);
        isGreeted = true;
        const asked = JSON.parse(data as string);
        assert.equal(asked.v, 1);
        if (asked.t === "hello") {
          owner = new Owner(this.owners.length + 1, this.terms, asked.win, this.random, protocol);
          this.owners.push(owner);
          link = owner.welcome(wire, now);
          this.onSession(owner, now);
        } else {
          assert.equal(asked.t, "resume");
          owner = this.owners[Number(asked.token.split(".")[0]) - 1]!;
          link = owner.resume(wire, asked, now);
        }
      },
      lost: (now, code) => {
        if (link) owner!.lost(link, now, code);
      },
    };
  }
}

const joined = (chunks: Data[]): Data =>
  typeof chunks[0] === "string" ? chunks.join("") : Buffer.concat(chunks as Uint8Array[]);
