"""Claims about JSON: what is read, and on which line each key is."""

from __future__ import annotations

import json as standard
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.errors import ConfigError
from canary_sdk.stores import json

TEXT: Final = """{
  "flags": {"a": {"slos": ["p95 < 1s",
      "errors < 1%", [],
      {"deep": [[1], {"x": null}]}], "{[,]}": "}\\"{",
    "\\u00fc": -1.5e3}},
  "": {}, "list": [
    true
  ]
}
"""
PLACES: Final = {
    "flags": 2,
    "flags/a": 2,
    "flags/a/slos": 2,
    "flags/a/slos/0": 2,
    "flags/a/slos/1": 3,
    "flags/a/slos/2": 3,
    "flags/a/slos/3": 4,
    "flags/a/slos/3/deep": 4,
    "flags/a/slos/3/deep/0": 4,
    "flags/a/slos/3/deep/0/0": 4,
    "flags/a/slos/3/deep/1": 4,
    "flags/a/slos/3/deep/1/x": 4,
    "flags/a/{[,]}": 4,
    "flags/a/ü": 5,
    "": 6,
    "list": 6,
    "list/0": 7,
}


def refused(text: str) -> list[tuple[int | None, str]]:
    """Return the lines and the words of a refusal."""
    with pytest.raises(ConfigError) as caught:
        json.parse(text)
    return [(problem.line, str(problem)) for problem in caught.value.problems]


def test_each_key_has_its_line() -> None:
    """Each key and each list item is found on its own line, whatever brackets and quotes stand in strings."""
    assert standard.loads(TEXT)
    assert json.lines(TEXT) == {tuple(place.split("/")): line for place, line in PLACES.items()}


WORDS: Final = st.text('a"\\{}[],:\n ü', max_size=5)
VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, st.sampled_from([None, 0, 2]))
def test_every_place_is_found(value: Any, indent: int | None) -> None:
    """Whatever is written, every key and list item has a line, and nothing else has."""
    text = standard.dumps(value, indent=indent)
    lines = json.lines(text)
    assert json.parse(text) == value
    assert sorted(lines) == sorted(_places(value))
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


def test_deep_nesting_is_passed_over() -> None:
    """The lines of a text that is nested deeper than Python likes to call are found all the same."""
    assert json.lines("[" * 2_000 + "]" * 2_000)[("0",) * 3] == 1


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('{\n  "a": 1,\n  "b"\n}', 4, "this is not JSON: Expecting ':' delimiter"),
        ("", 1, "this is not JSON: Expecting value"),
        ("9" * 5_000, None, "limit"),
        ("[" * 1_000_000, None, "this is not JSON: "),
    ],
)
def test_what_is_no_json_is_refused(text: str, line: int | None, words: str) -> None:
    """Text that is no JSON is refused in the words of the parser, with its line where it tells one."""
    ((found, message),) = refused(text)
    assert found == line
    assert words in message


def test_a_key_stands_once() -> None:
    """A key that stands twice in a table is refused at its second line; in two tables it may stand."""
    assert refused('{"a": {"x": 1},\n "b": {"x": 1,\n "x": 1}, "a": 2}') == [
        (3, "b.x: found again, expected it once"),
        (3, "a: found again, expected it once"),
    ]


def _places(data: object, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the path of everything in parsed JSON."""
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    found = []
    for key, value in entries:
        found += [(*above, str(key)), *_places(value, (*above, str(key)))]
    return found
