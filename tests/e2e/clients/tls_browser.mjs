// Chromium opens a WebSocket over TLS: `tls_browser.mjs https://HOST:PORT CERTIFICATE`.
// The certificate's own key is trusted, and nothing else that browsers check is turned off.
import assert from "node:assert/strict";
import { X509Certificate, createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { withBrowser } from "./browser.mjs";

const [page, certificate] = process.argv.slice(2);
const key = new X509Certificate(readFileSync(certificate)).publicKey;
const pin = createHash("sha256").update(key.export({ type: "spki", format: "der" })).digest("base64");

await withBrowser({ args: [`--ignore-certificate-errors-spki-list=${pin}`] }, async (context) => {
  const tab = await context.newPage();
  const answer = await tab.goto(`${page}/health/live`);
  assert.equal(answer.status(), 200);
  assert.match((await answer.securityDetails()).protocol, /^TLS 1\.3$/);
  const lengths = await tab.evaluate(async (base) => {
    const socket = new WebSocket(base.replace("https:", "wss:") + "/echo");
    socket.binaryType = "arraybuffer";
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onclose = (event) => reject(new Error(`closed with ${event.code}`));
    });
    const lengths = [];
    for (const size of [0, 1, 125, 126, 65535, 65536, 1 << 20, 8 << 20]) {
      const answered = new Promise((resolve) => (socket.onmessage = resolve));
      const sent = new Uint8Array(size).map((_, index) => index * 7);
      socket.send(sent);
      const back = new Uint8Array((await answered).data);
      if (!back.every((byte, index) => byte === sent[index])) throw new Error(`${size} differs`);
      lengths.push(back.length);
    }
    const closed = new Promise((resolve) => (socket.onclose = resolve));
    socket.close(1000);
    lengths.push((await closed).code);
    return lengths;
  }, page);
  assert.deepEqual(lengths, [0, 1, 125, 126, 65535, 65536, 1 << 20, 8 << 20, 1000]);
  console.log("sizes: echoed in the browser over TLS");
});
console.log("done");
