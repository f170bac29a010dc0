"""How strongly one batch speaks against one hypothesis, as the logarithm of an e-value. It remembers nothing.

An e-value is a bet at fair odds against a hypothesis: a number, never negative, whose expectation is at most 1 as long
as the hypothesis holds. So it is large only by luck or because the hypothesis is false, and products of the e-values of
successive batches keep that property however often they are looked at. Everything here is in natural logarithms,
where a product is a sum.

Whatever else goes into a bet (a tilt, a share, odds) must be known before the batch, or the odds are not fair.

The arguments are counts up to 1e9 and shares down to 1e-9; the result is always finite. `candidate` and `baseline` are
counts of the *same* seconds: what happens to both arms in these seconds cancels out. A comparison is bet on for several
sizes of effect at once, and returns as many logarithms.
"""

from __future__ import annotations

import math
from math import log, log1p
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LEAST: Final = 1e-9
"""The smallest share that is told from zero: odds are computed on shares between this and 1 minus this."""


class Tilt(NamedTuple):
    """An alternative to 'both arms follow one law': how many times as likely each cell is for the candidate.

    These ratios are positive and do not fall from cell to cell, the best cell first; kept are their logarithms and what
    they have over 1. `known` are ratios that the hypothesis itself grants the candidate, None if it grants nothing.
    """

    logs: tuple[float, ...]
    excess: tuple[float, ...]
    known: tuple[float, ...] | None


def tilt(ratios: Iterable[float], known: Iterable[float] | None = None) -> Tilt:
    """Make a tilt of the ratios."""
    kept = tuple(ratios)
    granted = None if known is None else tuple(known)
    return Tilt(tuple(map(math.log, kept)), tuple(ratio - 1 for ratio in kept), granted)


def shape_tilt(past: Sequence[float], theta: float) -> Tilt:
    """Tilt latency cells by exp(theta s), s being the logistic score of a cell's rank in the baseline's `past`.

    The score, logit(mid-rank) / 1.702, is nearly the normal one, so that `theta` is nearly a shift in standard
    deviations. The ratios are scaled to average 1 under the past. Counts of the past may be fractions; they need not be
    right, only past.
    """
    scores = rank_scores(past)
    raw = [math.exp(theta * score) for score in scores]
    shares = _shares(past)
    scale = math.fsum(share * each for share, each in zip(shares, raw, strict=True))
    return tilt(each / scale for each in raw)


def rank_scores(past: Sequence[float]) -> tuple[float, ...]:
    """Return the logistic score of every cell's mid-rank under `past`; it rises from cell to cell."""
    scores, below = [], 0.0
    for share in _shares(past):
        rank = _inside(below + share / 2)
        scores.append(log(rank / (1 - rank)) / 1.702)
        below += share
    return tuple(scores)


def _shares(past: Sequence[float]) -> list[float]:
    """Return the share of each cell, none of which is empty."""
    total = math.fsum(past) + 0.5 * len(past)
    return [(count + 0.5) / total for count in past]


def odds_tilt(share: float, odds: float, known: tuple[float, float] | None = None) -> Tilt:
    """Tilt the cells (good, bad) by multiplying the odds of bad with `odds`, where `share` is its expected share.

    With two cells the comparison of shapes below becomes that of two rates, H0: pc <= pb, whose level need not be
    known: the e-value of a 2×2 table of Turner, Ly and Grünwald (2024), the nuisance rate being `share`.
    """
    scale = 1 + (odds - 1) * _inside(share)
    return tilt((1 / scale, odds / scale), known)


