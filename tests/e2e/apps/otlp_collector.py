"""Takes traces by OTLP over HTTP, with the messages of the official library. Prints `listening PORT` when
it accepts, and each span as a line of JSON."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

KINDS = {1: "internal", 2: "server", 3: "client"}


def plain(attributes):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


class Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        assert self.path == "/v1/traces", self.path
        assert self.headers["content-type"] == "application/x-protobuf"
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        # What the library does not know would be lost, or left over.
        assert request.ByteSize() == len(body), (request.ByteSize(), len(body))
        for resource in request.resource_spans:
            service = plain(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.show(service, span)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def show(self, service, span):
        line = {
            "service": service,
            "name": span.name,
            "trace": span.trace_id.hex(),
            "span": span.span_id.hex(),
            "parent": span.parent_span_id.hex(),
            "kind": KINDS.get(span.kind),
            "began": span.start_time_unix_nano,
            "ended": span.end_time_unix_nano,
            "attributes": plain(span.attributes),
            "error": span.status.message if span.status.code == 2 else None,
        }
        print(json.dumps(line), flush=True)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "0"))), Collector)
print("listening", server.server_address[1], flush=True)
server.serve_forever()
