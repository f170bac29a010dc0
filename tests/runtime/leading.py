"""An application that leads a flag through a plan, with traffic and time moved by hand."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter as TimesOf
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from canary_sdk import connect
from canary_sdk.core.events import VerdictReached
from canary_sdk.core.flags.evaluation import Role
from canary_sdk.measure.counters import BINS, ERRORS, REQUESTS, WRITES
from canary_sdk.measure.sketch import bin_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from canary_sdk import Canary
    from canary_sdk.core.events import Event
    from canary_sdk.core.rollout.state import Rollout
    from canary_sdk.testing import ManualClock

    Latency = Callable[[bool], float]

FLAG: Final = "checkout"
POLICY: Final = {"interval": "2s", "breaches": 2, "min_samples": 10, "rule": "consecutive"}
SLOS: Final = ["p95 < 500ms", "errors < 5%"]


def a_config(*, slos: list[str] = SLOS, **plan: Any) -> dict[str, Any]:
    """Configure one flag with a plan: 20 % for 6 s, then everybody for 6 s, unless told otherwise."""
    stages = [{"percent": 20, "bake": "6s"}, {"percent": 100, "bake": "6s"}]
    return {
        "flags": {FLAG: {"slos": slos, "plan": {"stages": stages, "interval": "2s"} | plan}},
        "auto_rollback": POLICY,
    }


def healthy(_: bool) -> float:
    """Answer fast on both arms."""
    return 0.1


def slow(on: bool) -> float:
    """Answer slowly on the candidate."""
    return 0.9 if on else 0.1


@dataclass
class Host:
    """One application on one host: a `Canary` over a file, which ticks when told, and what was told of it."""

    canary: Canary
    clock: ManualClock
    events: list[Event] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    """The percentage that was served, wherever it changed."""

    def handle(self, event: Event) -> None:
        """Remember it, as a sink."""
        if not isinstance(event, VerdictReached):
            self.events.append(event)

    def told(self) -> list[str]:
        """Return what kinds of events were told."""
        return [type(event).__name__ for event in self.events]

    def serve(self, seconds: float, latency: Latency = healthy, rate: int = 80, *others: Host) -> None:
        """Serve for so long, a turn of the background every 0.5 s; `others` live through the same time."""
        for turn in range(round(seconds * 2)):
            for host in (self, *others):
                host.answer(turn, latency, rate)
            self.clock.advance(0.5)
            for host in (self, *others):
                host.tick()

    def answer(self, turn: int, latency: Latency, rate: int) -> None:
        """Answer half a second's requests."""
        for number in range(rate // 2):
            unit = self.canary.units.open_request()
            token = self.canary.units.enter(unit)
            on = self.canary.is_enabled(FLAG, f"user-{turn % 20}-{number}")
            unit.finish(unit.started + latency(on))
            self.canary.units.leave(token)

    def tick(self) -> None:
        """Take a turn, and see what is served then."""
        self.canary.tick()
        share = self.share
        if not self.shares or self.shares[-1] != share:
            self.shares.append(share)

    @property
    def share(self) -> float:
        """The percentage that is served."""
        flag = self.canary.flag(FLAG)
        assert flag is not None
        return flag.rollout if self.canary.breaker(FLAG).is_serving else 0.0

    @property
    def state(self) -> Rollout:
        """Where the rollout stands in the store."""
        return self.canary.rollouts.status(FLAG)


class Hosts:
    """Makes hosts that share a store and nothing else."""

    def __init__(self, folder: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url = f"sqlite:///{folder / 'canary.db'}"
        self._folder = folder
        self._clock = clock
        self._patch = monkeypatch

    def start(self, name: str = "a") -> Host:
        """Start a process on a host; on one that is there already, another process that shares its arena."""
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        self._patch.setenv("CANARY_ARENA_DIR", str(folder))
        canary = connect(self.url, environment="production", clock=self._clock, background=False)
        host = Host(canary, self._clock)
        canary.subscribe(host)
        canary.flag(FLAG)  # wakes it, so that its arena is in this folder
        return host


# --- traffic in bulk: counted as the ticker would have counted it, without a unit of work for each request ---

SHAPE: Final = (0.0, 0.5, 0.95, 0.99, 1.0)
"""The quantiles that a `Traffic` names, and both ends."""


@dataclass(frozen=True)
class Traffic:
    """Requests as their averages describe them: p50, p95 and p99 in milliseconds, straight lines between; errors."""

    p50: float
    p95: float
    p99: float
    errors: float = 0.0

    def durations(self, requests: int) -> list[float]:
        """Return so many durations in seconds, spread evenly over the shape."""
        heights = (self.p50 / 3, self.p50, self.p95, self.p99, self.p99 * 1.5)
        found = []
        for number in range(requests):
            share = (number + 0.5) / requests
            at = bisect_right(SHAPE, share) - 1
            along = (share - SHAPE[at]) / (SHAPE[at + 1] - SHAPE[at])
            found.append((heights[at] + along * (heights[at + 1] - heights[at])) / 1000)
        return found


class Bulk:
    """Counts traffic for one flag of a `Canary`; what is left over of a request or an error is counted later."""

    def __init__(self, canary: Canary) -> None:
        self.canary = canary
        self._owed = {role: [0.0, 0.0] for role in (Role.CANDIDATE, Role.BASELINE)}

    def count(self, requests: float, candidate: Traffic, baseline: Traffic) -> None:
        """Count so many requests, divided as the flag is served now."""
        flag = self.canary.flag(FLAG)
        assert flag is not None
        share = flag.rollout / 100 if self.canary.breaker(FLAG).is_serving else 0.0
        for role, part, traffic in ((Role.CANDIDATE, share, candidate), (Role.BASELINE, 1 - share, baseline)):
            owed = self._owed[role]
            owed[0] += requests * part
            owed[1] += requests * part * traffic.errors
            whole, errors = (int(each + 1e-9) for each in owed)
            owed[0] -= whole
            owed[1] -= errors
            if whole:
                self._finish(role, traffic.durations(whole), errors)

    def _finish(self, role: Role, durations: list[float], errors: int) -> None:
        arm = self.canary._monitor._folder.arm(FLAG, role, "unit")
        words = arm._words or arm._open()
        words[REQUESTS] += len(durations)
        words[ERRORS] += errors
        for limit_s, cell, _ in arm._limits:
            words[cell] += sum(duration > limit_s for duration in durations)
        for index, times in TimesOf(map(bin_of, durations)).items():
            words[BINS + index] += times
        words[WRITES] += 1
