// A client of GraphQL over WebSocket that must not notice how its replica goes: `graphql_redial.mjs HOST:PORT`.
//
// Three subscriptions, one of which ends before, and a mutation without an answer. Prints `ready` when the replica is to
// be killed, and `done` once the two others go on at another, the mutation has failed, and a query is answered.
import assert from "node:assert/strict";
import { createClient } from "graphql-ws";
import WebSocket from "ws";

const client = createClient({
  url: `ws://${process.argv[2]}/graphql`,
  webSocketImpl: WebSocket,
  connectionParams: { token: "t" },
  retryAttempts: 0,
  lazy: false,
  keepAlive: 200,
  onNonLazyError: (error) => fail(`${error}`),
});
let opened = 0;
client.on("connected", () => (opened += 1));
client.on("closed", (event) => fail(`closed ${event.code} ${event.reason}`));

const [one, two, gone] = [1000, 2000, 3000].map((from) => client.iterate({ query: `subscription { ticks(from: ${from}) }` }));
const first = await read(one, () => true);
await read(two, () => true);
await read(gone, () => true);
await gone.return();
const mutation = assert.rejects(client.iterate({ query: "mutation { slow }" }).next(), (errors) =>
  errors[0].message.includes("nobody knows whether this was done"),
);
// Answered behind the mutation: the replica has that by now. One that came after its end would be done by the next.
await client.iterate({ query: "{ replica }" }).next();
console.log("ready");
for (const [iterator, from] of [[one, 1000], [two, 2000]]) {
  const tick = await read(iterator, (tick) => !tick.startsWith(first.split(" ")[0]));
  assert.ok(Number(tick.split(" ")[1]) < from + 1000);
}
await mutation;
const { value } = await client.iterate({ query: "{ replica }" }).next();
assert.notEqual(value.data.replica, first.split(" ")[0]);
assert.equal(opened, 1);
console.log("done");
process.exit(0);

async function read(iterator, isWanted) {
  for (;;) {
    const { value, done } = await iterator.next();
    if (done) fail("a subscription ended");
    if (isWanted(value.data.ticks)) return value.data.ticks;
  }
}

function fail(reason) {
  console.log("failed:", reason);
  process.exit(1);
}
