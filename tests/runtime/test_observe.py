"""Claims about indicators: what is reported counts for the arms that the unit has met, and can be promised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from canary_sdk.core.events import FlagTripped
from canary_sdk.measure.trial import ERRORS, UNITS

if TYPE_CHECKING:
    from canary_sdk import Canary
    from canary_sdk.core.events import Event
    from canary_sdk.core.judge.verdict import Finding
    from canary_sdk.testing import ManualClock

CANDIDATE = "user-1"
"""Who gets the candidate at 50 %; the other does not."""
BASELINE = "user-3"


class Trips(list[FlagTripped]):
    """Keeps the trips that are told."""

    def handle(self, event: Event) -> None:
        """Keep a trip."""
        if isinstance(event, FlagTripped):
            self.append(event)


def declare(canary: Canary, *slos: str, rule: str = "consecutive", **fields: Any) -> Trips:
    """Declare a flag at 50 % with these SLOs; return where its trips will be."""
    policy = {"rule": rule, "interval": "1s", "breaches": 1, "min_samples": 4}
    flags = {"shop": {"rollout": 50, "slos": list(slos), **fields}, "banner": {"rollout": 100}}
    canary.apply({"flags": flags, "auto_rollback": policy})
    assert canary.is_enabled("shop", CANDIDATE)
    assert not canary.is_enabled("shop", BASELINE)
    trips = Trips()
    canary.subscribe(trips)
    canary.tick()
    return trips


def report(canary: Canary, key: str, name: str, *values: Any) -> None:
    """Report each value in a unit of its own."""
    for value in values:
        with canary.scope("request", key=key):
            canary.is_enabled("shop", key)
            canary.observe(name, value)


def judged(canary: Canary, clock: ManualClock) -> tuple[Finding, ...]:
    """Let the interval end, and return what was found."""
    for _ in range(12):
        clock.advance(0.1)
        canary.tick()
    verdict = canary.status().flags["shop"].verdict
    assert verdict is not None
    return verdict.findings


def counted(canary: Canary, clock: ManualClock) -> tuple[int | None, int, int]:
    """Return, of the one SLO: bad values of the candidate, values of the candidate, values of the baseline."""
    (finding,) = judged(canary, clock)
    return finding.bad, finding.samples, finding.baseline_samples


@pytest.mark.parametrize("rule", ["consecutive", "both"])
@pytest.mark.parametrize(
    ("slo", "name", "good", "bad"),
    [
        ("cache_hit > 90%", "cache_hit", [True] * 20, [True] * 10 + [False] * 10),
        ("cache_miss < 10%", "cache_miss", [False] * 20, [True] * 10 + [False] * 10),
        ("basket_value.p50 > 20", "basket_value", [20, 31.5] * 10, [19.9] * 12 + [500] * 8),
        ("queue.p95 < 100", "queue", [100.0] * 20, [5] * 17 + [101] * 3),
    ],
)
def test_a_worse_indicator_takes_the_candidate_back(
    canary: Canary, clock: ManualClock, slo: str, name: str, good: list[float], bad: list[float], rule: str
) -> None:
    """Too many bad values of the candidate, and not of the baseline, trip the flag where the classic rule may."""
    trips = declare(canary, slo, rule=rule)
    report(canary, BASELINE, name, *good)
    report(canary, CANDIDATE, name, *good)
    judged(canary, clock)
    assert not trips
    report(canary, BASELINE, name, *good)
    report(canary, CANDIDATE, name, *bad)
    judged(canary, clock)
    (trip,) = trips
    assert name in trip.reason
    assert "bad" in trip.reason
    assert "20 values" in trip.reason
    assert not canary.is_enabled("shop", CANDIDATE)


def test_what_both_arms_share_blames_nobody(canary: Canary, clock: ManualClock) -> None:
    """A cache that is cold for all is no fault of the candidate."""
    trips = declare(canary, "cache_hit > 90%")
    for key in (BASELINE, CANDIDATE):
        report(canary, key, "cache_hit", *[False] * 20)
    (finding,) = judged(canary, clock)
    assert finding.shared
    assert not trips


def test_the_tolerance_is_of_the_share_of_bad_values(canary: Canary, clock: ManualClock) -> None:
    """With 10 % of them allowed and 10 % tolerance, 11 of 100 may be bad and 12 may not."""
    declare(canary, "cache_hit > 90%")
    report(canary, CANDIDATE, "cache_hit", *[False] * 11, *[True] * 89)
    assert judged(canary, clock)[0].outcome.name == "ACCEPTABLE"
    report(canary, CANDIDATE, "cache_hit", *[False] * 12, *[True] * 88)
    assert judged(canary, clock)[0].outcome.name == "BREACH"


def test_promises_of_one_indicator_are_counted_apart(canary: Canary, clock: ManualClock) -> None:
    """Each cut is counted for itself, and a cut that two promises share once."""
    declare(canary, "size.p50 > 10", "size.p90 < 30", "size.p10 > 10")
    report(canary, CANDIDATE, "size", 5, 15, 25, 35)
    assert [(each.bad, each.samples) for each in judged(canary, clock)] == [(1, 4), (1, 4), (1, 4)]


def test_after_a_trip_the_service_is_held_against_its_indicators(canary: Canary, clock: ManualClock) -> None:
    """Whether taking the flag back has helped is told of what everybody reports."""
    trips = declare(canary, "cache_hit > 90%")
    report(canary, CANDIDATE, "cache_hit", *[False] * 20)
    judged(canary, clock)
    assert len(trips) == 1
    report(canary, CANDIDATE, "cache_hit", *[True] * 9, False)
    report(canary, BASELINE, "cache_hit", *[True] * 10)
    assert counted(canary, clock) == (1, 20, 0)


def test_only_flags_that_the_unit_has_met_are_concerned(canary: Canary, clock: ManualClock) -> None:
    """What is reported before an evaluation, or in another unit, cannot have been influenced by it."""
    declare(canary, "cache_hit > 90%")
    with canary.scope("request", key=CANDIDATE):
        canary.observe("cache_hit", False)
        canary.is_enabled("banner", CANDIDATE)
        canary.observe("cache_hit", False)
        canary.is_enabled("shop", CANDIDATE)
        canary.observe("cache_hit", True)
    canary.observe("cache_hit", False)
    with canary.scope("request", key=CANDIDATE):
        canary.observe("cache_hit", False)
    report(canary, CANDIDATE, "cache_hit", True, True, True)
    report(canary, BASELINE, "cache_hit", True)
    assert counted(canary, clock) == (0, 4, 1)


def test_what_nobody_asks_for_is_not_kept(canary: Canary) -> None:
    """A name of which no SLO speaks costs no room, also once no SLO speaks of it any more."""
    declare(canary, "cache_hit > 90%")
    report(canary, CANDIDATE, "cache_hits", True)
    assert len(canary.units.value_ring) == 0
    report(canary, CANDIDATE, "cache_hit", True)
    assert len(canary.units.value_ring) == 1
    canary.update("shop", {"slos": ["errors < 1%"]})
    canary.tick()
    report(canary, CANDIDATE, "cache_hit", True)
    assert len(canary.units.value_ring) == 0


@pytest.mark.parametrize("value", ["31.5", None, float("nan"), object(), [1]], ids=repr)
def test_what_is_no_number_is_refused_and_told(canary: Canary, clock: ManualClock, value: Any) -> None:
    """It is not counted, it breaks nothing, and `status` counts it."""
    declare(canary, "size.p50 > 10")
    report(canary, CANDIDATE, "size", 20, value, float("inf"), 20, 20)
    assert counted(canary, clock) == (0, 4, 0)
    assert canary.status().failures == {"observing size": 1}


def test_a_name_that_is_none_breaks_nothing(canary: Canary) -> None:
    """Whatever is handed over, the application goes on."""
    declare(canary, "size.p50 > 10")
    report(canary, CANDIDATE, ["size"], 20)  # type: ignore[arg-type]
    assert canary.status().failures == {"observe": 1}


def test_what_there_was_no_room_for_is_counted_as_dropped(canary: Canary) -> None:
    """The ring is bounded, and says what it lost."""
    declare(canary, "size.p50 > 10")
    ring = canary.units.value_ring
    with canary.scope("request", key=CANDIDATE):
        canary.is_enabled("shop", CANDIDATE)
        for _ in range(ring.capacity + 3):
            canary.observe("size", 20)
    assert canary.status().dropped == 3


def test_the_sequential_judge_hears_of_what_is_reported(canary: Canary, clock: ManualClock) -> None:
    """A user counts once a second, on the arm of the unit, as good or as bad as the first of its values was."""
    declare(canary, "cache_hit > 90%", "errors < 1%", rule="sequential")
    for _ in range(3):
        clock.advance(1.0)
        canary.tick()
    report(canary, CANDIDATE, "cache_hit", False, True, True)
    report(canary, BASELINE, "cache_hit", True)
    canary.tick()
    hearing = canary._monitor._watches["shop"].hearing
    assert hearing is not None
    assert hearing.kinds == ("unit", "cache_hit<0.5")
    words = canary._arena.read_trial(hearing.matters[1].trial)
    assert [words[at + side] for at in (UNITS, ERRORS) for side in (0, 1, 2)] in (
        [1, 1, 0, 1, 0, 0],
        [1, 0, 1, 1, 0, 0],
    )
