"""The classic plan by the default judge, through a real `Canary` and its store, with every request drawn."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest

from benchmarks.rollout import Traffic
from canary_sdk import connect
from canary_sdk.core.judge.verdict import Outcome
from canary_sdk.core.rollout.state import Status
from canary_sdk.evidence.record import Conclusion
from canary_sdk.evidence.rollout import record_of
from canary_sdk.measure.sketch import ALPHA
from canary_sdk.runtime.scope import FAILED, UNDECIDED
from tests.runtime.leading import FLAG
from tests.runtime.test_rollout_plans import CLASSIC, INTERVAL_S, MEASURED, scaled

if TYPE_CHECKING:
    from pathlib import Path

    from canary_sdk import Canary
    from canary_sdk.evidence.record import Record
    from canary_sdk.testing import ManualClock
    from tests.runtime.leading import Traffic as Averages

SPEEDS: Final = [
    pytest.param(1 / 60, id="a minute for an hour", marks=[pytest.mark.stress, pytest.mark.timeout(300)]),
    pytest.param(1.0, id="in full", marks=[pytest.mark.long, pytest.mark.timeout(7200)]),
]

RATE: Final = 125
USERS: Final = 20_000
POOL: Final = 100_000
LEARNT_S: Final = 120
"""So long everybody has the baseline before the start, as in any application."""


def told(canary: Canary) -> Record:
    """Return what the journal tells."""
    entries: list[Any] = []
    while page := canary.rollouts.journal(FLAG, after=entries[-1].id if entries else 0):
        entries += page
    return record_of(entries, FLAG, canary.environment)


def durations(measured: Averages, stage: dict[str, Any]) -> list[float]:
    """Return durations to draw from, so that intervals of that stage have these quantiles on average."""
    p50, p95, p99 = (each / 1000 for each in (measured.p50, measured.p95, measured.p99))
    traffic = Traffic.averaging(p50, p95, p99, measured.errors, RATE * INTERVAL_S * stage["percent"] / 100)
    return traffic.at((np.arange(POOL) + 0.5) / POOL).tolist()  # type: ignore[no-any-return]


def led(folder: Path, clock: ManualClock, tolerance: str, speed: float) -> Canary:
    """Lead the flag through the classic plan, with its times multiplied by `speed`, until it has ended."""
    canary = connect(f"sqlite:///{folder / 'canary.db'}", clock=clock, background=False)
    plan = {"stages": scaled(CLASSIC, speed), "interval": INTERVAL_S}
    canary.apply(
        {
            "flags": {FLAG: {"slos": ["p95 < 500ms", "errors < 1%"], "plan": plan}},
            "auto_rollback": {"interval": "30s", "tolerance": tolerance},
        }
    )
    rng = random.Random(1)
    shapes = [durations(*each) for each in zip(MEASURED, CLASSIC, strict=True)]
    stage = 0
    for second in range(LEARNT_S + round(60 * 3600 * speed)):
        if second == LEARNT_S:
            canary.rollouts.start(FLAG, actor="ana")
        measured = min(max(stage, 1), len(shapes)) - 1
        for _ in range(RATE):
            unit = canary.units.open_request()
            token = canary.units.enter(unit)
            canary.is_enabled(FLAG, f"user-{rng.randrange(USERS)}")
            took = rng.choice(shapes[measured])
            failed = rng.random() < MEASURED[measured].errors
            unit.finish(unit.started + took, FAILED if failed else UNDECIDED)
            canary.units.leave(token)
        clock.advance(1.0)
        canary.tick()
        if second > LEARNT_S:
            state = canary.status().rollouts[FLAG]
            stage = state.stage
            if state.status in {Status.PROMOTED, Status.ABORTED}:
                break
    return canary


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_classic_plan_by_the_default_judge(tmp_path: Path, clock: ManualClock, speed: float) -> None:
    """Three stages pass, the fourth is acceptable within the tolerance, and what the classic rule would do is told."""
    with led(tmp_path, clock, "10%", speed) as canary:
        record = told(canary)
    outcomes = [stage.verdict.outcome for stage in record.stages[1:5] if stage.verdict]
    assert outcomes == [Outcome.PASS] * 3 + [Outcome.ACCEPTABLE]
    assert record.conclusion is Conclusion.PASSED
    assert record.problems == record.gaps == ()
    assert record.otherwise.startswith("By the consecutive rule (3 blaming breaches in a row)")
    assert all(each.weighed for each in record.decisions)
    fourth = record.stages[4].verdict
    assert fourth is not None
    over = {finding.slo.name: 100 * (finding.load - 1) for finding in fourth.findings}
    error = 100 * ALPHA * 1.08 if speed == 1 else 3.0  # of a sketch; where there are few intervals, chance
    assert over["p95"] == pytest.approx(8.375, abs=error)
    assert over["p99"] == pytest.approx(2.625, abs=error)


@pytest.mark.stress
@pytest.mark.timeout(300)
def test_the_classic_plan_by_the_default_judge_without_tolerance(tmp_path: Path, clock: ManualClock) -> None:
    """The fourth stage is a breach, and is taken back within seconds, before an interval of it is over."""
    with led(tmp_path, clock, "0%", 1 / 60) as canary:
        state, record = canary.rollouts.status(FLAG), told(canary)
    assert (state.status, state.stage) == (Status.ABORTED, 4)
    assert record.conclusion is Conclusion.FAILED
    (fourth,) = (each for each in record.checks if "Stage 4" in each.claim)
    assert fourth.held is False
    assert fourth.found.startswith("BREACH: p95 ")
    assert [each.held for each in record.checks if "Stage" in each.claim] == [True, True, True, False]
