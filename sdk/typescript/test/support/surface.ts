// More of what a page can see, one level deeper: what the class is made of, which URLs and subprotocols it takes,
// how values are turned into what is sent. `docs/standards/websocket-api.md` says which of the platform's own tests ask
// for what.

import { type Class, log, made, nameOf, once, opened, type Probe } from "./asking.js";

const ATTRIBUTES = ["url", "readyState", "bufferedAmount", "onopen", "onerror", "onclose", "extensions", "protocol", "onmessage", "binaryType"];

/** Everything there is to know of a property. */
function shape(owner: object, name: PropertyKey): unknown {
  const found = Object.getOwnPropertyDescriptor(owner, name);
  if (!found) return "missing";
  const { get, set, value, writable, enumerable, configurable } = found;
  const isFunction = typeof value === "function";
  return {
    get: get && [get.name, get.length],
    set: set && [set.name, set.length],
    value: isFunction ? [value.name, value.length] : value,
    writable, enumerable, configurable,
  };
}

/** What came back, without all of it: type, length and a sum. */
async function echoed(Class: Class, base: string, data: string | Uint8Array<ArrayBuffer>): Promise<unknown> {
  const socket = await opened(Class, base);
  socket.binaryType = "arraybuffer";
  const answer = once<MessageEvent>(socket, "message");
  socket.send(data);
  const got = (await answer).data;
  socket.close();
  return typeof got === "string" ? [got.length, got === data] : [got.byteLength, new Uint8Array(got).every((byte) => byte === 7)];
}

const refused = (Class: Class, base: string, protocols: unknown[]) =>
  protocols.map((protocol) => nameOf(() => new Class(base, protocol as string)));

