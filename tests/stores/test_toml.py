"""Claims about TOML: what is read and written, and on which line each key is."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from canary_sdk.errors import CanaryError, ConfigError
from canary_sdk.stores import toml
from canary_sdk.stores.files import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

TRICKY: Final = Path(__file__).with_name("tricky.toml").read_text(encoding="utf-8")

PLACES: Final = {
    "title": 2,
    "flags/new.checkout": 3,
    "flags/new.checkout/rollout": 4,
    "flags/new.checkout/slos": 5,
    "flags/new.checkout/slos/0": 6,
    "flags/new.checkout/slos/1": 6,
    "flags/new.checkout/slos/2": 8,
    "flags/new.checkout/description": 10,
    "flags/new.checkout/environments": 13,
    "flags/new.checkout/environments/staging": 13,
    "flags/new.checkout/environments/staging/rollout": 13,
    "flags/b c": 14,
    "flags/b c/environments/eA": 14,
    "flags/b c/environments/eA/salt": 15,
    "flags/b c/environments/eA/enabled": 17,
    "flags/b c/environments/eA/default": 18,
    "flags": 19,
    "flags/z": 20,
    "flags/z/environments/s/rollout": 20,
    "flags/z/environments/s/slos/1": 20,
    "flags/z/type": 20,
    "flags/y/default": 21,
    "flags/x": 22,
    "flags/b c/environments": 23,
    "flags/b c/environments/other/rollout": 24,
    "list": 29,
    "list/0": 25,
    "list/0/a": 26,
    "list/0/sub": 27,
    "list/0/sub/b": 28,
    "list/1": 29,
    "list/1/a": 30,
    "list/1/a/0": 30,
    "list/1/a/0/1": 30,
    "list/1/a/1": 30,
    "list/1/a/1/0": 31,
    "list/1/deep/0/c": 33,
    "list/1/deep/1": 34,
    "list/1/deep/1/c": 35,
}


def locate(text: str, place: tuple[str, ...]) -> int | None:
    """Return the line of a place, or of the nearest table above it."""
    return nearest(toml.lines(text), place)


@pytest.mark.parametrize(("place", "line"), PLACES.items())
def test_each_key_has_its_line(place: str, line: int) -> None:
    """In a file with every trick of TOML, each key, table and list item is found on its own line."""
    assert locate(TRICKY, tuple(place.split("/"))) == line


def test_the_tricky_file_is_what_it_seems() -> None:
    """Every place of the table above is a place in what the standard parser reads."""
    data = tomllib.loads(TRICKY)
    for place in PLACES:
        assert tuple(place.split("/")) in set(_places(data)), place


def test_every_place_of_the_tricky_file_is_found() -> None:
    """No place that the standard parser reads is without a line of its own."""
    beside = {place: locate(TRICKY, place) for place in _places(tomllib.loads(TRICKY))}
    assert None not in beside.values()
    assert locate(TRICKY, ("flags", "z", "nothing", "below")) == 20


def test_the_nearest_table_stands_in() -> None:
    """A key that is not there is placed at the nearest table above it; where there is none, nowhere."""
    text = "\n[flags.a]\nrollout = 5\n"
    assert locate(text, ("flags", "a", "default")) == 2
    assert locate(text, ("flags", "b", "default")) == 2
    assert locate(text, ("other",)) is None
    assert locate(text, ()) is None


def test_a_table_is_where_its_header_is() -> None:
    """A table that was mentioned earlier, as the parent of another, is placed at its own header."""
    text = "[flags.a.environments.s]\nrollout = 1\n\n[flags.a]\ntype = 'integer'\n"
    assert locate(text, ("flags", "a")) == 4


@example('"\\1" = 2')
@given(st.text("[]{}=.,\"'#\\\n \tab1", max_size=40))
def test_any_text_is_passed_over(text: str) -> None:
    """Text that is no TOML is passed over without an end, an error or a line that does not exist."""
    line = locate(text, ("a", "b"))
    assert line is None or 1 <= line <= text.count("\n") + 1


KEYS: Final = st.text("ab.c '\"#]=ü", max_size=4)
VALUES: Final = st.recursive(
    st.booleans() | st.integers(0, 9) | st.text("a]}#,'\"\n\\ü", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.tuples(KEYS, VALUES), unique_by=lambda pair: pair[0], max_size=5), st.integers(0, 3))
def test_lines_agree_with_where_keys_were_written(pairs: list[tuple[str, Any]], blank: int) -> None:
    """Whatever keys and values are written, each key is found on the line it was written on."""
    text, lines = "", {}
    for key, value in pairs:
        text += "\n" * blank
        lines[key] = text.count("\n") + 1
        text += f"{_quoted(key)} = {_written(value)}\n"
    assert tomllib.loads(text) == dict(pairs)
    assert {key: locate(text, (key,)) for key in lines} == lines


# --- the parser and the writer ---


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a = 1\nb = \n", 2, "Invalid value (at line 2, column 5)"),
        ("[flags.a]\nrollout 5\n", 2, "Expected '=' after a key in a key/value pair (at line 2, column 9)"),
        ("a = 1\na = 2\n", 2, "Cannot overwrite a value (at line 2, column 6)"),
        ("a = [1,", None, "(at end of document)"),
        ("a = " + "9" * 5_000, None, "limit"),
        ("a = " + "[" * 100_000, None, ""),
    ],
)
def test_what_is_no_toml_is_refused(text: str, line: int | None, words: str) -> None:
    """Text that is no TOML is refused in the words of the parser, with its line where it tells one."""
    with pytest.raises(ConfigError) as caught:
        toml.parse(text)
    (problem,) = caught.value.problems
    assert problem.line == line
    assert problem.message.startswith("this is not TOML: ")
    assert words in problem.message


@given(st.dictionaries(st.text(max_size=5), VALUES | st.floats(allow_nan=False) | st.text(), max_size=4))
def test_what_is_written_is_read(data: dict[str, Any]) -> None:
    """Whatever data is written comes back as the same, in text, numbers and nesting."""
    assert toml.parse(toml.write(data)) == data


def test_writing_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the library that writes is missing, it is said what to install, and what needs nothing."""
    monkeypatch.setitem(sys.modules, "tomli_w", None)
    with pytest.raises(CanaryError, match=r'pip install "canary-rollout\[cli\]", or write JSON, which needs nothing'):
        toml.write({})


def _places(data: object, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Return the path of everything in parsed TOML."""
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        yield (*above, str(key))
        yield from _places(value, (*above, str(key)))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _written(value: object) -> str:
    """Write a value as TOML: text over several lines, lists with a comment in them, tables inline."""
    match value:
        case bool():
            return str(value).lower()
        case str() if "\n" in value:
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"""\n{escaped}"""'
        case str():
            return _quoted(value)
        case list():
            return "[ # ]\n" + "".join(f"  {_written(item)},\n" for item in value) + "]"
        case dict():
            return "{" + ", ".join(f"{_quoted(key)} = {_written(item)}" for key, item in value.items()) + "}"
        case _:
            return str(value)
