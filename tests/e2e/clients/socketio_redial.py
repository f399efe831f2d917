"""python-socketio clients that must not notice how their replica goes: `socketio_redial.py http://HOST:PORT`.

One for each way to WebSocket. Prints `ready` once both have been answered, and `done` once both have been answered by
another replica. A disconnect or a wrong answer ends it.
"""

import asyncio
import os
import sys

import socketio

BASE = sys.argv[1]


def fail(reason):
    print("failed:", reason, flush=True)
    os._exit(1)


async def start(transports):
    client = socketio.AsyncClient(reconnection=False)
    await client.connect(BASE, transports=transports, namespaces=["/", "/members"], auth={"name": "py"})
    while client.transport() != "websocket":
        await asyncio.sleep(0.02)
    client.on("disconnect", lambda reason=None: fail(f"{transports}: {reason}"))
    return client, await ask(client)


async def ask(client):
    try:
        answer = await client.call("blob", (b"one", b"two"), namespace="/members", timeout=3)
    except socketio.exceptions.TimeoutError:
        return None
    if answer["name"] != "py" or answer["both"] != b"onetwo":
        fail(answer)
    return answer["replica"]


async def moves(client, before):
    while await ask(client) in (None, before):
        await asyncio.sleep(0.02)


async def main():
    clients = [await start(way) for way in (["websocket"], ["polling", "websocket"])]
    print("ready", flush=True)
    await asyncio.gather(*(moves(client, before) for client, before in clients))
    print("done", flush=True)
    os._exit(0)


asyncio.run(main())
