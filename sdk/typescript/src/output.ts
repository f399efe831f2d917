// What a session asks of the one who owns its sockets: the name of a deed and its arguments. Links go by
// the key under which they were dialled.

import type { Payload } from "./grammar.js";

export interface Deeds {
  /** Open a WebSocket and report `opened`, `received` and `closed` under this key. */
  dial(link: number, url: string, protocols: string[]): void;
  write(link: number, data: Payload): void;
  /** Close with a handshake. Nothing of this link is wanted any more. */
  shut(link: number, code: number, reason: string): void;
  /** Get rid of a link that is dead. */
  drop(link: number): void;
  /** No gateway is there: the link is the application's own WebSocket now, and the session is over. */
  plain(link: number): void;
  /** The session stands; `protocol` is what the backend chose. */
  open(protocol: string): void;
  state(state: State): void;
  /** A new link carries the session. */
  resumed(): void;
  message(data: Payload): void;
  /** The gateway says what happened behind it, and which messages may or may not have been handled. */
  notice(notice: Notice, uncertain: Payload[]): void;
  /** A new credential is wanted within so many milliseconds. */
  credential(deadline: number): void;
  /** The end, once. */
  end(code: number, reason: string, clean: boolean): void;
}

export type Output = { [Deed in keyof Deeds]: [Deed, ...Parameters<Deeds[Deed]>] }[keyof Deeds];

/** What carries the messages at the moment. */
export type State =
  /** There is no session yet. */
  | "connecting"
  /** A link carries the session. */
  | "live"
  /** The link is lost; messages wait while another is made. */
  | "resuming"
  /** There is no gateway: this is a plain WebSocket. */
  | "plain"
  | "closed";

/** An event of the session: a new backend leg and why, or whatever else the gateway reports. */
export interface Notice {
  /** The number of the backend's connection that messages come from, from here on. */
  leg?: number;
  reason?: string;
  [more: string]: unknown;
}
