// Chromium with the web chat of examples/messaging: `messaging.mjs HOST:PORT ROOM OWN ALL SCREENSHOT`.
//
// Says OWN messages while its links are cut, and listens until it has ALL. Prints `ready` when it is in the room, and
// `done` when nothing was lost or came twice.
import assert from "node:assert/strict";
import { CHANGED_PAGES, withBrowser } from "./browser.mjs";
import { cutterBefore } from "./cutter.mjs";

const [address, room, own, all, screenshot] = process.argv.slice(2);
const cutter = await cutterBefore(address);
const complaints = [];

await withBrowser({ args: CHANGED_PAGES }, async (context) => {
  context.setDefaultTimeout(120_000);
  const page = await context.newPage();
  page.on("pageerror", (error) => complaints.push(`the page threw ${error}`));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  const figure = async (id) => Number(await page.locator(id).textContent());
  await page.goto(`http://${cutter.address}/#${room}`);
  await page.locator("body[data-state=open]").waitFor();
  assert.equal(await page.locator("#room").textContent(), `#${room}`);
  await page.locator("#name").fill("Page");
  console.log("ready");

  let cuts = 0;
  for (let number = 0; number < own; number++) {
    await page.locator("#text").fill(`page ${number}`);
    await page.locator("#send").click();
    if (number % 7 === 3) {
      cutter.cut();
      cuts += 1;
      // Each link that is lost is replaced before the next is cut.
      await page.waitForFunction((cuts) => Number(document.getElementById("links").textContent) === cuts, cuts);
    }
  }
  await page.waitForFunction((all) => document.getElementById("received").textContent === all, all);
  await page.waitForFunction(() => document.getElementById("unconfirmed").textContent === "");
  assert.deepEqual([await figure("#sent"), await figure("#lost"), await figure("#duplicated")], [Number(own), 0, 0]);
  assert.equal(await figure("#reconnects"), 0);
  assert.deepEqual(complaints, []);
  console.log(`${await figure("#received")} received, ${cuts} links cut, ${await figure("#moves")} replicas replaced`);

  await page.screenshot({ path: screenshot });
  await page.setViewportSize({ width: 390, height: 844 });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.screenshot({ path: screenshot.replace(".png", "-phone.png") });
  const { width, wanted } = await page.evaluate(() => ({ width: innerWidth, wanted: document.body.scrollWidth }));
  assert.ok(wanted <= width, "a phone shows it without scrolling sideways");
});
cutter.stop();
console.log("done");
