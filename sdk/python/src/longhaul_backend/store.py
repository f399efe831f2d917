"""What outlives a replica: how far each session was dealt with, and what its client may not have yet."""

from __future__ import annotations

from copy import deepcopy
from typing import Protocol

from .machine import Change, Saved


class Fenced(Exception):
    """Another replica has the session: whatever this one was about to store must not be."""

    def __init__(self) -> None:
        super().__init__("another replica has taken the session over; nothing was stored")


class Store(Protocol):
    """Where sessions are kept. All replicas share one, if sessions shall outlive a replica.

    Three rules make a session exact. `claim` keeps the highest leg it was called with, and raises `Fenced` for lower
    ones. `save` raises `Fenced` for a leg below that, in the transaction that stores the rest. What it stores is
    there when it returns.
    """

    async def claim(self, sid: str, leg: int) -> Saved:
        """Takes a session over for this leg, and says what is known of it."""

    async def save(self, change: Change) -> None:
        """Stores a change."""

    async def forget(self, sid: str) -> None:
        """Forgets a session that is over."""


class Memory:
    """Ends with its process: exact while links and legs are lost, not when the replica dies."""

    def __init__(self) -> None:
        self._sessions: dict[str, tuple[int, Saved]] = {}

    async def claim(self, sid: str, leg: int) -> Saved:
        fence, saved = self._sessions.get(sid, (0, Saved()))
        if leg < fence:
            raise Fenced
        self._sessions[sid] = (leg, saved)
        return deepcopy(saved)

    async def save(self, change: Change) -> None:
        if change.sid is None:
            return
        fence, saved = self._sessions.get(change.sid, (change.leg + 1, Saved()))
        if change.leg < fence:
            raise Fenced
        saved.recv, saved.sent = change.recv, change.sent
        saved.unacked = [item for item in saved.unacked if item.seq > change.acked]
        saved.unacked.extend(change.items)

    async def forget(self, sid: str) -> None:
        self._sessions.pop(sid, None)
