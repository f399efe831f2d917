"""A backend whose sessions outlive its process, with every message dealt with once.

Behind a Longhaul gateway, a replica with this package says itself what it has dealt with, in the transaction in
which it did so; the next replica goes on from there. Clients that are not durable get a plain WebSocket.

    @app.websocket("/ws")
    async def chat(websocket: WebSocket):
        async with durable(websocket, store) as session:
            async for message in session:
                await session.commit(message.seq, f"you said {message.data}")

Begin at `durable` (in `starlette`), `Session` and `Store`. `Backend` (in `machine`) is the protocol alone.
"""

from .machine import Backend, Change, Misuse, Numbered, Saved
from .session import ClientClosed, Detached, Message, Session
from .sqlite import SqliteStore
from .starlette import durable
from .store import Fenced, Memory, Store

__all__ = [
    "Backend",
    "Change",
    "ClientClosed",
    "Detached",
    "Fenced",
    "Memory",
    "Message",
    "Misuse",
    "Numbered",
    "Saved",
    "Session",
    "SqliteStore",
    "Store",
    "durable",
]
