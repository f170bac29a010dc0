"""Whole rollouts, from the start to the promotion, through a real `Canary` and its store, with time moved by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from canary_sdk import connect
from canary_sdk.core.judge.verdict import Outcome
from canary_sdk.core.rollout.journal import Judged, Transition
from canary_sdk.core.rollout.state import Status
from tests.runtime.leading import FLAG, Bulk, Traffic

if TYPE_CHECKING:
    from pathlib import Path

    from canary_sdk import Canary
    from canary_sdk.testing import ManualClock

RATE: Final = 125.0
INTERVAL_S: Final = 30
HOUR_S: Final = 3600.0

CLASSIC: Final[list[dict[str, Any]]] = [
    {"percent": 5, "bake": 1 * HOUR_S, "slos": ["p95 < 500ms", "p99 < 1000ms", "errors < 1%", "throughput > 50/s"]},
    {"percent": 25, "bake": 2 * HOUR_S, "slos": ["p95 < 500ms", "p99 < 1000ms", "errors < 1%", "throughput > 50/s"]},
    {"percent": 50, "bake": 4 * HOUR_S, "slos": ["p95 < 450ms", "p99 < 900ms", "errors < 0.8%", "throughput > 50/s"]},
    {"percent": 100, "bake": 24 * HOUR_S, "slos": ["p95 < 400ms", "p99 < 800ms", "errors < 0.5%", "throughput > 50/s"]},
]
MEASURED: Final = (
    Traffic(149, 397, 740, 0.0032),
    Traffic(152, 402, 758, 0.0035),
    Traffic(157, 416, 790, 0.0039),
    Traffic(164.8, 433.5, 821, 0.00404),
)
"""What the service did in each stage of the classic plan."""
PRODUCTION: Final[list[dict[str, Any]]] = [
    {"percent": 2, "bake": 2 * HOUR_S},
    {"percent": 10, "bake": 4 * HOUR_S, "approval": ["sre-lead"]},
    {"percent": 30, "bake": 8 * HOUR_S},
    {"percent": 60, "bake": 12 * HOUR_S, "approval": ["product-owner"]},
    {"percent": 100, "bake": 24 * HOUR_S},
]

SPEEDS: Final = [
    pytest.param(1 / 60, id="an hour a minute"),
    pytest.param(1.0, id="in full", marks=[pytest.mark.long, pytest.mark.timeout(600)]),
]
"""Bake times as they are take as many turns as they have seconds; a sixtieth of them shows the same in CI."""


class Run:
    """One application that leads the flag through a plan, second by second; each interval's traffic comes at once."""

    def __init__(self, folder: Path, clock: ManualClock, stages: list[dict[str, Any]], **policy: Any) -> None:
        self.clock = clock
        self.canary: Canary = connect(f"sqlite:///{folder / 'canary.db'}", clock=clock, background=False)
        plan = {"stages": stages, "interval": INTERVAL_S}
        rules = {"rule": "consecutive", "interval": INTERVAL_S, "min_samples": 20} | policy
        self.canary.apply(
            {"flags": {FLAG: {"slos": ["p95 < 500ms", "errors < 1%"], "plan": plan}}, "auto_rollback": rules}
        )
        self.bulk = Bulk(self.canary)
        self.canary.rollouts.start(FLAG, actor="ana")

    def live(self, seconds: float, *measured: Traffic) -> None:
        """Let time pass; what the service does depends on the stage, the last traffic goes on for ever."""
        for second in range(round(seconds)):
            if not second % INTERVAL_S:
                stage = self.canary.status().rollouts[FLAG].stage
                traffic = measured[max(min(stage, len(measured)), 1) - 1]
                self.bulk.count(RATE * INTERVAL_S, traffic, traffic)
            self.clock.advance(1.0)
            self.canary.tick()

    def entries(self) -> list[Any]:
        """Return all that was written down."""
        found: list[Any] = []
        while page := self.canary._repository.journal(FLAG, after=found[-1].id if found else 0):
            found += page
        return found

    def outcomes(self, stage: int) -> set[Outcome]:
        """Return what was found in the intervals of a stage, once its own traffic is all there is in a window."""
        judged = [each.record for each in self.entries() if isinstance(each.record, Judged)]
        return {each.verdict.outcome for each in [each for each in judged if each.stage == stage][1:]}


