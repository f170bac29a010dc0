"""A whole drill on a real Canary, with time moved by hand: the plan is carried out, and what happened is told."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from canary_sdk import CanaryError, connect
from canary_sdk.core.breaker import State
from canary_sdk.integrations.asgi import CanaryMiddleware
from canary_sdk.rehearsal.check import checks_of, passed
from canary_sdk.rehearsal.engine import Drill
from canary_sdk.rehearsal.fault import parse_fault
from canary_sdk.rehearsal.result import Kind, Plan
from canary_sdk.rehearsal.traffic import Second
from canary_sdk.rehearsal.witness import FaultMiddleware
from canary_sdk.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from canary_sdk import Canary
    from canary_sdk.rehearsal.engine import Progress
    from canary_sdk.rehearsal.result import Rehearsal

KEY = "new-checkout"
SETTINGS = {
    "flags": {KEY: {"rollout": 0, "slos": ["p95 < 250ms", "errors < 1.5%"]}},
    "auto_rollback": {"interval": "1s", "breaches": 3, "min_samples": 20},
}
PLAN = Plan(flag_key=KEY, settings=SETTINGS, stages=((0, 5), (25, 5)), fault=parse_fault("errors=50%"))
PER_TURN = 20
"""Requests in a tenth of a second."""


class World:
    """An application, its users and the library's background, which all move when the drill pauses.

    `error_of` says for the n-th request whether the application itself fails.
    """

    def __init__(self, canary: Canary, clock: ManualClock, error_of: Callable[[int], bool]) -> None:
        """Put the house together."""
        self.seconds: list[Second] = []
        self.progress: list[Progress] = []
        self.is_silent = False
        self._canary = canary
        self._clock = clock
        self._error_of = error_of
        self._asked = 0
        self._turns: list[list[bool]] = []
        self.witness = FaultMiddleware(self._answer, flag_key=KEY, current_unit=canary.current_unit, clock=clock)
        self._app = CanaryMiddleware(self.witness, canary=canary)

    def monotonic(self) -> float:
        """Tell the time."""
        return self._clock.monotonic()

    def wall(self) -> float:
        """Tell the time."""
        return self._clock.wall()

    def pause(self, seconds: float) -> None:
        """Live through a tenth of a second."""
        began = self._clock.monotonic()
        turn = [] if self.is_silent else asyncio.run(self._serve())
        self._clock.advance(seconds)
        self._canary.tick()
        self._turns.append(turn)
        if len(self._turns) == 10:
            failed = [error for each in self._turns for error in each]
            times = (0.01,) * len(failed)
            self.seconds.append(Second(began - 0.9, began + seconds, len(failed), sum(failed), 0, times))
            self._turns.clear()

    def check(self) -> None:
        """The traffic never ends."""

    def watch(self, progress: Progress) -> None:
        """Remember what was shown."""
        self.progress.append(progress)

    async def _serve(self) -> list[bool]:
        statuses: list[int] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        async def receive() -> dict[str, Any]:
            return {"type": "http.request"}

        for _ in range(PER_TURN):
            self._asked += 1
            await self._app({"type": "http", "method": "GET", "path": "/", "headers": []}, receive, send)
        return [status >= 500 for status in statuses]

    async def _answer(self, _scope: Any, _receive: Any, send: Any) -> None:
        self._canary.is_enabled(KEY, f"user-{self._asked % 997}")
        status = 500 if self._error_of(self._asked) else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def manual() -> ManualClock:
    """The hands of the world's clock."""
    return ManualClock()


@pytest.fixture
def store(manual: ManualClock) -> Iterator[Canary]:
    """A Canary that does its background work when the world moves."""
    with connect("memory:", environment="test", clock=manual, background=False) as canary:
        canary.apply(SETTINGS)
        yield canary


def drill(
    canary: Canary, manual: ManualClock, plan: Plan = PLAN, error_of: Callable[[int], bool] = lambda _: False
) -> tuple[Rehearsal, World]:
    """Carry a plan out."""
    world = World(canary, manual, error_of)
    return Drill(canary, world.witness, world, plan, world, world).run(), world


def test_a_fault_is_taken_back_and_everything_is_told(store: Canary, manual: ManualClock) -> None:
    """The flag goes off by itself, all checks hold, and the timeline has the steps in order with their times."""
    rehearsal, world = drill(store, manual)
    assert passed(checks_of(rehearsal)), checks_of(rehearsal)
    assert store.status().flags[KEY].breaker.state is State.OPEN
    assert [phase.name for phase in rehearsal.phases] == ["baseline", "25 %", "fault", "recovery"]
    kinds = [moment.kind for moment in rehearsal.moments]
    assert kinds == [*(Kind.STEP,) * 2, *(Kind.FAULT,) * 2, Kind.TRIP, *(Kind.RECOVERY,) * 2]
    assert [moment.at for moment in rehearsal.moments] == sorted(moment.at for moment in rehearsal.moments)
    assert 1 < (rehearsal.times.to_trip() or 0) <= 3
    assert world.witness.fault is not None, "the fault must still be on when recovery is found"


