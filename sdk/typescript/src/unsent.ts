// What the application sent and the session does not have yet: a Blob has to be read first, and whatever is
// sent meanwhile waits behind it.

import { type Payload, utf8Length } from "./grammar.js";

export type Sendable = string | ArrayBufferLike | ArrayBufferView | Blob;

/** What the session can be told: a message, or the application's close. */
export type Ready = [input: "send", body: Payload, bytes: number] | [input: "close", code: number, reason: string];

export class Unsent {
  readonly #parts: (Ready | Blob)[] = [];
  #isReading = false;
  /** Payload bytes waiting here. */
  bytes = 0;

  readonly #pass: (ready: Ready) => void;
  readonly #fail: (reason: string) => void;

  constructor(pass: (ready: Ready) => void, fail: (reason: string) => void) {
    this.#pass = pass;
    this.#fail = fail;
  }

  get length(): number {
    return this.#parts.length;
  }

  push(part: Ready | Blob): void {
    this.bytes += sizeOfPart(part);
    this.#parts.push(part);
    if (!this.#isReading) this.#next();
  }

  #next(): void {
    for (let first = this.#parts[0]; first; first = this.#parts[0]) {
      if (first instanceof Blob) return this.#read(first);
      this.#parts.shift();
      this.bytes -= sizeOfPart(first);
      this.#pass(first);
    }
  }

  #read(blob: Blob): void {
    this.#isReading = true;
    void blob.arrayBuffer().then(
      (buffer) => {
        this.#isReading = false;
        this.#parts[0] = ["send", new Uint8Array(buffer), blob.size];
        this.#next();
      },
      (error) => this.#fail(`bad Blob: ${error}`),
    );
  }
}

/** The size of a message in bytes; a close has none. */
export const sizeOfPart = (part: Ready | Blob): number =>
  part instanceof Blob ? part.size : part[0] === "send" ? part[2] : 0;

/** What was sent, in a form that the application cannot change any more. */
export function capture(data: Sendable): Ready | Blob {
  if (data instanceof Blob) return data;
  // An ArrayBuffer, one that is shared, or a view; also one of another frame's.
  const { buffer = data, byteOffset = 0, byteLength = -1 } = Object(data);
  if (byteLength >= 0) return ["send", new Uint8Array(buffer, byteOffset, byteLength).slice(), byteLength];
  const text = `${data}`;
  return ["send", text, utf8Length(text)];
}
