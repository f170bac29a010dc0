"""Serves, exports and forks, as a server does that loads the application before it forks its workers.

python exporting.py URL
"""

from __future__ import annotations

import os
import sys
from typing import Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

from canary_sdk import Canary, connect
from canary_sdk.telemetry.otel import instrument

HOUR_MS: Final = 3_600_000
"""It has a thread, as it would have, but exports when it is told to: a fork must not come in the middle of it."""


def serve(canary: Canary, requests: int) -> None:
    """Serve so many, and count them."""
    for _ in range(requests):
        with canary.scope("job", key="user-1"):
            canary.is_enabled("checkout")
    canary.tick()


def main(url: str) -> None:
    """Serve 10; then 5 more, and 7 in each of two children, the first of which inherits what was not exported yet."""
    canary = connect("memory:", environment="test")
    canary.apply({"flags": {"checkout": {"rollout": 100}}})
    provider = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter(url), HOUR_MS)])
    instrument(canary, meter_provider=provider)
    serve(canary, 10)
    children = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            canary.apply({"flags": {"checkout": {"rollout": 100}}})
            serve(canary, 7)
            canary.close()
            provider.force_flush()
            provider.shutdown()
            os._exit(0)
        children.append(pid)
        provider.force_flush()
    serve(canary, 5)
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
    canary.close()
    provider.force_flush()
    provider.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
