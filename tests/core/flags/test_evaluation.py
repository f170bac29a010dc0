"""A compiled flag gives the right answer, with the right reason, on the right side of the comparison."""

from __future__ import annotations

from dataclasses import replace

import pytest

from canary_sdk.core.flags.bucketing import bucket_of, seed_of, threshold_of
from canary_sdk.core.flags.compiled import compile_flag
from canary_sdk.core.flags.evaluation import NO_ATTRIBUTES, Evaluation, Reason, Role
from canary_sdk.core.flags.flag import Flag, FlagType, Value, Variant

KEYS = [f"user-{number}" for number in range(2_000)]


def test_the_split_is_the_published_formula() -> None:
    """A key gets the candidate exactly when its bucket is below the threshold."""
    compiled = compile_flag(Flag("checkout", rollout=12.345))
    seed, threshold = seed_of("checkout"), threshold_of(12.345)
    answers = {key: compiled.choose(key, NO_ATTRIBUTES).enabled for key in KEYS}
    assert answers == {key: bucket_of(key, seed) < threshold for key in KEYS}
    assert 0 < sum(answers.values()) < len(KEYS)


def test_a_key_at_the_threshold_is_out() -> None:
    """The one bucket that equals the threshold is not below it: plainly, after a target, divided, and as a probe."""
    key, percent = "user-30036", 96.302
    assert bucket_of(key, seed_of("f")) == threshold_of(percent)
    colours = (Variant("blue", "b"), Variant("green", "g"))
    for flag in (
        Flag("f", rollout=percent),
        Flag("f", rollout=percent, targets={"on": ("somebody",)}),
        Flag("f", FlagType.STRING, "grey", "grey", rollout=percent, variants=colours),
    ):
        assert not compile_flag(flag).choose(key, NO_ATTRIBUTES).enabled
        assert compile_flag(replace(flag, rollout=percent + 0.001)).choose(key, NO_ATTRIBUTES).enabled
    everybody = Flag("f", rollout=100)
    assert not compile_flag(everybody, percent).probe(key, NO_ATTRIBUTES).enabled
    assert compile_flag(everybody, percent + 0.001).probe(key, NO_ATTRIBUTES).enabled


def test_a_salt_of_its_own_reshuffles() -> None:
    """Two salts put different users into the same percentage."""
    plain = compile_flag(Flag("checkout", rollout=50))
    salted = compile_flag(Flag("checkout", rollout=50, salt="again"))
    assert {key for key in KEYS if plain.choose(key, NO_ATTRIBUTES).enabled} != {
        key for key in KEYS if salted.choose(key, NO_ATTRIBUTES).enabled
    }


@pytest.mark.parametrize(
    ("flag", "key", "expected"),
    [
        (Flag("f", rollout=100), "u", Evaluation("f", True, "on", Reason.SPLIT, Role.CANDIDATE, enabled=True)),
        (Flag("f", rollout=100), None, Evaluation("f", True, "on", Reason.SPLIT, Role.CANDIDATE, enabled=True)),
        (Flag("f", rollout=0), "u", Evaluation("f", False, "off", Reason.DEFAULT, Role.BASELINE)),
        (Flag("f", rollout=0), None, Evaluation("f", False, "off", Reason.DEFAULT, Role.BASELINE)),
        (Flag("f", rollout=50), None, Evaluation("f", False, "off", Reason.DEFAULT, Role.APART)),
        (Flag("f", rollout=50), "", Evaluation("f", False, "off", Reason.DEFAULT, Role.APART)),
        (Flag("f", rollout=100, enabled=False), "u", Evaluation("f", False, "off", Reason.DISABLED, Role.APART)),
        (
            Flag("f", default=True, candidate=False, rollout=100),
            "u",
            Evaluation("f", False, "off", Reason.SPLIT, Role.CANDIDATE, enabled=False),
        ),
        (
            Flag("f", type=FlagType.INTEGER, default=20, candidate=50, rollout=100),
            "u",
            Evaluation("f", 50, "candidate", Reason.SPLIT, Role.CANDIDATE, enabled=True),
        ),
        (
            Flag("f", type=FlagType.STRING, default="a", candidate="b"),
            "u",
            Evaluation("f", "a", "baseline", Reason.DEFAULT, Role.BASELINE),
        ),
    ],
)
def test_answers_at_the_edges(flag: Flag, key: str | None, expected: Evaluation) -> None:
    """Nobody, everybody, no key, disabled and typed flags each answer with their own reason and role."""
    assert compile_flag(flag).choose(key, NO_ATTRIBUTES) == expected


