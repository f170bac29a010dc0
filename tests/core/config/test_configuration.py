"""Claims about how a configuration is read, mistake by mistake."""

from __future__ import annotations

import math
import string
import tomllib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.core.breaker import AutoRollback, RollbackRule
from canary_sdk.core.config.configuration import (
    auto_rollback_fields,
    parse_auto_rollback,
    parse_channel,
    parse_declaration,
    parse_flag,
    parse_plan_template,
    parse_segment,
)
from canary_sdk.core.flags.flag import Flag, FlagType, Metadata, Prerequisite, Rule, Variant
from canary_sdk.core.flags.schemes import Bucketing
from canary_sdk.core.judge.slo import parse_slo
from canary_sdk.core.plan import parse_plan
from canary_sdk.core.reading import LONGEST_S, parse_duration, parse_percent
from canary_sdk.errors import ConfigError
from tests.needs import need

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLE: Final = """
[flags.new-checkout]
description = "Enable the rewritten checkout"
type = "boolean"
default = false
rollout = 5
slos = ["p50 < 200ms", "p95<500ms", "errors < 1%", "throughput > 50/s"]
[flags.new-checkout.environments.staging]
rollout = 100
[flags.page-size]
type = "integer"
default = 20
candidate = 50
minimum = 1
maximum = 100
[auto_rollback]
enabled = true
interval = "30s"
breaches = 3
timeout = "120s"
tolerance = "10%"
min_samples = 80
notify = ["slack", "email"]
probe = "1%"
probe_after = "5m"
"""


def problems_of(data: object) -> list[str]:
    """Return what is wrong with a configuration, as printed."""
    with pytest.raises(ConfigError) as caught:
        parse_declaration(data)
    return [str(problem) for problem in caught.value.problems]


def a_flag(**fields: object) -> Flag:
    """Return the flag that a declaration with these fields gives."""
    return parse_flag("f", fields).base


# --- what is read ---


def test_the_example_is_read() -> None:
    """The whole example becomes the values that it says."""
    declaration = parse_declaration(tomllib.loads(EXAMPLE))
    slos = tuple(map(parse_slo, ["p50 < 200ms", "p95 < 500ms", "errors < 1%", "throughput > 50/s"]))
    checkout = Flag(
        key="new-checkout",
        rollout=5.0,
        salt="new-checkout",
        metadata=Metadata(description="Enable the rewritten checkout"),
        slos=slos,
    )
    assert declaration.flags["new-checkout"].base == checkout
    assert declaration.flags["page-size"].base == Flag(
        key="page-size",
        type=FlagType.INTEGER,
        default=20,
        candidate=50,
        minimum=1,
        maximum=100,
        salt="page-size",
    )
    assert declaration.auto_rollback == AutoRollback(
        enabled=True,
        interval_s=30.0,
        breaches=3,
        timeout_s=120.0,
        tolerance=0.1,
        min_samples=80,
        notify=("slack", "email"),
        probe_percent=1.0,
        probe_after_s=300.0,
    )


def test_everything_that_a_flag_may_say_is_read() -> None:
    """Each field becomes a value of its own, and what a rule leaves out is nothing."""
    stages = {"stages": [{"percent": 100, "bake": "1h"}]}
    condition = {"attribute": "country", "in": ["CH"]}
    flag = a_flag(
        type="string",
        default="grey",
        rollout="25%",
        enabled=False,
        salt="pepper",
        bucketing="optimizely",
        order=["green", "blue"],
        variants={"green": {"value": "g", "weight": 2}, "blue": {"value": "b"}},
        targets={"blue": ["vip"]},
        rules=[{"if": condition, "serve": "rollout", "rollout": 5}, {"name": "all", "if": condition, "serve": "green"}],
        prerequisites=[{"flag": "basket", "variant": "on"}],
        slos=["p95 < 1s"],
        soft=["p50 < 1s"],
        plan=stages,
        noise={"p95": 0.5},
        description="what",
        owner="who",
        tags=["a", "b"],
        created="2026-01-01",
        expires="2026-02-01",
        metadata={"ticket": 7, "team": "shop"},
    )
    assert flag == Flag(
        key="f",
        type=FlagType.STRING,
        default="grey",
        candidate="grey",
        rollout=25.0,
        enabled=False,
        salt="pepper",
        bucketing=Bucketing.OPTIMIZELY,
        order=("green", "blue"),
        variants=(Variant("blue", "b"), Variant("green", "g", 2.0)),
        targets={"blue": ("vip",)},
        rules=(Rule(condition, "rollout", 5.0, ""), Rule(condition, "green", None, "all")),
        prerequisites=(Prerequisite("basket", "on"),),
        slos=(parse_slo("p95 < 1s"),),
        soft=(parse_slo("p50 < 1s"),),
        plan=parse_plan(stages),
        noise={"p95": 0.5},
        metadata=Metadata(
            description="what",
            owner="who",
            tags=("a", "b"),
            created="2026-01-01",
            expires="2026-02-01",
            custom={"ticket": 7, "team": "shop"},
        ),
    )


def test_who_judges_is_declared() -> None:
    """The rule, a dry run and the holdback are read, and what is soft is kept apart from what is hard."""
    declaration = parse_declaration(
        {
            "auto_rollback": {"rule": "both", "dry_run": True, "holdback": "5%"},
            "flags": {"a": {"slos": ["p95 < 500ms"], "soft": ["p50 < 0.1s"]}},
        }
    )
    assert declaration.auto_rollback == AutoRollback(rule=RollbackRule.BOTH, dry_run=True, holdback=5.0)
    assert not declaration.auto_rollback.acts
    flag = declaration.flags["a"].base
    assert ([slo.text for slo in flag.slos], [slo.text for slo in flag.soft]) == (["p95 < 500ms"], ["p50 < 0.1s"])
    assert flag.promises == flag.slos + flag.soft


def test_nothing_declared() -> None:
    """An empty configuration declares nothing, and does not speak of rollback; an empty section takes the defaults."""
    assert (parse_declaration({}).flags, parse_declaration({}).auto_rollback) == ({}, None)
    assert parse_declaration({"auto_rollback": {}}).auto_rollback == AutoRollback()


def test_environment_overrides_and_takes_over() -> None:
    """An environment has its own value where it says one, else the base's; one that is not mentioned has the base."""
    fields = {
        "rollout": 5,
        "slos": ["errors < 1%"],
        "description": "d",
        "environments": {
            "eu": {"enabled": False},
            "staging": {"rollout": 100, "slos": [], "salt": "s", "enabled": False, "default": True},
        },
    }
    flag = parse_flag("f", fields)
    staging = flag.for_environment("staging")
    assert (staging.rollout, staging.slos, staging.salt, staging.enabled) == (100.0, (), "s", False)
    assert (staging.default, staging.candidate) == (True, False)
    eu = flag.for_environment("eu")
    assert (eu.enabled, eu.rollout, eu.slos, eu.salt, eu.metadata.description) == (False, 5.0, flag.base.slos, "f", "d")
    assert flag.for_environment("production") is flag.base
    assert (flag.base.rollout, flag.base.salt, flag.base.enabled) == (5.0, "f", True)


