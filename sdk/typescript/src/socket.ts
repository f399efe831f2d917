// A WebSocket whose connection may be lost and replaced while it stays open.
//
// Does what `Session` decides: owns the clock and the timer, lends it the platform's sockets (`links.ts`), and
// shows the session as the platform's own `WebSocket` would show itself.
//
// Start at `DurableWebSocket`.

import { readProtocols, readUrl } from "./address.js";
import { closeEvent, defineHandlers } from "./events.js";
import { type Payload, utf8Length } from "./grammar.js";
import { Links } from "./links.js";
import { type NativeSocket, type Options, type Policy, policyOf } from "./options.js";
import type { Deeds, Notice, State } from "./output.js";
import { type Given, type Input, Session, TOKEN } from "./session.js";
import { capture, type Sendable, sizeOfPart, Unsent } from "./unsent.js";
import { watchNetwork } from "./wake.js";

const CONNECTING = 0;
const OPEN = 1;
const CLOSING = 2;
const CLOSED = 3;

/** `send` has nowhere to put the message: the window and the queue behind it are full. */
export class BufferFull extends Error {
  override readonly name = "BufferFull";
}

export interface UncertainEvent extends Event {
  /** Messages that the backend may or may not have handled before it was lost. */
  readonly messages: readonly (string | ArrayBuffer)[];
}

export interface NoticeEvent extends Event {
  readonly notice: Notice;
}

export interface DurableEventMap extends WebSocketEventMap {
  statechange: Event;
  resumed: Event;
  uncertain: UncertainEvent;
  notice: NoticeEvent;
}

type HandlerOf<E> = ((this: DurableWebSocket, event: E) => unknown) | null;

