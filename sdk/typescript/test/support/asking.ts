// How a question is put to a class of WebSockets.

export type Class = typeof WebSocket;
export type Probe = (WebSocket: Class, base: string) => unknown;

const DEADLINE_MS = 20_000;

/** What it throws, or what it gives. */
export const nameOf = (run: () => unknown): string => {
  try {
    const value = run();
    // What was made by the way is not wanted.
    if (value instanceof EventTarget) (value as WebSocket).close();
    return `no error${typeof value === "string" ? `: ${value}` : ""}`;
  } catch (error) {
    return (error as Error).name;
  }
};

export function once<E extends Event>(target: EventTarget, type: string): Promise<E> {
  return new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`no ${type}`)), DEADLINE_MS);
    target.addEventListener(type, (event) => resolve(event as E), { once: true });
  });
}

export async function opened(Class: Class, url: string, protocols?: string | string[]): Promise<WebSocket> {
  const socket = protocols === undefined ? new Class(url) : new Class(url, protocols);
  await once(socket, "open");
  return socket;
}

/** Writes down every event with the state it found. */
export function log(socket: WebSocket): string[] {
  const lines: string[] = [];
  for (const type of ["open", "message", "error", "close"]) {
    socket.addEventListener(type, (event) => {
      const { code, reason, wasClean } = event as CloseEvent;
      lines.push(`${type} ${socket.readyState}${type === "close" ? ` ${code} ${reason} ${wasClean}` : ""}`);
    });
  }
  return lines;
}

export const made = (url: unknown, protocols?: unknown): Probe => (Class) =>
  nameOf(() => new Class(url as string, protocols as string).url);

