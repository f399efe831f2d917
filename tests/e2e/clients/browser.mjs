// Starts the system's Chromium for one story. Never downloads a browser.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox", // Tests run as root in containers; the pages are our own.
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-dev-shm-usage", // Containers give /dev/shm 64 MiB.
];

/** For pages that a test changes on the way: the browser no longer knows that they came from loopback. */
export const CHANGED_PAGES = ["--disable-features=LocalNetworkAccessChecks"];

/**
 * Runs `story(context)` in a fresh profile; `cookies: false` makes the browser refuse them all,
 * `args` are more flags for it.
 */
export async function withBrowser({ cookies = true, args = [] }, story) {
  const profile = mkdtempSync(join(tmpdir(), "longhaul-chromium-"));
  if (!cookies) {
    const preferences = { profile: { default_content_setting_values: { cookies: 2 } } };
    mkdirSync(join(profile, "Default"));
    writeFileSync(join(profile, "Default", "Preferences"), JSON.stringify(preferences));
  }
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: [...FLAGS, ...args],
    viewport: { width: 1000, height: 760 },
  });
  context.setDefaultTimeout(30_000);
  try {
    return await story(context);
  } catch (error) {
    for (const page of context.pages()) console.log(await page.locator("body").innerText());
    throw error;
  } finally {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  }
}
