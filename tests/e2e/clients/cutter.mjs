// A TCP proxy on loopback that cuts connections, on demand or after some bytes, wherever in a frame that is; or has
// them fall silent, as after a change of the network.
import { once } from "node:events";
import { connect, createServer } from "node:net";

/**
 * Listens before `host:port`; `bytesOfNext()` says how many bytes the next connection lives, `timeOfNext()` how
 * many milliseconds. Behind its time a connection is reset, and what was on its way is gone.
 */
export async function cutterBefore(address, bytesOfNext = () => Infinity, timeOfNext = () => Infinity) {
  const [host, port] = address.split(":");
  const pairs = new Set();
  const cutter = {
    cuts: 0,
    cut: () => pairs.forEach((pair) => end(pair)),
    hush: () => pairs.forEach((pair) => (pair.isSilent = true)),
    stop: () => (server.close(), cutter.cut()),
  };
  const end = (pair, isReset = false) => {
    if (!pairs.delete(pair)) return;
    cutter.cuts += 1;
    // Unless it is reset, what was just written still goes out; then both ends see the connection gone.
    for (const socket of pair) isReset ? socket.resetAndDestroy() : socket.destroySoon();
  };
  const server = createServer((near) => {
    const far = connect(Number(port), host);
    const pair = [near, far];
    let left = bytesOfNext();
    const life = timeOfNext();
    if (life < Infinity) setTimeout(() => end(pair, true), life);
    pairs.add(pair);
    for (const [from, to] of [pair, [far, near]]) {
      from.on("data", (bytes) => {
        if (pair.isSilent) return;
        to.write(bytes.subarray(0, left));
        left -= bytes.length;
        if (left <= 0) end(pair);
      });
      from.on("error", () => {});
      // An end of its own is passed on with what came before it.
      from.on("end", () => pair.isSilent || to.end());
      from.on("close", () => (pairs.delete(pair), to.destroySoon()));
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cutter.address = `127.0.0.1:${server.address().port}`;
  return cutter;
}
