"""Which of several variants a candidate gets: a frozen formula, with test vectors in `tests/vectors/variants.json`.

    seed    = mmh3_32(variant name, seed=mmh3_32(salt, seed=0))    unsigned
    draw    = mmh3_32(targeting_key, seed=seed)                    unsigned, 0 .. 2**32 - 1
    score   = ln((draw + 0.5) / 2**32) / weight                    negative
    variant = the highest score; of equal ones the first by name

Each variant draws for itself, so nothing here depends on the percentage or on the order of declaration. With weights w,
a share of w / sum(w) of the keys gets a variant. When weights change, a key moves only to a variant whose weight has
grown in relation to that of the one it had: a new variant takes from all others in proportion and nobody moves between
those, and with two variants no more move than must.
"""

from __future__ import annotations

from math import inf, log
from typing import TYPE_CHECKING

import mmh3

from canary_sdk.core.flags.bucketing import BUCKETS, bucket_of, seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def variant_seed(salt: str, name: str) -> int:
    """Return the hash seed of a variant, 0 to 2**32 - 1."""
    return bucket_of(name, seed_of(salt))


def chooser(salt: str, weights: Mapping[str, float]) -> Callable[[str], str]:
    """Return the function from targeting key to variant. Cost of a call: one hash and one logarithm a variant."""
    variants = tuple((variant_seed(salt, name), weights[name], name) for name in sorted(weights))

    def variant_of(targeting_key: str, draw: Callable[[str, int, bool], int] = mmh3.hash) -> str:
        best, chosen = -inf, ""
        for seed, weight, name in variants:
            score = log((draw(targeting_key, seed, False) + 0.5) / BUCKETS) / weight
            if score > best:
                best, chosen = score, name
        return chosen

    return variant_of
