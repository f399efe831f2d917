"""A replica's end of a session, without a socket, a clock or a store.

Takes each message once, says what was dealt with, and numbers what is sent, so that another replica can go on
where this one died. Give it what the gateway says (`receive`), answer `Attach` from the store (`attach`), and poll
until it returns None.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Iterable, Optional, Union

from .grammar import (
    CHUNKS_MAX,
    FAULT,
    GAP,
    LOST,
    SEQ_MAX,
    TOO_BIG,
    Data,
    Fault,
    Item,
    control,
    cut,
    end_payload,
    parse,
    size,
)

# What may be received and not committed: bytes and items. Not less than the gateway's window.
WINDOW = (16 << 20, 16_384)


class Misuse(Exception):
    """A change cannot be made or applied; the text says why."""


class Detached(Misuse):
    """The leg is gone: return from the handler, the session goes on in another."""


@dataclass(frozen=True)
class Numbered:
    """One item that has its number. `kind` is "m", "n" or "x"."""

    seq: int
    kind: str
    payload: Data


@dataclass
class Saved:
    """What is stored of a session; `recv` is None where nothing is known."""

    recv: Optional[int] = None
    sent: int = 0
    unacked: list[Numbered] = field(default_factory=list)


@dataclass(frozen=True)
class Change:
    """What is to be stored in one step, together with the effect on the application.

    `sid` is None on a plain WebSocket, of which nothing is to be stored. Nothing must be stored once a higher
    `leg` has claimed the session. `items` go behind those stored already, of which those up to `acked` go.
    """

    sid: Optional[str]
    leg: int
    recv: int
    sent: int
    items: tuple[Numbered, ...]
    acked: int


@dataclass(frozen=True)
class Attach:
    """Say what is stored of this session, and let no lower leg store anything from now on."""

    sid: str
    leg: int


@dataclass(frozen=True)
class Send:
    """Write one message to the leg."""

    message: Data


@dataclass(frozen=True)
class Arrived:
    """A message of the client's."""

    seq: int
    data: Data


@dataclass(frozen=True)
class Ended:
    """The client has closed; to be committed like a message."""

    seq: int
    code: int
    reason: str


@dataclass(frozen=True)
class Close:
    """Close the leg. The session may live, and come back by another."""

    code: int
    reason: str


@dataclass(frozen=True)
class Over:
    """The session is over: what is stored may be forgotten. 1000 when both ends knew."""

    code: int


Output = Union[Attach, Send, Arrived, Ended, Close, Over]


