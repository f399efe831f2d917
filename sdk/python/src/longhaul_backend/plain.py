"""The same session over a WebSocket that nobody resumes: numbers count what comes, and a commit only sends."""

from __future__ import annotations

from collections import deque
from typing import Iterable, Optional

from .grammar import Data
from .machine import Arrived, Change, Close, Detached, Ended, Misuse, Numbered, Output, Send


class Plain:
    """What takes the machine's place."""

    sid = ""
    leg = 0
    waiting_bytes = 0

    def __init__(self) -> None:
        self.has_ended = False
        self._received = 0
        self._numbered = 0
        self._is_gone = False
        self._outbox: deque[Output] = deque()

    def receive(self, message: Data) -> None:
        self._received += 1
        self._outbox.append(Arrived(self._received, message))

    def ended(self, code: int, reason: str) -> None:
        """The client has closed."""
        self._received += 1
        self._outbox.append(Ended(self._received, code, reason))

    def change(self, recv: Optional[int], messages: Iterable[Data]) -> Change:
        return self._change(recv, [("m", message) for message in messages])

    def end(self, recv: Optional[int], code: int, reason: str) -> Change:
        change = self._change(recv, [("x", f"{code};{reason}")])
        self.has_ended = True
        return change

    def apply(self, change: Change) -> None:
        if self._is_gone:
            raise Detached("the client is gone")
        for item in change.items:
            if item.kind == "m":
                self._outbox.append(Send(item.payload))
            else:
                code, reason = str(item.payload).split(";", 1)
                self._outbox.append(Close(int(code), reason))

    def drain(self) -> None:
        """Nobody can move it."""

    def lost(self) -> None:
        self._is_gone = True

    def close(self, code: int, reason: str) -> None:
        if not self._is_gone:
            self._outbox.append(Close(code, reason))

    def poll(self) -> Optional[Output]:
        return self._outbox.popleft() if self._outbox else None

    def _change(self, recv: Optional[int], items: list[tuple[str, Data]]) -> Change:
        if self._is_gone:
            raise Detached("the client is gone")
        if items and self.has_ended:
            raise Misuse("nothing can be sent behind a close")
        if recv is not None and recv > self._received:
            raise Misuse(f"message {recv} has not been received and cannot be committed")
        numbered = []
        for kind, payload in items:
            self._numbered += 1
            numbered.append(Numbered(self._numbered, kind, payload))
        return Change(None, 0, recv or 0, self._numbered, tuple(numbered), 0)
