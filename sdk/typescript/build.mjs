// Builds the package into dist/: an ES module, a classic script, types. With `--tests`, the tests as well,
// into build/test/.
import { execFileSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = dirname(fileURLToPath(import.meta.url));
const at = (...path) => join(root, ...path);
// Names that only our own code uses, shortened like its variables. Nothing that an application, the platform
// or the wire knows may be here; the tests run what comes out. A name in
// a string, as in `"body" in part`, is not shortened and so cannot be here either.
const INTERNAL = [
  "abandonWaiting", "acknowledge", "accept", "ack", "acked", "afterFailure", "afterLink", "allow", "bytes", "carries",
  "chunks", "clean", "complaint", "control", "deadline", "ending", "failures", "fits", "frame", "greets", "heardAt", "hears",
  "held", "isDue", "isNext", "isPlain", "isSpent", "judge", "judgeAt", "key", "kind", "liveAt", "nonce",
  "note", "number", "pace", "phase", "outgoing", "poll", "probe", "refuses", "replay", "seq", "sent", "settle", "startedAt", "take",
  "waitingBytes", "waitingItems",
];
const common = { bundle: true, target: "es2022", legalComments: "none", logLevel: "warning" };
const shipped = { ...common, minify: true, mangleProps: new RegExp(`^(${INTERNAL.join("|")})$`) };
const tsc = (project) =>
  execFileSync(process.execPath, [at("node_modules/typescript/bin/tsc"), "--project", at(project)], {
    stdio: "inherit",
  });

rmSync(at("dist"), { recursive: true, force: true });
await build({
  ...shipped,
  entryPoints: [at("src/index.ts")],
  format: "esm",
  outfile: at("dist/longhaul.mjs"),
});
await build({
  ...shipped,
  entryPoints: [at("src/classic.ts")],
  format: "iife",
  outfile: at("dist/longhaul.js"),
});
tsc("tsconfig.build.json");

if (process.argv.includes("--tests")) {
  // Types of the tests too; building them does not look at types.
  tsc("tsconfig.json");
  rmSync(at("build"), { recursive: true, force: true });
  await build({
    ...common,
    entryPoints: [at("test/support/probes.ts")],
    format: "iife",
    globalName: "Probes",
    outfile: at("build/probes.js"),
  });
  const tests = readdirSync(at("test")).filter((name) => name.endsWith(".test.ts"));
  await build({
    ...common,
    entryPoints: tests.map((name) => at("test", name)),
    platform: "node",
    format: "esm",
    packages: "external",
    outExtension: { ".js": ".mjs" },
    sourcemap: "inline",
    outdir: at("build/test"),
  });
}
