"""The classic plan by the default judge, through a real `Canary` and its store, with every request drawn."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import pytest

from canary_sdk import connect
from canary_sdk.core.judge.verdict import Outcome
from canary_sdk.core.rollout.state import Status
from canary_sdk.evidence.record import Conclusion
from canary_sdk.evidence.rollout import record_of
from canary_sdk.runtime.scope import FAILED, UNDECIDED
from tests.runtime.leading import FLAG
from tests.runtime.test_rollout_plans import CLASSIC, MEASURED, scaled

if TYPE_CHECKING:
    from pathlib import Path

    from canary_sdk import Canary
    from canary_sdk.evidence.record import Record
    from canary_sdk.testing import ManualClock

pytestmark = [pytest.mark.stress, pytest.mark.timeout(300)]

RATE: Final = 125
USERS: Final = 20_000
LEARNT_S: Final = 120
"""So long everybody has the baseline before the start, as in any application."""


def told(canary: Canary) -> Record:
    """Return what the journal tells."""
    entries: list[Any] = []
    while page := canary.rollouts.journal(FLAG, after=entries[-1].id if entries else 0):
        entries += page
    return record_of(entries, FLAG, canary.environment)


def led(folder: Path, clock: ManualClock, tolerance: str) -> Canary:
    """Lead the flag through the classic plan, a minute for an hour, until it has ended."""
    canary = connect(f"sqlite:///{folder / 'canary.db'}", clock=clock, background=False)
    plan = {"stages": scaled(CLASSIC, 1 / 60), "interval": 30}
    canary.apply(
        {
            "flags": {FLAG: {"slos": ["p95 < 500ms", "errors < 1%"], "plan": plan}},
            "auto_rollback": {"interval": "30s", "tolerance": tolerance},
        }
    )
    rng = random.Random(1)
    shapes = [traffic.durations(10_000) for traffic in MEASURED]
    stage = 0
    for second in range(LEARNT_S + 60 * 60):
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


def test_the_classic_plan_by_the_default_judge(tmp_path: Path, clock: ManualClock) -> None:
    """Three stages pass, the fourth is acceptable within the tolerance, and what the classic rule would do is told."""
    with led(tmp_path, clock, "10%") as canary:
        record = told(canary)
    outcomes = [stage.verdict.outcome for stage in record.stages[1:5] if stage.verdict]
    assert outcomes == [Outcome.PASS] * 3 + [Outcome.ACCEPTABLE]
    assert record.conclusion is Conclusion.PASSED
    assert record.problems == record.gaps == ()
    assert record.otherwise.startswith("By the consecutive rule (3 blaming breaches in a row)")
    assert all(each.weighed for each in record.decisions)


def test_the_classic_plan_by_the_default_judge_without_tolerance(tmp_path: Path, clock: ManualClock) -> None:
    """The fourth stage is a breach, and is taken back within seconds, before an interval of it is over."""
    with led(tmp_path, clock, "0%") as canary:
        state, record = canary.rollouts.status(FLAG), told(canary)
    assert (state.status, state.stage) == (Status.ABORTED, 4)
    assert record.conclusion is Conclusion.FAILED
    (fourth,) = (each for each in record.checks if "Stage 4" in each.claim)
    assert fourth.held is False
    assert fourth.found.startswith("it was aborted before an interval was over: p95: ")
    assert [each.held for each in record.checks if "Stage" in each.claim] == [True, True, True, False]
