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

const server = new Server(http);
server.on("connection", (socket) => {
  socket.emit("welcome", { replica, sid: socket.id });
  socket.on("echo", (message, acknowledge) => acknowledge({ replica, message }));
  socket.on("count", (upTo) => {
    for (let number = 1; number <= upTo; number += 1) socket.emit("number", number);
  });
});

http.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  console.log("listening", http.address().port);
});
