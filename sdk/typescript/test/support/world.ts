// A client's session and a gateway on links that delay, cut and fall silent, in time that only jumps.

import type { Options } from "../../src/options.js";
import { policyOf } from "../../src/options.js";
import { Session } from "../../src/session.js";
import type { Deeds } from "../../src/output.js";
import { type Data, Gateway, type Owner, type Terms } from "./owner.js";
import { Random } from "./random.js";

export interface Weather {
  /** How long a link lives, in ms, from nothing to this. */
  lives: number;
  /** How often a cut link falls silent instead of telling its ends. */
  silent: number;
  /** How often an attempt to connect fails. */
  refused: number;
  delay: number;
}

type Event = { at: number; run: () => void };

interface Pipe {
  /** Nothing gets through after this. */
  cutAt: number;
  isOpen: boolean;
  /** When the last item of each direction arrives: a link does not reorder. */
  lastUp: number;
  lastDown: number;
}

export class World {
  now = 1000;
  readonly random: Random;
  readonly session: Session;
  readonly gateway: Gateway;
  received: Data[] = [];
  uncertain: Data[] = [];
  end?: { code: number; reason: string; clean: boolean };
  isOpen = false;
  resumes = 0;
  #events: Event[] = [];
  #pipes = new Map<number, Pipe>();
  #ends = new Map<number, { receive(data: Data, now: number): void; lost(now: number, code?: number): void }>();

  constructor(
    seed: number,
    terms: Terms,
    private readonly weather: Weather,
    options: Options = {},
    onSession?: (owner: Owner, now: number) => void,
  ) {
    this.random = new Random(seed);
    this.gateway = new Gateway(terms, this.random, onSession);
    this.session = new Session("ws://gateway/", [], policyOf(options), this.random.next);
  }

  /** Schedules something. */
  at(delay: number, run: () => void): void {
    const event = { at: this.now + delay, run };
    let place = this.#events.length;
    while (place > 0 && this.#events[place - 1]!.at > event.at) place--;
    this.#events.splice(place, 0, event);
  }

  /** Goes on until `done`, or fails when nothing more happens or too much time has passed. */
  run(done: () => boolean, limit = 3_600_000): void {
    const until = this.now + limit;
    while (!done()) {
      const deadline = this.session.deadline();
      const next = this.#events[0];
      const at = Math.min(next?.at ?? Infinity, deadline);
      if (at === Infinity || at > until) throw new Error(`stuck at ${this.now}, ${this.session.state} ${JSON.stringify(this.end)}`);
      this.now = Math.max(this.now, at);
      if (next && next.at <= deadline) {
        this.#events.shift();
        next.run();
      } else {
        this.session.tick(this.now);
      }
      this.drain();
    }
  }

  drain(): void {
    for (let output = this.session.poll(); output; output = this.session.poll()) {
      const [deed, ...given] = output;
      (this.#deeds[deed] as (...given: unknown[]) => void)(...given);
    }
  }

  /** Ends a link of the client's choice now, as a cut does. */
  cut(): void {
    for (const [key, pipe] of this.#pipes) if (pipe.isOpen) this.#break(key, pipe, false);
  }

  readonly #deeds: Deeds = {
    dial: (key) => {
      const { lives, refused, delay } = this.weather;
      if (this.random.chance(refused)) {
        this.at(this.random.within(1, delay), () => this.session.closed(key, 1006, "", this.now));
        return;
      }
      const pipe: Pipe = { cutAt: Infinity, isOpen: true, lastUp: 0, lastDown: 0 };
      this.#pipes.set(key, pipe);
      this.#ends.set(key, this.gateway.accept({
        send: (data) => this.#down(key, pipe, () => this.session.received(key, data, this.now)),
        close: (code) => {
          this.#down(key, pipe, () => this.session.closed(key, code, "", this.now));
          pipe.isOpen = false;
        },
      }));
      this.at(this.random.within(1, delay), () => this.session.opened(key, "longhaul.v1", this.now));
      this.at(this.random.within(0, lives), () => this.#break(key, pipe, this.random.chance(this.weather.silent)));
    },
    write: (key, data) => this.#up(key, () => this.#ends.get(key)!.receive(data, this.now)),
    shut: (key, code) => {
      this.#up(key, () => this.#ends.get(key)!.lost(this.now, code));
      this.#deeds.drop(key);
    },
    drop: (key) => {
      // A link that was refused has no pipe.
      const pipe = this.#pipes.get(key);
      if (pipe) pipe.isOpen = false;
    },
    plain: () => {},
    open: () => {
      this.isOpen = true;
    },
    state: () => {},
    resumed: () => {
      this.resumes++;
    },
    message: (data) => this.received.push(data),
    notice: (_, uncertain) => this.uncertain.push(...uncertain),
    credential: () => {},
    end: (code, reason, clean) => {
      this.end = { code, reason, clean };
    },
  };

  #up(key: number, run: () => void): void {
    const pipe = this.#pipes.get(key);
    if (!pipe?.isOpen) return;
    pipe.lastUp = Math.max(pipe.lastUp, this.now + this.random.within(0, this.weather.delay));
    const { lastUp } = pipe;
    this.at(lastUp - this.now, () => lastUp < pipe.cutAt && run());
  }

  #down(_key: number, pipe: Pipe, run: () => void): void {
    if (!pipe.isOpen) return;
    pipe.lastDown = Math.max(pipe.lastDown, this.now + this.random.within(0, this.weather.delay));
    const { lastDown } = pipe;
    this.at(lastDown - this.now, () => lastDown < pipe.cutAt && run());
  }

  /** Loses what is under way. Each end hears of it later, each in its own time, or never. */
  #break(key: number, pipe: Pipe, isSilent: boolean): void {
    if (pipe.cutAt < Infinity) return;
    pipe.cutAt = this.now;
    if (isSilent) return;
    this.at(this.random.within(0, 500), () => {
      if (pipe.isOpen) this.session.closed(key, 1006, "", this.now);
    });
    this.at(this.random.within(0, 500), () => this.#ends.get(key)!.lost(this.now));
  }
}
