"""A new binary that takes its time: stands between the old process and the real new one, passes every word and
descriptor on, and holds one until a file is there.

    slow_heir.py GATE ahead|fitted LONGHAUL [ARGUMENTS…]

`fitted` is the word before the last: all connections stand still. At `ahead` it does not listen: once more was said
than waits in a socket, the old process has copied some of the connections, which go on, and cannot say more. It makes
`GATE.here` then, and goes on when GATE exists. In the second hop it is the real one at once.
"""

import array
import fcntl
import os
import socket
import struct
import subprocess
import sys
import termios
import threading
import time

gate, held, command = sys.argv[1], sys.argv[2], sys.argv[3:]
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


def hold():
    open(gate + ".here", "w").close()
    while not os.path.exists(gate):
        time.sleep(0.02)


def await_unread(wire):
    """Waits until the other end has said something, and then as long as it says more."""
    before, now = 0, 0
    while now == 0 or now > before:
        time.sleep(0.2)
        unread = array.array("i", [0])
        fcntl.ioctl(wire, termios.FIONREAD, unread)
        before, now = now, unread[0]


def from_heir():
    while True:
        message = hear(ours)
        if held == "fitted" and message[1].startswith(b'{"fitted"'):
            hold()
        say(giver, *message)
        if held == "ahead" and message[1] == b'"standing"':
            await_unread(giver)
            hold()
            stands.set()


def from_giver():
    while True:
        say(ours, *hear(giver))
        # What comes next are connections.
        stands.wait()


stands = threading.Event()
if held != "ahead":
    stands.set()
threading.Thread(target=from_heir, daemon=True).start()
threading.Thread(target=from_giver, daemon=True).start()
sys.exit(heir.wait())
