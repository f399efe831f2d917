// socket.io-client in Chromium: `socketio_browser.mjs http://HOST:PORT`. Prints each case and `done`.
import { withBrowser } from "./browser.mjs";
import { converse, TRANSPORTS } from "./socketio_cases.mjs";

const base = process.argv[2];
for (const cookies of [false, true]) {
  await withBrowser({ cookies }, async (context) => {
    const page = await context.newPage();
    await page.goto(`${base}/page`);
    for (const transports of TRANSPORTS) {
      const replicas = await page.evaluate(
        ([source, options]) => {
          const converse = new Function(`return ${source}`)();
          const four = Array.from({ length: 4 }, () => converse(io, undefined, options));
          return Promise.all(four);
        },
        [converse.toString(), { transports }],
      );
      const distinct = [...new Set(replicas)].sort().join(" ");
      console.log(`cookies ${cookies} ${transports.join("+")} on ${distinct}`);
    }
    const kept = await context.cookies();
    if (!cookies && kept.length > 0) throw new Error("the browser kept a cookie it must refuse");
  });
}
console.log("done");
