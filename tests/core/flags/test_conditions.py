"""Claims about for whom a condition holds."""

from __future__ import annotations

import itertools
import math
import re
import sys
import time
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.core.config.configuration import parse_segment
from canary_sdk.core.flags.conditions import compile_condition, compile_segments, joined, segments_in
from canary_sdk.core.flags.operators import version_of
from canary_sdk.errors import ConfigError
from tests.needs import need

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from canary_sdk.core.flags.flag import Condition


def holds(condition: object, attributes: Mapping[str, Any], key: str | None = "user-1") -> bool:
    """Read a condition as a configuration does, compile it, and ask."""
    canonical = parse_segment("s", {"if": condition}).condition
    return bool(compile_condition(canonical, compile_segments({}).__getitem__)(key, attributes))


class Country(StrEnum):
    """An attribute as an application may have it."""

    SWITZERLAND = "CH"


class Angry:
    """An attribute that raises whatever is done with it."""

    def __eq__(self, other: object) -> bool:
        """Refuse."""
        raise RuntimeError

    def __hash__(self) -> int:
        """Refuse."""
        raise RuntimeError


class AngryMapping(dict[str, Any]):
    """Attributes that cannot be looked up."""

    def get(self, *_: object) -> Any:
        """Refuse."""
        raise RuntimeError


ZURICH: Final = timezone(timedelta(hours=2))


# --- each operator ---


@pytest.mark.parametrize(
    ("test", "for_these", "not_for"),
    [
        ({"equals": "CH"}, ["CH", Country.SWITZERLAND], ["ch", "CH ", "", 5, True, None, ["CH"], {"CH": 1}, b"CH"]),
        ({"equals": 1}, [1, 1.0], [True, "1", 2, math.nan, None, Decimal(1), 1 + 0j]),
        ({"equals": True}, [True], [1, 1.0, "true", False, None]),
        ({"equals": 0.5}, [0.5], [0, "0.5"]),
        ({"in": ["CH", "DE"]}, ["CH", "DE"], ["AT", None, ["CH"], 1]),
        ({"in": ["CH", 1, True]}, ["CH", 1, 1.0, True], [False, 0, "1", None]),
        ({"starts_with": "eu-"}, ["eu-west", "eu-"], ["eu", "EU-west", "", None, 5, ["eu-"]]),
        ({"starts_with": "1"}, ["12"], [12, 1.5, b"1"]),
        ({"ends_with": "@x.org"}, ["a@x.org", "@x.org"], ["a@x.org ", "x.org", None, 5]),
        (
            {"contains": "beta"},
            ["beta", "the beta one", ["beta"], ("a", "beta"), {"beta"}],
            ["Beta", ["betas"], None, 5],
        ),
        ({"matches": "^v[0-9]+$"}, ["v1", "v42"], ["xv1", "v", "V1", None, 5, "\ud800"]),
        ({"matches": "b"}, ["abc"], ["ac"]),
        ({"number": ">= 18"}, [18, 18.0, 99, math.inf], [17, 17.999, "18", True, None, math.nan, -math.inf, [18]]),
        ({"number": "< 0.5"}, [0.25, -1, 0], [0.5, 1, "0", False]),
        ({"number": "<=  -1"}, [-1, -2], [0]),
        ({"number": ">1"}, [1.5, 10**400], [1, -(10**400)]),
        ({"number": "= 9007199254740993"}, [9007199254740993], [9007199254740992, 9007199254740992.0]),
        ({"number": "between 18 and 65"}, [18, 40.5, 65], [17, 66, "40", math.nan]),
        ({"number": "between 18 and 18"}, [18], [17, 19]),
        ({"version": ">= 2.4.0"}, ["2.4.0", "2.10.0", "3.0.0-rc.1"], ["2.4.0-rc.1", "2.3.9", "2.4", "v2.4.0", 2, None]),
        ({"version": "= 1.0.0"}, ["1.0.0", "1.0.0+build.5"], ["1.0.0-a", "1.0.1"]),
        ({"version": "between 2.0.0 and 2.9.9"}, ["2.0.0", "2.5.0-beta"], ["2.0.0-beta", "3.0.0"]),
        (
            {"date": "before 2026-01-01"},
            ["2025-12-31", "2025-12-31T23:59:59Z", date(2025, 12, 31), datetime(2025, 12, 31, tzinfo=UTC), "20251231"],
            ["2026-01-01", "soon", "", 5, None, date(2026, 1, 1)],
        ),
        (
            {"date": "after 2026-01-01T12:00:00+02:00"},
            ["2026-01-01T10:00:01Z", datetime(2026, 1, 1, 12, 1, tzinfo=ZURICH), datetime(2026, 1, 1, 10, 1)],  # noqa: DTZ001 - UTC is meant
            ["2026-01-01T12:00:00+02:00", "2026-01-01T10:00:00", date(2026, 1, 1)],
        ),
        ({"date": ">= 2026-01-01"}, ["2026-01-01"], ["2025-12-31"]),
        ({"exists": True}, ["", 0, False, [], "x", math.nan], [None]),
        ({"exists": False}, [None], ["", 0, False]),
    ],
)
def test_an_operator(test: dict[str, object], for_these: list[object], not_for: list[object]) -> None:
    """Each operator holds for exactly these attributes."""
    if "matches" in test:
        need("re2")
    condition = {"attribute": "a", **test}
    assert [value for value in for_these if not holds(condition, {"a": value})] == []
    assert [value for value in not_for if holds(condition, {"a": value})] == []


