"""A quantile sketch of durations: logarithmic bins, a promised relative error, merged by adding bin to bin.

The mapping is DDSketch's (Masson, Rim, Lee: "DDSketch: A fast and fully-mergeable quantile sketch with relative-error
guarantees", VLDB 2019) with a fixed number of bins instead of a growing one. With `ALPHA` = 0.01 and
γ = (1 + α) / (1 − α), bin `i` holds LOWEST·γ^i <= seconds < LOWEST·γ^(i+1), and answers with the one value that is
within α of both ends, 2γ / (1 + γ) times the lower end. 1,024 bins reach from 10 microseconds to 7,845 seconds (2 h
10 min). What is shorter or longer is clamped to the first or last bin, and the promise does not hold for it.

It is for people to read. A judge uses the exact counters of requests over a limit. Nothing here keeps time.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate
from math import log
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ALPHA: Final = 0.01
"""The relative error: an answer is within 1 % of a sample of the wanted rank."""
GAMMA: Final = (1 + ALPHA) / (1 - ALPHA)
BINS: Final = 1_024
LOWEST_S: Final = 1e-5
HIGHEST_S: Final = LOWEST_S * GAMMA**BINS

_SCALE: Final = 1 / log(GAMMA)
_SHIFT: Final = -log(LOWEST_S) * _SCALE
_LAST_S: Final = HIGHEST_S * (1 - ALPHA)
"""Well inside the last bin, so that no rounding leads beyond it."""
_MIDDLE: Final = 2 * GAMMA / (1 + GAMMA)


def bin_of(seconds: float) -> int:
    """Return the bin of a duration. Cost: one logarithm."""
    if LOWEST_S < seconds < _LAST_S:
        return int(log(seconds) * _SCALE + _SHIFT)
    return BINS - 1 if seconds >= _LAST_S else 0


def value_of(index: int) -> float:
    """Return the seconds that stand for a bin: within `ALPHA` of everything in it."""
    return _MIDDLE * LOWEST_S * GAMMA**index


def log_of(index: int) -> float:
    """Return the logarithm of the seconds that stand for a bin; it rises by the same from bin to bin."""
    return log(value_of(index))


def quantiles(counts: Sequence[int] | Mapping[int, int], wanted: Iterable[float]) -> dict[float, float]:
    """Return seconds by quantile, by nearest rank: the ceil(q·n)-th smallest of n samples, at least the first.

    `counts` is one count a bin, or only the bins that are not empty. Without samples the answers are not a number.
    Cost: O(bins given), however many samples they hold.
    """
    bins: Sequence[int] = range(len(counts))
    if isinstance(counts, Mapping):
        bins = sorted(counts)
        counts = [counts[index] for index in bins]
    reached = list(accumulate(counts))
    total = reached[-1] if reached else 0
    return {
        q: value_of(bins[bisect_left(reached, max(1, math.ceil(q * total)))]) if total else math.nan for q in wanted
    }


def quantile(counts: Sequence[int] | Mapping[int, int], q: float) -> float:
    """Return the seconds of one quantile; see `quantiles`."""
    return quantiles(counts, (q,))[q]


class Sketch:
    """A sketch of its own, where no arena is wanted. Memory: 8 bytes a bin. Threads: one writer."""

    __slots__ = ("counts",)

    def __init__(self, samples: Iterable[float] = ()) -> None:
        """Begin with `samples`, in seconds."""
        self.counts = array("Q", bytes(8 * BINS))
        for seconds in samples:
            self.add(seconds)

    def add(self, seconds: float, times: int = 1) -> None:
        """Count a duration."""
        self.counts[bin_of(seconds)] += times

    def merge(self, other: Sketch) -> None:
        """Add another sketch's samples; the same as having added them here."""
        self.counts = array("Q", map(int.__add__, self.counts, other.counts))

    def quantile(self, q: float) -> float:
        """Return the seconds of one quantile; see `quantiles`."""
        return quantile(self.counts, q)

    def __len__(self) -> int:
        return sum(self.counts)
