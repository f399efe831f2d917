// Puts the durable WebSocket in the place of the platform's, for pages that are not ours to change.

import { readUrl } from "./address.js";
import type { Options } from "./options.js";
import { DurableWebSocket } from "./socket.js";

export interface InstallOptions extends Options {
  /** Which addresses become durable (those of the page's own host; everywhere else, all). */
  match?: (url: URL) => boolean;
}

/** Replaces `globalThis.WebSocket`; returns how to undo it. */
export function install({ match = ofThisHost, ...options }: InstallOptions = {}): () => void {
  const platform = globalThis.WebSocket;
  // Libraries swallow what `send` throws, so a full queue closes the socket, as the platform's would.
  const Durable = DurableWebSocket.withOptions({ overflow: "close", ...options });
  const Installed = new Proxy(Durable, {
    construct(_, [url, protocols]: [string | URL, string | string[] | undefined], target) {
      if (!platform || match(new URL(readUrl(url)))) return Reflect.construct(Durable, [url, protocols], target);
      return new platform(url, protocols);
    },
  });
  globalThis.WebSocket = Installed as unknown as typeof WebSocket;
  return () => {
    globalThis.WebSocket = platform;
  };
}

const ofThisHost = ({ host }: URL): boolean => !globalThis.location || host === globalThis.location.host;
