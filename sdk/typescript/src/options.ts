// What an application may choose: every wait and every bound, with its default; and the sets of choices that
// have a name. Times in milliseconds, sizes in bytes.

import { RETRY, type RetryPolicy } from "./retry.js";

/** How a session behaves. */
export interface Policy {
  /** Never fall back to a plain WebSocket when no gateway answers. */
  require: boolean;
  /** Go on trying when the first connection cannot be made, instead of failing as a WebSocket does. */
  insist: boolean;
  retry: RetryPolicy;
  /** Ask for a sign of life after this much silence; 2.5 times as much is a dead link. The gateway has one too. */
  heartbeat: number;
  /** Bounds what is sent, or received, without acknowledgement. */
  window: readonly [bytes: number, items: number];
  /** Bounds what may wait for the window. */
  queue: readonly [bytes: number, items: number];
  /** For one connection to open. */
  dialTimeout: number;
  /** For the gateway's answer to a greeting. */
  answerTimeout: number;
  /** For a sign of life that was asked for because the network may have changed. */
  probeTimeout: number;
  /** For the first session, all tries together. */
  connectTimeout: number;
  /** Go on trying this much longer than the gateway keeps the session. */
  patience: number;
  /** Called when the gateway wants a new login; what it returns is sent. Without it an expired login is the end. */
  credential?: (deadline: number) => string | Promise<string>;
}

const POLICY: Policy = {
  require: false,
  insist: false,
  retry: RETRY,
  heartbeat: Infinity,
  window: [4 << 20, 4096],
  queue: [16 << 20, 16_384],
  dialTimeout: 10_000,
  answerTimeout: 10_000,
  probeTimeout: 2000,
  connectTimeout: 60_000,
  patience: 60_000,
};

export interface Options extends Partial<Omit<Policy, "retry">> {
  /** How lost links are replaced. */
  retry?: Partial<RetryPolicy>;
  /** When the queue is full, `send` throws `BufferFull` (the default), or the socket closes as the platform's would. */
  overflow?: "throw" | "close";
  /** The platform's WebSocket; `globalThis.WebSocket` when absent. */
  WebSocket?: WebSocketConstructor;
}

/** Options that go together. */
export const presets = {
  /** A phone behind networks that come and go: notices a dead link in 12.5 s, gives up after ten tries in a row. */
  phone: { heartbeat: 5000, insist: true, retry: { attempts: 10 } },
} as const satisfies Record<string, Options>;

/** Fills in the defaults. */
export const policyOf = (options: Options): Policy => ({
  ...POLICY,
  ...options,
  retry: { ...RETRY, ...options.retry },
});

/** A constructor like that of the platform's `WebSocket`, for platforms that have none. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => NativeSocket;

/** What is used of a platform's WebSocket; the browser's, Node's and that of the package `ws` fit. */
export interface NativeSocket {
  binaryType: string;
  readonly bufferedAmount: number;
  readonly extensions: string;
  readonly protocol: string;
  readonly readyState: number;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  send(data: any): void;
  close(code?: number, reason?: string): void;
  /** Ends without a closing handshake, where the platform can. */
  terminate?(): void;
}
