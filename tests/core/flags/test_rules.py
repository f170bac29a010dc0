"""Claims about targets, rules and prerequisites: who is served what, and on which side of the comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.core.breaker import KILLED, PROBING, TRIPPED
from canary_sdk.core.config.configuration import parse_declaration
from canary_sdk.core.flags.bucketing import bucket_of, seed_of, threshold_of
from canary_sdk.core.flags.compiled import CompiledFlag, compile_flag
from canary_sdk.core.flags.conditions import compile_segments
from canary_sdk.core.flags.evaluation import NO_ATTRIBUTES, Evaluation, Reason, Role
from canary_sdk.core.flags.explain import explain, pinned
from canary_sdk.core.flags.explanation import Cause, Explanation
from canary_sdk.core.flags.flag import Prerequisite

if TYPE_CHECKING:
    from collections.abc import Mapping

KEYS: Final = [f"user-{number}" for number in range(1_000)]
SWISS: Final = {"attribute": "country", "equals": "CH"}
IN_SWITZERLAND: Final = {"country": "CH"}
SEGMENTS: Final = {"staff": {"if": {"attribute": "mail", "ends_with": "@shop.example"}}}


def compiled(flags: Mapping[str, object], probe: float = 0.0, environment: str = "") -> dict[str, CompiledFlag]:
    """Read and compile flags that may ask each other."""
    declared = parse_declaration({"flags": flags, "segments": SEGMENTS})
    segments = compile_segments({key: segment.condition for key, segment in declared.segments.items()})
    table: dict[str, CompiledFlag] = {}

    def ask(flag_key: str, key: str | None, attributes: Mapping[str, Any]) -> Evaluation | None:
        return table[flag_key].choose(key, attributes) if flag_key in table else None

    for key, flag in declared.flags.items():
        table[key] = compile_flag(flag.for_environment(environment), probe, segments, ask)
    return table


def a_flag(probe: float = 0.0, **fields: object) -> CompiledFlag:
    """Return one compiled flag with these fields."""
    return compiled({"f": fields}, probe)["f"]


def shown(evaluation: Evaluation) -> tuple[str, Reason, Role]:
    """Return what these tests speak of."""
    return evaluation.variant, evaluation.reason, evaluation.role


# --- targets ---


def test_targets_are_forced_apart() -> None:
    """A named key gets its variant whatever the percentage, is measured apart, and nobody else is touched."""
    flag = a_flag(rollout=50, targets={"on": ["alice", "bob"], "off": ["eve"]})
    plain = a_flag(rollout=50)
    assert shown(flag.choose("alice", NO_ATTRIBUTES)) == ("on", Reason.TARGETING_MATCH, Role.APART)
    assert shown(flag.choose("eve", NO_ATTRIBUTES)) == ("off", Reason.TARGETING_MATCH, Role.APART)
    assert flag.choose("alice", NO_ATTRIBUTES).enabled
    assert not flag.choose("eve", NO_ATTRIBUTES).enabled
    assert all(flag.choose(key, NO_ATTRIBUTES) == plain.choose(key, NO_ATTRIBUTES) for key in [*KEYS, None, ""])


def test_targets_of_a_typed_flag_are_called_by_their_variants() -> None:
    """The baseline's own name forces the default; any other variant is `enabled`."""
    flag = a_flag(
        type="integer",
        default=1,
        rollout=100,
        variants={"ten": {"value": 10}, "twenty": {"value": 20}},
        targets={"baseline": ["b"], "twenty": ["t"]},
    )
    assert flag.choose("b", NO_ATTRIBUTES) == Evaluation("f", 1, "baseline", Reason.TARGETING_MATCH)
    assert flag.choose("t", NO_ATTRIBUTES) == Evaluation("f", 20, "twenty", Reason.TARGETING_MATCH, enabled=True)


# --- rules ---


