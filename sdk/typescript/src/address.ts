// Reads what a WebSocket is constructed with, and complains as the platform does (WHATWG WebSockets §3.1).

/** The address that a URL names, relative to the page if there is one. */
export function readUrl(url: string | URL): string {
  let address = "";
  try {
    address = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href).href.replace(/^http/, "ws");
  } catch {
    // No URL is a bad one.
  }
  if (!/^wss?:/.test(address) || address.includes("#")) throw new DOMException(`bad URL '${url}'`, "SyntaxError");
  return address;
}

/** What RFC 9110 calls a token. */
const SUBPROTOCOL = /^[!#$%&'*+\-.^`|~\w]+$/;

/** The application's subprotocols. */
export function readProtocols(protocols: string | Iterable<string>): string[] {
  const isList = typeof protocols !== "string" && Object(protocols)[Symbol.iterator];
  const list = Array.from(isList ? protocols : [protocols], (name) => `${name}`);
  if (list.some((name) => !SUBPROTOCOL.test(name)) || new Set(list).size < list.length) {
    throw new DOMException(`bad protocols '${list}'`, "SyntaxError");
  }
  return list;
}
