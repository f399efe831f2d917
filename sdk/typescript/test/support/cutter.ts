// A TCP proxy that cuts its connections: after a number of bytes, wherever in a frame that is, or on demand.

import { connect, createServer, type Server, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import { once } from "node:events";

export class Cutter {
  /** How many connections it ended. */
  cuts = 0;
  /** Refuses new connections while true. */
  isClosed = false;
  #server: Server;
  #pairs = new Set<[Socket, Socket]>();

  private constructor(
    target: number,
    private readonly bytesOfNext: () => number,
  ) {
    this.#server = createServer((near) => this.#join(near, connect(target, "127.0.0.1")));
  }

  /** Listens on loopback; `bytesOfNext` says how many bytes each connection lives, both directions together. */
  static async before(target: number, bytesOfNext: () => number = () => Infinity): Promise<Cutter> {
    const cutter = new Cutter(target, bytesOfNext);
    cutter.#server.listen(0, "127.0.0.1");
    await once(cutter.#server, "listening");
    return cutter;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  #join(near: Socket, far: Socket): void {
    const pair: [Socket, Socket] = [near, far];
    let left = this.bytesOfNext();
    this.#pairs.add(pair);
    if (this.isClosed) return this.#cut(pair);
    const pass = (to: Socket) => (bytes: Buffer) => {
      // The part of a frame that fits still arrives.
      to.write(bytes.subarray(0, left));
      left -= bytes.length;
      if (left <= 0) this.#cut(pair);
    };
    near.on("data", pass(far));
    far.on("data", pass(near));
    for (const socket of pair) {
      socket.on("error", () => {});
      socket.on("close", () => this.#end(pair));
    }
  }

  #cut(pair: [Socket, Socket]): void {
    this.cuts++;
    this.#end(pair);
  }

  #end(pair: [Socket, Socket]): void {
    this.#pairs.delete(pair);
    // What was written just before still goes out; then both ends see the connection gone.
    for (const socket of pair) socket.destroySoon();
  }

  /** Cuts every connection now. */
  cut(): void {
    for (const pair of [...this.#pairs]) this.#cut(pair);
  }

  stop(): void {
    this.#server.close();
    for (const pair of [...this.#pairs]) this.#end(pair);
  }
}
