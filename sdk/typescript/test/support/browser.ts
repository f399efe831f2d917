// The system's Chromium, for pages of this test's own server. Never downloads a browser.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BrowserContext, chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox", // Tests run as root in containers; the pages are our own.
  "--disable-gpu",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-dev-shm-usage", // Containers give /dev/shm 64 MiB.
];

/** Runs `story` in a fresh profile. */
export async function withBrowser(story: (context: BrowserContext) => Promise<void>): Promise<void> {
  const profile = mkdtempSync(join(tmpdir(), "longhaul-sdk-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: FLAGS,
  });
  context.setDefaultTimeout(60_000);
  try {
    await story(context);
  } finally {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  }
}
