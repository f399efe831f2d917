"""Longhaul, nginx and HAProxy behind one certificate: memory of an idle WebSocket over TLS, and
handshakes per second. `compare.py LONGHAUL`, with the Python of `tests/e2e`; prints a table.

Each runs alone, with one worker, in front of the same echo server. Handshakes are made by
`openssl s_time`, full ones and resumed ones; processor time is that of the server alone.
"""

import asyncio
import os
import pathlib
import ssl
import subprocess
import sys
import tempfile
import time

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

IDLE = 500
SECONDS = 3
LONGHAUL = sys.argv[1]
TICKS = os.sysconf("SC_CLK_TCK")


def write(directory, name, text):
    path = pathlib.Path(directory, name)
    path.write_text(text)
    return str(path)


def longhaul(directory, port, backend):
    return [
        *(LONGHAUL, "run", "--workers", "1", "--listen", f"127.0.0.1:{port}"),
        *("--upstream", f"127.0.0.1:{backend}"),
        *("--tls-cert", f"{directory}/cert.pem", "--tls-key", f"{directory}/key.pem"),
    ]


def nginx(directory, port, backend):
    text = f"""
daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {directory}/cert.pem; ssl_certificate_key {directory}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:all:10m;
    location / {{
      proxy_pass http://127.0.0.1:{backend}; proxy_http_version 1.1; proxy_read_timeout 1h;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
    }}
  }}
}}
"""
    return ["/usr/sbin/nginx", "-p", directory, "-c", write(directory, "nginx.conf", text)]


def haproxy(directory, port, backend):
    text = f"""
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
frontend f
  bind 127.0.0.1:{port} ssl crt {directory}/both.pem
  default_backend b
backend b
  server s 127.0.0.1:{backend}
"""
    return ["/usr/sbin/haproxy", "-f", write(directory, "haproxy.cfg", text)]


def family(pid):
    """The process and its children."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


def memory_kib(pid):
    """What belongs to these processes alone, so that nothing shared counts twice."""
    total = 0
    for each in family(pid):
        for line in pathlib.Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Private_Clean:", "Private_Dirty:")):
                total += int(line.split()[1])
    return total


def processor_s(pid):
    fields = [pathlib.Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1] for each in family(pid)]
    return sum(sum(map(int, each.split()[11:13])) for each in fields) / TICKS


async def idle(pid, port, trust, message):
    async def one():
        options = {"compression": None, "ping_interval": None, "max_size": None, "open_timeout": 30}
        ws = await connect(f"wss://localhost:{port}/", ssl=trust, **options)
        await ws.send(message)
        assert await ws.recv() == message
        return ws

    held = [await one() for _ in range(50)]
    before = memory_kib(pid)
    held += [await one() for _ in range(IDLE)]
    await asyncio.sleep(2)
    each = (memory_kib(pid) - before) / IDLE
    for ws in held:
        ws.transport.abort()
    return each


async def handshakes(pid, port, kind):
    # s_time takes no ticket that comes behind the handshake, as those of TLS 1.3 do.
    version = "-tls1_2" if kind == "-reuse" else "-tls1_3"
    command = ["openssl", "s_time", "-connect", f"127.0.0.1:{port}", kind, version]
    command += ["-time", str(SECONDS)]
    began, used = time.monotonic(), processor_s(pid)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output = (await process.communicate())[0].decode()
    took, used = time.monotonic() - began, processor_s(pid) - used
    counts = [int(line.split()[0]) for line in output.splitlines() if "connections in" in line]
    assert counts, f"{command} made no connection: {output}"
    count = max(counts)
    return count / took, used / count * 1e6


async def with_fresh(name, make, directory, backend, trust, port, ask):
    """Starts the server for one question: memory that it gave back would hide what the next costs."""
    with open(f"{directory}/{name}.log", "ab") as log:
        process = subprocess.Popen(make(directory, port, backend), stdout=log, stderr=log)
    try:
        for _ in range(200):
            try:
                await (await connect(f"wss://localhost:{port}/", ssl=trust)).close()
                break
            except OSError:
                await asyncio.sleep(0.1)
        return await ask(process.pid)
    finally:
        process.terminate()
        process.wait()


async def measure(make, directory, backend, trust, port):
    def fresh(ask):
        return with_fresh(make.__name__, make, directory, backend, trust, port, ask)

    figures = []
    for message in (b"x" * 100, b"x" * 16384):
        figures.append(f"{await fresh(lambda pid: idle(pid, port, trust, message)):.1f}")
    for kind in ("-new", "-reuse"):
        rate, cost = await fresh(lambda pid: handshakes(pid, port, kind))
        figures.append(f"{rate:.0f} ({cost:.0f})")
    print(f"| {make.__name__} | {' | '.join(figures)} |", flush=True)


async def echo(ws):
    try:
        async for message in ws:
            await ws.send(message)
    except ConnectionClosed:
        pass  # Idle ones are dropped without a word once they were weighed.


async def main():
    with tempfile.TemporaryDirectory() as directory:
        made = [LONGHAUL, "cert", "--self-signed", directory, "--name", "localhost"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
        pair = [pathlib.Path(directory, name).read_text() for name in ("cert.pem", "key.pem")]
        write(directory, "both.pem", "".join(pair))
        trust = ssl.create_default_context(cafile=f"{directory}/cert.pem")
        options = {"compression": None, "ping_interval": None}
        async with serve(echo, "127.0.0.1", 0, **options) as server:
            backend = server.sockets[0].getsockname()[1]
            print("| | KiB after 100 B | KiB after 16 KiB | full handshakes/s (µs) | resumed/s (µs) |")
            print("|---|---|---|---|---|")
            for number, make in enumerate((longhaul, nginx, haproxy)):
                await measure(make, directory, backend, trust, 28443 + number)


asyncio.run(main())
