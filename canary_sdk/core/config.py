"""A configuration, read from plain data into values, with every mistake named at once.

A flag is kept twice: as it was declared (`fields`: plain, canonical, ready for a store), and as it answers (`Flag`:
resolved once for each environment). What is not known is refused, never ignored. Knows no file format and no store.

A reader takes what was found and returns a value, or raises: `ValueError` with a sentence, or `ConfigError` with
problems whose paths begin where the reader stands.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.core.breaker import AutoRollback
from canary_sdk.core.flags import Flag, FlagType
from canary_sdk.core.slo import parse_slo
from canary_sdk.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Reader = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class FlagDeclaration:
    """One flag as declared. `fields` is a plain dict of JSON values in canonical form; `parse_flag` reads it again."""

    key: str
    fields: Mapping[str, Any]
    base: Flag
    environments: Mapping[str, Flag]

    def for_environment(self, name: str) -> Flag:
        """Return the flag as this environment has it; one that is not mentioned has the base. Cost: a look-up."""
        return self.environments.get(name, self.base)


@dataclass(frozen=True, slots=True)
class Declaration:
    """Everything that one configuration declares. `auto_rollback` is None if it does not speak of it."""

    flags: Mapping[str, FlagDeclaration]
    auto_rollback: AutoRollback | None = None


def parse_declaration(data: object) -> Declaration:
    """Read a whole configuration, such as `tomllib` returns it.

    Raises:
        ConfigError: with all mistakes: where, what was found, what was expected, what may have been meant.
    """
    sections = _whole(_table_of({"flags": _each_named(_read_flag), "auto_rollback": parse_auto_rollback}), data)
    return Declaration(sections.get("flags", {}), sections.get("auto_rollback"))


def parse_flag(key: str, fields: object) -> FlagDeclaration:
    """Read one flag from the fields of a `FlagDeclaration`.

    Raises:
        ConfigError: with all mistakes, at paths below `flags`.
    """
    return parse_declaration({"flags": {key: fields}}).flags[key]


# --- auto_rollback ---


def parse_auto_rollback(found: object) -> AutoRollback:
    """Read what happens on a breach, in the words of the configuration.

    Raises:
        ConfigError: with all mistakes, at paths below the table.
    """
    values = _whole(_table_of(_AUTO_ROLLBACK), found)
    return AutoRollback(**{_ATTRIBUTES.get(name, name): value for name, value in values.items()})


def auto_rollback_fields(value: AutoRollback) -> dict[str, Any]:
    """Return the plain document from which `parse_auto_rollback` reads the same value."""
    probe = {} if value.probe_percent is None else {"probe": value.probe_percent}
    return probe | {
        "enabled": value.enabled,
        "interval": value.interval_s,
        "breaches": value.breaches,
        "timeout": value.timeout_s,
        "tolerance": f"{value.tolerance * 100:.6g}%",
        "min_samples": value.min_samples,
        "notify": list(value.notify),
        "probe_after": value.probe_after_s,
    }


# --- durations and percentages ---

LONGEST_S: Final = 366 * 24 * 3600.0
"""No duration is longer than a leap year, in seconds."""

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h)")
_PERCENT: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%")


def parse_duration(found: object) -> float:
    """Return seconds, more than 0 and to the microsecond, from a number of seconds or from text such as `90s`.

    Raises:
        ValueError: with one sentence.
    """
    seconds = _measured(found, _DURATION, _SECONDS)
    if seconds is None or not 0 < seconds <= LONGEST_S:
        raise ValueError(
            f"found {_say(found)}, expected a duration of more than zero and at most {LONGEST_S / 3600:.0f}h: "
            "'500ms', '30s', '5m', '2h', or a number of seconds"
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
            f"found {_say(found)}, expected a percentage from 0 to 100 with at most three decimals: 5, 0.125 or '5%'"
        )
    return percent + 0.0  # there is no negative zero


def _measured(found: Any, form: re.Pattern[str], units: Mapping[str, float]) -> float | None:
    """Return the quantity in its basic unit, or None if `found` is none."""
    if isinstance(found, str):
        written = form.fullmatch(found.strip())
        return float(written[1]) * units.get(written[written.lastindex or 1], 1.0) if written else None
    return float(found) if _is_number(found) else None


def _positive_percent(found: object) -> float:
    if not (percent := parse_percent(found)):
        raise ValueError(f"found {_say(found)}, expected more than 0 %; leave it out to do without")
    return percent


def _ratio(found: Any) -> float:
    percent = parse_percent(found)
    if not isinstance(found, str) and 0 < found < 1:
        raise ValueError(
            f"found {_say(found)}, expected a percentage such as '10%'; a number alone means percent, "
            f"so write '{found:g}%' or '{found * 100:g}%', whichever is meant"
        )
    return round(percent / 100, 5)


# --- single values ---


def _is_number(found: object) -> bool:
    """Tell whether it is a finite float or an integer of at most 64 bits; a boolean is neither."""
    if isinstance(found, float):
        return math.isfinite(found)
    return isinstance(found, int) and not isinstance(found, bool) and -(2**63) <= found < 2**63


def _boolean(found: object) -> bool:
    if not isinstance(found, bool):
        raise ValueError(f"found {_say(found)}, expected true or false")  # noqa: TRY004 - every mistake is a ValueError
    return found


def _integer(found: Any) -> int:
    if not _is_number(found) or not isinstance(found, int):
        raise ValueError(f"found {_say(found)}, expected an integer of at most 64 bits")
    return int(found)


def _count(found: object) -> int:
    if (count := _integer(found)) < 1:
        raise ValueError(f"found {count}, expected 1 or more")
    return count


def _float(found: Any) -> float:
    if not _is_number(found):
        raise ValueError(f"found {_say(found)}, expected a finite number")
    return float(found)


def _string(found: object) -> str:
    if not isinstance(found, str):
        raise ValueError(f"found {_say(found)}, expected a string")  # noqa: TRY004 - every mistake is a ValueError
    try:
        found.encode()
    except UnicodeEncodeError:
        raise ValueError(f"found {_say(found)}, expected a string of whole Unicode characters") from None
    return str(found)


def _filled(found: object) -> str:
    if not (text := _string(found)).strip():
        raise ValueError("found an empty string, expected some text; leave it out to do without")
    return text


def _slo(found: object) -> str:
    return parse_slo(_string(found)).text


def _type(found: object) -> str:
    names = [str(name) for name in FlagType]
    if found not in names:
        raise ValueError(f"found {_say(found)}, expected {_either(names)}{_hint(found, names)}")
    return str(found)


def _anything(found: object) -> object:
    return found


_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def _name(found: object) -> str:
    if not isinstance(found, str) or not _NAME.fullmatch(found):
        raise ValueError(
            f"found the name {_say(found)}, expected 1 to 128 of A-Z, a-z, 0-9, '.', '_' and '-', "
            "beginning with a letter or a digit"
        )
    return found


# --- lists and tables ---


def _collect(readings: Iterable[tuple[str, Reader, Any]], problems: list[Problem]) -> dict[str, Any]:
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


def _collect_all(readings: Iterable[tuple[str, Reader, Any]]) -> dict[str, Any]:
    problems: list[Problem] = []
    values = _collect(readings, problems)
    if problems:
        raise ConfigError(problems)
    return values


def _whole(reader: Reader, found: object) -> Any:
    """Read the outermost value, where a plain mistake has no path."""
    try:
        return reader(found)
    except ValueError as error:
        raise ConfigError([Problem((), str(error))]) from None


def _mapping(found: object) -> Mapping[Any, Any]:
    if not isinstance(found, Mapping):
        raise ValueError(f"found {_say(found)}, expected a table")  # noqa: TRY004 - every mistake is a ValueError
    return found


def _entries(table: Mapping[Any, Any], readers: Mapping[str, Reader]) -> Iterator[tuple[str, Reader, Any]]:
    """Pair every entry of a table with its reader; an unknown one with a reader that says so."""
    for name, found in table.items():
        yield str(name), readers.get(name, partial(_unknown, str(name), readers)), found


def _table_of(readers: Mapping[str, Reader]) -> Reader:
    return lambda found: _collect_all(_entries(_mapping(found), readers))


def _each_named(reader: Callable[[str, Any], Any]) -> Reader:
    """Read a table whose names are the user's own; the reader is told the name."""
    return lambda found: _collect_all(
        (str(name), partial(reader, name), item) for name, item in _mapping(found).items()
    )