def test_a_rule_that_serves_a_variant_is_apart() -> None:
    """Whom it holds for gets the variant, apart; everybody else the flag's own split, on the arms."""
    flag, plain = a_flag(rollout=50, rules=[{"if": SWISS, "serve": "on"}]), a_flag(rollout=50)
    for key in KEYS[:50]:
        assert shown(flag.choose(key, IN_SWITZERLAND)) == ("on", Reason.TARGETING_MATCH, Role.APART)
        for others in ({"country": "DE"}, {}):
            assert flag.choose(key, others) == plain.choose(key, NO_ATTRIBUTES)
    assert shown(flag.choose(None, IN_SWITZERLAND)) == ("on", Reason.TARGETING_MATCH, Role.APART)


def test_a_rule_that_serves_the_default_is_apart() -> None:
    """A rule can leave people out, and they do not make the baseline arm."""
    flag = a_flag(rollout=100, rules=[{"if": SWISS, "serve": "default"}])
    assert shown(flag.choose("u", IN_SWITZERLAND)) == ("off", Reason.TARGETING_MATCH, Role.APART)
    assert shown(flag.choose("u", {})) == ("on", Reason.SPLIT, Role.CANDIDATE)


def test_a_rule_that_serves_the_rollout_makes_the_arms() -> None:
    """Who is put into the flag's own split is split as everybody, and measured as everybody."""
    rules = [{"if": SWISS, "serve": "rollout"}, {"if": {"attribute": "country", "exists": True}, "serve": "off"}]
    flag, plain = a_flag(rollout=30, rules=rules), a_flag(rollout=30)
    assert all(flag.choose(key, IN_SWITZERLAND) == plain.choose(key, NO_ATTRIBUTES) for key in KEYS)
    assert shown(flag.choose("u", {"country": "DE"})) == ("off", Reason.TARGETING_MATCH, Role.APART)


def test_a_rule_with_its_own_percentage_is_apart_and_nested() -> None:
    """It splits by the same bucket, so that the larger share contains the smaller, and both its sides are apart."""
    flag = a_flag(rollout=5, rules=[{"if": SWISS, "serve": "rollout", "rollout": 20}])
    seed = seed_of("f")
    for key in KEYS:
        answer = flag.choose(key, IN_SWITZERLAND)
        assert answer.enabled == (bucket_of(key, seed) < threshold_of(20))
        assert (answer.reason, answer.role) == (Reason.TARGETING_MATCH, Role.APART)
        assert answer.enabled or not flag.choose(key, {}).enabled
    assert shown(flag.choose(None, IN_SWITZERLAND)) == ("off", Reason.DEFAULT, Role.APART)


@pytest.mark.parametrize(("percent", "variant"), [(0, "off"), (100, "on")])
def test_a_rule_for_nobody_and_for_everybody(percent: float, variant: str) -> None:
    """At its ends a rule's own percentage needs no key, and is apart all the same."""
    flag = a_flag(rollout=50, rules=[{"if": SWISS, "serve": "rollout", "rollout": percent}])
    for key in ("u", None):
        assert shown(flag.choose(key, IN_SWITZERLAND)) == (variant, Reason.TARGETING_MATCH, Role.APART)


def test_the_first_rule_that_holds_decides() -> None:
    """Order is meaning, however many rules there are; targets come before all of them."""
    rules = [
        {"if": {"attribute": "n", "number": f"<= {limit}"}, "serve": "on" if limit % 2 else "off"}
        for limit in range(100)
    ]
    flag = a_flag(rollout=0, rules=rules, targets={"off": ["u-off"]})
    for number in range(100):
        assert flag.choose("u", {"n": number}).enabled == bool(number % 2)
        assert not flag.choose("u-off", {"n": number}).enabled
    assert shown(flag.choose("u", {"n": 100})) == ("off", Reason.DEFAULT, Role.BASELINE)


def test_a_rule_may_ask_for_the_key_and_split_by_it() -> None:
    """A rule sees the targeting key, and hands it on to the percentage that it serves."""
    rules = [{"if": {"attribute": "targeting_key", "starts_with": "user-"}, "serve": "rollout", "rollout": 40}]
    flag = a_flag(rollout=0, rules=rules)
    seed = seed_of("f")
    for key in KEYS[:50]:
        for answer in (flag.choose(key, {}), explain(flag, key, {})):
            assert answer.enabled is (bucket_of(key, seed) < threshold_of(40))
            assert answer.reason is Reason.TARGETING_MATCH
    assert shown(flag.choose("guest", {})) == ("off", Reason.DEFAULT, Role.BASELINE)


