// Large bodies on Node, by HTTP/2 if HTTP2 is set. Prints `listening PORT` when it accepts.
//
// `GET /down?bytes=N[&chunked]` sends a pattern of 65,521 bytes over and over; `PUT /up` compares
// what comes with the same pattern and answers how much was right.
import http from "node:http";
import http2 from "node:http2";

const PERIOD = 65_521;
const pattern = Buffer.alloc(PERIOD);
for (let index = 0; index < PERIOD; index += 1) pattern[index] = index % 251;
// Long enough that any window of a period can be cut from it.
const window = Buffer.concat([pattern, pattern, pattern]);

function down(url, response) {
  let left = Number(url.searchParams.get("bytes"));
  if (!url.searchParams.has("chunked")) response.setHeader("Content-Length", left);
  const send = () => {
    while (left > 0) {
      const piece = pattern.subarray(0, Math.min(PERIOD, left));
      left -= piece.length;
      if (!response.write(piece)) return response.once("drain", send);
    }
    response.end();
  };
  send();
}

async function up(request, response) {
  let right = 0;
  for await (const piece of request) {
    for (let at = 0; at < piece.length; at += PERIOD) {
      const part = piece.subarray(at, at + PERIOD);
      const start = right % PERIOD;
      if (!part.equals(window.subarray(start, start + part.length))) {
        response.statusCode = 400;
        return response.end(`different after ${right} bytes`);
      }
      right += part.length;
    }
  }
  response.end(String(right));
}

const { createServer } = process.env.HTTP2 ? http2 : http;
const server = createServer((request, response) => {
  const url = new URL(request.url, "http://replica");
  if (url.pathname === "/down") down(url, response);
  else up(request, response).catch((error) => response.destroy(error));
});
server.requestTimeout = 0;
server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  console.log("listening", server.address().port);
});
