"""The proxies that are compared: how each is started, reloaded and told that a replica goes."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request


TOKEN = "soak-" * 8
# Put before a command: whoever ends this script, whatever it started ends as well.
DIES_WITH_US = ["setpriv", "--pdeathsig", "KILL"]


class Peer:
    """A proxy at work, with one listener in front of all replicas."""

    def __init__(self, directory, replicas, _longhaul):
        self.directory, self.replicas = directory, replicas
        self.port = free_port()
        self.drained = set()
        self.process = None

    def start(self):
        self.write(0)
        log = open(self.directory / "peer.log", "w")
        self.process = subprocess.Popen([*DIES_WITH_US, *self.command()], stdout=log, stderr=log, cwd=self.directory)
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit((self.directory / "peer.log").read_text())

    def stop(self):
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def drain(self, replica, drains):
        """By the configuration, as people do it who have no other way."""
        (self.drained.add if drains else self.drained.discard)(replica)
        self.reload(-1)

    def upgrade(self):
        """Has the program replaced by itself, as for a new version. Whether it was."""
        raise NotImplementedError

    def settle(self):
        """Waits until the last upgrade is over, as far as it is ever over."""

    def told(self):
        """By client, ranges of messages of which the proxy itself says that they may be lost."""
        return None

    def processes(self):
        return tree(self.process.pid)

    def footprint(self):
        """Processes, memory in MiB and descriptors of all of its processes."""
        pids = self.processes()
        try:
            status = [pathlib.Path(f"/proc/{pid}/status").read_text() for pid in pids]
            descriptors = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)
        except OSError:
            # One of them has just ended.
            return self.footprint()
        memory = sum(int(match[1]) for text in status if (match := re.search(r"VmRSS:\s+(\d+)", text)))
        return len(pids), memory / 1024, descriptors


class Longhaul(Peer):
    def __init__(self, directory, replicas, longhaul):
        super().__init__(directory, replicas, longhaul)
        self.longhaul = longhaul
        self.admin = free_port()

    def command(self):
        return [self.longhaul, "run", "--config", self.directory / "longhaul.toml"]

    def write(self, count):
        new = self.directory / "new.toml"
        new.write_text(
            f"""
[server]
listen = ["127.0.0.1:{self.port}"]
admin = "127.0.0.1:{self.admin}"
admin_token = "{TOKEN}"
[[upstreams]]
name = "app"
replicas = {json.dumps(self.replicas)}
[websocket]
on_replica_loss = "redial"
cutover = "now"
leave_within = "2s"
linger = "{10 + max(count, 0) % 5}s"
"""
        )
        # Moved into place, as editors and mounts do it: half a file is never read.
        new.rename(self.directory / "longhaul.toml")

    def reload(self, count):
        self.write(count)
        self.process.send_signal(signal.SIGHUP)

    def drain(self, replica, drains):
        url = f"http://127.0.0.1:{self.admin}/api/v1/upstreams/app/replicas/{replica}/drain"
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        method = "POST" if drains else "DELETE"
        urllib.request.urlopen(urllib.request.Request(url, method=method, headers=headers), timeout=30).close()

    def upgrade(self):
        for _ in range(60):
            command = [self.longhaul, "upgrade", "--admin", f"127.0.0.1:{self.admin}"]
            asked = subprocess.run(command, env=os.environ | {"LONGHAUL_ADMIN_TOKEN": TOKEN}, capture_output=True, text=True)
            if asked.returncode == 0:
                return True
            # The one before ends with a hop of its own.
            if "under way" not in asked.stderr:
                raise SystemExit(asked.stderr)
            time.sleep(1)
        raise SystemExit("the upgrade before does not end")

    def settle(self):
        for _ in range(600):
            if len(tree(self.process.pid)) == 1:
                return
            time.sleep(0.1)
        raise SystemExit("the last upgrade does not end")

    def told(self):
        clients, told = {}, {}
        for line in (self.directory / "peer.log").read_text().splitlines():
            entry = json.loads(line) if line.startswith("{") else {}
            if entry.get("message") == "websocket opened":
                clients[entry["id"]] = int(entry["path"].rpartition("/")[2])
            elif "uncertain_first" in entry:
                uncertain = (entry["uncertain_first"], entry["uncertain_last"])
                told.setdefault(clients[entry["id"]], []).append(uncertain)
        return told


class Nginx(Peer):
    # In the foreground it takes no other binary: it goes into the background, and is known by its directory.
    def command(self):
        # By its whole path: the next one is executed by the same name, without a search.
        return [shutil.which("nginx"), "-p", str(self.directory), "-c", str(self.directory / "nginx.conf")]

    def write(self, count):
        servers = "".join(f"server {one}{' down' if one in self.drained else ''};" for one in self.replicas)
        (self.directory / "nginx.conf").write_text(
            f"""
