// The client's half of a durable session: what outlives its links.
//
// Owns no socket, clock, timer or randomness: `socket.ts` does. After each input, call `poll` until it
// has nothing; then wait for the next input or for `deadline`. Times are in milliseconds of any clock
// that never goes back.
//
// At most two links are there: `#link` carries the session, `#next` is to replace it. Both at once is a
// migration. Numbers are those of the protocol text, protocol/README.md.
//
// Start at `received`.

import * as codes from "./codes.js";
import { count, readResumed, readWelcome, text, type Welcome } from "./control.js";
import { type Control, Fault, type Item, parse, type Payload } from "./grammar.js";
import { Link } from "./link.js";
import type { Policy } from "./options.js";
import type { Output, State } from "./output.js";
import { Retry } from "./retry.js";
import { Stream } from "./stream.js";

/** The subprotocol that says a gateway is there. */
export const TOKEN = "longhaul.v1";

const SDK = "js/0.1";

/** What a session is told, each time with the time. */
export type Input = "start" | "opened" | "received" | "closed" | "send" | "close" | "abort" | "leave" | "wake" | "authenticate" | "tick";

/** What an input is told with, besides the time. */
export type Given<I extends Input> = Parameters<Session[I]> extends [...infer G, number] ? G : never;

export class Session {
  readonly #outbox: Output[] = [];
  readonly #out = (...output: Output): void => void this.#outbox.push(output);
  readonly #stream = new Stream(this.#out);
  readonly #retry: Retry;
  readonly #firstUrl: string;
  readonly #protocols: string[];
  readonly #policy: Policy;
  #state: State = "connecting";
  #welcome?: Welcome;
  #token = "";
  #url: string;
  #link?: Link;
  #next?: Link;
  /** When the input came that is being dealt with. */
  #now = 0;
  #keys = 0;
  /** The highest link number ever written: 4901 is final on it alone. */
  #number = 0;
  #gatewaySeen = false;
  #retryAt = Infinity;
  #giveUpAt = Infinity;
  /** Kept until the gateway accepted it with a `token`. */
  #credential?: string;

  constructor(
    firstUrl: string,
    protocols: string[],
    policy: Policy,
    random: () => number,
  ) {
    this.#url = this.#firstUrl = firstUrl;
    this.#protocols = protocols;
    this.#policy = policy;
    this.#retry = new Retry(policy.retry, random);
  }

  get state(): State {
    return this.#state;
  }

  /** Payload bytes not acknowledged, and how much of the queue beyond the window they take. */
  get queue(): { bytes: number; waitingBytes: number; waitingItems: number } {
    return this.#stream.outgoing;
  }

  // --- Inputs ---

  start(now: number): void {
    this.#now = now;
    this.#giveUpAt = now + this.#policy.connectTimeout;
    this.#dial();
  }

  /** A dialled link is open; `protocol` is what the other end chose. */
  opened(key: number, protocol: string, now: number): void {
    this.#now = now;
    const link = this.#next;
    if (link?.key !== key) return;
    if (protocol === TOKEN) return this.#greet(link);
    if (this.#welcome || this.#policy.require) {
      this.#shut(link, codes.LEFT);
      return this.#failed(link, 1006);
    }
    this.#next = undefined;
    this.#retryAt = this.#giveUpAt = Infinity;
    this.#become("plain");
    this.#out("plain", key);
  }

