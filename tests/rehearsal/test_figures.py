"""Exact figures out of raw times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.core.judge.slo import parse_slo
from canary_sdk.rehearsal.figures import FEWEST, keeps, quantile, tally_of

SLOS = (parse_slo("p95 < 100ms"), parse_slo("errors < 10%"))


@given(values=st.lists(st.floats(0, 10), min_size=1).map(sorted), q=st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_the_smallest_value_that_enough_do_not_exceed(values: list[float], q: float) -> None:
    """At least q of the values do not exceed it, and no smaller value has that property."""
    found = quantile(values, q)
    assert found is not None
    assert sum(value <= found for value in values) >= q * len(values)
    assert sum(value < found for value in values) < q * len(values)


def test_nothing_has_no_quantile() -> None:
    """Nothing known is nothing told."""
    assert quantile([], 0.5) is None
    assert dict(tally_of([], errors=0, seconds=1).quantiles) == {}


def test_a_tally_counts_what_took_strictly_longer() -> None:
    """Exactly at the limit keeps it."""
    tally = tally_of([0.2, 0.1, 0.05], errors=1, seconds=2, slos=SLOS)
    assert (tally.requests, tally.errors, tally.over[0.1], tally.rate) == (3, 1, 1, 1.5)


@pytest.mark.parametrize(
    ("times", "errors", "kept"),
    [
        ([0.05] * 100, 0, True),
        ([0.05] * 95 + [0.2] * 5, 0, True),
        ([0.05] * 94 + [0.2] * 6, 0, False),
        ([0.05] * 100, 11, False),
        ([0.2] * (FEWEST - 1), 0, None),
    ],
)
def test_promises_are_kept_broken_or_not_known(times: list[float], errors: int, kept: bool | None) -> None:
    """The clients' figures are held against the same promises; too few requests say nothing."""
    assert keeps(tally_of(times, errors=errors, seconds=1, slos=SLOS), SLOS) is kept
