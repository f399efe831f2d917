// Chromium on a page over TLS: `http2_browser.mjs https://HOST:PORT PROTOCOL STATUS`. Opens a WebSocket
// from it and checks in the browser's own network events how both came: by `h2` and 200, in a stream of
// the page's connection, or by `http/1.1` and 101.
import { withBrowser } from "./browser.mjs";

const [base, protocol, status] = process.argv.slice(2);

// What is shown here is HTTP; whose certificate it is, other stories ask.
const args = ["--ignore-certificate-errors"];

await withBrowser({ args }, async (context) => {
  const page = await context.newPage();
  const events = await context.newCDPSession(page);
  const handshakes = [];
  const protocols = [];
  events.on("Network.webSocketHandshakeResponseReceived", ({ response }) => handshakes.push(response));
  events.on("Network.responseReceived", ({ response }) => protocols.push(response.protocol));
  await events.send("Network.enable");
  await page.goto(`${base}/health/ready`);
  if (protocols[0] !== protocol) throw new Error(`the page came by ${protocols}`);
  const echoed = await page.evaluate(async (url) => {
    const socket = new WebSocket(url, ["chat.v1", "chat.v2"]);
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = () => reject(new Error("no WebSocket"));
    });
    // The empty one goes before the long one: behind a message that fills its pipe, Chromium may forget
    // an empty message (its own network log shows that no frame was sent).
    const messages = ["hello", "", "x".repeat(100_000)];
    const answers = [];
    const all = new Promise((resolve) => {
      socket.onmessage = ({ data }) => answers.push(data) === messages.length && resolve();
    });
    messages.forEach((message) => socket.send(message));
    await all;
    const closed = new Promise((resolve) => (socket.onclose = resolve));
    socket.close(3000, "enough");
    const { code, wasClean } = await closed;
    return { same: answers.join() === messages.join(), code, wasClean, protocol: socket.protocol };
  }, `${base.replace("https", "wss")}/echo`);
  const expected = { same: true, code: 3000, wasClean: true, protocol: "chat.v2" };
  if (JSON.stringify(echoed) !== JSON.stringify(expected)) throw new Error(JSON.stringify(echoed));
  const statuses = handshakes.map((handshake) => String(handshake.status));
  if (statuses.join() !== status) throw new Error(`the handshake was answered ${statuses}`);
  console.log(`page: ${protocol}, WebSocket handshake: ${status}`);
  console.log("done");
});