def _list_of(reader: Reader) -> Reader:
    def read(found: object) -> list[Any]:
        if not isinstance(found, list | tuple):
            raise ValueError(f"found {_say(found)}, expected a list of strings")  # noqa: TRY004 - as all mistakes
        items: list[Any] = []
        _collect_all((str(index), partial(_append, items, reader), item) for index, item in enumerate(found))
        return items

    return read


def _append(items: list[Any], reader: Reader, found: object) -> None:
    """Read one more item, which must differ from those before."""
    if (item := reader(found)) in items:
        raise ValueError(f"found {_say(item)} again, expected it once")
    items.append(item)


def _unknown(name: str, readers: Mapping[str, Reader], _: object) -> None:
    known = sorted(known for known, reader in readers.items() if reader is not _of_the_flag)
    raise ValueError(f"unknown key, expected {_either(known)}{_hint(name, known)}")


# --- flags ---


def _of_the_flag(_: object) -> None:
    raise ValueError("found in an environment, expected in the flag itself: the type is the same everywhere")


def _no_bound(found: object) -> None:
    raise ValueError(f"found {_say(found)}, expected no bound: only integer and float flags have one")


_VALUES: Final[Mapping[str, Reader]] = {
    FlagType.BOOLEAN: _boolean,
    FlagType.INTEGER: _integer,
    FlagType.FLOAT: _float,
    FlagType.STRING: _string,
}
_BOUNDS: Final[Mapping[str, Reader]] = {**_VALUES, FlagType.BOOLEAN: _no_bound, FlagType.STRING: _no_bound}

