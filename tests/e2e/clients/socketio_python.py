"""python-socketio as a client: `socketio_python.py http://HOST:PORT`. Prints each case and `done`."""

import asyncio
import contextlib
import sys

import aiohttp
import socketio

BASE = sys.argv[1]


async def converse(transports, cookies):
    # `unsafe` lets the jar keep cookies of a bare IP address.
    jar = aiohttp.CookieJar(unsafe=True) if cookies else aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(cookie_jar=jar) as http:
        client = socketio.AsyncClient(reconnection=False, http_session=http)
        welcome = asyncio.get_running_loop().create_future()
        numbers = asyncio.Queue()
        client.on("welcome", welcome.set_result)
        client.on("number", numbers.put_nowait)
        await client.connect(BASE, transports=transports, wait_timeout=20)
        replica = (await asyncio.wait_for(welcome, 20))["replica"]
        assert client.transport() == transports[-1], client.transport()
        for round in range(5):
            message = f"{round} " * (round * 2000 + 1)
            answer = await client.call("echo", message, timeout=20)
            assert answer["message"] == message, "the echo differs"
            assert answer["replica"] == replica, "the replica changed midway"
        # Few enough for one poll: this package refuses a payload of more than 16 packets.
        await client.emit("count", 12)
        for expected in range(1, 13):
            number = await asyncio.wait_for(numbers.get(), 20)
            assert number == expected, (number, expected)
        # Over polling this package waits for its last poll, which the server may hold for 25 s.
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(client.disconnect(), 1)
        return replica


async def main():
    for cookies in (False, True):
        for transports in (["polling"], ["websocket"], ["polling", "websocket"]):
            four = (converse(transports, cookies) for _ in range(4))
            replicas = sorted(set(await asyncio.gather(*four)))
            print("cookies", str(cookies).lower(), "+".join(transports), "on", *replicas, flush=True)
    print("done")


asyncio.run(main())
