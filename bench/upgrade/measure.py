#!/usr/bin/env python3
"""How long does a connection stand still while the binary is upgraded, and does anybody notice?

    bench/upgrade/measure.py target/release/longhaul --clients 5000 --upgrades 5
    bench/upgrade/measure.py target/release/longhaul --kind redial

Every client sends a number once a second (`--every`) and expects it back, once and in order. Printed are, for
each hop, for how long connections stood still, as the gateway has measured it for each of them; and how long
echoes took while an upgrade was under way and otherwise, all of them and the slowest of each client.
Client and echo server share the machine with the gateway, so their own waiting is part of the echo times.
`--kind redial` has lost replicas replaced, `--kind tcp` passes the same bytes on as raw TCP, `--kind durable` opens
durable sessions (`--every` at most 10: their clients hear pings only while they wait for an echo).
Python alone; needs twice as many descriptors as clients, four times for the gateway.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import multiprocessing
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time

TEXT, PING, PONG = 1, 9, 10
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n"
)


def raise_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def echo(reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    key = [line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")]
    value = key[0].split(b":", 1)[1].strip() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(value).digest())
    writer.write(ACCEPTED.replace(ACCEPT, accept))
    try:
        while True:
            first, length = await reader.readexactly(2)
            mask = await reader.readexactly(4)
            payload = await reader.readexactly(length & 0x7F)
            plain = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
            if first & 0x0F == TEXT:
                writer.write(bytes([0x81, len(plain)]) + plain)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def serve(port):
    raise_limit()

    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", port, backlog=4096)
        await server.serve_forever()

    asyncio.run(main())


class Plain:
    """What a client says and hears."""

    protocol = b""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def open(self):
        self.writer.write(HANDSHAKE.replace(b"\r\n\r\n", b"\r\n" + self.protocol + b"\r\n"))
        await self.reader.readuntil(b"\r\n\r\n")

    def say(self, text):
        self.write(TEXT, text)

    async def hear(self):
        """The next message. Pings are answered."""
        while True:
            first, length = await self.reader.readexactly(2)
            if length == 126:
                length = int.from_bytes(await self.reader.readexactly(2))
            opcode, payload = first & 0x0F, await self.reader.readexactly(length)
            if opcode == TEXT:
                return payload
            if opcode != PING:
                sys.exit(f"closed: {payload!r}")
            self.write(PONG, payload)

    def write(self, opcode, payload):
        self.writer.write(bytes([0x80 | opcode, 0x80 | len(payload)]) + b"\0\0\0\0" + payload)


class Durable(Plain):
    """A link of a session, as far as somebody needs it who is never cut off (protocol/README.md)."""

    protocol = b"Sec-WebSocket-Protocol: longhaul.v1\r\n"
    sent = 0

    async def open(self):
        await super().open()
        self.write(TEXT, b'{"t":"hello","v":1,"sdk":"bench/1","win":[65536,64]}')
        welcome = await super().hear()
        if not welcome.startswith(b'{"t":"welcome"'):
            sys.exit(f"no session: {welcome!r}")
        self.write(TEXT, b"a0")

    def say(self, text):
        self.sent += 1
        super().say(b"m%d;%s" % (self.sent, text))

    async def hear(self):
        while True:
            item = await super().hear()
            if item.startswith(b"m"):
                number, text = item[1:].split(b";", 1)
                self.write(TEXT, b"a" + number)
                return text
            if item.startswith(b"p"):
                self.write(TEXT, b"q" + item[1:])
            elif not item.startswith((b"a", b'{"t":"token"')):
                sys.exit(f"{item!r} came instead of a message")


# What is particular to connections of each kind.
KINDS = {
    "websocket": (Plain, ""),
    "redial": (Plain, '[websocket]\non_replica_loss = "redial"\n'),
    "tcp": (Plain, '[[tcp]]\nlistener = "main"\nupstream = "app"\n'),
    "durable": (Durable, ""),
}


async def client(kind, port, at, every, took, stop):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    peer = KINDS[kind][0](reader, writer)
    await peer.open()
    number = 0
    await asyncio.sleep(at * every)
    took = took.setdefault(at, [])
    while not stop.is_set():
        text = str(number).encode()
        began = time.monotonic()
        peer.say(text)
        heard = await peer.hear()
        if heard != text:
            sys.exit(f"{heard!r} came instead of {text!r}")
        now = time.monotonic()
        took.append((began, now - began))
        number += 1
        await asyncio.sleep(max(0.0, every - (now - began)))
    writer.close()


def quantiles(values):
    values = sorted(values) or [0.0]
    pick = lambda q: values[min(len(values) - 1, int(len(values) * q))] * 1000
    return f"p50 {pick(0.5):.1f} ms, p99 {pick(0.99):.1f} ms, most {values[-1] * 1000:.1f} ms"


async def measure(arguments, port, admin, gateway):
    took, stop, spans = {}, asyncio.Event(), []
    clients = []
    for at in range(arguments.clients):
        spread = at / arguments.clients
        clients.append(asyncio.create_task(client(arguments.kind, port, spread, arguments.every, took, stop)))
        if at % 100 == 99:
            await asyncio.sleep(0.1)
    await asyncio.sleep(5)
    for _ in range(arguments.upgrades):
        began = time.monotonic()
        command = [arguments.gateway, "upgrade", "--admin", f"unix:{admin}"]
        while True:
            asked = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
            said, _ = await asked.communicate()
            if asked.returncode == 0:
                break
            await asyncio.sleep(1)
        print(said.decode().strip())
        await asyncio.sleep(3)
        spans.append((began, time.monotonic()))
        await asyncio.sleep(3)
    stop.set()
    await asyncio.gather(*clients)
    within = lambda began: any(a <= began <= b for a, b in spans)
    during = [[t for began, t in of_one if within(began)] for of_one in took.values()]
    otherwise = [t for of_one in took.values() for began, t in of_one if not within(began)]
    count = sum(map(len, took.values()))
    print(f"{count} echoes, none lost, doubled or out of order; nobody was closed")
    print(f"during upgrades:     {quantiles([t for of_one in during for t in of_one])}")
    print(f"  slowest of each:   {quantiles([max(of_one) for of_one in during if of_one])}")
    print(f"otherwise:           {quantiles(otherwise)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gateway")
    parser.add_argument("--clients", type=int, default=5000)
    parser.add_argument("--upgrades", type=int, default=5)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between a client's messages")
    parser.add_argument("--kind", choices=KINDS, default="websocket")
    arguments = parser.parse_args()
    raise_limit()
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    server = multiprocessing.Process(target=serve, args=(ports[1],), daemon=True)
    server.start()
    with tempfile.TemporaryDirectory() as directory:
        admin = os.path.join(directory, "admin")
        config = os.path.join(directory, "longhaul.toml")
        with open(config, "w") as file:
            file.write(f'[server]\nlisten = ["main=127.0.0.1:{ports[0]}"]\nadmin = "unix:{admin}"\n')
            file.write(f'[[upstreams]]\nname = "app"\nreplicas = ["127.0.0.1:{ports[1]}"]\n')
            file.write(KINDS[arguments.kind][1])
        command = [arguments.gateway, "run", "--config", config]
        with open(os.path.join(directory, "log"), "w+") as log:
            gateway = subprocess.Popen(command, stderr=log)
            try:
                while not os.path.exists(admin):
                    time.sleep(0.1)
                asyncio.run(measure(arguments, ports[0], admin, gateway))
                log.seek(0)
                lines = [line for line in log if line.startswith("{")]
                pauses = [line for line in lines if "took over from the process before" in line]
                print(f"{len(pauses)} hops, in each of which connections stood still for:")
                for line in map(json.loads, pauses):
                    p50, p99, most = (line[f"pause{of}_ms"] for of in ("_p50", "_p99", ""))
                    count = line["connections"]
                    print(f"  {count} connections: p50 {p50} ms, p99 {p99} ms, most {most} ms")
                for line in map(json.loads, (line for line in lines if '"connections moved"' in line)):
                    print(f"  {line['whole']} whole, {line['changed']} changed of {line['moved']}")
                print(f"load of the machine: {' '.join(map(str, os.getloadavg()))}")
            finally:
                gateway.terminate()
                gateway.wait()
                server.terminate()


if __name__ == "__main__":
    main()
