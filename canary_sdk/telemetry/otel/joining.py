"""The histograms, which join what a reader has collected on its way to where it is received.

OpenTelemetry for Python has no way yet to hand over a histogram that is already counted; the specification calls it a
MetricProducer. `_receive_metrics` is what a reader is meant to override, so that is where they join. Recording every
duration once more by an instrument would do the same work twice, and have the background wait for locks that are not
ours.

They keep the temporality that the reader prefers for counters. Threads: a reader's own; `leave` from any.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    Sum,
)

from canary_sdk.telemetry.otel import names
from canary_sdk.telemetry.otel.histogram import explicit_bin, explicit_counts, exponential, exponential_bin
from canary_sdk.telemetry.otel.labels import Labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opentelemetry.sdk.metrics.export import MetricReader, ScopeMetrics

    from canary_sdk.clock import Clock
    from canary_sdk.ports import Note
    from canary_sdk.telemetry.otel.labels import Attributes
    from canary_sdk.telemetry.recorder import Arm, Recorder

UNKNOWN: Final[Any] = None
"""Least and greatest: OTLP lets them be left out, and over the life of a process they say nothing."""


class Reading(NamedTuple):
    """The durations of an arm at one moment."""

    bins: Mapping[int, int]
    sum_s: float

    def since(self, before: Reading) -> Reading:
        """Return what has come since."""
        grown = {index: count - before.bins.get(index, 0) for index, count in self.bins.items()}
        return Reading({index: count for index, count in grown.items() if count}, self.sum_s - before.sum_s)


NOTHING: Final = Reading({}, 0.0)
Readings = dict["Arm | None", Reading]


class Period(NamedTuple):
    """The time that a point speaks of, in nanoseconds since the epoch."""

    start_ns: int
    end_ns: int


class Explicit:
    """The histogram with the boundaries that the conventions give."""

    bin_of = staticmethod(explicit_bin)

    @staticmethod
    def data(points: Iterable[tuple[Attributes, Reading]], period: Period, how: AggregationTemporality) -> Histogram:
        """Return it."""
        return Histogram(
            [
                HistogramDataPoint(
                    attributes=attributes,
                    start_time_unix_nano=period.start_ns,
                    time_unix_nano=period.end_ns,
                    count=sum(reading.bins.values()),
                    sum=reading.sum_s,
                    bucket_counts=explicit_counts(reading.bins),
                    explicit_bounds=names.BOUNDARIES_S,
                    min=UNKNOWN,
                    max=UNKNOWN,
                )
                for attributes, reading in points
            ],
            how,
        )


class Base2:
    """The exponential histogram."""

    bin_of = staticmethod(exponential_bin)

    @staticmethod
    def data(
        points: Iterable[tuple[Attributes, Reading]], period: Period, how: AggregationTemporality
    ) -> ExponentialHistogram:
        """Return it."""
        made = []
        for attributes, reading in points:
            scale, offset, counts = exponential(reading.bins)
            made.append(
                ExponentialHistogramDataPoint(
                    attributes=attributes,
                    start_time_unix_nano=period.start_ns,
                    time_unix_nano=period.end_ns,
                    count=sum(counts),
                    sum=reading.sum_s,
                    scale=scale,
                    zero_count=0,
                    positive=Buckets(offset, counts),
                    negative=Buckets(0, ()),
                    flags=0,
                    min=UNKNOWN,
                    max=UNKNOWN,
                )
            )
        return ExponentialHistogram(made, how)


Shape = type[Explicit] | type[Base2]
SHAPES: Final[Mapping[str, Shape]] = {"explicit": Explicit, "exponential": Base2}


TABLES: Final = (
    (names.REQUEST_DURATION, "Duration of HTTP server requests.", names.ROUTE),
    (names.UNIT_DURATION, "Duration of units of work that are no HTTP request.", names.METHOD),
)
"""The two metrics, and which attribute says where in the application the time was spent."""


class Joining:
    """Lets the histograms of one recorder join what readers receive."""

    def __init__(self, recorder: Recorder, shape: Shape, environment: str, clock: Clock, note: Note) -> None:
        """Join nobody yet."""
        self._recorder = recorder
        self._shape = shape
        self._labels = {name: Labels(partial(_arm, place), environment) for name, _, place in TABLES}
        self._clock = clock
        self._note = note
        self._joined: dict[int, MetricReader] = {}
        self._has_left = False

    def join(self, reader: MetricReader) -> None:
        """Join what this reader receives from now on. Idempotent."""
        if id(reader) in self._joined:
            return
        self._joined[id(reader)] = reader
        receive, before = reader._receive_metrics, _Before(self._recorder.began_at)  # noqa: SLF001 - made to be overridden

        def receive_all(metrics_data: MetricsData, *args: Any, **kwargs: Any) -> None:
            try:
                whole = metrics_data if self._has_left else self._joined_by(metrics_data, before)
            except Exception as error:  # noqa: BLE001 - what was collected is received in any case
                self._note(("exporting durations", error, "Everything else was exported; please report this"))
                whole = metrics_data
            receive(whole, *args, **kwargs)

        reader._receive_metrics = receive_all  # type: ignore[method-assign] # noqa: SLF001

    def leave(self) -> None:
        """Join nothing any more."""
        self._has_left = True
        self._joined.clear()

    def _joined_by(self, data: MetricsData, before: _Before) -> MetricsData:
        """Return what was collected, and in our scope the histograms."""
        resources = list(data.resource_metrics)
        for at, resource in enumerate(resources):
            scopes = list(resource.scope_metrics)
            for place, scope in enumerate(scopes):
                if scope.scope.name == names.SCOPE:
                    metrics = [*scope.metrics, *self._metrics(before, _temporality(scope))]
                    scopes[place] = replace(scope, metrics=metrics)
                    resources[at] = replace(resource, scope_metrics=scopes)
                    return MetricsData(resources)
        return data

    def _metrics(self, before: _Before, how: AggregationTemporality) -> list[Metric]:
        self._recorder.renew()
        before.renew(self._recorder.began_at)
        now_ns = int(self._clock.wall() * 1e9)
        period = Period(before.at_ns, now_ns)
        metrics = []
        counted = (self._recorder.requests, self._recorder.others)
        for (name, description, _), table in zip(TABLES, counted, strict=True):
            labels = self._labels[name]
            readings = {arm: Reading(dict(series.bins), series.sum_s) for arm, series in dict(table).items()}
            if how is AggregationTemporality.DELTA:
                readings = before.since(name, readings)
            points = [(labels[arm], reading) for arm, reading in readings.items() if reading.bins]
            if points:
                metrics.append(Metric(name, description, "s", self._shape.data(points, period, how)))
        if how is AggregationTemporality.DELTA:
            before.at_ns = now_ns
        return metrics


class _Before:
    """What a reader that prefers differences has had already."""

    def __init__(self, began_at: float) -> None:
        self._began_at = 0.0
        self.renew(began_at)

    def renew(self, began_at: float) -> None:
        """Start again with a recorder that did."""
        if began_at != self._began_at:
            self._began_at = began_at
            self.at_ns = int(began_at * 1e9)
            self._readings: dict[str, Readings] = {}

    def since(self, name: str, readings: Readings) -> Readings:
        """Return what has come to one metric since, and remember it as had."""
        before = self._readings.get(name, {})
        self._readings[name] = readings
        return {arm: reading.since(before.get(arm, NOTHING)) for arm, reading in readings.items()}


def _temporality(scope: ScopeMetrics) -> AggregationTemporality:
    """Return what the reader prefers for counters, as one of them shows."""
    sums = (metric.data for metric in scope.metrics if isinstance(metric.data, Sum))
    return next((data.aggregation_temporality for data in sums), AggregationTemporality.CUMULATIVE)


def _arm(place: str, arm: Arm) -> dict[str, str | int | bool]:
    attributes: dict[str, str | int | bool] = {
        names.FLAG_KEY: arm.flag_key,
        names.VARIANT: arm.variant,
        names.ARM: arm.role,
    }
    optional = {place: arm.route, names.STATUS_CODE: arm.status, names.ERROR_TYPE: arm.error}
    return attributes | {name: value for name, value in optional.items() if value}
