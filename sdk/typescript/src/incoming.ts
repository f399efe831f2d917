// What the gateway sent: in order, each once, chunks joined.
//
// `recv` says what need not be sent again; it counts the chunks of an unfinished message, since the
// client keeps those across links.

import { GAP, TOO_BIG } from "./codes.js";
import type { Welcome } from "./control.js";
import { Fault, type Payload, type Sequenced, sizeOf } from "./grammar.js";
import { CHUNKS_MAX, join } from "./outgoing.js";

export class Incoming {
  /** The highest number received without a hole. */
  recv = 0;
  #chunks: Payload[] = [];
  #bytes = 0;
  #ended = false;
  #messageBytesMax = 0;
  #chunkBytesMax = 0;

  allow({ max_msg, chunk }: Welcome): void {
    this.#messageBytesMax = max_msg;
    this.#chunkBytesMax = chunk;
  }

  /** Says whether the item is the next one; a repeated one is not. Throws at a hole. */
  isNext(item: Sequenced): boolean {
    if (item.seq <= this.recv) return false;
    if (item.seq === this.recv + 1) return true;
    throw new Fault(`${item.seq} after ${this.recv}`, GAP);
  }

  /**
   * Takes the next item and says how many bytes it counts; a message that it completes is in
   * `message`. Nothing is changed when it throws.
   */
  accept(item: Sequenced): { bytes: number; message?: Payload } {
    if (this.#ended) throw new Fault(`bad ${item.kind}`);
    const bytes = item.kind === "m" || item.kind === "n" ? this.#judge(item) : 0;
    if (this.#chunks.length && !"mn".includes(item.kind)) {
      throw new Fault(`bad ${item.kind}`);
    }
    this.recv = item.seq;
    this.#ended = item.kind === "x";
    if (item.kind === "x" || item.kind === "e") return { bytes };
    this.#chunks.push(item.body);
    this.#bytes += bytes;
    if (item.kind === "n") return { bytes };
    const message = join(this.#chunks);
    this.#chunks = [];
    this.#bytes = 0;
    return { bytes, message };
  }

  #judge({ kind, body }: Sequenced): number {
    const bytes = sizeOf(body);
    const [first] = this.#chunks;
    if (first !== undefined && typeof first !== typeof body) throw new Fault("bad opcode");
    const count = this.#chunks.length + (kind === "n" ? 2 : 1);
    if (bytes > this.#chunkBytesMax || this.#bytes + bytes > this.#messageBytesMax || count > CHUNKS_MAX) {
      throw new Fault(`${this.#bytes + bytes} bytes in ${count} chunks`, TOO_BIG);
    }
    return bytes;
  }
}
