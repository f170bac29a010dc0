"""Claims about bucketing in the way of other tools: the answers of their own libraries are the oracle."""

from __future__ import annotations

import hashlib
import json
import random
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.core.config.configuration import parse_flag
from canary_sdk.core.flags.compiled import compile_flag
from canary_sdk.core.flags.evaluation import NO_ATTRIBUTES, Reason, Role
from canary_sdk.core.flags.explain import explain
from canary_sdk.core.flags.schemes import Bucketing, _text, assigner
from canary_sdk.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    Find = Callable[[str], ModuleType]

VECTORS: Final = Path(__file__).parents[2] / "vectors" / "schemes.json"
PUBLISHED: Final = VECTORS.with_name("published.json")
VECTORS_SHA256: Final = "5a3eb0d7f596b0b6d5fdf634fc5f15217ae93b03c7e3b4f67bb401f1a5d4e4ba"
KEYS: Final = [f"user-{number}" for number in range(2_000)] + ["", "ü", "鍵" * 9, "k" * 23, "k" * 24, "k" * 300]
OTHERS: Final = [each for each in Bucketing if each is not Bucketing.CANARY]


@pytest.fixture
def find(untested: Callable[[str, bool], None]) -> Find:
    """Import a module of another tool; say it loudly where that is not installed."""

    def imported(module: str) -> ModuleType:
        try:
            return import_module(module)
        except ModuleNotFoundError as missing:
            untested(f"bucketing against another tool: {missing}", False)
            raise

    return imported


def answers(fields: dict[str, Any], keys: Sequence[str] = KEYS) -> list[str | None]:
    """Return the variant that each key gets from a flag with these fields; None for the baseline."""
    flag = compile_flag(parse_flag("f", fields).base)
    told = [flag.choose(key, NO_ATTRIBUTES) for key in keys if key]
    return [each.variant if each.is_candidate else None for each in told]


def declared(weights: dict[str, int], **fields: Any) -> dict[str, Any]:
    """Return a flag that is divided by weights, in this order."""
    variants = {name: {"value": name, "weight": weight} for name, weight in weights.items()}
    return {"type": "string", "default": "none", "variants": variants, "order": list(weights), **fields}


def unleash(
    find: Find, rollout: int, weights: dict[str, int], group: str, keys: Sequence[str] = KEYS, sticky: str = "default"
) -> list[str | None]:
    """Ask Unleash's own engine; a key is the user, or a property that is `sticky`."""
    variants = [{"name": name, "weight": weight, "stickiness": sticky} for name, weight in weights.items()]
    parameters = {"rollout": str(rollout), "stickiness": sticky, "groupId": group}
    strategy = {"name": "flexibleRollout", "parameters": parameters, "constraints": [], "variants": variants}
    engine = find("yggdrasil_engine.engine").UnleashEngine()
    engine.take_state(
        json.dumps({"version": 2, "features": [{"name": "f", "enabled": True, "strategies": [strategy]}]})
    )

    def ask(key: str) -> str | None:
        is_user = sticky in {"default", "userId"}
        context: dict[str, Any] = {"userId": key, "properties": {}} if is_user else {"properties": {sticky: key}}
        name: str = engine.get_variant("f", context).variant.name
        return name if engine.is_enabled("f", context).is_enabled else None

    return [ask(key) for key in keys if key]


def flagd(find: Find, split: list[tuple[str, int]], *by: object, keys: Sequence[str] = KEYS) -> list[str | None]:
    """Ask flagd's own evaluation in the process."""
    core = find("openfeature.contrib.tools.flagd.core").FlagdCore()
    context = find("openfeature.evaluation_context").EvaluationContext
    variants = {name: name for name, _ in split} | {"none": "none"}
    targeting = {"fractional": [*by, *([name, weight] for name, weight in split)]}
    core.set_flags(
        json.dumps(
            {
                "flags": {
                    "f": {"state": "ENABLED", "variants": variants, "defaultVariant": "none", "targeting": targeting}
                }
            }
        )
    )
    told = [core.resolve_string_value("f", "?", context(key)).variant for key in keys if key]
    return [None if each == "none" else each for each in told]


