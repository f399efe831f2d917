"""An authentication service that misbehaves on demand. Speaks HTTP by hand, so that it can stop anywhere.

`PUT /control/MODE` says how every other request is answered from then on:
  ok       as a good service would: tokens `good-NAME` are valid, `forbidden` is not allowed
  deny     no token is valid any more
  silence  accepts, and never says a word
  headers  sends the head of an answer and nothing of its body
  drip     sends the answer at a byte a second
  reset    resets the connection
  500      answers 500
  garbage  answers 200 with what is no JSON
  huge     answers 200 with a body that does not end
`PUT /control/keys` with a body keeps it as the key set behind /keys. `GET /control/asked` tells how
often each path was asked. Prints `listening PORT`.
"""

import json
import os
import socket
import socketserver
import struct
import sys
import threading
import time
from collections import Counter
from urllib.parse import parse_qs

mode = os.environ.get("MODE", "ok")
keys = b'{"keys":[]}'
asked = Counter()
lock = threading.Lock()


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        try:
            while self.exchange():
                pass
        except OSError:
            pass

    def exchange(self):
        line = self.rfile.readline(65536).decode("latin-1")
        if not line.strip():
            return False
        method, path, _ = line.split(" ", 2)
        headers = {}
        while (field := self.rfile.readline(65536).decode("latin-1").strip()) != "":
            name, value = field.split(":", 1)
            headers[name.lower()] = value.strip()
        body = self.rfile.read(int(headers.get("content-length", "0")))
        if path.startswith("/control/"):
            return self.control(path.removeprefix("/control/"), body)
        with lock:
            # Looks of a health check are no questions.
            is_look = method == "GET" and path not in ("/keys", "/forward")
            asked["looks" if is_look else path.split("?")[0]] += 1
        return self.misbehave(*self.judge(method, path.split("?")[0], headers, body))

    def control(self, what, body):
        global mode, keys
        answer = b"{}"
        if what == "asked":
            with lock:
                answer = json.dumps(asked).encode()
        elif what == "keys":
            keys = body
        else:
            mode = what
        return self.say(200, answer)

    def judge(self, method, path, headers, body):
        """Status, answer and more fields, as a good service gives them."""
        if mode == "deny":
            return (200 if path == "/introspect" else 401), b'{"active":false}', {}
        if path == "/keys":
            return 200, keys, {}
        if path == "/forward":
            name = headers.get("x-name") or ""
            token = headers.get("authorization", "").removeprefix("Bearer ")
            if token.startswith("good-"):
                return 200, b"", {"X-User": token.removeprefix("good-"), "X-Name": name}
            return (403 if token == "forbidden" else 401), b"", {}
        if method != "POST":
            return 405, b"{}", {}
        if headers.get("x-service-secret") != "s3cr3t-service":
            return 500, b'{"error":"who asks?"}', {}
        if path == "/introspect":
            token = parse_qs(body.decode()).get("token", [""])[0]
            answer = {"active": token.startswith("good-")}
            if answer["active"]:
                answer |= {"sub": token.removeprefix("good-"), "exp": int(time.time()) + 600}
            return 200, json.dumps(answer).encode(), {}
        token = json.loads(body)["token"]
        if token == "forbidden":
            return 403, b'{"valid":false}', {}
        if not token.startswith("good-"):
            return 401, b'{"valid":false}', {}
        answer = {"valid": True, "user_id": token.removeprefix("good-"), "email": "a@b.example"}
        return 200, json.dumps(answer).encode(), {}

    def misbehave(self, status, body, fields):
        if mode == "silence":
            # Until the other side gives up.
            self.rfile.read(1)
            return False
        if mode == "reset":
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if mode == "500":
            return self.say(500, b'{"error":"out of order"}')
        if mode == "garbage":
            return self.say(200, b"<html>Welcome!</html>")
        if mode == "headers":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
            self.rfile.read(1)
            return False
        if mode == "drip":
            for byte in self.answer(status, body, fields):
                self.wfile.write(bytes([byte]))
                time.sleep(1)
            return True
        if mode == "huge":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
            while True:
                self.wfile.write(b" " * 65536)
        return self.say(status, body, fields)

    def say(self, status, body, fields={}):
        self.wfile.write(self.answer(status, body, fields))
        return True

    def answer(self, status, body, fields):
        more = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        head = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\n{more}\r\n"
        return head.encode() + body


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024


server = Server(("127.0.0.1", int(os.environ.get("PORT", "0"))), Handler)
print("listening", server.server_address[1], flush=True)
try:
    server.serve_forever()
except KeyboardInterrupt:
    sys.exit(0)
