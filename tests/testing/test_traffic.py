"""Claims about made-up traffic: that it is what was asked for, and that everything behind it is real."""

from __future__ import annotations

from math import inf
from random import Random
from typing import TYPE_CHECKING

import pytest

from canary_sdk import CanaryError
from canary_sdk.core.breaker import State
from canary_sdk.errors import UnknownFlag
from canary_sdk.testing import Behaviour, simulate

if TYPE_CHECKING:
    from canary_sdk import Canary
    from canary_sdk.testing import ManualClock

GOOD = Behaviour(p50="100ms", p95="300ms")
SLOW = Behaviour(p50="150ms", p95="900ms")


@pytest.fixture(autouse=True)
def _flag(canary: Canary) -> None:
    """Declare a flag at 25 % that has something to keep."""
    canary.apply({"flags": {"f": {"rollout": 25, "slos": ["p95 < 500ms", "errors < 1%"]}}})


@pytest.mark.parametrize(
    ("rule", "soonest_s", "latest_s", "said"),
    [
        ("sequential", 1, 60, "f was switched off: "),
        ("consecutive", 90, 95, "f was switched off: breach 3 in a row: p95"),
    ],
)
def test_a_slow_candidate_is_switched_off(
    canary: Canary, clock: ManualClock, rule: str, soonest_s: float, latest_s: float, said: str
) -> None:
    """It trips as each rule has it, for its latency, and the service recovers; the text tells it all."""
    canary.apply({"auto_rollback": {"rule": rule}})
    seen = simulate(canary, clock, "f", baseline=GOOD, candidate=SLOW)
    assert soonest_s <= seen.tripped_s <= latest_s, seen
    assert canary.breaker("f").state is State.OPEN
    told = [type(event).__name__ for _, event in seen.events]
    assert told.index("FlagTripped") < told.index("ServiceRecovered")
    assert said in str(seen)


def test_an_erring_candidate_is_switched_off(canary: Canary, clock: ManualClock) -> None:
    """It trips for its errors alone."""
    seen = simulate(canary, clock, "f", baseline=GOOD, candidate=Behaviour("100ms", "300ms", errors="20%"))
    assert seen.tripped_s < 60
    assert "f was switched off: errors" in str(seen)


def test_what_is_shared_blames_nobody(canary: Canary, clock: ManualClock) -> None:
    """A candidate that is as slow as its baseline stays."""
    seen = simulate(canary, clock, "f", baseline=SLOW, candidate=SLOW)
    assert seen.tripped_s == inf
    assert "IncidentSuspected" in {type(event).__name__ for _, event in seen.events}


def test_a_healthy_candidate_is_left_alone(canary: Canary, clock: ManualClock) -> None:
    """It stays, its share of users meets it, and time has passed in which nobody waited."""
    before = clock.monotonic()
    seen = simulate(canary, clock, "f", baseline=GOOD, candidate=GOOD, seconds=120, rate=50)
    assert seen.tripped_s == inf
    assert seen.candidate + seen.baseline == 6_000
    assert 1_200 < seen.candidate < 1_800
    assert clock.monotonic() == pytest.approx(before + 120)
    (status,) = canary.status().flags.values()
    assert status.verdict is not None
    assert status.verdict.outcome.name == "PASS"


PLAN = {"stages": [{"percent": percent, "bake": "90s"} for percent in (25, 50, 100)]}


def test_a_plan_is_led_to_its_end(canary: Canary, clock: ManualClock) -> None:
    """A rollout that was started goes through its stages by itself, and is promoted when all have baked."""
    canary.apply({"flags": {"f": {"slos": ["p95 < 500ms"], "plan": PLAN}}})
    canary.rollouts.start("f")
    seen = simulate(canary, clock, "f", baseline=GOOD, candidate=GOOD, seconds=330)
    assert 270 <= seen.promoted_s < 290, seen
    assert (seen.tripped_s, seen.aborted_s) == (inf, inf)
    assert "f was promoted" in str(seen)
    assert "p95" not in str(seen)


def test_a_plan_is_aborted_in_its_first_stage(canary: Canary, clock: ManualClock) -> None:
    """A candidate that breaks its promises is taken back before more users meet it."""
    canary.apply({"flags": {"f": {"slos": ["p95 < 500ms"], "plan": PLAN}}})
    canary.rollouts.start("f")
    seen = simulate(canary, clock, "f", baseline=GOOD, candidate=SLOW, seconds=200)
    assert seen.aborted_s < 100, seen
    assert seen.promoted_s == inf
    assert seen.candidate < 0.3 * 100 * 20


def test_the_same_seed_gives_the_same(clock: ManualClock, canary: Canary) -> None:
    """Nothing is left to chance but the seed."""
    first, second, other = (
        simulate(canary, clock, "f", baseline=GOOD, candidate=GOOD, seconds=20, seed=seed).candidate
        for seed in (1, 1, 2)
    )
    assert first == second != other


def test_a_behaviour_has_the_quantiles_that_were_asked_for() -> None:
    """Half are within p50, 95 % within p95, and so many fail."""
    draw = Behaviour(p50="100ms", p95="300ms", errors="10%").sampler(Random(1))
    drawn = [draw() for _ in range(20_000)]
    times = sorted(seconds for seconds, _ in drawn)
    assert times[10_000] == pytest.approx(0.1, rel=0.05)
    assert times[19_000] == pytest.approx(0.3, rel=0.05)
    assert sum(fails for _, fails in drawn) == pytest.approx(2_000, rel=0.1)


def test_a_steady_behaviour_is_one_value() -> None:
    """Where both quantiles are the same, so is every request; numbers are seconds."""
    draw = Behaviour(p50=0.25, p95=0.25).sampler(Random(1))
    assert {round(draw()[0], 9) for _ in range(100)} == {0.25}


@pytest.mark.parametrize(
    ("behaviour", "complaint"),
    [
        (("fast", "1s"), "found 'fast', expected a duration"),
        (("2s", "1s"), "found a p95 below p50"),
        (("1s", "1s", "half"), "found 'half', expected a percentage"),
    ],
)
def test_what_no_arm_can_do_is_refused(behaviour: tuple[str, ...], complaint: str) -> None:
    """The mistake is named, with what was expected."""
    with pytest.raises(CanaryError, match=complaint):
        Behaviour(*behaviour)


def test_a_flag_that_is_not_there_is_refused(canary: Canary, clock: ManualClock) -> None:
    """A simulation of no flag is none."""
    with pytest.raises(UnknownFlag):
        simulate(canary, clock, "g", baseline=GOOD, candidate=GOOD)
