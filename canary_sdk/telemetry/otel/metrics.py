"""The metrics: observable instruments, which the provider asks when it collects, and two histograms that it cannot ask.

Nothing here is called while a request waits: the recorder counts in the background, and a reader's own thread reads.
The instruments are made once for each provider, whoever reports through it, as it has no way to let go of one.

Threads: those of the readers, which the provider lets in one by one; `report` and `retire` from any.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary, ref

from opentelemetry.metrics import Observation, get_meter_provider

from canary_sdk.core.breaker import State
from canary_sdk.core.rollout.state import Status
from canary_sdk.telemetry.otel import names
from canary_sdk.telemetry.otel.labels import Labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from opentelemetry.metrics import CallbackOptions, MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader

    from canary_sdk.core.breaker import Breaker
    from canary_sdk.ports import FlagHealth, Health, Observed
    from canary_sdk.telemetry.otel.joining import Joining
    from canary_sdk.telemetry.otel.labels import Attributes
    from canary_sdk.telemetry.recorder import Exposure, Found, Recorder, TakenBack

    Point = tuple[Attributes, float]
    Points = Callable[["Source"], Iterable[Point]]

MOST_FLAGS: Final = 1_000
"""Flags that have gauges; those that are held back come first."""
KILLED: Final = 3
STATES: Final = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}
"""What `canary.breaker.state` shows for a breaker; `KILLED` for one that a person holds."""


class Source:
    """One `Canary` that reports: what it counted, and how it is."""

    def __init__(self, canary: Observed, recorder: Recorder, joining: Joining, readers: Sequence[MetricReader]) -> None:
        """Report on `canary`, and on what `recorder` counted."""
        environment = canary.environment
        self.recorder = recorder
        self.joining = joining
        self.readers = readers
        self.here: Attributes = {names.ENVIRONMENT: environment}
        self.note = canary.failures.note
        self.exposures = Labels(_exposure, environment)
        self.verdicts = Labels(_found, environment)
        self.rollbacks = Labels(_taken_back, environment)
        self._canary = canary
        self._health: Health | None = None

    def look(self) -> None:
        """Take a new look at how it is; once a collection, for all of the gauges."""
        self.recorder.renew()
        self._health = self._canary.status()

    @property
    def health(self) -> Health:
        """How it was at the last look."""
        if self._health is None:
            self.look()
        assert self._health is not None
        return self._health

    @property
    def flags(self) -> Iterator[tuple[Attributes, FlagHealth]]:
        """The flags that have gauges: those that are held back come first, so that none of them is left out."""
        flags = sorted(self.health.flags.items(), key=lambda item: not item[1].breaker.guard_bits)
        for key, each in islice(flags, MOST_FLAGS):
            yield {names.FLAG_KEY: key, **self.here}, each


class Instruments:
    """The instruments of one provider, and who reports through them."""

    def __init__(self, provider: MeterProvider, version: str) -> None:
        """Make them all; the first is the first to be asked, so it takes the look."""
        self.sources: tuple[Source, ...] = ()
        self._provider = ref(provider)
        meter = provider.get_meter(names.SCOPE, version, names.SCHEMA_URL)
        makers = {
            "counter": meter.create_observable_counter,
            "gauge": meter.create_observable_gauge,
        }
        for name, kind, unit, description, points in _INSTRUMENTS:
            makers[kind](name, [self._asked(name, points)], unit, description)

    def _asked(self, name: str, points: Points) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """Return what the provider calls; one source that fails leaves the others their say."""

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            observations = []
            for source in self.sources:
                try:
                    if name == names.EVALUATION:
                        self._begin(source)
                    observations += [Observation(value, attributes) for attributes, value in points(source)]
                except Exception as error:  # noqa: BLE001 - the provider collects for others too
                    source.note((f"collecting {name}", error, "Everything else was collected; please report this"))
            return observations

        return observe

    def _begin(self, source: Source) -> None:
        """Look, and join the readers: those that were named, else those that the provider was made with."""
        source.look()
        provider = self._provider()
        if not hasattr(provider, _READERS):
            provider = get_meter_provider()  # the one that has taken over from the one that was there at first
        for reader in source.readers or getattr(provider, _READERS, ()):
            source.joining.join(reader)


def report(source: Source, provider: MeterProvider | None, version: str) -> Instruments:
    """Report from now on, through the global provider if none is given."""
    provider = provider or get_meter_provider()
    instruments = _INSTRUMENTS_OF.get(provider)
    if instruments is None:
        instruments = _INSTRUMENTS_OF[provider] = Instruments(provider, version)
    instruments.sources = (*instruments.sources, source)
    return instruments


def retire(source: Source, instruments: Instruments) -> None:
    """Report no more."""
    instruments.sources = tuple(each for each in instruments.sources if each is not source)
    source.joining.leave()


_READERS: Final = "_metric_readers"
"""Where the SDK's provider keeps its readers: the one thing that it does not tell."""
_INSTRUMENTS_OF: Final[WeakKeyDictionary[MeterProvider, Instruments]] = WeakKeyDictionary()
"""The instruments of each provider: a second one of the same name would never be asked."""


