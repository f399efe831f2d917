"""The `h2` package as a client: `http2.py CASE HOST PORT`.

A WebSocket is an extended CONNECT (RFC 8441) whose frames `wsproto` reads and writes. Prints `done`
at the end; any difference ends it with a trace.
"""

import itertools
import os
import signal
import socket
import sys

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
from hyperframe import frame as frames
from wsproto import ConnectionType
from wsproto.connection import Connection as WebSocketBytes
from wsproto import events as ws_events

CASE, HOST, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])
SIZES = [0, 1, 125, 126, 127, 65535, 65536, 1 << 20]
CALM = h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


class Client:
    """One connection. `window` is what each stream may send before it is read."""

    def __init__(self, window=65535, validate=True):
        self.sock = socket.create_connection((HOST, PORT))
        self.sock.settimeout(20)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding="utf-8",
            validate_outbound_headers=validate,
            normalize_outbound_headers=validate,
        )
        self.h2 = h2.connection.H2Connection(config=config)
        self.h2.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window,
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
            },
        )
        self.h2.initiate_connection()
        self.events = []
        self.is_open = True
        self.pending = b""
        self.goaway = None
        self.flush()
        self.wait(h2.events.RemoteSettingsChanged)
        assert self.h2.remote_settings.enable_connect_protocol == 1

    def flush(self):
        self.sock.sendall(self.h2.data_to_send())

    def read(self):
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        self.is_open = bool(data)
        data = self.take_goaways(data)
        self.events += self.h2.receive_data(data) if data else []
        self.flush()

    def take_goaways(self, data):
        """All frames that are whole but GOAWAY: `h2` would end the streams that may go on."""
        self.pending += data
        passed = b""
        while len(self.pending) >= 9:
            frame, length = frames.Frame.parse_frame_header(memoryview(self.pending[:9]))
            if len(self.pending) < 9 + length:
                break
            if isinstance(frame, frames.GoAwayFrame):
                frame.parse_body(memoryview(self.pending[9 : 9 + length]))
                self.goaway = frame.error_code
            else:
                passed += self.pending[: 9 + length]
            self.pending = self.pending[9 + length :]
        return passed

    def wait(self, kind, stream=None):
        """The next event of a kind, of one stream or of any."""
        while True:
            for index, event in enumerate(self.events):
                if isinstance(event, kind) and stream in (None, getattr(event, "stream_id", 0)):
                    return self.events.pop(index)
            assert self.is_open, f"the connection ended before {kind}: {self.events}"
            self.read()

    def ask(self, *fields, end=True, path="/", method="GET"):
        stream = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "http"), (":authority", "test"), (":path", path)]
        self.h2.send_headers(stream, pseudo + list(fields), end_stream=end)
        self.flush()
        return stream

    def status(self, stream):
        fields = dict(self.wait(h2.events.ResponseReceived, stream).headers)
        return int(fields[":status"]), fields

    def connect(self, *fields, path="/echo", version="13", protocol="websocket"):
        """Asks for a WebSocket; gives its stream."""
        stream = self.h2.get_next_available_stream_id()
        pseudo = [(":method", "CONNECT"), (":protocol", protocol), (":scheme", "http")]
        pseudo += [(":authority", "test"), (":path", path)]
        more = [("sec-websocket-version", version)] + list(fields)
        self.h2.send_headers(stream, pseudo + more)
        self.flush()
        return stream

    def websocket(self, *fields, **kinds):
        stream = self.connect(*fields, **kinds)
        status, answer = self.status(stream)
        assert status == 200, (status, answer)
        for name in ("connection", "upgrade", "sec-websocket-accept"):
            assert name not in answer, answer
        return WebSocket(self, stream, answer)

    def send(self, stream, data):
        """Sends all of it, as the windows let it."""
        while data:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room == 0:
                self.read()
                continue
            self.h2.send_data(stream, data[:room])
            data = data[room:]
            self.flush()

    def goodbye(self):
        """Reads to the end; the error code of GOAWAY."""
        while self.is_open:
            try:
                self.read()
            except BrokenPipeError:
                pass  # It does not listen any more, but may have said something.
            self.events.clear()
        return self.goaway