@pytest.mark.parametrize(
    ("fields", "default", "candidate"),
    [
        ({}, False, True),
        ({"default": True}, True, False),
        ({"default": True, "candidate": True}, True, True),
        ({"type": "string", "default": "blue"}, "blue", "blue"),
        ({"type": "string", "default": "blue", "candidate": "green"}, "blue", "green"),
        ({"type": "integer", "default": 3}, 3, 3),
        ({"type": "float", "default": 3}, 3.0, 3.0),
        ({"type": "float", "default": 1e300, "candidate": -1e300}, 1e300, -1e300),
    ],
)
def test_default_and_candidate(fields: dict[str, object], default: object, candidate: object) -> None:
    """The candidate is the other boolean, and for other types the default, unless it is said; a float is a float."""
    flag = a_flag(**fields)
    assert (flag.default, flag.candidate) == (default, candidate)
    assert type(flag.default) is type(default)


def test_metadata_is_read() -> None:
    """What people want to know of a flag is kept as they wrote it, a date as ISO 8601 text."""
    text = """[flags.f]
description = "d"
owner = "checkout team"
tags = ["a", "b"]
created = 2026-01-31
expires = "20270131"
"""
    assert parse_declaration(tomllib.loads(text)).flags["f"].base.metadata == Metadata(
        "d", "checkout team", ("a", "b"), "2026-01-31", "2027-01-31"
    )


@pytest.mark.parametrize("weight", [0.001, 0.125, 1, 1_000_000])
def test_weights_at_their_edges(weight: float) -> None:
    """A weight of a thousandth is taken, as is one of a million, and what lies between with three decimals."""
    variants = {"blue": {"value": "b", "weight": weight}, "green": {"value": "g"}}
    flag = a_flag(type="string", default="x", variants=variants)
    assert flag.variants == (Variant("blue", "b", weight), Variant("green", "g", 1.0))


def test_an_environment_divides_what_the_base_does_not() -> None:
    """Of a candidate and variants the environment's own holds, whichever the base has."""
    colours = {"blue": {"value": "b"}, "green": {"value": "g"}}
    one = {"type": "string", "default": "x", "candidate": "c", "environments": {"s": {"variants": colours}}}
    flag = parse_flag("f", one)
    assert (flag.base.candidate, flag.base.variants) == ("c", ())
    served = flag.for_environment("s")
    assert ([each.name for each in served.candidates], served.candidate) == (["blue", "green"], "x")
    other = {"type": "string", "default": "x", "variants": colours, "environments": {"s": {"candidate": "c"}}}
    assert [each.name for each in parse_flag("f", other).for_environment("s").candidates] == ["candidate"]


@pytest.mark.parametrize(
    ("read", "fields"),
    [
        (parse_flag, {"rollout": 5.0, "noise": {"p95": 0.0, "shape": 0.25}}),
        (parse_segment, {"description": "the Swiss", "if": {"attribute": "country", "in": ["CH"]}}),
        (parse_plan_template, {"stages": [{"percent": 100.0, "bake": 3600.0}], "watch": 60.0}),
        (parse_channel, {"kind": "slack", "url_env": "HOOK"}),
    ],
)
def test_each_part_is_read_again_from_its_fields(read: Callable[[str, object], Any], fields: dict[str, Any]) -> None:
    """By itself, as a store keeps it; and refused at the path where a configuration has it."""
    part = read("f", fields)
    assert part.key == "f"
    assert part.fields.items() >= fields.items()
    assert read("f", part.fields) == part
    with pytest.raises(ConfigError) as caught:
        read("f", {**fields, "sur prise": 1})
    ((_, key, mistake),) = [problem.path for problem in caught.value.problems]
    assert (key, mistake) == ("f", "sur prise")


def test_a_plan_that_flags_share_is_read_whole() -> None:
    """Its fields are those of the plan that it is."""
    template = parse_plan_template("careful", {"stages": [{"percent": 100, "bake": "1h"}]})
    assert template.plan == parse_plan(template.fields) == parse_plan({"stages": [{"percent": 100, "bake": "1h"}]})


def test_fields_are_canonical() -> None:
    """Two spellings of one flag have the same fields."""
    spoken = {"rollout": "5 %", "slos": ["p95<500ms"], "environments": {"a": {"rollout": 5}}}
    plain = {"rollout": 5.0, "slos": ["p95 < 500ms"], "environments": {"a": {"rollout": 5.0}}}
    assert parse_flag("f", spoken).fields == parse_flag("f", plain).fields == plain


def test_fields_are_copied() -> None:
    """Changing what was handed in, afterwards, changes no declaration."""
    fields: dict[str, Any] = {"slos": ["errors < 1%"], "environments": {"a": {"rollout": 5}}}
    declared = parse_flag("f", fields)
    fields["slos"].append("nonsense")
    fields["environments"]["a"]["rollout"] = 101
    assert declared.fields == {"slos": ["errors < 1%"], "environments": {"a": {"rollout": 5.0}}}


# --- mistakes ---

FLAG_KEYS: Final = (
    "bucketing, candidate, created, default, description, enabled, environments, expires, maximum, metadata, minimum, "
    "noise, order, owner, plan, prerequisites, rollout, rules, salt, slos, soft, tags, targets, type or variants"
)
PERCENT: Final = "expected a percentage from 0 to 100 with at most three decimals: 5, 0.125 or '5%'"
DURATION: Final = (
    "expected a duration of more than zero and at most 8784h: '500ms', '30s', '5m', '2h', '3d', or a number of seconds"
)
WEIGHT: Final = "expected a weight of more than 0 and at most 1000000, with at most three decimals"
CONDITION: Final = (
    "expected 'attribute' with one operator (equals, in, starts_with, ends_with, contains, matches, number, version, "
    "date, exists), or one of 'all', 'any', 'not' and 'segment' alone"
)
CONDITION_KEYS: Final = (
    "expected all, any, attribute, contains, date, ends_with, equals, exists, in, matches, not, number, segment, "
    "starts_with or version"
)
NUMBER: Final = "expected a comparison: '>= 18', '< 0.5' or 'between 18 and 65'"
VERSION: Final = "expected a comparison: '>= 2.4.0', '< 3.0.0-rc.1' or 'between 2.0.0 and 2.9.9'"
DATE: Final = "expected a comparison: 'before 2026-01-01', 'after 2026-01-01T12:00:00Z' or '>= 2026-01-01'"
SERVE: Final = "expected what the rule serves: a variant, 'default' or 'rollout'"
STRING: Final = "[flags.a]\ntype = 'string'\ndefault = 'x'\n"
NO_VARIABLE: Final = (
    "found what is no name of an environment variable (and is not shown, it may be a secret), "
    "expected a name such as 'SLACK_WEBHOOK_URL'"
)
NAME: Final = "expected 1 to 128 of A-Z, a-z, 0-9, '.', '_' and '-', beginning with a letter or a digit"


def condition(text: str) -> str:
    """Return the configuration of a flag with one rule, which has this condition."""
    return f"[[flags.a.rules]]\nif = {text}\nserve = 'on'"