  received(key: number, data: Payload, now: number): void {
    this.#now = now;
    const link = this.#find(key);
    if (!link || this.#state === "closed") return;
    link.hears(now);
    try {
      const item = parse(data);
      if (link.phase === "live") this.#take(link, item);
      else this.#answered(link, item);
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      this.#faulted(link, fault);
    }
    this.#settle();
  }

  /** A link is gone, by whomever's doing. */
  closed(key: number, code: number, reason: string, now: number): void {
    this.#now = now;
    const link = this.#find(key);
    if (!link) return;
    link.complaint ||= reason;
    if (link === this.#next) this.#failed(link, code);
    else this.#lost(link, code);
  }

  /** Sends a message; bytes must not change afterwards. */
  send(body: Payload, bytes: number, now: number): void {
    this.#now = now;
    this.#stream.outgoing.push(body, bytes);
    this.#settle();
  }

  /** Why a message of this size cannot be sent, if so. */
  refuses(bytes: number): string | undefined {
    return this.#stream.outgoing.refuses(bytes);
  }

  close(code: number, reason: string, now: number, clean = true): void {
    this.#now = now;
    if (this.#state === "closed") return;
    if (!this.#welcome) return this.#end(1006, "");
    this.#stream.close(code, reason, clean);
    this.#settle();
  }

  /** Closes without sending what still waits; for the application an error. */
  abort(code: number, reason: string, now: number): void {
    this.#stream.outgoing.abandonWaiting();
    this.close(code, reason, now, false);
  }

  /** The page goes away and will not come back: says so, if a link is there, and waits for nothing. */
  leave(now: number): void {
    if (this.#welcome && !this.#stream.ending) this.abort(1001, "", now);
  }

  /** Something suggests that the network changed: asks the link for a sign of life, or tries now. */
  wake(now: number): void {
    this.#now = now;
    const { probeTimeout } = this.#policy;
    if (this.#link && this.#link.probe(now, probeTimeout)) this.#link.write("p");
    if (this.#next?.phase === "dialing" && now - this.#next.startedAt > probeTimeout) {
      // It may wait for an answer to a network that is no longer there.
      this.#out("drop", this.#next.key);
      this.#next = undefined;
      this.#dial();
    } else if (!this.#link && !this.#next && this.#retryAt < Infinity) {
      this.#dial();
    }
  }

  /** Gives the gateway a credential, now and after each resume until it is accepted. */
  authenticate(credential: string, now: number): void {
    this.#now = now;
    this.#credential = credential;
    if (this.#link) this.#sendCredential(this.#link);
    else if (this.#state !== "closed" && !this.#next && this.#retryAt === Infinity) this.#retryAt = now;
  }

  tick(now: number): void {
    this.#now = now;
    if (now >= this.#giveUpAt) return this.#giveUp();
    const next = this.#next;
    if (next && now >= next.deadline) {
      this.#out("drop", next.key);
      this.#failed(next, 1006);
    }
    if (this.#link) this.#listen(this.#link);
    if (!this.#next && now >= this.#retryAt) this.#dial();
    this.#settle();
  }

  // --- Outputs ---

  poll(): Output | undefined {
    return this.#outbox.shift();
  }

  /** When `tick` is wanted; `Infinity` for never. */
  deadline(): number {
    return Math.min(
      this.#retryAt,
      this.#giveUpAt,
      this.#next?.deadline ?? Infinity,
      this.#link?.judgeAt(this.#deadMs, this.#policy.heartbeat) ?? Infinity,
      this.#link?.pace.deadline(this.#stream.recv) ?? Infinity,
    );
  }

  // --- From dialling to the answer ---

  #dial(isPlain = false): void {
    this.#retryAt = Infinity;
    // A proposed address that failed twice is given up for the one that is known to work.
    if (this.#retry.failures >= 2) this.#url = this.#firstUrl;
    this.#next = new Link(++this.#keys, isPlain, this.#now, this.#policy.dialTimeout, this.#out);
    const protocols = isPlain ? this.#protocols : [TOKEN, ...this.#protocols];
    this.#out("dial", this.#keys, this.#url, protocols);
  }

  #greet(link: Link): void {
    this.#gatewaySeen = true;
    // Each resume that is written has a number of its own, answered or not; a hello begins anew.
    this.#number = this.#welcome ? this.#number + 1 : 1;
    link.greets(this.#number, this.#now, this.#policy.answerTimeout);
    const { recv, outgoing } = this.#stream;
    const greeting = this.#welcome
      ? { t: "resume", v: 1, token: this.#token, link: link.number, recv, ...outgoing.held }
      : { t: "hello", v: 1, sdk: SDK, win: this.#policy.window };
    link.write(JSON.stringify(greeting));
  }

  #answered(link: Link, item: Item): void {
    if (link.phase !== "greeting" || item.kind !== "{") throw new Fault("bad answer");
    const { control } = item;
    if (control.t === "welcome" && !this.#welcome) return this.#establish(link, control);
    if (control.t === "resumed" && this.#welcome) return this.#resume(link, control);
    if (!/^(goaway|reset|error)$/.test(control.t)) throw new Fault(`bad answer ${control.t}`);
    this.#obey(link, control);
  }

  #establish(link: Link, control: Control): void {
    const welcome = readWelcome(control);
    this.#welcome = welcome;
    this.#stream.allow(welcome, this.#policy.window);
    this.#moveTo(welcome.resume_url);
    this.#carry(link, welcome.token);
    this.#out("open", welcome.protocol ?? "");
  }

  #resume(link: Link, control: Control): void {
    const resumed = readResumed(control);
    if (resumed.link !== link.number || !this.#stream.fits(resumed)) {
      throw new Fault("bad counts", codes.LOST_SESSION);
    }
    if (this.#link) this.#shut(this.#link, codes.LEFT);
    this.#carry(link, resumed.token);
    this.#stream.replay(link, resumed.recv);
    if (this.#credential !== undefined) this.#sendCredential(link);
    this.#out("resumed");
  }

  /** Makes an answered link the one that carries the session. */
  #carry(link: Link, token: string): void {
    this.#token = token;
    this.#next = undefined;
    this.#link = link;
    this.#retry.failures = 0;
    this.#retryAt = this.#giveUpAt = Infinity;
    link.carries(this.#now, this.#policy.window[0]);
    this.#become("live");
    // Said on each new link, news or not: it confirms the link, and an `a` that died with the last one
    // would otherwise never be repeated.
    this.#stream.acknowledge(link, this.#now, true);
  }

  // --- On a link that carries the session ---

  #take(link: Link, item: Item): void {
    if (item.kind === "{") return this.#obey(link, item.control);
    const ended = this.#stream.take(link, item, this.#now);
    if (ended) this.#end(...ended);
  }

  #obey(link: Link, control: Control): void {
    const isNewest = link.number === this.#number;
    switch (control.t) {
      case "token":
        if (isNewest) this.#token = text(control, "token")!;
        this.#credential = undefined;
        return;
      case "migrate":
        if (!isNewest || this.#next) return;
        this.#stream.acknowledge(link, this.#now, true);
        this.#moveTo(text(control, "url", true));
        this.#retryAt = this.#now + count(control, "delay");
        return;
      case "goaway":
        if (!isNewest) return;
        link.retry = count(control, "retry");
        this.#shut(link, codes.LEFT);
        return link.phase === "live" ? this.#lost(link, 1006) : this.#failed(link, 1006);
      case "reset":
        if (isNewest) this.#end(count(control, "code"), link.complaint || "reset");
        return;
      case "event":
        return this.#stream.notify(control);
      case "auth_required":
        this.#out("credential", count(control, "deadline"));
        return;
      case "error":
        link.complaint = text(control, "msg", true) ?? "";
        return;
      default:
        throw new Fault(`bad control ${control.t}`);
    }
  }

  #listen(link: Link): void {
    const { heartbeat, probeTimeout } = this.#policy;
    const verdict = link.judge(this.#now, this.#deadMs, heartbeat, probeTimeout);
    if (verdict === "ask") link.write("p");
    if (verdict !== "lost") return;
    this.#out("drop", link.key);
    this.#lost(link, 1006);
  }

  #settle(): void {
    if (this.#state !== "closed" && this.#welcome) this.#stream.settle(this.#link, this.#now);
  }

  #sendCredential(link: Link): void {
    link.write(JSON.stringify({ t: "auth", cred: this.#credential }));
  }

  // --- Ends ---

  #faulted(link: Link, fault: Fault): void {
    if (link === this.#link && link.number !== this.#number) {
      // Its successor has been announced; a hole here only says that the gateway writes there now.
      if (fault.code === codes.GAP) return;
      this.#shut(link, fault.code, fault.message);
      return this.#lost(link, 1006);
    }
    if (!this.#welcome && !this.#policy.require) {
      // Some servers echo the first subprotocol they are offered. This is no gateway.
      this.#gatewaySeen = false;
      this.#shut(link, codes.LEFT);
      return this.#dial(true);
    }
    this.#shut(link, fault.code, fault.message);
    this.#end(fault.code, fault.message);
  }

  /** The link that carried the session is gone. */
  #lost(link: Link, code: number): void {
    const isNewest = link.number === this.#number;
    this.#detach();
    if (isNewest && codes.isFinal(code)) return this.#end(code, link.complaint);
    if (isNewest && code === codes.EXPIRED) return this.#askCredential(link);
    if (!this.#next) this.#retryAt = this.#now + (link.retry ?? this.#retry.afterLink(this.#now - link.liveAt));
  }

  /** A link that was to carry the session never did. */
  #failed(link: Link, code: number): void {
    const wasGreeted = link.phase === "greeting";
    this.#next = undefined;
    if (wasGreeted && codes.isFinal(code)) return this.#end(code, link.complaint);
    if (!this.#welcome && (link.isPlain || !this.#gatewaySeen)) {
      // Browsers fail a connection whose subprotocols are all ignored; without the token it may work.
      if (!link.isPlain && !this.#policy.require) return this.#dial(true);
      if (!this.#policy.insist) return this.#end(code, link.complaint);
    }
    if (wasGreeted && this.#link) {
      // The gateway may have moved the session to the link that failed, and writes to it alone.
      this.#shut(this.#link, codes.LEFT);
      this.#detach();
    }
    this.#retry.failures++;
    if (this.#retry.isSpent && !this.#link) return this.#giveUp();
    if (wasGreeted && code === codes.EXPIRED) return this.#askCredential(link);
    this.#retryAt = this.#now + (link.retry ?? this.#retry.afterFailure());
  }

  #detach(): void {
    this.#link = undefined;
    this.#become("resuming");
    this.#giveUpAt = this.#now + this.#welcome!.grace + this.#policy.patience;
  }

  #giveUp(): void {
    this.#end(this.#welcome ? codes.UNKNOWN_SESSION : 1006, "gave up");
  }

  #askCredential(link: Link): void {
    if (!this.#policy.credential) return this.#end(codes.EXPIRED, link.complaint);
    this.#retryAt = Infinity;
    this.#out("credential", this.#welcome?.grace ?? this.#policy.answerTimeout);
  }

  #end(code: number, reason: string, clean = false): void {
    if (this.#state === "closed") return;
    for (const link of [this.#link, this.#next]) if (link) this.#shut(link, 1000);
    this.#retryAt = this.#giveUpAt = Infinity;
    this.#become("closed");
    this.#out("end", code, reason, clean);
  }

  // --- Small things ---

  get #deadMs(): number {
    return 2.5 * Math.min(this.#welcome?.hb ?? Infinity, this.#policy.heartbeat);
  }

  #find(key: number): Link | undefined {
    return [this.#link, this.#next].find((link) => link?.key === key);
  }

  #shut(link: Link, code: number, reason = ""): void {
    if (link === this.#link) this.#link = undefined;
    if (link === this.#next) this.#next = undefined;
    this.#out("shut", link.key, code, reason);
  }

  #become(state: State): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#out("state", state);
  }

  /** Takes another address for the next link, if it is one of the same scheme. */
  #moveTo(url: string | null | undefined): void {
    if (!url) return;
    try {
      if (new URL(url).protocol === new URL(this.#firstUrl).protocol) this.#url = url;
    } catch {
      // The gateway proposes; an address that cannot be read is no reason to lose the session.
    }
  }
}
