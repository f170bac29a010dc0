"""Claims about the counts of one batch."""

from __future__ import annotations

import pytest

from canary_sdk.core.judge.batch import NOBODY, Batch, Side
from canary_sdk.core.judge.evalues import Pair

WHOLE = Side(((5, 3), (2, 1)), units=11, errors=4)
PART = Side(((1, 3), (0, 1)), units=5, errors=2)


def test_a_side_counts() -> None:
    """Failures are told with the units that ended."""
    assert WHOLE.failed == Pair(4, 11)
    assert NOBODY.failed == Pair(0, 0)


def test_a_part_is_taken_away() -> None:
    """What is left is counted cell by cell, and is added up to the whole again."""
    assert Side(((4, 0), (2, 0)), units=6, errors=2) == WHOLE - PART
    assert Side(((0, 0), (0, 0))) == WHOLE - WHOLE
    assert (WHOLE - PART) + PART == PART + (WHOLE - PART) == WHOLE
    assert NOBODY + WHOLE == WHOLE + NOBODY == WHOLE


@pytest.mark.parametrize("part", [Side(((1, 3),)), Side(((1, 3), (0, 1), (0, 0))), Side(((1,), (0, 1)))])
def test_what_was_counted_by_other_edges_is_no_part(part: Side) -> None:
    """A part with other strata or other cells is refused, never cut to what both have."""
    with pytest.raises(ValueError, match="argument 2"):
        WHOLE - part
    with pytest.raises(ValueError, match="argument 2"):
        WHOLE + part


def test_the_self_test_leaves_the_candidate_out() -> None:
    """A part of the baseline plays the candidate against its rest, and nobody else is in it."""
    batch = Batch(seconds=0.5, candidate=PART, baseline=WHOLE, requests=99, newcomers=(1, 2), pseudo=PART)
    assert batch.self_test == Batch(seconds=0.5, candidate=PART, baseline=WHOLE - PART)


def test_nothing_is_a_part_of_anything() -> None:
    """A second in which nobody played the candidate leaves the baseline as it is."""
    batch = Batch(seconds=0.5, candidate=WHOLE, baseline=WHOLE, pseudo=Side())
    assert batch.self_test == Batch(seconds=0.5, baseline=WHOLE)
