// The package `longhaul`: a `WebSocket` that survives lost links, through a Longhaul gateway.

export { install, type InstallOptions } from "./install.js";
export { type NativeSocket, type Options, presets, type WebSocketConstructor } from "./options.js";
export type { Notice, State } from "./output.js";
export type { RetryPolicy } from "./retry.js";
export {
  BufferFull,
  DurableWebSocket,
  DurableWebSocket as WebSocket,
  type DurableEventMap,
  type NoticeEvent,
  type UncertainEvent,
} from "./socket.js";
export { DurableWebSocket as default } from "./socket.js";