worker_processes 1; pid {self.directory}/nginx.pid; error_log {self.directory}/error.log;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  upstream app {{ least_conn; {servers} }}
  server {{
    listen 127.0.0.1:{self.port};
    location / {{
      proxy_pass http://app; proxy_http_version 1.1; proxy_read_timeout 1h; proxy_send_timeout {3600 + max(count, 0)}s;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
    }}
  }}
}}
"""
        )

    def processes(self):
        def is_ours(directory):
            try:
                return (directory / "cwd").readlink() == self.directory
            except OSError:
                return False

        return [int(one.name) for one in pathlib.Path("/proc").iterdir() if one.name.isdigit() and is_ours(one)]

    def stop(self):
        for how in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, how)
            for _ in range(100):
                if not self.processes():
                    return
                time.sleep(0.1)

    def reload(self, count):
        self.write(count)
        os.kill(int((self.directory / "nginx.pid").read_text()), signal.SIGHUP)


    def upgrade(self):
        """As its manual says: USR2 starts another one, QUIT lets the old one go."""
        pid_file = self.directory / "nginx.pid"
        old = int(pid_file.read_text())
        os.kill(old, signal.SIGUSR2)
        for _ in range(50):
            time.sleep(0.1)
            if pid_file.exists() and (pid_file.read_text().strip() or str(old)) != str(old):
                os.kill(old, signal.SIGQUIT)
                return True
        # It does not while the one before that still has connections.
        return False

    def settle(self):
        time.sleep(2)


class Haproxy(Peer):
    def command(self):
        return ["haproxy", "-W", "-db", "-f", str(self.directory / "haproxy.cfg")]

    def write(self, count):
        servers = "\n".join(
            f"  server s{at} {one} check{' disabled' if one in self.drained else ''}"
            for at, one in enumerate(self.replicas)
        )
        (self.directory / "haproxy.cfg").write_text(
            f"""
global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 5s
  timeout client {3600 + max(count, 0)}s
  timeout server 1h
  timeout tunnel 1h
  option redispatch
frontend front
  bind 127.0.0.1:{self.port}
  default_backend app
backend app
  balance leastconn
{servers}
"""
        )

    def reload(self, count):
        self.write(count)
        self.process.send_signal(signal.SIGUSR2)


    def upgrade(self):
        """A reload is one: the master executes itself anew."""
        self.process.send_signal(signal.SIGUSR2)
        return True

    def settle(self):
        time.sleep(2)


PEERS = {"longhaul": Longhaul, "nginx": Nginx, "haproxy": Haproxy}
for _program in ("nginx", "haproxy"):
    if not shutil.which(_program):
        print(f"{_program} is not installed; leave it out with --peers")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def tree(pid):
    """A process and all that came of it, whichever of its threads had it."""
    children = []
    for thread in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children += thread.read_text().split()
        except OSError:
            # The thread has ended; another one has its children.
            return tree(pid)
    return [pid] + [one for child in children for one in tree(int(child))]
