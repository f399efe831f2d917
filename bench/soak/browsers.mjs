// WebSockets in pages of Chromium: `browsers.mjs PORT FIRST COUNT INTERVAL_MS`. Prints `open` when all are, and does
// what it reads: `speak`, `hush`, `finish SECONDS` for what is still to come. Then it prints what each has sent and heard, as JSON in one line.
//
// They do what the clients in `clients.py` do, and are told apart by their numbers, from FIRST on.
import { createInterface } from "node:readline";
import { withBrowser } from "../../tests/e2e/clients/browser.mjs";

const [port, first, count, interval] = process.argv.slice(2).map(Number);
// Chromium opens no more than 255 WebSockets at once, in all pages together.
const PER_PAGE = 50;
// Pages in the background would speak once a minute.
const AWAKE = [
  "--disable-background-timer-throttling",
  "--disable-renderer-backgrounding",
  "--disable-backgrounding-occluded-windows",
];

await withBrowser({ args: AWAKE }, async (context) => {
  const pages = [];
  for (let at = 0; at < count; at += PER_PAGE) {
    const page = await context.newPage();
    await page.goto(`http://127.0.0.1:${port}/`);
    await page.evaluate(begin, { first: first + at, count: Math.min(PER_PAGE, count - at), interval });
    pages.push(page);
  }
  console.log("open");
  for await (const line of createInterface({ input: process.stdin })) {
    const [order, patience] = line.split(" ");
    const obey = ({ order, patience }) => globalThis[order](patience);
    const found = await Promise.all(pages.map((page) => page.evaluate(obey, { order, patience })));
    if (order === "finish") console.log(JSON.stringify(found.flat()));
  }
});

/** Runs in the page: resolves once all are open. They begin to talk a while later, and together. */
function begin({ first, count, interval }) {
  const clients = Array.from({ length: count }, (_, at) => ({ number: first + at, sent: 0, heard: [], closed: 0, silence: 0 }));
  let isOver = false;
  const connect = (client) =>
    new Promise((opened) => {
      const socket = new WebSocket(`ws://${location.host}/soak/${client.number}`);
      client.socket = socket;
      client.isOpen = false;
      socket.onopen = () => {
        client.isOpen = true;
        opened();
      };
      socket.onmessage = ({ data }) => {
        const now = performance.now();
        client.silence = Math.max(client.silence, now - client.heardAt);
        client.heardAt = now;
        client.heard.push(Number(data.split(" ")[1]));
      };
      socket.onclose = () => {
        if (isOver) return;
        client.closed += Number(client.isOpen);
        client.isOpen = false;
        setTimeout(() => connect(client).then(opened), 200);
      };
    });
  const talk = (client) => {
    if (client.isOpen) client.socket.send(`${client.number} ${++client.sent}`);
  };
  globalThis.hush = () => clients.forEach((client) => clearInterval(client.timer));
  globalThis.speak = () => {
    for (const client of clients) {
      client.heardAt = performance.now();
      setTimeout(() => (client.timer = setInterval(talk, interval, client)), Math.random() * interval);
    }
  };
  globalThis.finish = async (patience) => {
    const until = performance.now() + 1000 * patience;
    while (performance.now() < until && clients.some((client) => client.heard.at(-1) !== client.sent)) {
      await new Promise((wake) => setTimeout(wake, 50));
    }
    isOver = true;
    return clients.map(({ number, sent, heard, closed, silence }) => ({ number, sent, heard, closed, silence: silence / 1000 }));
  };
  return Promise.all(clients.map(connect)).then(() => {});
}