def test_a_rule_may_name_a_segment() -> None:
    """A segment's condition holds where it is named."""
    flag = a_flag(rules=[{"if": {"segment": "staff"}, "serve": "on"}])
    assert flag.choose("u", {"mail": "a@shop.example"}).enabled
    assert not flag.choose("u", {"mail": "a@else.example"}).enabled


def test_a_flag_that_is_off_asks_nothing() -> None:
    """Neither target nor rule nor prerequisite is heard while the flag is switched off."""
    flag = a_flag(
        enabled=False,
        rollout=100,
        targets={"on": ["u"]},
        rules=[{"if": SWISS, "serve": "on"}],
        prerequisites=[{"flag": "gone", "variant": "on"}],
    )
    assert shown(flag.choose("u", IN_SWITZERLAND)) == ("off", Reason.DISABLED, Role.APART)


def test_an_environment_has_its_own_rules() -> None:
    """Rules, targets and variants are overridden whole, as every field is."""
    fields = {
        "rollout": 0,
        "rules": [{"if": SWISS, "serve": "on"}],
        "targets": {"on": ["u"]},
        "environments": {"staging": {"rules": []}, "test": {"targets": {"off": ["u"]}}},
    }
    staging = compiled({"f": fields}, environment="staging")["f"]
    assert shown(staging.choose("v", IN_SWITZERLAND)) == ("off", Reason.DEFAULT, Role.BASELINE)
    assert staging.choose("u", {}).enabled
    assert not compiled({"f": fields}, environment="test")["f"].choose("u", IN_SWITZERLAND).enabled


def test_a_probe_serves_nobody_who_was_forced() -> None:
    """While half open, only the first of the flag's own split are let back in; forced candidates wait with the rest."""
    flag = a_flag(
        probe=5,
        rollout=50,
        targets={"on": ["alice"]},
        rules=[
            {"if": SWISS, "serve": "on"},
            {"if": {"attribute": "x", "exists": True}, "serve": "rollout", "rollout": 90},
        ],
    )
    assert flag.probe("alice", {}) == flag.probe("u", IN_SWITZERLAND) == flag.tripped
    assert {flag.probe(key, {"x": 1}) for key in KEYS} == {flag.tripped}
    assert flag.probe(None, {}) == flag.tripped
    served = {key for key in KEYS if flag.probe(key, {}).enabled}
    assert served == {key for key in KEYS if bucket_of(key, seed_of("f")) < threshold_of(5)}


# --- prerequisites ---

BASKET: Final = {"basket": {"rollout": 0, "targets": {"on": ["u"]}}}


def test_a_prerequisite_is_asked_for_the_same_context() -> None:
    """Where the other flag answers otherwise, the default is served, apart; else this flag decides as without it."""
    table = compiled({**BASKET, "checkout": {"rollout": 100, "prerequisites": [{"flag": "basket", "variant": "on"}]}})
    assert shown(table["checkout"].choose("u", {})) == ("on", Reason.SPLIT, Role.CANDIDATE)
    assert shown(table["checkout"].choose("v", {})) == ("off", Reason.PREREQUISITE_FAILED, Role.APART)


def test_a_prerequisite_comes_before_targets_and_rules() -> None:
    """Nobody is forced into a feature that another one must carry."""
    fields = {
        "prerequisites": [{"flag": "basket", "variant": "on"}],
        "targets": {"on": ["v"]},
        "rules": [{"if": SWISS, "serve": "on"}],
    }
    flag = compiled({**BASKET, "checkout": fields})["checkout"]
    assert shown(flag.choose("v", IN_SWITZERLAND)) == ("off", Reason.PREREQUISITE_FAILED, Role.APART)
    assert shown(flag.choose("u", IN_SWITZERLAND)) == ("on", Reason.TARGETING_MATCH, Role.APART)


