// socket.io-client on Node: `socketio_node.mjs http://HOST:PORT`. Prints each case and `done`.
import { io } from "socket.io-client";
import { converse, TRANSPORTS } from "./socketio_cases.mjs";

const base = process.argv[2];
for (const cookies of [false, true]) {
  for (const transports of TRANSPORTS) {
    // Four at once: with two replicas both must serve, each connection staying where it began.
    const four = Array.from({ length: 4 }, () =>
      converse(io, base, { transports, withCredentials: cookies }),
    );
    const replicas = new Set(await Promise.all(four));
    console.log(`cookies ${cookies} ${transports.join("+")} on ${[...replicas].sort().join(" ")}`);
  }
}
console.log("done");
process.exit(0);