class Backend:
    """A replica's end of a session, for the life of one leg."""

    def __init__(self, window: tuple[int, int] = WINDOW) -> None:
        self.sid = ""
        self.leg = 0
        self.is_attached = False
        self.has_ended = False
        self._window = window
        self._is_gone = False
        self._asked: Optional[dict] = None
        self._outbox: deque[Output] = deque()
        self._pong: Optional[str] = None
        self._ack: Optional[int] = None
        self._incoming = _Incoming(0)
        self._outgoing = _Outgoing(0, (1, 1), 1)
        self._max_msg = 0

    @property
    def waiting_bytes(self) -> int:
        """Bytes that were sent by the application and wait for the client to make room."""
        return self._outgoing.waiting_bytes

    def receive(self, message: Data) -> None:
        """Takes one WebSocket message of the gateway's."""
        if self._is_gone:
            return
        try:
            self._take(parse(message))
        except Fault as fault:
            self.close(fault.code, "the gateway broke the session protocol")

    def attach(self, saved: Saved) -> None:
        """Answers the gateway from what the store knows."""
        asked = self._asked
        if asked is None or self.is_attached or self._is_gone:
            return
        recv = asked["lo"] - 1 if saved.recv is None else saved.recv
        first = saved.unacked[0].seq if saved.unacked else None
        behind = asked["recv"] + 1
        lo = behind if first is None or first > behind else first
        if recv + 1 < asked["lo"] or saved.sent >= behind and (first is None or first > behind):
            # The client has forgotten what the store does not know, or the store what the client lacks.
            return self.close(LOST, "the store and the gateway do not agree")
        self._incoming = _Incoming(recv)
        self._outgoing = _Outgoing(asked["recv"], tuple(asked["win"]), asked["chunk"])
        self._outgoing.push([item for item in saved.unacked if item.seq >= behind])
        self._outgoing.numbered = self._outgoing.applied
        self.has_ended = bool(saved.unacked) and saved.unacked[-1].kind == "x"
        self.is_attached = True
        self._ack = recv
        self._say({"t": "attached", "recv": saved.recv, "lo": lo, "hi": max(saved.sent, asked["recv"])})

    def change(self, recv: Optional[int], messages: Iterable[Data]) -> Change:
        """Makes a change: everything up to `recv` is dealt with, and these messages are sent.

        Numbers are given now, so what is made must be applied, or the leg given up.
        """
        messages = list(messages)
        self._check(recv, bool(messages))
        for message in messages:
            if size(message) > self._max_msg:
                limit = f"the gateway takes {self._max_msg} (durable.message_bytes_max)"
                raise Misuse(f"a message of {size(message)} bytes; {limit}")
        pieces = (piece for message in messages for piece in cut(message, self._asked_chunk()))
        return self._changed(recv, self._outgoing.number(pieces))

    def end(self, recv: Optional[int], code: int, reason: str) -> Change:
        """Makes a change that closes behind everything sent before; 1005 is without a status."""
        self._check(recv, True)
        self.has_ended = True
        return self._changed(recv, self._outgoing.number([("x", end_payload(code, reason))]))

    def apply(self, change: Change) -> None:
        """Lets a change take effect that is stored now: says what was dealt with, and sends."""
        if not self.is_attached or change.leg != self.leg:
            raise Detached("the leg is gone; the next one finds the change in the store")
        self._outgoing.push(change.items)
        if change.recv > self._incoming.confirmed:
            self._incoming.confirm(change.recv)
            self._ack = change.recv

    def drain(self) -> None:
        """Asks the gateway to move the session to another replica."""
        if self.is_attached:
            self._say({"t": "drain"})

    def lost(self) -> None:
        """Notes that the leg is gone."""
        self.is_attached = False
        self._is_gone = True

    def close(self, code: int, reason: str) -> None:
        """Gives the leg up; the session may live on with another."""
        if not self._is_gone:
            self.lost()
            self._outbox.append(Close(code, reason))

    def poll(self) -> Optional[Output]:
        """The next thing to do."""
        if self._outbox:
            return self._outbox.popleft()
        if not self.is_attached:
            return None
        if self._pong is not None:
            pong, self._pong = self._pong, None
            return Send("q" + pong)
        if self._ack is not None:
            ack, self._ack = self._ack, None
            return Send(f"a{ack}")
        item = self._outgoing.next()
        if item is None:
            return None
        head = f"{item.kind}{item.seq};"
        return Send(head + item.payload if isinstance(item.payload, str) else head.encode() + item.payload)

    def _asked_chunk(self) -> int:
        return self._outgoing.chunk

    def _check(self, recv: Optional[int], sends: bool) -> None:
        if not self.is_attached:
            raise Detached("the leg is gone, or carries no session yet")
        if sends and self.has_ended or self._outgoing.numbered + CHUNKS_MAX > SEQ_MAX:
            raise Misuse("nothing can be sent behind a close")
        if recv is not None and recv > self._incoming.whole:
            raise Misuse(f"message {recv} has not been received and cannot be committed")

    def _changed(self, recv: Optional[int], items: list[Numbered]) -> Change:
        recv = max(recv or 0, self._incoming.confirmed)
        outgoing = self._outgoing
        return Change(self.sid, self.leg, recv, outgoing.numbered, tuple(items), outgoing.acked or 0)

    def _say(self, said: dict) -> None:
        self._outbox.append(Send(json.dumps(said)))

    def _take(self, item: Item) -> None:
        if item.kind == "{":
            return self._take_control(control(str(item.payload)))
        if not self.is_attached or item.kind == "e":
            raise Fault
        if item.kind == "a":
            self._outgoing.acknowledge(item.seq, self.has_ended)
        elif item.kind == "p":
            self._pong = str(item.payload)
        elif item.kind in "mnx":
            limits = (self._outgoing.chunk, self._max_msg, self._window)
            arrived = self._incoming.take(item, limits)
            if arrived is not None:
                self._outbox.append(arrived)

    def _take_control(self, said: dict) -> None:
        if said["t"] == "attach" and self._asked is None:
            self._asked = said
            self.sid, self.leg, self._max_msg = said["sid"], said["leg"], said["max_msg"]
            self._outbox.append(Attach(self.sid, self.leg))
        elif said["t"] == "reset":
            self.lost()
            self._outbox.append(Over(said["code"]))
        elif said["t"] != "error":
            raise Fault


