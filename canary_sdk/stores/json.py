"""JSON, read and written; and the line of every key, which the standard parser does not tell. It knows no flag."""

from __future__ import annotations

import json
import re
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Place = tuple[str, ...]


def parse(text: str) -> Any:
    """Read JSON. Raises `ConfigError` with its lines, also for a key that stands twice in a table."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError([Problem((), f"this is not JSON: {error.msg}", error.lineno)]) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError([Problem((), f"this is not JSON: {error}")]) from error
    if again := list(_repeated(text)):
        raise ConfigError(again)
    return data


def write(data: Mapping[str, Any]) -> str:
    """Write JSON for people."""
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def lines(text: str) -> dict[Place, int]:
    """Return the line, from 1, of each key and list item; list items count from "0".

    `text` is JSON that the parser has accepted. Cost: one pass over the text.
    """
    return dict(_places(text))


def _repeated(text: str) -> Iterator[Problem]:
    seen = set()
    for place, line in _places(text):
        if place in seen:
            yield Problem(place, "found again, expected it once", line)
        seen.add(place)


_TOKEN: Final = re.compile(r'"(?:\\.|[^"\\])*"|[{}\[\],]|[^\s{}\[\],"]+')


def _places(text: str) -> Iterator[tuple[Place, int]]:
    """Walk over the text, and name each member of a table or list where it begins."""
    place: list[str] = []
    indexes: list[Iterator[int] | None] = []
    is_member = False
    line, counted = 1, 0
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in {"}", "]"}:
            place.pop()
            indexes.pop()
        elif is_member:
            line += text.count("\n", counted, token.start())
            counted = token.start()
            index = indexes[-1]
            place[-1] = json.loads(mark) if index is None else str(next(index))
            yield tuple(place), line
        if mark in {"{", "["}:
            place.append("")
            indexes.append(count() if mark == "[" else None)
        is_member = mark in {"{", "[", ","}
