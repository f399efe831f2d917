// One WebSocket to the gateway, as the session sees it: what has been said on it, and until when it may
// stay silent.

import type { Payload } from "./grammar.js";
import type { Output } from "./output.js";
import { AckPace } from "./pace.js";

/** Dialling, waiting for the answer to `hello` or `resume`, or carrying the session. */
export type Phase = "dialing" | "greeting" | "live";

/**
 * A deadline met later than this was slept through (a frozen tab, a closed lid), and what the peer said
 * meanwhile may still be in the queue behind the timer.
 */
const OVERSLEPT_MS = 1000;

export class Link {
  readonly write: (data: Payload) => void;
  phase: Phase = "dialing";
  /** Its number in the protocol: 0 until `hello` or `resume` is written. */
  number = 0;
  liveAt = 0;
  heardAt = 0;
  /** When the wait of this phase ends: for the connection, for the answer, for the probe's answer. */
  deadline: number;
  /** How long the gateway asked to wait after this link, in ms. */
  retry?: number;
  /** What the gateway said was wrong, for people. */
  complaint = "";
  pace = new AckPace(Infinity);
  /** Whether it was asked for a sign of life and has given none. */
  #asked = false;

  constructor(
    readonly key: number,
    /** Offered without the protocol's token. */
    readonly isPlain: boolean,
    readonly startedAt: number,
    dialTimeout: number,
    out: (...output: Output) => void,
  ) {
    this.write = (data) => out("write", key, data);
    this.deadline = startedAt + dialTimeout;
  }

  greets(number: number, now: number, answerTimeout: number): void {
    this.phase = "greeting";
    this.number = number;
    this.deadline = now + answerTimeout;
  }

  carries(now: number, windowBytes: number): void {
    this.phase = "live";
    this.liveAt = now;
    this.pace = new AckPace(windowBytes);
    this.hears(now);
  }

  hears(now: number): void {
    this.heardAt = now;
    this.#asked = false;
    if (this.phase === "live") this.deadline = Infinity;
  }

  /** Expects a sign of life within `within`. Says whether to ask for one. */
  probe(now: number, within: number): boolean {
    this.deadline = Math.min(this.deadline, now + within);
    return this.#ask();
  }

  /** What the silence on a live link calls for; `deadMs` of it are too many. */
  judge(now: number, deadMs: number, askMs: number, probeTimeout: number): "lost" | "ask" | undefined {
    const deadAt = Math.min(this.heardAt + deadMs, this.deadline);
    if (now >= deadAt) {
      if (this.#asked || now - deadAt <= OVERSLEPT_MS) return "lost";
      this.heardAt = now;
      this.deadline = now + probeTimeout;
      this.#ask();
      return "ask";
    }
    return now >= this.heardAt + askMs && this.#ask() ? "ask" : undefined;
  }

  /** When `judge` may say something new. */
  judgeAt(deadMs: number, askMs: number): number {
    const dead = Math.min(this.heardAt + deadMs, this.deadline);
    return this.#asked ? dead : Math.min(dead, this.heardAt + askMs);
  }

  #ask(): boolean {
    const first = !this.#asked;
    this.#asked = true;
    return first;
  }
}
