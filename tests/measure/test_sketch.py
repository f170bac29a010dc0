"""The sketch answers within its promised error: the promise itself is the oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.measure import sketch
from canary_sdk.measure.sketch import ALPHA, BINS, GAMMA, HIGHEST_S, LOWEST_S, Sketch, bin_of, quantile, value_of

WANTED = (0.0, 0.01, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
ROUNDING = 1e-9
DRAW = np.random.default_rng(20)
SAMPLES = {
    "normal": np.clip(DRAW.normal(0.2, 0.05, 20_000), 1e-4, None),
    "lognormal": DRAW.lognormal(-2.5, 0.8, 20_000),
    "exponential": DRAW.exponential(0.1, 20_000) + LOWEST_S,
    "pareto": DRAW.pareto(1.5, 20_000) * 0.02 + 0.02,
    "bimodal": np.concatenate([DRAW.normal(0.005, 0.0005, 19_000), DRAW.normal(1.5, 0.1, 1_000)]),
    "constant": np.full(1_000, 0.123),
    "web": np.concatenate([DRAW.lognormal(-3.2, 0.5, 19_800), DRAW.uniform(5.0, 30.0, 200)]),
    "one": np.array([0.042]),
    "two": np.array([0.001, 900.0]),
    "seven": DRAW.lognormal(-2.5, 0.8, 7),
}
durations = st.floats(LOWEST_S, HIGHEST_S * (1 - ROUNDING))


@pytest.mark.parametrize("name", SAMPLES)
def test_quantiles_are_within_the_promise(name: str) -> None:
    """Every quantile is within one percent of the exact one by nearest rank, whatever the distribution."""
    kept = Sketch(SAMPLES[name].tolist())
    for q in WANTED:
        exact = float(np.quantile(SAMPLES[name], q, method="inverted_cdf"))
        assert kept.quantile(q) == pytest.approx(exact, rel=ALPHA + ROUNDING), q


@given(durations)
def test_a_bin_answers_for_everything_in_it(seconds: float) -> None:
    """The value of a bin is within one percent of whatever is put into it."""
    assert value_of(bin_of(seconds)) == pytest.approx(seconds, rel=ALPHA + ROUNDING)


@given(durations, durations)
def test_longer_is_never_in_an_earlier_bin(one: float, other: float) -> None:
    """Bins are in the order of time."""
    assert bin_of(min(one, other)) <= bin_of(max(one, other))


@given(st.lists(durations), st.lists(durations))
def test_merging_is_the_same_as_having_seen_both(one: list[float], other: list[float]) -> None:
    """Two sketches merged equal one sketch of all samples, exactly."""
    merged = Sketch(one)
    merged.merge(Sketch(other))
    assert merged.counts == Sketch(one + other).counts


@given(st.lists(durations, min_size=1), st.floats(0, 1))
def test_rank_is_the_nearest(samples: list[float], q: float) -> None:
    """The answer is for the ceil(q·n)-th smallest sample, at least the first."""
    exact = sorted(samples)[max(1, math.ceil(q * len(samples))) - 1]
    assert quantile(Sketch(samples).counts, q) == value_of(bin_of(exact))


@given(st.dictionaries(st.integers(0, BINS - 1), st.integers(1, 10**12), min_size=1), st.floats(0, 1))
def test_sparse_and_dense_counts_agree(sparse: dict[int, int], q: float) -> None:
    """It makes no difference whether empty bins are named."""
    dense = [sparse.get(index, 0) for index in range(BINS)]
    assert quantile(sparse, q) == quantile(dense, q)


@pytest.mark.parametrize(
    ("seconds", "index"),
    [
        (0.0, 0),
        (-1.0, 0),
        (math.nan, 0),
        (LOWEST_S, 0),
        (LOWEST_S * GAMMA * 1.000001, 1),
        (HIGHEST_S * 0.999999, BINS - 1),
        (math.nextafter(HIGHEST_S, 0), BINS - 1),
        (HIGHEST_S, BINS - 1),
        (math.inf, BINS - 1),
    ],
)
def test_ends_are_clamped(seconds: float, index: int) -> None:
    """Whatever is outside the range is counted in the first or the last bin."""
    assert bin_of(seconds) == index


def test_the_range_is_the_stated_one() -> None:
    """From 10 microseconds to 7,845 seconds in 1,024 bins."""
    assert len(Sketch().counts) == BINS
    assert (LOWEST_S, BINS, math.floor(HIGHEST_S)) == (1e-5, 1_024, 7_845)


def test_without_samples_there_is_no_number() -> None:
    """An empty sketch answers with not-a-number instead of a guess."""
    assert math.isnan(Sketch().quantile(0.5))
    assert math.isnan(quantile({}, 0.5))
    assert len(Sketch([1.0, 2.0])) == 2


def test_several_quantiles_at_once_are_the_same_as_one_by_one() -> None:
    """Asking for many costs one scan and changes no answer."""
    counts = Sketch(SAMPLES["web"].tolist()).counts
    assert sketch.quantiles(counts, WANTED) == {q: quantile(counts, q) for q in WANTED}