export const surface: Record<string, Probe> = {
  // What it is made of.
  "what its attributes are": ({ prototype }) => ATTRIBUTES.map((name) => [name, shape(prototype, name)]),
  "what its methods are": ({ prototype }) => ["close", "send"].map((name) => [name, shape(prototype, name)]),
  "what its tag is": ({ prototype }) => shape(prototype, Symbol.toStringTag),
  "all constants, wherever they are": (Class) =>
    ["CONNECTING", "OPEN", "CLOSING", "CLOSED"].map((name) => [shape(Class, name), shape(Class.prototype, name)]),
  "who made it": (Class, base) => {
    const socket = new Class(base);
    socket.close();
    return [socket.constructor === Class, socket instanceof Class, socket instanceof EventTarget, shape(Class.prototype, "constructor")];
  },
  "setters of somebody else": ({ prototype }) =>
    ["onopen", "binaryType"].map((name) =>
      nameOf(() => Object.getOwnPropertyDescriptor(prototype, name)!.set!.call({}, null))),
  "handlers of somebody else": ({ prototype }) =>
    ["onopen", "onmessage", "onerror", "onclose"].flatMap((name) => {
      const { get, set } = Object.getOwnPropertyDescriptor(prototype, name)!;
      return [prototype, {}, new EventTarget(), undefined, null, 1].flatMap((owner) =>
        [() => get!.call(owner), () => set!.call(owner, null), () => set!.call(owner, () => 1)].map(nameOf));
    }),
  "somebody else is refused before any argument is": ({ prototype }) =>
    [
      () => prototype.close.call({} as WebSocket, 7), () => prototype.close.call(prototype, 1000, "x".repeat(124)),
      () => prototype.send.call({ readyState: 0 } as WebSocket, "x"), () => prototype.send.call({ readyState: 1 } as WebSocket, "x"),
    ].map(nameOf),

  // URLs.
  "relative URLs": (Class, base) => {
    const http = base.slice(base.indexOf(":"), base.lastIndexOf("/"));
    return ["test", "/a/b?c=d", "./x/../y", "//127.0.0.1:4433/p", 123, null].map((url) =>
      nameOf(() => new Class(url as string).url.replace(http, "")));
  },
  "https for wss": made("https://127.0.0.1:4433/x"),
  "the default ports": (Class) =>
    ["ws://127.0.0.1:443/", "wss://127.0.0.1:443/", "wss://127.0.0.1:80/", "ws://127.0.0.1:0/"].map((url) => nameOf(() => new Class(url).url)),
  "URLs that are none": (Class) =>
    ["ws://", "ws://[", "ws://a b/", "ws://127.0.0.1:99999/", "wss://foo bar.com/", "http:// /", "ws://%/", "ws://127.0.0.1:x/"].map(
      (url) => nameOf(() => new Class(url))),
  "schemes of other kinds": (Class) =>
    ["blob:ws://x/", "data:,x", "file:///x", "javascript:1", "urn:x", "wsx://127.0.0.1/"].map((url) => nameOf(() => new Class(url))),
  "what a URL is turned into": (Class) =>
    ["ws://127.0.0.1:4433/é€?é#".slice(0, -1), "  ws://127.0.0.1:4433/x\n", "ws:127.0.0.1:4433/x", "ws:\\\\127.0.0.1:4433\\x", "ws://0x7f.1:4433/",
      "ws://127.0.0.1:4433/\uD800x", "ws://127.0.0.1:4433/%zz?%", "ws://user:word@127.0.0.1:4433/"].map((url) => nameOf(() => new Class(url).url)),
  "things that turn into a URL": (Class, base) =>
    [{ toString: () => base }, [base], Symbol("x"), { toString: () => { throw new RangeError("no"); } }].map((url) =>
      nameOf(() => new Class(url as unknown as string).url === base)),
  "ports that browsers refuse": async (Class) =>
    Promise.all([7, 25, 6000, 6667].map(async (port) => {
      const socket = new Class(`ws://127.0.0.1:${port}/`);
      const lines = log(socket);
      await once(socket, "close");
      return lines;
    })),

  // Subprotocols.
  "characters that no subprotocol has": (Class, base) =>
    refused(Class, base, [...Array.from({ length: 33 }, (_, code) => `a${String.fromCharCode(code)}b`),
      ...`()<>@,;:\\"/[]?={}\u007f\u0080\u00ff€😀`].map((text) => text)),
  "characters that one may have": (Class, base) => refused(Class, base, ["!#$%&'*+-.^_`|~09azAZ"]),
  "lists of subprotocols": (Class, base) =>
    refused(Class, base, [["a", "b", "a"], ["a", ""], ["a", "b c"], [], [undefined], [null, "null"], [1, 2], new Set(["a", "b"]), new Set(["a", " "])]),
  "things that turn into a subprotocol": (Class, base) =>
    refused(Class, base, [1, true, {}, { toString: () => "chat" }, new String("chat"), new String("aa"), Symbol("x"), [Symbol("x")],
      [{ toString: () => "chat" }], () => 1]),
  "a subprotocol that nobody chose": async (Class, base) => {
    const socket = await opened(Class, base, "chat");
    const { protocol } = socket;
    socket.close();
    return [protocol, socket.protocol];
  },

  // Events.
  "an event of one's own": (Class, base) => {
    const socket = new Class(base);
    socket.close();
    const seen: unknown[] = [];
    socket.onmessage = ({ data, type }) => seen.push([type, data]);
    socket.onopen = ({ type }) => seen.push(type);
    socket.addEventListener("own", ({ type }) => seen.push(type));
    for (const event of [new MessageEvent("message", { data: 5 }), new Event("open"), new Event("own")]) {
      seen.push(socket.dispatchEvent(event));
    }
    return seen;
  },
  "an object for a handler": async (Class, base) => {
    const socket = await opened(Class, base);
    let calls = 0;
    socket.onmessage = { handleEvent: () => calls++ } as any;
    const answer = once(socket, "message");
    socket.send("x");
    await answer;
    socket.close();
    return calls;
  },
  "a handler that is taken back": async (Class, base) => {
    const socket = await opened(Class, base);
    const seen: string[] = [];
    socket.onclose = () => seen.push("handler");
    socket.addEventListener("close", () => seen.push("listener"), { once: true });
    socket.onclose = null;
    socket.close();
    await once(socket, "close");
    return seen;
  },
  "sending as soon as it is open": async (Class, base) => {
    const socket = new Class(base);
    socket.onopen = () => socket.send("at once");
    const { data } = await once<MessageEvent>(socket, "message");
    socket.close();
    return data;
  },

  // Messages.
  ...Object.fromEntries(
    [1, 125, 126, 127, 128, 65_534, 65_535, 65_536, 200_000].flatMap((length): [string, Probe][] => [
      [`${length} letters and back`, (Class, base) => echoed(Class, base, "x".repeat(length))],
      [`${length} bytes and back`, (Class, base) => echoed(Class, base, new Uint8Array(length).fill(7))],
    ]),
  ),
  "surrogates, in pairs and alone": async (Class, base) => {
    const socket = await opened(Class, base);
    const got: string[] = [];
    socket.onmessage = ({ data }) => got.push(data);
    for (const text of ["\uD83D\uDE00", "\uDC00", "\uDC00\uD800", "x\uD800\uD83D\uDE00", "\uFFFE\uFFFF"]) socket.send(text);
    socket.send("close 3000 end");
    await once(socket, "close");
    return got;
  },
  "many large messages at once": async (Class, base) => {
    const socket = await opened(Class, base);
    socket.binaryType = "arraybuffer";
    let bytes = 0;
    socket.onmessage = ({ data }) => (bytes += data.byteLength);
    for (let count = 0; count < 40; count++) socket.send(new Uint8Array(65_536));
    socket.send("close 3000 end");
    await once(socket, "close");
    return bytes;
  },
  "binaryType between two messages": async (Class, base) => {
    const socket = await opened(Class, base);
    const seen: string[] = [];
    for (const type of ["arraybuffer", "blob", "arraybuffer"] as const) {
      socket.binaryType = type;
      const answer = once<MessageEvent>(socket, "message");
      socket.send(Uint8Array.of(1));
      seen.push((await answer).data.constructor.name);
    }
    socket.close();
    return seen;
  },
  "things that turn into text": async (Class, base) => {
    const socket = await opened(Class, base);
    const got: string[] = [];
    socket.onmessage = ({ data }) => got.push(data);
    const names = [{ toString: () => "own" }, true, -0, 1n, () => 1, Symbol("x"), new Date(NaN)].map((data) =>
      nameOf(() => socket.send(data as unknown as string)).replace(/no error.*/, "no error"));
    socket.send("close 3000 end");
    await once(socket, "close");
    return [names, got];
  },
  "bufferedAmount stands still while a script runs": async (Class, base) => {
    const socket = await opened(Class, base);
    socket.send("x".repeat(5_000));
    const before = socket.bufferedAmount;
    const until = performance.now() + 30;
    while (performance.now() < until);
    const after = socket.bufferedAmount;
    socket.close();
    return [before, after];
  },
  "bufferedAmount of what comes too late": async (Class, base) => {
    const socket = await opened(Class, base);
    socket.close();
    const amounts = [socket.bufferedAmount];
    for (const data of ["€", new Uint8Array(100), new Blob(["1234"]), "x".repeat(10_000)]) {
      socket.send(data);
      amounts.push(socket.bufferedAmount);
    }
    await once(socket, "close");
    return [...amounts, socket.bufferedAmount];
  },

  // Closing.
  ...Object.fromEntries(
    Object.entries({
      "between two codes": 1000.5, "between two of an application's": 3000.5, "without an end": Infinity,
      "true": true, "an object": { valueOf: (): number => 3001 }, "a big one": 3000n, "a symbol": Symbol("x"), "with spaces": " 3002 ", "a list": [3003],
    }).map(([name, code]): [string, Probe] => [
      `close with a code that is ${name}`,
      async (Class, base) => {
        const socket = await opened(Class, base);
        const lines = log(socket);
        const thrown = nameOf(() => socket.close(code as number, "why"));
        if (thrown !== "no error") socket.close();
        await once(socket, "close");
        return [thrown, lines];
      },
    ]),
  ),
  "things that turn into a reason": async (Class, base) =>
    Promise.all([null, undefined, 5, { toString: () => "own" }, ["a", "b"], Symbol("x")].map(async (reason) => {
      const socket = await opened(Class, base);
      const lines = log(socket);
      const thrown = nameOf(() => socket.close(3000, reason as unknown as string));
      if (thrown !== "no error") socket.close();
      await once(socket, "close");
      return [thrown, lines];
    })),
  "close inside a close": async (Class, base) => {
    const socket = await opened(Class, base);
    const lines = log(socket);
    const names: string[] = [];
    socket.onclose = () => names.push(nameOf(() => socket.close()), nameOf(() => socket.close(999)));
    socket.close(3000);
    await once(socket, "close");
    return [names, lines];
  },
  "close inside the opening": async (Class, base) => {
    const socket = new Class(base);
    const lines = log(socket);
    socket.onopen = () => socket.close(3000, "at once");
    await once(socket, "close");
    return lines;
  },
  "a bad close changes nothing": async (Class, base) => {
    const socket = await opened(Class, base);
    const names = [nameOf(() => socket.close(1004)), nameOf(() => socket.close(1000, "€".repeat(42)))];
    const states = [socket.readyState];
    const answer = once<MessageEvent>(socket, "message");
    socket.send("still there");
    const { data } = await answer;
    socket.close();
    states.push(socket.readyState);
    return [names, states, data];
  },
};
