// A person at a Chainlit page whose replicas are killed: `chainlit_redial.mjs http://HOST:PORT/ SCREENSHOT`.
//
// Says `idle on REPLICA` when nothing is under way, and `in the middle on REPLICA` inside of an answer; that replica is
// then to be killed. Each time another has to answer what the person says next, without a banner in between and without
// a reload. Prints what it saw, then `done`. With `--close` banners are expected, and only timed.
import assert from "node:assert/strict";
import { withBrowser } from "./browser.mjs";

const [gateway, screenshot, flag] = process.argv.slice(2);
const BANNER = "Could not reach the server";

await withBrowser({}, async (context) => {
  const page = await context.newPage();
  let sockets = 0;
  page.on("websocket", () => (sockets += 1));
  await page.addInitScript((banner) => {
    window.banners = [];
    new MutationObserver(() => {
      if (document.body?.innerText.includes(banner)) window.banners.push(performance.timeOrigin + performance.now());
    }).observe(document, { childList: true, subtree: true, characterData: true });
  }, BANNER);
  await page.goto(gateway);
  await page.getByText(/^Welcome to \S+$/).first().waitFor();

  let number = 0;
  let replica = await ask();
  console.log("idle on", replica);
  replica = await otherAnswers(replica);
  await say("slowly, please");
  await page.getByText(new RegExp(`${replica} streams`)).last().waitFor();
  console.log("in the middle on", replica);
  await otherAnswers(replica);

  const banners = await page.evaluate(() => window.banners);
  if (flag !== "--close") {
    assert.deepEqual(banners, [], "no banner");
    assert.equal(sockets, 1, "one WebSocket all along");
  }
  await page.screenshot({ path: screenshot });

  async function say(text) {
    await page.locator("#chat-input").click();
    await page.keyboard.type(text);
    await page.keyboard.press("Enter");
  }

  /** Which replica answers the next message; `undefined` when none does in time. */
  async function ask(within = 30_000) {
    number += 1;
    await say(`message ${number}`);
    const answer = page.getByText(new RegExp(`\\S+ streams back: message ${number} \\(end\\)`)).last();
    try {
      await answer.waitFor({ timeout: within });
      return (await answer.textContent()).match(/(\S+) streams back/)[1];
    } catch {
      return undefined;
    }
  }

  async function otherAnswers(before) {
    const began = Date.now();
    for (;;) {
      const now = await ask(3000);
      if (now !== undefined && now !== before) {
        const banners = await page.evaluate((began) => window.banners.filter((at) => at > began).map((at) => at - began), began);
        console.log(`answered by ${now} after ${Date.now() - began} ms, banner ${banners.length ? `from ${Math.round(banners[0])} ms` : "never"}`);
        return now;
      }
      assert.ok(Date.now() - began < 60_000, "the page is of use again within a minute");
    }
  }
});
console.log("done");
