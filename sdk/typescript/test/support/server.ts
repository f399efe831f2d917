// A real WebSocket server on loopback with the owner model behind it, or none: `/durable` speaks the protocol,
// every other path is a plain server that has never heard of it.
//
// The application behind both is an echo that can be told to do other things; see `Application`.

import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import { Gateway, type Owner, TERMS, type Terms } from "./owner.js";
import { Random } from "./random.js";

export class TestServer {
  readonly gateway: Gateway;
  /** What clients did that they must not. */
  faults: Error[] = [];
  #http: Server;
  #sockets = new Set<WebSocket>();
  #beat: NodeJS.Timeout;

  private constructor(terms: Terms, files: Record<string, string>) {
    this.gateway = new Gateway(terms, new Random(1), (owner) => this.onSession(owner));
    this.#http = createServer((request, response) => {
      const file = files[request.url!];
      response.writeHead(file === undefined ? 404 : 200, {
        "content-type": request.url!.endsWith(".js") ? "text/javascript" : "text/html",
      });
      response.end(file);
    });
    const wss = new WebSocketServer({
      server: this.#http,
      maxPayload: 64 << 20,
      handleProtocols: (offered, request) => {
        if (isDurable(request)) return offered.has("longhaul.v1") && "longhaul.v1";
        if (request.url!.startsWith("/naive")) return [...offered][0]!;
        return [...offered].includes("chat") && "chat";
      },
    });
    wss.on("connection", (socket, request) => {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.#sockets.delete(socket));
      if (socket.protocol === "longhaul.v1" && isDurable(request)) this.#durable(socket, request);
      else plain(socket, request);
    });
    this.#beat = setInterval(() => {
      for (const owner of this.gateway.owners) owner.tick(performance.now());
    }, 20);
  }

  static async start(terms: Partial<Terms> = {}, files: Record<string, string> = {}): Promise<TestServer> {
    const server = new TestServer({ ...TERMS, ...terms }, files);
    server.#http.listen(0, "127.0.0.1");
    await once(server.#http, "listening");
    return server;
  }

  get port(): number {
    return (this.#http.address() as AddressInfo).port;
  }

  /** What the application does with a new session; an echo, unless a test wants something else. */
  onSession = (owner: Owner): void => {
    owner.onMessage = (message, now) => {
      const asked = typeof message === "string" && /^close (\d+) ?(.*)/.exec(message);
      if (asked) owner.end(Number(asked[1]), asked[2]!, now);
      else owner.push(message, now);
    };
  };

  #durable(socket: WebSocket, request: IncomingMessage): void {
    const offered = request.headers["sec-websocket-protocol"]!.split(/, */);
    const link = this.gateway.accept(
      { send: (data) => socket.send(data), close: (code) => socket.close(code) },
      offered.includes("chat") ? "chat" : null,
    );
    const note = (run: () => void) => {
      try {
        run();
      } catch (fault) {
        this.faults.push(fault as Error);
        socket.close(4900, (fault as Error).message.slice(0, 100));
      }
    };
    socket.on("message", (data: Buffer, isBinary) =>
      note(() => link.receive(isBinary ? new Uint8Array(data) : data.toString(), performance.now())),
    );
    socket.on("close", (code) => note(() => link.lost(performance.now(), code)));
  }

  async stop(): Promise<void> {
    clearInterval(this.#beat);
    for (const socket of this.#sockets) socket.terminate();
    this.#http.close();
    this.#http.closeAllConnections();
    await once(this.#http, "close");
  }
}

const isDurable = (request: IncomingMessage) => request.url!.startsWith("/durable");

/** An echo, as above, for a client that has no session. */
function plain(socket: WebSocket, request: IncomingMessage): void {
  if (request.url!.startsWith("/refuse")) return socket.terminate();
  socket.on("message", (data: Buffer, isBinary) => {
    const asked = !isBinary && /^close (\d+) ?(.*)/.exec(data.toString());
    if (asked) socket.close(Number(asked[1]), asked[2]);
    else socket.send(data, { binary: isBinary });
  });
}