def optimizely(
    find: Find, ends: list[tuple[str, int]], rule: str, keys: Sequence[str] = KEYS, user: str = ""
) -> list[str | None]:
    """Ask Optimizely's own library; "" is an unallocated range. One `user` may have all keys as bucketing ids."""
    names = sorted({name for name, _ in ends if name})
    experiment = {
        "id": rule,
        "key": "rule",
        "status": "Running",
        "layerId": "1",
        "audienceIds": [],
        "forcedVariations": {},
        "variations": [{"id": name, "key": name, "variables": []} for name in names],
        "trafficAllocation": [{"entityId": name, "endOfRange": end} for name, end in ends],
    }
    others = ("groups", "attributes", "audiences", "typedAudiences", "events", "rollouts", "variables")
    empty: dict[str, list[object]] = {each: [] for each in others}
    flag = {"id": "9", "key": "f", "rolloutId": "", "experimentIds": [rule], "variables": []}
    data = {**empty, "version": "4", "projectId": "1", "accountId": "1", "revision": "1", "anonymizeIP": False}
    client = find("optimizely.optimizely").Optimizely(
        datafile=json.dumps({**data, "experiments": [experiment], "featureFlags": [flag]}),
        event_dispatcher=Nowhere,
        settings=None,
    )
    try:
        by = "$opt_bucketing_id"
        context = [client.create_user_context(user or key, {by: key} if user else {}) for key in keys if key]
        return [each.decide("f", ["DISABLE_DECISION_EVENT"]).variation_key for each in context]
    finally:
        client.close()


class Nowhere:
    """Sends no event anywhere."""

    @staticmethod
    def dispatch_event(event: object) -> None:
        """Drop it."""


WEIGHTS: Final = {"red": 500, "blue": 300, "green": 200}


@pytest.mark.parametrize("rollout", [0, 1, 25, 50, 99, 100])
@pytest.mark.parametrize("group", ["f", "another group"])
def test_unleash_agrees(find: Find, rollout: int, group: str) -> None:
    """Percentages, weighted variants and group ids give everybody what Unleash's engine gives."""
    fields = declared(WEIGHTS, bucketing="unleash", salt=group, rollout=rollout)
    assert answers(fields) == unleash(find, rollout, WEIGHTS, group)


@pytest.mark.parametrize("rollout", [0, 1, 30, 100])
def test_flagd_agrees(find: Find, rollout: int) -> None:
    """Its shorthand gives everybody what flagd's own evaluation gives, whatever the order of the variants."""
    split = [(name, rollout * weight) for name, weight in WEIGHTS.items()]
    rest = ("none", (100 - rollout) * sum(WEIGHTS.values()))
    fields = declared(WEIGHTS, bucketing="flagd", rollout=rollout)
    assert answers(fields) == flagd(find, [*split, rest])
    first = {**fields, "order": ["baseline", *WEIGHTS]}
    assert answers(first) == flagd(find, [rest, *split])


def test_flagd_agrees_on_a_joined_text(find: Find) -> None:
    """A `cat` of flag key and targeting key is the scheme flagd-cat."""
    joined = {"cat": [{"var": "$flagd.flagKey"}, {"var": "targetingKey"}]}
    fields = declared(WEIGHTS, bucketing="flagd-cat", rollout=50)
    split = [(name, weight) for name, weight in WEIGHTS.items()]
    assert answers(fields) == flagd(find, [*split, ("none", 1_000)], joined)


