"""Takes traces and metrics by OTLP over HTTP, with the messages of the official library. Prints
`listening PORT` when it accepts, each span as a line of JSON, and so each series of metrics."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
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
        assert self.headers["content-type"] == "application/x-protobuf"
        answer = {"/v1/traces": self.take_traces, "/v1/metrics": self.take_metrics}[self.path](body)
        answer = answer.SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def read(self, request, body):
        request.ParseFromString(body)
        # What the library does not know would be lost, or left over.
        assert request.ByteSize() == len(body), (request.ByteSize(), len(body))
        return request

    def take_traces(self, body):
        for resource in self.read(ExportTraceServiceRequest(), body).resource_spans:
            service = plain(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.show(service, span)
        return ExportTraceServiceResponse()

    def take_metrics(self, body):
        for resource in self.read(ExportMetricsServiceRequest(), body).resource_metrics:
            who = plain(resource.resource.attributes)
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    self.show_metric(who, metric)
        print(json.dumps({"told": who["service.instance.id"]}), flush=True)
        return ExportMetricsServiceResponse()

    def show_metric(self, who, metric):
        kind = metric.WhichOneof("data")
        data = getattr(metric, kind)
        # All of them count from the start of the process (AGGREGATION_TEMPORALITY_CUMULATIVE).
        assert kind == "gauge" or data.aggregation_temporality == 2, metric
        assert kind != "sum" or data.is_monotonic, metric
        for point in data.data_points:
            assert point.start_time_unix_nano <= point.time_unix_nano, metric
            line = {"metric": metric.name, "kind": kind, "who": who, "labels": plain(point.attributes)}
            if kind == "histogram":
                assert len(point.bucket_counts) == len(point.explicit_bounds) + 1, metric
                assert sum(point.bucket_counts) == point.count, metric
                line |= {"count": point.count, "sum": point.sum}
            else:
                line["value"] = point.as_double
            print(json.dumps(line), flush=True)

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
