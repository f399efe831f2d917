"""FastAPI under uvicorn: echoes WebSockets, streams HTTP. Prints `listening PORT` when it accepts.

`closed CODE REASON` is printed for each WebSocket that its client closed.
"""

import asyncio
import os
import socket

import uvicorn
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse

REPLICA = os.environ.get("REPLICA", "fastapi")
app = FastAPI()


@app.websocket("/echo")
async def echo(ws: WebSocket):
    offered = ws.scope["subprotocols"]
    await ws.accept(subprotocol="chat.v2" if "chat.v2" in offered else None)
    while True:
        message = await ws.receive()
        if message["type"] == "websocket.disconnect":
            print("closed", message["code"], message.get("reason") or "", flush=True)
            return
        if message.get("text") is not None:
            await ws.send_text(message["text"])
        else:
            await ws.send_bytes(message["bytes"])


@app.websocket("/close")
async def close(ws: WebSocket, code: int, reason: str = ""):
    await ws.accept()
    await ws.receive()
    await ws.close(code, reason)


@app.websocket("/refuse")
async def refuse(ws: WebSocket):
    # Closed before it was accepted: uvicorn answers the upgrade with 403.
    await ws.close()


@app.get("/sse")
async def sse(count: int = 5, gap_ms: int = 200):
    async def events():
        for number in range(count):
            yield f"id: {number}\ndata: event {number}\n\n"
            await asyncio.sleep(gap_ms / 1000)

    return StreamingResponse(events(), media_type="text/event-stream")


@app.get("/replica")
async def replica():
    return JSONResponse({"replica": REPLICA})


@app.api_route("/mirror", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def mirror(request: Request):
    """Shows the request as the application saw it."""
    body = await request.body()
    return JSONResponse(
        {
            "method": request.method,
            "target": request.scope["raw_path"].decode() + "?" + request.scope["query_string"].decode(),
            "headers": [[name.decode(), value.decode("latin-1")] for name, value in request.headers.raw],
            "length": len(body),
        }
    )


async def main():
    listener = socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "0"))))
    config = uvicorn.Config(app, log_level="warning", ws_max_size=256 << 20, lifespan="off")
    print("listening", listener.getsockname()[1], flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


asyncio.run(main())
