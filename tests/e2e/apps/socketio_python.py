"""python-socketio under uvicorn. Prints `listening PORT` when it accepts."""

import asyncio
import os
import pathlib
import socket

import socketio
import uvicorn

REPLICA = os.environ.get("REPLICA", "python")
HERE = pathlib.Path(__file__).parent
server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*")
app = socketio.ASGIApp(
    server,
    static_files={
        "/page": {"content_type": "text/html", "filename": str(HERE / "socketio.html")},
        "/client.js": str(HERE.parent / "node_modules/socket.io-client/dist/socket.io.min.js"),
    },
)


@server.event
async def connect(sid, _environ):
    await server.emit("welcome", {"replica": REPLICA, "sid": sid}, to=sid)


@server.event
async def echo(_sid, message):
    return {"replica": REPLICA, "message": message}


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
