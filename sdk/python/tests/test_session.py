"""Sessions over a wire of the tests' own, and the stores."""

import asyncio
import json
import sqlite3
import unittest

from longhaul_backend import Backend, Change, Fenced, Memory, Numbered, Session, SqliteStore
from longhaul_backend.grammar import parse

ATTACH = {"t": "attach", "sid": "s", "link": 1, "leg": 1, "recv": 0, "lo": 1, "hi": 0}
ATTACH |= {"win": [1 << 20, 4096], "chunk": 16384, "max_msg": 1 << 20}
DEADLINE_S = 30


class Line:
    """A wire whose other end is the test."""

    closed = (1006, "")

    def __init__(self):
        self.up = asyncio.Queue()
        self.down = asyncio.Queue()

    async def receive(self):
        return await self.up.get()

    async def send(self, message):
        self.down.put_nowait(message)

    async def close(self, code, reason):
        self.down.put_nowait(f"close {code}")
        self.up.put_nowait(None)

    async def hears(self):
        return await asyncio.wait_for(self.down.get(), DEADLINE_S)


async def opened(store, **more):
    line = Line()
    session = Session(line, store, Backend())
    listening = asyncio.create_task(session._listen())
    line.up.put_nowait(json.dumps(ATTACH | more))
    attached = await line.hears()
    if not attached.startswith("close"):
        assert parse(await line.hears()).kind == "a"
        line.up.put_nowait(f"a{more.get('recv', 0)}")
    return line, session, listening, attached


class Sessions(unittest.IsolatedAsyncioTestCase):
    async def test_an_answer_leaves_with_the_commit_and_the_next_leg_goes_on_behind_it(self):
        store = Memory()
        line, session, listening, _ = await opened(store)
        line.up.put_nowait("m1;hello")
        message = await session.receive()
        await session.commit(message.seq, "you said " + message.data)
        self.assertEqual([await line.hears(), await line.hears()], ["a1", "m1;you said hello"])
        line.up.put_nowait(None)
        await listening

        # The gateway has not got the answer, and does not know of the commit.
        line, session, listening, attached = await opened(store, leg=2, hi=1)
        self.assertEqual(json.loads(attached), {"t": "attached", "recv": 1, "lo": 1, "hi": 1})
        self.assertEqual(await line.hears(), "m1;you said hello")
        line.up.put_nowait('{"t":"reset","code":1000,"recv":1}')
        await listening
        self.assertEqual(await store.claim("s", 3), await Memory().claim("s", 1))

    async def test_whoever_was_given_up_stores_nothing_and_hears_so(self):
        store = Memory()
        line, session, listening, _ = await opened(store)
        line.up.put_nowait("m1;hello")
        message = await session.receive()
        await store.claim("s", 2)
        with self.assertRaises(Fenced):
            await session.commit(message.seq)
        self.assertEqual(await line.hears(), "close 4901")
        await listening
        line, _, listening, answer = await opened(store, leg=1)
        self.assertEqual(answer, "close 4901")
        await listening

    async def test_a_change_that_was_not_stored_is_not_said(self):
        line, session, listening, _ = await opened(Memory())
        line.up.put_nowait("m1;hello")
        message = await session.receive()
        with self.assertRaises(ZeroDivisionError):
            async with session.change(message.seq, "never"):
                raise ZeroDivisionError
        self.assertEqual(await line.hears(), "close 1011")
        await listening
        self.assertEqual([message async for message in session], [])


class Stores(unittest.IsolatedAsyncioTestCase):
    async def test_each_keeps_the_three_rules(self):
        for store in [Memory(), SqliteStore(sqlite3.connect(":memory:"))]:
            with self.subTest(type(store).__name__):
                await self.keeps_the_rules(store)

    async def keeps_the_rules(self, store):
        first = await store.claim("s", 1)
        self.assertEqual((first.recv, first.sent, first.unacked), (None, 0, []))
        answer, blob = Numbered(1, "m", "an answer"), Numbered(2, "m", b"\x00\xff")
        await store.save(Change("s", 1, 4, 1, (answer,), 0))
        await store.save(Change("s", 1, 5, 2, (blob,), 1))
        saved = await store.claim("s", 2)
        self.assertEqual((saved.recv, saved.sent, saved.unacked), (5, 2, [blob]))
        with self.assertRaises(Fenced):
            await store.save(Change("s", 1, 6, 3, (), 2))
        with self.assertRaises(Fenced):
            await store.claim("s", 1)
        await store.save(Change(None, 0, 9, 9, (answer,), 0))
        self.assertEqual(await store.claim("s", 2), saved)
        await store.forget("s")
        self.assertEqual(await store.claim("s", 1), first)

    async def test_what_is_fenced_rolls_the_applications_own_rows_back(self):
        db = sqlite3.connect(":memory:")
        db.execute("CREATE TABLE said (text)")
        store = SqliteStore(db)
        await store.claim("s", 2)
        with self.assertRaises(Fenced):
            with db:
                db.execute("INSERT INTO said VALUES ('twice')")
                store.write(Change("s", 1, 1, 0, (), 0))
        self.assertEqual(db.execute("SELECT COUNT(*) FROM said").fetchone(), (0,))
