"""TOML, read and written; and the line of every key, which the standard parser does not tell. It knows no flag."""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.errors import CanaryError, ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Place = tuple[str, ...]


def parse(text: str) -> dict[str, Any]:
    """Read TOML. Raises `ConfigError` in the words of the parser, with its line where it tells one."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        line = re.search(r"\(at line (\d+)", str(error))
        raise ConfigError([Problem((), f"this is not TOML: {error}", int(line[1]) if line else None)]) from error


def write(data: Mapping[str, Any]) -> str:
    """Write TOML. Raises `CanaryError` where the library that does it is missing."""
    try:
        import tomli_w
    except ModuleNotFoundError:
        extra = 'pip install "canary-rollout[cli]"'
        raise CanaryError(f"writing TOML needs tomli-w: {extra}, or write JSON, which needs nothing") from None
    return tomli_w.dumps(data)


def lines(text: str) -> dict[Place, int]:
    """Return the line, from 1, of each key, table and list item; list items count from "0".

    `text` is TOML that the parser has accepted. Cost: one pass over the text.
    """
    return _Lines(text).found


def _unquoted(name: str) -> str:
    """Return a key as it is meant. The parser decodes it; what it has refused is left as it is written."""
    if name[0] not in "\"'":
        return name
    with suppress(tomllib.TOMLDecodeError):
        name = tomllib.loads(f"name = {name}")["name"]
    return name


_BLANK: Final = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_NAME: Final = re.compile(r"""[ \t]*([A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')[ \t]*""")
_STRING: Final = re.compile(
    r"""
    "{3} (?: \\. | [^\\] )*? "{3,5}  |  '{3} .*? '{3,5}  |  " (?: \\. | [^"\\\n] )* "  |  ' [^'\n]* '
    """,
    re.DOTALL | re.VERBOSE,
)
_BRACKETS: Final = re.compile(r"\[\[?")
_SCALAR: Final = re.compile(r"[^,\]}\n#]*")


class _Lines:
    """One pass over a TOML text that notes where each key, table and list item begins."""

    def __init__(self, text: str) -> None:
        self.found: dict[Place, int] = {}
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0
        self._last_items: dict[Place, int] = {}
        self._document()

    def _document(self) -> None:
        table: Place = ()
        while self._next():
            before = self._at
            if self._next() == "[":
                table = self._header(len(self._take(_BRACKETS)))
            else:
                self._assignment(table)
            if self._at == before:
                return  # not TOML, and the parser has said so

    def _header(self, brackets: int) -> Place:
        """Read `[a.b]` or, with two brackets, `[[a.b]]`: the next item of a list of tables."""
        line = self._here()
        names = self._names()
        self._at += brackets
        place: Place = ()
        for name in names:
            place = (*self._inside(place), name)
            self.found.setdefault(place, line)
        self.found[place] = line
        if brackets == 2:
            self._last_items[place] = self._last_items.get(place, -1) + 1
        self.found.setdefault(self._inside(place), line)
        return self._inside(place)

    def _inside(self, place: Place) -> Place:
        """Return the table that a name means: in a list of tables, the last one."""
        return (*place, str(self._last_items[place])) if place in self._last_items else place

    def _assignment(self, table: Place) -> None:
        """Read `a.b = value`."""
        line = self._here()
        place = table
        for name in self._names():
            place = (*place, name)
            self.found.setdefault(place, line)
        if self._next() == "=":
            self._at += 1
            self._value(place)

    def _value(self, place: Place) -> None:
        match self._next():
            case "[":
                self._members(place, "]", self._item)
            case "{":
                self._members(place, "}", lambda table, _: self._assignment(table))
            case '"' | "'":
                self._take(_STRING)
            case _:
                self._take(_SCALAR)

    def _members(self, place: Place, closing: str, read: Callable[[Place, int], None]) -> None:
        """Read what is between brackets, one member after another."""
        self._at += 1
        for index in count():
            before = self._at
            if self._next() in {closing, ""}:
                break
            read(place, index)
            self._at += self._next() == ","
            if self._at == before:
                break
        self._at += 1

    def _item(self, place: Place, index: int) -> None:
        item = (*place, str(index))
        self.found.setdefault(item, self._here())
        self._value(item)

    def _names(self) -> list[str]:
        """Read a key: names with dots between them, each of them bare or quoted."""
        names = []
        while found := _NAME.match(self._text, self._at):
            self._at = found.end()
            names.append(_unquoted(found[1]))
            if not self._text.startswith(".", self._at):
                break
            self._at += 1
        return names

    def _next(self) -> str:
        """Pass over blanks and comments and return the next character, empty at the end."""
        self._take(_BLANK)
        return self._text[self._at : self._at + 1]

    def _take(self, form: re.Pattern[str]) -> str:
        found = form.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return found[0] if found else ""

    def _here(self) -> int:
        """Return the line of the present place."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line
