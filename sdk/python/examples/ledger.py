"""A ledger that loses nothing and books nothing twice, whichever of its replicas die.

Every message is a booking, answered with its place; the booking and what is stored of the session are one
transaction. `ledger.py FILE [PORT]`, as often as you like on one file, and a gateway in front.
"""

import asyncio
import os
import socket
import sqlite3
import sys

import uvicorn
from fastapi import FastAPI, WebSocket
from longhaul_backend import Detached, SqliteStore, durable

TICK_S = 0.02

db = sqlite3.connect(sys.argv[1], timeout=30)
# What is written survives the death of the process, which is what is tried here; not that of the machine.
db.execute("PRAGMA synchronous = OFF")
db.execute("CREATE TABLE IF NOT EXISTS book (sid TEXT PRIMARY KEY, bookings INTEGER, ticks INTEGER)")
store = SqliteStore(db)
app = FastAPI()


@app.websocket("/ws")
async def ledger(websocket: WebSocket):
    async with durable(websocket, store) as session:
        page = Page(session.sid)
        ticking = asyncio.create_task(tick(session, page))
        try:
            async for message in session:
                answer = message.data
                if isinstance(answer, str):
                    place = f"{page.bookings + 1} {answer}"
                    answer = f"{place} {os.getpid()}" if answer == "drain" else place
                async with session.change(message.seq, answer) as change:
                    page.bookings += 1
                    page.write(change)
                if message.data == "drain":
                    await session.drain()
        finally:
            ticking.cancel()


async def tick(session, page):
    """Says something of its own accord, until the leg is gone."""
    try:
        while True:
            await asyncio.sleep(TICK_S)
            async with session.change(None, f"tick {page.ticks + 1}") as change:
                page.ticks += 1
                page.write(change)
    except Detached:
        return


class Page:
    """What the ledger knows of one session."""

    def __init__(self, sid):
        self.sid = sid
        known = db.execute("SELECT bookings, ticks FROM book WHERE sid = ?", (sid,)).fetchone()
        self.bookings, self.ticks = known or (0, 0)

    def write(self, change):
        """The booking and the session, in one transaction."""
        with db:
            if self.sid:
                row = (self.sid, self.bookings, self.ticks)
                db.execute("INSERT OR REPLACE INTO book VALUES (?, ?, ?)", row)
            store.write(change)


@app.get("/sessions")
async def sessions():
    return db.execute("SELECT COUNT(*) FROM longhaul_session").fetchone()[0]


async def main():
    listener = socket.create_server(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0))
    print("listening", listener.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_level="warning", lifespan="off")
    await uvicorn.Server(config).serve(sockets=[listener])


asyncio.run(main())
