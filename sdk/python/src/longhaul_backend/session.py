"""What an application holds: messages come out, changes go in."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import AsyncIterator, Optional

from .grammar import SUPERSEDED, Data
from .machine import Arrived, Attach, Backend, Change, Close, Detached, Ended, Output, Over, Send
from .plain import Plain
from .store import Fenced, Store
from .wire import Wire

__all__ = ["ClientClosed", "Detached", "Message", "Session"]

# Bytes that were sent and wait for the client to make room; then `Session.send` waits.
WAITING_BYTES_MAX = 1 << 20
# A replica's own fault, as RFC 6455 section 7.4.1 has it.
OUR_FAULT = 1011
# How long what is written may wait for the gateway, which reads its legs always; in seconds.
WRITE_S = 60.0


@dataclass(frozen=True)
class Message:
    """A message of the client's, with the number that `Session.commit` takes."""

    seq: int
    data: Data


class ClientClosed(Exception):
    """The client has closed. Committed when the handler ends, if not before."""

    def __init__(self, seq: int, code: int, reason: str) -> None:
        super().__init__(f"the client closed with {code} {reason}")
        self.seq, self.code, self.reason = seq, code, reason


class Session:
    """One client's session, for as long as one leg carries it.

    Each leg has a handler of its own, which begins behind what was committed. Where a call raises `Detached` or
    `Fenced`, return: the session goes on in another handler.
    """

    def __init__(self, wire: Wire, store: Store, machine: Backend | Plain) -> None:
        self.closed: Optional[ClientClosed] = None
        self._wire = wire
        self._store = store
        self._machine = machine
        self._arrived: asyncio.Queue[Message | ClientClosed | None] = asyncio.Queue()
        # One change at a time: they are stored and sent in the order of their numbers.
        self._turn = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._room = asyncio.Event()
        self._attached = asyncio.Event()
        self._is_gone = False

    @property
    def sid(self) -> Optional[str]:
        """Name of the session, the same for each of its legs; None on a plain WebSocket."""
        return self._machine.sid or None

    @property
    def _has_ended(self) -> bool:
        return self._machine.has_ended

    @property
    def leg(self) -> int:
        """Above 1 when another leg may have carried the session before."""
        return self._machine.leg

    async def receive(self) -> Message:
        """The next message. Raises `ClientClosed`, or `Detached` when the leg is gone.

        Gives the next one before the last is committed, so several may be worked on.
        """
        arrived = await self._arrived.get()
        if isinstance(arrived, Message):
            return arrived
        # Whoever asks again hears the same.
        self._arrived.put_nowait(arrived)
        raise arrived or Detached("the leg is gone; the session goes on in another handler")

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self.receive()
        except (ClientClosed, Detached):
            raise StopAsyncIteration from None

    async def commit(self, seq: int, *answers: Data) -> None:
        """Stores that everything up to `seq` is dealt with, together with what is said in answer; then says both."""
        async with self.change(seq, *answers) as change:
            await self._store.save(change)

    async def send(self, data: Data) -> None:
        """Stores and sends a message that answers nothing. Waits while the client is behind."""
        async with self.change(None, data) as change:
            await self._store.save(change)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Closes behind everything that was sent."""
        await self._end(None, code, reason)

    @asynccontextmanager
    async def change(self, seq: Optional[int] = None, *answers: Data) -> AsyncIterator[Change]:
        """A change to be stored in the application's own transaction. Nothing leaves before the block ends.

        Where the block raises, the leg is given up: nobody knows whether it was stored, but the store.
        """
        async with self._turn:
            await self._has_room()
            async with self._storing(self._machine.change(seq, answers)) as change:
                yield change

    async def drain(self) -> None:
        """Asks the gateway to move the session to another replica, before this one goes."""
        self._machine.drain()
        await self._settle()

    async def _end(self, seq: Optional[int], code: int, reason: str) -> None:
        async with self._turn:
            async with self._storing(self._machine.end(seq, code, reason)) as change:
                await self._store.save(change)

    @asynccontextmanager
    async def _storing(self, change: Change) -> AsyncIterator[Change]:
        try:
            yield change
        except BaseException as error:
            self._machine.close(SUPERSEDED if isinstance(error, Fenced) else OUR_FAULT, "it was not stored")
            # A handler that is cancelled has no time for words.
            if isinstance(error, Exception):
                await self._settle()
            raise
        self._machine.apply(change)
        await self._settle()

    async def _has_room(self) -> None:
        while self._machine.waiting_bytes >= WAITING_BYTES_MAX and not self._is_gone:
            self._room.clear()
            await self._room.wait()

    async def _listen(self) -> None:
        """Goes on until the leg is gone."""
        try:
            if isinstance(self._machine, Plain):
                self._attached.set()
            while not self._is_gone:
                received = await self._wire.receive()
                if received is None:
                    break
                self._machine.receive(received)
                await self._settle()
        finally:
            if isinstance(self._machine, Plain):
                self._machine.ended(*self._wire.closed)
                await self._settle()
            self._lose()

    async def _settle(self) -> None:
        """Does what the machine wants done."""
        async with self._writing:
            while (output := self._machine.poll()) is not None:
                await self._obey(output)

    async def _obey(self, output: Output) -> None:
        if isinstance(output, Send):
            try:
                await asyncio.wait_for(self._wire.send(output.message), WRITE_S)
            except Exception:
                # A leg that takes nothing is gone, whatever the server calls that.
                self._lose()
            self._room.set()
        elif isinstance(output, Arrived):
            if self._has_ended:
                # Behind an application's close nothing is given to it.
                return
            self._arrived.put_nowait(Message(output.seq, output.data))
        elif isinstance(output, Ended):
            self.closed = ClientClosed(output.seq, output.code, output.reason)
            self._arrived.put_nowait(self.closed)
        elif isinstance(output, Attach):
            await self._attach(output)
        elif isinstance(output, Close):
            self._lose()
            await self._wire.close(output.code, output.reason)
        elif isinstance(output, Over):
            self._lose()
            await self._wire.close(1000, "")
            await self._store.forget(self._machine.sid)

    async def _attach(self, attach: Attach) -> None:
        machine = self._machine
        assert isinstance(machine, Backend)
        try:
            saved = await self._store.claim(attach.sid, attach.leg)
        except Fenced:
            machine.close(SUPERSEDED, "another replica has the session")
        except Exception:
            machine.close(OUR_FAULT, "the store did not answer")
            raise
        else:
            machine.attach(saved)
            if self._has_ended:
                # An earlier leg's handler has closed: only the client's answer is waited for.
                self._arrived.put_nowait(None)
            self._attached.set()

    def _lose(self) -> None:
        self._is_gone = True
        self._machine.lost()
        self._arrived.put_nowait(None)
        self._attached.set()
        self._room.set()
