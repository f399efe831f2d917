// What one Socket.IO connection must be able to do. Runs in Node and, as text, in a browser page.
export async function converse(io, url, options) {
  const socket = io(url, { forceNew: true, reconnection: false, timeout: 20_000, ...options });
  const fail = (what) => new Error(`${options.transports}: ${what}`);
  try {
    // The welcome is the first packet after the connect: listen before it can come.
    const welcome = await new Promise((resolve, reject) => {
      socket.once("welcome", resolve);
      socket.once("connect_error", (error) => reject(fail(`connect_error ${error.message}`)));
      socket.once("disconnect", (reason) => reject(fail(`disconnected: ${reason}`)));
    });
    const wanted = options.transports.at(-1);
    const engine = socket.io.engine;
    if (engine.transport.name !== wanted) {
      await new Promise((resolve, reject) => {
        engine.once("upgrade", resolve);
        engine.once("upgradeError", reject);
        setTimeout(() => reject(fail("no upgrade within 20 s")), 20_000);
      });
    }
    for (let round = 0; round < 5; round += 1) {
      const message = `${round} `.repeat(round * 2000 + 1);
      const answer = await socket.timeout(20_000).emitWithAck("echo", message);
      if (answer.message !== message) throw fail("the echo differs");
      if (answer.replica !== welcome.replica) throw fail("the replica changed midway");
    }
    let seen = 0;
    await new Promise((resolve, reject) => {
      socket.on("number", (number) => {
        if (number !== ++seen) reject(fail(`expected ${seen}, got ${number}`));
        if (number === 50) resolve();
      });
      socket.once("disconnect", (reason) => reject(fail(`disconnected: ${reason}`)));
      socket.emit("count", 50);
    });
    if (engine.transport.name !== wanted) throw fail(`ended on ${engine.transport.name}`);
    return welcome.replica;
  } finally {
    socket.disconnect();
  }
}

// The three ways of connecting that applications configure.
export const TRANSPORTS = [["polling"], ["websocket"], ["polling", "websocket"]];
