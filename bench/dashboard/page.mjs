// Looks at a dashboard with many WebSockets: `page.mjs ADMIN-URL COUNT`. Says `ready`, waits for a line
// that tells that a tenth of them was ended, and prints how soon the page follows.
import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { withBrowser } from "../../tests/e2e/clients/browser.mjs";

const [admin, count] = process.argv.slice(2);

await withBrowser({}, async (context) => {
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  // Tasks that keep the page from answering for more than 50 ms.
  await page.addInitScript(() => {
    globalThis.stalls = [];
    new PerformanceObserver((list) => globalThis.stalls.push(...list.getEntries().map((one) => one.duration)))
      .observe({ type: "longtask", buffered: true });
  });
  // The tile above says 10.0k.
  const open = () => page.locator("#count").textContent();
  const shows = async (number) => {
    const began = performance.now();
    while (!(await open().catch(() => "")).startsWith(`${number} `)) {
      assert.ok(performance.now() - began < 30_000, `the page never shows ${number}`);
      await new Promise((wake) => setTimeout(wake, 20));
    }
    return Math.round(performance.now() - began);
  };
  const began = performance.now();
  await page.goto(`${admin}/`);
  await shows(count);
  console.log(`page with ${count} WebSockets: there after ${Math.round(performance.now() - began)} ms`);
  const elements = await page.evaluate(() => document.querySelectorAll("*").length);
  const rows = await page.locator("#connections tbody tr").count();
  console.log(`${rows} rows of connections, ${elements} elements`);
  const clicked = performance.now();
  const first = () => page.locator("#connections tbody tr").first().locator("td").first().textContent();
  const before = await first();
  await page.locator("#more").click();
  while ((await first()) === before) await new Promise((wake) => setTimeout(wake, 5));
  console.log(`next page of connections after ${Math.round(performance.now() - clicked)} ms`);

  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  console.log("ready");
  await lines.next();
  const left = count - Math.floor(count / 10);
  console.log(`a tenth of them gone: shown after ${await shows(left)} ms`);
  await page.waitForTimeout(10_000);
  const { stalls, heap } = await page.evaluate(() => ({
    stalls: globalThis.stalls,
    heap: performance.memory.usedJSHeapSize,
  }));
  const worst = Math.round(Math.max(0, ...stalls));
  console.log(`${stalls.length} stalls of more than 50 ms, the longest ${worst} ms; heap ${(heap / 2 ** 20).toFixed(1)} MiB`);
  const elementsAfter = await page.evaluate(() => document.querySelectorAll("*").length);
  console.log(`${elementsAfter} elements after ${left} WebSockets and ten more seconds`);
  assert.deepEqual(complaints, []);
});
process.exit(0);
