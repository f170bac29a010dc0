"""What another tool answers is measured on the arms as our own answers are, pinned, and ours to take back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from canary_sdk import EvaluationContext, Reason
from canary_sdk.core import breaker as breakers
from canary_sdk.core.flags.bucketing import bucket_of, seed_of, threshold_of
from canary_sdk.core.flags.evaluation import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from canary_sdk import Canary

KEYS = [f"user-{number}" for number in range(400)]


@pytest.fixture(autouse=True)
def _flag(canary: Canary) -> None:
    canary.apply({"flags": {"checkout": {}}, "auto_rollback": {"probe": "10%"}})


def trip(canary: Canary, state: breakers.State) -> None:
    """Put the breaker into a state."""
    canary.status()
    canary._guard.decide("checkout", lambda _: (breakers.Breaker("checkout", state, reason="slow"), ()))


def test_nothing_is_settled_before_somebody_answered(canary: Canary) -> None:
    """The other tool is to be asked, inside a unit and outside of one."""
    assert canary.settled("checkout", "u") is None
    with canary.scope("job", key="u"):
        assert canary.settled("checkout") is None


@pytest.mark.parametrize(("role", "enabled"), [("candidate", True), ("baseline", False), ("apart", False)])
def test_an_answer_is_counted_on_its_arm(canary: Canary, role: str, enabled: bool) -> None:
    """A finished unit counts once, on the arm that the other tool's answer means, with the key that was asked for."""
    with canary.scope("job") as unit:
        answer = canary.mark("checkout", role, value="blue", variant="b", context="user-7")
        assert answer is not None
        assert (answer.value, answer.variant, answer.role, answer.enabled) == ("blue", "b", role, enabled)
        assert canary.settled("checkout", "somebody else") is answer
        assert canary.is_enabled("checkout") is enabled
    assert unit is not None
    assert unit.marks["checkout"] == (answer, "user-7")
    canary.tick()
    folder, arena = canary._monitor._folder, canary._arena
    counted = {each: arena.read(folder.arm("checkout", each, "unit")).requests for each in Role}
    assert counted == {each: int(each == role) for each in Role}


def test_the_first_answer_of_a_unit_holds(canary: Canary) -> None:
    """A second answer is not marked, and whoever gave it is told which one holds."""
    with canary.scope("job", key="u"):
        first = canary.mark("checkout", "candidate", value=True)
        assert canary.mark("checkout", "baseline", value=False) is first
        canary.kill("checkout", reason="test")
        assert canary.settled("checkout") is first


def test_the_key_is_the_units_own_where_none_is_given(canary: Canary) -> None:
    """Both by a key and by a function; what is no text is no key."""
    for subject in ("u", lambda: "u"):
        with canary.scope("job", key=subject) as unit:
            canary.mark("checkout", "candidate", value=True, context=EvaluationContext(None, {"country": "CH"}))
        assert unit is not None
        assert unit.marks["checkout"][1] == "u"
    with canary.scope("job") as unit:
        canary.mark("checkout", "candidate", value=True, context=7)  # type: ignore[arg-type]
    assert unit is not None
    assert unit.marks["checkout"][1] is None


def test_outside_of_a_unit_there_is_nothing_to_mark(canary: Canary) -> None:
    """Nor in a unit that is over; that is no failure."""
    with canary.scope("job") as unit:
        token = canary.units.enter(unit)
    assert canary.mark("checkout", "candidate", value=True) is None
    assert unit is not None
    assert unit.marks == {}
    canary.units.leave(token)
    assert canary.mark("checkout", "candidate", value=True) is None
    assert not canary.status().failures


def test_what_is_held_is_settled_and_marked(canary: Canary) -> None:
    """While the kill switch is held or the breaker is open the baseline is served, apart, for the rest of the unit."""
    for state in (None, breakers.State.OPEN):
        if state is None:
            canary.kill("checkout", reason="x")
        else:
            trip(canary, state)
        outside = canary.settled("checkout", "u")
        with canary.scope("job") as unit:
            answer = canary.settled("checkout", "u")
            canary.release("checkout")
            canary.reset("checkout")
            assert canary.settled("checkout", "u") is answer is outside
        assert answer is not None
        assert (answer.value, answer.reason, answer.role) == (False, Reason.TRIPPED, Role.APART)
        assert unit is not None
        assert unit.marks == {"checkout": (answer, "u")}
        assert canary.settled("checkout", "u") is None


def test_a_probe_lets_the_lowest_buckets_ask(canary: Canary) -> None:
    """Half open, the other tool is asked for the first tenth of the buckets, and for nobody without a key."""
    trip(canary, breakers.State.HALF_OPEN)
    asked = {key for key in KEYS if canary.settled("checkout", key) is None}
    assert asked == {key for key in KEYS if bucket_of(key, seed_of("checkout")) < threshold_of(10)}
    assert 0 < len(asked) < len(KEYS) / 4
    assert canary.settled("checkout") is not None


def test_a_flag_that_is_not_declared_is_somebody_elses(canary: Canary) -> None:
    """Nothing is settled or marked, and marking it is counted as a failure."""
    with canary.scope("job") as unit:
        assert canary.settled("unheard-of", "u") is None
        assert canary.mark("unheard-of", "candidate", value=True) is None
    assert unit is not None
    assert unit.marks == {}
    assert canary.status().failures == {"marking unheard-of": 1}


def test_nothing_is_raised(canary: Canary) -> None:
    """What is no flag key, no role or no targeting key is counted, and the other tool's answer is served."""
    trip(canary, breakers.State.HALF_OPEN)
    assert canary.settled([], "u") is None  # type: ignore[arg-type]
    assert canary.settled("checkout", 7) is None  # type: ignore[arg-type]
    with canary.scope("job"):
        assert canary.mark("checkout", "canary", value=True) is None
    assert canary.status().failures == {"settling []": 1, "settling checkout": 1, "marking checkout": 1}


def test_the_first_use_wakes_the_process(canary: Canary) -> None:
    """A process that has evaluated nothing yet knows the flag, the breaker and what is held all the same."""
    uses: list[Callable[[], bool]] = [
        lambda: canary.flag("checkout") is not None,
        lambda: canary.breaker("checkout").is_serving,
        lambda: canary.settled("checkout", "u") is None,
        lambda: canary.mark("checkout", "candidate", value=True) is None,
    ]
    for use in uses:
        canary._cool_down()
        assert not canary._is_awake
        assert use()
        assert canary._is_awake
