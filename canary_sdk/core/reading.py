"""How plain data is read into values, mistake by mistake: the parts that a configuration's own readers are made of.

A reader takes what was found and returns a value, or raises: `ValueError` with a sentence, or `ConfigError` with
problems whose paths begin where the reader stands.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

Reader = Callable[[Any], Any]


# --- durations and percentages ---

LONGEST_S: Final = 366 * 24 * 3600.0
"""No duration is longer than a leap year, in seconds."""

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)")
_PERCENT: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%")


def parse_duration(found: object) -> float:
    """Return seconds, more than 0 and to the microsecond, from a number of seconds or from text such as `90s`.

    Raises:
        ValueError: with one sentence.
    """
    seconds = _measured(found, _DURATION, _SECONDS)
    if seconds is None or not 0 < seconds <= LONGEST_S:
        raise ValueError(
            f"found {say(found)}, expected a duration of more than zero and at most {LONGEST_S / 3600:.0f}h: "
            "'500ms', '30s', '5m', '2h', '3d', or a number of seconds"
        )
    return round(seconds, 6)


def parse_percent(found: object) -> float:
    """Return a percentage from 0 to 100 with at most three decimals, from a number or from text such as `5%`.

    Raises:
        ValueError: with one sentence.
    """
    percent = _measured(found, _PERCENT, {})
    if percent is None or not 0 <= percent <= 100 or round(percent, 3) != percent:
        raise ValueError(
            f"found {say(found)}, expected a percentage from 0 to 100 with at most three decimals: 5, 0.125 or '5%'"
        )
    return percent + 0.0  # there is no negative zero


def _measured(found: Any, form: re.Pattern[str], units: Mapping[str, float]) -> float | None:
    """Return the quantity in its basic unit, or None if `found` is none."""
    if isinstance(found, str):
        if not (written := form.fullmatch(found.strip())):
            return None
        amount, *unit = written.groups()
        return float(amount) * math.prod(units[each] for each in unit)
    return float(found) if is_number(found) else None


def positive_percent(found: object) -> float:
    """Read a percentage that is not zero."""
    if not (percent := parse_percent(found)):
        raise ValueError(f"found {say(found)}, expected more than 0 %; leave it out to do without")
    return percent


def ratio(found: Any) -> float:
    """Read a percentage as a ratio; a bare fraction is refused, because one cannot know which of the two was meant."""
    percent = parse_percent(found)
    if not isinstance(found, str) and 0 < found < 1:
        raise ValueError(
            f"found {say(found)}, expected a percentage such as '10%'; a number alone means percent, "
            f"so write '{found:g}%' or '{found * 100:g}%', whichever is meant"
        )
    return round(percent / 100, 5)


# --- single values ---


def is_number(found: object) -> bool:
    """Tell whether it is a finite float or an integer of at most 64 bits; a boolean is neither."""
    if isinstance(found, float):
        return math.isfinite(found)
    return isinstance(found, int) and not isinstance(found, bool) and -(2**63) <= found < 2**63


def boolean(found: object) -> bool:
    """Read true or false, and nothing that only resembles them."""
    if not isinstance(found, bool):
        raise ValueError(f"found {say(found)}, expected true or false")  # noqa: TRY004 - every mistake is a ValueError
    return found


def integer(found: Any) -> int:
    """Read an integer of at most 64 bits."""
    if not is_number(found) or not isinstance(found, int):
        raise ValueError(f"found {say(found)}, expected an integer of at most 64 bits")
    return int(found)


def count(found: object) -> int:
    """Read an integer of at least 1."""
    if (many := integer(found)) < 1:
        raise ValueError(f"found {many}, expected 1 or more")
    return many


def number(found: Any) -> float:
    """Read a finite number; an integer is one."""
    if not is_number(found):
        raise ValueError(f"found {say(found)}, expected a finite number")
    return float(found)


def string(found: object) -> str:
    """Read text that can be encoded."""
    if not isinstance(found, str):
        raise ValueError(f"found {say(found)}, expected a string")  # noqa: TRY004 - every mistake is a ValueError
    try:
        found.encode()
    except UnicodeEncodeError:
        raise ValueError(f"found {say(found)}, expected a string of whole Unicode characters") from None
    return str(found)


_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def name(found: object) -> str:
    """Read what the user calls something: a flag, an environment, a segment, a variant."""
    if not isinstance(found, str) or not _NAME.fullmatch(found):
        raise ValueError(
            f"found the name {say(found)}, expected 1 to 128 of A-Z, a-z, 0-9, '.', '_' and '-', "
            "beginning with a letter or a digit"
        )
    return found


def filled(found: object) -> str:
    """Read text that is more than blanks."""
    if not (text := string(found)).strip():
        raise ValueError("found an empty string, expected some text; leave it out to do without")
    return text


def anything(found: object) -> object:
    """Take it as it is."""
    return found


# --- lists and tables ---


def collect(readings: Iterable[tuple[str, Reader, Any]], problems: list[Problem]) -> dict[str, Any]:
    """Return what could be read; every mistake goes to `problems`, below its name."""
    values = {}
    for name, reader, found in readings:
        try:
            values[name] = reader(found)
        except ConfigError as error:
            problems += [Problem((name, *problem.path), problem.message) for problem in error.problems]
        except ValueError as error:
            problems.append(Problem((name,), str(error)))
    return values


def collect_all(readings: Iterable[tuple[str, Reader, Any]]) -> dict[str, Any]:
    """Return everything, or raise one `ConfigError` with every mistake."""
    problems: list[Problem] = []
    values = collect(readings, problems)
    if problems:
        raise ConfigError(problems)
    return values


def whole(reader: Reader, found: object) -> Any:
    """Read the outermost value, where a plain mistake has no path."""
    try:
        return reader(found)
    except ValueError as error:
        raise ConfigError([Problem((), str(error))]) from None


def mapping(found: object) -> Mapping[Any, Any]:
    """Read a table, as it is."""
    if not isinstance(found, Mapping):
        raise ValueError(f"found {say(found)}, expected a table")  # noqa: TRY004 - every mistake is a ValueError
    return found


def entries(
    table: Mapping[Any, Any], readers: Mapping[str, Reader], hidden: Collection[str] = ()
) -> Iterator[tuple[str, Reader, Any]]:
    """Pair every entry of a table with its reader; an unknown one with one that lists all that are not `hidden`."""
    known = sorted(readers.keys() - hidden)
    for name, found in table.items():
        yield str(name), readers.get(name, partial(_unknown, str(name), known)), found


def table_of(readers: Mapping[str, Reader], needs: Mapping[str, str] = MappingProxyType({})) -> Reader:
    """Return a reader of tables that have these keys; those that may not be left out are in `needs`, in words."""

    def read(found: object) -> dict[str, Any]:
        table = mapping(found)
        problems: list[Problem] = []
        values = collect(entries(table, readers), problems)
        problems += missing(table, needs)
        if problems:
            raise ConfigError(problems)
        return values

    return read


def missing(table: Mapping[Any, Any], needs: Mapping[str, str]) -> Iterator[Problem]:
    """Name what is needed and not there."""
    for name, words in needs.items():
        if name not in table:
            yield Problem((name,), f"found nothing, expected {words}")


def each_named(reader: Callable[[str, Any], Any]) -> Reader:
    """Read a table whose names are the user's own; the reader is told the name."""
    return lambda found: collect_all((str(name), partial(reader, name), item) for name, item in mapping(found).items())