# --- what is observed ---


def _exposures(source: Source) -> Iterable[Point]:
    return [(source.exposures[key], count) for key, count in dict(source.recorder.exposures).items()]


def _verdicts(source: Source) -> Iterable[Point]:
    return [(source.verdicts[key], count) for key, count in dict(source.recorder.verdicts).items()]


def _rollbacks(source: Source) -> Iterable[Point]:
    return [(source.rollbacks[key], count) for key, count in dict(source.recorder.rollbacks).items()]


def _breakers(source: Source) -> Iterable[Point]:
    return [(attributes, _state(each.breaker)) for attributes, each in source.flags]


def _percents(source: Source) -> Iterable[Point]:
    return [(attributes, each.flag.rollout) for attributes, each in source.flags]


def _stages(source: Source) -> Iterable[Point]:
    led = islice(source.health.rollouts.items(), MOST_FLAGS)
    return [({names.FLAG_KEY: key, **source.here}, each.stage) for key, each in led if each.status is not Status.IDLE]


def _failures(source: Source) -> Iterable[Point]:
    return [({names.PLACE: place, **source.here}, count) for place, count in source.health.failures.items()]


def _dropped(source: Source) -> Iterable[Point]:
    return [(source.here, source.health.dropped)]


def _lag(source: Source) -> Iterable[Point]:
    return [(source.here, source.health.judge_lag_s)]


def _stale(source: Source) -> Iterable[Point]:
    return [(source.here, int(bool(source.health.stale)))]


# Prometheus appends a unit to the name, and "ratio" for "1"; what stands in braces it leaves out.
_INSTRUMENTS: Final[tuple[tuple[str, str, str, str, Points], ...]] = (
    (names.EVALUATION, "counter", "{evaluation}", "Units of work that met the flag, by what it answered.", _exposures),
    (names.VERDICTS, "counter", "{verdict}", "Intervals that were judged, by what was found.", _verdicts),
    (names.ROLLBACKS, "counter", "{rollback}", "How often a flag was taken back.", _rollbacks),
    (names.BREAKER, "gauge", "{state}", "0 closed, 1 half open, 2 open, 3 killed by a person.", _breakers),
    (names.PERCENT, "gauge", "%", "The share of users that the flag is rolled out to.", _percents),
    (names.STAGE, "gauge", "{stage}", "The stage that the flag's rollout is in; 0 before the first.", _stages),
    (names.DROPPED, "counter", "{unit}", "Units of work and calls that were never counted.", _dropped),
    (names.LAG, "gauge", "s", "How long the next reading of the arms is overdue.", _lag),
    (names.FAILURES, "counter", "{failure}", "Failures inside the library, by place.", _failures),
    (names.STALE, "gauge", "{store}", "1 while the store is away, and what was served before still is.", _stale),
)


def _state(breaker: Breaker) -> int:
    return KILLED if breaker.killed else STATES[breaker.state]


def _exposure(key: Exposure) -> dict[str, str | int | bool]:
    return {names.FLAG_KEY: key.flag_key, names.VARIANT: key.variant, names.REASON: key.reason.lower()}


def _found(key: Found) -> dict[str, str | int | bool]:
    return {names.FLAG_KEY: key.flag_key, names.OUTCOME: key.outcome.lower()}


def _taken_back(key: TakenBack) -> dict[str, str | int | bool]:
    return {names.FLAG_KEY: key.flag_key, names.CAUSE: key.cause}
