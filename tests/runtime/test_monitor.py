"""What a monitor tells a rollout of the candidate: what was last judged, how long ago, and whether that may abort."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from canary_sdk.core.breaker import AutoRollback, RollbackRule
from canary_sdk.core.flags.compiled import compile_flag
from canary_sdk.core.flags.evaluation import Evaluation, Reason, Role
from canary_sdk.core.flags.flag import Flag
from canary_sdk.core.judge.slo import parse_slo
from canary_sdk.core.rollout.grounds import Standing
from canary_sdk.measure.arena import Arena
from canary_sdk.runtime.failures import Failures
from canary_sdk.runtime.guard import Guard
from canary_sdk.runtime.monitor import Monitor
from canary_sdk.runtime.scope import Units

if TYPE_CHECKING:
    from canary_sdk.testing import ManualClock

CLASSIC = AutoRollback(rule=RollbackRule.CONSECUTIVE, interval_s=1.0, breaches=3, min_samples=20)
ANSWERS = {
    on: Evaluation("checkout", on, "", Reason.SPLIT, Role.CANDIDATE if on else Role.BASELINE, enabled=on)
    for on in (True, False)
}


class Host:
    """One process without a client: units go in, and the monitor is turned by hand."""

    def __init__(self, clock: ManualClock, **fields: object) -> None:
        """Watch one flag at 50 %."""
        self.clock = clock
        self.units = Units(clock, lambda: None)
        self.units.warm_up()
        arena = Arena(clock=clock)
        self.guard = Guard(arena.guard, arena.flag_slot)
        self.monitor = Monitor(self.units, arena, clock, Failures())
        flag = Flag("checkout", rollout=50.0, **fields)  # type: ignore[arg-type]
        self.monitor.watch({flag.key: compile_flag(flag)}, CLASSIC)

    def serve(self, seconds: float, *, candidate: float = 0.1, baseline: float = 0.1) -> None:
        """Let 100 units a second end on each arm, after so many seconds each."""
        for _ in range(round(seconds * 10)):
            for number in range(20):
                unit = self.units.open()
                on = number % 2 == 0
                unit.marks["checkout"] = ANSWERS[on], f"user-{number}"
                unit.finish(unit.started + (candidate if on else baseline))
            self.clock.advance(0.1)
            self.monitor.fold()
            self.monitor.judge(self.guard)

    @property
    def standing(self) -> Standing | None:
        """What the last judgement means to a rollout."""
        judgement = self.monitor.judgement("checkout", self.clock.monotonic())
        return None if judgement is None else judgement.standing


SLOS = (parse_slo("p95 < 500ms"),)


def test_a_judgement_says_of_what_and_how_old_it_is(clock: ManualClock) -> None:
    """Nothing before the first interval; then its length, its age, and the stage that was asked for."""
    host = Host(clock, slos=SLOS)
    assert host.standing is None
    host.serve(1.2)
    found = host.monitor.judgement("checkout", clock.monotonic() + 5, stage=2)
    assert found is not None
    assert (found.standing, found.stage) == (Standing.GOOD, 2)
    assert found.seconds == pytest.approx(1.0)
    assert found.age_s == pytest.approx(5.2, abs=0.11)
    assert "p95" in found.sentence
    assert host.monitor.judgement("other", clock.monotonic()) is None


def test_a_breach_may_abort_once_it_has_come_often_enough(clock: ManualClock) -> None:
    """Before that it only holds; once the flag has tripped nothing is judged of the candidate."""
    host = Host(clock, slos=SLOS)
    host.serve(1.2)
    host.serve(1, candidate=0.9)
    found = host.monitor.judgement("checkout", clock.monotonic())
    assert found is not None
    assert (found.standing, found.sustained) == (Standing.HARD, False)
    host.serve(2, candidate=0.9)
    assert not host.guard.breaker("checkout").is_serving
    found = host.monitor.judgement("checkout", clock.monotonic())
    assert found is not None
    assert (found.standing, found.sustained) == (Standing.HARD, True)
    host.serve(1)
    assert host.standing is None


@pytest.mark.parametrize(
    ("fields", "served", "standing"),
    [
        ({"slos": SLOS}, {"candidate": 0.9, "baseline": 0.9}, Standing.SHARED),
        ({"slos": (parse_slo("errors < 1%"),), "soft": SLOS}, {"candidate": 0.9}, Standing.SOFT),
        ({"soft": SLOS}, {}, Standing.UNKNOWN),
    ],
)
def test_what_blames_nobody_only_holds(
    clock: ManualClock, fields: dict[str, object], served: dict[str, float], standing: Standing
) -> None:
    """A breach of both arms is shared, one of a soft SLO soft, and where all are soft nothing that counts is known."""
    host = Host(clock, **fields)
    host.serve(1.2, **served)
    assert host.standing is standing


def test_others_are_let_in_between_two_flags(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The windows of many flags slide, and their intervals are judged, with a pause after each."""
    host = Host(clock)
    flags = {
        f"flag-{number}": Flag(f"flag-{number}", rollout=50.0, slos=(parse_slo("errors < 1%"),)) for number in range(50)
    }
    host.monitor.watch({key: compile_flag(flag) for key, flag in flags.items()}, CLASSIC)
    pauses: list[float] = []
    monkeypatch.setattr(clock, "pause", pauses.append)
    clock.advance(1.0)
    host.monitor.judge(host.guard)
    assert pauses == [0] * 3 * len(flags)
