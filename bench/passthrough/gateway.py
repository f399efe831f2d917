"""Sends so many MiB through a TCP route of a real gateway and prints what each KiB cost its process.

python3 bench/passthrough/gateway.py target/release/longhaul 4096
"""

import re
import socket
import subprocess
import sys
import tempfile
import threading

binary, mib = sys.argv[1], int(sys.argv[2])
PIECE = 256 * 1024


def ticks(pid):
    """User and system time, in ticks of 10 ms."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return int(fields[11]), int(fields[12])


def count(listener):
    connection, _ = listener.accept()
    buffer, total = bytearray(PIECE), 0
    while received := connection.recv_into(buffer):
        total += received
    connection.sendall(str(total).encode())
    connection.close()


backend = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=count, args=(backend,), daemon=True).start()
with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
    config.write(
        '[server]\nlisten = "port=127.0.0.1:0"\n'
        f'[[upstreams]]\nname = "tcp"\nreplicas = ["127.0.0.1:{backend.getsockname()[1]}"]\n'
        '[[tcp]]\nlistener = "port"\nupstream = "tcp"\n'
    )
    config.flush()
    gateway = subprocess.Popen(
        [binary, "run", "--config", config.name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        lines = (line for line in gateway.stdout if "listening" in line)
        port = int(re.search(r"127\.0\.0\.1:(\d+)", next(lines)).group(1))
        client = socket.create_connection(("127.0.0.1", port))
        before = ticks(gateway.pid)
        for _ in range(mib * 1024 * 1024 // PIECE):
            client.sendall(bytes(PIECE))
        client.shutdown(socket.SHUT_WR)
        assert int(client.recv(100)) == mib << 20, "bytes are missing"
        user, system = (now - then for now, then in zip(ticks(gateway.pid), before))
    finally:
        gateway.terminate()
        gateway.wait()
print(f"{mib} MiB: user/system {user}/{system} ticks, {(user + system) * 1e7 / (mib * 1024):.0f} ns/KiB")
