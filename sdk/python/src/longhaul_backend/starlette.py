"""Sessions over the WebSockets of Starlette and FastAPI. Nothing of either is imported."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any, AsyncIterator, Optional

from .grammar import Data
from .machine import WINDOW, Backend, Detached
from .plain import Plain
from .session import OUR_FAULT, Session
from .store import Fenced, Store

OFFER = (b"longhaul-offer", b"v1")
ANSWER = (b"longhaul-leg", b"v1")


@asynccontextmanager
async def durable(
    websocket: Any,
    store: Store,
    *,
    subprotocol: Optional[str] = None,
    window: tuple[int, int] = WINDOW,
) -> AsyncIterator[Session]:
    """Accepts a WebSocket, and gives the session that it carries.

    `websocket` is Starlette's or FastAPI's, not yet accepted. `window` bounds what was received and is not
    committed, in bytes and items: not less than the gateway's `durable.window_bytes` and `window_items`.

    When the block ends, the session ends with 1000, unless the leg was lost; with 1011 when the block raises. A
    block that raises `Detached` or `Fenced` has ended well: the session goes on in another.
    """
    is_offered = OFFER in websocket.scope["headers"]
    await websocket.accept(subprotocol=subprotocol, headers=[ANSWER] if is_offered else [])
    machine = Backend(window) if is_offered else Plain()
    session = Session(_Starlette(websocket), store, machine)
    listening = asyncio.create_task(session._listen())
    try:
        await session._attached.wait()
        try:
            yield session
        except (Detached, Fenced):
            pass
        except Exception:
            await _finish(session, OUR_FAULT, "the handler failed")
            raise
        else:
            await _finish(session, 1000, "")
        # The client's answer; the gateway's deadlines bound it.
        await listening
    finally:
        listening.cancel()


async def _finish(session: Session, code: int, reason: str) -> None:
    """The session ends as the application would have wanted it, if it has not said so itself."""
    try:
        if session.closed is not None and code != OUR_FAULT:
            await session.commit(session.closed.seq)
        elif not session._machine.has_ended:
            await session._end(None, code, reason)
    except (Detached, Fenced):
        pass


class _Starlette:
    """One of its WebSockets."""

    def __init__(self, websocket: Any) -> None:
        self.closed = (1006, "")
        self._websocket = websocket
        self._is_closed = False

    async def receive(self) -> Optional[Data]:
        if self._is_closed:
            return None
        event = await self._websocket.receive()
        if event["type"] == "websocket.disconnect":
            self._is_closed = True
            self.closed = (event.get("code") or 1005, event.get("reason") or "")
            return None
        text = event.get("text")
        return text if text is not None else event["bytes"]

    async def send(self, message: Data) -> None:
        if isinstance(message, str):
            await self._websocket.send_text(message)
        else:
            await self._websocket.send_bytes(message)

    async def close(self, code: int, reason: str) -> None:
        if not self._is_closed:
            self._is_closed = True
            await self._websocket.close(1000 if code == 1005 else code, reason)
