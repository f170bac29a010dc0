"""Claims about which variant a candidate gets.

Chi-square tests run on fixed keys, so they pass or fail once and for all; their critical values are those of
alpha = 0.001, as scipy.stats.chi2.ppf(0.999, degrees) gives them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.core.config.configuration import parse_flag
from canary_sdk.core.flags.bucketing import bucket_of, seed_of, threshold_of
from canary_sdk.core.flags.compiled import compile_flag
from canary_sdk.core.flags.evaluation import NO_ATTRIBUTES, Evaluation, Reason, Role
from canary_sdk.core.flags.flag import Flag, FlagType, Variant
from canary_sdk.core.flags.variants import chooser, variant_seed
from tests.core.flags.test_bucketing import chi_square, murmur3_x86_32

VECTORS: Final = Path(__file__).parents[2] / "vectors" / "variants.json"
VECTORS_SHA256: Final = "8e58044de53a30daa679e10c8d411dbaeafa54375770cbeda4614e85ef3bf2e0"
CRITICAL: Final = {1: 10.828, 2: 13.816, 4: 18.467}
"""Chi-square by degrees of freedom, alpha 0.001."""

KEYS: Final = [f"user-{number}" for number in range(20_000)]
WEIGHTS: Final = st.dictionaries(
    st.sampled_from(["blue", "green", "red", "grey"]),
    st.integers(1, 100_000).map(lambda thousandths: thousandths / 1000),
    min_size=2,
)


def test_the_vectors_were_never_regenerated() -> None:
    """The published vectors are the file that was written once, byte for byte."""
    assert hashlib.sha256(VECTORS.read_bytes()).hexdigest() == VECTORS_SHA256


def test_every_vector_holds_for_the_code_and_for_an_independent_hash() -> None:
    """At least 200 published vectors agree with the code and with a second implementation of the hash."""
    vectors = json.loads(VECTORS.read_text("utf-8"))["vectors"]
    assert len(vectors) >= 200
    for vector in vectors:
        salt, key = vector["salt"], vector["key"]
        for name, draw in vector["draws"].items():
            seed = murmur3_x86_32(name.encode(), murmur3_x86_32(salt.encode(), 0))
            assert variant_seed(salt, name) == seed, vector
            assert murmur3_x86_32(key.encode(), seed) == draw, vector
        assert chooser(salt, vector["weights"])(key) == vector["variant"], vector


def test_the_order_of_declaration_says_nothing() -> None:
    """The same variants in another order, as a store may return them, are given to the same keys."""
    one, other = chooser("s", {"a": 1, "b": 2, "c": 3}), chooser("s", {"c": 3, "b": 2, "a": 1})
    assert all(one(key) == other(key) for key in KEYS[:2_000])


def test_equal_draws_go_to_the_first_name() -> None:
    """Two variants of one score are decided by their names: here, because no key can tell weights of infinity apart."""
    assert chooser("s", {"b": math.inf, "a": math.inf})("user-1") == "a"


def test_the_lowest_draw_has_a_score() -> None:
    """Half a bucket is added to a draw, no less and no more: by the formula, the first of these has the lower score."""
    weights = {"a": 1.03, "b": 1.0}
    draws = {variant_seed("s", "a"): 0, variant_seed("s", "b"): 1}
    choose: Any = chooser("s", weights)
    assert choose("u", lambda _, seed, __: draws[seed]) == "b"
    assert math.log(0.5 / 2**32) / 1.03 < math.log(1.5 / 2**32)


@pytest.mark.parametrize("salt", ["new-checkout", "page-size"])
@pytest.mark.parametrize(
    "weights",
    [{"a": 1, "b": 1}, {"a": 90, "b": 10}, {"a": 50, "b": 30, "c": 20}, {"a": 5, "b": 4, "c": 3, "d": 2, "e": 1}],
    ids=str,
)
def test_weights_are_honoured(salt: str, weights: dict[str, float]) -> None:
    """Of 20,000 keys each variant gets its share of the weights (chi-square, alpha 0.001)."""
    variant_of = chooser(salt, weights)
    counts = dict.fromkeys(weights, 0)
    for key in KEYS:
        counts[variant_of(key)] += 1
    expected = [len(KEYS) * weight / sum(weights.values()) for weight in weights.values()]
    assert chi_square(counts.values(), expected) < CRITICAL[len(weights) - 1]


def test_the_variant_says_nothing_of_the_bucket() -> None:
    """Being early or late in the rollout is independent of the variant (chi-square of the 2x2 table, below 10.828)."""
    variant_of, seed = chooser("new-checkout", {"a": 1, "b": 1}), seed_of("new-checkout")
    table = {(early, name): 0 for early in (True, False) for name in "ab"}
    for key in KEYS:
        table[bucket_of(key, seed) < threshold_of(20), variant_of(key)] += 1
    rows = {early: table[early, "a"] + table[early, "b"] for early in (True, False)}
    columns = {name: table[True, name] + table[False, name] for name in "ab"}
    expected = [rows[early] * columns[name] / len(KEYS) for early, name in table]
    assert chi_square(table.values(), expected) < CRITICAL[1]


# --- changes ---


@given(WEIGHTS, WEIGHTS)
def test_a_key_moves_only_to_a_variant_that_has_grown(before: dict[str, float], after: dict[str, float]) -> None:
    """Whoever gets another variant gets one whose weight has grown in relation to that of the one they had."""
    old, new = chooser("s", before), chooser("s", after)
    for key in KEYS[:200]:
        had, has = old(key), new(key)
        if had != has:
            assert after[has] * before[had] > before.get(has, 0) * after.get(had, 0)


def test_a_new_variant_takes_from_all_and_moves_nobody_else() -> None:
    """With a third variant, every key that changes goes to it, and it gets its share."""
    old, new = chooser("s", {"a": 1, "b": 1}), chooser("s", {"a": 1, "b": 1, "c": 1})
    moved = {new(key) for key in KEYS if old(key) != new(key)}
    assert moved == {"c"}
    assert abs(sum(new(key) == "c" for key in KEYS) / len(KEYS) - 1 / 3) < 0.02


def test_with_two_variants_no_more_move_than_must() -> None:
    """From 50:50 to 60:40 a tenth of the keys moves, all in one direction."""
    old, new = chooser("s", {"a": 50, "b": 50}), chooser("s", {"a": 60, "b": 40})
    moved = [(old(key), new(key)) for key in KEYS if old(key) != new(key)]
    assert set(moved) == {("b", "a")}
    assert abs(len(moved) / len(KEYS) - 0.1) < 0.01


# --- in a flag ---

COLOURS: Final = (Variant("blue", "b", 60), Variant("green", "g", 40))


def coloured(rollout: float) -> Flag:
    """Return a flag that divides its rollout among two colours."""
    return Flag("colour", FlagType.STRING, "grey", "grey", rollout=rollout, variants=COLOURS)


def answers(rollout: float) -> dict[str, Evaluation]:
    """Return what 2,000 keys are answered."""
    choose = compile_flag(coloured(rollout)).choose
    return {key: choose(key, NO_ATTRIBUTES) for key in KEYS[:2_000]}


def test_variants_divide_the_rollout_and_the_default_stays_the_baseline() -> None:
    """Who is in is decided by the published bucket, and gets a variant on the candidate arm; others the default."""
    variant_of, seed = chooser("colour", {"blue": 60, "green": 40}), seed_of("colour")
    values = {variant.name: variant.value for variant in COLOURS}
    for key, answer in answers(50).items():
        if bucket_of(key, seed) < threshold_of(50):
            name = variant_of(key)
            expected = Evaluation("colour", values[name], name, Reason.SPLIT, Role.CANDIDATE, enabled=True)
        else:
            expected = Evaluation("colour", "grey", "baseline", Reason.SPLIT, Role.BASELINE)
        assert answer == expected


def test_growth_moves_nobody_from_one_variant_to_another() -> None:
    """From 0 to 100 % in steps, a key that has a variant keeps it."""
    steps = [answers(percent) for percent in (0, 1, 10, 50, 99.999, 100)]
    for before, after in itertools.pairwise(steps):
        assert all(after[key] == answer for key, answer in before.items() if answer.enabled)
    assert all(answer.enabled for answer in steps[-1].values())


def test_without_a_key_one_is_in_if_everybody_is() -> None:
    """Below 100 % a missing key gets the baseline, apart; at 100 % all of them share one variant."""
    nobody = compile_flag(coloured(99)).choose(None, NO_ATTRIBUTES)
    assert (nobody.variant, nobody.reason, nobody.role) == ("baseline", Reason.DEFAULT, Role.APART)
    everybody = compile_flag(coloured(100))
    assert everybody.choose(None, NO_ATTRIBUTES) == everybody.choose("", NO_ATTRIBUTES)
    assert everybody.choose(None, NO_ATTRIBUTES).variant in {"blue", "green"}


def test_a_single_variant_names_the_candidate() -> None:
    """It gets all of the rollout, and at 100 % the flag answers everybody the same."""
    fields = {"type": "string", "default": "bye", "variants": {"greeting": {"value": "hi"}}, "rollout": 100}
    flag = parse_flag("f", fields).base
    told = compile_flag(flag).choose("user-1", NO_ATTRIBUTES)
    assert (told.variant, told.value, flag.is_static) == ("greeting", "hi", True)
