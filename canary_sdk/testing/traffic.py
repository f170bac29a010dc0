"""Made-up traffic on your own flags, in made-up time: would your SLOs and your rule catch this, and how soon?

    def test_a_slow_checkout_is_caught(canary, canary_clock):
        canary.update("new-checkout", {"rollout": 25})
        seen = simulate(
            canary,
            canary_clock,
            "new-checkout",
            baseline=Behaviour(p50="120ms", p95="300ms"),
            candidate=Behaviour(p50="150ms", p95="900ms"),
        )
        assert seen.tripped_s < 100, seen

Everything but the requests is real: the split, the counting, the judge, the breaker, the events. The requests are
opened and ended by hand, so a minute takes as long as its requests take to count.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, inf, log
from random import Random
from typing import TYPE_CHECKING, Final

from canary_sdk.core.events import FlagTripped, RolloutAborted, RolloutPromoted, VerdictReached
from canary_sdk.core.judge.verdict import Outcome
from canary_sdk.core.reading import parse_duration, parse_percent
from canary_sdk.errors import CanaryError, UnknownFlag
from canary_sdk.runtime.scope import FAILED, GOOD

if TYPE_CHECKING:
    from collections.abc import Callable

    from canary_sdk.core.events import Event
    from canary_sdk.runtime.client import Canary
    from canary_sdk.testing.clock import ManualClock

P95_DEVIATIONS: Final = 1.6448536269514722
"""The 95th percentile of a normal distribution, in standard deviations."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How an arm answers: half of its requests within `p50`, 95 % within `p95`, and so many of them with an error.

    Written as in a configuration: "120ms", "0.5%", or numbers of seconds and of percent. Latencies are drawn from the
    log-normal distribution that has these two quantiles. Raises `CanaryError` for what cannot be.
    """

    p50: str | float
    p95: str | float
    errors: str | float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no arm can do."""
        try:
            middle, slow, _ = parse_duration(self.p50), parse_duration(self.p95), parse_percent(self.errors)
        except ValueError as error:
            raise CanaryError(f"{self}: {error}") from None
        if slow < middle:
            raise CanaryError(f"{self}: found a p95 below p50, expected the same or more")

    def sampler(self, random: Random) -> Callable[[], tuple[float, bool]]:
        """Return what draws one request: how long it takes, in seconds, and whether it fails."""
        middle, slow, errors = log(parse_duration(self.p50)), log(parse_duration(self.p95)), parse_percent(self.errors)
        deviation = (slow - middle) / P95_DEVIATIONS
        return lambda: (exp(random.gauss(middle, deviation)), random.random() * 100 < errors)


@dataclass(slots=True)
class Simulated:
    """What came of it: the events, each with the second after the beginning, and how many requests met which arm."""

    events: list[tuple[float, Event]] = field(default_factory=list)
    candidate: int = 0
    baseline: int = 0

    @property
    def tripped_s(self) -> float:
        """When the flag was first switched off, in seconds; infinity if it never was."""
        return self._first(FlagTripped)

    @property
    def promoted_s(self) -> float:
        """When its rollout was promoted, in seconds; infinity if it never was."""
        return self._first(RolloutPromoted)

    @property
    def aborted_s(self) -> float:
        """When its rollout was aborted, in seconds; infinity if it never was."""
        return self._first(RolloutAborted)

    def __str__(self) -> str:
        """Tell it, an event a line, but for what only says that all is well."""
        told = [f"{second:7.1f} s  {event.sentence}" for second, event in self.events if not _is_well(event)]
        return "\n".join([f"{self.candidate} requests met the candidate, {self.baseline} the baseline", *told])

    def _first(self, kind: type[Event]) -> float:
        return next((second for second, event in self.events if isinstance(event, kind)), inf)


def _is_well(event: Event) -> bool:
    return isinstance(event, VerdictReached) and event.verdict.outcome is Outcome.PASS


def simulate(  # noqa: PLR0913 - each is one word about the traffic
    canary: Canary,
    clock: ManualClock,
    flag_key: str,
    *,
    baseline: Behaviour,
    candidate: Behaviour,
    seconds: float = 300.0,
    rate: float = 20.0,
    users: int = 1_000,
    seed: int = 1,
) -> Simulated:
    """Send made-up requests to a flag for so many seconds of `clock`, by which `canary` goes, and tell what came of it.

    `rate` is in requests a second, evenly, each by one of `users`. The same seed gives the same again. `canary` has to
    be one of `connect(…, clock=clock, background=False)`, as the fixtures are. Raises `UnknownFlag`. Cost: about as
    much as that many requests and a tick a second.
    """
    flag = canary.flag(flag_key)
    if flag is None:
        raise UnknownFlag(flag_key, canary.flags())
    random, seen = Random(seed), Simulated()
    draws = {True: baseline.sampler(random), False: candidate.sampler(random)}
    watch = _Watch(seen, clock.wall())
    canary.subscribe(watch)
    try:
        due, step = 1.0, 1.0 / rate
        for number in range(round(seconds * rate)):
            clock.advance(step)
            key = f"user-{random.randrange(users)}"
            with canary.scope("simulated", key=key) as unit:
                is_baseline = canary.evaluate(flag_key).variant == flag.baseline
            seen.baseline += is_baseline
            seen.candidate += not is_baseline
            latency_s, fails = draws[is_baseline]()
            if unit is not None:
                unit.finish(unit.started + latency_s, FAILED if fails else GOOD)
            if (number + 1) * step >= due:
                canary.tick()
                due += 1.0
        canary.tick()
    finally:
        canary.unsubscribe(watch)
    return seen


class _Watch:
    """Notes the events of a simulation. Threads: the one that ticks."""

    def __init__(self, seen: Simulated, begun: float) -> None:
        self._seen = seen
        self._begun = begun

    def handle(self, event: Event) -> None:
        """Note one."""
        self._seen.events.append((event.at - self._begun, event))
