"""python-socketio under uvicorn. Prints `listening PORT` when it accepts."""

import asyncio
import os
import pathlib
import socket

import socketio
import uvicorn

REPLICA = os.environ.get("REPLICA", "python")
HERE = pathlib.Path(__file__).parent
BEAT = float(os.environ.get("PING_MS", "25000")) / 1000
server = socketio.AsyncServer(
    async_mode="asgi", cors_allowed_origins="*", ping_interval=BEAT, ping_timeout=8 * BEAT
)
app = socketio.ASGIApp(
    server,
    static_files={
        "/page": {"content_type": "text/html", "filename": str(HERE / "socketio.html")},
        "/client.js": str(HERE.parent / "node_modules/socket.io-client/dist/socket.io.min.js"),
    },
)


@server.event
async def connect(sid, _environ, _auth=None):
    await server.emit("welcome", {"replica": REPLICA, "sid": sid}, to=sid)


@server.on("connect", namespace="/members")
async def enter(sid, _environ, auth):
    """A namespace that wants to know who comes."""
    if not auth or not auth.get("name"):
        raise socketio.exceptions.ConnectionRefusedError("who are you?")
    await server.save_session(sid, {"name": auth["name"]}, namespace="/members")


@server.event
async def echo(_sid, message):
    return {"replica": REPLICA, "message": message}


@server.on("blob", namespace="/members")
async def blob(sid, one, two):
    session = await server.get_session(sid, namespace="/members")
    return {"replica": REPLICA, "name": session["name"], "both": one + two}


@server.event
async def count(sid, up_to):
    for number in range(1, up_to + 1):
        await server.emit("number", number, to=sid)


async def main():
    listener = socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "0"))))
    config = uvicorn.Config(app, log_level="warning", lifespan="off")
    print("listening", listener.getsockname()[1], flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


asyncio.run(main())