class WebSocket:
    def __init__(self, client, stream, answer):
        self.client, self.stream, self.answer = client, stream, answer
        self.bytes = WebSocketBytes(ConnectionType.CLIENT)

    def send(self, event):
        self.client.send(self.stream, self.bytes.send(event))

    def events(self):
        """What comes next, as it comes."""
        while True:
            event = self.client.wait((h2.events.DataReceived, h2.events.StreamEnded), self.stream)
            if isinstance(event, h2.events.StreamEnded):
                return
            self.client.h2.acknowledge_received_data(event.flow_controlled_length, self.stream)
            self.client.flush()
            if event.data:
                self.bytes.receive_data(event.data)
                yield from self.bytes.events()

    def receive(self):
        """The next message."""
        parts = []
        for event in self.events():
            if isinstance(event, ws_events.Ping):
                self.send(event.response())
            elif isinstance(event, ws_events.Message):
                parts.append(event.data)
                if event.message_finished:
                    return type(event.data)().join(parts)
        raise AssertionError("the stream ended before a message")

    def echoes(self, message):
        kind = ws_events.TextMessage if isinstance(message, str) else ws_events.BytesMessage
        self.send(kind(data=message))
        answer = self.receive()
        assert answer == message, f"{len(message)} sent, {len(answer)} came back different"

    def close_code(self):
        """Reads to the end of the stream; the code of the close frame, which is answered."""
        code = None
        for event in self.events():
            if isinstance(event, ws_events.CloseConnection):
                code = event.code
                if self.bytes.state.name == "REMOTE_CLOSING":
                    self.send(event.response())
                    self.client.h2.end_stream(self.stream)
                    self.client.flush()
        return code


def echo():
    for window in (1000, 65535, 1 << 20):
        client = Client(window)
        ws = client.websocket(("sec-websocket-protocol", "chat.v1, chat.v2"))
        assert ws.answer["sec-websocket-protocol"] == "chat.v2", ws.answer
        for size in SIZES:
            ws.echoes(os.urandom(size))
            ws.echoes("x" * size)
        ws.send(ws_events.CloseConnection(code=3000, reason="enough"))
        assert ws.close_code() == 3000
        print(f"sizes: {len(SIZES)} binary and text, windows of {window}")


def many():
    client = Client()
    sockets = [client.websocket() for _ in range(20)]
    for turn in range(5):
        for number, ws in enumerate(sockets):
            ws.echoes(f"{turn}/{number}")
        stream = client.ask(path="/health/ready")
        assert client.status(stream)[0] == 200
    for ws in sockets:
        ws.send(ws_events.CloseConnection(code=1000))
        assert ws.close_code() == 1000
    print("many: 20 WebSockets and requests beside them on one connection")


def refusals():
    client = Client(validate=False)
    status, fields = client.status(client.connect(version="12"))
    assert (status, fields["sec-websocket-version"]) == (426, "13"), fields
    assert client.status(client.connect(protocol="connect-udp"))[0] == 501
    stream = client.h2.get_next_available_stream_id()
    client.h2.send_headers(stream, [(":method", "CONNECT"), (":authority", "a:80")])
    client.flush()
    assert client.status(stream)[0] == 405
    status, fields = client.status(client.ask(("host", "other")))
    assert (status, fields["longhaul-cause"]) == (400, "bad_request"), fields
    assert "connection" not in fields, fields
    assert client.status(client.ask(("x", " padded")))[0] == 400
    assert client.status(client.ask(path="*"))[0] == 400
    # The application refuses by an ordinary answer.
    assert client.status(client.connect(path="/nowhere"))[0] == 403
    for name, value in [("connection", "x"), ("transfer-encoding", "chunked"), ("te", "gzip")]:
        stream = client.ask((name, value))
        reset = client.wait(h2.events.StreamReset, stream)
        assert reset.error_code == h2.errors.ErrorCodes.PROTOCOL_ERROR, (name, reset)
    assert client.status(client.ask(path="/health/ready"))[0] == 200
    print("refusals: each by its answer, the connection goes on")


def crumbs():
    client = Client()
    stream = client.ask(("cookie", "a=b"), ("cookie", "c=d"), ("te", "trailers"), path="/crumbs")
    assert client.status(stream)[0] == 200
    client.wait(h2.events.StreamEnded, stream)
    print("crumbs: sent")


def reset():
    """A stream that is reset, one that is ended, and one that goes on."""
    client = Client()
    first, second, third = (client.websocket() for _ in range(3))
    for ws in (first, second, third):
        ws.echoes("here")
    client.h2.reset_stream(first.stream, h2.errors.ErrorCodes.CANCEL)
    client.h2.end_stream(second.stream)
    client.flush()
    third.echoes("still here")
    print("reset: sent")
    for event in second.events():
        pass
    third.echoes("to the end")


