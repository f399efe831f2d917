// Turns one WebSocket message into an item of the protocol and back.
//
// Judges form only. Whether an item may come now, is new, or fits is the session's business.
//
// Start at `parse`.

import { FAULT } from "./codes.js";

/** What one WebSocket message carries: text or bytes. */
export type Payload = string | Uint8Array;

/** A numbered item: message (or its last chunk), chunk, end of stream, or event. */
export interface Sequenced {
  kind: "m" | "n" | "x" | "e";
  seq: number;
  body: Payload;
}

/** A control object; which fields it must have depends on `t`. */
export type Control = { t: string } & Record<string, unknown>;

export type Item =
  | Sequenced
  | { kind: "a"; seq: number }
  | { kind: "p" | "q"; nonce: string }
  | { kind: "{"; control: Control };

/** A peer broke the protocol; `code` is the close code that tells it so. */
export class Fault extends Error {
  constructor(
    message: string,
    readonly code: number = FAULT,
  ) {
    super(message);
  }
}

/** Caps a control object, in bytes. */
const CONTROL_BYTES_MAX = 8192;
/** The longest head is a kind, 16 digits and a semicolon. */
const HEAD_BYTES_MAX = 18;
const SEQUENCED = /^([mnxe])([1-9]\d{0,15});/;
const ACK = /^a(0|[1-9]\d{0,15})$/;
const PROBE = /^[pq][a-zA-Z0-9]{0,16}$/;

/** Reads one item; throws a `Fault` when it is not well formed. */
export function parse(frame: Payload): Item {
  const isText = typeof frame === "string";
  const head = isText ? frame : latin1(frame.subarray(0, HEAD_BYTES_MAX));
  const [match, kind, digits] = SEQUENCED.exec(head) ?? [];
  if (match) return sequenced(kind as Sequenced["kind"], number(digits!), frame, match.length);
  if (!isText) throw new Fault("bad bytes");
  if (PROBE.test(frame)) return { kind: frame[0] as "p" | "q", nonce: frame.slice(1) };
  const ack = ACK.exec(frame);
  if (ack) return { kind: "a", seq: number(ack[1]!) };
  if (frame[0] === "{") return { kind: "{", control: object(frame) as Control };
  throw new Fault("bad item");
}

function sequenced(kind: Sequenced["kind"], seq: number, frame: Payload, head: number): Sequenced {
  const body = typeof frame === "string" ? frame.slice(head) : frame.subarray(head);
  if (kind === "n" && !body.length) throw new Fault("bad chunk");
  if (kind === "x" || kind === "e") {
    if (typeof body !== "string") throw new Fault(`bad ${kind}`);
    if (kind === "x") parseEnd(body);
    else object(body);
  }
  return { kind, seq, body };
}

/** Reads the body of an `x`: why the application on the other side closed. */
export function parseEnd(body: string): { code: number; reason: string } {
  const digits = /^(\d{4});/.exec(body)?.[1];
  const code = Number(digits);
  const reason = body.slice(5);
  const known =
    (code >= 1000 && code <= 1014 && code !== 1004 && code !== 1006) ||
    (code >= 3000 && code <= 4999);
  if (!digits || !known || (code === 1005 && reason) || utf8Length(reason) > 123) {
    throw new Fault("bad end");
  }
  return { code, reason };
}

function object(text: string): Record<string, unknown> {
  if (utf8Length(text) > CONTROL_BYTES_MAX) throw new Fault("bad size");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Falls through to the same fault as a value that is no object.
  }
  if (typeof value !== "object" || !value || Array.isArray(value)) throw new Fault("bad object");
  return value as Record<string, unknown>;
}

function number(digits: string): number {
  const value = Number(digits);
  if (value > Number.MAX_SAFE_INTEGER) throw new Fault("bad number");
  return value;
}

/** Writes a numbered item. */
export function frame(kind: Sequenced["kind"], seq: number, body: Payload): Payload {
  const head = `${kind}${seq};`;
  if (typeof body === "string") return head + body;
  const bytes = new Uint8Array(head.length + body.length);
  for (let at = 0; at < head.length; at++) bytes[at] = head.charCodeAt(at);
  bytes.set(body, head.length);
  return bytes;
}

/** How many bytes a string takes on the wire. */
export function utf8Length(text: string): number {
  let bytes = 0;
  for (let at = 0; at < text.length; at++) {
    const size = utf8SizeAt(text, at);
    if (size === 4) at++;
    bytes += size;
  }
  return bytes;
}

/**
 * How many bytes the code point at `at` takes: four when it is two code units. A lone surrogate goes out
 * as U+FFFD, which takes three like any other of its range.
 */
export function utf8SizeAt(text: string, at: number): number {
  const unit = text.charCodeAt(at);
  if (unit < 0x80) return 1;
  if (unit < 0x800) return 2;
  return (unit & 0xfc00) === 0xd800 && (text.charCodeAt(at + 1) & 0xfc00) === 0xdc00 ? 4 : 3;
}

const latin1 = (bytes: Uint8Array): string => String.fromCharCode(...bytes);

/** The size of a payload on the wire. */
export const sizeOf = (payload: Payload): number =>
  typeof payload === "string" ? utf8Length(payload) : payload.length;