class _Incoming:
    """The c2b half: each number once and in order, and how much of it is not committed."""

    def __init__(self, confirmed: int) -> None:
        self.recv = self.whole = self.confirmed = confirmed
        self._has_ended = False
        self._pieces: list[Data] = []
        self._pieces_bytes = 0
        self._unconfirmed: deque[int] = deque()
        self._unconfirmed_bytes = 0

    def take(self, item: Item, limits: tuple[int, int, tuple[int, int]]) -> Union[Arrived, Ended, None]:
        chunk, max_msg, window = limits
        if item.seq <= self.recv:
            return None
        if item.seq > self.recv + 1:
            raise Fault(GAP)
        if self._has_ended or item.kind == "x" and self._pieces:
            raise Fault(FAULT)
        if item.kind != "x":
            self._add(item.payload, chunk, max_msg)
        self._note(0 if item.kind == "x" else size(item.payload), max_msg, window)
        self.recv = item.seq
        if item.kind == "n":
            return None
        self.whole = item.seq
        if item.kind == "x":
            self._has_ended = True
            return Ended(item.seq, *item.end())
        empty: Data = b"" if isinstance(item.payload, bytes) else ""
        whole = empty.join(self._pieces)  # type: ignore[arg-type]
        self._pieces, self._pieces_bytes = [], 0
        return Arrived(item.seq, whole)

    def confirm(self, seq: int) -> None:
        for _ in range(min(seq, self.whole) - self.confirmed):
            self._unconfirmed_bytes -= self._unconfirmed.popleft()
            self.confirmed += 1

    def _add(self, payload: Data, chunk: int, max_msg: int) -> None:
        if self._pieces and type(self._pieces[0]) is not type(payload):
            raise Fault(FAULT)
        self._pieces.append(payload)
        self._pieces_bytes += size(payload)
        if size(payload) > chunk or self._pieces_bytes > max_msg or len(self._pieces) > CHUNKS_MAX:
            raise Fault(TOO_BIG)

    def _note(self, count: int, max_msg: int, window: tuple[int, int]) -> None:
        self._unconfirmed.append(count)
        self._unconfirmed_bytes += count
        is_beyond = self._unconfirmed_bytes > max(window[0], max_msg)
        if is_beyond or len(self._unconfirmed) > window[1] + CHUNKS_MAX:
            raise Fault(FAULT)


class _Outgoing:
    """The b2c half: numbered when it is made, written when the client's window has room."""

    def __init__(self, before: int, window: tuple, chunk: int) -> None:
        self.numbered = self.applied = before
        self.chunk = chunk
        self.acked: Optional[int] = None
        self.waiting_bytes = 0
        # Of what the gateway has and this leg did not write, nobody knows how large it is.
        self._before = before
        self._window = (max(window[0], 1), max(window[1], 1))
        self._waiting: deque[Numbered] = deque()
        self._under_way: deque[tuple[int, int]] = deque()
        self._used_bytes = 0
        self._is_amid = False

    def number(self, pieces: Iterable[tuple[str, Data]]) -> list[Numbered]:
        items = []
        for kind, payload in pieces:
            self.numbered += 1
            items.append(Numbered(self.numbered, kind, payload))
        return items

    def push(self, items: Iterable[Numbered]) -> None:
        for item in items:
            if item.seq != self.applied + 1:
                raise Misuse("changes must be applied in the order in which they were made, each once")
            self.applied = item.seq
            self.waiting_bytes += size(item.payload)
            self._waiting.append(item)

    def next(self) -> Optional[Numbered]:
        # Before the gateway's first word about it nobody knows how much room there is.
        if self.acked is None or not self._waiting:
            return None
        kind = self._waiting[0].kind
        if kind != "x" and not self._is_amid and not self._fits(self.acked):
            return None
        item = self._waiting.popleft()
        self.waiting_bytes -= size(item.payload)
        self._is_amid = kind == "n"
        if kind != "x":
            self._under_way.append((item.seq, size(item.payload)))
            self._used_bytes += size(item.payload)
        return item

    def acknowledge(self, seq: int, has_ended: bool) -> None:
        written = self._under_way[-1][0] if self._under_way else self._before
        is_end = has_ended and not self._waiting and seq == self.applied
        if seq > max(written, self.acked or 0) and not is_end:
            raise Fault(FAULT)
        self.acked = max(self.acked or 0, seq)
        while self._under_way and self._under_way[0][0] <= seq:
            self._used_bytes -= self._under_way.popleft()[1]

    def _fits(self, acked: int) -> bool:
        before = max(self._before - acked, 0)
        used = (self._used_bytes + before * self.chunk, len(self._under_way) + before)
        if used == (0, 0):
            return True
        count = needed = 0
        for item in self._waiting:
            count, needed = count + 1, needed + size(item.payload)
            if item.kind == "m":
                break
        return used[0] + needed <= self._window[0] and used[1] + count <= self._window[1]