export interface DurableWebSocket {
  readonly CONNECTING: 0;
  readonly OPEN: 1;
  readonly CLOSING: 2;
  readonly CLOSED: 3;
  onopen: HandlerOf<Event>;
  onmessage: HandlerOf<MessageEvent>;
  onerror: HandlerOf<Event>;
  onclose: HandlerOf<CloseEvent>;
  onstatechange: HandlerOf<Event>;
  onresumed: HandlerOf<Event>;
  onuncertain: HandlerOf<UncertainEvent>;
  onnotice: HandlerOf<NoticeEvent>;
  addEventListener<T extends keyof DurableEventMap>(
    type: T,
    listener: HandlerOf<DurableEventMap[T]>,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

export class DurableWebSocket extends EventTarget {
  declare static readonly CONNECTING: 0;
  declare static readonly OPEN: 1;
  declare static readonly CLOSING: 2;
  declare static readonly CLOSED: 3;

  /** Options for every socket of this class; a subclass may have its own. See `withOptions`. */
  static options: Options = {};

  /** A class with these options, for libraries that want a constructor of two arguments. */
  static withOptions(options: Options): typeof DurableWebSocket {
    const inherited = this.options;
    return class extends this {
      static override options = { ...inherited, ...options };
    };
  }

  readonly #url: string;
  readonly #origin: string;
  readonly #options: Options;
  readonly #policy: Policy;
  readonly #session: Session;
  readonly #links: Links;
  readonly #unsent: Unsent;
  readonly #unwatch: () => void;
  #plain?: NativeSocket;
  #readyState = CONNECTING;
  #protocol = "";
  #binaryType = "blob";
  #resumed = 0;
  #uncertain = 0;
  /** What was sent after closing: nobody takes it, but it counts, as the standard wants. */
  #refusedBytes = 0;
  #timer?: ReturnType<typeof setTimeout>;
  #timerAt = Infinity;
  #isDraining = false;

  constructor(url: string | URL, protocols: string | Iterable<string> = [], options: Options = {}) {
    super();
    if (!arguments.length) throw new TypeError("too few arguments");
    this.#url = readUrl(url);
    this.#origin = new URL(this.#url).origin;
    const offered = readProtocols(protocols).filter((name) => name !== TOKEN);
    this.#options = { ...new.target.options, ...options };
    this.#policy = policyOf(this.#options);
    this.#session = new Session(this.#url, offered, this.#policy, Math.random);
    this.#links = new Links((...told) => this.#drive(...told), this.#options.WebSocket);
    this.#unsent = new Unsent((ready) => this.#drive(...(ready as ["send", Payload, number])), (reason) => this.#abort(1011, reason));
    this.#drive("start");
    this.#unwatch = watchNetwork((sign) => this.#drive(sign));
  }

  get url(): string {
    return this.#url;
  }

  get readyState(): number {
    return this.#plain && this.#readyState !== CLOSED ? this.#plain.readyState : this.#readyState;
  }

  /** What was sent and is not acknowledged, in bytes of payload. */
  get bufferedAmount(): number {
    const unacknowledged = this.#plain ? this.#plain.bufferedAmount : this.#session.queue.bytes;
    return unacknowledged + this.#unsent.bytes + this.#refusedBytes;
  }

  /** What the backend chose of the application's subprotocols. */
  get protocol(): string {
    return this.#protocol;
  }

  /** Those of a plain socket; what links negotiate is between them and the gateway. */
  get extensions(): string {
    return this.#plain?.extensions ?? "";
  }

  get binaryType(): string {
    return this.#binaryType;
  }

  set binaryType(type: string) {
    if (type === "blob" || type === "arraybuffer") this.#binaryType = type;
    if (this.#plain) this.#plain.binaryType = this.#binaryType;
  }

  /** What carries the messages now. */
  get state(): State {
    return this.#session.state;
  }

  /** How many times a new link took over. */
  get resumed(): number {
    return this.#resumed;
  }

  /** How many messages the backend may or may not have handled; the event `uncertain` has them. */
  get uncertain(): number {
    return this.#uncertain;
  }

  send(data: Sendable): void {
    if (!arguments.length) throw new TypeError("too few arguments");
    // A private field is read before anything is judged: on somebody else's object that is a TypeError.
    if (this.#plain) return this.#plain.send(data);
    if (this.#readyState === CONNECTING) {
      throw new DOMException("not open yet", "InvalidStateError");
    }
    const message = capture(data);
    const bytes = sizeOfPart(message);
    if (this.#readyState !== OPEN) this.#refusedBytes += bytes;
    else if (this.#hasRoom(bytes)) this.#unsent.push(message);
  }

  /** Written so that it has no argument that must be given, as `length` shows. */
  close(...[code, reason]: [code?: number, reason?: string]): void {
    // Before anything is judged, as in `send`.
    const plain = this.#plain;
    // The nearest whole number, and of two as near the even one: `[Clamp]` of Web IDL.
    const status = code === undefined ? code : Math.round(code) - +(code % 2 === 0.5);
    const isAllowed = status === undefined ? reason === undefined : status === 1000 || (status >= 3000 && status <= 4999);
    if (!isAllowed) throw new DOMException(`bad code ${status}`, "InvalidAccessError");
    // A lone surrogate cannot be sent; the platform replaces it.
    const text = (reason === undefined ? "" : `${reason}`).replace(/\p{Surrogate}/gu, "\uFFFD");
    if (utf8Length(text) > 123) throw new DOMException("bad reason: over 123 bytes", "SyntaxError");
    if (plain) return plain.close(code, reason);
    if (this.#readyState >= CLOSING) return;
    this.#readyState = CLOSING;
    this.#unsent.push(["close", status ?? 1005, text]);
  }

  /** Gives the gateway a new login, asked for or not. */
  authenticate(credential: string): void {
    this.#drive("authenticate", credential);
  }

  #hasRoom(bytes: number): boolean {
    const [queueBytes, queueItems] = this.#policy.queue;
    const { waitingBytes, waitingItems } = this.#session.queue;
    const refusal = this.#session.refuses(bytes);
    const isFull =
      waitingBytes + this.#unsent.bytes + bytes > queueBytes ||
      waitingItems + this.#unsent.length >= queueItems;
    if (!refusal && !isFull) return true;
    if (this.#options.overflow === "close") {
      this.#refusedBytes += bytes;
      this.#abort(1009, refusal ?? "queue full");
      return false;
    }
    if (refusal) throw new RangeError(refusal);
    throw new BufferFull(`no room for ${bytes} bytes`);
  }

  #abort(code: number, reason: string): void {
    this.#readyState = CLOSING;
    this.#drive("abort", code, reason);
  }

  // --- Doing what the session decides ---

  #drive<I extends Input>(input: I, ...given: Given<I>): void {
    (this.#session[input] as (...given: unknown[]) => void)(...given, performance.now());
    // Listeners may call back in; what that asks for is done by the loop that is running.
    if (this.#isDraining) return;
    this.#isDraining = true;
    try {
      for (let output = this.#session.poll(); output; output = this.#session.poll()) {
        const [deed, ...given] = output;
        (this.#deeds[deed] as (...given: unknown[]) => void)(...given);
      }
    } finally {
      this.#isDraining = false;
    }
    this.#schedule();
  }

  /** A timer that comes early costs one look; moving it with each message would cost more. */
  #schedule(): void {
    const at = this.#session.deadline();
    if (at === Infinity) return this.#stop();
    if (at >= this.#timerAt) return;
    this.#stop();
    this.#timerAt = at;
    // A timer cannot be set for longer than this, and a look in between does no harm.
    const delay = Math.min(Math.max(at - performance.now(), 0), 2 ** 31 - 1);
    this.#timer = setTimeout(() => {
      this.#timerAt = Infinity;
      this.#drive("tick");
    }, delay);
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#timerAt = Infinity;
  }

  readonly #deeds: Deeds = {
    dial: (key, url, protocols) => {
      try {
        this.#links.dial(key, url, protocols);
      } catch (error) {
        // Only the application's own call is told; later there is nobody to catch it.
        if (key === 1) throw error;
        this.#session.closed(key, 1006, `${error}`, performance.now());
      }
    },
    write: (key, data) => this.#links.write(key, data),
    shut: (key, code, reason) => this.#links.shut(key, code, reason),
    drop: (key) => this.#links.drop(key),
    plain: (key) => {
      const plain = this.#links.take(key)!;
      this.#plain = plain;
      this.#unwatch();
      plain.binaryType = this.#binaryType;
      plain.onmessage = ({ data }) => this.#message(data);
      plain.onerror = () => this.#emit("error");
      plain.onclose = ({ code, reason, wasClean }) => this.#closed({ code, reason, wasClean });
      this.#deeds.open(plain.protocol);
    },
    open: (protocol) => {
      this.#protocol = protocol;
      this.#readyState = OPEN;
      this.#emit("open");
    },
    state: () => this.#emit("statechange"),
    resumed: () => {
      this.#resumed++;
      this.#emit("resumed");
    },
    message: (data) => {
      // What was under way when the application closed is delivered no more.
      if (this.#readyState !== OPEN) return;
      const asBlob = this.#binaryType === "blob" && typeof data !== "string";
      this.#message(asBlob ? new Blob([data as BlobPart]) : plainData(data));
    },
    notice: (notice, uncertain) => {
      this.#emit("notice", { notice });
      this.#uncertain += uncertain.length;
      if (uncertain.length) this.#emit("uncertain", { messages: uncertain.map(plainData) });
    },
    credential: (deadline) => {
      // No answer is an answer too: the gateway's own deadline decides then.
      void Promise.resolve(this.#options.credential?.(deadline)).then(
        (credential) => credential !== undefined && this.authenticate(credential),
        () => {},
      );
    },
    end: (code, reason, wasClean) => {
      this.#unwatch();
      // Never inside the application's own call of `close`.
      queueMicrotask(() => {
        // Listeners of both events find the socket closed.
        this.#readyState = CLOSED;
        if (!wasClean) this.#emit("error");
        this.#closed({ code, reason, wasClean });
      });
    },
  };

  #message(data: unknown): void {
    this.dispatchEvent(new MessageEvent("message", { data, origin: this.#origin }));
  }

  #closed(init: { code: number; reason: string; wasClean: boolean }): void {
    this.#readyState = CLOSED;
    this.dispatchEvent(closeEvent(init));
  }

  #emit(type: string, fields: object = {}): void {
    this.dispatchEvent(Object.assign(new Event(type), fields));
  }
}

// As the platform's: its name, and what a loop over a socket finds. The first property is the constructor.
Object.defineProperty(DurableWebSocket, "name", { value: "WebSocket" });
Object.defineProperty(DurableWebSocket.prototype, Symbol.toStringTag, { value: "WebSocket", configurable: true });
for (const name of Object.getOwnPropertyNames(DurableWebSocket.prototype).slice(1)) {
  Object.defineProperty(DurableWebSocket.prototype, name, { enumerable: true });
}
for (const [name, value] of Object.entries({ CONNECTING, OPEN, CLOSING, CLOSED })) {
  for (const owner of [DurableWebSocket, DurableWebSocket.prototype]) {
    Object.defineProperty(owner, name, { value, enumerable: true });
  }
}
defineHandlers(DurableWebSocket.prototype, [
  "open", "message", "error", "close", "statechange", "resumed", "uncertain", "notice",
]);

/** Text, or a buffer that holds just these bytes. */
const plainData = (data: Payload): string | ArrayBuffer =>
  typeof data === "string" ? data : (data.slice().buffer as ArrayBuffer);
