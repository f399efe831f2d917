"""What becomes of plain WebSocket clients while replicas are killed, restarted, drained and suspended, the configuration
is reloaded and the proxy's binary replaced, behind Longhaul, nginx and HAProxy: `soak.py LONGHAUL [--clients 1800]
[--browsers 200] [--seconds 200] [--upgrades 20] [--pace 6] [--peers longhaul,nginx,haproxy]`.

Each peer runs alone in front of the same four replicas, through the same list of events. Clients send numbers and
replicas echo them and write them down, so that every number can be accounted for in both directions at the end. Prints
a table, and fails if Longhaul closed a client, or lost, doubled or reordered a message of which it did not say so. With the
Python of `tests/e2e`, `node` for the replicas and Chromium for the clients in browsers.
"""

import argparse
import asyncio
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from audit import audit
from clients import Browsers, Crowd
from peers import DIES_WITH_US, PEERS

HERE = pathlib.Path(__file__).parent
REPLICAS = 4
RELOAD_EVERY = 5.0
# For what is still under way when nobody speaks any more, in seconds.
PATIENCE = 30


class Replica:
    """One echo server, which comes back on its port as often as it goes."""

    def __init__(self, directory, index):
        self.record = directory / f"replica-{index}.log"
        self.process = None
        self.port = 0

    def start(self):
        command = [*DIES_WITH_US, "node", HERE / "replica.mjs", str(self.port), self.record]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])

    def stop(self, how):
        self.process.send_signal(how)
        self.process.wait()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"


