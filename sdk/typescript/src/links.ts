// The platform's sockets, by the session's keys.

import { LEFT } from "./codes.js";
import { type Payload, utf8Length } from "./grammar.js";
import type { NativeSocket, WebSocketConstructor } from "./options.js";
import type { Given } from "./session.js";

/** The platform's own, remembered before anything of ours takes its name. */
const Native = globalThis.WebSocket as unknown as WebSocketConstructor | undefined;

const OPEN = 1;

/** Told what happens to links. */
export type Report = <I extends "opened" | "received" | "closed">(input: I, ...given: Given<I>) => void;

export class Links {
  readonly #sockets = new Map<number, NativeSocket>();
  readonly #report: Report;
  readonly #Constructor?: WebSocketConstructor;

  constructor(report: Report, Constructor = Native) {
    this.#report = report;
    this.#Constructor = Constructor;
  }

  /** Throws what the platform's constructor throws. */
  dial(key: number, url: string, protocols: string[]): void {
    if (!this.#Constructor) {
      throw new TypeError("no WebSocket on this platform");
    }
    const socket = new this.#Constructor(url, protocols);
    socket.binaryType = "arraybuffer";
    this.#sockets.set(key, socket);
    socket.onopen = () => this.#report("opened", key, socket.protocol);
    socket.onmessage = ({ data }) =>
      this.#report("received", key, typeof data === "string" ? data : new Uint8Array(data));
    // A close always follows, and says as much as there is to say.
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }) => {
      this.#sockets.delete(key);
      this.#report("closed", key, code, reason);
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
