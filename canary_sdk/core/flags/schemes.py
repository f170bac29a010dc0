"""How other tools choose who is in, so that their users move here without changing arm.

The formulas are frozen, with test vectors in `tests/vectors/schemes.json`, and held against those tools' own libraries.

A scheme is a function from targeting key to variant, None for the baseline. It is made for a salt, a percentage and
weighted variants when the flag table is built. All hashes are mmh3_32, unsigned unless said otherwise.

    unleash             bucket = hash(salt ":" key, 0) mod 100, in if bucket < percent;
                        variant by hash(salt ":" key, 86028157) mod (sum of the weights)
    flagd               bucket = hash(CBOR [salt, key], 0) / 2**32
    flagd-cat           bucket = hash(CBOR (salt key), 0) / 2**32
    flagd-v1            bucket = hash(salt key, 0) / 2**32
    flagd-v0            bucket = abs(signed hash(salt key, 0)) / (2**31 - 1)
    optimizely          bucket = hash(key salt, 1) / 2**32
    optimizely-packed   the same

For flagd, and where it is packed, variants lie side by side from 0 and the baseline takes the rest; for Optimizely,
each variant has the part of the line that its weight gives it, and is served in as much of it as the percentage says.
Either way growing the percentage only adds users; but packed variants may change place among each other.
"""

from __future__ import annotations

from bisect import bisect_right
from enum import StrEnum
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

import mmh3

from canary_sdk.core.flags.bucketing import BUCKETS, STEPS_PER_PERCENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Assign = Callable[[str], str | None]
    """Which variant a targeting key gets; None for the baseline."""
    Place = Callable[[str], int]
    Band = tuple[int, str | None]
    """Where a stretch of the line ends, in parts, and whose it is."""

STEPS: Final = 100 * STEPS_PER_PERCENT
"""Percentages have three decimals."""
WEIGHT_STEPS: Final = 1_000
"""Weights have three decimals."""
HUNDRED: Final = 100
VARIANT_SEED: Final = 86_028_157
"""The hash seed with which Unleash draws variants."""


class Bucketing(StrEnum):
    """Whose way of choosing a flag follows."""

    CANARY = "canary"
    UNLEASH = "unleash"
    FLAGD = "flagd"
    FLAGD_CAT = "flagd-cat"
    FLAGD_V1 = "flagd-v1"
    FLAGD_V0 = "flagd-v0"
    OPTIMIZELY = "optimizely"
    OPTIMIZELY_PACKED = "optimizely-packed"


def assigner(bucketing: Bucketing, salt: str, percent: float, weights: Mapping[str, float], *, last: bool) -> Assign:
    """Return the function from targeting key to variant; `weights` are in the order of the other tool's own list.

    `last` says that the baseline stands behind the variants, where a line has one; else before them.
    """
    steps = round(percent * STEPS_PER_PERCENT)
    exact = {name: round(weight * WEIGHT_STEPS) for name, weight in weights.items()}
    if bucketing is Bucketing.UNLEASH:
        return _unleash(salt, steps, exact)
    line = LINES[bucketing]
    total = sum(exact.values())
    bands = line.bands(steps, exact, total, last)
    ends = [-(-end * line.length // (STEPS * total)) for end, _ in bands]
    return _walk(line.placer(salt), ends, [name for _, name in bands])


# --- Unleash: two draws, of hundredths and of weights ---


def _unleash(salt: str, steps: int, weights: Mapping[str, int]) -> Assign:
    """Choose as Unleash does. It knows whole percentages; between two of them, the rest of the hash decides."""
    names = list(weights)
    ends = list(accumulate(weight // WEIGHT_STEPS for weight in weights.values()))
    fine = -(-BUCKETS // HUNDRED)
    threshold = steps * fine // STEPS_PER_PERCENT

    def assign(key: str) -> str | None:
        text = f"{salt}:{key}"
        rest, hundredth = divmod(mmh3.hash(text, 0, False), HUNDRED)
        if hundredth * fine + rest >= threshold:
            return None
        return names[bisect_right(ends, mmh3.hash(text, VARIANT_SEED, False) % ends[-1])]

    return assign


# --- the others: one draw, on a line ---


class Line(NamedTuple):
    """A line of buckets from 0 to below `length`; where a key is on it, and what lies on it in which order.

    `bands` measures in parts of which the line has `STEPS` times the sum of the weights.
    """

    placer: Callable[[str], Place]
    length: int
    bands: Callable[[int, Mapping[str, int], int, bool], Sequence[Band]]


def _walk(place: Place, ends: Sequence[int], names: Sequence[str | None]) -> Assign:
    beyond = [*names, None]
    return lambda key: beyond[bisect_right(ends, place(key))]


def _side_by_side(steps: int, weights: Mapping[str, int], total: int, last: bool) -> Sequence[Band]:
    variants = [(steps * weight, name) for name, weight in weights.items()]
    baseline: tuple[int, None] = ((STEPS - steps) * total, None)
    return _added([*variants, baseline] if last else [baseline, *variants])


def _each_in_its_part(steps: int, weights: Mapping[str, int], _: int, last: bool) -> Sequence[Band]:
    bands: list[Band] = []
    for name, weight in weights.items():
        served, rest = (steps * weight, name), ((STEPS - steps) * weight, None)
        bands += [served, rest] if last else [rest, served]
    return _added(bands)


def _added(bands: Iterable[Band]) -> Sequence[Band]:
    """Turn lengths into ends."""
    lengths, names = zip(*bands, strict=True)
    return list(zip(accumulate(lengths), names, strict=True))


def _text(value: str) -> bytes:
    """Encode a text in CBOR: major type 3, RFC 8949 section 3."""
    data = value.encode()
    length = len(data)
    if length < 24:
        return bytes([0x60 + length]) + data
    size = next(power for power in range(4) if length < 256 ** (2**power))
    return bytes([0x78 + size]) + length.to_bytes(2**size, "big") + data


def _flagd(salt: str) -> Place:
    head = b"\x82" + _text(salt)
    return lambda key: mmh3.hash(head + _text(key), 0, False)


def _flagd_cat(salt: str) -> Place:
    return lambda key: mmh3.hash(_text(salt + key), 0, False)


def _flagd_v1(salt: str) -> Place:
    return lambda key: mmh3.hash(salt + key, 0, False)


def _flagd_v0(salt: str) -> Place:
    return lambda key: abs(mmh3.hash(salt + key, 0, True))


def _optimizely(salt: str) -> Place:
    return lambda key: mmh3.hash(key + salt, 1, False)


LINES: Final[Mapping[Bucketing, Line]] = {
    Bucketing.FLAGD: Line(_flagd, BUCKETS, _side_by_side),
    Bucketing.FLAGD_CAT: Line(_flagd_cat, BUCKETS, _side_by_side),
    Bucketing.FLAGD_V1: Line(_flagd_v1, BUCKETS, _side_by_side),
    Bucketing.FLAGD_V0: Line(_flagd_v0, 2**31 - 1, _side_by_side),
    Bucketing.OPTIMIZELY: Line(_optimizely, BUCKETS, _each_in_its_part),
    Bucketing.OPTIMIZELY_PACKED: Line(_optimizely, BUCKETS, _side_by_side),
}
