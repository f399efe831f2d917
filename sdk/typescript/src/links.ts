// The platform's sockets, by the session's keys.

import { LEFT } from "./codes.js";
import { type Payload, utf8Length } from "./grammar.js";
import type { NativeSocket, WebSocketConstructor } from "./options.js";

/** The platform's own, remembered before anything of ours takes its name. */
const Native = globalThis.WebSocket as unknown as WebSocketConstructor | undefined;

const OPEN = 1;

/** What links report. */
export interface LinkEvents {
  opened(key: number, protocol: string): void;
  received(key: number, data: Payload): void;
  closed(key: number, code: number, reason: string): void;
}

export class Links {
  readonly #sockets = new Map<number, NativeSocket>();

  readonly #events: LinkEvents;
  readonly #Constructor?: WebSocketConstructor;

  constructor(events: LinkEvents, Constructor = Native) {
    this.#events = events;
    this.#Constructor = Constructor;
  }

  /** Throws what the platform's constructor throws. */
  dial(key: number, url: string, protocols: string[]): void {
    if (!this.#Constructor) {
      throw new TypeError("no WebSocket; pass one in the options");
    }
    const socket = new this.#Constructor(url, protocols);
    socket.binaryType = "arraybuffer";
    this.#sockets.set(key, socket);
    socket.onopen = () => this.#events.opened(key, socket.protocol);
    socket.onmessage = ({ data }) =>
      this.#events.received(key, typeof data === "string" ? data : new Uint8Array(data));
    // A close always follows, and says as much as there is to say.
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }) => {
      this.#sockets.delete(key);
      this.#events.closed(key, code, reason);
    };
  }

  /** A link that is closing takes nothing more; what it loses, the next one repeats. */
  write(key: number, data: Payload): void {
    const socket = this.#sockets.get(key);
    if (socket?.readyState === OPEN) socket.send(data);
  }

  /** Says goodbye; nothing more is heard of this link. */
  shut(key: number, code: number, reason: string): void {
    this.take(key)?.close(code, utf8Length(reason) > 123 ? "" : reason);
  }

  /** Ends a dead link, without a handshake where the platform can. */
  drop(key: number): void {
    const socket = this.take(key);
    if (socket?.terminate) socket.terminate();
    else socket?.close(LEFT);
  }

  /** Gives a socket out of hand. */
  take(key: number): NativeSocket | undefined {
    const socket = this.#sockets.get(key);
    this.#sockets.delete(key);
    if (socket) socket.onopen = socket.onmessage = socket.onclose = null;
    return socket;
  }
}
