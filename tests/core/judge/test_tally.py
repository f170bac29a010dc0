"""Claims about counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.core.judge.tally import EMPTY, Tally

LIMITS = (0.2, 0.5, 1.0)

tallies = st.builds(
    lambda requests, errors, aborted, seconds, over: Tally(
        requests,
        min(errors, requests),
        aborted,
        seconds,
        {limit: min(n, requests) for limit, n in over.items()},
        {0.95: seconds} if requests else {},
    ),
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.integers(0, 50),
    st.floats(0, 60),
    st.fixed_dictionaries({limit: st.integers(0, 1000) for limit in LIMITS}),
)


def test_an_empty_tally_knows_no_rate() -> None:
    """Where nothing was seen, rates are zero and nothing divides by it."""
    assert (EMPTY.error_rate, EMPTY.rate) == (0.0, 0.0)


def test_rates_leave_aborted_requests_out() -> None:
    """A client that went away is no request and no error."""
    tally = Tally(requests=200, errors=3, aborted=100, seconds=10.0)
    assert (tally.error_rate, tally.rate) == (0.015, 20.0)


def test_adding_joins_what_was_seen_of_the_same_seconds() -> None:
    """Counts add up, the time does not: two processes watch the same half minute."""
    one = Tally(100, 2, 1, 30.0, {0.5: 7}, {0.95: 0.4})
    other = Tally(50, 1, 0, 29.9, {0.5: 3}, {0.95: 0.9})
    assert one + other == Tally(150, 3, 1, 30.0, {0.5: 10})


def test_quantiles_are_never_made_up() -> None:
    """The p95 of two arms together is not known from their two p95, so there is none."""
    one, other = Tally(100, quantiles={0.95: 0.4}), Tally(1, quantiles={0.95: 0.9})
    assert (one + other).quantiles == {}
    assert (one + EMPTY).quantiles == (EMPTY + one).quantiles == {0.95: 0.4}


def test_adding_keeps_only_limits_that_both_have_counted() -> None:
    """A limit that one side did not count is not exact any more, and is dropped rather than understated."""
    assert (Tally(10, over={0.5: 1, 1.0: 0}) + Tally(10, over={0.5: 2})).over == {0.5: 3}


@given(tallies)
def test_nothing_added_changes_nothing(tally: Tally) -> None:
    """EMPTY is neutral on both sides."""
    assert EMPTY + tally == tally == tally + EMPTY


@given(tallies, tallies, tallies)
def test_the_order_of_adding_does_not_matter(one: Tally, two: Tally, three: Tally) -> None:
    """Processes may be summed in any order."""
    assert (one + two) + three == one + (two + three)
    assert one + two == two + one


def test_a_tally_cannot_be_changed() -> None:
    """A tally that was judged stays what it was."""
    with pytest.raises(AttributeError):
        EMPTY.requests = 1  # type: ignore[misc]


def test_a_list_is_short_and_read_whatever_follows() -> None:
    """Whole numbers are written as such; what a later version adds is left alone; half a pair is refused."""
    written = Tally(200, 3, 1, 30.0, {0.5: 7}, {0.95: 0.25}).to_list()
    assert repr(written) == "[200, 3, 1, 30, [0.5, 7], [0.95, 0.25]]"
    assert Tally.from_list([*written, "later"]) == Tally(200, 3, 1, 30.0, {0.5: 7}, {0.95: 0.25})
    with pytest.raises(ValueError, match="shorter"):
        Tally.from_list([200, 3, 1, 30, [0.5], []])
