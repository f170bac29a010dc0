"""Claims about latency cells."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.core.judge.cells import QUANTILES, cell_of, first_edges, over, quantile_edges, rebinned, scaled

EDGES: Final = (0.1, 0.2, 0.5)
counts = st.lists(st.floats(0, 1e6), min_size=4, max_size=4)


@pytest.mark.parametrize(("latency_s", "cell"), [(0.0, 0), (0.1, 0), (0.1000001, 1), (0.5, 2), (0.51, 3), (1e9, 3)])
def test_a_request_exactly_at_an_edge_is_not_over_it(latency_s: float, cell: int) -> None:
    """A cell ends at its edge, the edge included, as an SLO's limit does."""
    assert cell_of(latency_s, EDGES) == cell


def test_what_is_over_a_limit_is_counted_exactly() -> None:
    """Requests over a limit are those in the cells above its edge."""
    assert over((7, 5, 3, 1), EDGES, 0.2) == 4


@given(st.floats(1e-4, 100))
def test_a_candidate_slower_by_the_tolerance_fills_the_same_cells(latency_s: float) -> None:
    """With 10 % granted, a candidate that is 10 % slower is in the cell of a baseline that is not."""
    slower = math.nextafter(latency_s * 1.1, 0)
    assert cell_of(slower, scaled(EDGES, 0.1)) <= cell_of(latency_s, EDGES)
    assert cell_of(latency_s * 1.1001, scaled(EDGES, 0.1)) >= cell_of(latency_s, EDGES)


@given(st.lists(st.sampled_from([0.05, 0.2, 0.2001, 0.5, 1.0]), max_size=4))
def test_every_limit_is_an_edge_from_the_beginning(limits: list[float]) -> None:
    """The first edges ascend, contain every limit, and are far enough apart to hold something."""
    edges = first_edges(limits)
    assert set(limits) <= set(edges)
    assert all(low < high for low, high in pairwise(edges))


def test_edges_move_to_the_quantiles_of_what_was_counted() -> None:
    """After 100,000 requests on the first edges, the new ones lie at the quantiles, within the width of a cell."""
    drawn = np.random.default_rng(1).lognormal(math.log(0.145), 0.6, 100_000)
    first = first_edges([0.5, 2.0])
    cells = np.bincount(np.searchsorted(first, drawn), minlength=len(first) + 1).tolist()
    edges = quantile_edges(cells, first, [0.5])
    assert 0.5 in edges
    for share in QUANTILES:
        wanted = float(np.quantile(drawn, share))
        assert min(abs(math.log(edge / wanted)) for edge in edges) < 0.08


def test_without_counts_the_edges_stay() -> None:
    """Where nothing was counted there are no quantiles, and nothing moves but the limits."""
    assert quantile_edges((0.0,) * 4, EDGES, [0.3]) == (0.1, 0.2, 0.3, 0.5)


@given(counts, st.lists(st.floats(0.01, 10), min_size=1, max_size=6, unique=True))
def test_counts_on_new_edges_are_as_many(cells: list[float], new: list[float]) -> None:
    """Spreading counts over other edges loses none and makes none."""
    spread = rebinned(cells, EDGES, sorted(new))
    assert math.fsum(spread) == pytest.approx(math.fsum(cells))
    assert min(spread) >= -1e-6 * (1 + math.fsum(cells))


@given(counts)
def test_counts_on_the_same_edges_are_the_same(cells: list[float]) -> None:
    """An edge that stays keeps what is below it exactly."""
    assert rebinned(cells, EDGES, EDGES) == pytest.approx(tuple(cells), abs=1e-6)
