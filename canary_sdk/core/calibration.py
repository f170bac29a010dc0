"""How much noise belongs to one arm alone, measured where both arms run the same code, and how evidence is tempered.

Separate hosts, heavy users who stick to their arm: whatever moves one arm and not the other looks like an effect to
every method that assumes it away. An A/A run, both arms on the baseline, measures it: in blocks of a minute, the
standardised difference of the two arms' rates has a mean square of 1 if chance is all there is, and more if not.

It measures noise; it never judges a candidate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from canary_sdk.core.evalues import Pair

BLOCK_S = 60.0
"""The length of a block, in seconds: longer than most private noise lasts."""

_CAUTION = 1.5
"""How much more than the measured noise is allowed for: the measurement is noisy as well."""


class Block(NamedTuple):
    """What both arms counted in one block of an A/A run of `seconds`."""

    one: Pair
    other: Pair
    seconds: float = BLOCK_S


def exchange(one: float, other: float) -> float:
    """Return lc lb / (lc + lb), the rate at which two arms of these rates can be compared."""
    return one * other / (one + other) if one and other else 0.0


def overdispersion(blocks: Iterable[Block]) -> float:
    """Return phi, the mean square of the standardised difference of the arms' rates: 1 if there is only chance."""
    squares = [square for block in blocks if (square := _square(block)) is not None]
    return sum(squares) / len(squares) if squares else 1.0


def _square(block: Block) -> float | None:
    """Return z² of a two-sample comparison; None where nothing can be compared."""
    (kc, nc), (kb, nb) = block.one, block.other
    bad, count = kc + kb, nc + nb
    if not nc or not nb or not 0 < bad < count:
        return None
    share = bad / count
    return (kc / nc - kb / nb) ** 2 / (share * (1 - share) * (1 / nc + 1 / nb))


def noise(streams: Iterable[Iterable[Block]]) -> float:
    """Return c: the private noise of the worst stream, for each comparable request a second. 0 is chance alone.

    Noise of an arm that lasts for a while adds to phi in proportion to how many requests it meets, so that
    phi = 1 + c h where h is the exchange rate of the run; in a stage with another h it is told from c.
    """
    worst = 0.0
    for blocks in map(list, streams):
        rate = _exchange_of(blocks)
        if rate:
            worst = max(worst, (overdispersion(blocks) - 1) / rate)
    return worst


def _exchange_of(blocks: list[Block]) -> float:
    seconds = sum(block.seconds for block in blocks)
    one, other = sum(block.one.total for block in blocks), sum(block.other.total for block in blocks)
    return exchange(one / seconds, other / seconds) if seconds else 0.0


def temper(noise: float, rate: float) -> float:
    """Return eta, by which log e-values are multiplied at this exchange rate: 1 without private noise."""
    return 1 / (1 + _CAUTION * noise * rate)