_FLAG: Final[Mapping[str, Reader]] = {
    "description": _string,
    "type": _type,
    "rollout": parse_percent,
    "enabled": _boolean,
    "salt": _filled,
    "slos": _list_of(_slo),
    "environments": _anything,
}
_AUTO_ROLLBACK: Final[Mapping[str, Reader]] = {
    "enabled": _boolean,
    "interval": parse_duration,
    "breaches": _count,
    "timeout": parse_duration,
    "tolerance": _ratio,
    "min_samples": _count,
    "notify": lambda found: tuple(_list_of(_filled)(found)),
    "probe": _positive_percent,
    "probe_after": parse_duration,
}
_ATTRIBUTES: Final = {
    "interval": "interval_s",
    "timeout": "timeout_s",
    "probe": "probe_percent",
    "probe_after": "probe_after_s",
}


def _readers(type_: object) -> Mapping[str, Reader]:
    """Return the readers of a flag of this type; where the type itself is wrong, its values are not held against it."""
    value = _VALUES.get(str(type_), _anything)
    bound = _BOUNDS.get(str(type_), _anything)
    return {**_FLAG, "default": value, "candidate": value, "minimum": bound, "maximum": bound}


def _read_flag(key: str, found: object) -> FlagDeclaration:
    table = _mapping(found)
    type_ = table.get("type", str(FlagType.BOOLEAN))
    readers = _readers(type_)
    problems: list[Problem] = []
    _collect_name(key, problems)
    own = {name: value for name, value in table.items() if name != "environments"}
    fields = _collect(_entries(own, readers), problems)
    problems += _missing(type_, own)
    problems += _conflicts(fields, fields)
    read = _each_named(partial(_read_environment, fields, readers))
    overrides = _collect([(name, read, table[name]) for name in table if name == "environments"], problems)
    if problems:
        raise ConfigError(problems)
    return _declared(key, fields, overrides)


