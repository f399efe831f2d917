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

  if (upload) {
    const bytes = Buffer.alloc(100_000, "longhaul");
    const answered = page.waitForResponse((response) => response.url().includes("/project/file"));
    await page
      .locator("input#upload-button-input")
      .setInputFiles({ name: "notes.txt", mimeType: "text/plain", buffer: bytes });
    const status = (await answered).status();
    assert.equal(status, 200, "the upload must reach the replica that holds the session");
  }
  for (const number of [1, 2, 3]) {
    const before = tokens;
    await page.locator("#chat-input").click();
    await page.keyboard.type(`message ${number}`);
    await page.keyboard.press("Enter");
    await page.getByText(`${replica} streams back: message ${number} (end)`).waitFor();
    assert.ok(tokens - before >= 5, `message ${number} came in ${tokens - before} token frames`);
    if (upload && number === 1) await page.getByText("file notes.txt has 100000 bytes").waitFor();
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