TESTS: Final[list[dict[str, object]]] = [
    {"equals": "x"},
    {"equals": 1},
    {"in": ["x", 1, True]},
    {"starts_with": "x"},
    {"ends_with": "x"},
    {"contains": "x"},
    {"matches": "x"},
    {"number": "> 0"},
    {"version": "> 0.0.1"},
    {"date": "after 2020-01-01"},
    {"exists": True},
]


@pytest.mark.parametrize("test", TESTS, ids=str)
def test_a_missing_attribute(test: dict[str, object]) -> None:
    """Absent and None are one: every test is false, and so its negation is true."""
    if "matches" in test:
        need("re2")
    condition = {"attribute": "a", **test}
    for attributes in ({}, {"a": None}, {"b": "x"}):
        assert not holds(condition, attributes)
        assert holds({"not": condition}, attributes)


@pytest.mark.parametrize("test", TESTS[:-1], ids=str)
@pytest.mark.parametrize("attributes", [{"a": Angry()}, AngryMapping(a="x"), {"a": [Angry()]}], ids=["it", "all", "in"])
def test_an_attribute_that_raises_is_false(test: dict[str, object], attributes: dict[str, Any]) -> None:
    """Whatever an attribute does when it is compared, the test is false and nothing gets out."""
    if "matches" in test:
        need("re2")
    assert not holds({"attribute": "a", **test}, attributes)


def test_any_mapping_will_do() -> None:
    """Attributes are asked for by `get` alone."""
    assert holds({"attribute": "a", "equals": "x"}, MappingProxyType({"a": "x"}))


def test_the_targeting_key_is_an_attribute() -> None:
    """It is asked by its name, hides an attribute of that name, and is missing where it is empty."""
    condition = {"attribute": "targeting_key", "starts_with": "staff-"}
    assert holds(condition, {}, key="staff-1")
    assert not holds(condition, {"targeting_key": "staff-1"}, key="user-1")
    for key in (None, ""):
        assert not holds(condition, {"targeting_key": "staff-1"}, key=key)
        assert holds({"attribute": "targeting_key", "exists": False}, {}, key=key)


# --- versions ---

PRECEDENCE: Final = [
    "1.0.0-0",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "2.0.0",
    "2.1.0",
    "2.1.1",
]
"""The examples of semver.org, sections 11.2 to 11.4, in their order; and a number that is nought, ahead of words."""


