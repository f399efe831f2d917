"""The `websockets` package as a client of an echo server: `echo.py ws://HOST:PORT`.

Prints one line for each group of cases and `done` at the end; any difference ends it with a trace.
"""

import asyncio
import os
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

BASE = sys.argv[1]
SIZES = [0, 1, 125, 126, 127, 65535, 65536, 1 << 20, 64 << 20]
CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999]
OPTIONS = {"max_size": None, "ping_interval": None, "open_timeout": 30, "close_timeout": 30}


def text_of(size):
    # Two and three byte characters, so that a cut in the wrong place would show.
    pattern = "añ€-" * (size // 7 + 1)
    encoded = pattern.encode()[:size].decode(errors="ignore")
    return encoded + "x" * (size - len(encoded.encode()))


async def echoes(ws, message):
    await ws.send(message)
    answer = await ws.recv()
    assert type(answer) is type(message), (type(answer), type(message))
    assert answer == message, f"{len(message)} sent, {len(answer)} came back different"


async def sizes():
    async with connect(BASE + "/echo", compression=None, **OPTIONS) as ws:
        assert "Sec-WebSocket-Extensions" not in ws.response.headers
        for size in SIZES:
            await echoes(ws, os.urandom(size))
            await echoes(ws, text_of(size))
    print(f"sizes: {len(SIZES)} binary and text")


async def deflate():
    async with connect(BASE + "/echo", **OPTIONS) as ws:
        assert "permessage-deflate" in ws.response.headers["Sec-WebSocket-Extensions"]
        for size in SIZES[:-1]:
            await echoes(ws, os.urandom(size))
            await echoes(ws, text_of(size))
    print("deflate: negotiated and used")


async def fragments():
    async with connect(BASE + "/echo", compression=None, **OPTIONS) as ws:
        for pieces in (["a", "", "ñ€", "z"], ["x"] * 300, [b"\0", b"", b"\xff" * 70000, b"1"]):
            await ws.send(pieces)
            answer = await ws.recv()
            assert answer == type(answer)().join(pieces)
    print("fragments: joined as sent")


async def order():
    async with connect(BASE + "/echo", compression=None, **OPTIONS) as ws:
        for number in range(2000):
            await ws.send(str(number))
        for number in range(2000):
            assert await ws.recv() == str(number)
        await asyncio.wait_for(await ws.ping(b"are you there"), 10)
    print("order: 2000 messages in flight, then a ping")


async def subprotocols():
    async with connect(BASE + "/echo", subprotocols=["chat.v1", "chat.v2"], **OPTIONS) as ws:
        assert ws.subprotocol == "chat.v2", ws.subprotocol
    async with connect(BASE + "/echo", **OPTIONS) as ws:
        assert ws.subprotocol is None, ws.subprotocol
    print("subprotocols: chosen by the server")


async def close_codes():
    for code in CODES:
        async with connect(f"{BASE}/close?code={code}&reason=server{code}", **OPTIONS) as ws:
            await ws.send("now")
            try:
                await ws.recv()
                raise AssertionError("a message instead of a close")
            except ConnectionClosed as end:
                assert end.rcvd is not None, f"no close frame for {code}"
                assert (end.rcvd.code, end.rcvd.reason) == (code, f"server{code}"), end.rcvd
        ws = await connect(BASE + "/echo", **OPTIONS)
        await ws.close(code, f"client{code}")
        assert ws.protocol.close_rcvd is not None, f"no answer to close {code}"
        assert ws.protocol.close_rcvd.code == code, ws.protocol.close_rcvd
    print(f"close: {len(CODES)} codes both ways")


async def main():
    await sizes()
    await deflate()
    await fragments()
    await order()
    await subprotocols()
    await close_codes()
    print("done")


asyncio.run(main())
