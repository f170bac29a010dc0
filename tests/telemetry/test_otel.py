"""What is exported through OpenTelemetry is what was recorded, and costs no request anything."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from canary_sdk import CanaryError
from canary_sdk.telemetry.otel import instrument, names
from canary_sdk.telemetry.recorder import Recorder
from tests.telemetry.otlp import Receiver, attributes, receiving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from canary_sdk import Canary
    from canary_sdk.testing import ManualClock

DURATIONS = [0.004, 0.0049, 0.03, 0.2, 0.2, 0.9, 3.0, 11.0]


@pytest.fixture(autouse=True)
def _flags(canary: Canary) -> None:
    canary.apply({"flags": {"checkout": {"rollout": 100}, "search": {"rollout": 0}}})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiving end of ours."""
    with receiving() as end:
        yield end


def provider_for(receiver: Receiver, timeout_s: float = 10.0) -> MeterProvider:
    """Return a provider that exports to the receiver when it is flushed."""
    exporter = OTLPMetricExporter(receiver.url, timeout=timeout_s)
    return MeterProvider([PeriodicExportingMetricReader(exporter, math.inf)], shutdown_on_exit=False)


def serve(canary: Canary, clock: ManualClock, durations: list[float], status: int = 200) -> None:
    """Serve a request of each duration."""
    for duration_s in durations:
        unit = canary.units.open_request("user-1")
        token = canary.units.enter(unit)
        canary.is_enabled("checkout")
        canary.is_enabled("search")
        unit.status, unit.route, unit.in_request = status, "/carts/{id}", False
        clock.advance(duration_s)
        unit.finish(clock.monotonic())
        canary.units.leave(token)
    canary.tick()


def one(points: dict[frozenset[tuple[str, Any]], Any], **wanted: object) -> Any:
    """Return the one point whose attributes hold these values; their names' dots are written as two underscores."""
    items = {(name.replace("__", "."), value) for name, value in wanted.items()}
    (point,) = [point for key, point in points.items() if items <= key]
    return point


CANDIDATE = {"feature_flag__key": "checkout", "feature_flag__result__variant": "on", "canary__arm": "candidate"}


def test_what_is_received_is_what_was_recorded(canary: Canary, clock: ManualClock, receiver: Receiver) -> None:
    """Counts, sums and buckets arrive over HTTP exactly, by flag, variant, arm, route and status; one instance each."""
    provider = provider_for(receiver)
    instrument(canary, meter_provider=provider)
    serve(canary, clock, DURATIONS)
    serve(canary, clock, [0.2], status=503)
    with canary.scope("job", key="user-1"):
        canary.is_enabled("checkout")
    canary.tick()
    provider.force_flush()
    points = receiver.points(names.REQUEST_DURATION)
    good = one(points, **CANDIDATE, http__route="/carts/{id}", http__response__status_code=200)
    assert good.count == len(DURATIONS)
    assert good.sum == pytest.approx(sum(DURATIONS))
    assert list(good.explicit_bounds) == list(names.BOUNDARIES_S)
    assert list(good.bucket_counts) == [2, 0, 0, 1, 0, 0, 2, 0, 0, 1, 0, 1, 0, 0, 1]
    assert one(points, **CANDIDATE, error__type="503").count == 1
    assert one(receiver.points(names.UNIT_DURATION), **CANDIDATE).count == 1
    met = receiver.points(names.EVALUATION)
    assert one(met, feature_flag__key="checkout", feature_flag__result__reason="split").as_int == len(DURATIONS) + 2
    assert one(met, feature_flag__key="search").as_int == len(DURATIONS) + 1
    (resource,) = receiver.received[-1].resource_metrics
    assert attributes(resource.resource.attributes)["service.instance.id"]
    provider.shutdown()


