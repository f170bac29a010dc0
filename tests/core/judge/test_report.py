"""Claims about what hosts tell each other: sums whose differences add up, whatever came late, twice or not at all."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.core.judge.report import FORMAT, Report, plus

if TYPE_CHECKING:
    from canary_sdk.core.judge.report import Sums

STEPS = st.lists(st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.sampled_from("xyz"), st.integers(0, 9))))


def report(sums: Sums, run: str = "1", stage: int = 1, **more: Any) -> Report:
    """Return what a host tells."""
    return Report(run=run, attempt=1, stage=stage, sums=sums, **more)


@given(STEPS, st.data())
def test_what_is_read_adds_up_to_what_was_told(steps: list[Sums], data: st.DataObject) -> None:
    """Whichever of the reports are read, and however often, from the first to the last nothing is lost or doubled."""
    told = [report({})]
    for step in steps:
        told.append(report(plus(told[-1].sums, step)))
    read = [told[0], *(each for each in told for _ in range(data.draw(st.integers(0, 2)))), told[-1]]
    found: Sums = {}
    for last, each in pairwise(read):
        found = plus(found, each.since(last))
    assert found == plus({}, told[-1].sums)


@pytest.mark.parametrize(
    "last", [None, report({"a": {"x": 1}}, run="2"), report({"a": {"x": 1}}, stage=2)], ids=["none", "run", "stage"]
)
def test_what_cannot_be_compared_is_where_to_begin(last: Report | None) -> None:
    """The first report of a process, or of a stage, adds nothing: nobody knows since when it counts."""
    assert report({"a": {"x": 5}}).since(last) == {}


def test_it_is_read_as_it_was_written() -> None:
    """Through JSON and back it is the same report."""
    before = report({"a": {"x": 5, "y": -0.25}}, noise={"shape": 0.1}, heard={"age_s": 1.0})
    assert Report.from_dict(json.loads(json.dumps(before.to_dict()))) == before


@pytest.mark.parametrize(
    "change",
    [{"format": FORMAT + 1}, {"sums": {"a": {"x": "5"}}}, {"sums": []}, {"noise": None}, {"stage": "one"}],
)
def test_what_no_host_has_told_is_refused(change: dict[str, Any]) -> None:
    """Another format, and numbers that are none."""
    data = {**report({"a": {"x": 5}}).to_dict(), **change}
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        Report.from_dict(data)
