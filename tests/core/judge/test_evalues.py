"""Claims about e-values: each is a fair bet, counted out exactly, and reproduces what others have published."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.core.judge.evalues import (
    Pair,
    Tilt,
    log_absolute,
    log_floor,
    log_margin,
    log_shape,
    log_split,
    odds_tilt,
    shape_tilt,
    tilt,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FAIR: Final = 1 + 1e-9
SIZES: Final = ((1, 1), (1, 6), (2, 3), (3, 1), (4, 4), (6, 2))
ODDS: Final = (1.3, 4.0, 25.0)
GRID: Final = (0.0, 1e-9, 0.001, 0.03, 0.2, 0.5, 0.9, 1.0)


def binomial(k: int, n: int, p: float) -> float:
    """Return the probability of k bad of n."""
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


def counts(total: int, cells: int) -> Iterator[tuple[int, ...]]:
    """Return every way to put `total` requests into cells."""
    if cells == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in counts(total - first, cells - 1):
            yield (first, *rest)


def multinomial(found: Sequence[int], law: Sequence[float]) -> float:
    """Return the probability of these counts."""
    ways = math.factorial(sum(found))
    for count in found:
        ways //= math.factorial(count)
    return ways * math.prod(p**count for p, count in zip(law, found, strict=True))


def expected(candidate: Sequence[float], baseline: Sequence[float], sizes: tuple[int, int], bet: Tilt) -> float:
    """Return the expectation of the comparison's e-value under two laws, over every possible batch of these sizes."""
    nc, nb = sizes
    return math.fsum(
        multinomial(c, candidate) * multinomial(b, baseline) * math.exp(*log_shape(c, b, [bet]))
        for c in counts(nc, len(candidate))
        for b in counts(nb, len(baseline))
    )


# --- fair bets, counted out ---


@pytest.mark.parametrize("odds", ODDS)
def test_an_absolute_bet_is_fair(odds: float) -> None:
    """Over every batch of up to six, at every share up to the limit, the expectation is at most 1."""
    for n, limit, p in product(range(1, 7), GRID, GRID):
        if p <= limit and 0 < limit < 1:
            mean = math.fsum(binomial(k, n, p) * math.exp(*log_absolute(k, n, limit, [odds])) for k in range(n + 1))
            assert mean <= FAIR, (n, limit, p)


@pytest.mark.parametrize("odds", ODDS)
@pytest.mark.parametrize("guess", [1e-9, 0.01, 0.4, 0.999])
def test_a_comparison_of_rates_is_fair_whatever_the_past_said(odds: float, guess: float) -> None:
    """Where the candidate's rate is at most the baseline's, no guess of that rate makes the bet unfair."""
    for sizes, pc, pb in product(SIZES, GRID, GRID):
        if pc <= pb:
            assert expected((1 - pc, pc), (1 - pb, pb), sizes, odds_tilt(guess, odds)) <= FAIR, (sizes, pc, pb)


LAWS: Final = [
    ((0.5, 0.3, 0.2), (0.5, 0.3, 0.2)),
    ((0.1, 0.1, 0.8), (0.1, 0.1, 0.8)),
    ((0.98, 0.01, 0.01), (0.98, 0.01, 0.01)),
    ((0.6, 0.3, 0.1), (0.5, 0.3, 0.2)),
    ((0.9, 0.0, 0.1), (0.1, 0.5, 0.4)),
    ((0.4, 0.3, 0.2, 0.1), (0.4, 0.3, 0.2, 0.1)),
    ((0.05, 0.05, 0.1, 0.8), (0.05, 0.05, 0.1, 0.8)),
    ((0.5, 0.3, 0.15, 0.05), (0.4, 0.3, 0.2, 0.1)),
    ((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.5, 0.5)),
]


@pytest.mark.parametrize(("candidate", "baseline"), LAWS)
@pytest.mark.parametrize("theta", [0.1, 0.6, 1.6])
def test_a_comparison_of_shapes_is_fair(
    candidate: tuple[float, ...], baseline: tuple[float, ...], theta: float
) -> None:
    """For one law on both arms, whatever it is, and for a candidate that is stochastically quicker, the bet is fair."""
    pasts = [(5.0, 3.0, 2.0, 1.0), (0.0, 0.0, 0.0, 900.0), (1e6, 1.0, 1.0, 1e3)]
    for sizes, past in product(((1, 1), (1, 5), (3, 2), (4, 3)), pasts):
        bet = shape_tilt(past[: len(candidate)], theta)
        assert expected(candidate, baseline, sizes, bet) <= FAIR, (sizes, past)