@pytest.mark.parametrize(("kind", "default", "candidate"), [("boolean", False, True), ("float", 0.5, 0.75)])
def test_a_tripped_flag_serves_its_default_apart(kind: str, default: Value, candidate: Value) -> None:
    """What is served while a flag is off is the baseline's value, and is on neither side of the comparison."""
    tripped = compile_flag(Flag("f", type=FlagType(kind), default=default, candidate=candidate, rollout=100)).tripped
    assert (tripped.value, tripped.reason, tripped.role) == (default, Reason.TRIPPED, Role.APART)


def test_a_probe_lets_the_first_in_first_back_in() -> None:
    """A half-open breaker serves those with the lowest buckets, all of whom had the candidate before."""
    compiled = compile_flag(Flag("f", rollout=25), probe_percent=5)
    probed = {key for key in KEYS if compiled.probe(key, NO_ATTRIBUTES).enabled}
    assert probed == {key for key in KEYS if bucket_of(key, seed_of("f")) < threshold_of(5)}
    assert probed < {key for key in KEYS if compiled.choose(key, NO_ATTRIBUTES).enabled}
    assert {compiled.probe(key, NO_ATTRIBUTES).reason for key in KEYS} == {Reason.SPLIT, Reason.TRIPPED}


def test_a_probe_of_everybody_needs_no_key() -> None:
    """At 100 % whoever has no key is let back in too; below, only those whose key is among the first."""
    everybody = Flag("f", rollout=100)
    assert compile_flag(everybody, 100).probe(None, NO_ATTRIBUTES).enabled
    for percent in (0, 99.999):
        assert not compile_flag(everybody, percent).probe(None, NO_ATTRIBUTES).enabled
        assert not compile_flag(everybody, percent).probe("", NO_ATTRIBUTES).enabled


def test_nobody_is_probed_unless_it_is_said() -> None:
    """Without a share of its own, a probe serves nobody."""
    compiled = compile_flag(Flag("f", rollout=100))
    assert {compiled.probe(key, NO_ATTRIBUTES).reason for key in KEYS} == {Reason.TRIPPED}


def test_what_is_known_of_a_flag_beforehand() -> None:
    """A flag of one answer offers it, a plain percentage its parts, and what comes before them is told apart."""
    constant, plain = compile_flag(Flag("f", rollout=100)), compile_flag(Flag("f", rollout=5))
    assert constant.split.constant == constant.choose("u", NO_ATTRIBUTES)
    assert (constant.split.plain, constant.before, plain.before, plain.split.constant) == (None, None, None, None)
    assert plain.split.plain is not None
    assert (plain.split.plain.seed, plain.split.plain.threshold) == (seed_of("f"), threshold_of(5))
    targeted = compile_flag(Flag("f", rollout=5, targets={"on": ("u",)}))
    assert targeted.before is not None
    assert targeted.before("u", NO_ATTRIBUTES) == targeted.choose("u", NO_ATTRIBUTES)
    assert targeted.before("v", NO_ATTRIBUTES) is None
    assert [key for key in KEYS if compile_flag(Flag("f", rollout=5), 1).is_probed(key)] == [
        key for key in KEYS if bucket_of(key, seed_of("f")) < threshold_of(1)
    ]


def test_a_probe_is_never_wider_than_the_rollout() -> None:
    """A probe of 5 % at a rollout of 1 % serves 1 %."""
    compiled = compile_flag(Flag("f", rollout=1), probe_percent=5)
    allowed = {key for key in KEYS if compiled.choose(key, NO_ATTRIBUTES).enabled}
    assert {key for key in KEYS if compiled.probe(key, NO_ATTRIBUTES).enabled} == allowed
