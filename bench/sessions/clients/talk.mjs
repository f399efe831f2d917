// What one program's clients do in the mixed run: each sends numbered messages, and notes what comes back. Runs in
// Node and, as text, in a page; both have put our client into `globalThis.Longhaul`.

/** Talks until every message is back, or nothing has come for too long. */
export async function talk({ address, first, count, messages, pause, retry }) {
  const QUIET_MS = 60_000; // Longer than any way back; whoever waits longer waits for what is lost.
  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const result = { lost: 0, doubled: 0, outOfOrder: 0, closed: [], resumed: [] };

  async function one(client) {
    const options = { require: true, insist: true, retry: { first: retry, delays: [retry] } };
    const socket = new globalThis.Longhaul.WebSocket(`ws://${address}/`, [], options);
    const seen = new Set();
    let [last, lostAt, heardAt, isOver] = [-1, 0, performance.now(), false];
    socket.onmessage = ({ data }) => {
      const number = Number(data.split(":")[1]);
      heardAt = performance.now();
      if (seen.has(number)) result.doubled += 1;
      else if (number < last) result.outOfOrder += 1;
      seen.add(number);
      last = Math.max(last, number);
    };
    socket.onstatechange = () => {
      if (socket.state === "resuming") lostAt = performance.now();
    };
    socket.onresumed = () => result.resumed.push(performance.now() - lostAt);
    socket.onclose = ({ code }) => {
      if (!isOver) result.closed.push(code);
      isOver = true;
    };
    await new Promise((resolve) => (socket.onopen = resolve));
    await wait(Math.random() * pause);
    for (let number = 0; number < messages && !isOver; number++) {
      socket.send(`${client}:${number}:${"x".repeat(number % 100)}`);
      await wait(pause);
    }
    while (seen.size < messages && !isOver && performance.now() - heardAt < QUIET_MS) await wait(100);
    result.lost += messages - seen.size;
    isOver = true;
    socket.close(1000);
  }

  await Promise.all(Array.from({ length: count }, (_, index) => one(first + index)));
  return result;
}