def test_a_prerequisite_is_told_who_asks() -> None:
    """The other flag's rules see the attributes, and its percentage the key, of whoever asks this one."""
    flags = {
        "basket": {"rollout": 50, "rules": [{"if": SWISS, "serve": "on"}]},
        "checkout": {"rollout": 100, "prerequisites": [{"flag": "basket", "variant": "on"}]},
    }
    table = compiled(flags)
    for key in KEYS[:50]:
        is_in = table["basket"].choose(key, {}).enabled
        for attributes, expected in ((IN_SWITZERLAND, True), ({}, is_in)):
            assert table["checkout"].choose(key, attributes).enabled is expected
            assert explain(table["checkout"], key, attributes).enabled is expected


def test_a_prerequisite_that_nobody_knows_has_failed() -> None:
    """A flag that is required and not there is not met."""
    flag = a_flag(rollout=100, prerequisites=[{"flag": "gone", "variant": "on"}])
    assert shown(flag.choose("u", {})) == ("off", Reason.PREREQUISITE_FAILED, Role.APART)


def test_a_prerequisite_may_be_the_baseline_or_one_of_many() -> None:
    """Any variant can be required, and all prerequisites must be met."""
    colour = {
        "type": "string",
        "default": "grey",
        "rollout": 0,
        "variants": {"blue": {"value": "b"}, "green": {"value": "g"}},
        "targets": {"blue": ["u"]},
    }
    both = [{"flag": "colour", "variant": "blue"}, {"flag": "basket", "variant": "off"}]
    flags = {**BASKET, "colour": colour, "f": {"rollout": 100, "prerequisites": both}}
    assert not compiled(flags)["f"].choose("u", {}).enabled
    assert compiled({**flags, "basket": {}})["f"].choose("u", {}).enabled
    plain = [{"flag": "colour", "variant": "baseline"}]
    assert compiled({**flags, "f": {"rollout": 100, "prerequisites": plain}})["f"].choose("v", {}).enabled


# --- explanations ---


def told(evaluation: Evaluation) -> Explanation:
    """Return the explanation, which must be there."""
    assert evaluation.explanation is not None
    return evaluation.explanation


def test_each_cause_is_told_in_one_sentence() -> None:
    """Every way to an answer has its own sentence, with the numbers that decided."""
    flags = {
        **BASKET,
        "off": {"enabled": False},
        "f": {
            "rollout": 25,
            "prerequisites": [{"flag": "basket", "variant": "off"}],
            "targets": {"on": ["alice"]},
            "rules": [
                {"name": "the Swiss", "if": SWISS, "serve": "on"},
                {"if": {"attribute": "beta", "equals": True}, "serve": "rollout", "rollout": 50},
            ],
            "environments": {"staging": {"rollout": 30, "salt": "s"}},
        },
    }
    table = compiled(flags)
    flag, staging = table["f"], compiled(flags, environment="staging")["f"]
    bucket = bucket_of("v", seed_of("f"))
    assert threshold_of(25) <= bucket < threshold_of(50)
    of_staging = bucket_of("v", seed_of("s"))
    sentences = {
        f"f is 'off', because bucket {bucket} is not below the threshold {threshold_of(25)}": explain(flag, "v", {}),
        "f is 'off', because there is no targeting key": explain(flag, None, {}),
        "f is 'on', because 'alice' is one of its targets": explain(flag, "alice", {}),
        "f is 'on', because rule 0 (the Swiss) holds": explain(flag, "v", IN_SWITZERLAND),
        f"f is 'off' in staging, which overrides rollout and salt, because bucket {of_staging} is not below the "
        f"threshold {threshold_of(30)}": explain(staging, "v", {}, 0, "staging"),
        "f is 'off', because basket is not 'off'": explain(flag, "u", {}),
        "f is 'off', because its breaker is not closed": explain(flag, "v", {}, TRIPPED),
        "f is 'off', because its kill switch is held": explain(flag, "v", {}, TRIPPED | KILLED),
        "f is 'on' in production, because this unit of work had been answered so before": pinned(
            explain(flag, "alice", {}), flag, "production"
        ),
        "off is 'off', because it is switched off": explain(table["off"], "v", {}),
        "basket is 'off' in production, because nobody is in the rollout": explain(
            table["basket"], "v", {}, 0, "production"
        ),
    }
    assert {sentence: str(told(answer)) for sentence, answer in sentences.items()} == {each: each for each in sentences}
    ruled = told(explain(flag, "v", {"beta": True}))
    assert (ruled.cause, ruled.rule, ruled.bucket, ruled.threshold) == (Cause.RULE, 1, bucket, threshold_of(50))
    assert str(ruled).endswith(f"because rule 1 holds and bucket {bucket} is below the threshold {threshold_of(50)}")


