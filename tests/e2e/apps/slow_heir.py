"""A new binary that takes its time: stands between the old process and the real new one, passes every word and
descriptor on, and holds the one before the last until a file is there.

    slow_heir.py GATE LONGHAUL [ARGUMENTS…]

It makes `GATE.here` when all connections stand still, and goes on when GATE exists. In the second hop it is the real
one at once.
"""

import os
import socket
import struct
import subprocess
import sys
import threading
import time

gate, command = sys.argv[1], sys.argv[2:]
if os.environ.get("LONGHAUL_HANDOFF", "").startswith("back:"):
    os.execv(command[0], command)
giver = socket.socket(fileno=0)
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
heir = subprocess.Popen(command, stdin=theirs)
theirs.close()


def hear(wire):
    """A message as it came: its head and body, and its descriptors."""
    head = b""
    while len(head) < 8:
        head += wire.recv(8 - len(head)) or sys.exit(1)
    length, count = struct.unpack("!II", head)
    descriptors = []
    while len(descriptors) < count:
        byte, passed, _, _ = socket.recv_fds(wire, 1, 253)
        descriptors += passed if byte else sys.exit(1)
    body = b""
    while len(body) < length:
        body += wire.recv(min(length - len(body), 1 << 20)) or sys.exit(1)
    return head, body, descriptors


def say(wire, head, body, descriptors):
    wire.sendall(head)
    for at in range(0, len(descriptors), 240):
        batch = descriptors[at : at + 240]
        socket.send_fds(wire, [b"\0"], batch)
        for descriptor in batch:
            os.close(descriptor)
    wire.sendall(body)


def pass_on(source, target, wait):
    while True:
        message = hear(source)
        if wait and message[1].startswith(b'{"fitted"') and not os.path.exists(gate):
            open(gate + ".here", "w").close()
            while not os.path.exists(gate):
                time.sleep(0.02)
        say(target, *message)


threading.Thread(target=pass_on, args=(ours, giver, True), daemon=True).start()
threading.Thread(target=pass_on, args=(giver, ours, False), daemon=True).start()
sys.exit(heir.wait())