async def disturb(peer, replicas, pace, until):
    """Kill, restart, drain, suspend: in turn, each replica in turn. Returns how often each was done."""
    done = {"killed": 0, "restarted": 0, "drained": 0, "suspended": 0}
    turn = 0
    while time.monotonic() + pace < until:
        # So that each of them meets each kind.
        replica = replicas[(turn + turn // len(replicas)) % len(replicas)]
        kind = list(done)[turn % len(done)]
        turn += 1
        began = time.monotonic()
        await asyncio.to_thread(DISTURBANCES[kind], peer, replica, pace * 2 / 3)
        done[kind] += 1
        await asyncio.sleep(max(0.0, began + pace - time.monotonic()))
    return done


def kill(_peer, replica, _while):
    replica.stop(signal.SIGKILL)
    replica.start()


def restart(_peer, replica, _while):
    replica.stop(signal.SIGTERM)
    replica.start()


def drain(peer, replica, a_while):
    """A deploy: nothing new goes there, it is stopped when it had time to empty, and comes back."""
    peer.drain(replica.address, True)
    time.sleep(a_while)
    restart(peer, replica, a_while)
    peer.drain(replica.address, False)


def suspend(_peer, replica, a_while):
    """It hangs for a while, and not so long that anybody gives it up."""
    replica.process.send_signal(signal.SIGSTOP)
    time.sleep(a_while)
    replica.process.send_signal(signal.SIGCONT)


DISTURBANCES = {"killed": kill, "restarted": restart, "drained": drain, "suspended": suspend}


async def reload(peer, until):
    """Reads the configuration again and again, each time with another value in it."""
    count = 0
    while time.monotonic() + RELOAD_EVERY < until:
        await asyncio.sleep(RELOAD_EVERY)
        count += 1
        await asyncio.to_thread(peer.reload, count)
    return count


async def upgrade(peer, count, until):
    """Replaces the program under all of it, evenly over the time. Returns how often it was replaced."""
    pause = (until - time.monotonic()) / (count + 1)
    done = 0
    for _ in range(count):
        began = time.monotonic()
        done += await asyncio.to_thread(peer.upgrade)
        await asyncio.sleep(max(0.0, began + pause - time.monotonic()))
    return done


async def soak(kind, arguments, directory):
    replicas = [Replica(directory, index) for index in range(REPLICAS)]
    for replica in replicas:
        replica.start()
    peer = kind(directory, [replica.address for replica in replicas], arguments.longhaul)
    crowds = []
    try:
        peer.start()
        crowds = [Crowd(peer.port, arguments.clients, arguments.interval)]
        if arguments.browsers:
            crowds.append(Browsers(peer.port, arguments.clients, arguments.browsers, arguments.interval))
        for crowd in crowds:
            await crowd.open()
        for crowd in crowds:
            await crowd.speak()
        # Whoever talks costs a little more than whoever does not.
        await asyncio.sleep(min(5.0, arguments.seconds / 5))
        base = peer.footprint()
        until = time.monotonic() + arguments.seconds
        done, reloads, upgrades = await asyncio.gather(
            disturb(peer, replicas, arguments.pace, until), reload(peer, until), upgrade(peer, arguments.upgrades, until)
        )
        await asyncio.sleep(max(0.0, until - time.monotonic()))
        await asyncio.to_thread(peer.settle)
        for crowd in crowds:
            await crowd.hush()
        for crowd in crowds:
            await crowd.finish(PATIENCE)
        end = await returned(peer, base)
        told = peer.told()
    finally:
        for replica in replicas:
            replica.stop(signal.SIGKILL)
        for crowd in crowds:
            await crowd.close()
        peer.stop()
        if arguments.keep:
            shutil.copytree(directory, arguments.keep / kind.__name__.lower(), dirs_exist_ok=True)
    report = audit([client for crowd in crowds for client in crowd.clients], [replica.record for replica in replicas], told)
    report["events"] = done | {"reloads": reloads, "upgrades": upgrades}
    return report | {"base": base, "end": end}


def known(value):
    return "–" if value is None else value


async def returned(peer, base):
    """What the proxy holds in the end: a replica that was left keeps its connection for a moment."""
    until = time.monotonic() + PATIENCE / 2
    while (end := peer.footprint())[2] > base[2] and time.monotonic() < until:
        await asyncio.sleep(0.5)
    return end


ROWS = [
    ("connections closed under clients", lambda report: report["closed"]),
    ("… of so many clients", lambda report: report["clients_hit"]),
    ("messages sent", lambda report: report["sent"]),
    ("… that no replica read", lambda report: report["unread"]),
    ("… read, and not answered", lambda report: report["unanswered"]),
    ("told by the proxy that they may be lost", lambda report: known(report["told"])),
    ("lost, and not told", lambda report: report["untold"]),
    ("twice or out of order, up / down", lambda report: f"{report['wrong_up']} / {report['wrong_down']}"),
    ("longest silence of a client, s", lambda report: f"{report['silence']:.1f}"),
    ("processes, begin / end", lambda report: f"{report['base'][0]} / {report['end'][0]}"),
    ("memory, begin / end, MiB", lambda report: f"{report['base'][1]:.0f} / {report['end'][1]:.0f}"),
    ("descriptors, begin / end", lambda report: f"{report['base'][2]} / {report['end'][2]}"),
]


def promises_broken(report):
    """What Longhaul must not do, whatever happens around it."""
    (_, memory, descriptors), (processes, memory_end, descriptors_end) = report["base"], report["end"]
    return [
        words
        for words, is_true in [
            ("clients were closed", report["closed"]),
            ("messages were lost of which it said nothing", report["untold"]),
            ("messages came twice or out of order", report["wrong_up"] or report["wrong_down"]),
            ("processes were left behind", processes != 1),
            # Those of a client whose replica is just being found again, or was just left.
            ("descriptors were left behind", descriptors_end > descriptors + 8),
            ("memory was left behind", memory_end > 1.5 * memory + 16),
        ]
        if is_true
    ]


def raise_limit():
    """Each client is a descriptor here and two in the proxy."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("longhaul", help="path of the binary")
    parser.add_argument("--clients", type=int, default=1800, help="plain clients")
    parser.add_argument("--browsers", type=int, default=200, help="clients in pages of a browser, at most 250")
    parser.add_argument("--seconds", type=float, default=200)
    parser.add_argument("--upgrades", type=int, default=20)
    parser.add_argument("--pace", type=float, default=6.0, help="seconds from one disturbance to the next")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two messages of a client")
    parser.add_argument("--peers", default="longhaul,nginx,haproxy")
    parser.add_argument("--keep", type=pathlib.Path, help="directory for logs and records")
    arguments = parser.parse_args()
    raise_limit()
    reports = {}
    for name in arguments.peers.split(","):
        with tempfile.TemporaryDirectory(prefix="longhaul-soak-") as directory:
            reports[name] = asyncio.run(soak(PEERS[name], arguments, pathlib.Path(directory)))
            print(name, reports[name], file=sys.stderr, flush=True)
    print(f"{arguments.clients} plain clients and {arguments.browsers} in a browser, a message every {arguments.interval:g} s each, {arguments.seconds:g} s, {REPLICAS} replicas;", end=" ")
    print("; ".join(f"{name}: " + ", ".join(f"{n} {what}" for what, n in report["events"].items()) for name, report in reports.items()))
    print("\n| | " + " | ".join(reports) + " |\n|---|" + "---:|" * len(reports))
    for label, show in ROWS:
        print(f"| {label} | " + " | ".join(str(show(report)) for report in reports.values()) + " |")
    broken = promises_broken(reports["longhaul"]) if "longhaul" in reports else []
    if broken:
        sys.exit("Longhaul: " + "; ".join(broken))



if __name__ == "__main__":
    main()
