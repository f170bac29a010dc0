"""Claims about who gets the candidate.

Chi-square tests run on fixed keys, so they pass or fail once and for all; their critical values are those of
alpha = 0.001, as scipy.stats.chi2.ppf(0.999, degrees) gives them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.core.flags.bucketing import BUCKETS, bucket_of, seed_of, threshold_of

if TYPE_CHECKING:
    from collections.abc import Iterable

VECTORS: Final = Path(__file__).parents[2] / "vectors" / "bucketing.json"
VECTORS_SHA256: Final = "b6b3468e4b2c511b5381257edd98074131ae2e182da808ed401e7aae14b26d68"

CRITICAL_1: Final = 10.828
"""Chi-square, 1 degree of freedom, alpha 0.001."""
CRITICAL_99: Final = 148.230
"""Chi-square, 99 degrees of freedom, alpha 0.001."""

KEYS: Final = st.text(st.characters(exclude_categories=["Cs"]))
PERCENTS: Final = st.integers(0, 100_000).map(lambda thousandths: thousandths / 1000)


def murmur3_x86_32(data: bytes, seed: int) -> int:
    """Compute MurmurHash3 x86 32, written from its public definition: an oracle that shares no code with mmh3."""
    mask, value = 0xFFFFFFFF, seed

    def rotate(x: int, by: int) -> int:
        return (x << by | x >> (32 - by)) & mask

    def mix(block: int) -> int:
        return rotate(block * 0xCC9E2D51 & mask, 15) * 0x1B873593 & mask

    whole = len(data) // 4 * 4
    for start in range(0, whole, 4):
        value ^= mix(int.from_bytes(data[start : start + 4], "little"))
        value = (rotate(value, 13) * 5 + 0xE6546B64) & mask
    value ^= mix(int.from_bytes(data[whole:], "little"))
    value ^= len(data)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        value = (value ^ value >> shift) * factor & mask
    return value


def is_in(key: str, percent: float, salt: str = "new-checkout") -> bool:
    """Apply the published formula."""
    return bucket_of(key, seed_of(salt)) < threshold_of(percent)


def chi_square(observed: Iterable[float], expected: Iterable[float]) -> float:
    """Return Pearson's statistic."""
    return sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))


# --- vectors ---


def test_the_vectors_were_never_regenerated() -> None:
    """The published vectors are the file that was written once, byte for byte."""
    assert hashlib.sha256(VECTORS.read_bytes()).hexdigest() == VECTORS_SHA256


def test_every_vector_holds_for_the_code_and_for_an_independent_hash() -> None:
    """At least 200 published vectors agree with the code and with a second implementation of the hash."""
    vectors = json.loads(VECTORS.read_text("utf-8"))["vectors"]
    assert len(vectors) >= 200
    for vector in vectors:
        salt, key, percent = vector["salt"], vector["key"], vector["percent"]
        seed = murmur3_x86_32(salt.encode(), 0)
        assert seed_of(salt) == seed, vector
        assert bucket_of(key, seed) == murmur3_x86_32(key.encode(), seed) == vector["bucket"], vector
        assert threshold_of(percent) == vector["threshold"], vector
        assert is_in(key, percent, salt) is vector["candidate"], vector


def test_the_oracle_knows_the_published_values_of_murmur3() -> None:
    """The second implementation gives the values that are published for MurmurHash3 x86 32."""
    known = {(b"", 0): 0, (b"", 1): 0x514E28B7, (b"", 0xFFFFFFFF): 0x81F16F39, (b"\x00\x00\x00\x00", 0): 0x2362F9DE}
    assert {pair: murmur3_x86_32(*pair) for pair in known} == known


@given(KEYS, KEYS)
def test_buckets_are_murmur3_of_utf8(salt: str, key: str) -> None:
    """For any salt and key, the bucket is the hash of their UTF-8, unsigned."""
    seed = seed_of(salt)
    assert seed == murmur3_x86_32(salt.encode(), 0)
    assert bucket_of(key, seed) == murmur3_x86_32(key.encode(), seed)


# --- percentages ---


