// Signs that the network may have changed, as far as the platform gives any: a page that is shown again, a
// machine that is online again, a frozen tab that goes on.

/** Calls `wake` at such a sign and `leave` when the page goes away for good; returns how to stop. */
export function watchNetwork({ wake, leave }: { wake: () => void; leave: () => void }): () => void {
  const { document } = globalThis;
  const target: Partial<EventTarget> = globalThis as unknown as EventTarget;
  // Node has the class, but nobody to listen to.
  if (!target.addEventListener) return () => {};
  const shown = () => document.visibilityState === "visible" && wake();
  const hidden = (event: Event) => {
    // A page that the browser keeps may come back, and its session with it.
    if (!(event as PageTransitionEvent).persisted) leave();
  };
  const signs: [Partial<EventTarget> | undefined, string, (event: Event) => void][] = [
    [target, "online", wake],
    [target, "pageshow", wake],
    [target, "pagehide", hidden],
    [document, "visibilitychange", shown],
    [document, "resume", wake],
    [(globalThis.navigator as { connection?: EventTarget } | undefined)?.connection, "change", wake],
  ];
  for (const [on, type, listener] of signs) on?.addEventListener?.(type, listener);
  return () => {
    for (const [on, type, listener] of signs) on?.removeEventListener?.(type, listener);
  };
}
