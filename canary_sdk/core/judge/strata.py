"""Like compared with like: users sorted into strata by their own past, and what is known of future arms beforehand.

The unit that is randomised is the user. A few per cent of a few thousand users, some of whom are always slow and send a
thousand times more than others, differ from the rest before there is any feature, and no test of requests can know it.
What a process knows: how every user was before the release, while all of them got the baseline. Only that is learnt
here; no answer of a candidate ever enters.

- **Micro-bands.** Users are hashed into 4,096, by a hash that is the same for all flags and has nothing to do with any
  flag's buckets. Of each, the sum and the count of ln(latency) are kept. No key is.
- **Strata.** The micro-bands' means, each drawn towards the mean of all as if by four more requests, are cut at
  request-weighted quantiles. Within a stratum both arms hold similar users, so that one law for both arms is a fair
  hypothesis, also in an incident that hits everyone. A user of whom nothing is known is in the middle.
- **Frozen.** The map is made before a rollout and kept until its end. If it learnt on from the baseline alone, an
  incident would move baseline users to slower strata and leave the candidate's behind, and blame the candidate.
- **Bands.** The plan's percentages cut the buckets into bands, so that future arms can be told apart, and their errors
  counted, while everybody still gets the baseline.

Threads: a `Pasts` is filled by one thread. Everything else is a function.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import mmh3

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from canary_sdk.core.judge.evalues import Pair

MICRO_BANDS: Final = 4096
STRATA: Final = 8

SEED: Final = 0x57A7A
"""Of the hash that sorts users into micro-bands; part of no flag's salt."""

_PRIOR: Final = 4.0
"""As many requests at the mean of all are added to every micro-band."""


def micro_band(key: str) -> int:
    """Return the micro-band of a targeting key, the same for every flag."""
    return mmh3.hash(key, SEED, False) % MICRO_BANDS


class Pasts:
    """Of every micro-band, how many requests the baseline answered and the sum of ln(seconds). 64 KB."""

    __slots__ = ("counts", "sums")

    def __init__(self) -> None:
        self.counts = array("d", bytes(8 * MICRO_BANDS))
        self.sums = array("d", bytes(8 * MICRO_BANDS))

    def add(self, band: int, latency_s: float) -> None:
        """Learn one answer of the baseline."""
        self.counts[band] += 1
        self.sums[band] += math.log(max(latency_s, 1e-6))

    def means(self) -> list[float]:
        """Return the mean ln(seconds) of every micro-band, drawn towards the mean of all."""
        total = math.fsum(self.counts)
        middle = math.fsum(self.sums) / total if total else 0.0
        return [(s + _PRIOR * middle) / (n + _PRIOR) for s, n in zip(self.sums, self.counts, strict=True)]


def strata_map(pasts: Pasts, strata: int = STRATA) -> bytes:
    """Return the stratum of every micro-band: published once, looked up for every request."""
    means = pasts.means()
    cuts = _cuts(sorted(zip(means, pasts.counts, strict=True)), strata)
    return bytes(
        bisect_right(cuts, mean) if count else strata // 2 for mean, count in zip(means, pasts.counts, strict=True)
    )


def _cuts(ordered: Sequence[tuple[float, float]], strata: int) -> list[float]:
    """Return the means between strata that had equally many requests."""
    total = math.fsum(count for _, count in ordered)
    cuts: list[float] = []
    seen = 0.0
    for mean, count in ordered:
        if len(cuts) < strata - 1 and seen >= total * (len(cuts) + 1) / strata:
            cuts.append(mean)
        seen += count
    return cuts


def bands(percents: Iterable[float]) -> tuple[tuple[float, float], ...]:
    """Return the bands of buckets that a plan's percentages cut: from one (included) to the next (excluded)."""
    return tuple(pairwise(sorted({0.0, *percents, 100.0})))


def known_errors(future: Pair, rest: Pair) -> tuple[float, float] | None:
    """Return how much more the future candidates failed than the rest, as ratios of (good, bad); None if not more.

    Both are counts of the time before the release. The future candidates are granted the upper two-sigma bound.
    """
    pc, pb = _rate(future), _rate(rest)
    pc = min(pc + 2 * math.sqrt(pc * (1 - pc) / (future.total + 1)), 1 - 1e-9)
    return ((1 - pc) / (1 - pb), pc / pb) if pc > pb else None


def _rate(pair: Pair) -> float:
    return (pair.bad + 0.5) / (pair.total + 1)