def test_an_explanation_has_the_parts_of_its_cause() -> None:
    """Whoever reads the parts and not the sentence finds the cause, the environment and the rule by name."""
    rules = [
        {"name": "the Swiss", "if": SWISS, "serve": "on"},
        {"name": "early", "if": {"attribute": "targeting_key", "equals": "v"}, "serve": "rollout"},
        {"name": "beta", "if": {"attribute": "beta", "exists": True}, "serve": "rollout", "rollout": 50},
    ]
    flags = {
        "off": {"enabled": False},
        "f": {"rollout": 25, "targets": {"on": ["alice"]}, "rules": rules},
        "g": {"prerequisites": [{"flag": "f", "variant": "on"}]},
    }
    table = compiled(flags)
    flag, bucket = table["f"], bucket_of("v", seed_of("f"))
    split = {"bucket": bucket, "threshold": threshold_of(25)}
    beta = {"bucket": bucket_of("w", seed_of("f")), "threshold": threshold_of(50)}
    asked: list[tuple[CompiledFlag, str, dict[str, Any], dict[str, Any]]] = [
        (table["off"], "v", {}, {"cause": Cause.DISABLED}),
        (table["g"], "v", {}, {"cause": Cause.PREREQUISITE, "prerequisite": Prerequisite("f", "on")}),
        (flag, "alice", {}, {"cause": Cause.TARGET, "target": "alice"}),
        (flag, "v", IN_SWITZERLAND, {"cause": Cause.RULE, "rule": 0, "rule_name": "the Swiss"}),
        (flag, "v", {}, {"cause": Cause.RULE, "rule": 1, "rule_name": "early", **split}),
        (flag, "w", {"beta": 1}, {"cause": Cause.RULE, "rule": 2, "rule_name": "beta", **beta}),
        (flag, "x", {}, {"cause": Cause.ROLLOUT, **split, "bucket": bucket_of("x", seed_of("f"))}),
    ]
    for each, key, attributes, parts in asked:
        answer = explain(each, key, attributes, 0, "test")
        assert told(answer) == Explanation(
            flag_key=each.flag.key, variant=answer.variant, environment="test", **parts
        ), parts
        assert answer == each.choose(key, attributes)
    held = {bits: told(explain(flag, "v", {}, bits, "test")) for bits in (TRIPPED, KILLED, TRIPPED | KILLED)}
    assert {bits: (each.cause, each.environment) for bits, each in held.items()} == {
        TRIPPED: (Cause.TRIPPED, "test"),
        KILLED: (Cause.KILLED, "test"),
        TRIPPED | KILLED: (Cause.KILLED, "test"),
    }
    assert told(explain(flag, "v", {})).environment == ""


def test_an_explained_answer_equals_the_plain_one() -> None:
    """What was asked to be explained is the same answer to whoever compares it."""
    flag = a_flag(rollout=50)
    assert flag.choose("u", {}) == explain(flag, "u", {})
    assert flag.choose("u", {}).explanation is None


# --- properties ---

