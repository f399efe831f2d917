// The shipped bundle in Chromium: the same answers as the platform's own WebSocket, and what only a browser can
// do to a connection (offline, a frozen tab, a page that leaves).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Cutter } from "./support/cutter.js";
import { withBrowser } from "./support/browser.js";
import { TestServer } from "./support/server.js";
import { until } from "./support/wait.js";

const root = join(new URL(".", import.meta.url).pathname, "../..");
const read = (path: string) => readFileSync(join(root, path), "utf8");

const FILES = {
  "/longhaul.js": read("dist/longhaul.js"),
  "/longhaul.mjs.js": read("dist/longhaul.mjs"),
  "/probes.js": read("build/probes.js"),
  "/": `<script src="longhaul.js"></script><script src="probes.js"></script>`,
  "/installed": `<script>var Platform = WebSocket</script><script src="longhaul.js" data-install='{"require":true}'></script>`,
  "/worker.js": `
    importScripts("longhaul.js", "probes.js");
    onmessage = async ({ data }) => postMessage(await Probes.answers(Longhaul.WebSocket, data));`,
};

declare const Longhaul: any;
declare const Probes: any;

type Answers = Record<string, unknown>;

/** Questions with different answers: which, ours, the platform's. */
const differences = (ours: Answers, platform: Answers) =>
  Object.keys(platform)
    .map((question) => [question, JSON.stringify(ours[question]), JSON.stringify(platform[question])])
    .filter(([, one, other]) => one !== other)
    .map((line) => line.map((text) => text?.slice(0, 300)));

test("a page cannot tell it from the platform's own", () =>
  withBrowser(async (context) => {
    const server = await TestServer.start({}, FILES);
    try {
      const page = await context.newPage();
      await page.goto(`http://127.0.0.1:${server.port}/`);
      const base = `ws://127.0.0.1:${server.port}`;
      const native: Answers = await page.evaluate((url) => Probes.answers(WebSocket, url), `${base}/plain`);
      const failed = Object.entries(native).filter(([, answer]) => String(answer).startsWith("failed"));
      assert.deepEqual(failed, [], "the questions are fit for the platform's own");
      const durable: Answers = await page.evaluate((url) => Probes.answers(Longhaul.WebSocket, url), `${base}/durable`);
      assert.deepEqual(differences(durable, native), [], "with a gateway");
      const plain: Answers = await page.evaluate((url) => Probes.answers(Longhaul.WebSocket, url), `${base}/plain`);
      assert.deepEqual(differences(plain, native), [], "without a gateway");
      const inWorker = await page.evaluate(
        (url) =>
          new Promise<Answers>((resolve, reject) => {
            const worker = new Worker("/worker.js");
            worker.onmessage = ({ data }) => resolve(data);
            worker.onerror = ({ message }) => reject(new Error(message));
            worker.postMessage(url);
          }),
        `${base}/durable`,
      );
      assert.deepEqual(differences(inWorker, native), [], "in a worker");
      assert.deepEqual(server.faults, []);
      console.log(`${Object.keys(native).length} questions, three times the same answers`);
    } finally {
      await server.stop();
    }
  }));

/** A page with a durable socket on `window.socket` that numbers what it sends and keeps what it hears. */
async function talking(context: Parameters<Parameters<typeof withBrowser>[0]>[0], server: TestServer, cutter: Cutter) {
  const page = await context.newPage();
  await page.goto(`http://127.0.0.1:${server.port}/`);
  await page.evaluate(
    (url) =>
      new Promise<void>((resolve) => {
        const socket = new Longhaul.WebSocket(url, [], { require: true, retry: { first: 10, delays: [20, 40] } });
        Object.assign(window, { socket, got: [], states: [] });
        socket.onmessage = ({ data }: MessageEvent) => (window as any).got.push(data);
        socket.onstatechange = () => (window as any).states.push(socket.state);
        socket.onopen = () => resolve();
      }),
    `ws://127.0.0.1:${cutter.port}/durable`,
  );
  return {
    page,
    send: (from: number, to: number) =>
      page.evaluate(([from, to]) => {
        for (let number = from!; number < to!; number++) (window as any).socket.send(String(number));
      }, [from, to]),
    got: (): Promise<string[]> => page.evaluate(() => (window as any).got),
    see: (field: string): Promise<any> => page.evaluate((field) => (window as any).socket[field], field),
  };
}

