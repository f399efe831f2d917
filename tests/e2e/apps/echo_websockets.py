"""The `websockets` package as an echo server that keeps fragments as they came.

TLS_CERT and TLS_KEY in the environment make it speak TLS. Prints `listening PORT` when it accepts and `closed CODE REASON` for each close frame it received.
"""

import asyncio
import os
import ssl
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def handle(ws):
    url = urlsplit(ws.request.path)
    if url.path == "/close":
        query = parse_qs(url.query)
        await ws.recv()
        await ws.close(int(query["code"][0]), query.get("reason", [""])[0])
        return
    try:
        while True:
            fragments = ws.recv_streaming()
            first = await anext(fragments)

            async def same():
                yield first
                async for fragment in fragments:
                    yield fragment

            await ws.send(same())
    except ConnectionClosed as end:
        if end.rcvd is not None:
            print("closed", end.rcvd.code, end.rcvd.reason, flush=True)


def choose(_ws, offered):
    return "chat.v2" if "chat.v2" in offered else None


def tls():
    if "TLS_CERT" not in os.environ:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.environ["TLS_CERT"], os.environ["TLS_KEY"])
    return context


async def main():
    port = int(os.environ.get("PORT", "0"))
    async with serve(
        handle,
        "127.0.0.1",
        port,
        ssl=tls(),
        max_size=None,
        select_subprotocol=choose,
        ping_interval=None,
    ) as server:
        print("listening", server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


asyncio.run(main())