def test_versions_have_the_precedence_of_semver() -> None:
    """Every pair of the published examples is ordered as published."""
    for lower, higher in itertools.combinations(PRECEDENCE, 2):
        assert holds({"attribute": "v", "version": f"> {lower}"}, {"v": higher}), (lower, higher)
        assert holds({"attribute": "v", "version": f"< {higher}"}, {"v": lower}), (lower, higher)
        assert not holds({"attribute": "v", "version": f">= {higher}"}, {"v": lower}), (lower, higher)


@pytest.mark.parametrize(
    "found",
    [
        None,
        123,
        b"1.0.0",
        "1",
        "1.2",
        "1.2.3.4",
        "v1.2.3",
        "1.2.03",
        "01.2.3",
        "1.2.3-",
        "1.2.3-a..b",
        "1.2.3-01",
        "1.2.3+",
        "1.2.3-ä",
        "",
        " 1.2.3",
    ],
)
def test_what_is_no_version(found: object) -> None:
    """What semver.org does not allow is no version, nor is what is no text."""
    assert version_of(found) is None


def test_a_long_version_is_read_in_time() -> None:
    """No text makes the reading of a version slow, or raise."""
    for text in (
        "1.0.0-" + "1." * 50_000 + "!",
        "1.0.0-" + "a-" * 50_000,
        "9" * 4_000 + ".0.0",
        "9" * 100_000 + ".0.0",
    ):
        started = time.process_time()
        holds({"attribute": "v", "version": "> 1.0.0"}, {"v": text})
        assert time.process_time() - started < 2


# --- regular expressions ---


def test_an_expression_that_explodes_elsewhere_does_not() -> None:
    """A pattern that takes Python's own engine for ever is answered at once."""
    need("re2")
    started = time.process_time()
    assert not holds({"attribute": "a", "matches": "^(a+)+$"}, {"a": "a" * 100_000 + "!"})
    assert time.process_time() - started < 2


def test_an_expression_that_takes_too_much_memory_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    """A pattern of a few letters that would fill the memory is a mistake; the error says so, the engine nothing."""
    need("re2")
    holds({"attribute": "a", "matches": r"\pL{10}"}, {})
    with pytest.raises(ConfigError, match="too large"):
        holds({"attribute": "a", "matches": r"\pL{100}"}, {})
    assert capfd.readouterr() == ("", "")


def test_without_the_engine_an_expression_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is not installed, a pattern is a mistake that names it, and nothing else needs it."""
    monkeypatch.setitem(sys.modules, "re2", None)
    assert holds({"attribute": "a", "starts_with": "x"}, {"a": "xy"})
    with pytest.raises(ConfigError) as refused:
        holds({"attribute": "a", "matches": "x"}, {})
    assert str(refused.value) == (
        "segments.s.if.matches: found 'x', which needs an engine that always ends in time: pip install "
        '"canary-rollout[regex]"; or use starts_with, ends_with, contains or in'
    )


def test_a_key_that_raises_is_false() -> None:
    """Whatever a key of the application's own type does when it is compared, the test is false and nothing gets out."""
    canonical = parse_segment("s", {"if": {"attribute": "targeting_key", "in": ["x", 1]}}).condition
    key: Any = Angry()
    assert not compile_condition(canonical, compile_segments({}).__getitem__)(key, {})


# --- conditions of conditions ---

