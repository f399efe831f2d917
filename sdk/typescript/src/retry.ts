// When to try again. At once after a link that had lasted, since that one was cut by something that cuts
// now and then; ever later after links that did not, since whatever is wrong there is still wrong.

/** How a lost link is replaced; times in milliseconds. */
export interface RetryPolicy {
  /** After a link that lasted, the first try comes within this time. Spreads a crowd. */
  first: number;
  /** Then, and after a link that did not last, these one after the other; each times 0.5 to 1.5. */
  delays: readonly number[];
  /** A link that lived this long has lasted. */
  lasted: number;
  /** Gives up after so many tries in a row without an answer. */
  attempts: number;
}

export const RETRY: RetryPolicy = {
  first: 500,
  delays: [2000, 4000, 8000, 16_000, 32_000, 60_000],
  lasted: 30_000,
  attempts: Infinity,
};

export class Retry {
  /** Tries in a row that brought no answer. */
  failures = 0;
  #step = 0;

  readonly #policy: RetryPolicy;
  readonly #random: () => number;

  constructor(policy: RetryPolicy, random: () => number) {
    this.#policy = policy;
    this.#random = random;
  }

  get isSpent(): boolean {
    return this.failures >= this.#policy.attempts;
  }

  /** How long to wait after a link that carried the session for `lived` milliseconds. */
  afterLink(lived: number): number {
    if (lived < this.#policy.lasted) return this.afterFailure();
    this.#step = 0;
    return this.#random() * this.#policy.first;
  }

  /** How long to wait after a try that failed. */
  afterFailure(): number {
    const { delays } = this.#policy;
    const delay = delays[Math.min(this.#step++, delays.length - 1)] ?? 0;
    return delay * (0.5 + this.#random());
  }
}
