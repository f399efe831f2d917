// The control objects that a gateway sends, read strictly: a field that is missing or of another kind is
// a fault, a field that is not known is ignored. Fields keep the names of the wire.

import { type Control, Fault } from "./grammar.js";

export interface Welcome {
  token: string;
  protocol?: string | null;
  /** Bytes and items that may be unacknowledged c2b. */
  win: [number, number];
  max_msg: number;
  chunk: number;
  hb: number;
  grace: number;
  resume_url?: string | null;
}

export function readWelcome(control: Control): Welcome {
  text(control, "sid");
  text(control, "token");
  text(control, "protocol", true);
  text(control, "resume_url", true);
  count(control, "grace");
  for (const key of ["max_msg", "chunk", "hb"]) count(control, key, 1);
  for (const at of [0, 1]) count(control.win, at, 1);
  if (control.link !== 1) throw new Fault("bad link");
  return control as unknown as Welcome;
}

export interface Resumed {
  token: string;
  link: number;
  recv: number;
  lo: number;
  hi: number;
}

export function readResumed(control: Control): Resumed {
  text(control, "token");
  for (const key of ["link", "recv", "lo", "hi"]) count(control, key);
  return control as unknown as Resumed;
}

/** A whole number of at least `min`, as every number of the protocol is. */
export function count(from: any, key: string | number, min = 0): number {
  const value = from?.[key];
  if (!Number.isSafeInteger(value) || value < min) throw new Fault(`bad ${key}`);
  return value;
}

/** A text; with `optional`, also null or nothing. */
export function text(from: Control, key: string, optional = false): string | undefined {
  const value = from[key];
  if (optional && (value ?? "") === "") return undefined;
  if (typeof value !== "string" || !value) throw new Fault(`bad ${key}`);
  return value;
}
