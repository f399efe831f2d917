// The npm package `ws` as an echo server. Prints `listening PORT` when it accepts and
// `closed CODE REASON` for each close frame it received.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const replica = process.env.REPLICA ?? "ws";
const http = createServer((_request, response) => response.end(replica));
const server = new WebSocketServer({
  server: http,
  maxPayload: 256 << 20,
  perMessageDeflate: true,
  handleProtocols: (offered) => (offered.has("chat.v2") ? "chat.v2" : false),
});

server.on("connection", (socket, request) => {
  const url = new URL(request.url, "http://replica");
  socket.on("error", (error) => console.log("error", error.message));
  if (url.pathname === "/close") {
    const code = Number(url.searchParams.get("code"));
    socket.once("message", () => socket.close(code, url.searchParams.get("reason") ?? ""));
    return;
  }
  if (url.pathname === "/replica") socket.send(replica);
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  socket.on("close", (code, reason) => console.log("closed", code, reason.toString()));
});

http.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  console.log("listening", http.address().port);
});
