// A TCP proxy on loopback that cuts connections, on demand or after some bytes, wherever in a frame that is; or has
// them fall silent, as after a change of the network.
import { once } from "node:events";
import { connect, createServer } from "node:net";

/** Listens before `host:port`; `bytesOfNext()` says how many bytes the next connection lives. */
export async function cutterBefore(address, bytesOfNext = () => Infinity) {
  const [host, port] = address.split(":");
  const pairs = new Set();
  const cutter = {
    cuts: 0,
    cut: () => pairs.forEach(end),
    hush: () => pairs.forEach((pair) => (pair.isSilent = true)),
    stop: () => (server.close(), cutter.cut()),
  };
  const end = (pair) => {
    if (!pairs.delete(pair)) return;
    cutter.cuts += 1;
    // What was just written still goes out; then both ends see the connection gone.
    for (const socket of pair) socket.destroySoon();
  };
  const server = createServer((near) => {
    const far = connect(Number(port), host);
    const pair = [near, far];
    let left = bytesOfNext();
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
