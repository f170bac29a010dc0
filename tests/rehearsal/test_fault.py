"""What is done to the candidate: how it is written, and whom it strikes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.rehearsal.fault import HANG_S, PARTS, Fault, FaultKind, parse_fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("latency=800ms@50%", Fault(FaultKind.LATENCY, 50_000, 0.8)),
        ("latency=1.5s", Fault(FaultKind.LATENCY, 100_000, 1.5)),
        (" latency = 20ms @ 0.125% ", Fault(FaultKind.LATENCY, 125, 0.02)),
        ("errors=5%", Fault(FaultKind.ERRORS, 5_000)),
        ("errors=100%", Fault(FaultKind.ERRORS, 100_000)),
        ("hang=10%", Fault(FaultKind.HANG, 10_000, HANG_S)),
        ("hang=5s@10%", Fault(FaultKind.HANG, 10_000, 5.0)),
        ("hang=5s", Fault(FaultKind.HANG, 100_000, 5.0)),
    ],
)
def test_a_fault_is_read_as_it_is_written(text: str, fault: Fault) -> None:
    """Every form of the grammar is read, and what is printed reads as the same fault."""
    assert parse_fault(text) == fault
    assert parse_fault(str(fault)) == fault


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", 'found ""'),
        ("slow=5%", 'found "slow=5%"'),
        ("latency", 'found "latency"'),
        ("latency=800@50%", 'found "800"'),
        ("latency=0ms@50%", 'found "0ms"'),
        ("latency=90s@50%", 'found "90s"'),
        ("latency=50%", 'found ""'),
        ("latency=800ms@0%", 'found "0%"'),
        ("latency=800ms@101%", 'found "101%"'),
        ("latency=800ms@half", 'found "half"'),
        ("errors=5", 'found "5"'),
        ("errors=0.0001%", 'found "0.0001%"'),
        ("errors=-5%", 'found "-5%"'),
        ("errors=5%@5%", 'found "5%@5%"'),
        ("errors=", 'found ""'),
    ],
)
def test_a_mistake_is_told_with_what_was_expected(text: str, found: str) -> None:
    """What cannot be read is refused with what was found and an example of what can."""
    with pytest.raises(ValueError, match="expected") as refused:
        parse_fault(text)
    assert found in str(refused.value)


@given(parts=st.integers(1, PARTS), first=st.integers(0, 10_000), many=st.integers(1, 500))
def test_the_share_is_struck_evenly(parts: int, first: int, many: int) -> None:
    """In any stretch of requests the share is struck, give or take one, and the very first request always is."""
    fault = Fault(FaultKind.ERRORS, parts)
    struck = sum(fault.strikes(number) for number in range(first, first + many))
    assert abs(struck - many * parts / PARTS) < 1
    assert fault.strikes(0)


def test_a_sentence_says_what_is_done() -> None:
    """A person reads what happens to whom."""
    assert parse_fault("latency=800ms@50%").sentence == "800 ms later on 50 % of the candidate's requests"
    assert parse_fault("errors=2.5%").sentence == "status 500 on 2.5 % of the candidate's requests"
    assert parse_fault("hang=10%").sentence == "no answer for 30 s on 10 % of the candidate's requests"
