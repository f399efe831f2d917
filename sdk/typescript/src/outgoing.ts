// What the application sent: numbered, cut into chunks, kept until the gateway acknowledged it.
//
// A message waits until the window has room for all of it, then gets its numbers. Numbered items are
// kept as the frames they go out as, so that a replay copies nothing. Which link they are written to,
// and when, is the session's business.

import { Fault, frame, type Payload, sizeOf, utf8SizeAt } from "./grammar.js";
import type { Welcome } from "./control.js";
import type { Policy } from "./options.js";

/** A numbered item as it goes over a link. */
export interface Sent {
  seq: number;
  kind: "m" | "n" | "x";
  /** What of it counts in the window. */
  bytes: number;
  frame: Payload;
}

/** A message never has more chunks than this. */
export const CHUNKS_MAX = 1024;

type Waiting = { body: Payload; bytes: number; chunks?: Payload[] } | { end: string };

export class Outgoing {
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #kept: Sent[] = [];
  #keptBytes = 0;
  #keptItems = 0;
  #next = 1;
  #acked = 0;
  #windowBytes = 0;
  #windowItems = 0;
  #messageBytesMax = 0;
  #chunkBytesMax = 1;

  /** The highest number given out. */
  get sent(): number {
    return this.#next - 1;
  }

  get acked(): number {
    return this.#acked;
  }

  /** Payload bytes that the gateway has not acknowledged, sent or waiting. */
  get bytes(): number {
    return this.#waitingBytes + this.#keptBytes;
  }

  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  get waitingItems(): number {
    return this.#waiting.length;
  }

  /** The numbers still held, for `resume`; none when `lo` is above `hi`. */
  get held(): { lo: number; hi: number } {
    return { lo: this.#kept[0]?.seq ?? this.#next, hi: this.sent };
  }

  /** Takes the gateway's limits, and of each window the smaller. */
  allow({ win, max_msg, chunk }: Welcome, [bytes, items]: Policy["window"]): void {
    this.#windowBytes = Math.min(win[0], bytes);
    this.#windowItems = Math.min(win[1], items);
    this.#chunkBytesMax = chunk;
    // A text's chunks end on code points, so each may be up to three bytes short of full.
    this.#messageBytesMax = Math.min(max_msg, Math.max(chunk - 3, 1) * CHUNKS_MAX);
  }

  /** Why a message of this size can never be sent, if so. */
  refuses(bytes: number): string | undefined {
    const max = this.#messageBytesMax;
    return bytes > max ? `${bytes} bytes; the gateway takes ${max}` : undefined;
  }

  /** Takes a message; bytes must not change afterwards. */
  push(body: Payload, bytes = sizeOf(body)): void {
    this.#waiting.push({ body, bytes });
    this.#waitingBytes += bytes;
  }

  /** Ends the stream behind all that was pushed. */
  end(body: string): void {
    this.#waiting.push({ end: body });
  }

  /** Forgets what has no number yet; the application is leaving and cannot wait for a window. */
  abandonWaiting(): void {
    this.#waiting = [];
    this.#waitingBytes = 0;
  }

  /** Numbers what the window has room for and returns it, to be written in this order. */
  start(): Sent[] {
    const started: Sent[] = [];
    for (let first = this.#waiting[0]; first; first = this.#waiting[0]) {
      if ("end" in first) {
        this.#waiting.shift();
        started.push(this.#keep("x", first.end, 0));
        continue;
      }
      const chunks = (first.chunks ??= cut(first.body, first.bytes, this.#chunkBytesMax));
      const fits =
        this.#keptBytes + first.bytes <= this.#windowBytes &&
        this.#keptItems + chunks.length <= this.#windowItems;
      // With nothing on its way any message may start: a window of 1 must pass the largest.
      if (!fits && this.#keptItems) break;
      this.#waiting.shift();
      this.#waitingBytes -= first.bytes;
      const last = chunks.length - 1;
      chunks.forEach((chunk, at) => {
        const bytes = last ? sizeOf(chunk) : first.bytes;
        started.push(this.#keep(at < last ? "n" : "m", chunk, bytes));
      });
    }
    return started;
  }

  #keep(kind: Sent["kind"], body: Payload, bytes: number): Sent {
    const seq = this.#next++;
    const sent = { seq, kind, bytes, frame: frame(kind, seq, body) };
    this.#kept.push(sent);
    this.#keptBytes += bytes;
    if (kind !== "x") this.#keptItems++;
    return sent;
  }

  /** Forgets everything up to `seq`. Says whether that was the end of the stream. */
  ack(seq: number): boolean {
    if (seq > this.sent) throw new Fault(`bad a${seq}`);
    let ended = false;
    this.#acked = Math.max(this.#acked, seq);
    for (let first = this.#kept[0]; first && first.seq <= seq; first = this.#kept[0]) {
      this.#kept.shift();
      this.#keptBytes -= first.bytes;
      if (first.kind === "x") ended = true;
      else this.#keptItems--;
    }
    return ended;
  }

  /** Everything that is held from `seq` on, for a new link. */
  from(seq: number): Sent[] {
    return this.#kept.slice(Math.max(seq - this.held.lo, 0));
  }

  /** The messages, or ends of messages, that the numbers `lo` to `hi` carried and that are still held. */
  messages(lo: number, hi: number): Payload[] {
    const messages: Payload[] = [];
    let chunks: Payload[] = [];
    for (const { seq, kind, frame } of this.from(lo)) {
      if (seq > hi || kind === "x") break;
      const head = String(seq).length + 2;
      chunks.push(typeof frame === "string" ? frame.slice(head) : frame.subarray(head));
      if (kind === "m") {
        messages.push(join(chunks));
        chunks = [];
      }
    }
    return messages;
  }
}

/** Cuts a message into chunks of at most `max` bytes; text only between code points. */
function cut(body: Payload, bytes: number, max: number): Payload[] {
  if (bytes <= max) return [body];
  const chunks: Payload[] = [];
  for (let from = 0; from < body.length; ) {
    const isText = typeof body === "string";
    const to = isText ? endOfChunk(body, from, max) : from + max;
    chunks.push(isText ? body.slice(from, to) : body.subarray(from, to));
    from = to;
  }
  return chunks;
}

/** Where the chunk of `text` that begins at `from` ends. It always has one code point. */
function endOfChunk(text: string, from: number, max: number): number {
  let at = from;
  for (let bytes = 0; at < text.length; ) {
    const size = utf8SizeAt(text, at);
    bytes += size;
    if (bytes > max && at > from) break;
    at += size === 4 ? 2 : 1;
  }
  return at;
}

/** Joins the chunks of one message. */
export function join(chunks: Payload[]): Payload {
  if (chunks.length === 1) return chunks[0]!;
  if (typeof chunks[0] === "string") return chunks.join("");
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks as Uint8Array[]) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
