"""What becomes of plain WebSocket clients while replicas are killed, stopped and drained and the configuration is
reloaded, behind Longhaul, nginx and HAProxy: `soak.py LONGHAUL [--clients 2000] [--seconds 180] [--peers all]`.

Each peer runs alone in front of the same four replicas, through the same list of events. Clients send numbers and
replicas echo them and write them down, so that every number can be accounted for in both directions at the end. Prints
a table. With the Python of `tests/e2e`, and `node` for the replicas.
"""

import argparse
import asyncio
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from audit import audit
from clients import Crowd
from peers import PEERS

HERE = pathlib.Path(__file__).parent
REPLICAS = 4
EVENT_EVERY = 6.0
RELOAD_EVERY = 5.0


class Replica:
    """One echo server, which comes back on its port as often as it goes."""

    def __init__(self, directory, index):
        self.record = directory / f"replica-{index}.log"
        self.process = None
        self.port = 0

    def start(self):
        command = ["node", HERE / "replica.mjs", str(self.port), self.record]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])

    def stop(self, how):
        self.process.send_signal(how)
        self.process.wait()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"


async def disturb(peer, replicas, until):
    """Kill, stop, drain: in turn, each replica in turn. Returns how often each was done."""
    done = {"killed": 0, "stopped": 0, "drained": 0}
    turn = 0
    while time.monotonic() + EVENT_EVERY < until:
        replica = replicas[turn % len(replicas)]
        kind = list(done)[turn % len(done)]
        turn += 1
        began = time.monotonic()
        if kind == "drained":
            # A deploy: nothing new goes there, it is stopped when it had time to empty, and comes back.
            await asyncio.to_thread(peer.drain, replica.address, True)
            await asyncio.sleep(4)
        await asyncio.to_thread(replica.stop, signal.SIGKILL if kind == "killed" else signal.SIGTERM)
        await asyncio.to_thread(replica.start)
        if kind == "drained":
            await asyncio.to_thread(peer.drain, replica.address, False)
        done[kind] += 1
        await asyncio.sleep(max(0.0, began + EVENT_EVERY - time.monotonic()))
    return done


async def reload(peer, until):
    """Reads the configuration again and again, each time with another value in it."""
    count = 0
    while time.monotonic() + RELOAD_EVERY < until:
        await asyncio.sleep(RELOAD_EVERY)
        count += 1
        await asyncio.to_thread(peer.reload, count)
    return count


async def soak(kind, arguments, directory):
    replicas = [Replica(directory, index) for index in range(REPLICAS)]
    for replica in replicas:
        replica.start()
    peer = kind(directory, [replica.address for replica in replicas], arguments.longhaul)
    try:
        peer.start()
        crowd = Crowd(peer.port, arguments.clients, arguments.interval)
        await crowd.open()
        base = peer.footprint()
        until = time.monotonic() + arguments.seconds
        talking = asyncio.create_task(crowd.talk())
        done, reloads = await asyncio.gather(disturb(peer, replicas, until), reload(peer, until))
        await asyncio.sleep(max(0.0, until - time.monotonic()))
        await crowd.finish(talking)
        end = peer.footprint()
        said = peer.uncertain()
    finally:
        peer.stop()
        for replica in replicas:
            replica.stop(signal.SIGKILL)
    report = audit(crowd, [replica.record for replica in replicas])
    report |= {"events": done | {"reloads": reloads}, "base": base, "end": end, "uncertain": said}
    return report


ROWS = [
    ("connections closed under clients", lambda report: report["closed"]),
    ("… of so many clients", lambda report: report["clients_hit"]),
    ("messages sent", lambda report: report["sent"]),
    ("… that no replica read", lambda report: report["unread"]),
    ("… read, and not answered", lambda report: report["unanswered"]),
    ("twice or out of order, up / down", lambda report: f"{report['wrong_up']} / {report['wrong_down']}"),
    ("uncertain, as the gateway says", lambda report: "–" if report["uncertain"] is None else report["uncertain"]),
    ("longest silence of a client, s", lambda report: f"{report['silence']:.1f}"),
    ("processes, begin / end", lambda report: f"{report['base'][0]} / {report['end'][0]}"),
    ("memory, begin / end, MiB", lambda report: f"{report['base'][1]:.0f} / {report['end'][1]:.0f}"),
    ("descriptors, begin / end", lambda report: f"{report['base'][2]} / {report['end'][2]}"),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("longhaul", help="path of the binary")
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two messages of a client")
    parser.add_argument("--peers", default="longhaul,nginx,haproxy")
    arguments = parser.parse_args()
    reports = {}
    for name in arguments.peers.split(","):
        with tempfile.TemporaryDirectory(prefix="longhaul-soak-") as directory:
            reports[name] = asyncio.run(soak(PEERS[name], arguments, pathlib.Path(directory)))
            print(name, reports[name], file=sys.stderr, flush=True)
    print(f"{arguments.clients} clients, a message every {arguments.interval:g} s each, {arguments.seconds:g} s, {REPLICAS} replicas;", end=" ")
    print("; ".join(f"{name}: " + ", ".join(f"{n} {what}" for what, n in report["events"].items()) for name, report in reports.items()))
    print("\n| | " + " | ".join(reports) + " |\n|---|" + "---:|" * len(reports))
    for label, show in ROWS:
        print(f"| {label} | " + " | ".join(str(show(report)) for report in reports.values()) + " |")


if __name__ == "__main__":
    main()
