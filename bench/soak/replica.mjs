// An echo server that writes down what it reads, and when: `replica.mjs PORT RECORD`. Prints `listening PORT`.
//
// A line is written before its echo is sent, into a file that survives a SIGKILL. TERM ends it as a framework would:
// every connection is closed with 1012. Whoever asks by HTTP gets an empty page, for browsers to work in.
import { openSync, writeSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../tests/e2e/node_modules/", import.meta.url));
const { WebSocketServer } = require("ws");
const [port, record] = process.argv.slice(2);
const file = openSync(record, "a");
const http = createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end("<!doctype html>"));
const server = new WebSocketServer({ server: http, perMessageDeflate: false });
server.on("connection", (socket) => {
  socket.on("message", (data) => {
    const text = data.toString();
    writeSync(file, `${process.hrtime.bigint()} ${text}\n`);
    socket.send(text);
  });
});
http.listen({ host: "127.0.0.1", port: Number(port), backlog: 4096 }, () => {
  console.log("listening", http.address().port);
});
process.on("SIGTERM", () => {
  server.clients.forEach((socket) => socket.close(1012));
  http.close(() => process.exit(0));
  setTimeout(() => process.exit(0), 500);
});