def list_of(reader: Reader, of: str = "strings") -> Reader:
    """Return a reader of lists whose items `reader` reads, and which all differ; `of` says what they are."""

    def read(found: object) -> list[Any]:
        if not isinstance(found, list | tuple):
            raise ValueError(f"found {say(found)}, expected a list of {of}")  # noqa: TRY004 - as all mistakes
        items: dict[str, Any] = {}
        collect_all((str(index), partial(_append, items, reader), item) for index, item in enumerate(found))
        return list(items.values())

    return read


def _append(items: dict[str, Any], reader: Reader, found: object) -> None:
    """Read one more item, which must differ from those before; as they are written, so that true is not 1."""
    item = reader(found)
    if (written := _written(item)) in items:
        raise ValueError(f"found {say(item)} again, expected it once")
    items[written] = item


def _written(item: object) -> str:
    """Write plain data so that what is equal is written alike, in whatever order its keys were given."""
    if isinstance(item, Mapping):
        return repr(sorted((name, _written(value)) for name, value in item.items()))
    return f"[{', '.join(map(_written, item))}]" if isinstance(item, list) else repr(item)


def _unknown(name: str, known: list[str], _: object) -> None:
    raise ValueError(f"unknown key, expected {either(known)}{hint(name, known)}")


DEEPEST: Final = 20
"""How many tables and lists may stand in each other in the value of a flag."""


