// Two visitors of the demo: `demo.mjs http://HOST:PORT/ SCREENSHOT`. Prints what it saw, then `done`.
//
// They talk to each other; then one cuts her own link, and then the replica that serves her is stopped, both on the
// page itself. Neither page may miss a word, see one twice, or have its WebSocket ended.
import assert from "node:assert/strict";
import { withBrowser } from "./browser.mjs";

const [base, screenshot] = process.argv.slice(2);

async function visitor(context, name) {
  const page = await context.newPage();
  page.on("pageerror", (error) => assert.fail(`the page threw ${error}`));
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
  const [first, second] = [await servedBy(anna), await servedBy(ben)];
  assert.notEqual(first, second, "two visitors, two replicas: the fewest open connections decide");

  await say(anna, "hello from Anna");
  await say(ben, "hello from Ben");
  for (const page of [anna, ben]) {
    await heard(page, "hello from Anna");
    await heard(page, "hello from Ben");
  }
  console.log(`two visitors talked through ${first} and ${second}`);

  for (const cuts of [1, 2]) {
    await anna.locator("#cut").click();
    await say(anna, `Anna spoke at cut ${cuts}`);
    await say(ben, `Ben spoke at cut ${cuts}`);
    await anna.locator("#links", { hasText: String(cuts) }).waitFor();
    await connected(anna);
    for (const page of [anna, ben]) {
      await heard(page, `Anna spoke at cut ${cuts}`);
      await heard(page, `Ben spoke at cut ${cuts}`);
    }
  }
  assert.equal(await figure(ben, "#links"), 0, "only her own link was cut");
  console.log("two links of one of them were cut");

  await ben.locator(`#replicas [data-replica=${first}] button`).click();
  await anna.locator("#served-by", { hasText: second }).waitFor();
  await connected(anna);
  assert.equal(await figure(anna, "#moves"), 1);
  await say(ben, "said after the stop");
  await heard(anna, "said after the stop");
  for (const page of [anna, ben]) {
    const figures = ["#lost", "#duplicated", "#reconnects"].map((id) => figure(page, id));
    assert.deepEqual(await Promise.all(figures), [0, 0, 0]);
  }
  await anna.locator("#round-trip", { hasText: "ms" }).waitFor();
  await anna.screenshot({ path: screenshot });
  console.log(`${first} was stopped; ${second} took over`);
});
console.log("done");
