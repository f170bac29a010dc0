"""OpenTelemetry: metrics, traces and events of a `Canary`, through the providers of the application.

Whoever does not call `instrument` pays for none of it, and has none of it loaded.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal

from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.errors import CanaryError

try:
    from opentelemetry import _logs, trace
    from opentelemetry.sdk import metrics as _  # noqa: F401 - asked for here, so that what is missing is said once
except ImportError as error:
    raise CanaryError(f"this needs the OpenTelemetry SDK ({error}): pip install 'canary-rollout[otel]'") from error

from canary_sdk.telemetry.otel import names
from canary_sdk.telemetry.otel.events import Events
from canary_sdk.telemetry.otel.joining import SHAPES, Joining
from canary_sdk.telemetry.otel.metrics import Source, report, retire
from canary_sdk.telemetry.otel.spans import Spans
from canary_sdk.telemetry.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.trace import TracerProvider

    from canary_sdk.ports import EventSink, Observed

__all__ = ["Instrumentation", "instrument"]


class Instrumentation:
    """What `instrument` has begun. `end` ends it: the providers are the application's, and stay as they are."""

    def __init__(
        self, canary: Observed, source: Source, provider: MeterProvider | None, sinks: Sequence[EventSink]
    ) -> None:
        """Begin to report."""
        self._canary = canary
        self._source = source
        self._sinks = sinks
        self._instruments = report(source, provider, _version())
        for sink in sinks:
            canary.subscribe(sink)

    def end(self) -> None:
        """Report no more. Idempotent."""
        for sink in self._sinks:
            self._canary.unsubscribe(sink)
        retire(self._source, self._instruments)


def instrument(
    canary: Observed,
    *,
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
    logger_provider: LoggerProvider | None = None,
    readers: Sequence[MetricReader] = (),
    histogram: Literal["explicit", "exponential"] = "explicit",
) -> Instrumentation:
    """Export what `canary` does through these providers; through the global ones where none is given.

    Metrics are always reported; spans are told of answers if there is a tracer provider now, and events are written if
    there is a logger provider now: whether there is one is looked at here, once. The histograms of durations join what
    `readers` receive, which need to be named only where they are not those that the meter provider was made with.

    Raises: CanaryError, for a shape that there is not. Threads: any. Cost: none on the path of a request, save for
    spans, which a recorded request pays for with each flag that it meets.
    """
    if histogram not in SHAPES:
        raise CanaryError(f"found the histogram {histogram!r}, expected 'explicit' or 'exponential'")
    shape = SHAPES[histogram]
    recorder = Recorder(shape.bin_of)
    joining = Joining(recorder, shape, canary.environment, SYSTEM_CLOCK, canary.failures.note)
    loggers = logger_provider or _logs.get_logger_provider()
    logger = None if _is_idle(loggers) else loggers.get_logger(names.SCOPE, _version(), names.SCHEMA_URL)
    sinks: list[EventSink] = [recorder]
    if logger is not None:
        sinks.append(Events(logger, canary.environment))
    if not _is_idle(tracer_provider or trace.get_tracer_provider()):
        sinks.append(Spans(logger))
    return Instrumentation(canary, Source(canary, recorder, joining, readers), meter_provider, sinks)


def _is_idle(provider: object) -> bool:
    """Whether it is one that the API has where nobody set up another."""
    return type(provider).__name__.lstrip("_").startswith(("NoOp", "Proxy"))


def _version() -> str:
    try:
        return version("canary-rollout")
    except PackageNotFoundError:
        return "0"
