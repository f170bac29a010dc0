"""An application that leads a flag through a plan, with traffic and time moved by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from canary_sdk import connect
from canary_sdk.core.events import VerdictReached

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from canary_sdk import Canary
    from canary_sdk.core.events import Event
    from canary_sdk.core.rollout import Rollout
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