def test_a_percentage_with_three_decimals_is_exact() -> None:
    """Each of the 100,001 percentages opens floor(percent * 2**32 / 100) buckets, in spite of binary fractions."""
    assert all(threshold_of(n / 1000) == n * 2**32 // 100_000 for n in range(100_001))


def test_each_thousandth_of_a_percent_opens_more_buckets() -> None:
    """No two percentages that can be written apart are the same to the users."""
    thresholds = [threshold_of(n / 1000) for n in range(100_001)]
    assert all(low < high for low, high in itertools.pairwise(thresholds))


def test_the_ends_are_unconditional() -> None:
    """0 % opens no bucket, so nobody is in; 100 % opens every bucket, so everybody is."""
    assert threshold_of(0) == 0
    assert threshold_of(100) == BUCKETS == 2**32


@given(KEYS, KEYS)
def test_nobody_at_0_and_everybody_at_100(salt: str, key: str) -> None:
    """No key is in at 0 %, every key is in at 100 %."""
    assert not is_in(key, 0, salt)
    assert is_in(key, 100, salt)


@given(st.lists(KEYS, max_size=30), PERCENTS, PERCENTS)
def test_growth_only_adds(keys: list[str], one: float, other: float) -> None:
    """Whoever is in at the lower percentage is in at the higher one."""
    low, high = sorted((one, other))
    assert {key for key in keys if is_in(key, low)} <= {key for key in keys if is_in(key, high)}


def test_shrinking_removes_the_last_in_first() -> None:
    """Lowering the percentage step by step empties the rollout in exactly the reverse order in which it filled."""
    keys = [f"user-{n}" for n in range(500)]
    steps = [n / 10 for n in range(1001)]

    def moves(percents: list[float]) -> list[set[str]]:
        inside = [{key for key in keys if is_in(key, percent)} for percent in percents]
        return [before ^ after for before, after in itertools.pairwise(inside)]

    assert moves(steps[::-1]) == moves(steps)[::-1]
    assert set().union(*moves(steps)) == set(keys)


# --- fairness ---


def sequential() -> list[str]:
    """20,000 keys as a database hands them out."""
    return [str(n) for n in range(20_000)]


def uuids() -> list[str]:
    """20,000 random UUIDs, the same in every run."""
    rng = random.Random(7)
    return [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(20_000)]


def mails() -> list[str]:
    """20,000 addresses that share most of their letters."""
    return [f"customer.{n}@shop.example.com" for n in range(20_000)]


@pytest.mark.parametrize("keys", [sequential(), uuids(), mails()], ids=["sequential", "uuid", "mail"])
@pytest.mark.parametrize("salt", ["new-checkout", "page-size", ""])
def test_buckets_are_uniform(keys: list[str], salt: str) -> None:
    """Keys as people have them fill 100 equal bands of buckets evenly (chi-square, 99 degrees, below 148.230)."""
    bands, seed = [0] * 100, seed_of(salt)
    for key in keys:
        bands[bucket_of(key, seed) * 100 // BUCKETS] += 1
    assert chi_square(bands, [len(keys) / 100] * 100) < CRITICAL_99


def dependence(keys: list[str], one: tuple[str, float], other: tuple[str, float]) -> float:
    """Return the chi-square of the 2x2 table of two flags, each a salt and a percentage."""
    table = {(first, second): 0 for first in (True, False) for second in (True, False)}
    for key in keys:
        table[is_in(key, one[1], one[0]), is_in(key, other[1], other[0])] += 1
    rows = {side: table[side, True] + table[side, False] for side in (True, False)}
    columns = {side: table[True, side] + table[False, side] for side in (True, False)}
    return chi_square(table.values(), (rows[first] * columns[second] / len(keys) for first, second in table))


@pytest.mark.parametrize("keys", [sequential(), uuids(), mails()], ids=["sequential", "uuid", "mail"])
@pytest.mark.parametrize(("one", "other"), [(10, 10), (5, 50), (50, 50)])
def test_two_flags_are_independent(keys: list[str], one: float, other: float) -> None:
    """Being in one flag says nothing about being in another (chi-square of the 2x2 table, below 10.828)."""
    assert dependence(keys, ("new-checkout", one), ("page-size", other)) < CRITICAL_1


def test_flags_that_share_a_salt_are_not_independent() -> None:
    """One salt gives one order of users, and the statistic above sees it."""
    assert dependence(sequential(), ("shared", 5), ("shared", 50)) > CRITICAL_1