def structure(found: object) -> Any:
    """Read a table or a list of plain data, as deep as `DEEPEST`."""
    if not isinstance(found, Mapping | list | tuple):
        raise ValueError(f"found {say(found)}, expected a table or a list")  # noqa: TRY004 - as all mistakes
    return _plain(found, DEEPEST)


def _plain(found: object, deeper: int) -> Any:
    if not deeper:
        raise ValueError(f"found more than {DEEPEST} tables and lists in each other, expected fewer")
    if isinstance(found, Mapping):
        return {string(each): _plain(value, deeper - 1) for each, value in found.items()}
    if isinstance(found, list | tuple):
        return [_plain(each, deeper - 1) for each in found]
    return scalar(found)


def scalar(found: object) -> bool | float | str:
    """Read a boolean, a number or a string."""
    if isinstance(found, str):
        return string(found)
    if isinstance(found, bool) or is_number(found):
        return found  # type: ignore[return-value] # a number is one of these
    raise ValueError(f"found {say(found)}, expected a boolean, a number or a string")


# --- words ---


def say(found: object) -> str:
    """Write what was found so that its author recognises it."""
    if isinstance(found, str):
        return repr(found if len(found) <= 60 else f"{found[:57]}...")
    if isinstance(found, bool | float) or is_number(found):
        return str(found).lower()
    kinds = ((Mapping, "a table"), (list | tuple, "a list"), (int, "an integer of more than 64 bits"))
    return next((words for kind, words in kinds if isinstance(found, kind)), f"a {type(found).__name__}")


def either(choices: Iterable[str]) -> str:
    """List the choices."""
    return listed(choices, "or")


def names(items: Iterable[object]) -> str:
    """List names: `'all' and 'any'`."""
    return listed(map(repr, items), "and")


def listed(items: Iterable[str], last: str) -> str:
    """List with commas, and with `last` before the last one."""
    *others, final = items
    return f"{', '.join(others)} {last} {final}" if others else final


_MEANT: Final = {
    "percent": "rollout",
    "percentage": "rollout",
    "value": "default",
    "cooldown": "probe_after",
    "and": "all",
    "or": "any",
    "none": "not",
    "is": "equals",
    "regex": "matches",
    "semver": "version",
    "before": "date",
    "after": "date",
    "at_least": "number",
    "at_most": "number",
    "when": "if",
    "condition": "if",
    "then": "serve",
    "variant": "serve",
}
"""What people write where no spelling is near."""


def hint(found: object, names: list[str]) -> str:
    """Ask for the nearest of `names`, if any is near."""
    from difflib import get_close_matches

    written = str(found).lower().replace("-", "_")
    near = [name for name in [_MEANT.get(written)] if name in names] or get_close_matches(written, names)
    return f"; did you mean {near[0]!r}?" if near else ""
