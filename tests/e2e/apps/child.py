"""An application for the gateway to be the parent of: tells what it was given, ends as told.

Listens on PORT once the file WAIT_FOR exists (when that is set). ON_TERM is `ignore` or an exit
code. Prints `got NAME` for each signal that it is sent. Standard library alone.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ON_TERM = os.environ.get("ON_TERM", "")


def say(line):
    print(line, flush=True)


def on_signal(number, _frame):
    say(f"got {signal.Signals(number).name}")
    if number in (signal.SIGTERM, signal.SIGINT) and ON_TERM != "ignore":
        os._exit(int(ON_TERM))


def facts():
    return {
        "arguments": sys.argv[1:],
        "environment": dict(os.environ),
        "pid": os.getpid(),
        "group": os.getpgrp(),
        "parent": os.getppid(),
    }


def start_stubborn_child():
    """A child in our group that no TERM ends."""
    code = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\n"
        "time.sleep(600)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child.stdout.readline()
    return child.pid


def leave_orphan():
    """A grandchild whose parent is gone: it becomes the gateway's, and ends at once."""
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(0.2)'])\n"
        "print(child.pid, flush=True)"
    )
    out = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    return int(out.stdout)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path == "/die":
            os._exit(int(query))
        if path == "/stubborn":
            answer = start_stubborn_child()
        elif path == "/orphan":
            answer = leave_orphan()
        else:
            answer = facts()
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        pass


names = ["HUP", "USR1", "USR2", "QUIT", "WINCH"]
if ON_TERM:
    names += ["TERM", "INT"]
for name in names:
    signal.signal(getattr(signal, f"SIG{name}"), on_signal)
say("started")
gate = os.environ.get("WAIT_FOR")
while gate and not os.path.exists(gate):
    time.sleep(0.01)
server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
# Not `pause`: Python runs a handler in this thread later, and one that came just before it would wait.
woken, wakes = os.pipe()
os.set_blocking(wakes, False)
signal.set_wakeup_fd(wakes)
while True:
    os.read(woken, 512)