def scaled(stages: list[dict[str, Any]], speed: float) -> list[dict[str, Any]]:
    """Return the stages with their bake times multiplied, an interval long at least."""
    return [stage | {"bake": max(stage["bake"] * speed, 2 * INTERVAL_S)} for stage in stages]


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_classic_plan(tmp_path: Path, clock: ManualClock, speed: float) -> None:
    """Four stages in 31 hours: the first three pass, the fourth is acceptable in its tolerance of 10 %; promoted."""
    run = Run(tmp_path, clock, scaled(CLASSIC, speed), tolerance="10%")
    begun = clock.monotonic()
    while run.canary.rollouts.status(FLAG).status is not Status.PROMOTED:
        run.live(10 * INTERVAL_S, *MEASURED)
        assert clock.monotonic() - begun < 32 * HOUR_S
    assert [run.outcomes(stage) for stage in (1, 2, 3)] == [{Outcome.PASS}] * 3
    assert run.outcomes(4) == {Outcome.ACCEPTABLE}
    moves = [each.record for each in run.entries() if isinstance(each.record, Transition)]
    assert [each.stage for each in moves if each.after != "HELD" and each.before != "HELD"] == [0, 1, 2, 3, 4, 5]
    assert run.canary.flag(FLAG).rollout == 100  # type: ignore[union-attr]
    run.canary.close()
    if speed == 1:
        size = (tmp_path / "canary.db").stat().st_size
        assert size < 2e6, "ten such flags take less than 20 MB"


def test_the_classic_plan_without_a_tolerance(tmp_path: Path, clock: ManualClock) -> None:
    """The fourth stage is 8.4 % over on p95 and 2.6 % on p99: with a tolerance of 0 that is a breach, and aborts."""
    run = Run(tmp_path, clock, scaled(CLASSIC, 1 / 60), tolerance="0%")
    run.live(20 * 60, *MEASURED)
    state = run.canary.rollouts.status(FLAG)
    assert (state.status, state.stage) == (Status.ABORTED, 4)
    found = [each.record.verdict for each in run.entries() if isinstance(each.record, Judged)][-1]
    breached = {each.slo.name: each.candidate for each in found.findings if each.outcome is Outcome.BREACH}
    assert breached == {"p95": pytest.approx(0.4335, rel=0.01), "p99": pytest.approx(0.821, rel=0.01)}
    assert run.canary.breaker(FLAG).is_serving is False
    run.canary.close()


@pytest.mark.parametrize("speed", SPEEDS)
def test_a_production_plan_with_two_approvals(tmp_path: Path, clock: ManualClock, speed: float) -> None:
    """Five stages in 50 hours: two of them wait until somebody has agreed, and the bake goes on meanwhile."""
    run = Run(tmp_path, clock, scaled(PRODUCTION, speed))
    waited: list[int] = []
    healthy = Traffic(100, 300, 450, 0.001)
    for _ in range(10_000):
        state = run.canary.rollouts.status(FLAG)
        if state.status is Status.PROMOTED:
            break
        if "needs approval by" in state.reason:
            role = state.reason.rpartition(" ")[2]
            waited.append(state.stage)
            run.live(4 * INTERVAL_S, healthy)
            assert run.canary.rollouts.status(FLAG).stage == state.stage
            run.canary.rollouts.approve(FLAG, role, actor="bo")
        run.live(INTERVAL_S, healthy)
    assert run.canary.rollouts.status(FLAG).status is Status.PROMOTED
    assert waited == [1, 3]
    run.canary.close()
