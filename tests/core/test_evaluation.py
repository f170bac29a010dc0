"""A compiled flag gives the right answer, with the right reason, on the right side of the comparison."""

from __future__ import annotations

import pytest

from canary_sdk.core.bucketing import bucket_of, seed_of, threshold_of
from canary_sdk.core.compiled import compile_flag
from canary_sdk.core.evaluation import NO_ATTRIBUTES, Evaluation, Reason, Role
from canary_sdk.core.flags import Flag, FlagType, Value

KEYS = [f"user-{number}" for number in range(2_000)]


def test_the_split_is_the_published_formula() -> None:
    """A key gets the candidate exactly when its bucket is below the threshold."""
    compiled = compile_flag(Flag("checkout", rollout=12.345))
    seed, threshold = seed_of("checkout"), threshold_of(12.345)
    answers = {key: compiled.choose(key, NO_ATTRIBUTES).enabled for key in KEYS}
    assert answers == {key: bucket_of(key, seed) < threshold for key in KEYS}
    assert 0 < sum(answers.values()) < len(KEYS)


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


def test_a_probe_is_never_wider_than_the_rollout() -> None:
    """A probe of 5 % at a rollout of 1 % serves 1 %."""
    compiled = compile_flag(Flag("f", rollout=1), probe_percent=5)
    allowed = {key for key in KEYS if compiled.choose(key, NO_ATTRIBUTES).enabled}
    assert {key for key in KEYS if compiled.probe(key, NO_ATTRIBUTES).enabled} == allowed