def _read_environment(fields: Mapping[str, Any], readers: Mapping[str, Reader], name: str, found: object) -> Any:
    """Return the fields that an environment overrides, checked together with those that it takes over."""
    problems: list[Problem] = []
    _collect_name(name, problems)
    readers = {**{name: readers[name] for name in readers if name != "environments"}, "type": _of_the_flag}
    own = _collect(_entries(_mapping(found), readers), problems)
    problems += _conflicts({**fields, **own}, own)
    if problems:
        raise ConfigError(problems)
    return own


def _collect_name(name: object, problems: list[Problem]) -> None:
    try:
        _name(name)
    except ValueError as error:
        problems.append(Problem((), str(error)))


def _missing(type_: object, own: Mapping[Any, Any]) -> Iterator[Problem]:
    if "default" not in own and str(type_) in set(_VALUES) - {FlagType.BOOLEAN}:
        yield Problem(("default",), f"found nothing, expected the {type_} that is the baseline")


def _conflicts(fields: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[Problem]:
    """Name the values that contradict each other, at the first of them that stands in the table `own`."""
    for lower, name in (("minimum", "maximum"), ("minimum", "default"), ("minimum", "candidate")):
        yield from _conflict(fields, own, lower, name, at=name)
    for name in ("default", "candidate"):
        yield from _conflict(fields, own, name, "maximum", at=name)


def _conflict(fields: Mapping[str, Any], own: Mapping[str, Any], lower: str, upper: str, at: str) -> Iterator[Problem]:
    involved = [name for name in (at, lower, upper) if name in own]
    if involved and _is_number(fields.get(lower)) and _is_number(fields.get(upper)) and fields[lower] > fields[upper]:
        yield Problem(
            (involved[0],), f"found {lower} {fields[lower]} and {upper} {fields[upper]}, expected {lower} <= {upper}"
        )


def _declared(key: str, fields: Mapping[str, Any], overrides: Mapping[str, Any]) -> FlagDeclaration:
    environments = overrides.get("environments", {})
    return FlagDeclaration(
        key=key,
        fields={**fields, **overrides},
        base=_flag(key, fields),
        environments={name: _flag(key, {**fields, **own}) for name, own in environments.items()},
    )


def _flag(key: str, fields: Mapping[str, Any]) -> Flag:
    """Fill in what was left out."""
    type_ = FlagType(fields.get("type", FlagType.BOOLEAN))
    default = fields.get("default", False)
    return Flag(
        key=key,
        type=type_,
        default=default,
        candidate=fields.get("candidate", not default if type_ is FlagType.BOOLEAN else default),
        minimum=fields.get("minimum"),
        maximum=fields.get("maximum"),
        rollout=fields.get("rollout", 0.0),
        enabled=fields.get("enabled", True),
        salt=fields.get("salt", key),
        description=fields.get("description", ""),
        slos=tuple(parse_slo(text) for text in fields.get("slos", ())),
    )


# --- words ---


def _say(found: object) -> str:
    """Write what was found so that its author recognises it."""
    if isinstance(found, str):
        return repr(found if len(found) <= 60 else f"{found[:57]}...")
    if isinstance(found, bool | float) or _is_number(found):
        return str(found).lower()
    kinds = ((Mapping, "a table"), (list | tuple, "a list"), (int, "an integer of more than 64 bits"))
    return next((words for kind, words in kinds if isinstance(found, kind)), f"a {type(found).__name__}")


def _either(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


_MEANT: Final = {"percent": "rollout", "percentage": "rollout", "value": "default", "cooldown": "probe_after"}
"""What people write where no spelling is near."""


def _hint(found: object, names: list[str]) -> str:
    """Ask for the nearest of `names`, if any is near."""
    from difflib import get_close_matches

    written = str(found).lower().replace("-", "_")
    near = [name for name in [_MEANT.get(written)] if name in names] or get_close_matches(written, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
