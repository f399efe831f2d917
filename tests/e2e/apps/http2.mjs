// An HTTP/2 server on Node, without TLS or with TLS_CERT and TLS_KEY. Prints `listening PORT` when
// it accepts, `session N opened` and `session N closed` for each connection, and `asked` and
// `aborted` for each request to `/never`.
//
// STREAMS_MAX is its limit of streams; GOAWAY_AFTER so many requests each session is told to go, and
// what comes behind them is not looked at; REFUSE first streams are refused once their body is there.
// With TLS, clients may choose HTTP/1.1 as well, and must if HTTP1 is set; WebSockets do.
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import https from "node:https";
import { WebSocketServer } from "ws";

const env = process.env;
const GOAWAY_AFTER = Number(env.GOAWAY_AFTER ?? 0);
const { NGHTTP2_REFUSED_STREAM } = http2.constants;
let refusals = Number(env.REFUSE ?? 0);
let sessions = 0;
const waiting = [];
const counted = new Map();

async function read(request) {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return Buffer.concat(pieces);
}

function json(response, value) {
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(value));
}

const routes = {
  async "/mirror"(request, response) {
    const body = await read(request);
    if (refusals > 0) {
      refusals -= 1;
      request.stream.close(NGHTTP2_REFUSED_STREAM);
      return;
    }
    const { method, url, httpVersion, headers, trailers } = request;
    const session = request.stream?.session?.number;
    const alpn = request.socket.alpnProtocol ?? null;
    json(response, { method, url, httpVersion, headers, trailers, session, alpn, body: body.toString() });
  },
  // Answers once so many are there at the same time.
  "/together"(request, response, query) {
    waiting.push([request, response]);
    if (waiting.length < Number(query.get("count"))) return;
    for (const [earlier, its] of waiting.splice(0)) {
      json(its, { session: earlier.stream.session.number });
    }
  },
  async "/count"(request, response, query) {
    const body = await read(request);
    const id = query.get("id");
    counted.set(id, (counted.get(id) ?? 0) + 1);
    json(response, { id, body: body.toString() });
  },
  "/counted"(_request, response) {
    const twice = [...counted].filter(([, times]) => times > 1).map(([id]) => id);
    json(response, { total: counted.size, twice, sessions });
  },
  // Sends each piece of the request back as it comes.
  "/echo"(request, response) {
    response.writeHead(200, { "content-type": "text/event-stream" });
    request.on("data", (piece) => response.write(piece));
    request.on("end", () => response.end());
  },
  "/never"(request) {
    request.on("aborted", () => console.log("aborted"));
    console.log("asked");
  },
};

function answer(request, response) {
  const url = new URL(request.url, "http://replica");
  const session = request.stream?.session;
  if (session) {
    session.asked = (session.asked ?? 0) + 1;
    if (session.asked === GOAWAY_AFTER) {
      session.goaway(0, request.stream.id);
      session.close();
    }
  }
  const route = routes[url.pathname];
  if (!route) return response.writeHead(404).end();
  Promise.resolve(route(request, response, url.searchParams)).catch(() => response.destroy());
}

function make() {
  const settings = env.STREAMS_MAX ? { maxConcurrentStreams: Number(env.STREAMS_MAX) } : {};
  if (!env.TLS_CERT) return http2.createServer({ settings }, answer);
  const [cert, key] = [readFileSync(env.TLS_CERT), readFileSync(env.TLS_KEY)];
  if (env.HTTP1) return https.createServer({ cert, key, ALPNProtocols: ["http/1.1"] }, answer);
  return http2.createSecureServer({ cert, key, settings, allowHTTP1: true }, answer);
}

const server = make();
server.on("session", (session) => {
  session.number = ++sessions;
  const { number } = session;
  console.log("session", number, "opened");
  session.on("close", () => console.log("session", number, "closed"));
  session.on("error", () => {});
});
server.on("sessionError", () => {});
new WebSocketServer({ server }).on("connection", (socket, request) => {
  socket.send(`alpn ${request.socket.alpnProtocol}`);
});
server.listen(Number(env.PORT ?? 0), "127.0.0.1", () => {
  console.log("listening", server.address().port);
});
