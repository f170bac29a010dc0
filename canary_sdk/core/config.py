"""A configuration, read from plain data into values, with every mistake named at once.

A flag is kept twice: as it was declared (`fields`: plain, canonical, ready for a store), and as it answers (`Flag`:
resolved once for each environment). What is not known is refused, never ignored. Knows no file format and no store.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.core.breaker import AutoRollback
from canary_sdk.core.flags import Flag, FlagType
from canary_sdk.core.reading import (
    anything,
    boolean,
    collect,
    count,
    each_named,
    either,
    entries,
    filled,
    hint,
    integer,
    is_number,
    list_of,
    mapping,
    number,
    parse_duration,
    parse_percent,
    positive_percent,
    ratio,
    say,
    string,
    table_of,
    whole,
)
from canary_sdk.core.slo import parse_slo
from canary_sdk.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from canary_sdk.core.reading import Reader


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
    sections = whole(table_of({"flags": each_named(_read_flag), "auto_rollback": parse_auto_rollback}), data)
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
    values = whole(table_of(_AUTO_ROLLBACK), found)
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


# --- flags ---


def _slo(found: object) -> str:
    return parse_slo(string(found)).text


def _type(found: object) -> str:
    names = [str(name) for name in FlagType]
    if found not in names:
        raise ValueError(f"found {say(found)}, expected {either(names)}{hint(found, names)}")
    return str(found)


_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def _name(found: object) -> str:
    if not isinstance(found, str) or not _NAME.fullmatch(found):
        raise ValueError(
            f"found the name {say(found)}, expected 1 to 128 of A-Z, a-z, 0-9, '.', '_' and '-', "
            "beginning with a letter or a digit"
        )
    return found


def _of_the_flag(_: object) -> None:
    raise ValueError("found in an environment, expected in the flag itself: the type is the same everywhere")


def _no_bound(found: object) -> None:
    raise ValueError(f"found {say(found)}, expected no bound: only integer and float flags have one")


_VALUES: Final[Mapping[str, Reader]] = {
    FlagType.BOOLEAN: boolean,
    FlagType.INTEGER: integer,
    FlagType.FLOAT: number,
    FlagType.STRING: string,
}
_BOUNDS: Final[Mapping[str, Reader]] = {**_VALUES, FlagType.BOOLEAN: _no_bound, FlagType.STRING: _no_bound}

_FLAG: Final[Mapping[str, Reader]] = {
    "description": string,
    "type": _type,
    "rollout": parse_percent,
    "enabled": boolean,
    "salt": filled,
    "slos": list_of(_slo),
    "environments": anything,
}
_AUTO_ROLLBACK: Final[Mapping[str, Reader]] = {
    "enabled": boolean,
    "interval": parse_duration,
    "breaches": count,
    "timeout": parse_duration,
    "tolerance": ratio,
    "min_samples": count,
    "notify": lambda found: tuple(list_of(filled)(found)),
    "probe": positive_percent,
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
    value = _VALUES.get(str(type_), anything)
    bound = _BOUNDS.get(str(type_), anything)
    return {**_FLAG, "default": value, "candidate": value, "minimum": bound, "maximum": bound}


def _read_flag(key: str, found: object) -> FlagDeclaration:
    table = mapping(found)
    type_ = table.get("type", str(FlagType.BOOLEAN))
    readers = _readers(type_)
    problems: list[Problem] = []
    _collect_name(key, problems)
    own = {name: value for name, value in table.items() if name != "environments"}
    fields = collect(entries(own, readers), problems)
    problems += _missing(type_, own)
    problems += _conflicts(fields, fields)
    read = each_named(partial(_read_environment, fields, readers))
    overrides = collect([(name, read, table[name]) for name in table if name == "environments"], problems)
    if problems:
        raise ConfigError(problems)
    return _declared(key, fields, overrides)


def _read_environment(fields: Mapping[str, Any], readers: Mapping[str, Reader], name: str, found: object) -> Any:
    """Return the fields that an environment overrides, checked together with those that it takes over."""
    problems: list[Problem] = []
    _collect_name(name, problems)
    readers = {**{name: readers[name] for name in readers if name != "environments"}, "type": _of_the_flag}
    own = collect(entries(mapping(found), readers, hidden={"type"}), problems)
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
    if involved and is_number(fields.get(lower)) and is_number(fields.get(upper)) and fields[lower] > fields[upper]:
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
