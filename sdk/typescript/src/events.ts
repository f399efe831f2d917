// Events as the platform makes them, also where it does not (Node before 23 has no `CloseEvent`), and the
// `onmessage` kind of property.

type CloseInit = { code: number; reason: string; wasClean: boolean };

/** A `CloseEvent`. */
export const closeEvent = (init: CloseInit): Event =>
  globalThis.CloseEvent ? new CloseEvent("close", init) : Object.assign(new Event("close"), init);

type Handler = ((event: Event) => unknown) | null;

/** Gives `prototype` the property `on<type>` for each type, with the order of calls that HTML asks for. */
export function defineHandlers(prototype: EventTarget, types: string[]): void {
  // The getter reads a private field, and somebody else's object has none: that is the error wanted.
  const checkOwner = (socket: EventTarget): unknown => Reflect.get(prototype, "url", socket);
  for (const type of types) {
    const slots = new WeakMap<EventTarget, { handler: Handler; listener: (event: Event) => void }>();
    const name = `on${type}`;
    // Of an object, so that its functions have the names that the platform's have.
    const property: object & ThisType<EventTarget> = {
      get [name](): Handler {
        checkOwner(this);
        return slots.get(this)?.handler ?? null;
      },
      set [name](value: unknown) {
        checkOwner(this);
        let slot = slots.get(this);
        if (Object(value) !== value) {
          this.removeEventListener(type, slot?.listener ?? null);
          slots.delete(this);
          return;
        }
        // A handler that replaces another keeps its place among the listeners. An object that cannot be
        // called may be set, and is not called.
        if (!slot) {
          slot = { handler: null, listener: (event) => slot!.handler?.call?.(this, event) };
          slots.set(this, slot);
          this.addEventListener(type, slot.listener);
        }
        slot.handler = value as Handler;
      },
    };
    Object.defineProperty(prototype, name, Object.getOwnPropertyDescriptor(property, name)!);
  }
}
