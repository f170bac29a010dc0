"""What does a collection by OpenTelemetry cost, with 100 flags that have both arms busy? Requests pay nothing for it.

Each of our callbacks against 200 lines of text, which is the least that an exporter would write; apart from them the
look at how everything is, of which there is one a collection; and the whole collection against one of bare instruments
that observe the same points.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from benchmarks.race import publish, race
from canary_sdk import connect
from canary_sdk.telemetry.otel import instrument, metrics, names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from canary_sdk import Canary
    from canary_sdk.telemetry.otel.metrics import Source

FLAGS = 100
LINES = "200 lines of text"
BARE = "bare instruments"
LOOPS = 5


def busy(canary: Canary) -> None:
    """Have every flag met by both arms, in units of work that end."""
    draw = random.Random(1)
    for number in range(50):
        with canary.scope("page", key=f"user-{number}"):
            for flag in range(FLAGS):
                canary.is_enabled(f"flag-{flag}", f"user-{number}-{draw.random()}")
    canary.tick()


def observing(points: list[tuple[dict[str, object], float]]) -> Callable[[object], Iterable[Observation]]:
    """Return the barest callback that observes these points."""
    return lambda _: [Observation(value, attributes) for attributes, value in points]  # type: ignore[arg-type]


def bare_reader(source: Source) -> InMemoryMetricReader:
    """Return a reader of instruments that observe what ours do, as it is now."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    meter = provider.get_meter("bare")
    for name, kind, *_, points in metrics._INSTRUMENTS:
        make = meter.create_observable_counter if kind == "counter" else meter.create_observable_gauge
        make(name, [observing(list(points(source)))])  # type: ignore[arg-type]
    return reader


def main() -> None:
    """Race callbacks and collections."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    with connect("memory:", background=False) as canary:
        canary.apply({"flags": {f"flag-{each}": {"rollout": 50} for each in range(FLAGS)}})
        instrumentation = instrument(canary, meter_provider=provider)
        busy(canary)
        reader.collect()
        source = instrumentation._source
        exposures = list(source.recorder.exposures.items())
        assert len(exposures) == 2 * FLAGS, len(exposures)
        callbacks = {
            name: instrumentation._instruments._asked("its points alone", points)
            for name, *_, points in metrics._INSTRUMENTS
        }
        values = {
            "exposures": exposures,
            "look": source.look,
            "collect": reader.collect,
            "bare": bare_reader(source).collect,
        }
        lines = "[f'{key.flag_key}{{{key.variant},{key.reason}}} {count}' for key, count in exposures]"
        shown = (names.EVALUATION, names.BREAKER, names.PERCENT)
        statements = {LINES: lines, **{name: f"callbacks[{name!r}](None)" for name in shown}, "the look": "look()"}
        costs = race(statements, {**values, "callbacks": callbacks}, loops=LOOPS)
        publish("What does a callback for 100 flags with two arms cost?", costs, baseline=LINES)
        whole = race({BARE: "bare()", "ours, and 200 histograms": "collect()"}, values, loops=LOOPS)
        source.joining.leave()
        publish(
            "What does a whole collection cost?",
            whole | race({"ours": "collect()", BARE: "bare()"}, values, loops=LOOPS),
            baseline=BARE,
        )


if __name__ == "__main__":
    main()
