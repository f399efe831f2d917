// What a page can see of a WebSocket, as a list of questions. The same questions go to the platform's class and
// to ours: a drop-in replacement gives the same answers. They follow the areas of the platform's own tests:
// construction, constants, events, binaryType, bufferedAmount, close, protocol, readyState, send, url.

import { type Class, log, made, nameOf, once, opened, type Probe } from "./asking.js";
import { surface } from "./surface.js";

const DEADLINE_MS = 20_000;

async function show(data: unknown): Promise<string> {
  if (data instanceof Blob) return `Blob ${data.type} [${new Uint8Array(await data.arrayBuffer())}]`;
  if (data instanceof ArrayBuffer) return `ArrayBuffer [${new Uint8Array(data)}]`;
  return JSON.stringify(data);
}

async function echo(Class: Class, base: string, data: unknown, binaryType: BinaryType): Promise<string> {
  const socket = await opened(Class, base);
  socket.binaryType = binaryType;
  const answer = once<MessageEvent>(socket, "message");
  socket.send(data as string);
  const shown = await show((await answer).data);
  socket.close();
  return shown;
}

export const probes: Record<string, Probe> = {
  // Construction.
  "no argument": (Class) => nameOf(() => new (Class as any)()),
  "without new": (Class) => nameOf(() => (Class as any)("ws://127.0.0.1:1/")),
  "a space in the host": made("ws://foo bar.com/"),
  "a scheme of another kind": made("ftp://127.0.0.1/"),
  "mail": made("mailto:example@example.org"),
  "about": made("about:blank"),
  "a fragment": (Class, base) => nameOf(() => new Class(`${base}#test`)),
  "an empty fragment": (Class, base) => nameOf(() => new Class(`${base}#`)),
  "a space in the path": (Class, base) => nameOf(() => new Class(`${base}/a b`).url.slice(base.length)),
  "http for ws": (Class, base) =>
    nameOf(() => new Class(base.replace("ws:", "http:")).url.slice(0, base.length) === base),
  "the default port": (Class) => nameOf(() => new Class("ws://127.0.0.1:80/").url),
  "another port": (Class) => nameOf(() => new Class("wss://127.0.0.1:4433/x?y=z").url),
  "an empty path": (Class) => nameOf(() => new Class("ws://127.0.0.1:4433").url),
  "upper case": (Class) => nameOf(() => new Class("WS://LOCALHOST:4433/A").url),
  "a URL object": (Class, base) => nameOf(() => new Class(new URL(base)).url === base),
  "undefined protocols": (Class, base) => nameOf(() => new Class(base, undefined)),
  "no protocols": (Class, base) => nameOf(() => new Class(base, [])),
  "an empty protocol": (Class, base) => nameOf(() => new Class(base, "")),
  "an empty protocol in a list": (Class, base) => nameOf(() => new Class(base, [""])),
  "a space in a protocol": (Class, base) => nameOf(() => new Class(base, "ec ho")),
  "a separator in a protocol": (Class, base) => nameOf(() => new Class(base, "a/b")),
  "a control character in a protocol": (Class, base) => nameOf(() => new Class(base, "a\u0001b")),
  "another script's protocol": (Class, base) => nameOf(() => new Class(base, "\u0080echo")),
  "a list in one string": (Class, base) => nameOf(() => new Class(base, "a,b")),
  "a repeated protocol": (Class, base) => nameOf(() => new Class(base, ["chat", "chat"])),
  "a protocol repeated in another case": (Class, base) => nameOf(() => new Class(base, ["chat", "Chat"])),
  "null for protocols": (Class, base) => nameOf(() => new Class(base, null as any)),

  // Constants.
  "constants of the class": (Class) => [Class.CONNECTING, Class.OPEN, Class.CLOSING, Class.CLOSED],
  "constants of the prototype": ({ prototype }) => [prototype.CONNECTING, prototype.OPEN, prototype.CLOSING, prototype.CLOSED],
  "how constants are defined": (Class) =>
    [Class, Class.prototype].map((owner) => Object.getOwnPropertyDescriptor(owner, "CLOSING")),
  "constants cannot be changed": (Class) => [
    nameOf(() => ((Class as any).OPEN = 5)), Class.OPEN,
    nameOf(() => delete (Class as any).OPEN), Class.OPEN,
  ],
  "accessors live on the prototype": ({ prototype }) =>
    ["url", "readyState", "bufferedAmount", "extensions", "protocol", "binaryType", "onopen", "onmessage", "onerror", "onclose"].map(
      (name) => {
        const { get, set, configurable } = Object.getOwnPropertyDescriptor(prototype, name)!;
        return [name, !!get, !!set, configurable];
      },
    ),
  "the tag": (Class, base) => {
    const socket = new Class(base);
    socket.close();
    return String(socket);
  },
  "a new socket": (Class, base) => {
    const socket = new Class(base);
    const { readyState, bufferedAmount, protocol, extensions, binaryType, onopen, onmessage, onerror, onclose } = socket;
    socket.close();
    return { readyState, bufferedAmount, protocol, extensions, binaryType, onopen, onmessage, onerror, onclose };
  },
  "readonly properties": async (Class, base) => {
    const socket = await opened(Class, base);
    for (const name of ["url", "readyState", "bufferedAmount", "protocol", "extensions"]) {
      nameOf(() => ((socket as any)[name] = "changed"));
    }
    const { url, readyState, bufferedAmount, protocol, extensions } = socket;
    socket.close();
    return { url: url === base, readyState, bufferedAmount, protocol, extensions };
  },

  "what kind of class it is": (Class) => [
    Class.name, Class.length, Object.getPrototypeOf(Class) === EventTarget,
    Object.getPrototypeOf(Class.prototype) === EventTarget.prototype, Object.prototype.toString.call(Class.prototype),
    [Class.prototype.send.length, Class.prototype.close.length, Class.prototype.send.name],
    Object.getOwnPropertyDescriptor(Class, "prototype")!.writable,
  ],
  "what a loop over it finds": (Class, base) => {
    const socket = new Class(base);
    socket.close();
    const known = ["url", "readyState", "bufferedAmount", "onopen", "onerror", "onclose", "extensions", "protocol", "close",
      "onmessage", "binaryType", "send", "CONNECTING", "OPEN", "CLOSING", "CLOSED"];
    const found: string[] = [];
    for (const name in socket) found.push(name);
    return known.map((name) => [name, found.includes(name)]);
  },
  "methods of somebody else": (Class) => [
    nameOf(() => Class.prototype.send.call({} as WebSocket, "x")), nameOf(() => Class.prototype.close.call({} as WebSocket)),
    nameOf(() => Class.prototype.url), nameOf(() => Class.prototype.readyState), nameOf(() => Class.prototype.bufferedAmount),
  ],
  "properties cannot be deleted, and can be hidden": (Class, base) => {
    const socket: any = new Class(base);
    socket.close();
    const deleted = [nameOf(() => delete socket.bufferedAmount), nameOf(() => delete socket.readyState)];
    const before = [socket.bufferedAmount, socket.readyState];
    Object.defineProperty(socket, "bufferedAmount", { get: () => "hidden" });
    return [deleted, before, socket.bufferedAmount];
  },

  // Handlers.
  "what a handler may be": (Class, base) => {
    const socket = new Class(base);
    socket.close();
    const object = {};
    const values = [undefined, null, 1, "text", object, () => 1];
    return values.map((value) => {
      socket.onopen = value as any;
      return socket.onopen === value ? "kept" : socket.onopen;
    });
  },
  "the order of listeners": async (Class, base) => {
    const socket = await opened(Class, base);
    const order: string[] = [];
    socket.onmessage = () => order.push("replaced");
    socket.addEventListener("message", () => order.push("listener"));
    socket.onmessage = () => order.push("handler");
    const seen = once(socket, "message");
    socket.send("x");
    await seen;
    socket.onmessage = null;
    const again = once(socket, "message");
    socket.send("x");
    await again;
    socket.close();
    return order;
  },
  "this and the target": async (Class, base) => {
    const socket = new Class(base);
    const seen = await new Promise((resolve) => {
      socket.onopen = function (event) {
        resolve([this === socket, event.target === socket, event.currentTarget === socket, event.bubbles, event.cancelable]);
      };
    });
    socket.close();
    return seen;
  },

  // Messages.
  ...Object.fromEntries(
    Object.entries({
      "text": "hello", "no text": "", "all widths": "aé€😀\uFEFF\u0000", "a mark at the start": "\uFEFFx", "a lone surrogate": "a\uD800b",
      "a number": 12.5, "null": null, "undefined": undefined, "an object": { a: 1 }, "a list": [1, 2],
      "a buffer": Uint8Array.of(0, 1, 255).buffer, "no bytes": new ArrayBuffer(0),
      "a view": new Uint8Array([9, 8, 7, 6]).subarray(1, 3), "wide items": Uint16Array.of(1, 2, 3).subarray(1),
      "halves": Float32Array.of(1.5, -2), "wide halves": Float64Array.of(1.5, -2).subarray(1), "negative items": Int32Array.of(-1, 2),
      "a part of wide items": new Uint32Array(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8).buffer, 4, 1), "a data view": new DataView(Uint8Array.of(1, 2, 3, 4).buffer, 2, 1), "a blob": new Blob(["blob"]),
      "60 kB": "x".repeat(60_000), "60 kB of 😀": "😀".repeat(15_000), "100 kB of bytes": new Uint8Array(100_000).fill(7),
    }).flatMap(([name, data]) =>
      (["blob", "arraybuffer"] as const).map((type): [string, Probe] => [
        `echo of ${name} as ${type}`, (Class, base) => echo(Class, base, data, type),
      ]),
    ),
  ),
  "blobs keep their place": async (Class, base) => {
    const socket = await opened(Class, base);
    socket.binaryType = "arraybuffer";
    const got: unknown[] = [];
    socket.onmessage = ({ data }) => got.push(typeof data === "string" ? data : new TextDecoder().decode(data));
    for (const data of ["1", new Blob(["2".repeat(70_000)]), "3", new Blob(["4"]), new Blob([]), "5"]) socket.send(data);
    socket.send("close 3000 end");
    await once(socket, "close");
    return got;
  },
  "what is sent is what was there": async (Class, base) => {
    const socket = await opened(Class, base);
    socket.binaryType = "arraybuffer";
    const bytes = Uint8Array.of(1, 2, 3);
    socket.send(bytes);
    bytes.fill(9);
    const { data } = await once<MessageEvent>(socket, "message");
    socket.close();
    return show(data);
  },
  "a message event": async (Class, base) => {
    const socket = await opened(Class, base);
    const seen = once<MessageEvent>(socket, "message");
    socket.send("x");
    const { data, origin, lastEventId, source, ports, type, bubbles, cancelable } = await seen;
    socket.close();
    const isEvent = (await seen) instanceof MessageEvent;
    return { data, origin: origin === new URL(base).origin, lastEventId, source, ports, type, bubbles, cancelable, isEvent };
  },
  "binaryType takes two values": (Class, base) => {
    const socket = new Class(base);
    socket.close();
    return ["arraybuffer", "text", "blob", "notype", "", null].map((type) => {
      nameOf(() => (socket.binaryType = type as BinaryType));
      return socket.binaryType;
    });
  },
  "bufferedAmount of what was just sent": async (Class, base) => {
    const socket = await opened(Class, base);
    const amounts = [socket.bufferedAmount];
    for (const data of ["é€", new ArrayBuffer(10), new Blob(["12345"]), Uint16Array.of(1)]) {
      socket.send(data);
      amounts.push(socket.bufferedAmount);
    }
    socket.close();
    return amounts;
  },
  "bufferedAmount falls to nothing": async (Class, base) => {
    const socket = await opened(Class, base);
    socket.send("x".repeat(1000));
    const deadline = Date.now() + DEADLINE_MS;
    while (socket.bufferedAmount && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
    const { bufferedAmount } = socket;
    socket.close();
    return bufferedAmount;
  },
  "sending too early": (Class, base) => {
    const socket = new Class(base);
    const name = nameOf(() => socket.send("x"));
    socket.close();
    return name;
  },
  "sending nothing": async (Class, base) => {
    const socket = await opened(Class, base);
    const name = nameOf(() => (socket as any).send());
    socket.close();
    return name;
  },
  "sending too late": async (Class, base) => {
    const socket = await opened(Class, base);
    socket.close();
    const names = [nameOf(() => socket.send("12345")), socket.bufferedAmount];
    await once(socket, "close");
    return [...names, nameOf(() => socket.send("é")), socket.bufferedAmount];
  },

  // Subprotocols.
  "the chosen protocol": async (Class, base) => {
    const socket = await opened(Class, base, ["first", "chat"]);
    socket.close();
    return socket.protocol;
  },
  "a protocol as a string": async (Class, base) => {
    const socket = await opened(Class, base, "chat");
    socket.close();
    return socket.protocol;
  },

  // Closing.
  ...Object.fromEntries(
    [0, 999, 1000, 1001, 1005, 1006, 2999, 3000, 4999, 5000, 65_536, -1, NaN, null, undefined, "3000", "text", 3000.4].map(
      (code): [string, Probe] => [
        `close with ${JSON.stringify(code) ?? "undefined"}`,
        async (Class, base) => {
          const socket = await opened(Class, base);
          const lines = log(socket);
          const name = nameOf(() => socket.close(code as number, "why"));
          if (name !== "no error") socket.close();
          const state = socket.readyState;
          await once(socket, "close");
          return [name, state, lines];
        },
      ],
    ),
  ),
  "close without anything": async (Class, base) => {
    const socket = await opened(Class, base);
    const lines = log(socket);
    socket.close();
    await once(socket, "close");
    return lines;
  },
  "close with a code only": async (Class, base) => {
    const socket = await opened(Class, base);
    const lines = log(socket);
    socket.close(1000);
    await once(socket, "close");
    return lines;
  },
  "the longest reason": async (Class, base) => {
    const socket = await opened(Class, base);
    const lines = log(socket);
    socket.close(1000, "é".repeat(61) + "x");
    await once(socket, "close");
    return lines;
  },
  "a reason that is too long": async (Class, base) => {
    const socket = await opened(Class, base);
    const names = [nameOf(() => socket.close(1000, "x".repeat(124))), nameOf(() => socket.close(1000, "é".repeat(62)))];
    const { readyState } = socket;
    socket.close();
    return [names, readyState];
  },
  "a reason with a lone surrogate": async (Class, base) => {
    const socket = await opened(Class, base);
    const lines = log(socket);
    socket.close(1000, "a\uD807");
    await once(socket, "close");
    return lines;
  },
  "close while connecting": async (Class, base) => {
    const socket = new Class(base);
    const lines = log(socket);
    socket.close();
    const state = socket.readyState;
    await once(socket, "close");
    return [state, lines];
  },
  "close twice": async (Class, base) => {
    const socket = await opened(Class, base);
    const lines = log(socket);
    socket.close(3001, "first");
    socket.close(3002, "second");
    await once(socket, "close");
    socket.close();
    return [lines, socket.readyState];
  },
  "close inside a message": async (Class, base) => {
    const socket = await opened(Class, base);
    const lines = log(socket);
    socket.onmessage = () => socket.close(3000, "heard");
    for (let count = 0; count < 20; count++) socket.send("x");
    await once(socket, "close");
    return lines;
  },
  "close by the other end": async (Class, base) => {
    const socket = await opened(Class, base);
    const lines = log(socket);
    socket.send("close 4321 goodbye");
    const event = await once<CloseEvent>(socket, "close");
    return [lines, event instanceof CloseEvent, event.bubbles, event.cancelable];
  },
  "close by the other end without a reason": async (Class, base) => {
    const socket = await opened(Class, base);
    const lines = log(socket);
    socket.send("close 1000");
    await once(socket, "close");
    return lines;
  },
  "the life of a socket": async (Class, base) => {
    const socket = new Class(base);
    const lines = log(socket);
    await once(socket, "open");
    const seen = once(socket, "message");
    socket.send("x");
    await seen;
    socket.close();
    await once(socket, "close");
    return lines;
  },
  "nobody there": async (Class) => {
    const socket = new Class("ws://127.0.0.1:1/");
    const lines = log(socket);
    await once(socket, "close");
    return lines;
  },
  "refused after opening": async (Class, base) => {
    const socket = new Class(new URL("/refuse", base));
    const lines = log(socket);
    await once(socket, "close");
    return lines;
  },
  "not a WebSocket server": async (Class, base) => {
    const socket = new Class(new URL("/", base).href.replace(/:\d+/, ":9"));
    const lines = log(socket);
    await once(socket, "close");
    return lines;
  },
  ...surface,
};

/** The answers of a class, by question. */
export async function answers(Class: Class, base: string): Promise<Record<string, unknown>> {
  const all: Record<string, unknown> = {};
  await Promise.all(
    Object.entries(probes).map(async ([name, probe]) => {
      try {
        all[name] = await probe(Class, base);
      } catch (error) {
        all[name] = `failed: ${error}`;
      }
    }),
  );
  return all;
}
