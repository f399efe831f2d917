"""Sessions in SQLite, beside the application's own tables and in its transactions."""

from __future__ import annotations

import sqlite3

from .machine import Change, Numbered, Saved
from .store import Fenced

_TABLES = """
CREATE TABLE IF NOT EXISTS longhaul_session (
    sid TEXT PRIMARY KEY, leg INTEGER NOT NULL, recv INTEGER, sent INTEGER NOT NULL DEFAULT 0,
    touched TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS longhaul_unacked (
    sid TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, payload NOT NULL,
    PRIMARY KEY (sid, seq)
) WITHOUT ROWID;
"""


class SqliteStore:
    """A store on a connection that the application shares. Its calls block, as SQLite's do.

    `save` is a transaction of its own. Inside one of the application's, call `write` instead:

        async with session.change(message.seq, answer) as change:
            with db:
                db.execute("INSERT INTO said VALUES (?)", (message.data,))
                store.write(change)
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        connection.executescript(_TABLES)

    async def claim(self, sid: str, leg: int) -> Saved:
        with self._db as db:
            claimed = db.execute(
                "INSERT INTO longhaul_session (sid, leg) VALUES (?, ?)"
                " ON CONFLICT (sid) DO UPDATE SET leg = excluded.leg, touched = CURRENT_TIMESTAMP"
                " WHERE leg <= excluded.leg",
                (sid, leg),
            )
            if claimed.rowcount == 0:
                raise Fenced
            recv, sent = db.execute("SELECT recv, sent FROM longhaul_session WHERE sid = ?", (sid,)).fetchone()
            rows = db.execute("SELECT seq, kind, payload FROM longhaul_unacked WHERE sid = ? ORDER BY seq", (sid,))
            return Saved(recv, sent, [Numbered(*row) for row in rows])

    async def save(self, change: Change) -> None:
        with self._db:
            self.write(change)

    def write(self, change: Change) -> None:
        """Stores a change in the transaction that is open. Raises `Fenced`, which must roll it back."""
        if change.sid is None:
            return
        stored = self._db.execute(
            "UPDATE longhaul_session SET recv = ?, sent = ?, touched = CURRENT_TIMESTAMP WHERE sid = ? AND leg = ?",
            (change.recv, change.sent, change.sid, change.leg),
        )
        if stored.rowcount == 0:
            raise Fenced
        self._db.execute("DELETE FROM longhaul_unacked WHERE sid = ? AND seq <= ?", (change.sid, change.acked))
        self._db.executemany(
            "INSERT INTO longhaul_unacked VALUES (?, ?, ?, ?)",
            [(change.sid, item.seq, item.kind, item.payload) for item in change.items],
        )

    async def forget(self, sid: str) -> None:
        with self._db as db:
            db.execute("DELETE FROM longhaul_session WHERE sid = ?", (sid,))
            db.execute("DELETE FROM longhaul_unacked WHERE sid = ?", (sid,))
