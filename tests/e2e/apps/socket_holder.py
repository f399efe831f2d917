"""Holds a listening socket and keeps a program running on it, as a socket unit of systemd does.

Usage: socket_holder.py PROGRAM. The program gets the socket as descriptor 3 and its port in PORT.
"""

import os
import socket
import subprocess
import sys

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(1024)
port = listener.getsockname()[1]
os.dup2(listener.fileno(), 3)
print(f"holding {port}", flush=True)
while True:
    # The shell becomes the program, so that its id is the one that LISTEN_PID says.
    words = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" run --listen "127.0.0.1:$PORT" --upstream "$APP" --drain 0s'
    child = subprocess.Popen(
        ["sh", "-c", words, sys.argv[1]], pass_fds=[3], env={**os.environ, "PORT": str(port)}
    )
    print(f"started {child.pid}", flush=True)
    child.wait()