TESTS: Final[list[dict[str, Any]]] = [
    SWISS,
    {"not": SWISS},
    {"segment": "staff"},
    {"attribute": "age", "number": ">= 18"},
    {"attribute": "targeting_key", "in": KEYS[:5]},
]
SERVED: Final[st.SearchStrategy[dict[str, Any]]] = st.sampled_from(
    [{"serve": "on"}, {"serve": "off"}, {"serve": "default"}, {"serve": "rollout"}, {"serve": "rollout", "rollout": 40}]
)
PERCENTS: Final[st.SearchStrategy[Any]] = st.sampled_from([0, 0.001, 30, 50, 99.999, 100])
PREREQUISITE: Final = st.sampled_from(["on", "off"]).map(lambda variant: {"flag": "other", "variant": variant})
RULES: Final = st.tuples(st.sampled_from(TESTS), SERVED).map(lambda pair: {"if": pair[0], **pair[1]})
FIELDS: Final[st.SearchStrategy[dict[str, Any]]] = st.fixed_dictionaries(
    {"rollout": PERCENTS},
    optional={
        "default": st.booleans(),
        "enabled": st.just(value=False),
        "targets": st.just({"on": KEYS[:2], "off": KEYS[2:4]}),
        "rules": st.lists(RULES, max_size=4, unique_by=repr),
        "prerequisites": st.lists(PREREQUISITE, max_size=1),
    },
)
CONTEXTS: Final = st.tuples(
    st.sampled_from([*KEYS[:10], "", None]),
    st.fixed_dictionaries(
        {},
        optional={
            "country": st.sampled_from(["CH", "DE", 5, None]),
            "mail": st.sampled_from(["a@shop.example", "b@else.example", None]),
            "age": st.sampled_from([17, 18, "18", float("nan")]),
        },
    ),
)


@given(FIELDS, FIELDS.filter(lambda fields: "prerequisites" not in fields), CONTEXTS, PERCENTS)
def test_the_explaining_way_agrees_with_the_fast_one(
    fields: dict[str, Any], other: dict[str, Any], context: tuple[str | None, dict[str, Any]], probe: float
) -> None:
    """For any flag, context and guard the explained answer is the one that is served, and its numbers bear it out."""
    flag = compiled({"f": fields, "other": other}, probe)["f"]
    key, attributes = context
    assert explain(flag, key, attributes) == flag.choose(key, attributes)
    assert explain(flag, key, attributes, PROBING) == flag.probe(key, attributes)
    assert explain(flag, key, attributes, TRIPPED) == flag.tripped
    explanation = told(explain(flag, key, attributes))
    assert str(explanation).count("because") == 1
    if explanation.bucket is not None and explanation.threshold is not None:
        inside = explanation.bucket < explanation.threshold
        assert flag.choose(key, attributes).variant == (flag.flag.candidates[0].name if inside else flag.flag.baseline)


@given(FIELDS, CONTEXTS)
def test_evaluation_is_a_pure_function(fields: dict[str, Any], context: tuple[str | None, dict[str, Any]]) -> None:
    """The same table and context give the same answer: asked again, compiled anew, and read from what was stored."""
    key, attributes = context
    before = repr(context)
    first = compiled({"f": fields, "other": {"rollout": 50}})["f"]
    answer = first.choose(key, attributes)
    assert first.choose(key, attributes) is answer
    stored = parse_declaration({"flags": {"f": fields}}).flags["f"].fields
    again = compiled({"f": stored, "other": {"rollout": 50}})["f"]
    assert again.flag == first.flag
    assert again.choose(key, attributes) == answer
    assert repr(context) == before


@given(FIELDS, CONTEXTS)
def test_only_the_split_makes_the_arms(fields: dict[str, Any], context: tuple[str | None, dict[str, Any]]) -> None:
    """On an arm is who was decided by the flag's own percentage, and nobody else."""
    flag = compiled({"f": fields, "other": {"rollout": 50}})["f"]
    answer = explain(flag, *context)
    decided = told(answer)
    own = decided.cause is Cause.ROLLOUT or (
        decided.cause is Cause.RULE
        and decided.threshold == threshold_of(fields["rollout"])
        and answer.reason is Reason.SPLIT
    )
    if answer.role is not Role.APART:
        assert answer.reason in {Reason.SPLIT, Reason.DEFAULT}
        assert own or answer.reason is Reason.DEFAULT
    elif decided.cause is Cause.ROLLOUT:
        assert not context[0]
    forced = {Cause.TARGET, Cause.PREREQUISITE, Cause.DISABLED}
    assert answer.role is Role.APART or decided.cause not in forced
