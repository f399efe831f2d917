// Reads what a WebSocket is constructed with, and complains as the platform does (WHATWG WebSockets §3.1).

/** The address that a URL names, relative to the page if there is one. */
export function readUrl(url: string | URL): string {
  let address: URL;
  try {
    address = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
  } catch {
    throw new DOMException(`bad URL '${url}'`, "SyntaxError");
  }
  const scheme = address.protocol.replace(/^http/, "ws");
  if (scheme !== "ws:" && scheme !== "wss:") {
    throw new DOMException(`bad scheme '${address.protocol}'`, "SyntaxError");
  }
  if (address.href.includes("#")) {
    throw new DOMException("bad URL: fragment", "SyntaxError");
  }
  return scheme + address.href.slice(address.protocol.length);
}

/** What RFC 9110 calls a token. */
const SUBPROTOCOL = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** The application's subprotocols. */
export function readProtocols(protocols: string | Iterable<string>): string[] {
  const isList = Object(protocols) === protocols;
  const list = (isList ? [...protocols] : [protocols]).map(String);
  if (list.some((name) => !SUBPROTOCOL.test(name)) || new Set(list).size < list.length) {
    throw new DOMException(`bad subprotocols '${list}'`, "SyntaxError");
  }
  return list;
}
