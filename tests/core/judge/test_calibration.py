"""Claims about private noise and how it tempers evidence."""

from __future__ import annotations

from typing import Final

import numpy as np
import pytest

from canary_sdk.core.judge.calibration import Block, exchange, noise, overdispersion, temper
from canary_sdk.core.judge.evalues import rank_scores


def blocks(spread: float, count: int = 400, *, shift: float = 0.0, rate: int = 60, seed: int = 1) -> list[Block]:
    """Draw A/A blocks of a minute in which 10 % are bad; the log odds of one arm wander by `spread`, about `shift`."""
    rng = np.random.default_rng(seed)
    odds = np.exp(rng.normal(shift, spread, count)) / 9
    bad, other = rng.binomial(rate * 60, odds / (1 + odds)).tolist(), rng.binomial(rate * 60, 0.1, count).tolist()
    total = rate * 60
    return [Block(((total - one, one),), ((total - two, two),)) for one, two in zip(bad, other, strict=True)]


def test_chance_alone_is_no_noise() -> None:
    """With one law on both arms phi is about 1, and evidence is not tempered."""
    assert overdispersion(blocks(0.0)) == pytest.approx(1, abs=0.2)
    assert temper(noise(blocks(0.0)), 30) > 0.85


def test_noise_of_one_arm_is_seen() -> None:
    """An arm whose rate wanders on its own makes phi large, and the evidence is tempered accordingly."""
    assert overdispersion(blocks(0.3)) > 5
    assert temper(noise(blocks(0.3)), 30) < 0.2


def test_noise_is_told_by_the_comparable_request() -> None:
    """The same wander found at twice the rate gives twice the phi and the same c."""
    slow, fast = noise(blocks(0.3, rate=30)), noise(blocks(0.3, rate=60))
    assert slow == pytest.approx(fast, rel=0.25)


def test_a_granted_difference_is_no_noise() -> None:
    """A difference that stays the same is noise, unless it is known and granted."""
    steady = blocks(0.0, shift=0.3)
    assert overdispersion(steady) > 5
    assert overdispersion(steady, known=True) < 1.3


def test_a_quicker_arm_is_no_noise() -> None:
    """Only what would speak against a candidate counts; below the tolerance it does not."""
    assert noise(blocks(0.0, shift=-0.5)) == 0


def test_an_aa_run_counts_a_difference_either_way() -> None:
    """Where the arms are alike, it does not matter which of them is the worse."""
    turned = [Block(each.other, each.one) for each in blocks(0.3)]
    assert overdispersion(blocks(0.3), alike=True) == pytest.approx(overdispersion(turned, alike=True))
    assert overdispersion(blocks(0.0, shift=-0.5), alike=True) > 5


@pytest.mark.parametrize(("count", "quantile"), [(5, 1.145), (10, 3.940), (30, 18.493), (100, 77.929)])
def test_a_short_aa_run_allows_for_what_it_may_have_missed(count: int, quantile: float) -> None:
    """What it tells is the upper 95 % bound, by the 5 % quantile of chi-square that tables have for so many blocks."""
    seen = blocks(0.0, count)
    either_way = [*seen, *(Block(each.other, each.one) for each in seen)]
    squares = sum(overdispersion([each]) for each in either_way) / 2
    assert overdispersion(seen, alike=True) == pytest.approx(squares / quantile, rel=0.02)


def test_an_aa_run_of_a_single_block_tells_nothing() -> None:
    """After one block next to everything may be noise."""
    assert temper(noise(blocks(0.0, 1), alike=True), 30) < 0.01


def test_nothing_to_compare_is_no_noise() -> None:
    """No blocks, blocks with one arm, blocks in which all is well: nothing is measured, nothing tempered."""
    assert noise([]) == 0
    assert noise([Block(((5, 5),), ((0, 0),))]) == 0
    assert noise([Block(((5, 0),), ((7, 0),))]) == 0
    assert temper(0.0, 30) == 1


def test_strata_are_compared_each_by_itself() -> None:
    """Arms that differ only in how many of each stratum they have do not differ."""
    one, other = ((90, 10), (100, 900)), ((900, 100), (10, 90))
    assert overdispersion([Block(one, other)]) < 1e-9
    pooled = [tuple(map(sum, zip(*arm, strict=True))) for arm in (one, other)]
    assert overdispersion([Block((pooled[0],), (pooled[1],))]) > 100


WORSE: Final = Block(((80, 20),), ((90, 10),))
"""Five more failures than the 15 that chance would give, with a variance of 50 · 0.15 · 0.85 = 6.375."""
SAME: Final = Block(((85, 15),), ((85, 15),))
"""No difference, with the same variance."""


def test_phi_by_hand() -> None:
    """Twice the mean of the squared differences over their variance, of those that speak against the one arm."""
    assert overdispersion([WORSE]) == pytest.approx(2 * 25 / 6.375)
    assert overdispersion([WORSE, SAME]) == pytest.approx(25 / 6.375)
    assert overdispersion([Block(*reversed(WORSE[:2]))]) == 0
    assert overdispersion([WORSE, SAME], known=True) == pytest.approx(2.5**2 / 6.375)


def test_an_empty_stratum_says_nothing() -> None:
    """A stratum with nobody, or with nobody on one arm, leaves the others as they are."""
    for nobody in ((0, 0), (0, 0)), ((7, 3), (0, 0)), ((0, 0), (7, 3)):
        both = Block((*WORSE.one, nobody[0]), (*WORSE.other, nobody[1]))
        assert overdispersion([both]) == overdispersion([WORSE])


def test_three_cells_are_scored_by_rank() -> None:
    """With more cells than two the difference is that of the scores, against the pooled spread of the scores."""
    one, other = (10, 20, 70), (70, 20, 10)
    scores = rank_scores([80, 40, 80])
    middle = sum(n * score for n, score in zip((80, 40, 80), scores, strict=True)) / 200
    excess = sum(n * (score - middle) for n, score in zip(one, scores, strict=True))
    spread = sum(n * (score - middle) ** 2 for n, score in zip((80, 40, 80), scores, strict=True)) / 200
    assert overdispersion([Block((one,), (other,))]) == pytest.approx(2 * excess**2 / (50 * spread))


def test_noise_by_hand() -> None:
    """What phi has above 1, for each comparable request a second; less than chance is no noise."""
    rate = exchange(100 / 60, 100 / 60)
    assert noise([WORSE]) == pytest.approx((2 * 25 / 6.375 - 1) / rate)
    assert noise([WORSE._replace(seconds=30.0)]) == pytest.approx((2 * 25 / 6.375 - 1) / (2 * rate))
    assert noise([WORSE, WORSE], known=True) == 0
    assert noise([SAME]) == 0
    assert temper(0.2, 10) == pytest.approx(1 / 5)


@pytest.mark.parametrize("block", [Block(((1, 1),), ((1, 1), (1, 1))), Block(((1, 1),), ((1, 1, 1),))])
def test_arms_that_were_counted_differently_are_refused(block: Block) -> None:
    """Other strata or other cells are a mistake, never cut to what both have."""
    with pytest.raises(ValueError, match="argument 2"):
        overdispersion([block])


def test_the_exchange_rate_is_that_of_the_smaller_arm() -> None:
    """Against a much larger arm, the rate is nearly that of the smaller one; without one it is 0."""
    assert exchange(5, 5) == 2.5
    assert exchange(5, 1e9) == pytest.approx(5)
    assert exchange(5, 0) == exchange(0, 5) == exchange(0, 0) == 0
