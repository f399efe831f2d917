#!/usr/bin/env python3
"""Is the dashboard of use while a gateway holds 10,000 WebSockets?

    tests/e2e/.cache/python/bin/python bench/dashboard/measure.py target/release/longhaul

Opens them as streams of HTTP/2, a hundred to a connection, so that the gateway needs one descriptor for
each and not two. Asks the admin API for what the page asks for, and has Chromium look at the page
(`page.mjs`): how soon it is there, how soon it follows, how much there is of it. Needs `cargo xtask setup`,
and as many descriptors as WebSockets for each process. Client, backend, gateway and browser share the machine.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import multiprocessing
import os
import pathlib
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import h2.config
import h2.connection
import h2.events

HERE = pathlib.Path(__file__).resolve().parent
STREAMS = 100


async def accept(reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    key = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)[1]
    proof = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\n"
    )
    try:
        while await reader.read(4096):
            pass
    except ConnectionError:
        pass
    writer.close()


def backend(port):
    async def serve():
        server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=4096)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


class Connection:
    """One connection with so many WebSockets in it."""

    def __init__(self, address, count):
        self.sock = socket.create_connection(address)
        self.sock.settimeout(60)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.h2.initiate_connection()
        self.opened = 0
        self.sock.sendall(self.h2.data_to_send())
        self.until(lambda: self.h2.remote_settings.enable_connect_protocol == 1)
        for number in range(count):
            self.h2.send_headers(
                2 * number + 1,
                [
                    (":method", "CONNECT"),
                    (":protocol", "websocket"),
                    (":scheme", "http"),
                    (":path", f"/chat/{number}"),
                    (":authority", "bench"),
                    ("sec-websocket-version", "13"),
                ],
            )
        self.sock.sendall(self.h2.data_to_send())
        self.until(lambda: self.opened == count)

    def until(self, claim):
        while not claim():
            data = self.sock.recv(1 << 16)
            assert data, "the gateway closed the connection"
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    assert dict(event.headers)[b":status"] == b"200", event
                    self.opened += 1
            self.sock.sendall(self.h2.data_to_send())


def asked(url, times=20):
    """Milliseconds (median, worst) and bytes of an answer."""
    took = []
    for _ in range(times):
        began = time.monotonic()
        size = len(urllib.request.urlopen(url, timeout=30).read())
        took.append((time.monotonic() - began) * 1000)
    return statistics.median(took), max(took), size


def memory_mib(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("longhaul")
    parser.add_argument("--websockets", type=int, default=10_000)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    here, there = multiprocessing.Pipe(False)
    echo = multiprocessing.Process(target=backend, args=(there,), daemon=True)
    echo.start()
    with tempfile.TemporaryDirectory() as directory:
        config = pathlib.Path(directory, "longhaul.toml")
        config.write_text(
            f"""[server]
admin = "127.0.0.1:0"
[[listeners]]
name = "main"
address = "127.0.0.1:0"
h2c = true
[websocket]
ping = "off"
[[upstreams]]
name = "app"
replicas = ["127.0.0.1:{here.recv()}"]
[[routes]]
name = "chat"
upstream = "app"
"""
        )
        log = open(pathlib.Path(directory, "log"), "w+b")
        gateway = subprocess.Popen([options.longhaul, "run", "--config", config], stdout=log, stderr=log)
        try:
            measure(options, gateway, log)
        finally:
            gateway.terminate()
            gateway.wait(60)
            echo.kill()


def addresses(gateway, log):
    until = time.monotonic() + 30
    while True:
        log.seek(0)
        text = log.read().decode()
        admin = re.search(r"admin API on (127\.0\.0\.1:\d+)", text)
        front = re.search(r"listening on 127\.0\.0\.1:(\d+)", text)
        if admin and front:
            return f"http://{admin[1]}", ("127.0.0.1", int(front[1]))
        assert gateway.poll() is None and time.monotonic() < until, text
        time.sleep(0.05)


def measure(options, gateway, log):
    admin, front = addresses(gateway, log)
    overview = lambda: json.load(urllib.request.urlopen(f"{admin}/api/v1/overview", timeout=30))
    until = time.monotonic() + 30
    while urllib.request.urlopen(f"{admin}/health/live").status != 200 or overview()["upstreams"] == []:
        assert time.monotonic() < until
    began = time.monotonic()
    connections = [
        Connection(front, min(STREAMS, options.websockets - at)) for at in range(0, options.websockets, STREAMS)
    ]
    took = time.monotonic() - began
    assert overview()["websockets_open"] == options.websockets, overview()["websockets_open"]
    print(f"{options.websockets} WebSockets open after {took:.1f} s; gateway {memory_mib(gateway.pid):.0f} MiB")
    for path in [
        "/api/v1/overview",
        "/api/v1/connections?limit=50",
        "/api/v1/connections?limit=50&route=nobody",
        "/metrics",
    ]:
        median, worst, size = asked(admin + path)
        print(f"GET {path}: median {median:.1f} ms, worst {worst:.1f} ms, {size} bytes")
    script = [os.environ.get("NODE", "node"), str(HERE / "page.mjs"), admin, str(options.websockets)]
    page = subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for line in page.stdout:
        print(line, end="")
        if line.startswith("ready"):
            # One in ten ends, and the page has to follow.
            for connection in connections[: len(connections) // 10]:
                connection.sock.close()
            page.stdin.write("ended\n")
            page.stdin.flush()
    sys.exit(page.wait())


if __name__ == "__main__":
    main()
