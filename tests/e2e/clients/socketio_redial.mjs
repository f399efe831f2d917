// Clients of Socket.IO that must not notice how their replicas go: `socketio_redial.mjs http://HOST:PORT CHANGES`.
//
// Two for each way to WebSocket, each in two namespaces of one connection. Prints `ready` once all have been answered,
// `changed` each time all of them have been answered by another replica than before, and after CHANGES of those `done`.
// Any disconnect, any error, another id or a wrong answer ends it.
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { Manager } from "socket.io-client";

const [base, changes] = [process.argv[2], Number(process.argv[3])];
const WAYS = [["websocket"], ["polling", "websocket"]];

const clients = await Promise.all([...WAYS, ...WAYS].map(start));
console.log("ready");
for (let change = 0; change < changes; change += 1) {
  await Promise.all(clients.map((client) => client.moves()));
  console.log("changed");
}
console.log("done");
process.exit(0);

async function start(transports, index) {
  const manager = new Manager(base, { transports, reconnection: false, timeout: 60_000 });
  const name = `client ${index}`;
  const [main, members] = [manager.socket("/"), manager.socket("/members", { auth: { name } })];
  await Promise.all([main, members].map((socket) => enter(socket, `${name} ${transports}`)));
  if (manager.engine.transport.name !== "websocket") {
    await new Promise((resolve) => manager.engine.once("upgrade", resolve));
  }
  const ids = [main.id, members.id];
  let replica = await ask();
  return { moves };

  /** Asks until an answer comes from elsewhere; a question that its replica took with it gets none. */
  async function moves() {
    const before = replica;
    while (replica === before) {
      replica = (await ask()) ?? replica;
      await pause(20);
    }
  }

  async function ask() {
    const [one, two] = [Buffer.alloc(3000, index), Buffer.from(name)];
    try {
      const answer = await members.timeout(3000).emitWithAck("blob", one, two);
      assert.equal(answer.name, name);
      assert.deepEqual(Buffer.from(answer.both), Buffer.concat([one, two]));
      const { replica: same, message } = await main.timeout(3000).emitWithAck("echo", { from: name });
      assert.deepEqual(message, { from: name });
      assert.deepEqual([main.id, members.id], ids);
      return same;
    } catch (error) {
      if (error.message !== "operation has timed out") fail(error.stack);
    }
  }
}

async function enter(socket, who) {
  socket.on("connect_error", (error) => fail(`${who}: ${error.message}`));
  await new Promise((resolve) => socket.once("connect", resolve));
  socket.on("connect", () => fail(`${who}: connected again`));
  socket.on("disconnect", (reason) => fail(`${who}: ${reason}`));
}

function fail(reason) {
  console.log("failed:", reason);
  process.exit(1);
}
