"""Which users get the candidate: a frozen formula, published with test vectors in `tests/vectors/bucketing.json`.

    seed      = mmh3_32(salt, seed=0)                     unsigned
    bucket    = mmh3_32(targeting_key, seed=seed)         unsigned, 0 .. 2**32 - 1
    candidate = bucket < threshold,                       threshold = floor(percent * 2**32 / 100)

Raising the percentage never moves anyone out; lowering it removes the last in first. The salt separates flags, so two
flags at 10 % meet different users.
"""

from __future__ import annotations

from typing import Final

import mmh3

BUCKETS: Final = 2**32
"""How many buckets there are; a threshold lies between 0 (nobody) and this (everybody)."""

STEPS_PER_PERCENT: Final = 1_000
"""Percentages have three decimals."""


def seed_of(salt: str) -> int:
    """Return the hash seed of a flag's salt, 0 to 2**32 - 1."""
    return mmh3.hash(salt, 0, False)


def bucket_of(targeting_key: str, seed: int) -> int:
    """Return the bucket of a targeting key, 0 to 2**32 - 1. Cost: one hash, about 30 ns."""
    return mmh3.hash(targeting_key, seed, False)


def threshold_of(percent: float) -> int:
    """Return the number of buckets that `percent` (0 to 100, three decimals) opens; exact integer arithmetic."""
    return round(percent * STEPS_PER_PERCENT) * BUCKETS // (100 * STEPS_PER_PERCENT)
