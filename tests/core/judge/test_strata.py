"""Claims about sorting users by their past."""

from __future__ import annotations

import math

import mmh3
import numpy as np
import pytest

from canary_sdk.core.judge.evalues import Pair
from canary_sdk.core.judge.strata import MICRO_BANDS, STRATA, Pasts, bands, known_errors, micro_band, strata_map


def a_past(latency_of: dict[int, float], requests: int = 50) -> Pasts:
    """Learn of micro-bands that always take the same time."""
    pasts = Pasts()
    for band, latency_s in latency_of.items():
        for _ in range(requests):
            pasts.add(band, latency_s)
    return pasts


def test_a_micro_band_is_frozen_and_within_bounds() -> None:
    """The hash of a key is what it always was, and every micro-band occurs."""
    keys = ("user-42", "")
    assert [micro_band(key) for key in keys] == [mmh3.hash(key, 0x57A7A, False) % 4096 for key in keys]
    assert {micro_band(f"user-{number}") for number in range(60_000)} == set(range(MICRO_BANDS))


def test_strata_ascend_with_the_users_own_latency() -> None:
    """A micro-band that was slower is never in a lower stratum."""
    found = strata_map(a_past({band: 0.05 * 1.01**band for band in range(800)}))
    assert list(found[:800]) == sorted(found[:800])
    assert set(found[:800]) == set(range(STRATA))


def test_strata_had_equally_many_requests() -> None:
    """Cuts are weighted by requests: each stratum has its eighth of them, give or take a micro-band."""
    rng = np.random.default_rng(1)
    latencies = dict(enumerate(rng.lognormal(-2, 0.5, 2000).tolist()))
    pasts = a_past(latencies, requests=3)
    found = np.frombuffer(strata_map(pasts), dtype=np.uint8)
    sizes = np.bincount(found[:2000], minlength=STRATA) / 2000
    assert sizes == pytest.approx([1 / 8] * 8, abs=0.01)


@pytest.mark.parametrize("requests", [1, 3])
def test_equal_numbers_are_cut_evenly(requests: int) -> None:
    """Sixteen micro-bands with equally many requests make eight strata of two, and each number of strata divides so."""
    pasts = a_past({band: 0.1 * 2**band for band in range(16)}, requests)
    assert list(strata_map(pasts)[:16]) == [band // 2 for band in range(16)]
    assert list(strata_map(pasts, 2)[:16]) == [band // 8 for band in range(16)]
    assert list(strata_map(pasts, 1)[:16]) == [0] * 16


def test_an_unknown_user_is_in_the_middle() -> None:
    """Of whom nothing is known nothing is assumed; without any past, everyone is there."""
    found = strata_map(a_past({0: 0.01, 1: 1.0}))
    assert found[2:] == bytes([STRATA // 2]) * (MICRO_BANDS - 2)
    assert set(strata_map(Pasts())) == {STRATA // 2}
    assert set(Pasts().means()) == {0.0}


def test_one_slow_answer_does_not_make_a_slow_user() -> None:
    """A micro-band with one request is drawn towards the mean of all; one with fifty is believed."""
    pasts = a_past(dict.fromkeys(range(100), 0.1))
    pasts.add(200, 10.0)
    means = pasts.means()
    assert means[200] < np.log(0.3)
    assert means[0] == pytest.approx(np.log(0.1), abs=0.01)


def test_bands_are_cut_by_the_plan() -> None:
    """The plan's percentages cut the buckets into bands that touch each other and cover all."""
    assert bands([5, 25, 50, 100]) == ((0.0, 5.0), (5.0, 25.0), (25.0, 50.0), (50.0, 100.0))
    assert bands([10]) == ((0.0, 10.0), (10.0, 100.0))


def test_only_more_errors_are_granted() -> None:
    """Future candidates who failed more are granted that and two deviations; those who clearly failed less, nothing."""
    assert known_errors(Pair(10, 10_000), Pair(1_000, 100_000)) is None
    assert known_errors(Pair(0, 0), Pair(0, 0)) == pytest.approx((2e-9, 2))
    rate, rest = 20.5 / 1_001, 5.5 / 1_001
    upper = rate + 2 * math.sqrt(rate * (1 - rate) / 1_001)
    assert known_errors(Pair(20, 1_000), Pair(5, 1_000)) == pytest.approx(((1 - upper) / (1 - rest), upper / rest))
    granted = known_errors(Pair(200, 10_000), Pair(1_000, 100_000)) or (0.0, 0.0)
    assert granted[0] == pytest.approx((1 - 0.0229) / 0.99, abs=1e-3)
    assert granted[1] == pytest.approx(2.29, abs=0.02)
