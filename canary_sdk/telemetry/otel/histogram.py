"""How durations are put into bins, and bins into the points of a histogram: explicit or exponential. Pure.

Explicit bins are those of the semantic conventions, so what is exported is exact. Exponential ones have a base of
2^(1/32): a quantile read from them is within 1.1 % of the truth, as long as 160 of them reach from the shortest to the
longest duration (a ratio of 32 between the two); beyond that, neighbours are joined, and the error doubles with each
doubling of that span.
"""

from __future__ import annotations

from bisect import bisect_left
from math import ceil, log2
from typing import TYPE_CHECKING, Final, NamedTuple

from canary_sdk.telemetry.otel.names import BOUNDARIES_S

if TYPE_CHECKING:
    from collections.abc import Mapping

SCALE: Final = 5
"""Bin i holds 2^(i / 2^SCALE) < seconds <= 2^((i + 1) / 2^SCALE)."""
MOST_BINS: Final = 160
"""What the specification of the exponential histogram suggests, and what stores are built for."""
SHORTEST_S: Final = 1e-6
"""What is shorter counts as this: zero has no logarithm."""


def explicit_bin(seconds: float) -> int:
    """Return the number of the bucket; an upper boundary belongs to its bucket."""
    return bisect_left(BOUNDARIES_S, seconds)


def exponential_bin(seconds: float) -> int:
    """Return the index of the bin at `SCALE`."""
    return ceil(log2(max(seconds, SHORTEST_S)) * 2**SCALE) - 1


def explicit_counts(bins: Mapping[int, int]) -> list[int]:
    """Return one count a bucket, the last without an upper boundary."""
    return [bins.get(index, 0) for index in range(len(BOUNDARIES_S) + 1)]


class Exponential(NamedTuple):
    """The bins of an exponential histogram, all of them from `offset` on."""

    scale: int
    offset: int
    counts: list[int]


def exponential(bins: Mapping[int, int]) -> Exponential:
    """Join neighbours, two by two, until no more than `MOST_BINS` are left; counts stay exact. `bins` is not empty."""
    lowest, highest = min(bins), max(bins)
    shift = 0
    while (highest >> shift) - (lowest >> shift) >= MOST_BINS:
        shift += 1
    offset = lowest >> shift
    counts = [0] * ((highest >> shift) - offset + 1)
    for index, count in bins.items():
        counts[(index >> shift) - offset] += count
    return Exponential(SCALE - shift, offset, counts)