def test_a_bet_on_a_slower_candidate_is_worth_more_than_1() -> None:
    """The bound is not idle: where the candidate is slower, the expectation exceeds 1."""
    assert expected((0.2, 0.3, 0.5), (0.5, 0.3, 0.2), (4, 4), shape_tilt((5.0, 3.0, 2.0), 1.0)) > 1.2


@pytest.mark.parametrize("odds", ODDS)
@pytest.mark.parametrize(("pb", "pc"), [(0.01, 0.02), (0.2, 0.3), (0.001, 0.01), (0.1, 0.1)])
def test_known_differences_are_granted(odds: float, pb: float, pc: float) -> None:
    """A candidate whose users always failed more, in a known ratio, is not blamed for it, nor when all fail alike."""
    known = ((1 - pc) / (1 - pb), pc / pb)
    bet = odds_tilt(pb, odds, known)
    for sizes in SIZES:
        assert expected((1 - pc, pc), (1 - pb, pb), sizes, bet) <= FAIR
        for level in GRID:
            assert expected((1 - level, level), (1 - level, level), sizes, bet) <= FAIR


@pytest.mark.parametrize(("ratio", "extra"), [(1.0, 0.0), (1.2, 0.001), (2.0, 0.05), (1.0, 0.3)])
@pytest.mark.parametrize("odds", ODDS)
def test_a_margin_of_errors_is_fair(ratio: float, extra: float, odds: float) -> None:
    """Up to the margin, at every level of errors, rare or not, the e-value is expected to be at most 1."""
    for (nc, nb), pb, part in product(SIZES, GRID, (0.0, 0.5, 1.0)):
        pc = min(ratio * pb + extra, 1.0) * part
        mean = math.fsum(
            binomial(kc, nc, pc)
            * binomial(kb, nb, pb)
            * math.exp(*log_margin(Pair(kc, nc), Pair(kb, nb), ratio, extra, [odds]))
            for kc in range(nc + 1)
            for kb in range(nb + 1)
        )
        assert mean <= FAIR, (nc, nb, pb, pc)


@pytest.mark.parametrize("shares", [(0.05, 0.95), (0.5, 0.5), (0.1, 0.4, 0.5)])
def test_a_split_as_intended_is_a_fair_bet(shares: tuple[float, ...]) -> None:
    """Over every outcome of up to six arrivals the expectation is exactly 1."""
    for n, concentration in product(range(1, 7), (1.0, 100.0, 1000.0)):
        mean = math.fsum(
            multinomial(found, shares) * math.exp(log_split(found, shares, concentration))
            for found in counts(n, len(shares))
        )
        assert mean == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("factor", [0.9, 0.5, 0.1])
@pytest.mark.parametrize("above", [1.0, 1.3, 4.0])
def test_a_floor_that_is_kept_is_a_fair_bet(factor: float, above: float) -> None:
    """For Poisson arrivals at the floor or above, over all outcomes that matter, the expectation is at most 1."""
    floor, seconds = 3.0, 1.0
    mean = floor * seconds * above
    poisson = (math.exp(n * math.log(mean) - mean - math.lgamma(n + 1)) for n in range(200))
    total = math.fsum(p * math.exp(*log_floor(n, seconds, floor, [factor])) for n, p in enumerate(poisson))
    assert total <= FAIR


# --- what others have published ---


def rejected(seen: Sequence[Sequence[int]], shares: tuple[float, ...], alpha: float = 0.05) -> tuple[int, float]:
    """Return after how many arrivals the split is rejected at `alpha`, concentration 100, and the p-value there."""
    total = [0] * len(shares)
    for n, arrival in enumerate(seen, start=1):
        total = [count + int(new) for count, new in zip(total, arrival, strict=True)]
        log_e = log_split(total, shares, concentration=100)
        if math.exp(-log_e) <= alpha:
            return n, math.exp(-log_e)
    pytest.fail("never rejected")


def arrivals(law: Sequence[float], size: int) -> Sequence[Sequence[int]]:
    """Draw as the examples of the savvi package do: numpy's legacy generator with seed 1."""
    return np.random.RandomState(1).multinomial(1, np.array(law), size=size).tolist()  # type: ignore[no-any-return]


def test_the_split_test_of_savvi_is_reproduced() -> None:
    """Its example of a sample ratio mismatch rejects .1, .4, .5 after 402 arrivals, p = .0485."""
    n, p = rejected(arrivals([0.1, 0.3, 0.6], 1000), (0.1, 0.4, 0.5))
    assert n == 402
    assert p == pytest.approx(0.04845591105969517, rel=1e-9)


