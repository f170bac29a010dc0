"""Claims about fields: what differs, and who wins when a declaration meets what was changed meanwhile."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.core.config.fields import Difference, differences, flat, merged, patched, say_field

VALUES: Final = st.sampled_from([0, 1, False, True, 1.0, "", "a", [], [1], [True], {}, {"x": 1}, {"x": True}])
OWN: Final = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)
ENVIRONMENTS: Final = st.dictionaries(st.sampled_from("st"), OWN.filter(bool), min_size=1, max_size=2)
FIELDS: Final = st.builds(dict[str, Any], OWN) | st.builds(
    lambda own, environments: {**own, "environments": environments}, OWN, ENVIRONMENTS
)


def exact(fields: object) -> str:
    """Write plain data so that true and 1 are not the same."""
    match fields:
        case dict():
            return f"table {sorted((name, exact(value)) for name, value in fields.items())}"
        case list():
            return repr([exact(value) for value in fields])
        case _:
            return repr(fields)


@given(FIELDS, FIELDS)
def test_differences_lead_from_one_to_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Patching with the differences gives exactly the other, and there are none where nothing differs."""
    found = differences(before, after)
    assert exact(patched(before, {each.path: each.after for each in found})) == exact(after)
    assert exact(patched(after, {each.path: each.before for each in found})) == exact(before)
    assert (not found) == (exact(before) == exact(after))


@given(FIELDS, FIELDS, FIELDS)
def test_a_merge_takes_what_the_declaration_changed(
    declared: dict[str, Any], now: dict[str, Any], declaration: dict[str, Any]
) -> None:
    """Field by field: where the declaration is as it was, what holds now stays; else the declaration's value holds."""
    result, was, new, held = flat(merged(declared, now, declaration)), flat(declared), flat(declaration), flat(now)
    for path in was | new | held | result:
        changed = exact(was.get(path)) != exact(new.get(path))
        assert exact(result.get(path)) == exact((new if changed else held).get(path)), path


@given(FIELDS)
def test_declaring_the_same_again_changes_nothing(now: dict[str, Any]) -> None:
    """Whatever operators have made of it, the same declaration again leaves it alone."""
    assert exact(merged({"a": 1}, now, {"a": 1})) == exact(now)


def test_an_environment_that_says_nothing_is_left_out() -> None:
    """An environment goes with its last field, and an empty one never was."""
    fields = {"a": 1, "environments": {"s": {"a": 2}, "t": {}}}
    assert patched(fields, {}) == {"a": 1, "environments": {"s": {"a": 2}}}
    assert patched(fields, {("environments", "s", "a"): None}) == {"a": 1}


def test_differences_are_in_order_and_know_their_environment() -> None:
    """A document's own fields come first; a field of an environment names it."""
    after = {"z": 1, "b": 2, "environments": {"a": {"x": 1}}}
    assert differences({"z": 0}, after) == (
        Difference(("b",), None, 2),
        Difference(("z",), 0, 1),
        Difference(("environments", "a", "x"), None, 1),
    )
    assert [(each.name, each.environment) for each in differences({}, after)] == [("b", ""), ("z", ""), ("a x", "a")]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, True, False),
        (1, 1.0, False),
        (0, None, False),
        ([1, [2]], [1, [2]], True),
        ([1], [1, 1], False),
        ([1, [0]], [1, [False]], False),
        ({"x": 1, "y": [2]}, {"y": [2], "x": 1}, True),
        ({"x": 1}, {"x": True}, False),
        ({"x": 1}, {"x": 2}, False),
        ({"x": 1}, {"x": 1, "y": 1}, False),
        ({"x": {"y": 1}}, {"x": {"y": True}}, False),
        ({}, [], False),
    ],
)
def test_what_is_the_same(one: object, other: object, same: bool) -> None:
    """Two values are one if they are of one kind and equal all the way down, in whatever order tables are."""
    assert (not differences({"a": one}, {"a": other})) is same
    assert (not differences({"a": other}, {"a": one})) is same


def test_a_difference_is_said_in_one_line() -> None:
    """The field, its environment if it has one, from what, to what."""
    assert [str(each) for each in differences({"rollout": 5.0}, {"environments": {"eu": {"rollout": 25.0}}})] == [
        "rollout 5 → –",
        "eu rollout – → 25",
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"),
        (True, "true"),
        (5.0, "5"),
        (0.125, "0.125"),
        (7, "7"),
        ("a 'b'", "\"a 'b'\""),
        (["p95 < 1s", 5.0], "['p95 < 1s', 5]"),
        ({"percent": 5.0, "on": True}, "{percent = 5, on = true}"),
    ],
)
def test_a_value_is_said_as_it_is_declared(value: object, words: str) -> None:
    """A field's value reads as in a declaration."""
    assert say_field(value) == words
