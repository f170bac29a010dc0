"""Claims about how a configuration is read, mistake by mistake."""

from __future__ import annotations

import math
import string
import tomllib
from contextlib import suppress
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.core.breaker import AutoRollback
from canary_sdk.core.config import auto_rollback_fields, parse_auto_rollback, parse_declaration, parse_flag
from canary_sdk.core.flags import Flag, FlagType, Metadata
from canary_sdk.core.reading import LONGEST_S, parse_duration, parse_percent
from canary_sdk.core.slo import parse_slo
from canary_sdk.errors import ConfigError

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
    "candidate, created, default, description, enabled, environments, expires, maximum, minimum, owner, prerequisites, "
    "rollout, rules, salt, slos, tags, targets, type or variants"
)
PERCENT: Final = "expected a percentage from 0 to 100 with at most three decimals: 5, 0.125 or '5%'"
DURATION: Final = (
    "expected a duration of more than zero and at most 8784h: '500ms', '30s', '5m', '2h', or a number of seconds"
)
NAME: Final = "expected 1 to 128 of A-Z, a-z, 0-9, '.', '_' and '-', beginning with a letter or a digit"

MISTAKES: Final[list[tuple[str, list[str]]]] = [
    # the outermost level
    ("[flag.a]", ["flag: unknown key, expected auto_rollback, flags or segments; did you mean 'flags'?"]),
    ("[auto-rollback]", ["auto-rollback: unknown key, expected auto_rollback, flags or segments; did you mean 'auto_rollback'?"]),
    ("title = 1", ["title: unknown key, expected auto_rollback, flags or segments"]),
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
    ("[flags.a.plan]\nstages = []", [f"flags.a.plan: unknown key, expected {FLAG_KEYS}"]),
    ("[flags.a]\ndescription = 5", ["flags.a.description: found 5, expected a string"]),
    (
        "[flags.a]\ntype = 'bool'",
        ["flags.a.type: found 'bool', expected boolean, integer, float or string; did you mean 'boolean'?"],
    ),
    ("[flags.a]\ntype = 5", ["flags.a.type: found 5, expected boolean, integer, float or string"]),
    ("[flags.a]\ntype = ['x']", ["flags.a.type: found a list, expected boolean, integer, float or string"]),
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
                "flags.a.environments.s.environments: unknown key, expected candidate, created, default, description, "
                "enabled, expires, maximum, minimum, owner, prerequisites, rollout, rules, salt, slos, tags, targets "
                "or variants"
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
    # auto_rollback
    ("[auto_rollback]\ninterval = '30 sec'", [f"auto_rollback.interval: found '30 sec', {DURATION}"]),
    ("[auto_rollback]\ninterval = 0", [f"auto_rollback.interval: found 0, {DURATION}"]),
    ("[auto_rollback]\ntimeout = '9000h'", [f"auto_rollback.timeout: found '9000h', {DURATION}"]),
    ("[auto_rollback]\ntimeout = inf", [f"auto_rollback.timeout: found inf, {DURATION}"]),
    ("[auto_rollback]\nprobe_after = false", [f"auto_rollback.probe_after: found false, {DURATION}"]),
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
                "auto_rollback.intervall: unknown key, expected breaches, enabled, interval, min_samples, notify, "
                "probe, probe_after, timeout or tolerance; did you mean 'interval'?"
            )
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES, ids=[text for text, _ in MISTAKES])
def test_every_mistake_is_named(text: str, expected: list[str]) -> None:
    """Each mistake gives exactly these problems: where, what was found, what was expected, what may have been meant."""
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
    fields = {"type": "integer", "default": 5, "maximum": 4, "environments": {"s": {"rollout": 5}, "t": {}}}
    assert len(problems_of({"flags": {"a": fields}})) == 1


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
