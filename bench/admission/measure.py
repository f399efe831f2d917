#!/usr/bin/env python3
"""What does a dead authentication service cost, and whom?

    bench/admission/measure.py target/release/longhaul

The service (`tests/e2e/apps/auth.py`) goes silent: it takes connections and never answers. The deadline is
500 ms. Printed is how long refusals take while every one of them has to wait, how long once it is known,
how long those take meanwhile who come by a JWT or are remembered, and how soon the service is believed again
when it returns. Those by JWT and by memory are measured in turns with a second gateway whose service is well, so
that a noisy minute hits both. Python alone; client, backend, service and gateways share the machine.
"""

import argparse
import base64
import concurrent.futures
import hashlib
import hmac
import json
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import threading
import time

APPS = pathlib.Path(__file__).resolve().parents[2] / "tests/e2e/apps"
SECRET = "0123456789abcdef0123456789abcdef"


def read_answer(sock):
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        assert more, "closed"
        data += more
    head, body = data.split(b"\r\n\r\n", 1)
    length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
    while len(body) < length:
        body += sock.recv(65536)
    return int(head.split()[1])


class Client:
    """One connection that is kept."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, token, path="/"):
        began = time.perf_counter()
        self.sock.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        status = read_answer(self.sock)
        return status, (time.perf_counter() - began) * 1000


def backend():
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)

    def serve(sock):
        try:
            while data := sock.recv(65536):
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" * data.count(b"\r\n\r\n"))
        except OSError:
            pass

    def accept():
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


class Service:
    def __init__(self):
        self.process = subprocess.Popen(["python3", str(APPS / "auth.py")], stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])

    def set(self, mode):
        with socket.create_connection(("127.0.0.1", self.port)) as sock:
            sock.sendall(f"PUT /control/{mode} HTTP/1.1\r\nHost: s\r\nContent-Length: 0\r\n\r\n".encode())
            read_answer(sock)


class Gateway:
    def __init__(self, program, directory, name, service, replica, more):
        config = pathlib.Path(directory, f"{name}.toml")
        config.write_text(
            f"""[server]
listen = "127.0.0.1:0"
[[upstreams]]
name = "app"
replicas = ["127.0.0.1:{replica}"]
[[routes]]
upstream = "app"
[[routes]]
path = "/jwt"
upstream = "app"
[routes.admission]
auth = ["users", "login"]
[[jwt]]
name = "users"
secret = "env:BENCH_SECRET"
[[auth_services]]
name = "login"
kind = "forward"
url = "http://127.0.0.1:{service.port}/forward"
cache = "5m"
cache_denied = "off"
{more}
[admission]
auth = "login"
deadline = "500ms"
"""
        )
        self.log = open(pathlib.Path(directory, f"{name}.log"), "w+")
        environment = dict(os.environ, BENCH_SECRET=SECRET)
        command = [program, "run", "--config", config]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=environment)
        until = time.monotonic() + 30
        while not (found := re.search(r"listening on 127\.0\.0\.1:(\d+)", self.text())):
            assert time.monotonic() < until and self.process.poll() is None, self.text()
            time.sleep(0.02)
        self.port = int(found[1])

    def text(self):
        self.log.seek(0)
        return self.log.read()


def jwt():
    encode = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
    said = {"sub": "ann", "exp": int(time.time()) + 3600}
    parts = encode(b'{"alg":"HS256","typ":"JWT"}') + b"." + encode(json.dumps(said).encode())
    return (parts + b"." + encode(hmac.new(SECRET.encode(), parts, hashlib.sha256).digest())).decode()


def show(what, times):
    times = sorted(times)
    at = lambda share: times[int((len(times) - 1) * share)]
    print(f"{what}: p50 {at(0.5):.2f} ms, p99 {at(0.99):.2f} ms, most {times[-1]:.2f} ms ({len(times)})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("longhaul")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    replica, dead, well = backend(), Service(), Service()
    services, gateways = [dead, well], []
    try:
        with tempfile.TemporaryDirectory() as directory:
            start = lambda name, service, more="": gateways.append(
                Gateway(options.longhaul, directory, name, service, replica, more)
            )
            never = "health = \"off\"\nbreaker_failures = 1000\nconnections_max = 200\nwaiting_max = 2000"
            start("patient", dead, never)
            start("usual", dead)
            start("well", well)
            measure(options, *gateways, dead)
    finally:
        for one in [*gateways, *services]:
            one.process.terminate()
            one.process.wait(30)


def measure(options, patient, usual, well, dead):
    token = jwt()
    for gateway in (usual, well):
        until = time.monotonic() + 30
        while Client(gateway.port).ask("good-known")[0] != 200:
            assert time.monotonic() < until
    dead.set("silence")

    # Nobody knows that it is dead, so each waits for the deadline.
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        asked = [pool.submit(lambda n=n: Client(patient.port).ask(f"good-{n}")) for n in range(900)]
        answers = [one.result() for one in asked]
    assert all(status == 503 for status, _ in answers)
    show("refused by a deadline of 500 ms", [took for _, took in answers])

    client = Client(usual.port)
    until = time.monotonic() + 30
    while client.ask("good-stranger")[1] > 20:
        assert time.monotonic() < until
    refused, times = [], {}
    for number in range(options.rounds):
        for name, gateway in (("usual", usual), ("well", well)):
            one = Client(gateway.port)
            for _ in range(150):
                for how, path, said in (("JWT", "/jwt", token), ("memory", "/", "good-known")):
                    status, took = one.ask(said, path)
                    assert status == 200, status
                    times.setdefault((how, name), []).append(took)
        for at in range(150):
            status, took = client.ask(f"good-{number}-{at}")
            assert status == 503, status
            refused.append(took)
    show("refused once it is known", refused)
    for how in ("JWT", "memory"):
        show(f"let in by {how}, service well", times[how, "well"])
        show(f"let in by {how}, service dead", times[how, "usual"])
    began = time.monotonic()
    dead.set("ok")
    while Client(usual.port).ask("good-again")[0] != 200:
        assert time.monotonic() - began < 60
        time.sleep(0.01)
    print(f"believed again {time.monotonic() - began:.2f} s after it returned")


if __name__ == "__main__":
    main()
