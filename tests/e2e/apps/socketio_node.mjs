// Socket.IO's own server on Node. Prints `listening PORT` when it accepts.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { Server } from "socket.io";

const replica = process.env.REPLICA ?? "node";
const page = readFileSync(new URL("socketio.html", import.meta.url));
const client = readFileSync(
  new URL("../node_modules/socket.io-client/dist/socket.io.min.js", import.meta.url),
);
const http = createServer((request, response) => {
  const isPage = request.url === "/page";
  response.setHeader("Content-Type", isPage ? "text/html; charset=utf-8" : "text/javascript");
  response.end(isPage ? page : client);
});

const beat = Number(process.env.PING_MS);
const server = new Server(http, beat ? { pingInterval: beat, pingTimeout: 8 * beat } : {});
// A namespace that wants to know who comes.
const members = server.of("/members");
members.use((socket, next) => next(socket.handshake.auth.name ? undefined : new Error("who are you?")));
for (const space of [server, members]) space.on("connection", welcome);

function welcome(socket) {
  socket.emit("welcome", { replica, sid: socket.id });
  socket.on("echo", (message, acknowledge) => acknowledge({ replica, message }));
  socket.on("count", (upTo) => {
    for (let number = 1; number <= upTo; number += 1) socket.emit("number", number);
  });
  socket.on("blob", (one, two, acknowledge) => {
    acknowledge({ replica, name: socket.handshake.auth.name ?? null, both: Buffer.concat([one, two]) });
  });
}

http.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  console.log("listening", http.address().port);
});