def test_a_quantile_of_the_exponential_histogram_is_within_its_error(
    canary: Canary, clock: ManualClock, receiver: Receiver
) -> None:
    """Every sample lies in the bin that it is counted in, and the bins are 2.2 % wide."""
    provider = provider_for(receiver)
    instrument(canary, meter_provider=provider, histogram="exponential")
    durations = [0.1 * 1.01**step for step in range(300)]
    serve(canary, clock, durations)
    provider.force_flush()
    point = one(receiver.points(names.REQUEST_DURATION), **CANDIDATE)
    assert point.count == 300
    base = 2 ** (2.0**-point.scale)
    seen = 0
    for index, count in enumerate(point.positive.bucket_counts, point.positive.offset):
        for duration_s in durations[seen : seen + count]:
            assert base**index * 0.999999 <= duration_s <= base ** (index + 1) * 1.000001
        seen += count
    assert base < 1.0222
    provider.shutdown()


@pytest.mark.parametrize("status", [429, 503])
def test_an_exporter_that_was_refused_loses_nothing(
    canary: Canary, clock: ManualClock, receiver: Receiver, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Counts only grow, so the next report that gets through says all; what is kept meanwhile does not grow."""
    provider = provider_for(receiver, timeout_s=0.7)  # less than it would wait before it asks again
    instrumentation = instrument(canary, meter_provider=provider)
    receiver.answers.extend([status] * 3)
    for _ in range(3):
        serve(canary, clock, [0.2] * 50)
        provider.force_flush()
    assert receiver.refused == 3
    assert not receiver.received
    (series, _) = instrumentation._source.recorder.requests.values()
    assert len(series.bins) == 1
    provider.force_flush()
    assert one(receiver.points(names.REQUEST_DURATION), **CANDIDATE).count == 150
    provider.shutdown()


def test_a_minute_without_a_receiver_loses_no_decision(
    canary: Canary, clock: ManualClock, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Every second's report is refused, a flag trips meanwhile, nothing piles up, and afterwards all of it is told."""
    canary.apply({"flags": {"checkout": {"rollout": 100, "slos": ["errors < 1%"]}}})
    provider = provider_for(receiver, timeout_s=0.2)
    recorder = instrument(canary, meter_provider=provider)._source.recorder
    receiver.answers.extend([503, 429] * 30)
    kept = []
    for second in range(60):
        serve(canary, clock, [0.2] * 5, status=200 if second < 20 else 500)
        provider.force_flush()
        kept.append(sum(len(series.bins) for series in recorder.requests.values()))
    assert receiver.refused == 60
    assert not canary.breaker("checkout").is_serving
    assert max(kept) == kept[50] <= 6  # 200 and 500 on either arm of one flag, on the one arm of the other
    provider.force_flush()
    points = receiver.points(names.REQUEST_DURATION)
    met = [point for key, point in points.items() if ("feature_flag.key", "checkout") in key]
    assert sum(point.count for point in met) == 300
    assert one(receiver.points(names.ROLLBACKS), canary__rollback__cause="tripped").as_int == 1
    provider.shutdown()


@pytest.mark.timeout(120)
def test_forked_workers_count_for_themselves(receiver: Receiver) -> None:
    """Of a process that exports already, children export what they served, under names of their own, and no more."""
    script = Path(__file__).with_name("exporting.py")
    environment = {**os.environ, "PYTHONPATH": str(script.parents[2])}
    subprocess.run([sys.executable, str(script), receiver.url], env=environment, check=True)
    counts: dict[str, list[int]] = {}
    for request in receiver.received:
        (resource,) = request.resource_metrics
        instance = attributes(resource.resource.attributes)["service.instance.id"]
        metrics = {each.name: each for scope in resource.scope_metrics for each in scope.metrics}
        (met,), (timed,) = metrics[names.EVALUATION].sum.data_points, metrics[names.UNIT_DURATION].histogram.data_points
        assert met.as_int == timed.count
        counts.setdefault(instance, []).append(timed.count)
    assert sorted(map(max, counts.values())) == [7, 7, 15]
    assert all(each == sorted(each) for each in counts.values())


def test_a_receiver_that_is_not_there_keeps_no_flag_from_tripping(canary: Canary, clock: ManualClock) -> None:
    """What is judged is not what is exported."""
    canary.apply({"flags": {"checkout": {"rollout": 100, "slos": ["errors < 1%"]}}})
    exporter = OTLPMetricExporter("http://127.0.0.1:9/v1/metrics", timeout=0.1)
    provider = MeterProvider([PeriodicExportingMetricReader(exporter, math.inf)], shutdown_on_exit=False)
    instrument(canary, meter_provider=provider)
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    for _ in range(100):
        serve(canary, clock, [0.2] * 5, status=500)
    provider.force_flush()
    assert not canary.breaker("checkout").is_serving
    provider.shutdown()


def test_a_reader_that_prefers_differences_gets_differences(canary: Canary, clock: ManualClock) -> None:
    """Histograms follow the temporality of the counters beside them."""
    delta = dict.fromkeys((Counter, ObservableCounter, Histogram), AggregationTemporality.DELTA)
    reader = InMemoryMetricReader(preferred_temporality=delta)  # type: ignore[arg-type]
    provider = MeterProvider([reader], shutdown_on_exit=False)
    instrument(canary, meter_provider=provider)
    counts = []
    for requests in (3, 2):
        serve(canary, clock, [0.2] * requests)
        counts.append(collected(reader)[names.REQUEST_DURATION].data_points[0].count)
    assert counts == [3, 2]
    provider.shutdown()


def collected(reader: InMemoryMetricReader) -> dict[str, Any]:
    """Return the data of each metric of ours."""
    data = reader.get_metrics_data()
    assert data is not None
    return {each.name: each.data for scope in data.resource_metrics[0].scope_metrics for each in scope.metrics}


def test_no_request_calls_opentelemetry(canary: Canary, clock: ManualClock) -> None:
    """Instruments are made when it is configured; after that, only a reader asks."""
    calls: list[str] = []

    class Watched(NoOpMeterProvider):
        def get_meter(self, *args: Any, **kwargs: Any) -> Any:
            calls.append("get_meter")
            meter = super().get_meter(*args, **kwargs)

            class Meter:
                def __getattr__(self, name: str) -> Any:
                    calls.append(name)
                    return getattr(meter, name)

            return Meter()

    instrument(canary, meter_provider=Watched())
    made = len(calls)
    assert made
    assert {call for call in calls if call.startswith("create")} == {
        "create_observable_counter",
        "create_observable_gauge",
    }
    serve(canary, clock, [0.2] * 20)
    assert len(calls) == made


def test_gauges_show_what_is_held_back(canary: Canary) -> None:
    """The breaker, the share, what failed, and how far behind the judge is."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    instrument(canary, meter_provider=provider)
    canary.kill("checkout", reason="test")
    canary.is_enabled("unheard-of")
    canary.tick()
    found = collected(reader)
    states = {each.attributes[names.FLAG_KEY]: each.value for each in found[names.BREAKER].data_points}
    assert states == {"checkout": 3, "search": 0}
    assert {each.value for each in found[names.PERCENT].data_points} == {0, 100}
    assert [each.attributes[names.CAUSE] for each in found[names.ROLLBACKS].data_points] == ["killed"]
    assert found[names.FAILURES].data_points[0].attributes[names.PLACE] == "evaluating unheard-of"
    assert found[names.STALE].data_points[0].value == 0
    provider.shutdown()


def test_a_call_is_named_by_its_method(canary: Canary) -> None:
    """What is no HTTP request has no route of HTTP."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    instrument(canary, meter_provider=provider)
    with canary.scope("call", key="user-1") as unit:
        assert unit is not None
        unit.route = "shop.Checkout/Pay"
        canary.is_enabled("checkout")
    canary.tick()
    (point,) = collected(reader)[names.UNIT_DURATION].data_points
    assert (point.attributes["rpc.method"], names.ROUTE in point.attributes) == ("shop.Checkout/Pay", False)
    provider.shutdown()


def test_a_rollout_shows_its_stage(canary: Canary, clock: ManualClock) -> None:
    """A flag that none leads has no stage."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    instrument(canary, meter_provider=provider)
    canary.apply({"flags": {"search": {"plan": {"stages": [{"percent": 100, "bake": "1h"}]}}}})
    canary.rollouts.start("search")
    seen = []
    for _ in range(3):
        canary.tick()
        clock.advance(1.0)
        points = collected(reader)[names.STAGE].data_points
        seen += [(each.attributes[names.FLAG_KEY], each.value) for each in points]
    assert seen == [("search", 1)] * 3
    provider.shutdown()


def test_spans_and_the_log_are_told_of_answers_and_events(canary: Canary) -> None:
    """A recorded span has the attributes of the conventions, the log has the event of each flag, and what happened."""
    spans, records = InMemorySpanExporter(), InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    tracers, loggers = TracerProvider(shutdown_on_exit=False), LoggerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    loggers.add_log_record_processor(SimpleLogRecordProcessor(records))
    instrument(canary, meter_provider=NoOpMeterProvider(), tracer_provider=tracers, logger_provider=loggers)
    with tracers.get_tracer("test").start_as_current_span("request"), canary.scope("job", key="user-1"):
        canary.is_enabled("search")
        canary.is_enabled("checkout")
        canary.is_enabled("checkout")
    canary.is_enabled("checkout", "user-1")
    canary.kill("checkout", reason="test")
    canary.close()
    (span,) = spans.get_finished_spans()
    assert dict(span.attributes or {}) == {
        names.FLAG_KEY: "checkout",
        names.VARIANT: "on",
        names.REASON: "split",
        names.PROVIDER: "canary_sdk",
        "canary.variant.search": "off",
        "canary.variant.checkout": "on",
    }
    told = [record.log_record for record in records.get_finished_logs()]
    assert [each.event_name for each in told] == [names.EVALUATION, names.EVALUATION, "canary.flag_killed"]
    assert told[-1].body == "checkout was killed: test"


def test_labels_are_bounded_and_nothing_is_lost(canary: Canary, clock: ManualClock) -> None:
    """Past the bound, everything new is counted in one point, that is marked as the specification has it."""
    recorder = Recorder(lambda _: 0, most=3)
    canary.subscribe(recorder)
    canary.apply({"flags": {f"flag-{number}": {"rollout": 100} for number in range(5)}})
    for number in range(5):
        with canary.scope("job", key="user-1"):
            canary.is_enabled(f"flag-{number}")
    canary.tick()
    assert list(recorder.exposures.values()) == [1, 1, 1, 2]
    assert [sum(each.bins.values()) for each in recorder.others.values()] == [1, 1, 1, 2]
    assert recorder.exposures[None] == 2


def test_it_can_be_ended_and_begun_again(canary: Canary, clock: ManualClock) -> None:
    """Nothing of it is left in the way of the next, and counts begin anew."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    first = instrument(canary, meter_provider=provider)
    serve(canary, clock, [0.2])
    first.end()
    assert canary.units.observe is None
    instrument(canary, meter_provider=provider)
    serve(canary, clock, [0.2] * 2)
    assert [each.count for each in collected(reader)[names.REQUEST_DURATION].data_points] == [2, 2]
    provider.shutdown()


def test_a_shape_that_is_not_there_is_refused(canary: Canary) -> None:
    """The error names what was found and what was expected."""
    with pytest.raises(CanaryError, match="found the histogram 'round', expected 'explicit' or 'exponential'"):
        instrument(canary, histogram="round")  # type: ignore[arg-type]
