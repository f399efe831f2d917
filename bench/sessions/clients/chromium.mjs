// Clients in pages of Chromium for the mixed run: `chromium.mjs JSON`, what `talk` takes. Prints what its pages return.
import { readFileSync } from "node:fs";
import { CHANGED_PAGES, withBrowser } from "../../../tests/e2e/clients/browser.mjs";
import { talk } from "./talk.mjs";

const EACH = 25; // clients of one page
// All pages but one are in the background, where a browser would slow their timers down.
const AWAKE = [
  "--disable-background-timer-throttling",
  "--disable-backgrounding-occluded-windows",
  "--disable-renderer-backgrounding",
];
const bundle = readFileSync(new URL("../../../sdk/typescript/dist/longhaul.js", import.meta.url), "utf8");
const { first, count, ...rest } = JSON.parse(process.argv[2]);

const results = await withBrowser({ args: [...CHANGED_PAGES, ...AWAKE] }, async (context) => {
  const ranges = Array.from({ length: Math.ceil(count / EACH) }, (_, page) => ({
    first: first + page * EACH,
    count: Math.min(EACH, count - page * EACH),
  }));
  const pages = [];
  for (const range of ranges) {
    const page = await context.newPage();
    await page.route("**/page", (route) => route.fulfill({ body: `<script>${bundle}</script>`, contentType: "text/html" }));
    await page.goto(`http://${rest.address}/page`);
    pages.push([page, range]);
  }
  return Promise.all(pages.map(([page, range]) => page.evaluate(talk, { ...rest, ...range })));
});
const all = results.reduce((one, other) =>
  Object.fromEntries(Object.keys(one).map((key) => [key, Array.isArray(one[key]) ? [...one[key], ...other[key]] : one[key] + other[key]])),
);
console.log(JSON.stringify(all));