def log_shape(candidate: Sequence[int], baseline: Sequence[int], tilts: Sequence[Tilt]) -> list[float]:
    """H0: the candidate's law is that of the baseline times `known`, or better; the law itself may be any.

        rho = nc / (nc + nb);   m_i = (rho g_i r_i + 1 - rho) / (rho g_i + 1 - rho)
        log E = sum_i [ kc_i (ln r_i - ln m_i) - kb_i ln m_i ]

    With laws q of the baseline and q g of the candidate the weighted inequality of the means gives
    E[e] <= (sum_i q_i (rho g_i r_i + 1 - rho) / m_i)^(nc+nb) = (sum_i q_i (rho g_i + 1 - rho))^(nc+nb) = 1, and a
    candidate that is better only lowers it, since the ratios rise. This needs no law to last beyond its batch, so a
    slow-down that both arms share leaves it as it is: a rank test in the manner of Lindon, Sanden and Shirikian (2022).

    `known` other than 1 is for cells whose probabilities do not move together, such as errors; not for latency.
    """
    nc, nb = sum(candidate), sum(baseline)
    if not nc or not nb:
        return [0.0] * len(tilts)
    rho = nc / (nc + nb)
    seen = [(i, kc, kc + kb) for i, (kc, kb) in enumerate(zip(candidate, baseline, strict=True)) if kc or kb]
    found = []
    for logs, excess, known in tilts:
        total = 0.0
        for i, kc, n in seen:
            total += kc * logs[i] - n * log1p(rho * excess[i])
        if known is not None:
            total += _granted(seen, rho, excess, known)
        found.append(total)
    return found


def _granted(
    seen: Iterable[tuple[int, int, int]], rho: float, excess: Sequence[float], known: Sequence[float]
) -> float:
    """Return what `known` ratios add: ln m_i as it is, taken off ln m_i as it would be without them."""
    total = 0.0
    for i, _, n in seen:
        plain, granted = log1p(rho * excess[i]), log1p(rho * (known[i] * (1 + excess[i]) - 1))
        total += n * (plain - granted + log1p(rho * (known[i] - 1)))
    return total


def log_absolute(bad: int, count: int, share: float, odds: Iterable[float]) -> list[float]:
    """H0: each of `count` is bad with a probability of at most `share`. Bets on odds that are `odds` times as high.

    The likelihood ratio of p1 = odds p0 / (1 - p0 + odds p0) to p0, which is log E = k ln odds - n ln(1 + (odds-1) p0).
    """
    share = _inside(share)
    return [bad * log(each) - count * log1p((each - 1) * share) for each in odds]


class Pair(NamedTuple):
    """How many of a `total` were bad, on one arm."""

    bad: int
    total: int


NONE: Final = Pair(0, 0)
"""Nothing was counted."""


def log_margin(candidate: Pair, baseline: Pair, ratio: float, extra: float, odds: Sequence[float]) -> list[float]:
    """H0: pc <= ratio pb + extra. A candidate may be that much worse before it counts.

        q0 = r0 nc / (r0 nc + nb);  q1 the same with r0 odds;  a = q1 / q0;  b = (1 - q1) / (1 - q0)
        log E = kc ln a + kb ln b - nc extra (a - 1)

    1 + x <= e^x gives E[e] <= exp(nc pc (a-1) + nb pb (b-1) - nc extra (a-1)), and the choice of q0 makes the pb in it
    cancel; so it holds for every pb, rare or not. After Lindon and Malek (2022), who compare counts by their split.
    """
    nc, nb = candidate.total, baseline.total
    if not nc or not nb:
        return [0.0] * len(odds)
    tilted = [(each, (ratio * nc + nb) / (ratio * each * nc + nb)) for each in odds]
    return [candidate.bad * log(each * b) + baseline.bad * log(b) - nc * extra * (each * b - 1) for each, b in tilted]


def log_split(counts: Sequence[int], shares: Sequence[float], concentration: float = 1000.0) -> float:
    """H0: whoever arrives is assigned with the probabilities `shares`. Counts are of all arrivals since the start.

    The Dirichlet mixture around the intended split, of Lindon and Malek (2022), Multinomial test: the counts are their
    own sufficient state, so this is the whole process, not the step of one batch.
    """
    parts = [
        math.lgamma(concentration * share + count) - math.lgamma(concentration * share) - count * log(share)
        for count, share in zip(counts, shares, strict=True)
    ]
    return math.fsum([*parts, math.lgamma(concentration), -math.lgamma(concentration + sum(counts))])


def log_floor(count: int, seconds: float, floor: float, factors: Iterable[float]) -> list[float]:
    """H0: requests arrive at `floor` a second or more. Bets on `factors` (below 1) of that, as a Poisson process."""
    return [count * log(each) + (1 - each) * floor * seconds for each in factors]


def _inside(share: float) -> float:
    """Keep a share off 0 and 1."""
    return min(max(share, LEAST), 1 - LEAST)
