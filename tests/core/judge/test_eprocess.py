"""Claims about evidence that accumulates."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.core.judge.eprocess import ENOUGH, NOTHING, Evidence, Schedule, log_mean
from canary_sdk.core.judge.evalues import log_absolute

SCHEDULE = Schedule((3600.0, 7200.0, 14400.0, 86400.0))


@given(st.lists(st.floats(0.1, 7200), min_size=1, max_size=50), st.integers(0, 3))
def test_the_weights_of_a_stage_never_exceed_its_share(lengths: list[float], stage: int) -> None:
    """However a stage is cut into batches, its weights add up to at most a fourth."""
    ends = [0.0, *np.cumsum(lengths).tolist()]
    total = math.fsum(SCHEDULE.weight(stage, begin, end) for begin, end in pairwise(ends))
    assert total <= 0.25 + 1e-12


def test_all_weights_are_spent_when_every_stage_is_held_to_its_end() -> None:
    """Over the longest rollout the weights add up to 1, half of it on the promotions."""
    total = math.fsum(SCHEDULE.weight(stage, 0, end) for stage, end in enumerate(SCHEDULE.horizons_s))
    assert total == pytest.approx(1)
    assert SCHEDULE.weight(0, 0, 1e-9) == pytest.approx(1 / 8)


def test_nothing_is_looked_for_beyond_the_horizon() -> None:
    """A stage that is held longer than planned gets no more weight, and old evidence still grows."""
    assert SCHEDULE.weight(0, 3600, 7200) == 0
    assert Evidence((0.0,)).grown(0.0, [2.0]).logs == pytest.approx((2.0,))


def test_a_late_fault_is_not_diluted_by_the_healthy_past() -> None:
    """After much that spoke for the candidate, evidence begins anew from the weight of the moment."""
    healthy = Evidence.none(1).grown(0.1, [-500.0])
    assert healthy.grown(0.001, [4.0]).log_e == pytest.approx(math.log(0.001) + 4)


def test_no_batch_is_worth_more_than_the_cap() -> None:
    """One bad second is worth at most `cap`, and eta tempers what is below it."""
    assert Evidence((0.0,)).grown(0, [50.0], cap=4.0).logs == (4.0,)
    assert Evidence((0.0,)).grown(0, [2.0], cap=4.0, eta=0.25).logs == (0.5,)


def test_evidence_is_not_kept_without_bound() -> None:
    """More than enough is not kept, so that evidence falls soon after its cause has gone."""
    assert Evidence((ENOUGH - 1,)).grown(0, [500.0]).logs == (ENOUGH,)


def test_the_evidence_is_the_average_over_sizes() -> None:
    """Three sizes with S of 1, 1 and 4 make 2."""
    assert Evidence((0.0, 0.0, math.log(4))).log_e == pytest.approx(math.log(2))


def test_nothing_to_average_is_no_evidence() -> None:
    """The average of nothing is no evidence."""
    assert log_mean(()) == NOTHING


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=30), st.floats(0, 1))
def test_evidence_is_always_a_number(steps: list[float], weight: float) -> None:
    """Whatever the batches say, the evidence is finite."""
    evidence = Evidence.none(1)
    for step in steps:
        evidence = evidence.grown(weight, [step], cap=4.0)
        assert math.isfinite(evidence.log_e)


@given(st.floats(-700, 15), st.floats(1e-300, 1))
def test_what_begins_now_is_added_to_what_began_before(old: float, weight: float) -> None:
    """In logarithms, as numbers are added."""
    (log_s,) = Evidence((old,)).grown(weight, [0.0]).logs
    assert log_s == pytest.approx(float(np.logaddexp(old, math.log(weight))))


def test_looking_all_the_time_is_wrong_no_more_often_than_promised() -> None:
    """Of 500 healthy runs looked at after each of 300 batches, at most 5 % and chance ever reach 1 / 0.05."""
    rng = np.random.default_rng(5)
    schedule, alarms = Schedule((300.0,)), 0
    counts = rng.binomial(20, 0.1, size=(500, 300)).tolist()
    steps = [log_absolute(bad, 20, 0.1, (1.3, 2.0, 4.0)) for bad in range(21)]
    weights = [schedule.weight(0, second, second + 1) for second in range(300)]
    for run in counts:
        evidence = Evidence.none(3)
        for weight, bad in zip(weights, run, strict=True):
            evidence = evidence.grown(weight, steps[bad])
            if evidence.log_e >= math.log(20):
                alarms += 1
                break
    assert 5 < alarms <= 500 * 0.05 + 15
