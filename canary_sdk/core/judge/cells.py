"""Latency in cells: where the edges lie, which cell a request falls into, and how old counts fit new edges. It counts.

Edges ascend, in seconds; n edges make n + 1 cells, and cell i holds what took at most edge i and more than the edge
before. Every limit of an SLO is an edge, so how many requests were over a limit is exact. The others lie at quantiles
of the baseline, where they tell most about a change of shape; until the baseline is known they are a fixed grid.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

QUANTILES: Final = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Where edges are put: denser in the upper tail, which promises are about."""

MOST_EDGES: Final = 31
"""So many edges has a stratum at most: what is counted has a fixed place in memory that processes share."""

_FINEST_S: Final = 1e-4
_TOO_NEAR: Final = 1.01
"""Edges nearer to each other than this factor are one: a cell must be able to hold something."""


def cell_of(latency_s: float, edges: Sequence[float]) -> int:
    """Return the cell of a request that took this long; exactly at an edge is not over it."""
    return bisect_left(edges, latency_s)


def over(cells: Sequence[float], edges: Sequence[float], limit_s: float) -> float:
    """Return how many are over `limit_s`, which must be an edge."""
    return sum(cells[edges.index(limit_s) + 1 :])


def scaled(edges: Iterable[float], tolerance: float) -> tuple[float, ...]:
    """Return the candidate's edges: with 0.1, a candidate that is 10 % slower fills its cells as the baseline does.

    A margin of latency in this form holds for every quantile at once, and no formula needs to know of it.
    """
    return tuple(edge * (1 + tolerance) for edge in edges)


def first_edges(limits_s: Iterable[float]) -> tuple[float, ...]:
    """Return edges for when nothing is known yet: the limits, and a geometric grid from 0.1 ms to the highest of them.

    Nothing lies beyond it, so that what hangs is seen as soon as it is over all limits. Without limits nobody asks for
    latency: then there are no edges.
    """
    limits = frozenset(limits_s)
    if not limits:
        return ()
    coarsest_s, steps = max(limits), max(MOST_EDGES - len(limits), 2)
    return _merged((_FINEST_S * (coarsest_s / _FINEST_S) ** (step / steps) for step in range(steps)), limits)


def quantile_edges(cells: Sequence[float], edges: Sequence[float], limits_s: Iterable[float]) -> tuple[float, ...]:
    """Return edges at the quantiles of what was counted, and at every limit; the old edges if nothing was counted.

    Where there were no edges there are none but the limits.
    """
    if not edges or not sum(cells):
        return _merged(edges, limits_s)
    return _merged((_quantile(cells, edges, share) for share in QUANTILES), limits_s)


def rebinned(cells: Sequence[float], old: Sequence[float], new: Sequence[float]) -> tuple[float, ...]:
    """Spread counts over new edges, as if they lay evenly, in the logarithm of time, within their old cells."""
    below = [_below(cells, old, edge) for edge in new]
    return tuple(after - before for before, after in pairwise([0.0, *below, math.fsum(cells)]))


def _merged(edges: Iterable[float], limits_s: Iterable[float]) -> tuple[float, ...]:
    """Sort edges and limits into one; an edge that is nearly a limit or another edge gives way."""
    kept = sorted(set(limits_s))
    for edge in edges:
        if all(max(edge, other) > _TOO_NEAR * min(edge, other) for other in kept):
            kept.append(edge)
    return tuple(sorted(kept))


def _bounds(edges: Sequence[float]) -> tuple[float, ...]:
    """Close the first and the last cell, which are open."""
    return (edges[0] / 10, *edges, edges[-1] * 10)


def _quantile(cells: Sequence[float], edges: Sequence[float], share: float) -> float:
    """Return the time that `share` did not exceed, by interpolation."""
    bounds, wanted = _bounds(edges), share * math.fsum(cells)
    sums = list(accumulate(cells))
    cell = min(bisect_left(sums, wanted), len(cells) - 1)
    within = (wanted - (sums[cell] - cells[cell])) / cells[cell] if cells[cell] else 1.0
    return float(bounds[cell] * (bounds[cell + 1] / bounds[cell]) ** within)


def _below(cells: Sequence[float], edges: Sequence[float], time_s: float) -> float:
    """Return how many took at most `time_s`, by interpolation."""
    bounds = _bounds(edges)
    total = 0.0
    for count, (low, high) in zip(cells, pairwise(bounds), strict=True):
        within = math.log(time_s / low) / math.log(high / low)
        total += count * min(max(within, 0.0), 1.0)
    return total
