// Signs that the network may have changed, as far as the platform gives any: a page that is shown again, a
// machine that is online again, a frozen tab that goes on.

/** Calls `tell` with what the sign means: look at the link, or say goodbye. Returns how to stop. */
export function watchNetwork(tell: (sign: "wake" | "leave") => void): () => void {
  const { document } = globalThis;
  const target: Partial<EventTarget> = globalThis as unknown as EventTarget;
  const wake = () => tell("wake");
  const shown = () => document.visibilityState === "visible" && wake();
  // A page that the browser keeps may come back, and its session with it.
  const hidden = (event: Event) => (event as PageTransitionEvent).persisted || tell("leave");
  const signs: [Partial<EventTarget> | undefined, string, (event: Event) => void][] = [
    [target, "online", wake],
    [target, "pageshow", wake],
    [target, "pagehide", hidden],
    [document, "visibilitychange", shown],
    [document, "resume", wake],
    [(globalThis.navigator as { connection?: EventTarget } | undefined)?.connection, "change", wake],
  ];
  // Node has none of them to listen to.
  for (const [on, type, listener] of signs) on?.addEventListener?.(type, listener);
  return () => {
    for (const [on, type, listener] of signs) on?.removeEventListener?.(type, listener);
  };
}