def test_the_canary_test_of_savvi_is_reproduced() -> None:
    """Its example of two Poisson processes with a common rate rejects after 210 points, p = .0456."""
    weights = [0.8 * math.exp(1.5), 0.2 * math.exp(2)]
    n, p = rejected(arrivals([each / sum(weights) for each in weights], 1500), (0.8, 0.2))
    assert n == 210
    assert p == pytest.approx(0.045579631759249686, rel=1e-9)


CONFSEQ_SCALE: Final = 2 * math.log(1 / 0.05) + math.log(1 + 2 * math.log(1 / 0.05))
"""By this the confseq package divides the time for which a mixture is tuned: 100 / scale is its rho, 12.60056."""


def where(falls: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function that falls passes 0."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falls(middle) > 0 else (low, middle)
    return low


def test_the_mixture_of_confseq_is_reproduced() -> None:
    """Its two-sided beta-binomial mixture for values of -.2 and .8, tuned for a variance of 100, is our split."""
    assert pytest.approx(12.60056, abs=1e-5) == 100 / CONFSEQ_SCALE
    concentration = 100 / CONFSEQ_SCALE / (0.2 * 0.8) - 1
    variance_100, sum_10 = (125, 500), 10
    found = log_split((variance_100[0] + sum_10, variance_100[1] - sum_10), (0.2, 0.8), concentration)
    assert found == pytest.approx(-0.6941012, abs=1e-6)


@pytest.mark.parametrize(
    ("bad", "count", "tuned_for", "interval"),
    [
        (700, 1000, 100, (0.651629, 0.745949)),
        (15, 50, 50, (0.129556, 0.511896)),
        (5, 50, 50, (0.013021, 0.269264)),
    ],
)
def test_the_intervals_of_confseq_are_reproduced(
    bad: int, count: int, tuned_for: int, interval: tuple[float, float]
) -> None:
    """Its 95 % confidence sequence of a rate holds the rates that our split does not reject at 20."""
    concentration = tuned_for / CONFSEQ_SCALE - 1

    def rejected_by(p: float) -> float:
        return log_split((bad, count - bad), (p, 1 - p), concentration) - math.log(20)

    found = where(rejected_by, 1e-9, bad / count), where(lambda p: -rejected_by(p), bad / count, 1 - 1e-9)
    assert found == pytest.approx(interval, abs=2e-6)


SGLRT: Final = {0.10: (0.08, 3066), 0.11: (0.44, 2299), 0.12: (0.90, 1158), 0.13: (1.0, 611), 0.14: (1.0, 292)}
"""Of 100 runs at this true rate, the share that the package's mixture rejected, and after how many requests."""


@pytest.mark.parametrize("rate", SGLRT)
def test_the_sequential_test_of_sglrt_is_reproduced(rate: float) -> None:
    """Looked at after each of 3,290 requests, the mixture over four sizes of H0: p <= .1 rejects as theirs does.

    Theirs are figures of 100 runs, ours of 400: they may differ by three standard errors of both.
    """
    runs, most, alpha = 400, 3290, 0.1
    bad = np.cumsum(np.random.default_rng(3).random((runs, most)) < rate, axis=1)
    odds = [p / (1 - p) / (0.1 / 0.9) for p in (0.11, 0.12, 0.13, 0.14)]
    bads, goods = log_absolute(1, 1, 0.1, odds), log_absolute(0, 1, 0.1, odds)
    good = np.arange(1, most + 1) - bad
    evidence = np.mean([np.exp(bad * b + good * g) for b, g in zip(bads, goods, strict=True)], axis=0)
    ended = evidence >= 1 / alpha
    looks = np.where(ended.any(axis=1), ended.argmax(axis=1) + 1, most)
    share, mean = SGLRT[rate]
    errors = math.sqrt(1 / 100 + 1 / runs)
    assert abs(ended.any(axis=1).mean() - share) <= 3 * errors * math.sqrt(share * (1 - share)) + 0.01
    assert abs(looks.mean() - mean) <= 3 * errors * looks.std()


def test_a_comparison_of_rates_is_the_likelihood_ratio_of_a_2x2_table() -> None:
    """With two cells it is the e-value of Turner, Ly and Grünwald: both likelihoods over that of the pooled rate."""
    pb, odds, (kc, nc), (kb, nb) = 0.1, 4.0, (5, 20), (9, 80)
    pc = odds * pb / (1 - pb + odds * pb)
    pooled = (nc * pc + nb * pb) / (nc + nb)
    wanted = (
        kc * math.log(pc / pooled)
        + (nc - kc) * math.log((1 - pc) / (1 - pooled))
        + kb * math.log(pb / pooled)
        + (nb - kb) * math.log((1 - pb) / (1 - pooled))
    )
    assert log_shape((nc - kc, kc), (nb - kb, kb), [odds_tilt(pb, odds)]) == pytest.approx([wanted])


# --- what a bet must be worth ---


def test_a_batch_with_one_arm_says_nothing() -> None:
    """Without both arms there is no comparison, and the bet is off."""
    bet = shape_tilt((5.0, 3.0, 2.0), 1.6)
    assert log_shape((0, 0, 9), (0, 0, 0), [bet, bet]) == log_shape((0, 0, 0), (9, 0, 0), [bet, bet]) == [0, 0]
    assert log_margin(Pair(5, 5), Pair(0, 0), 1, 0, [4]) == log_margin(Pair(0, 0), Pair(5, 5), 1, 0, [4]) == [0]


def test_a_shared_change_says_nothing_against_the_candidate() -> None:
    """If both arms move to the last cells by the same share, the evidence does not grow."""
    bets = [shape_tilt((500.0, 300.0, 200.0), theta) for theta in (0.1, 0.35, 1.0)]
    assert all(log < 0 for log in log_shape((0, 10, 90), (0, 200, 1800), bets))


# --- never without a number ---

count = st.one_of(st.integers(0, 20), st.integers(0, 10**9))
share = st.one_of(st.floats(0, 1), st.floats(0, 1e-8), st.sampled_from([0.0, 1e-9, 1 - 1e-12, 1.0]))
odds_ = st.floats(1.0001, 1e3)
cells = st.tuples(count, count, count, count)


@given(cells, cells, st.tuples(*[st.floats(0, 1e9)] * 4), st.floats(0, 5))
def test_shapes_give_numbers(c: tuple[int, ...], b: tuple[int, ...], past: tuple[float, ...], theta: float) -> None:
    """Counts up to a thousand million, a past of nothing or of everything: the logarithm is finite."""
    assert math.isfinite(*log_shape(c, b, [shape_tilt(past, theta)]))


@given(cells, cells, st.tuples(*[st.floats(1e-9, 1e9)] * 2), share, odds_)
def test_rates_give_numbers(
    c: tuple[int, ...], b: tuple[int, ...], known: tuple[float, float], p: float, odds: float
) -> None:
    """Rates down to 1e-9 and up to 1, whatever is granted: the logarithm is finite."""
    assert all(map(math.isfinite, log_shape(c[:2], b[:2], [odds_tilt(p, odds), odds_tilt(p, odds, known)])))


@given(count, count, share, odds_)
def test_absolutes_give_numbers(k: int, n: int, p: float, odds: float) -> None:
    """All, none or some of up to a thousand million bad: the logarithm is finite."""
    assert math.isfinite(*log_absolute(min(k, n), n, p, [odds]))


@given(cells, st.floats(1, 100), st.floats(0, 1), odds_)
def test_margins_give_numbers(c: tuple[int, ...], ratio: float, extra: float, odds: float) -> None:
    """Whatever the margin: the logarithm is finite."""
    kc, nc, kb, nb = c
    assert math.isfinite(*log_margin(Pair(min(kc, nc), nc), Pair(min(kb, nb), nb), ratio, extra, [odds]))


@given(count, count, st.floats(1e-9, 1 - 1e-9))
def test_splits_give_numbers(one: int, other: int, p: float) -> None:
    """Any split of up to two thousand million: the logarithm is finite."""
    assert math.isfinite(log_split((one, other), (p, 1 - p)))


@given(count, st.floats(1e-3, 1e6), st.floats(1e-9, 1e9), st.floats(1e-3, 0.999))
def test_floors_give_numbers(n: int, seconds: float, floor: float, factor: float) -> None:
    """Any rate: the logarithm is finite."""
    assert math.isfinite(*log_floor(n, seconds, floor, [factor]))


def test_a_tilt_that_grants_nothing_and_one_that_grants_1_agree() -> None:
    """Granting a ratio of 1 is granting nothing."""
    plain, granted = tilt((0.5, 1.0, 3.0)), tilt((0.5, 1.0, 3.0), (1, 1, 1))
    one, other = log_shape((5, 4, 3), (9, 2, 1), [plain, granted])
    assert one == pytest.approx(other)
