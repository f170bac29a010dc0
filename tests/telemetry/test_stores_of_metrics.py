"""What is exported, asked of real stores: the counts that were recorded, and every query of the dashboard.

One asks the process, as Prometheus does; one is sent OTLP.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.telemetry.otel import instrument, names
from tests import servers
from tests.telemetry.test_dashboard import queries
from tests.telemetry.test_otel import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from canary_sdk import Canary
    from canary_sdk.testing import ManualClock

    Untested = Callable[[str, bool], None]
    Ask = Callable[[str], list[Any]]

pytestmark = [pytest.mark.stress, pytest.mark.timeout(180)]

SECOND_MS = 1_000
FLAGS = {
    "checkout": {"rollout": 100, "slos": ["errors < 50%"]},
    "forgotten": {"rollout": 50},
    "search": {"plan": {"stages": [{"percent": 100, "bake": "1h"}]}},
}
HOUSEKEEPING = Path(__file__).parents[2] / "docs" / "housekeeping.md"
COUNT = 'sum by (canary_arm, error_type) (http_server_request_duration_seconds_count{feature_flag_key="checkout"})'
BUCKETS = 'sum by (le) (http_server_request_duration_seconds_bucket{feature_flag_key="checkout"})'


@contextmanager
def scraped() -> Iterator[tuple[MeterProvider, str]]:
    """Lend a provider whose process a Prometheus asks, and where that answers."""
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import start_http_server

    provider = MeterProvider([PrometheusMetricReader()], shutdown_on_exit=False)
    endpoint, thread = start_http_server(0, "127.0.0.1")
    try:
        with servers.prometheus(f"127.0.0.1:{endpoint.server_port}") as server:
            yield provider, server.url
    finally:
        endpoint.shutdown()
        endpoint.server_close()
        thread.join()
        provider.shutdown()


@contextmanager
def sent() -> Iterator[tuple[MeterProvider, str]]:
    """Lend a provider that exports to a VictoriaMetrics over OTLP, and where that answers."""
    with servers.victoria_metrics() as server:
        exporter = OTLPMetricExporter(f"{server.url}/opentelemetry/v1/metrics")
        provider = MeterProvider([PeriodicExportingMetricReader(exporter, SECOND_MS)], shutdown_on_exit=False)
        try:
            yield provider, server.url
        finally:
            provider.shutdown()


@pytest.fixture(params=[scraped, sent])
def ask(canary: Canary, untested: Untested, request: pytest.FixtureRequest) -> Iterator[Ask]:
    """Ask a store of time series, which is told by a provider that reports on `canary`."""
    canary.apply({"flags": FLAGS})
    try:
        with request.param() as (provider, url):
            instrumentation = instrument(canary, meter_provider=provider)

            def answers(query: str) -> list[Any]:
                with urlopen(f"{url}/api/v1/query?{urlencode({'query': query})}") as answer:
                    result: list[Any] = json.load(answer)["data"]["result"]
                return result

            yield answers
            instrumentation.end()
    except servers.Unavailable as missing:
        untested(str(missing), True)


def told(ask: Ask, query: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Return the value of each series, by some of its labels."""
    return {tuple(each["metric"].get(label, "") for label in labels): float(each["value"][1]) for each in ask(query)}


def wait_until(holds: Callable[[], object]) -> None:
    """Wait until the store was told again and finds it so."""
    deadline = SYSTEM_CLOCK.monotonic() + 60
    while not holds():
        assert SYSTEM_CLOCK.monotonic() < deadline, holds
        SYSTEM_CLOCK.pause(0.2)


def work(canary: Canary) -> None:
    """Do what is no HTTP request."""
    with canary.scope("job", key="user-1"):
        canary.is_enabled("checkout")


def test_a_store_answers_what_was_recorded(canary: Canary, clock: ManualClock, ask: Ask) -> None:
    """Counts by arm and error, and every bucket, are exact; every query of the dashboard finds something to show."""
    canary.rollouts.start("search")
    canary.is_enabled("unheard-of")
    for _ in range(32):  # a second each: an interval is judged
        serve(canary, clock, [0.2] * 5)
    work(canary)
    serve(canary, clock, [0.9] * 40, status=503)
    wait_until(lambda: sum(told(ask, COUNT, "canary_arm").values()) > 0)
    assert told(ask, COUNT, "canary_arm", "error_type") == {("candidate", ""): 160, ("candidate", "503"): 40}
    buckets = told(ask, BUCKETS, "le")
    assert len(buckets) == len(names.BOUNDARIES_S) + 1
    for (limit,), count in buckets.items():
        assert count == (160 if float(limit) >= 0.2 else 0) + (40 if float(limit) >= 0.9 else 0)
    serve(canary, clock, [0.2] * 10)
    work(canary)
    canary.kill("checkout", reason="test")
    canary.tick()
    wait_until(lambda: told(ask, "sum(canary_rollbacks_total)") == {(): 1.0})
    assert told(ask, 'sum(feature_flag_evaluation_total{feature_flag_key="checkout"})') == {(): 212}
    unmet = re.search(r"```promql\n(.*?)```", HOUSEKEEPING.read_text(), re.DOTALL)
    assert unmet
    wait_until(lambda: list(told(ask, unmet[1], "feature_flag_key")) == [("forgotten",)])
    for query in queries():
        wait_until(partial(ask, query.replace("$environment", "test").replace("$__rate_interval", "1m")))