NAMES: Final = ["a", "b", "targeting_key"]
SCALARS: Final[list[Any]] = ["x", "xy", "", 0, 1, 2.5, True, False, "1.2.3", "1.3.0-rc.1", "2025-06-01", "2026-06-01"]
ODDITIES: Final[list[Any]] = [
    None,
    math.nan,
    math.inf,
    -1,
    10**40,
    ["x"],
    ("xy", 1),
    {"x"},
    {"x": {"y": []}},
    b"x",
    object(),
    date(2026, 1, 1),
    datetime(2025, 1, 1, tzinfo=UTC),
]
LEAVES: Final = st.one_of(
    st.sampled_from([scalar for scalar in SCALARS if scalar != ""]).map(lambda scalar: {"equals": scalar}),
    st.lists(st.sampled_from(SCALARS), min_size=1, max_size=4, unique_by=repr).map(lambda items: {"in": items}),
    st.sampled_from(["starts_with", "ends_with", "contains", "matches"]).flatmap(
        lambda name: st.sampled_from(["x", "y", "xy", "1"]).map(lambda text: {name: text})
    ),
    st.sampled_from(["<", "<=", ">", ">=", "="]).flatmap(
        lambda sign: st.sampled_from(
            [{"number": f"{sign} 1"}, {"version": f"{sign} 1.3.0"}, {"date": f"{sign} 2025-06-01"}]
        )
    ),
    st.sampled_from([{"number": "between 0 and 2"}, {"version": "between 1.0.0 and 1.3.0"}]),
    st.booleans().map(lambda wanted: {"exists": wanted}),
).flatmap(lambda test: st.sampled_from(NAMES).map(lambda name: {"attribute": name, **test}))
CONDITIONS: Final = st.recursive(
    LEAVES | st.sampled_from([{"segment": "one"}, {"segment": "two"}]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=5, unique_by=repr).map(lambda parts: {"all": parts}),
        st.lists(inner, min_size=1, max_size=5, unique_by=repr).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=12,
)
ATTRIBUTES: Final = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(SCALARS + ODDITIES))
SEGMENTS: Final[dict[str, Any]] = {
    "one": {"attribute": "a", "exists": True},
    "two": {"any": [{"segment": "one"}, {"attribute": "b", "equals": "x"}]},
}


def naive(condition: Condition, key: str | None, attributes: Mapping[str, Any]) -> bool:
    """Interpret a condition by walking it: an oracle that shares no code with the compiler."""
    if "all" in condition:
        return all(naive(part, key, attributes) for part in condition["all"])
    if "any" in condition:
        return any(naive(part, key, attributes) for part in condition["any"])
    if "not" in condition:
        return not naive(condition["not"], key, attributes)
    if "segment" in condition:
        return naive(SEGMENTS[condition["segment"]], key, attributes)
    value = key or None if condition["attribute"] == "targeting_key" else attributes.get(condition["attribute"])
    ((operator, constant),) = ((name, each) for name, each in condition.items() if name != "attribute")
    return naive_test(operator, constant, value)


def naive_test(operator: str, constant: Any, value: Any) -> bool:
    """Interpret one test."""
    match operator:
        case "exists":
            return constant is (value is not None)
        case "equals":
            return alike(constant, value)
        case "in":
            return any(alike(each, value) for each in constant)
        case "contains" if isinstance(value, list | tuple | set):
            return any(alike(constant, each) for each in value)
        case "starts_with" | "ends_with" | "contains" | "matches":
            form = {"starts_with": f"^{constant}", "ends_with": f"{constant}$"}.get(operator, constant)
            return isinstance(value, str) and re.search(form, value) is not None
        case _:
            return naive_order(operator, constant, value)


def alike(one: object, other: object) -> bool:
    """Whether two values are equal and of one kind."""
    kinds = [(bool,), (int, float), (str,)]
    first, second = (next((kind for kind in kinds if isinstance(each, kind)), None) for each in (one, other))
    return first is not None and first == second and one == other