MISTAKES: Final[list[tuple[str, list[str]]]] = [
    # the outermost level
    (
        "[flag.a]",
        [
            (
                "flag: unknown key, expected auto_rollback, flags, notify, plans, retention, roles or segments; "
                "did you mean 'flags'?"
            )
        ],
    ),
    (
        "[auto-rollback]",
        [
            (
                "auto-rollback: unknown key, "
                "expected auto_rollback, flags, notify, plans, retention, roles or segments; "
                "did you mean 'auto_rollback'?"
            )
        ],
    ),
    ("title = 1", ["title: unknown key, expected auto_rollback, flags, notify, plans, retention, roles or segments"]),
    ("flags = []", ["flags: found a list, expected a table"]),
    ("auto_rollback = true", ["auto_rollback: found true, expected a table"]),
    # a flag
    ("flags.a = true", ["flags.a: found true, expected a table"]),
    ("[flags.'new checkout']", [f"flags.new checkout: found the name 'new checkout', {NAME}"]),
    ("[flags.-a]", [f"flags.-a: found the name '-a', {NAME}"]),
    ("[flags.'']", [f"flags.: found the name '', {NAME}"]),
    (f"[flags.{'a' * 129}]", [f"flags.{'a' * 129}: found the name '{'a' * 57}...', {NAME}"]),
    ("[flags.a]\nrolout = 5", [f"flags.a.rolout: unknown key, expected {FLAG_KEYS}; did you mean 'rollout'?"]),
    ("[flags.a]\npercent = 5", [f"flags.a.percent: unknown key, expected {FLAG_KEYS}; did you mean 'rollout'?"]),
    ("[flags.a]\nEnabled = true", [f"flags.a.Enabled: unknown key, expected {FLAG_KEYS}; did you mean 'enabled'?"]),
    ("[flags.a]\nslo = []", [f"flags.a.slo: unknown key, expected {FLAG_KEYS}; did you mean 'slos'?"]),
    (
        "[flags.a.plan]\nstages = []",
        ["flags.a.plan.stages: found a list, expected a list of at least one stage: { percent = 5, bake = '60m' }"],
    ),
    ("[flags.a]\ndescription = 5", ["flags.a.description: found 5, expected a string"]),
    (
        "[flags.a]\ntype = 'bool'",
        ["flags.a.type: found 'bool', expected boolean, integer, float, string or object; did you mean 'boolean'?"],
    ),
    ("[flags.a]\ntype = 'object'", ["flags.a.default: found nothing, expected the object that is the baseline"]),
    (
        "[flags.a]\ntype = 'object'\ndefault = 'x'\nminimum = 1",
        [
            "flags.a.default: found 'x', expected a table or a list",
            "flags.a.minimum: found 1, expected no bound: only integer and float flags have one",
        ],
    ),
    (
        "[flags.a]\ntype = 'object'\ndefault = {x = {y = [1, 2026-01-31]}}",
        ["flags.a.default: found a date, expected a boolean, a number or a string"],
    ),
    (
        "[flags.a]\ntype = 'object'\ndefault = " + "[" * 21 + "]" * 21,
        ["flags.a.default: found more than 20 tables and lists in each other, expected fewer"],
    ),
    (
        "[flags.a.metadata]\nticket = 'SHOP-7'\nlinks = []",
        ["flags.a.metadata.links: found a list, expected a boolean, a number or a string"],
    ),
    ("[flags.a]\ntype = 5", ["flags.a.type: found 5, expected boolean, integer, float, string or object"]),
    ("[flags.a]\ntype = ['x']", ["flags.a.type: found a list, expected boolean, integer, float, string or object"]),
    ("[flags.a]\nenabled = 'yes'", ["flags.a.enabled: found 'yes', expected true or false"]),
    ("[flags.a]\nenabled = 1", ["flags.a.enabled: found 1, expected true or false"]),
    ("[flags.a]\nsalt = ''", ["flags.a.salt: found an empty string, expected some text; leave it out to do without"]),
    # values
    ("[flags.a]\ndefault = 'off'", ["flags.a.default: found 'off', expected true or false"]),
    ("[flags.a]\ndefault = 0", ["flags.a.default: found 0, expected true or false"]),
    (
        "[flags.a]\ntype = 'integer'\ndefault = true",
        ["flags.a.default: found true, expected an integer of at most 64 bits"],
    ),
    (
        "[flags.a]\ntype = 'integer'\ndefault = 1.0",
        ["flags.a.default: found 1.0, expected an integer of at most 64 bits"],
    ),
    (
        f"[flags.a]\ntype = 'integer'\ndefault = {2**63}",
        ["flags.a.default: found an integer of more than 64 bits, expected an integer of at most 64 bits"],
    ),
    ("[flags.a]\ntype = 'float'\ndefault = nan", ["flags.a.default: found nan, expected a finite number"]),
    ("[flags.a]\ntype = 'float'\ndefault = -inf", ["flags.a.default: found -inf, expected a finite number"]),
    ("[flags.a]\ntype = 'float'\ndefault = '1'", ["flags.a.default: found '1', expected a finite number"]),
    ("[flags.a]\ntype = 'string'\ndefault = 1", ["flags.a.default: found 1, expected a string"]),
    (
        "[flags.a]\ntype = 'string'\ndefault = 2024-01-01",
        ["flags.a.default: found a date, expected a string"],
    ),
    ("[flags.a]\ntype = 'string'", ["flags.a.default: found nothing, expected the string that is the baseline"]),
    ("[flags.a]\ncandidate = {}", ["flags.a.candidate: found a table, expected true or false"]),
    # bounds
    (
        "[flags.a]\nnoise = { p95 = -0.1 }",
        ["flags.a.noise.p95: found -0.1, expected 0 or more: 0 is chance alone"],
    ),
    (
        "[flags.a]\nminimum = 1",
        ["flags.a.minimum: found 1, expected no bound: only integer and float flags have one"],
    ),
    (
        "[flags.a]\ntype = 'string'\ndefault = 'x'\nmaximum = 'y'",
        ["flags.a.maximum: found 'y', expected no bound: only integer and float flags have one"],
    ),
    (
        "[flags.a]\ntype = 'integer'\ndefault = 5\nminimum = 0.5",
        ["flags.a.minimum: found 0.5, expected an integer of at most 64 bits"],
    ),
    (
        "[flags.a]\ntype = 'integer'\ndefault = 5\nminimum = 6",
        ["flags.a.default: found minimum 6 and default 5, expected minimum <= default"],
    ),
    (
        "[flags.a]\ntype = 'integer'\ndefault = 5\nmaximum = 4",
        ["flags.a.default: found default 5 and maximum 4, expected default <= maximum"],
    ),
    (
        "[flags.a]\ntype = 'float'\ndefault = 5\ncandidate = 7.5\nmaximum = 7",
        ["flags.a.candidate: found candidate 7.5 and maximum 7.0, expected candidate <= maximum"],
    ),
    (
        "[flags.a]\ntype = 'integer'\ndefault = 5\nminimum = 9\nmaximum = 4",
        [
            "flags.a.maximum: found minimum 9 and maximum 4, expected minimum <= maximum",
            "flags.a.default: found minimum 9 and default 5, expected minimum <= default",
            "flags.a.default: found default 5 and maximum 4, expected default <= maximum",
        ],
    ),
    # percentages
    ("[flags.a]\nrollout = -1", [f"flags.a.rollout: found -1, {PERCENT}"]),
    ("[flags.a]\nrollout = 100.001", [f"flags.a.rollout: found 100.001, {PERCENT}"]),
    ("[flags.a]\nrollout = 0.0005", [f"flags.a.rollout: found 0.0005, {PERCENT}"]),
    ("[flags.a]\nrollout = true", [f"flags.a.rollout: found true, {PERCENT}"]),
    ("[flags.a]\nrollout = nan", [f"flags.a.rollout: found nan, {PERCENT}"]),
    ("[flags.a]\nrollout = '5'", [f"flags.a.rollout: found '5', {PERCENT}"]),
    ("[flags.a]\nrollout = '5 percent'", [f"flags.a.rollout: found '5 percent', {PERCENT}"]),
    # SLOs
    ("[flags.a]\nslos = 'errors < 1%'", ["flags.a.slos: found 'errors < 1%', expected a list of strings"]),
    ("[flags.a]\nslos = [5]", ["flags.a.slos.0: found 5, expected a string"]),
    (
        "[flags.a]\nslos = ['errors < 1%', 'errors<1%']",
        ["flags.a.slos.1: found 'errors < 1%' again, expected it once"],
    ),
    # environments
    ("[flags.a]\nenvironments = []", ["flags.a.environments: found a list, expected a table"]),
    ("[flags.a.environments]\nstaging = 5", ["flags.a.environments.staging: found 5, expected a table"]),
    ("[flags.a.environments.'my laptop']", [f"flags.a.environments.my laptop: found the name 'my laptop', {NAME}"]),
    ("[flags.a.environments.s]\nrollout = 101", [f"flags.a.environments.s.rollout: found 101, {PERCENT}"]),
    (
        "[flags.a.environments.s]\ntype = 'float'",
        [
            (
                "flags.a.environments.s.type: found in an environment, expected in the flag itself: "
                "the type is the same everywhere"
            )
        ],
    ),
    (
        "[flags.a.environments.s.environments]",
        [
            (
                "flags.a.environments.s.environments: unknown key, expected bucketing, candidate, created, default, "
                "description, enabled, expires, maximum, metadata, minimum, noise, order, owner, plan, prerequisites, "
                "rollout, rules, salt, slos, soft, tags, targets or variants"
            )
        ],
    ),
    (
        "[flags.a]\ntype = 'integer'\ndefault = 5\n[flags.a.environments.s]\nmaximum = 4",
        ["flags.a.environments.s.maximum: found default 5 and maximum 4, expected default <= maximum"],
    ),
    (
        "[flags.a]\ntype = 'integer'\ndefault = 5\nmaximum = 9\n[flags.a.environments.s]\ndefault = 10",
        ["flags.a.environments.s.default: found default 10 and maximum 9, expected default <= maximum"],
    ),
    # variants, targets, rules, conditions, prerequisites, metadata and segments
    (
        "[flags.a]\nvariants = {on = {value = true}, off = {value = false}}",
        ["flags.a.variants: found variants, expected none: a boolean flag has 'on' and 'off'"],
    ),
    (STRING + "variants = ['blue']", ["flags.a.variants: found a list, expected a table"]),
    (
        STRING + "variants = {}",
        ["flags.a.variants: found none, expected one or more"],
    ),
    (
        STRING + "variants = {blue = 'b', green = 'g'}",
        ["flags.a.variants.blue: found 'b', expected a table", "flags.a.variants.green: found 'g', expected a table"],
    ),
    (
        STRING + "variants = {blue = {weight = 1}, green = {value = 'g'}}",
        ["flags.a.variants.blue.value: found nothing, expected the value of this variant"],
    ),
    (
        STRING + "variants = {blue = {value = 1}, green = {value = 'g'}}",
        ["flags.a.variants.blue.value: found 1, expected a string"],
    ),
    (
        STRING + "variants = {blue = {value = 'b', weight = 0}, green = {value = 'g', weight = -1}}",
        [f"flags.a.variants.blue.weight: found 0, {WEIGHT}", f"flags.a.variants.green.weight: found -1, {WEIGHT}"],
    ),
    (
        STRING + "variants = {blue = {value = 'b', weight = 0.0001}, green = {value = 'g', weight = '50%'}}",
        [
            f"flags.a.variants.blue.weight: found 0.0001, {WEIGHT}",
            "flags.a.variants.green.weight: found '50%', expected a finite number",
        ],
    ),
    (
        STRING + "variants = {blue = {value = 'b', weight = 2000000}, green = {value = 'g', wieght = 1}}",
        [
            f"flags.a.variants.blue.weight: found 2000000, {WEIGHT}",
            "flags.a.variants.green.wieght: unknown key, expected value or weight; did you mean 'weight'?",
        ],
    ),
    (
        STRING + "variants = {baseline = {value = 'b'}, rollout = {value = 'g'}}",
        [
            (
                "flags.a.variants.baseline: found a variant named 'baseline', expected another name: "
                "this one has a meaning of its own"
            ),
            (
                "flags.a.variants.rollout: found a variant named 'rollout', expected another name: this "
                "one has a meaning of its own"
            ),
        ],
    ),
    (
        STRING + "variants = {'dark blue' = {value = 'b'}, green = {value = 'g'}}",
        [f"flags.a.variants.dark blue: found the name 'dark blue', {NAME}"],
    ),
    (
        STRING + "candidate = 'c'\nvariants = {blue = {value = 'b'}, green = {value = 'g'}}",
        ["flags.a.candidate: found 'candidate' and 'variants', expected one of them"],
    ),
    (
        "[flags.a]\ntype='integer'\ndefault=1\nmaximum=9\nvariants = {blue = {value = 10}, green = {value = 2}}",
        [
            (
                "flags.a.variants.blue.value: found variants.blue.value 10 and maximum 9, expected "
                "variants.blue.value <= maximum"
            )
        ],
    ),
    ("[flags.a]\ntargets = ['user-1']", ["flags.a.targets: found a list, expected a table"]),
    ("[flags.a]\ntargets = {on = 'user-1'}", ["flags.a.targets.on: found 'user-1', expected a list of strings"]),
    (
        "[flags.a]\ntargets = {On = ['user-1']}",
        ["flags.a.targets.On: found 'On', expected 'off' or 'on'; did you mean 'on'?"],
    ),
    ("[flags.a]\ntargets = {true = ['user-1']}", ["flags.a.targets.true: found 'true', expected 'off' or 'on'"]),
    ("[flags.a]\ntargets = {on = ['u', 'u']}", ["flags.a.targets.on.1: found 'u' again, expected it once"]),
    (
        "[flags.a]\ntargets = {on = ['u'], off = ['v', 'u']}",
        ["flags.a.targets.off.1: found 'u', which 'on' has too, expected it once"],
    ),
    (
        "[flags.a]\ntargets = {on = ['']}",
        ["flags.a.targets.on.0: found an empty string, expected some text; leave it out to do without"],
    ),
    ("[flags.a]\ntargets = {on = [42]}", ["flags.a.targets.on.0: found 42, expected a string"]),
    (STRING + "targets = {blue = ['u']}", ["flags.a.targets.blue: found 'blue', expected 'baseline' or 'candidate'"]),
    (
        STRING + "variants = {blue = {value = 'b'}, green = {value = 'g'}}\ntargets = {candidate = ['u']}",
        ["flags.a.targets.candidate: found 'candidate', expected 'baseline', 'blue' or 'green'"],
    ),
    ("[flags.a]\nrules = {}", ["flags.a.rules: found a table, expected a list of rules"]),
    ("[flags.a]\nrules = ['on']", ["flags.a.rules.0: found 'on', expected a table"]),
    (
        "[flags.a]\nrules = [{}]",
        [
            "flags.a.rules.0.if: found nothing, expected the condition for which the rule holds",
            f"flags.a.rules.0.serve: found nothing, {SERVE}",
        ],
    ),
    ("[flags.a]\nrules = [{if = {attribute = 'a', equals = 1}}]", [f"flags.a.rules.0.serve: found nothing, {SERVE}"]),
    (
        "[flags.a]\nrules = [{serve = 'on'}]",
        ["flags.a.rules.0.if: found nothing, expected the condition for which the rule holds"],
    ),
    (
        "[flags.a]\nrules = [{when = {attribute = 'a', equals = 1}, serve = 'on'}]",
        [
            "flags.a.rules.0.when: unknown key, expected if, name, rollout or serve; did you mean 'if'?",
            "flags.a.rules.0.if: found nothing, expected the condition for which the rule holds",
        ],
    ),
    (
        "[[flags.a.rules]]\nif = {attribute = 'a', equals = 1}\nserve = 'true'",
        ["flags.a.rules.0.serve: found 'true', expected 'default', 'off', 'on' or 'rollout'"],
    ),
    (
        "[[flags.a.rules]]\nif = {attribute = 'a', equals = 1}\nserve = true",
        ["flags.a.rules.0.serve: found true, expected a string"],
    ),
    (
        "[[flags.a.rules]]\nif = {attribute = 'a', equals = 1}\nserve = 'on'\nrollout = 5",
        ["flags.a.rules.0: found a rollout and serve = 'on', expected serve = 'rollout' with it"],
    ),
    (
        "[[flags.a.rules]]\nif = {attribute = 'a', equals = 1}\nserve = 'rollout'\nrollout = 101",
        [f"flags.a.rules.0.rollout: found 101, {PERCENT}"],
    ),
    (
        (
            "[[flags.a.rules]]\nif = {attribute = 'a', equals = 1}\nserve = 'on'\nname = "
            "'n'\n[[flags.a.rules]]\nif = {attribute = 'b', equals = 1}\nserve = 'off'\nname = 'n'"
        ),
        ["flags.a.rules.1.name: found 'n' again, expected it once"],
    ),
    (
        (
            "[[flags.a.rules]]\nif = {attribute = 'a', equals = 1}\nserve = 'on'\n[[flags.a.rules]]\nif "
            "= {attribute = 'a', equals = 1}\nserve = 'on'"
        ),
        ["flags.a.rules.1: found a table again, expected it once"],
    ),
    (condition("'country'"), ["flags.a.rules.0.if: found 'country', expected a table"]),
    (condition("{}"), [f"flags.a.rules.0.if: found an empty table, {CONDITION}"]),
    (condition("{country = 'CH'}"), [f"flags.a.rules.0.if.country: unknown key, {CONDITION_KEYS}"]),
    (condition("{attribute = 'a'}"), [f"flags.a.rules.0.if: found 'attribute', {CONDITION}"]),
    (condition("{equals = 1}"), [f"flags.a.rules.0.if: found 'equals', {CONDITION}"]),
    (
        condition("{attribute = 'a', equals = 1, in = [2]}"),
        [f"flags.a.rules.0.if: found 'attribute', 'equals' and 'in', {CONDITION}"],
    ),
    (
        condition("{attribute = 'a', startswith = 'x'}"),
        [f"flags.a.rules.0.if.startswith: unknown key, {CONDITION_KEYS}; did you mean 'starts_with'?"],
    ),
    (
        condition("{attribute = '', equals = 1}"),
        ["flags.a.rules.0.if.attribute: found an empty string, expected some text; leave it out to do without"],
    ),
    (
        condition("{attribute = 'a', equals = [1]}"),
        ["flags.a.rules.0.if.equals: found a list, expected a string, a number, true or false"],
    ),
    (
        condition("{attribute = 'a', equals = nan}"),
        ["flags.a.rules.0.if.equals: found nan, expected a string, a number, true or false"],
    ),
    (
        condition("{attribute = 'a', equals = 2026-01-01}"),
        ["flags.a.rules.0.if.equals: found a date, expected a string, a number, true or false"],
    ),
    (condition("{attribute = 'a', in = 'CH'}"), ["flags.a.rules.0.if.in: found 'CH', expected a list of values"]),
    (
        condition("{attribute = 'a', in = []}"),
        ["flags.a.rules.0.if.in: found an empty list, expected at least one value"],
    ),
    (
        condition("{attribute = 'a', in = ['CH', 'CH']}"),
        ["flags.a.rules.0.if.in.1: found 'CH' again, expected it once"],
    ),
    (
        condition("{attribute = 'a', in = [{}]}"),
        ["flags.a.rules.0.if.in.0: found a table, expected a string, a number, true or false"],
    ),
    (
        condition("{attribute = 'a', starts_with = ''}"),
        ["flags.a.rules.0.if.starts_with: found an empty string, expected some text; leave it out to do without"],
    ),
    (condition("{attribute = 'a', ends_with = 5}"), ["flags.a.rules.0.if.ends_with: found 5, expected a string"]),
    (
        condition("{attribute = 'a', contains = ['x']}"),
        ["flags.a.rules.0.if.contains: found a list, expected a string"],
    ),
    (
        condition("{attribute = 'a', matches = '('}"),
        ["flags.a.rules.0.if.matches: found '(', expected a regular expression in the syntax of RE2: missing ): ("],
    ),
    (
        condition("{attribute = 'a', matches = '(?=x)'}"),
        [
            (
                "flags.a.rules.0.if.matches: found '(?=x)', expected a regular expression in the syntax "
                "of RE2: invalid perl operator: (?="
            )
        ],
    ),
    (
        condition("{attribute = 'a', regex = 'x'}"),
        [f"flags.a.rules.0.if.regex: unknown key, {CONDITION_KEYS}; did you mean 'matches'?"],
    ),
    (condition("{attribute = 'a', number = 18}"), [f"flags.a.rules.0.if.number: found 18, {NUMBER}"]),
    (condition("{attribute = 'a', number = '=> 18'}"), [f"flags.a.rules.0.if.number: found '=> 18', {NUMBER}"]),
    (condition("{attribute = 'a', number = '> many'}"), [f"flags.a.rules.0.if.number: found '> many', {NUMBER}"]),
    (
        condition("{attribute = 'a', number = 'between 9 and 1'}"),
        [f"flags.a.rules.0.if.number: found 'between 9 and 1', {NUMBER}"],
    ),
    (
        condition(f"{{attribute = 'a', number = '> {'9' * 20}'}}"),
        [f"flags.a.rules.0.if.number: found '> {'9' * 20}', {NUMBER}"],
    ),
    (condition("{attribute = 'a', number = '> 1e400'}"), [f"flags.a.rules.0.if.number: found '> 1e400', {NUMBER}"]),
    (condition("{attribute = 'a', version = '>= 2.4'}"), [f"flags.a.rules.0.if.version: found '>= 2.4', {VERSION}"]),
    (condition("{attribute = 'a', version = '2.4.0'}"), [f"flags.a.rules.0.if.version: found '2.4.0', {VERSION}"]),
    (
        condition("{attribute = 'a', version = '>= 01.2.3'}"),
        [f"flags.a.rules.0.if.version: found '>= 01.2.3', {VERSION}"],
    ),
    (
        condition("{attribute = 'a', semver = '>= 1.2.3'}"),
        [f"flags.a.rules.0.if.semver: unknown key, {CONDITION_KEYS}; did you mean 'version'?"],
    ),
    (condition("{attribute = 'a', date = 2026-01-01}"), [f"flags.a.rules.0.if.date: found a date, {DATE}"]),
    (
        condition("{attribute = 'a', date = 'before tomorrow'}"),
        [f"flags.a.rules.0.if.date: found 'before tomorrow', {DATE}"],
    ),
    (
        condition("{attribute = 'a', date = 'before 2026-02-30'}"),
        [f"flags.a.rules.0.if.date: found 'before 2026-02-30', {DATE}"],
    ),
    (
        condition("{attribute = 'a', before = 2026-01-01}"),
        [f"flags.a.rules.0.if.before: unknown key, {CONDITION_KEYS}; did you mean 'date'?"],
    ),
    (
        condition("{attribute = 'a', exists = 'yes'}"),
        ["flags.a.rules.0.if.exists: found 'yes', expected true or false"],
    ),
    (condition("{all = []}"), ["flags.a.rules.0.if.all: found an empty list, expected at least one condition"]),
    (
        condition("{any = {attribute = 'a', equals = 1}}"),
        ["flags.a.rules.0.if.any: found a table, expected a list of conditions"],
    ),
    (
        condition("{all = [{attribute = 'a', equals = 1}], any = [{attribute = 'a', equals = 1}]}"),
        [f"flags.a.rules.0.if: found 'all' and 'any', {CONDITION}"],
    ),
    (condition("{not = []}"), ["flags.a.rules.0.if.not: found a list, expected a table"]),
    (
        condition("{not = {attribute = 'a', is = 1}}"),
        [f"flags.a.rules.0.if.not.is: unknown key, {CONDITION_KEYS}; did you mean 'equals'?"],
    ),
    (condition("{segment = 'my segment'}"), [f"flags.a.rules.0.if.segment: found the name 'my segment', {NAME}"]),
    (
        condition("{segment = 'x', attribute = 'a'}"),
        [f"flags.a.rules.0.if: found 'segment' and 'attribute', {CONDITION}"],
    ),
    (condition("{and = []}"), [f"flags.a.rules.0.if.and: unknown key, {CONDITION_KEYS}; did you mean 'all'?"]),
    (
        condition("{all = [{attribute = 'a', equals = 1}, {attribute = 'b'}]}"),
        [f"flags.a.rules.0.if.all.1: found 'attribute', {CONDITION}"],
    ),
    ("[flags.a]\nprerequisites = 'b'", ["flags.a.prerequisites: found 'b', expected a list of tables"]),
    ("[flags.a]\nprerequisites = ['b']", ["flags.a.prerequisites.0: found 'b', expected a table"]),
    (
        "[flags.a]\nprerequisites = [{flag = 'b'}]",
        ["flags.a.prerequisites.0.variant: found nothing, expected the variant it must answer"],
    ),
    (
        "[flags.a]\nprerequisites = [{variant = 'on'}]",
        ["flags.a.prerequisites.0.flag: found nothing, expected the key of another flag"],
    ),
    (
        "[flags.a]\nprerequisites = [{flag = 'b c', variant = 'on'}]",
        [f"flags.a.prerequisites.0.flag: found the name 'b c', {NAME}"],
    ),
    (
        "[flags.a]\nprerequisites = [{key = 'b', variant = 'on'}]",
        [
            "flags.a.prerequisites.0.key: unknown key, expected flag or variant",
            "flags.a.prerequisites.0.flag: found nothing, expected the key of another flag",
        ],
    ),
    ("[flags.a]\nowner = ''", ["flags.a.owner: found an empty string, expected some text; leave it out to do without"]),
    ("[flags.a]\ntags = 'x'", ["flags.a.tags: found 'x', expected a list of strings"]),
    ("[flags.a]\ntags = ['x', 'x']", ["flags.a.tags.1: found 'x' again, expected it once"]),
    ("[flags.a]\ncreated = 'yesterday'", ["flags.a.created: found 'yesterday', expected a date such as 2026-01-31"]),
    ("[flags.a]\nexpires = 5", ["flags.a.expires: found 5, expected a date such as 2026-01-31"]),
    ("[flags.a]\nexpires = 12:00:00", ["flags.a.expires: found a time, expected a date such as 2026-01-31"]),
    (
        "[flags.a]\n[flags.a.environments.s]\ntargets = {blue = ['u']}",
        ["flags.a.environments.s.targets.blue: found 'blue', expected 'off' or 'on'"],
    ),
    (
        "[flags.a]\n[flags.a.environments.s]\nrules = [{if = {attribute = 'a', equals = 1}, serve = 'blue'}]",
        ["flags.a.environments.s.rules.0.serve: found 'blue', expected 'default', 'off', 'on' or 'rollout'"],
    ),
    (
        STRING + "variants = {blue = {value = 'b'}, green = {value = 'g'}}\ntargets = {blue = ['u']}\n"
        "[flags.a.environments.s]\nvariants = {red = {value = 'b'}, green = {value = 'g'}}",
        ["flags.a.environments.s.variants: found no 'blue', expected it, or other targets with these variants"],
    ),
    ("segments = []", ["segments: found a list, expected a table"]),
    ("[segments.s]", ["segments.s.if: found nothing, expected the condition for being in the segment"]),
    ("[segments.s]\nif = {}", [f"segments.s.if: found an empty table, {CONDITION}"]),
    ("[segments.'s t']\nif = {attribute='a', equals=1}", [f"segments.s t: found the name 's t', {NAME}"]),
    (
        "[segments.s]\ncondition = {attribute='a', equals=1}",
        [
            "segments.s.condition: unknown key, expected description or if; did you mean 'if'?",
            "segments.s.if: found nothing, expected the condition for being in the segment",
        ],
    ),
    (
        "[segments.s]\nif = {attribute='a', equals=1}\ndescription = 5",
        ["segments.s.description: found 5, expected a string"],
    ),
    # plans
    (
        "[plans.careful]\nstages = [{ percent = 5, bake = '60m' }, { percent = 100, bak = '1h' }]\nwarm_up = '1m'",
        [
            (
                "plans.careful.stages.1.bak: unknown key, expected approval, bake, deadline, percent, slos or soft; "
                "did you mean 'bake'?"
            ),
            "plans.careful.stages.1.bake: found nothing, expected it to be there",
            (
                "plans.careful.warm_up: unknown key, expected baseline, blackout, four_eyes, fresh, holdback, "
                "interval, on_deadline, parallel, stages, start, warmup or watch; did you mean 'warmup'?"
            ),
        ],
    ),
    ("[plans.'a b']\nstages = [{ percent = 100, bake = '1h' }]", [f"plans.a b: found the name 'a b', {NAME}"]),
    ("[flags.a]\nplan = 5", ["flags.a.plan: found 5, expected a table or the name of a plan"]),
    ("[flags.a]\nplan = 'a b'", [f"flags.a.plan: found the name 'a b', {NAME}"]),
    (
        "[flags.a.environments.s.plan]\nstages = [{ percent = 50, bake = '1h' }]",
        [
            (
                "flags.a.environments.s.plan.stages.0.percent: found 50, expected 100 in the last stage: "
                "what nobody baked cannot be promoted"
            )
        ],
    ),
    (
        "[segment.s]",
        [
            (
                "segment: unknown key, expected auto_rollback, flags, notify, plans, retention, roles or segments; "
                "did you mean 'segments'?"
            )
        ],
    ),
    # channels
    ("[notify]\nslack = 'https://x'", ["notify.slack: found 'https://x', expected a table"]),
    ("[notify.'a b']\nkind = 'slack'", [f"notify.a b: found the name 'a b', {NAME}"]),
    (
        "[notify.slak]\nurl_env = 'URL'",
        [
            (
                "notify.slak.kind: found nothing, expected slack, pagerduty, webhook, email or apprise; "
                "did you mean 'slack'?"
            )
        ],
    ),
    (
        "[notify.night]\nkind = 'pager'",
        [
            (
                "notify.night.kind: found 'pager', expected slack, pagerduty, webhook, email or apprise; "
                "did you mean 'pagerduty'?"
            )
        ],
    ),
    (
        "[notify.slack]\nurl = 'https://hooks.example.com/secret'",
        [
            "notify.slack.url: unknown key, expected kind, level, only_in or url_env; did you mean 'url_env'?",
            "notify.slack.url_env: found nothing, expected the environment variable that holds the webhook's URL",
        ],
    ),
    ("[notify.slack]\nurl_env = 'https://hooks.example.com/secret'", [f"notify.slack.url_env: {NO_VARIABLE}"]),
    ("[notify.pagerduty]\nrouting_key_env = 5", [f"notify.pagerduty.routing_key_env: {NO_VARIABLE}"]),
    (
        "[notify.slack]\nurl_env = 'URL'\nlevel = 'loud'",
        ["notify.slack.level: found 'loud', expected info, warning or critical"],
    ),
    (
        "[notify.webhook]\nurl = 'http://user:secret@x/'\nsecret_env = 'S'",
        ["notify.webhook.url: found an address with a user in it (not shown), expected one without"],
    ),
    *(
        (
            f"[notify.webhook]\nurl = '{url}'\nsecret_env = 'S'",
            ["notify.webhook.url: found no address (not shown, it may hold a secret), expected https://host/path"],
        )
        for url in ("hooks.example.com", "ftp://x/", "https:///path", "https://x/a b", "https://[x", "https://x:99999/")
    ),
    (
        "[notify.email]\nserver = 'smtp example'\nfrom = 'robot'\nto = []\ntls = true\nuser_env = 'U'",
        [
            "notify.email.server: found 'smtp example', expected a mail server such as 'smtp.example.com:587'",
            "notify.email.from: found 'robot', expected an address such as 'oncall@example.com'",
            "notify.email.to: found an empty list, expected at least one address",
            "notify.email.tls: found true, expected starttls, implicit or none",
            "notify.email.user_env: found only one of user_env and password_env, expected both or none",
        ],
    ),
    (
        "[notify.email]\nserver = 'smtp:65536'\nfrom = 'a@x'\nto = ['b@x', 'b@x, c@x']",
        [
            "notify.email.server: found 'smtp:65536', expected a mail server such as 'smtp.example.com:587'",
            "notify.email.to.1: found 'b@x, c@x', expected an address such as 'oncall@example.com'",
        ],
    ),
    # auto_rollback
    ("[auto_rollback]\ninterval = '30 sec'", [f"auto_rollback.interval: found '30 sec', {DURATION}"]),
    ("[auto_rollback]\ninterval = 0", [f"auto_rollback.interval: found 0, {DURATION}"]),
    ("[auto_rollback]\ntimeout = '9000h'", [f"auto_rollback.timeout: found '9000h', {DURATION}"]),
    ("[auto_rollback]\ntimeout = inf", [f"auto_rollback.timeout: found inf, {DURATION}"]),
    ("[auto_rollback]\nprobe_after = false", [f"auto_rollback.probe_after: found false, {DURATION}"]),
    (
        "[auto_rollback]\nrule = 'sequentail'",
        [
            (
                "auto_rollback.rule: found 'sequentail', expected sequential, consecutive or both; "
                "did you mean 'sequential'?"
            )
        ],
    ),
    ("[auto_rollback]\ndry_run = 1", ["auto_rollback.dry_run: found 1, expected true or false"]),
    (
        "[auto_rollback]\nholdback = 100",
        ["auto_rollback.holdback: found 100, expected less than 100: somebody must be able to get the candidate"],
    ),
    ("[auto_rollback]\nholdback = '5'", [f"auto_rollback.holdback: found '5', {PERCENT}"]),
    (
        "[flags.a]\nslos = ['p95 < 500ms']\nsoft = ['p50 < 50ms', 'p95 < 0.5s']",
        [
            (
                "flags.a.soft.1: found 'p95 < 0.5s' in slos and in soft, expected it in one: "
                "a breach either takes back or holds"
            )
        ],
    ),
    (
        "[flags.a]\nsoft = ['p95 < 0.5s']\nenvironments.b.slos = ['p95 < 500ms']",
        [
            (
                "flags.a.environments.b.slos: found 'p95 < 0.5s' in slos and in soft, expected it in one: "
                "a breach either takes back or holds"
            )
        ],
    ),
    ("[auto_rollback]\nbreaches = 0", ["auto_rollback.breaches: found 0, expected 1 or more"]),
    ("[auto_rollback]\nbreaches = 2.5", ["auto_rollback.breaches: found 2.5, expected an integer of at most 64 bits"]),
    ("[auto_rollback]\nmin_samples = -5", ["auto_rollback.min_samples: found -5, expected 1 or more"]),
    (
        "[auto_rollback]\ntolerance = 0.1",
        [
            (
                "auto_rollback.tolerance: found 0.1, expected a percentage such as '10%'; a number alone means "
                "percent, so write '0.1%' or '10%', whichever is meant"
            )
        ],
    ),
    ("[auto_rollback]\ntolerance = 'ten'", [f"auto_rollback.tolerance: found 'ten', {PERCENT}"]),
    (
        "[auto_rollback]\nprobe = 0",
        ["auto_rollback.probe: found 0, expected more than 0 %; leave it out to do without"],
    ),
    ("[auto_rollback]\nnotify = 'slack'", ["auto_rollback.notify: found 'slack', expected a list of strings"]),
    (
        "[auto_rollback]\nnotify = ['slack', 'slack', '']",
        [
            "auto_rollback.notify.1: found 'slack' again, expected it once",
            "auto_rollback.notify.2: found an empty string, expected some text; leave it out to do without",
        ],
    ),
    (
        "[auto_rollback]\nintervall = 5",
        [
            (
                "auto_rollback.intervall: unknown key, expected breaches, dry_run, enabled, holdback, interval, "
                "min_samples, notify, probe, probe_after, rule, timeout or tolerance; did you mean 'interval'?"
            )
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES, ids=range(len(MISTAKES)))  # as text, some cannot be named
def test_every_mistake_is_named(text: str, expected: list[str]) -> None:
    """Each mistake gives exactly these problems: where, what was found, what was expected, what may have been meant."""
    if "RE2" in "".join(expected):
        need("re2")
    assert problems_of(tomllib.loads(text)) == expected


def test_a_mistake_in_an_slo_has_the_words_of_the_slo() -> None:
    """What is wrong with an SLO is said in the words of its own reader, at the item of the list."""
    with pytest.raises(ValueError, match="p95") as caught:
        parse_slo("p95 < 500")
    assert problems_of({"flags": {"a": {"slos": ["errors < 1%", "p95 < 500"]}}}) == [f"flags.a.slos.1: {caught.value}"]


@pytest.mark.parametrize("data", [None, 5, "flags", [], True])
def test_a_configuration_is_a_table(data: object) -> None:
    """Anything but a table is refused, without a path."""
    (problem,) = problems_of(data)
    assert problem.startswith("configuration: found ")
    assert problem.endswith(", expected a table")


@pytest.mark.parametrize("data", [{1: 2}, {"flags": {1: {}}}, {"flags": {"a": {1: 2}}}, {"flags": {"a": {None: 2}}}])
def test_keys_that_are_no_strings_are_refused(data: object) -> None:
    """A dictionary with keys that TOML cannot have is refused like any unknown key."""
    assert len(problems_of(data)) == 1


def test_conditions_are_not_nested_for_ever() -> None:
    """The twenty-first level of conditions is refused where it stands, so that no recursion is ever deep."""
    found: dict[str, Any] = {"attribute": "a", "equals": 1}
    for _ in range(19):
        found = {"not": found}
    assert parse_declaration({"segments": {"s": {"if": found}}}).segments["s"].condition == found
    (problem,) = problems_of({"segments": {"s": {"if": {"not": found}}}})
    assert problem == (
        f"segments.s.if{'.not' * 20}: found conditions in conditions, 20 deep, expected fewer; name some as segments"
    )


def test_half_characters_are_refused() -> None:
    """Text that cannot be encoded is refused where it stands, because neither a hash nor a store can take it."""
    assert problems_of({"flags": {"a": {"salt": "\ud800"}}}) == [
        "flags.a.salt: found '\\ud800', expected a string of whole Unicode characters"
    ]


def test_all_mistakes_are_named_at_once() -> None:
    """One reading names the mistakes of every flag, every environment and every section, in the order of the text."""
    every = [(text, expected) for text, expected in MISTAKES if text.startswith("[flags.a]\n") and "type" not in text]
    flags = {f"a{number}": tomllib.loads(text)["flags"]["a"] for number, (text, _) in enumerate(every)}
    expected = [
        problem.replace("flags.a.", f"flags.a{number}.", 1)
        for number, (_, problems) in enumerate(every)
        for problem in problems
    ]
    found = problems_of({"flags": flags, "auto_rollback": {"breaches": 0}})
    assert found == [*expected, "auto_rollback.breaches: found 0, expected 1 or more"]
    assert len(found) > 20


def test_problems_carry_their_path() -> None:
    """A problem holds its path as it is, also where names have dots, and no line: plain data has none."""
    with pytest.raises(ConfigError) as caught:
        parse_declaration({"flags": {"a.b": {"environments": {"eu.west": {"rollout": 101}}}}})
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == (("flags", "a.b", "environments", "eu.west", "rollout"), None)


def test_a_mistake_in_the_base_is_not_repeated_for_each_environment() -> None:
    """What an environment only takes over is not held against it."""
    elsewhere = {"environments": {"s": {"rollout": 5}, "t": {}}}
    rule = {"if": {"attribute": "a", "equals": 1}, "serve": "on", "name": "n"}
    for fields in (
        {"type": "integer", "default": 5, "maximum": 4},
        {"targets": {"on": ["u"], "off": ["u"]}},
        {"rules": [rule, {**rule, "serve": "off"}]},
        {"type": "string", "default": "x", "candidate": "c", "variants": {"b": {"value": "b"}, "g": {"value": "g"}}},
    ):
        assert len(problems_of({"flags": {"a": fields | elsewhere}})) == 1


# --- durations and percentages ---


@pytest.mark.parametrize(
    ("found", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("1440m", 86_400),
        ("1.5h", 5_400),
        (" 2 h ", 7_200),
        (45, 45),
        (0.5, 0.5),
    ],
)
def test_durations(found: object, seconds: float) -> None:
    """Each unit, a number of seconds, and blanks where people put them."""
    assert parse_duration(found) == seconds


@pytest.mark.parametrize(
    "found", ["", "s", "30", "-5s", "+5s", "1e3s", "5S", "1h30m", "٣s", None, [], math.nan, -1, 10**400]
)
def test_what_is_no_duration(found: object) -> None:
    """Anything else is refused with a sentence that shows it."""
    with pytest.raises(ValueError, match=r"^found .*, expected a duration"):
        parse_duration(found)


@pytest.mark.parametrize(
    ("found", "percent"), [(0, 0), (5, 5), (100, 100), (0.125, 0.125), ("5%", 5), (" 33.333 % ", 33.333), (-0.0, 0)]
)
def test_percentages(found: object, percent: float) -> None:
    """A number and text mean the same; the result is a float, and never a negative zero."""
    assert math.copysign(1, parse_percent(found)) == 1
    assert repr(parse_percent(found)) == repr(float(percent))


@given(st.integers(0, 100_000))
def test_every_thousandth_of_a_percent_is_taken(thousandths: int) -> None:
    """All percentages with three decimals are taken, as a number and as text, and give the same float."""
    text = f"{thousandths // 1_000}.{thousandths % 1_000:03}"
    assert parse_percent(float(text)) == parse_percent(f"{text}%") == float(text)


@given(st.floats(1e-6, LONGEST_S))
def test_durations_are_kept_to_the_microsecond(seconds: float) -> None:
    """A number of seconds comes back, and comes back again unchanged."""
    once = parse_duration(seconds)
    assert abs(once - seconds) <= 5e-7
    assert parse_duration(once) == once


# --- properties ---

NAMES: Final = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
PERCENTS: Final = st.integers(0, 100_000).map(lambda thousandths: thousandths / 1_000)
POLICIES: Final = st.builds(
    AutoRollback,
    enabled=st.booleans(),
    dry_run=st.booleans(),
    rule=st.sampled_from(RollbackRule),
    holdback=PERCENTS.filter(lambda percent: percent < 100),
    interval_s=st.floats(0.001, LONGEST_S).map(lambda seconds: round(seconds, 6)),
    breaches=st.integers(1, 100),
    timeout_s=st.floats(0.001, LONGEST_S).map(lambda seconds: round(seconds, 6)),
    tolerance=PERCENTS.map(lambda percent: round(percent / 100, 5)),
    min_samples=st.integers(1, 10**6),
    notify=st.lists(NAMES, unique=True).map(tuple),
    probe_percent=st.none() | PERCENTS.filter(bool),
    probe_after_s=st.floats(0.001, LONGEST_S).map(lambda seconds: round(seconds, 6)),
)


@given(POLICIES)
def test_auto_rollback_is_written_and_read_again(policy: AutoRollback) -> None:
    """Any policy that can be declared is read from its own fields as the same value."""
    assert parse_auto_rollback(auto_rollback_fields(policy)) == policy


def test_what_is_usual_of_auto_rollback_is_not_all_written() -> None:
    """What few people set is left out where nobody has, so that a store's documents stay short."""
    unusual = {"probe", "dry_run", "rule", "holdback"}
    assert not unusual & auto_rollback_fields(AutoRollback()).keys()
    every = AutoRollback(probe_percent=5.0, dry_run=True, rule=RollbackRule.BOTH, holdback=1.0)
    assert auto_rollback_fields(every).keys() == auto_rollback_fields(AutoRollback()).keys() | unusual


TEXT: Final = st.text(string.printable, max_size=5)
JUNK: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
KNOWN: Final = st.sampled_from(
    [*FLAG_KEYS.replace(" or ", ", ").split(", "), "interval", "breaches", "notify", "probe"]
)
TABLES: Final = st.dictionaries(KNOWN, JUNK, max_size=5)


@given(TABLES, TABLES)
def test_junk_is_refused_and_never_an_accident(fields: dict[str, object], section: dict[str, object]) -> None:
    """Whatever stands in a configuration, it is either refused as a ConfigError or read, and then read again alike."""
    with suppress(ConfigError):
        declaration = parse_declaration({"flags": {"f": fields}, "auto_rollback": section})
        again = parse_declaration({"flags": {"f": declaration.flags["f"].fields}})
        assert again.flags == declaration.flags
