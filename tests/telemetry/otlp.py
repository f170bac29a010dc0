"""A receiving end for OTLP over HTTP: decodes what it is sent, and misbehaves if it is told to."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterator


class Receiver:
    """What was received, the newest last; `answers` are the statuses to answer next, then 200."""

    def __init__(self) -> None:
        self.received: list[ExportMetricsServiceRequest] = []
        self.refused = 0
        self.answers: deque[int] = deque()
        self.url = ""

    def take(self, body: bytes) -> int:
        """Decode it, unless it is to be refused."""
        status = self.answers.popleft() if self.answers else 200
        if status == 200:
            self.received.append(ExportMetricsServiceRequest.FromString(body))
        else:
            self.refused += 1
        return status

    def points(self, name: str) -> dict[frozenset[tuple[str, Any]], Any]:
        """Return the points of one metric in what was received last, by their attributes."""
        points: dict[frozenset[tuple[str, Any]], Any] = {}
        for resource in self.received[-1].resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == name:
                        data = getattr(metric, metric.WhichOneof("data"))
                        points |= {frozenset(attributes(each.attributes).items()): each for each in data.data_points}
        return points


def attributes(pairs: Any) -> dict[str, Any]:
    """Return what OTLP calls attributes as a dictionary."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Receive on the loopback."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status = receiver.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}/v1/metrics"
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