def unread():
    """A reader that never reads stops its sender, and nobody else."""
    client = Client()
    # Room for the connection, so that the stream alone is what is full.
    client.h2.increment_flow_control_window(1 << 24)
    deaf, other = client.websocket(), client.websocket()
    message = deaf.bytes.send(ws_events.BytesMessage(data=b"x" * 65536))
    sent = 0
    client.sock.settimeout(2)
    try:
        while sent < 256 << 20:
            client.send(deaf.stream, message)
            sent += len(message)
    except TimeoutError:
        pass
    client.sock.settimeout(20)
    print(f"stopped after {sent >> 10} KiB")
    assert sent < 64 << 20, "the sender was not stopped"
    other.echoes("hello")


def patience():
    """A client that owes room, or a body, loses the stream and keeps the connection."""
    client = Client(window=1000)
    ws = client.websocket()
    unread = client.ask(path="/bytes")
    assert client.status(unread)[0] == 200
    reset = client.wait(h2.events.StreamReset, unread)
    print("unread answer:", reset.error_code)
    unsent = client.ask(("content-length", "10"), method="POST", path="/upload", end=False)
    assert client.status(unsent)[0] == 408
    ws.echoes("still here")


def drain():
    """Prints `open`, then expects the gateway to be told to end."""
    client = Client()
    ws = client.websocket()
    ws.echoes("hello")
    print("open", flush=True)
    assert ws.close_code() == 1012
    assert client.goodbye() == h2.errors.ErrorCodes.NO_ERROR
    print("drain: 1012 in a stream, then GOAWAY")


def talk():
    """Says a number, and the next one at each USR1, and prints each that came back, until it is ended."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    ws = Client().websocket()
    for number in itertools.count():
        ws.echoes(str(number))
        print("heard", number, flush=True)
        signal.sigwait({signal.SIGUSR1})


def silence(first_bytes):
    """What a client that sends no more than this gets: the end, before the deadline of its socket."""
    sock = socket.create_connection((HOST, PORT))
    sock.settimeout(15)
    sock.sendall(first_bytes)
    received = b""
    while data := sock.recv(4096):
        received += data
    return received


def slow():
    """Clients that begin and do not go on."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    settings = frames.SettingsFrame(0).serialize()
    silence(preface[:10])
    silence(preface)
    silence(preface + settings[:5])
    block = frames.HeadersFrame(1, data=b"\x82").serialize()
    assert goaway_code(silence(preface + settings + block)) == CALM
    # Nothing asked for, nothing open: told to leave.
    assert goaway_code(silence(preface + settings)) == h2.errors.ErrorCodes.NO_ERROR
    print("slow: each ends in time")


def goaway_code(data):
    while data:
        frame, length = frames.Frame.parse_frame_header(memoryview(data[:9]))
        frame.parse_body(memoryview(data[9 : 9 + length]))
        data = data[9 + length :]
        if isinstance(frame, frames.GoAwayFrame):
            return frame.error_code
    return None


def flood(name, make):
    client = Client()
    bystander = Client()
    ws = bystander.websocket()
    try:
        # Several times what is let pass, and little enough to be sent before the gateway stops reading.
        for number in range(60):
            client.sock.sendall(b"".join(make(client, number * 100 + at) for at in range(100)))
    except OSError:
        pass  # It stopped listening; what it said is still there to be read.
    code = client.goodbye()
    assert code == CALM, f"{name}: GOAWAY {code}"
    ws.echoes("unharmed")
    print(f"{name}: GOAWAY ENHANCE_YOUR_CALM")


def floods():
    def rapid_reset(client, number):
        stream = 2 * number + 1
        fields = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "/x")]
        block = client.h2.encoder.encode(fields)
        opened = frames.HeadersFrame(stream, data=block, flags=["END_HEADERS", "END_STREAM"])
        return opened.serialize() + frames.RstStreamFrame(stream, error_code=8).serialize()

    def continuation(client, number):
        if number == 0:
            return frames.HeadersFrame(1, data=b"").serialize()
        return frames.ContinuationFrame(1, data=b"").serialize()

    floods = {
        "rapid reset": rapid_reset,
        "CONTINUATION": continuation,
        "SETTINGS": lambda *_: frames.SettingsFrame(0).serialize(),
        "PING": lambda *_: frames.PingFrame(0, opaque_data=b"floodfl").serialize(),
        "WINDOW_UPDATE": lambda *_: frames.WindowUpdateFrame(0, window_increment=1).serialize(),
        "PRIORITY": lambda *_: frames.PriorityFrame(1, stream_weight=1).serialize(),
    }
    for name, make in floods.items():
        flood(name, make)


globals()[CASE]()
print("done")
