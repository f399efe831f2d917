// How the dashboard says that WebSockets ended: `ends.mjs ADMIN-URL`. Prints a line for each row of that table, with the
// reason, the code and the route, then `done`.
import { withBrowser } from "./browser.mjs";

await withBrowser({}, async (context) => {
  const page = await context.newPage();
  await page.goto(`${process.argv[2]}/`);
  const rows = page.locator("#ends tbody tr");
  await rows.first().waitFor();
  for (const row of await rows.all()) {
    const cells = await row.locator("td").allTextContents();
    console.log(JSON.stringify([cells[1], cells[3], cells[4]]));
  }
});
console.log("done");
