// Two visitors of the demo: `demo.mjs http://HOST:PORT/ SCREENSHOT`. Prints what it saw, then `done`.
//
// They talk to each other while each of the three buttons is pressed: one cuts her link, has her replica killed and
// the gateway upgraded, and says something at each of these moments. Neither page may miss a word or see one twice.
import assert from "node:assert/strict";
import { withBrowser } from "./browser.mjs";

const [base, screenshot] = process.argv.slice(2);
const complaints = [];

async function visitor(context, name) {
  const page = await context.newPage();
  page.on("pageerror", (error) => complaints.push(`${name}'s page threw ${error}`));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(`${name}'s console: ${message.text()}`);
  });
  await page.goto(base);
  await connected(page);
  await page.locator("#name").fill(name);
  return page;
}

const connected = (page) => page.locator("body[data-state=open]").waitFor();
const servedBy = (page) => page.locator("#served-by").textContent();
const figure = async (page, id) => Number(await page.locator(id).textContent());
const heard = (page, text) => page.locator(".message:not(.waiting)", { hasText: text }).waitFor();

async function say(page, text) {
  await page.locator("#text").fill(text);
  await page.locator("#send").click();
}

await withBrowser({}, async (context) => {
  const anna = await visitor(context, "Anna");
  const ben = await visitor(context, "Ben");
  const both = [anna, ben];
  const [first, second] = [await servedBy(anna), await servedBy(ben)];
  assert.notEqual(first, second, "two visitors, two replicas: the fewest open connections decide");

  /** Both say something, and both hear both. */
  async function talk(when) {
    await say(anna, `Anna spoke ${when}`);
    await say(ben, `Ben spoke ${when}`);
    for (const page of both) {
      await heard(page, `Anna spoke ${when}`);
      await heard(page, `Ben spoke ${when}`);
    }
  }
  async function nothingIsMissing() {
    for (const page of both) {
      const figures = ["#lost", "#duplicated"].map((id) => figure(page, id));
      assert.deepEqual(await Promise.all(figures), [0, 0]);
    }
  }

  await talk("at first");
  console.log(`two visitors talked through ${first} and ${second}`);

  for (const cuts of [1, 2]) {
    await anna.locator("#cut").click();
    await talk(`at cut ${cuts}`);
    await anna.locator("#links", { hasText: String(cuts) }).waitFor();
    await connected(anna);
  }
  assert.equal(await figure(ben, "#links"), 0, "only her own link was cut");
  await nothingIsMissing();
  console.log("two links of one of them were cut");

  await anna.locator("#kill").click();
  await talk("at the kill");
  await anna.locator("#served-by", { hasText: second }).waitFor();
  await connected(anna);
  assert.equal(await figure(anna, "#moves"), 1);
  for (const page of both) assert.equal(await figure(page, "#reconnects"), 0);
  await nothingIsMissing();
  console.log(`${first} was killed; ${second} took over`);
  await anna.locator(`#replicas [data-replica=${first}]:not(.gone)`, { hasText: "process" }).waitFor();

  const process = await anna.locator("#gateway").textContent();
  // An upgrade is asked for again only when the one before is over, with all that it left to be drained.
  for (const upgrades of [1, 2]) {
    await anna.locator("#upgrade").click();
    await talk(`at upgrade ${upgrades}`);
    await anna.locator("#gateway", { hasText: `${process}, upgraded ${upgrades}×` }).waitFor();
  }
  await talk("after the upgrades");
  for (const page of both) await connected(page);
  await nothingIsMissing();
  for (const page of both) assert.equal(await figure(page, "#reconnects"), 0, "an upgrade takes links along");
  console.log("the gateway was upgraded twice; WebSockets ended by it: 0");

  await anna.locator("#round-trip", { hasText: "ms" }).waitFor();
  await anna.screenshot({ path: screenshot });
  const sent = (await figure(anna, "#sent")) + (await figure(ben, "#sent"));
  for (const page of both) assert.equal(await figure(page, "#received"), sent);
  assert.deepEqual(complaints, []);
  console.log(`${sent} messages, 0 lost, 0 duplicated`);
});
console.log("done");
