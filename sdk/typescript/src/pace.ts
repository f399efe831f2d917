// When the client says what it has: often enough to keep the gateway's window open, rarely enough not
// to cost a frame per message. One for each link, because what was said dies with the link.

const ITEMS_MAX = 32;
const DELAY_MS = 200;
const SPACING_MS = 25;

export class AckPace {
  #said = -1;
  #saidAt = -Infinity;
  #bytes = 0;
  #oldestAt?: number;

  readonly #windowBytes: number;

  constructor(windowBytes: number) {
    this.#windowBytes = windowBytes;
  }

  /** Notes that the next item arrived. */
  note(bytes: number, now: number): void {
    this.#oldestAt ??= now;
    this.#bytes += bytes;
  }

  /** Whether to say `recv` now; `urgent` (a ping, a close) sets the pace aside, not the need. */
  isDue(recv: number, now: number, urgent = false): boolean {
    if (recv <= this.#said) return false;
    return urgent || now >= this.deadline(recv);
  }

  deadline(recv: number): number {
    if (recv <= this.#said) return Infinity;
    const many = recv - this.#said >= ITEMS_MAX || this.#bytes * 4 >= this.#windowBytes;
    return Math.max(this.#saidAt + SPACING_MS, many ? 0 : (this.#oldestAt ?? 0) + DELAY_MS);
  }

  /** Notes that `recv` was said. */
  say(recv: number, now: number): void {
    this.#said = recv;
    this.#saidAt = now;
    this.#bytes = 0;
    this.#oldestAt = undefined;
  }
}
