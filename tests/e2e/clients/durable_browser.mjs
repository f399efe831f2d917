// Chromium with the classic bundle before an echo server: `durable_browser.mjs HOST:PORT`.
//
// A page whose script only knows `WebSocket` sends numbers; links are cut, the network is taken away, given
// back and changed, the tab is frozen. Prints what it saw, then `done`.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { CHANGED_PAGES, withBrowser } from "./browser.mjs";
import { cutterBefore } from "./cutter.mjs";

const bundle = readFileSync(new URL("../../../sdk/typescript/dist/longhaul.js", import.meta.url), "utf8");
const cutter = await cutterBefore(process.argv[2]);
const page_ = `<script src="/longhaul.js" data-install='{"require":true,"retry":{"first":20,"delays":[50]}}'></script>
<script>
  const got = [];
  let sent = 0;
  const socket = new WebSocket("ws://" + location.host + "/echo");
  socket.onmessage = ({ data }) => got.push(data);
  const send = (count) => { while (count--) socket.send(String(sent++)); };
</script>`;

await withBrowser({ args: CHANGED_PAGES }, async (context) => {
  const page = await context.newPage();
  await page.route("**/longhaul.js", (route) => route.fulfill({ body: bundle, contentType: "text/javascript" }));
  await page.route("**/page", (route) => route.fulfill({ body: page_, contentType: "text/html" }));
  await page.goto(`http://${cutter.address}/page`);
  await page.waitForFunction(() => socket.readyState === 1);
  const devtools = await context.newCDPSession(page);
  // Each loss is followed by a resume before the next is made: the count below is exact.
  const echoed = async (count, resumes) => {
    await page.waitForFunction((resumes) => socket.resumed === resumes, resumes);
    await page.waitForFunction((count) => got.length === count, count);
  };

  for (let round = 1; round <= 5; round++) {
    await page.evaluate(() => send(200));
    cutter.cut();
    await echoed(200 * round, round);
  }
  console.log("five cuts while talking");

  const network = (offline) =>
    devtools.send("Network.emulateNetworkConditions", {
      offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1,
    });
  await network(true);
  cutter.cut();
  await page.waitForFunction(() => socket.state === "resuming");
  await page.evaluate(() => send(200));
  await network(false);
  await echoed(1200, 6);
  console.log("offline and online again");

  // Another network: nothing says that the old link is dead, but the browser that it is online again.
  const quietly = performance.now();
  cutter.hush();
  await network(true);
  await network(false);
  await page.evaluate(() => send(200));
  await echoed(1400, 7);
  console.log(`another network, found out after ${Math.round(performance.now() - quietly)} ms`);

  await devtools.send("Page.setWebLifecycleState", { state: "frozen" });
  cutter.cut();
  await devtools.send("Page.setWebLifecycleState", { state: "active" });
  await page.evaluate(() => send(200));
  await echoed(1600, 8);
  console.log("frozen and thawed");

  const numbers = await page.evaluate(() => got);
  assert.deepEqual(numbers, Array.from({ length: 1600 }, (_, number) => String(number)));
  assert.equal(await page.evaluate(() => socket.readyState), 1);
  console.log("1600 numbers once and in order over nine links");
});
cutter.stop();
console.log("done");