def test_the_phases_hold_what_was_served_in_them(store: Canary, manual: ManualClock) -> None:
    """The candidate is served in its stages only, fails only under the fault, and the clients see both arms."""
    rehearsal, _ = drill(store, manual)
    phases = {phase.name: phase for phase in rehearsal.phases}
    assert phases["baseline"].candidate.requests == phases["recovery"].candidate.requests == 0
    assert phases["25 %"].candidate.errors == 0
    assert phases["fault"].candidate.error_rate == pytest.approx(0.5, abs=0.02)
    assert phases["fault"].baseline.errors == 0
    released = phases["25 %"]
    share = released.candidate.requests / (released.candidate.requests + released.baseline.requests)
    assert share == pytest.approx(0.25, abs=0.05)
    assert phases["baseline"].clients.rate == pytest.approx(200, rel=0.01)


def test_a_healthy_release_goes_through(store: Canary, manual: ManualClock) -> None:
    """Without a fault every stage is done, nothing trips, and the checks hold."""
    plan = replace(PLAN, stages=((0, 4), (25, 4), (100, 4)), fault=None)
    rehearsal, _ = drill(store, manual, plan)
    assert passed(checks_of(rehearsal)), checks_of(rehearsal)
    assert [phase.name for phase in rehearsal.phases] == ["baseline", "25 %", "100 %"]
    assert rehearsal.times.tripped is None


def test_a_fault_that_nobody_notices_fails_the_drill(store: Canary, manual: ManualClock) -> None:
    """Where the library does not switch the flag off, the drill says so, and waits no longer than it was told."""
    settings = {"flags": SETTINGS["flags"], "auto_rollback": {"interval": "1s", "min_samples": 20, "enabled": False}}
    rehearsal, _ = drill(store, manual, replace(PLAN, settings=settings, patience_s=6.0))
    held = {check.claim.split(" by itself")[0]: check.held for check in checks_of(rehearsal)}
    assert held["The flag goes off"] is False
    assert rehearsal.phases[-1].name == "fault"
    assert rehearsal.phases[-1].ended - rehearsal.phases[-1].began == pytest.approx(6, abs=0.2)


def test_a_trip_before_the_fault_fails_the_drill(store: Canary, manual: ManualClock) -> None:
    """A candidate that was bad to begin with goes off early: no fault is switched on, and the drill does not pass."""
    plan = replace(PLAN, stages=((0, 4), (25, 8), (50, 4)))
    rehearsal, world = drill(store, manual, plan, error_of=lambda _: _bad_for_candidates(store))
    checks = {check.claim: check.held for check in checks_of(rehearsal)}
    assert checks["The flag stays on until there is a fault"] is False
    assert world.witness.fault is None
    assert [phase.name for phase in rehearsal.phases] == ["baseline", "25 %", "recovery"], "nothing is released further"
    assert not passed(checks_of(rehearsal))


def _bad_for_candidates(canary: Canary) -> bool:
    unit = canary.current_unit()
    return unit is not None and unit.met_candidate(KEY)


def test_a_service_that_was_bad_before_proves_nothing(store: Canary, manual: ManualClock) -> None:
    """Without a good baseline the drill is undecided, not failed."""
    rehearsal, _ = drill(store, manual, replace(PLAN, patience_s=3.0), error_of=lambda number: number % 10 == 0)
    assert checks_of(rehearsal)[0].held is None
    assert not passed(checks_of(rehearsal))


def test_no_traffic_cannot_be_drilled(store: Canary, manual: ManualClock) -> None:
    """Where nobody is ever answered there is nothing to find, and that is said instead of a verdict."""
    world = World(store, manual, lambda _: False)
    world.is_silent = True
    with pytest.raises(CanaryError, match="no request was answered"):
        Drill(store, world.witness, world, PLAN, world, world).run()


def test_progress_is_shown_from_the_start_to_the_end(store: Canary, manual: ManualClock) -> None:
    """Whoever watches sees every phase once, forwards, and the last look says that all is over."""
    _, world = drill(store, manual)
    currents = [progress.current for progress in world.progress]
    assert currents == sorted(currents)
    assert world.progress[-1].is_over
    assert {*currents} == {0, 1, 2, 3, 4}
    assert all(0 <= progress.fraction <= 1 for progress in world.progress)
    assert world.progress[0].names == ("baseline", "25 %", "fault", "recovery")
