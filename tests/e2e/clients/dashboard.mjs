// An operator at the dashboard: `dashboard.mjs ADMIN-URL TOKEN PICTURES-DIRECTORY`. Prints what it
// saw, then `done`.
//
// What the page shows must be what the API says, it must work on a phone and in the dark, and a
// connection that is ended by its button must be gone.
import assert from "node:assert/strict";
import { withBrowser } from "./browser.mjs";

const [admin, token, pictures] = process.argv.slice(2);

const overview = async () => (await fetch(`${admin}/api/v1/overview`)).json();
const tile = (page, name) => page.locator("#tiles div", { hasText: name }).locator("dd").textContent();
const rows = (page, table) => page.locator(`#${table} tbody tr`);

async function until(what, claim) {
  const deadline = Date.now() + 30_000;
  while (!(await claim())) {
    assert.ok(Date.now() < deadline, `not within 30 s: ${what}`);
    await new Promise((wake) => setTimeout(wake, 50));
  }
}

await withBrowser({}, async (context) => {
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("request", (request) => assert.ok(request.url().startsWith(admin), `asked ${request.url()}`));

  await page.goto(`${admin}/`);
  const began = Date.now();
  await page.locator(".findings li strong").first().waitFor();
  const found = await page.locator("#findings").textContent();
  assert.ok(Date.now() - began < 10_000, "what is wrong is to be seen within ten seconds");
  assert.match(found, /client to gateway: .*vanished without a close frame/);
  assert.ok(await page.locator('#path li[data-hop="client to gateway"]').evaluate((hop) => hop.classList.contains("hit")));
  console.log(`it says: ${found.slice(0, 80)}…`);

  const now = await overview();
  assert.equal(await tile(page, "WebSockets open"), String(now.websockets_open));
  assert.equal(await tile(page, "Drops"), String(now.drops));
  assert.equal(await rows(page, "replicas").count(), now.upstreams[0].replicas.length);
  assert.match(await rows(page, "replicas").first().textContent(), new RegExp(now.upstreams[0].replicas[0].address));
  assert.equal(await rows(page, "ends").count(), now.ends.length);
  assert.equal(await rows(page, "tasks").count(), now.tasks.length);
  assert.equal(await rows(page, "connections").count(), 50);
  assert.match(await page.locator("#count").textContent(), new RegExp(`^${now.websockets_open} `));
  await page.locator("#more").click();
  const first = await rows(page, "connections").first().locator("td").first().textContent();
  console.log(`${now.websockets_open} WebSockets, a page at a time; the second page begins at ${first}`);

  await page.setViewportSize({ width: 1280, height: 900 });
  await page.screenshot({ path: `${pictures}/dashboard.png`, fullPage: true });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.setViewportSize({ width: 390, height: 844 });
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: `${pictures}/dashboard-phone.png` });
  const widths = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(widths[0] <= widths[1], `a phone must not scroll sideways: ${widths}`);
  await page.setViewportSize({ width: 1280, height: 900 });

  // Without the token the page asks for it; with it the button works.
  assert.deepEqual(complaints, []);
  await rows(page, "connections").first().locator("button").click();
  await page.locator("#ask").waitFor();
  complaints.length = 0; // The browser itself tells of a 401.
  await page.locator("#secret").fill(token);
  await page.locator("#secret").press("Enter");
  await rows(page, "connections").first().locator("button").click();
  await until("the connection is gone", async () => (await overview()).websockets_open === now.websockets_open - 1);
  await page.locator("#ends", { hasText: "ended by an operator" }).waitFor();
  await until("the page follows", async () => (await tile(page, "WebSockets open")) === String(now.websockets_open - 1));

  // A replica drains by its button, and takes new work again by the same one.
  const button = rows(page, "replicas").first().locator("button");
  const draining = async () => (await overview()).upstreams[0].replicas[0].draining;
  await button.click();
  await until("the replica drains", async () => (await draining()) === "asked");
  await rows(page, "replicas").first().locator("button", { hasText: "Undrain" }).click();
  await until("the replica drains no more", async () => (await draining()) === null);
  assert.deepEqual(complaints, []);
});
console.log("done");
