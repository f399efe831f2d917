// The session's core against an owner model that was written from the text alone, on bad links, by seed; and the
// proof that this would find a mistake: each rule of the protocol that a client keeps, broken on purpose, is caught.
//
// `SEED=n` runs one seed, `SEEDS=n` that many.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";
import { build } from "esbuild";
import { play } from "./support/play.js";

test("nothing is lost, repeated or reordered, whatever the links do", () => {
  const only = process.env.SEED;
  const seeds = only ? [Number(only)] : Array.from({ length: Number(process.env.SEEDS ?? 300) }, (_, at) => at);
  let resumes = 0;
  for (const seed of seeds) {
    try {
      resumes += play(seed).resumes;
    } catch (error) {
      (error as Error).message += ` (SEED=${seed})`;
      throw error;
    }
  }
  // A run that loses no links would prove nothing.
  assert.ok(resumes > seeds.length, `only ${resumes} resumes`);
});

const MISTAKES: { name: string; file: string; right: string; wrong: string }[] = [
  {
    name: "a new link does not hear what was acknowledged on the last one (R5)",
    file: "session.ts",
    right: "    this.#stream.acknowledge(link, this.#now, true);\n  }",
    wrong: "  }",
  },
  {
    name: "4901 on a link that has a successor ends the session (R7)",
    file: "session.ts",
    right: "if (isNewest && codes.isFinal(code))",
    wrong: "if (codes.isFinal(code))",
  },
  {
    name: "what the gateway received is forgotten before it is acknowledged (recv is not a)",
    file: "session.ts",
    right: "this.#stream.replay(link, resumed.recv);",
    wrong: "this.#stream.replay(link, resumed.recv); this.#stream.outgoing.ack(resumed.recv);",
  },
  {
    name: "the replay begins one too late",
    file: "stream.ts",
    right: "this.outgoing.from(recv + 1)",
    wrong: "this.outgoing.from(recv + 2)",
  },
  {
    name: "the token of the first link is used for ever (R2)",
    file: "session.ts",
    right: "this.#token = token;",
    wrong: "this.#token ||= token;",
  },
  {
    name: "a resume that was not answered gives its number to the next (section 3.6)",
    file: "session.ts",
    right: "this.#number = this.#welcome ? this.#number + 1 : 1;",
    wrong: "this.#number = this.#welcome ? (this.#link?.number ?? this.#number) + (this.#retry.failures ? 0 : 1) : 1;",
  },
  {
    name: "a repeated item is delivered again",
    file: "incoming.ts",
    right: "if (item.seq <= this.recv) return false;",
    wrong: "if (item.seq < this.recv) return false; if (item.seq === this.recv) return true;",
  },
  {
    name: "the window is not kept",
    file: "outgoing.ts",
    right: "if (!fits && this.#keptItems) break;",
    wrong: "",
  },
  {
    name: "a text is cut inside a code point",
    file: "grammar.ts",
    right: "=== 0xdc00 ? 4 : 3;",
    wrong: "=== 0xdc00 ? 2 : 3;",
  },
];

const root = join(new URL(".", import.meta.url).pathname, "../..");

for (const [at, { name, file, right, wrong }] of MISTAKES.entries()) {
  test(`a mistake is caught: ${name}`, async () => {
    const outfile = join(root, `build/mistakes/${at}.mjs`);
    await build({
      entryPoints: [join(root, "test/support/play.ts")],
      bundle: true,
      platform: "node",
      format: "esm",
      outfile,
      plugins: [
        {
          name: "mistake",
          setup: ({ onLoad }) =>
            onLoad({ filter: new RegExp(`/src/${file.replace(".", "[.]")}$`) }, ({ path }) => {
              const source = readFileSync(path, "utf8");
              assert.equal(source.split(right).length, 2, `${basename(path)} has this line once`);
              return { contents: source.replace(right, () => wrong), loader: "ts" };
            }),
        },
      ],
    });
    const mistaken: { play: typeof play } = await import(outfile);
    const caught = Array.from({ length: 2000 }, (_, seed) => seed).find((seed) => {
      try {
        mistaken.play(seed);
        return false;
      } catch {
        return true;
      }
    });
    assert.notEqual(caught, undefined, "2000 seeds found nothing wrong");
  });
}
