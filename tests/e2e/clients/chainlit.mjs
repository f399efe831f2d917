// A person at a Chainlit page: `chainlit.mjs http://HOST:PORT/ SCREENSHOT [--upload] [--durable | --injected]`.
//
// Sends three messages and waits for each streamed answer. Fails unless the page talked over a
// WebSocket and the tokens came as frames of their own. With `--durable`, one script tag is put into the page and
// every connection is cut in the middle of each answer: the page must not notice. With `--injected` the gateway has to
// have put the tag there. Prints what it saw, then `done`.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { CHANGED_PAGES, withBrowser } from "./browser.mjs";
import { cutterBefore } from "./cutter.mjs";

const [gateway, screenshot, ...flags] = process.argv.slice(2);
const [upload, durable, injected] = ["--upload", "--durable", "--injected"].map((flag) => flags.includes(flag));
const cutter = durable && (await cutterBefore(new URL(gateway).host));
const base = durable ? `http://${cutter.address}/` : gateway;

await withBrowser({ args: durable ? CHANGED_PAGES : [] }, async (context) => {
  const page = await context.newPage();
  const sockets = [];
  let tokens = 0;
  page.on("websocket", (socket) => {
    sockets.push(socket.url());
    socket.on("framereceived", ({ payload }) => {
      if (payload.toString().includes('"stream_token"')) tokens += 1;
    });
  });
  let handshakes = 0;
  page.on("request", (request) => {
    const { searchParams } = new URL(request.url());
    if (searchParams.has("EIO") && !searchParams.has("sid")) handshakes += 1;
  });
  if (durable) await makeDurable(page);
  await page.goto(base);
  if (injected) assert.equal(await page.evaluate(() => WebSocket.prototype instanceof Longhaul.WebSocket), true);
  const welcome = page.getByText(/^Welcome to \S+$/);
  await welcome.waitFor();
  const replica = (await welcome.textContent()).split(" ").at(-1);
  console.log("welcomed by", replica);

  for (const number of [1, 2, 3]) {
    const before = tokens;
    if (upload) await attach(page, `notes-${number}.txt`);
    // While an answer is not over for the page, it has a button that stops it, and sends nothing.
    await page.locator("#stop-button").waitFor({ state: "detached" });
    await page.locator("#chat-input").click();
    await page.keyboard.type(`message ${number}`);
    await page.keyboard.press("Enter");
    if (durable) {
      await page.getByText(`${replica} streams`).nth(number - 1).waitFor();
      cutter.cut();
    }
    await page.getByText(`${replica} streams back: message ${number} (end)`).waitFor();
    assert.ok(tokens - before >= 5, `message ${number} came in ${tokens - before} token frames`);
    if (upload) await page.getByText(`file notes-${number}.txt has 100000 bytes`).waitFor();
  }
  assert.equal(await page.getByText("Could not reach the server").count(), 0);
  assert.ok(
    sockets.some((url) => url.includes("/ws/socket.io/") && url.includes("transport=websocket")),
    `no Socket.IO WebSocket among ${JSON.stringify(sockets)}`,
  );
  if (durable) {
    const links = sockets.filter((url) => url.includes("/ws/socket.io/")).length;
    assert.ok(links >= 3, `only ${links} links`);
    assert.equal(handshakes, 1, "one Engine.IO session all along");
    console.log(`cut ${cutter.cuts} connections, ${links} links carried one session`);
  }
  await page.screenshot({ path: screenshot });
  console.log(`three messages answered in ${tokens} token frames`);
});
cutter?.stop?.();
console.log("done");

/** Puts the client into the page as its owner would: by one tag before all other scripts. */
async function makeDurable(page) {
  const script = readFileSync(new URL("../../../sdk/typescript/dist/longhaul.js", import.meta.url), "utf8");
  const options = '{"require":true,"retry":{"first":50,"delays":[100]}}';
  await page.route("**/longhaul.js", (route) => route.fulfill({ body: script, contentType: "text/javascript" }));
  await page.route(base, async (route) => {
    const response = await route.fetch();
    const html = await response.text();
    const body = html.replace("<head>", `<head><script src="/longhaul.js" data-install='${options}'></script>`);
    assert.notEqual(body, html, "the page has a head to put the tag into");
    await route.fulfill({ response, body });
  });
}

/** Uploads a file, which must reach the replica that holds the session of this page. */
async function attach(page, name) {
  const answered = page.waitForResponse((response) => response.url().includes("/project/file"));
  const buffer = Buffer.alloc(100_000, "longhaul");
  await page
    .locator("input#upload-button-input")
    .setInputFiles({ name, mimeType: "text/plain", buffer });
  assert.equal((await answered).status(), 200, "the upload must reach the replica of the session");
}
