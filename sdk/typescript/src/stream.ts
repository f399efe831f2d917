// What a session carries, whichever link carries it: both directions with their numbers, and how they end.
//
// Which link that is, and what becomes of links, `Session` knows.

import { count, type Resumed, type Welcome } from "./control.js";
import { type Item, parseEnd, type Sequenced } from "./grammar.js";
import { Incoming } from "./incoming.js";
import type { Link } from "./link.js";
import type { Policy } from "./options.js";
import { Outgoing } from "./outgoing.js";
import type { Notice, Output } from "./output.js";

/** How the stream ended: code, reason, and whether both sides agree. */
export type Ended = [code: number, reason: string, clean: boolean];

export class Stream {
  readonly outgoing = new Outgoing();
  readonly #incoming = new Incoming();
  readonly #out: (...output: Output) => void;
  /** What the application closed with. */
  ending?: Ended;

  constructor(out: (...output: Output) => void) {
    this.#out = out;
  }

  /** What need not be sent again. */
  get recv(): number {
    return this.#incoming.recv;
  }

  allow(welcome: Welcome, window: Policy["window"]): void {
    this.outgoing.allow(welcome, window);
    this.#incoming.allow(welcome);
  }

  /** Whether the gateway's counts can go on from ours. */
  fits({ recv, lo, hi }: Resumed): boolean {
    const { sent, acked } = this.outgoing;
    return lo <= this.recv + 1 && this.recv <= hi && recv <= sent && recv >= acked;
  }

  close(code: number, reason: string, clean: boolean): void {
    if (this.ending) return;
    this.ending = [code, reason, clean];
    this.outgoing.end(`${code};${reason}`);
  }

  /** Takes what came over a link; returns how the stream ended, if it did. */
  take(link: Link, item: Exclude<Item, { kind: "{" }>, now: number): Ended | undefined {
    if (item.kind === "a") return this.outgoing.ack(item.seq) ? this.ending : undefined;
    if ("body" in item) return this.#incoming.isNext(item) ? this.#accept(link, item, now) : undefined;
    if (item.kind === "q") return undefined;
    this.acknowledge(link, now, true);
    link.write(`q${item.nonce}`);
    return undefined;
  }

  #accept(link: Link, item: Sequenced, now: number): Ended | undefined {
    const { bytes, message } = this.#incoming.accept(item);
    link.pace.note(bytes, now);
    if (item.kind === "x") {
      const { code, reason } = parseEnd(item.body as string);
      this.acknowledge(link, now, true);
      return [code, reason, true];
    }
    if (item.kind === "e") this.notify(JSON.parse(item.body as string));
    else if (message !== undefined && !this.ending) this.#out("message", message);
    return undefined;
  }

  notify(notice: Notice): void {
    const range = Array.isArray(notice.uncertain) ? notice.uncertain : [];
    const uncertain = range.length ? this.outgoing.messages(count(range, 0), count(range, 1)) : [];
    this.#out("notice", notice, uncertain);
  }

  /** Writes again what the gateway does not have, which is everything after `recv`. */
  replay(link: Link, recv: number): void {
    for (const { frame } of this.outgoing.from(recv + 1)) link.write(frame);
  }

  /** Writes what became possible: new items into the window, an acknowledgement that is due. */
  settle(link: Link | undefined, now: number): void {
    for (const { frame } of this.outgoing.start()) if (link) link.write(frame);
    if (link) this.acknowledge(link, now);
  }

  /** Says what has come, if it is time to; `isUrgent` sets the pace aside, not the need. */
  acknowledge(link: Link, now: number, isUrgent = false): void {
    if (!link.pace.isDue(this.recv, now, isUrgent)) return;
    link.pace.say(this.recv, now);
    link.write(`a${this.recv}`);
  }
}
