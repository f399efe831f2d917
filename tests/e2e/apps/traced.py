"""A WebSocket echo and a page that tell a collector (COLLECTOR, a URL) of their work, as a part of their
caller's. Prints `listening PORT` when it accepts."""

import asyncio
import os
import socket

import uvicorn
from fastapi import FastAPI, Request, WebSocket
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

provider = TracerProvider(resource=Resource.create({"service.name": "backend"}))
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(os.environ["COLLECTOR"])))
tracer = trace.get_tracer("traced", tracer_provider=provider)
app = FastAPI()


def work(name, headers):
    parent = TraceContextTextMapPropagator().extract(dict(headers))
    return tracer.start_as_current_span(name, context=parent, kind=trace.SpanKind.SERVER)


@app.websocket("/echo")
async def echo(ws: WebSocket):
    with work("accept", ws.headers):
        await ws.accept()
    while True:
        message = await ws.receive()
        if message["type"] == "websocket.disconnect":
            return
        await ws.send_text(message["text"])


@app.get("/page")
async def page(request: Request):
    with work("page", request.headers):
        return {"traceparent": request.headers.get("traceparent")}


async def main():
    listener = socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "0"))))
    config = uvicorn.Config(app, log_level="warning", lifespan="off")
    print("listening", listener.getsockname()[1], flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


asyncio.run(main())