def naive_order(operator: str, constant: str, value: Any) -> bool:
    """Interpret a comparison; only the versions and dates that are drawn above are known."""
    ranks: dict[str, Any] = {
        "version": ["1.0.0", "1.2.3", "1.3.0-rc.1", "1.3.0"],
        "date": ["2025-01-01", "2025-06-01", "2026-01-01", "2026-06-01"],
    }
    if isinstance(value, date):
        value = value.isoformat()[:10]
    elif operator != "number" and not isinstance(value, str):
        return False
    if operator != "number":
        value = ranks[operator].index(value) if value in ranks[operator] else None
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return False
    numbers = [
        float(text) if operator == "number" else ranks[operator].index(text)
        for text in re.findall(r"[0-9.-]+", constant)
    ]
    if constant.startswith("between"):
        return bool(numbers[0] <= value <= numbers[1])
    sign = constant.partition(" ")[0]
    return (
        (value < numbers[0] and "<" in sign)
        or (value > numbers[0] and ">" in sign)
        or (value == numbers[0] and "=" in sign)
    )


IS_X: Final = {"attribute": "targeting_key", "equals": "x"}
HAS_A: Final = {"attribute": "a", "equals": 1}


@pytest.mark.parametrize("form", ["all", "any"])
@pytest.mark.parametrize("parts", [[IS_X, HAS_A], [HAS_A, IS_X]], ids=["key first", "attribute first"])
def test_every_part_is_told_who_asks(form: str, parts: list[object]) -> None:
    """In whatever order they stand, and negated too, each part hears of the key and of the attributes."""
    condition = {form: parts}
    answers = {(key, a): holds(condition, {"a": a}, key) for key in "xy" for a in (1, 2)}
    one_will_do = form == "any"
    assert answers == {("x", 1): True, ("x", 2): one_will_do, ("y", 1): one_will_do, ("y", 2): False}
    assert {each: holds({"not": condition}, {"a": each[1]}, each[0]) for each in answers} == {
        each: not answer for each, answer in answers.items()
    }


@given(CONDITIONS, ATTRIBUTES, st.sampled_from([None, "", "x", "1.2.3", "user-1"]))
def test_compiled_is_interpreted(condition: Condition, attributes: dict[str, Any], key: str | None) -> None:
    """A compiled condition says what a walk over its tree says, whatever the attributes are; and says it again."""
    need("re2")
    canonical = parse_segment("s", {"if": condition}).condition
    compiled = compile_condition(canonical, compile_segments(SEGMENTS).__getitem__)
    before = repr(attributes)
    answer = bool(compiled(key, attributes))
    assert answer == naive(condition, key, attributes)
    assert bool(compiled(key, attributes)) == answer
    assert repr(attributes) == before


@given(CONDITIONS)
def test_conditions_are_canonical(condition: Condition) -> None:
    """What was read once is read again as the same plain data."""
    need("re2")
    once = parse_segment("s", {"if": condition}).fields
    assert parse_segment("s", once).fields == once


@given(CONDITIONS)
def test_segments_in_a_condition_are_all_found(condition: Condition) -> None:
    """As many references are found as are written."""
    assert len(list(segments_in(condition))) == repr(condition).count("'segment'")


@pytest.mark.parametrize("how_many", [1, 2, 3, 7, 1_000, 5_000])
def test_many_conditions_nest_no_deeper_than_they_must(how_many: int) -> None:
    """Thousands of conditions are asked in order, in calls that nest as deep as the logarithm of their number."""
    tests = [{"attribute": "a", "equals": number} for number in range(how_many)]
    assert holds({"any": tests}, {"a": how_many - 1})
    assert not holds({"any": tests}, {"a": how_many})
    asked: list[int] = []
    assert joined([leaf(number, asked) for number in range(how_many)], deeper)() <= math.ceil(math.log2(how_many))
    assert asked == list(range(how_many))


def leaf(number: int, asked: list[int]) -> Callable[[], int]:
    """Return a call that notes that it was made, and is no level deep."""

    def call() -> int:
        asked.append(number)
        return 0

    return call


def deeper(first: Callable[[], int], second: Callable[[], int]) -> Callable[[], int]:
    """Join two calls by one that tells how deep they are."""

    def both() -> int:
        one, other = first(), second()
        return 1 + max(one, other)

    return both