const numbers = (to: number) => Array.from({ length: to }, (_, number) => String(number));

/** Waits for a page to say so. */
async function untilPage(what: string, done: () => Promise<boolean>): Promise<void> {
  let is = false;
  let isAsking = false;
  await until(what, () => {
    if (!isAsking) {
      isAsking = true;
      void done().then((answer) => {
        is = answer;
        isAsking = false;
      });
    }
    return is;
  });
}

test("cuts, a network that goes and comes, a frozen tab: nothing is missed", () =>
  withBrowser(async (context) => {
    const server = await TestServer.start({}, FILES);
    const cutter = await Cutter.before(server.port);
    try {
      const { page, send, got, see } = await talking(context, server, cutter);
      const devtools = await context.newCDPSession(page);

      // The connection is cut in the middle of things.
      await send(0, 50);
      cutter.cut();
      await send(50, 100);
      await untilPage("the first hundred", async () => (await got()).length === 100);
      assert.equal(await see("resumed"), 1);
      assert.equal(await see("readyState"), 1);

      // The network is away for a while; `online` brings the socket back before its next try is due.
      cutter.isClosed = true;
      await devtools.send("Network.emulateNetworkConditions", {
        offline: true, latency: 0, downloadThroughput: -1, uploadThroughput: -1,
      });
      cutter.cut();
      await send(100, 150);
      await untilPage("the loss", async () => (await see("state")) === "resuming");
      assert.ok((await see("bufferedAmount")) > 0);
      cutter.isClosed = false;
      await devtools.send("Network.emulateNetworkConditions", {
        offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: -1,
      });
      await untilPage("what was sent offline", async () => (await got()).length === 150);

      // The tab is frozen, loses its link meanwhile, and is thawed.
      await devtools.send("Page.setWebLifecycleState", { state: "frozen" });
      cutter.cut();
      const [owner] = server.gateway.owners;
      for (let number = 150; number < 200; number++) owner!.push(String(number), performance.now());
      await devtools.send("Page.setWebLifecycleState", { state: "active" });
      await untilPage("what came while frozen", async () => (await got()).length === 200);
      assert.deepEqual(await got(), numbers(200));
      assert.deepEqual(server.gateway.owners.length, 1, "one session all along");
      assert.deepEqual(server.faults, []);

      // A page that goes away says so.
      await page.goto("about:blank");
      await until("the goodbye", () => owner!.ended);
      assert.equal(owner!.ended!.code, 1001);
    } finally {
      cutter.stop();
      await server.stop();
    }
  }));

test("one script tag makes a page's WebSockets durable, and only those of its own host", () =>
  withBrowser(async (context) => {
    const server = await TestServer.start({}, FILES);
    const other = await TestServer.start();
    try {
      const page = await context.newPage();
      await page.goto(`http://127.0.0.1:${server.port}/installed`);
      const kinds = await page.evaluate(
        async ([own, foreign]) => {
          const open = (url: string) =>
            new Promise((resolve) => {
              const socket = new WebSocket(url);
              socket.onopen = () => resolve([socket instanceof WebSocket, (socket as any).state]);
            });
          return [await open(own!), await open(foreign!)];
        },
        [`ws://127.0.0.1:${server.port}/durable`, `ws://127.0.0.1:${other.port}/plain`],
      );
      assert.deepEqual(kinds, [[true, "live"], [false, undefined]]);
    } finally {
      await server.stop();
      await other.stop();
    }
  }));
