// A person at a Chainlit page: `chainlit.mjs http://HOST:PORT/ SCREENSHOT [--upload]`.
//
// Sends three messages and waits for each streamed answer. Fails unless the page talked over a
// WebSocket and the tokens came as frames of their own. Prints what it saw, then `done`.
import assert from "node:assert/strict";
import { withBrowser } from "./browser.mjs";

const [base, screenshot, upload] = process.argv.slice(2);

await withBrowser({}, async (context) => {
  const page = await context.newPage();
  const sockets = [];
  let tokens = 0;
  page.on("websocket", (socket) => {
    sockets.push(socket.url());
    socket.on("framereceived", ({ payload }) => {
      if (payload.toString().includes('"stream_token"')) tokens += 1;
    });
  });
  await page.goto(base);
  const welcome = page.getByText(/^Welcome to \S+$/);
  await welcome.waitFor();
  const replica = (await welcome.textContent()).split(" ").at(-1);
  console.log("welcomed by", replica);

  for (const number of [1, 2, 3]) {
    const before = tokens;
    if (upload) await attach(page, `notes-${number}.txt`);
    await page.locator("#chat-input").click();
    await page.keyboard.type(`message ${number}`);
    await page.keyboard.press("Enter");
    await page.getByText(`${replica} streams back: message ${number} (end)`).waitFor();
    assert.ok(tokens - before >= 5, `message ${number} came in ${tokens - before} token frames`);
    if (upload) await page.getByText(`file notes-${number}.txt has 100000 bytes`).waitFor();
  }
  assert.equal(await page.getByText("Could not reach the server").count(), 0);
  assert.ok(
    sockets.some((url) => url.includes("/ws/socket.io/") && url.includes("transport=websocket")),
    `no Socket.IO WebSocket among ${JSON.stringify(sockets)}`,
  );
  await page.screenshot({ path: screenshot });
  console.log(`three messages answered in ${tokens} token frames`);
});
console.log("done");

/** Uploads a file, which must reach the replica that holds the session of this page. */
async function attach(page, name) {
  const answered = page.waitForResponse((response) => response.url().includes("/project/file"));
  const buffer = Buffer.alloc(100_000, "longhaul");
  await page
    .locator("input#upload-button-input")
    .setInputFiles({ name, mimeType: "text/plain", buffer });
  assert.equal((await answered).status(), 200, "the upload must reach the replica of the session");
}
