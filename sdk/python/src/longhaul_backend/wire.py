"""What a session needs of the server's WebSocket."""

from __future__ import annotations

from typing import Optional, Protocol

from .grammar import Data


class Wire(Protocol):
    """One WebSocket whose handshake is done."""

    # How the peer has closed, once `receive` gave None.
    closed: tuple[int, str]

    async def receive(self) -> Optional[Data]:
        """The next message; None once it is closed."""

    async def send(self, message: Data) -> None:
        """Writes a message."""

    async def close(self, code: int, reason: str) -> None:
        """Closes it; one that is closed already is left alone."""
