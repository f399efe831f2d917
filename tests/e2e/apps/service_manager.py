"""Keeps a program running as a service of systemd with a descriptor store: hears its words, holds what it stores, and
starts it again with that whenever it ends.

Usage: service_manager.py COMMAND ... Prints `started PID`, `stored NAME`, `removed NAME` and each other message.
"""

import fcntl
import os
import select
import socket
import subprocess
import sys
import tempfile

# sd_pid_notify_with_fds(3) passes at most so many.
DESCRIPTORS_MAX = 253

store = []
directory = tempfile.TemporaryDirectory()
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(f"{directory.name}/notify")


def hear():
    message, descriptors, _, _ = socket.recv_fds(notify, 4096, DESCRIPTORS_MAX)
    fields = dict(line.split("=", 1) for line in message.decode().splitlines())
    if fields.get("FDSTORE") == "1":
        # It would be dropped as soon as it says anything, otherwise.
        assert fields["FDPOLL"] == "0" and len(descriptors) == 1, message
        store.append((fields["FDNAME"], descriptors[0]))
        print("stored", fields["FDNAME"], flush=True)
    elif fields.get("FDSTOREREMOVE") == "1":
        for name, descriptor in [one for one in store if one[0] == fields["FDNAME"]]:
            store.remove((name, descriptor))
            os.close(descriptor)
        print("removed", fields["FDNAME"], flush=True)
    else:
        print(" ".join(message.decode().split("\n")), flush=True)


def start():
    """With the store as descriptors 3 and up, which the shell leaves alone: its id becomes the program's."""
    variables = {"NOTIFY_SOCKET": notify.getsockname(), "FDSTORE": "64"}
    if store:
        variables |= {"LISTEN_FDS": str(len(store)), "LISTEN_FDNAMES": ":".join(name for name, _ in store)}
    # Out of the way of where they are to be.
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 100) for _, descriptor in store]
    moves = "".join(f" {3 + at}<&{descriptor} {descriptor}<&-" for at, descriptor in enumerate(high))
    # The program dies with this one, whatever becomes of the story.
    words = f'LISTEN_PID=$$ exec setpriv --pdeathsig=KILL "$0" "$@"{moves}'
    command = ["bash", "-c", words, *sys.argv[1:]]
    child = subprocess.Popen(command, pass_fds=high, env=os.environ | variables, stdin=subprocess.DEVNULL)
    for descriptor in high:
        os.close(descriptor)
    print("started", child.pid, flush=True)
    return child


child = start()
while True:
    ready, _, _ = select.select([notify], [], [], 0.02)
    if ready:
        hear()
    elif child.poll() is not None:
        child = start()
