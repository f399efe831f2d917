"""Many plain WebSocket clients in one process: each sends numbers, and notes which come back and when.

By hand and not by a library, so that two thousand of them leave the machine to what is measured.
"""

import asyncio
import base64
import json
import os
import pathlib
import struct
import time

BROWSERS = pathlib.Path(__file__).parent / "browsers.mjs"


class Client(asyncio.Protocol):
    """One client. When it is closed it connects again and goes on counting, as a careful application would."""

    def __init__(self, crowd, number):
        self.crowd, self.number = crowd, number
        self.sent, self.heard = 0, []
        self.closed = 0
        self.heard_at = time.monotonic()
        self.silence = 0.0
        self.transport = None
        self.buffer = b""
        self.is_open = False
        self.opened = asyncio.get_running_loop().create_future()

    async def connect(self):
        while not self.crowd.is_over:
            try:
                await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self.crowd.port)
                return
            except OSError:
                await asyncio.sleep(0.5)

    def connection_made(self, transport):
        self.transport, self.buffer, self.is_open = transport, b"", False
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /soak/{self.number} HTTP/1.1\r\nHost: soak\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data):
        self.buffer += data
        if not self.is_open:
            head, end, rest = self.buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self.transport.abort()
                return
            self.is_open, self.buffer = True, rest
            if not self.opened.done():
                self.opened.set_result(None)
        self.read_frames()

    def read_frames(self):
        while len(self.buffer) >= 2:
            kind, length = self.buffer[0] & 0x0F, self.buffer[1] & 0x7F
            if len(self.buffer) < 2 + length:
                return
            payload, self.buffer = self.buffer[2 : 2 + length], self.buffer[2 + length :]
            if kind == 1:
                now = time.monotonic()
                self.silence = max(self.silence, now - self.heard_at)
                self.heard_at = now
                self.heard.append(int(payload.split()[1]))
            elif kind == 9:
                self.write(0x8A, payload)
            elif kind == 8:
                self.write(0x88, payload[:2])
                self.transport.close()

    def connection_lost(self, _error):
        if self.crowd.is_over:
            return
        self.closed += self.is_open
        self.is_open = False
        asyncio.get_running_loop().call_later(0.2, lambda: self.crowd.spawn(self.connect()))

    def say(self):
        if self.is_open:
            self.sent += 1
            self.write(0x81, f"{self.number} {self.sent}".encode())

    def write(self, first, payload):
        key = os.urandom(4)
        masked = bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))
        self.transport.write(struct.pack("!BB", first, 0x80 | len(payload)) + key + masked)


class Crowd:
    """All of these."""

    def __init__(self, port, count, interval):
        self.port, self.interval = port, interval
        self.is_over, self.tasks = False, set()
        self.count, self.clients = count, []
        self.talking = None

    def spawn(self, work):
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def open(self):
        self.clients = [Client(self, number) for number in range(self.count)]
        for at in range(0, self.count, 50):
            some = self.clients[at : at + 50]
            await asyncio.gather(*(client.connect() for client in some))
            await asyncio.wait_for(asyncio.gather(*(client.opened for client in some)), 60)

    async def speak(self):
        self.talking = asyncio.create_task(self.talk())

    async def talk(self):
        """Each speaks once in an interval, one after the other."""
        began = time.monotonic()
        for client in self.clients:
            client.heard_at = began
        turn = 0
        while True:
            due = int((time.monotonic() - began) / self.interval * self.count)
            while turn < due:
                self.clients[turn % self.count].say()
                turn += 1
            await asyncio.sleep(0.01)

    async def hush(self):
        """Nothing new is said."""
        self.talking.cancel()

    async def finish(self, patience):
        """What is under way has a while to arrive. A client has heard all when it has heard its last number."""
        until = time.monotonic() + patience
        while time.monotonic() < until and any(client.heard[-1:] != [client.sent] for client in self.clients):
            await asyncio.sleep(0.05)
        self.is_over = True

    async def close(self):
        for client in self.clients:
            client.transport.abort()


class Seen:
    """What a client in a browser has to say in the end."""

    def __init__(self, number, sent, heard, closed, silence):
        self.number, self.sent, self.heard, self.closed, self.silence = number, sent, heard, closed, silence


class Browsers:
    """The same in pages of a browser, which is another process."""

    def __init__(self, port, first, count, interval):
        self.arguments = [port, first, count, int(interval * 1000)]
        self.clients, self.process = [], None

    async def open(self):
        pipe = asyncio.subprocess.PIPE
        # One line tells everything that everybody has heard.
        self.process = await asyncio.create_subprocess_exec(
            "node", BROWSERS, *map(str, self.arguments), stdin=pipe, stdout=pipe, limit=2**30
        )
        said = await asyncio.wait_for(self.process.stdout.readline(), 120)
        if said != b"open\n":
            raise SystemExit(f"the browser does not open its WebSockets: {said!r}")

    async def order(self, word):
        self.process.stdin.write(f"{word}\n".encode())
        await self.process.stdin.drain()

    async def speak(self):
        await self.order("speak")

    async def hush(self):
        await self.order("hush")

    async def finish(self, patience):
        await self.order(f"finish {patience}")
        said = await asyncio.wait_for(self.process.stdout.readline(), 120 + patience)
        self.clients = [Seen(**client) for client in json.loads(said)]

    async def close(self):
        if self.process:
            # The browser is closed when there is nobody left to give orders.
            self.process.stdin.close()
            await self.process.wait()