def ranges(weights: dict[str, int], rollout: int) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Return Optimizely's traffic allocation, each range in its part and side by side; weights are thousandths."""
    parts, packed, start, end = [], [], 0, 0
    for name, weight in weights.items():
        parts += [(name, start + weight * rollout // 10), ("", start + weight * 10)]
        start, end = start + weight * 10, end + weight * rollout // 10
        packed.append((name, end))
    return parts, packed


@pytest.mark.parametrize("rollout", [1, 50, 100])
def test_optimizely_agrees(find: Find, rollout: int) -> None:
    """Ranges that stand each in its part, and ranges side by side, give everybody what Optimizely's library gives."""
    parts, packed = ranges(WEIGHTS, rollout)
    fields = declared(WEIGHTS, salt="10000000001", rollout=rollout)
    assert answers({**fields, "bucketing": "optimizely"}) == optimizely(find, parts, "10000000001")
    assert answers({**fields, "bucketing": "optimizely-packed"}) == optimizely(find, packed, "10000000001")


def a_key(draw: random.Random) -> str:
    """Draw a key of one of the kinds that there are."""
    return draw.choice(
        [
            f"user-{draw.randrange(10**9)}",
            str(draw.randrange(10**12)),
            f"user{draw.randrange(10**6)}@example.com",
            "".join(draw.choices("abcdef0123456789-", k=36)),
            "".join(map(chr, draw.choices([*range(32, 0x250), 0x2603, 0x9375, 0x1F426], k=draw.randrange(1, 40)))),
            draw.choice("xyÿ ") * draw.randrange(1, 400),
        ]
    )


@pytest.mark.parametrize(
    "number", [300, pytest.param(20_000, marks=[pytest.mark.long, pytest.mark.timeout(3_600)], id="many")]
)
def test_all_agree_on_whatever_is_drawn(find: Find, number: int, request: pytest.FixtureRequest) -> None:
    """Keys of every kind, salts, percentages, and weights that sum up to nothing round; `-p` chooses the many."""
    seed = 1 if number == 300 else request.config.getoption("randomly_seed")
    draw = random.Random(seed)
    keys = [a_key(draw) for _ in range(number)]
    weights = {name: draw.randrange(1, 1_000) for name in draw.sample(["red", "blue", "green", "x.y", "U-1"], 3)}
    salt = draw.choice(["f", "another group", "grüppe-☃", str(draw.randrange(10**9))])
    rollout = draw.randrange(1, 100)
    fields = declared(weights, bucketing="unleash", salt=salt, rollout=rollout)
    told = unleash(find, rollout, weights, salt, keys)
    assert answers(fields, keys) == told == unleash(find, rollout, weights, salt, keys, sticky="tenant"), seed
    split = [(name, rollout * weight) for name, weight in weights.items()]
    rest = ("none", (100 - rollout) * sum(weights.values()))
    fields = declared(weights, bucketing="flagd", rollout=rollout)
    assert answers(fields, keys) == flagd(find, [*split, rest], keys=keys), seed
    first = {**fields, "order": ["baseline", *weights]}
    assert answers(first, keys) == flagd(find, [rest, *split], keys=keys), seed
    joined = {"cat": [{"var": "$flagd.flagKey"}, {"var": "targetingKey"}]}
    fields = {**fields, "bucketing": "flagd-cat"}
    assert answers(fields, keys) == flagd(find, [*split, rest], joined, keys=keys), seed
    thousandths = dict(zip(weights, (draw.randrange(1, 40) * 10, draw.randrange(1, 40) * 10), strict=False))
    thousandths["last"] = 1_000 - sum(thousandths.values())
    rule, (parts, packed) = str(draw.randrange(10**10)), ranges(thousandths, rollout)
    fields = declared(thousandths, salt=rule, rollout=rollout)
    told = optimizely(find, parts, rule, keys)
    assert answers({**fields, "bucketing": "optimizely"}, keys) == told, seed
    assert told == optimizely(find, parts, rule, keys, user="somebody"), seed
    told = optimizely(find, packed, rule, keys)
    assert answers({**fields, "bucketing": "optimizely-packed"}, keys) == told, seed


@pytest.mark.parametrize(
    "case", json.loads(PUBLISHED.read_text()), ids=lambda case: f"{case['bucketing']} {case['salt']} {case['percent']}"
)
def test_what_the_others_have_published_holds(case: dict[str, Any]) -> None:
    """The projects' own test data, each with where it is found."""
    weights = {name: float(weight) for name, weight in case["weights"]}
    assign = assigner(Bucketing(case["bucketing"]), case["salt"], case["percent"], weights, last=True)
    assert {key: assign(key) for key in case["answers"]} == case["answers"]


def test_the_vectors_were_never_regenerated() -> None:
    """The published vectors are the ones that were frozen."""
    assert hashlib.sha256(VECTORS.read_bytes()).hexdigest() == VECTORS_SHA256


@pytest.mark.parametrize(
    "case", json.loads(VECTORS.read_text()), ids=lambda case: f"{case['bucketing']}-{case['baseline_last']}"
)
def test_the_vectors_hold(case: dict[str, Any]) -> None:
    """Every published vector is answered as it says."""
    assign = assigner(
        Bucketing(case["bucketing"]), case["salt"], case["percent"], dict(case["weights"]), last=case["baseline_last"]
    )
    assert {key: assign(key) for key in case["answers"]} == case["answers"]


@given(
    bucketing=st.sampled_from(OTHERS),
    key=st.text(min_size=1, max_size=20),
    steps=st.tuples(st.integers(0, 100_000), st.integers(0, 100_000)).map(sorted),
    last=st.booleans(),
)
def test_growing_only_adds(bucketing: Bucketing, key: str, steps: list[int], last: bool) -> None:
    """Whoever is in stays in when the percentage grows, fractions of a percent included."""
    small, large = (
        assigner(bucketing, "salt", step / 1_000, {"red": 2.0, "blue": 1.0}, last=last)(key) for step in steps
    )
    assert small is None or large is not None


def test_between_whole_percentages_part_of_the_next_hundredth_is_in() -> None:
    """Unleash knows whole percentages only; here half a percent more lets some of the next ones in, not all."""
    ten, half, eleven = (answers({"bucketing": "unleash", "rollout": rollout}) for rollout in (10, 10.5, 11))
    assert ten.count("on") < half.count("on") < eleven.count("on")


@pytest.mark.parametrize("bucketing", OTHERS)
def test_shares_are_kept(bucketing: Bucketing) -> None:
    """About as many are in as the percentage says, and nobody gets in by another way than the split."""
    flag = compile_flag(parse_flag("f", {"bucketing": bucketing, "rollout": 20}).base, probe_percent=5)
    told = [flag.choose(key, NO_ATTRIBUTES) for key in KEYS[:2_000]]
    assert 320 < sum(each.is_candidate for each in told) < 480
    assert {each.reason for each in told} == {Reason.SPLIT}
    probed = [flag.probe(key, NO_ATTRIBUTES).is_candidate for key in KEYS[:2_000]]
    assert 50 < sum(probed) < 150
    assert flag.choose(None, NO_ATTRIBUTES).role is Role.APART
    assert "bucketing puts it" in str(explain(flag, "user-1", NO_ATTRIBUTES).explanation)


@pytest.mark.parametrize(
    ("length", "head"),
    [
        (0, "60"),
        (23, "77"),
        (24, "7818"),
        (255, "78ff"),
        (256, "790100"),
        (65_535, "79ffff"),
        (65_536, "7a00010000"),
    ],
)
def test_a_text_of_any_length_is_encoded_as_cbor(length: int, head: str) -> None:
    """The shortest head that holds the length, as flagd's encoder chooses it: RFC 8949, section 3."""
    assert _text("x" * length) == bytes.fromhex(head) + b"x" * length


def test_everybody_needs_no_key() -> None:
    """At 100 % also those without a key are served a variant."""
    many = compile_flag(parse_flag("f", declared(WEIGHTS, bucketing="flagd", rollout=100)).base)
    one = compile_flag(parse_flag("f", {"bucketing": "flagd", "rollout": 100}).base)
    assert many.choose(None, NO_ATTRIBUTES).variant in WEIGHTS
    assert one.choose(None, NO_ATTRIBUTES).enabled


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"bucketing": "unleesh"}, "did you mean 'unleash'"),
        ({"order": ["on"]}, "expected a 'bucketing' of another tool"),
        ({"bucketing": "flagd", "order": ["onn"]}, "expected all of 'on'"),
        (declared({"a": 1, "b": 1}, bucketing="flagd", order=["a", "baseline", "b"]), "expected it first or last"),
        ({"bucketing": "flagd", "order": ["off", "on", "off"]}, "found 'off' again"),
        (declared({"a": 1.5, "b": 1}, bucketing="unleash"), "expected a whole one"),  # type: ignore[dict-item]
    ],
)
def test_mistakes_are_named(fields: dict[str, Any], complaint: str) -> None:
    """What the other tool cannot mean is refused, with what was expected."""
    with pytest.raises(ConfigError, match=complaint):
        parse_flag("f", fields)
