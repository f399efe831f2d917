// One run of a session against the owner model, by seed: messages both ways, migrations, events, bad links, an end.
//
// Start at `play`.

import assert from "node:assert/strict";
import { type Data, type Owner, TERMS, type Terms } from "./owner.js";
import { Random } from "./random.js";
import { World } from "./world.js";

const MESSAGES = 60;

/** A message that says which one it is: text of all widths, bytes, empty, or long enough for chunks. */
function message(number: number, random: Random, chunk: number): Data {
  const size = [0, 1, 20, chunk, chunk + 1, chunk * 5][random.within(0, 5)]!;
  if (random.chance(0.5)) {
    const letter = ["a", "é", "€", "😀", "\uFEFF"][random.within(0, 4)]!;
    return `${number};${letter.repeat(Math.ceil(size / 2))}`;
  }
  return Uint8Array.from({ length: size + 4 }, (_, at) => (at < 4 ? number >> (8 * at) : at * 7 + number) & 0xff);
}

/** Fails when anything is lost, repeated or reordered, or when either side does what it must not. */
export function play(seed: number): World {
  const random = new Random(seed * 7919 + 1);
  const chunk = random.within(4, 40);
  const delay = random.within(1, 400);
  const terms: Terms = {
    ...TERMS,
    chunk,
    max_msg: chunk * 40,
    win: [random.within(1, chunk * 60), random.within(1, 60)],
    hb: random.within(500, 5000),
  };
  const up: Data[] = [];
  const down: Data[] = [];
  let owner!: Owner;
  const world = new World(
    seed,
    terms,
    {
      // Links that never outlive a round trip can carry nothing, whatever the protocol.
      lives: random.within(delay * 10, 20_000),
      silent: random.next() * 0.3,
      refused: random.next() * 0.4,
      delay,
    },
    {
      insist: true,
      window: [random.within(1, chunk * 60), random.within(1, 60)],
      connectTimeout: Infinity,
      patience: 1e9,
      retry: { first: 100, delays: [50, 200, 1000], lasted: 5000 },
    },
    (made) => (owner = made),
  );
  world.session.start(world.now);
  world.drain();
  world.run(() => world.isOpen);
  for (let number = 0; number < MESSAGES; number++) {
    world.at(random.within(0, 60_000), () => {
      const next = message(up.length, random, chunk);
      up.push(next);
      world.session.send(next, typeof next === "string" ? Buffer.byteLength(next) : next.length, world.now);
    });
    world.at(random.within(0, 60_000), () => {
      const next = message(down.length, random, chunk);
      down.push(next);
      owner.push(next, world.now);
    });
  }
  for (let count = random.within(0, 12); count > 0; count--) {
    world.at(random.within(0, 60_000), () => owner.migrate(random.within(0, 2000), world.now));
    world.at(random.within(0, 60_000), () => owner.reissue(world.now));
    world.at(random.within(0, 60_000), () => owner.event({ leg: 2, reason: "drain" }, world.now));
    world.at(random.within(0, 60_000), () => world.session.wake(world.now));
  }
  if (random.chance(0.3)) world.at(random.within(0, 60_000), () => owner.goaway(random.within(0, 3000), world.now));
  const beat = () => {
    owner.tick(world.now);
    world.at(100, beat);
  };
  beat();
  world.run(() => up.length === MESSAGES && down.length === MESSAGES && delivered(up, owner) && received(down, world));
  finish(world, owner, random);
  return world;
}

const same = (left: Data[], right: Data[]) => {
  for (let at = 0; at < Math.min(left.length, right.length); at++) {
    const [expected, got] = [left[at]!, right[at]!];
    assert.equal(typeof got, typeof expected, `message ${at}`);
    assert.ok(Buffer.from(expected as string).equals(Buffer.from(got as string)), `message ${at} differs`);
  }
  assert.ok(right.length <= left.length, "more than was sent");
  return right.length === left.length;
};
const delivered = (up: Data[], owner: Owner) => up.length === MESSAGES && same(up, owner.delivered);
const received = (down: Data[], world: World) => down.length === MESSAGES && same(down, world.received);

/** One side closes; both must agree on it. */
function finish(world: World, owner: Owner, random: Random): void {
  if (random.chance(0.5)) {
    world.session.close(3000, "enough", world.now);
    world.drain();
    world.run(() => !!world.end);
    assert.deepEqual(owner.ended, { code: 3000, reason: "enough" });
    assert.deepEqual(world.end, { code: 3000, reason: "enough", clean: true });
  } else {
    owner.end(4321, "bye", world.now);
    world.run(() => !!world.end);
    assert.deepEqual(world.end, { code: 4321, reason: "bye", clean: true });
  }
}
