"""How much noise belongs to one arm alone, measured where both arms run the same code, and how evidence is tempered.

Separate hosts, heavy users who stick to their arm: whatever moves one arm and not the other looks like an effect to
every method that assumes it away. An A/A run, both arms on the baseline, measures it: in blocks of a minute, the
standardised difference of the two arms has a mean square of 1 if chance is all there is, and more if not.

Half an hour of blocks tells that mean square within a half, no better, and one that was found too small by chance lets
a judge that looks for hours find an effect in noise. So what an A/A run tells is an upper bound: the longer it ran, the
less it costs.

It measures noise; it never judges a candidate.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from canary_sdk.core.judge.evalues import rank_scores

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BLOCK_S: Final = 60.0
"""The length of a block, in seconds: longer than most private noise lasts. Half an hour of blocks is the least."""

_CAUTION: Final = 2.0
"""How much more than the measured noise is allowed for: of noise that lasts half a block, a block sees about a half."""

_SURE: Final = 1.645
"""The normal score of 95 %, by which an A/A run tells the upper bound of its noise."""


class Block(NamedTuple):
    """What one stream counted on both arms in one block of an A/A run: by stratum, cells, the best first."""

    one: tuple[tuple[int, ...], ...]
    other: tuple[tuple[int, ...], ...]
    seconds: float = BLOCK_S


def exchange(one: float, other: float) -> float:
    """Return lc lb / (lc + lb), the rate at which two arms of these rates can be compared."""
    return one * other / (one + other) if one and other else 0.0


def overdispersion(blocks: Iterable[Block], *, known: bool = False, alike: bool = False) -> float:
    """Return phi, the mean square of the standardised difference of the arms: about 1 if there is only chance.

    `known` leaves out a difference that stays the same in all blocks, for a stream to which it is granted. In a trial
    of future candidates, who are granted something, only what speaks against them counts. In an A/A run the arms are
    `alike`: either may be the worse, and phi is the bound that it exceeds with a probability of 5 %. Both together ask
    how much the arms may wander about whatever difference there is.
    """
    pairs = [pair for pair in map(_score, blocks) if pair[1]]
    if not pairs:
        return 1.0
    usual = math.fsum(pair[0] for pair in pairs) / math.fsum(pair[1] for pair in pairs) if known else 0.0
    scores = [(difference - usual * variance) / math.sqrt(variance) for difference, variance in pairs]
    if alike:
        return math.fsum(score**2 for score in scores) / _least_square_sum(max(len(scores) - known, 1))
    return 2 * math.fsum(max(score, 0.0) ** 2 for score in scores) / len(scores)


def _least_square_sum(count: int) -> float:
    """Return what the sum of squares of `count` normal scores exceeds with 95 %, after Wilson and Hilferty (1931)."""
    spread = 2 / (9 * count)
    return float(count * max(1 - spread - _SURE * math.sqrt(spread), 0.05) ** 3)


def _score(block: Block) -> tuple[float, float]:
    """Return the difference of the arms' scores and its variance, summed over the strata.

    The scores are the ones that the comparison of shapes bets on; with two cells any scores give the same.
    """
    parts = [_difference(*pair) for pair in zip(block.one, block.other, strict=True)]
    return math.fsum(part[0] for part in parts), math.fsum(part[1] for part in parts)


def _difference(one: Sequence[int], other: Sequence[int]) -> tuple[float, float]:
    """Return by how much the scores of one arm exceed its share of all scores, and the variance of that by chance."""
    pooled = [mine + theirs for mine, theirs in zip(one, other, strict=True)]
    scores, total, rate = rank_scores(pooled), sum(pooled), exchange(sum(one), sum(other))
    if not rate:
        return 0.0, 0.0
    middle = _sum(pooled, scores) / total
    variance = _sum(pooled, [(score - middle) ** 2 for score in scores]) / total
    return _sum(one, [score - middle for score in scores]), rate * variance


def _sum(counts: Iterable[int], values: Iterable[float]) -> float:
    return math.fsum(count * value for count, value in zip(counts, values, strict=True))


def noise(blocks: Sequence[Block], *, known: bool = False, alike: bool = False) -> float:
    """Return c: one stream's private noise for each comparable request a second. 0 is chance alone.

    Noise of an arm that lasts for a while adds to phi in proportion to how many requests it meets: phi = 1 + c h, where
    h is the exchange rate of the run. So c tells what to expect of a stage with another h.
    """
    seconds = math.fsum(block.seconds for block in blocks)
    one = sum(sum(map(sum, block.one)) for block in blocks)
    other = sum(sum(map(sum, block.other)) for block in blocks)
    rate = exchange(one / seconds, other / seconds) if seconds else 0.0
    return max((overdispersion(blocks, known=known, alike=alike) - 1) / rate, 0.0) if rate else 0.0


def temper(noise: float, rate: float) -> float:
    """Return eta, by which log e-values are multiplied at this exchange rate: 1 without private noise."""
    return 1 / (1 + _CAUTION * noise * rate)
