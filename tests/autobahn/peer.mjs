// What stands on the other side of the suite: `ws` on Node, as an echo server or as a client that runs every case.
import { createRequire } from 'node:module';

const { WebSocket, WebSocketServer } = createRequire(new URL('../e2e/', import.meta.url))('ws');
const [role, port, agent] = process.argv.slice(2);

if (role === 'serve') {
  const server = new WebSocketServer({
    host: '127.0.0.1', port: Number(port), perMessageDeflate: true, maxPayload: 64 << 20,
  });
  server.on('connection', (socket) => {
    socket.on('message', (data, binary) => socket.send(data, { binary }));
    // Broken frames are the point of many cases.
    socket.on('error', () => {});
  });
} else {
  const visit = (path, onMessage) => new Promise((done) => {
    // The suite takes no other port in `Host` than its own.
    const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, { headers: { Host: '127.0.0.1:7903' } });
    socket.on('message', (data, binary) => onMessage?.(socket, data, binary));
    socket.on('error', () => {});
    socket.on('close', done);
  });
  let count = 0;
  await visit('/getCaseCount', (_, data) => { count = Number(data); });
  for (let at = 1; at <= count; at += 1) {
    await visit(`/runCase?case=${at}&agent=${agent}`, (socket, data, binary) => socket.send(data, { binary }));
  }
  await visit(`/updateReports?agent=${agent}`);
}
