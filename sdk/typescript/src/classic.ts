// The package as one script: `Longhaul` has everything. With the attribute `data-install` it also takes the
// place of `window.WebSocket`; the attribute's value may be options as JSON, as in `{"retry":{"attempts":10}}`.

import { install } from "./install.js";
import { presets } from "./options.js";
import { BufferFull, DurableWebSocket } from "./socket.js";

declare global {
  var Longhaul: object;
}

globalThis.Longhaul = { BufferFull, DurableWebSocket, WebSocket: DurableWebSocket, install, presets };

const given = globalThis.document?.currentScript?.getAttribute("data-install");
if (typeof given === "string") install(given ? JSON.parse(given) : {});
