"""A configuration, read from plain data into values, with every mistake named at once.

A flag is kept twice: as it was declared (`fields`: plain, canonical, ready for a store), and as it answers (`Flag`:
resolved once for each environment). What is not known is refused, never ignored. Knows no file format and no store.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.core.breaker import AutoRollback, RollbackRule
from canary_sdk.core.config.channels import ChannelDeclaration, read_channel
from canary_sdk.core.config.retention import parse_retention
from canary_sdk.core.flags.conditions import read_condition
from canary_sdk.core.flags.flag import Flag, FlagType, Metadata, Prerequisite, Rule, Variant
from canary_sdk.core.flags.schemes import Bucketing
from canary_sdk.core.flags.targeting import READERS, disagreements, variants_of
from canary_sdk.core.judge.slo import parse_slo
from canary_sdk.core.plan import parse_plan, plan_fields, read_plan
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
    missing,
    name,
    number,
    parse_duration,
    parse_percent,
    positive_percent,
    ratio,
    say,
    scalar,
    string,
    structure,
    table_of,
    whole,
)
from canary_sdk.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from enum import StrEnum

    from canary_sdk.core.config.retention import Retention
    from canary_sdk.core.flags.flag import Condition
    from canary_sdk.core.plan import Plan
    from canary_sdk.core.reading import Reader

    Fields = Mapping[str, Any]
    Path = tuple[str, ...]


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
class SegmentDeclaration:
    """A condition with a name, as declared. `fields` is a plain dict of JSON values in canonical form."""

    key: str
    fields: Mapping[str, Any]

    @property
    def condition(self) -> Condition:
        """Who is in it."""
        return self.fields["if"]  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class PlanDeclaration:
    """A plan that flags share by its name, as declared. `fields` is a plain dict of JSON values in canonical form."""

    key: str
    fields: Mapping[str, Any]
    plan: Plan


@dataclass(frozen=True, slots=True)
class Declaration:
    """Everything that one configuration declares; what there is one of is None where it is silent.

    `roles` are the people who may approve in each.
    """

    flags: Mapping[str, FlagDeclaration]
    auto_rollback: AutoRollback | None = None
    segments: Mapping[str, SegmentDeclaration] = field(default_factory=dict)
    plans: Mapping[str, PlanDeclaration] = field(default_factory=dict)
    channels: Mapping[str, ChannelDeclaration] = field(default_factory=dict)
    retention: Retention | None = None
    roles: Mapping[str, list[str]] | None = None


def parse_declaration(data: object) -> Declaration:
    """Read a whole configuration, such as `tomllib` returns it.

    What it refers to (flags, segments, plans, channels) may be declared elsewhere: `references` looks that up.

    Raises:
        ConfigError: with all mistakes: where, what was found, what was expected, what may have been meant.
    """
    sections = whole(table_of(_SECTIONS), data)
    return Declaration(
        sections.get("flags", {}),
        sections.get("auto_rollback"),
        sections.get("segments", {}),
        sections.get("plans", {}),
        sections.get("notify", {}),
        sections.get("retention"),
        sections.get("roles"),
    )


def parse_flag(key: str, fields: object) -> FlagDeclaration:
    """Read one flag from the fields of a `FlagDeclaration`.

    Raises:
        ConfigError: with all mistakes, at paths below `flags`.
    """
    return parse_declaration({"flags": {key: fields}}).flags[key]


def parse_segment(key: str, fields: object) -> SegmentDeclaration:
    """Read one segment from the fields of a `SegmentDeclaration`.

    Raises:
        ConfigError: with all mistakes, at paths below `segments`.
    """
    return parse_declaration({"segments": {key: fields}}).segments[key]


def parse_plan_template(key: str, fields: object) -> PlanDeclaration:
    """Read one plan that flags share from the fields of a `PlanDeclaration`.

    Raises:
        ConfigError: with all mistakes, at paths below `plans`.
    """
    return parse_declaration({"plans": {key: fields}}).plans[key]


def parse_channel(key: str, fields: object) -> ChannelDeclaration:
    """Read one channel from the fields of a `ChannelDeclaration`.

    Raises:
        ConfigError: with all mistakes, at paths below `notify`.
    """
    return parse_declaration({"notify": {key: fields}}).channels[key]


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
    unusual = {
        **({} if value.probe_percent is None else {"probe": value.probe_percent}),
        **({"dry_run": True} if value.dry_run else {}),
        **({} if value.rule is RollbackRule.SEQUENTIAL else {"rule": str(value.rule)}),
        **({"holdback": value.holdback} if value.holdback else {}),
    }
    return unusual | {
        "enabled": value.enabled,
        "interval": value.interval_s,
        "breaches": value.breaches,
        "timeout": value.timeout_s,
        "tolerance": f"{value.tolerance * 100:.6g}%",
        "min_samples": value.min_samples,
        "notify": list(value.notify),
        "probe_after": value.probe_after_s,
    }


# --- roles ---


def parse_roles(found: object) -> dict[str, list[str]]:
    """Read who has which role: a table of names.

    Raises:
        ConfigError: with all mistakes, at paths below the table.
    """
    roles: dict[str, list[str]] = whole(each_named(_read_role), found)
    return roles


def _read_role(role: str, found: object) -> list[str]:
    filled(role)
    people: list[str] = list_of(filled, of="people's names")(found)
    return people


# --- flags ---


def _slo(found: object) -> str:
    return parse_slo(string(found)).text


def _noise(found: object) -> float:
    value = number(found)
    if value < 0:
        raise ValueError(f"found {say(found)}, expected 0 or more: 0 is chance alone")
    return value


def _rollback_rule(found: object) -> RollbackRule:
    names = [str(name) for name in RollbackRule]
    if found not in names:
        raise ValueError(f"found {say(found)}, expected {either(names)}{hint(found, names)}")
    return RollbackRule(str(found))


def _holdback(found: object) -> float:
    percent = parse_percent(found)
    if percent >= 100:
        raise ValueError(f"found {say(found)}, expected less than 100: somebody must be able to get the candidate")
    return percent


def _one_of(choices: type[StrEnum], found: object) -> str:
    names = [str(name) for name in choices]
    if found not in names:
        raise ValueError(f"found {say(found)}, expected {either(names)}{hint(found, names)}")
    return str(found)


def _of_the_flag(_: object) -> None:
    raise ValueError("found in an environment, expected in the flag itself: the type is the same everywhere")


def _no_bound(found: object) -> None:
    raise ValueError(f"found {say(found)}, expected no bound: only integer and float flags have one")


_VALUES: Final[Mapping[str, Reader]] = {
    FlagType.BOOLEAN: boolean,
    FlagType.INTEGER: integer,
    FlagType.FLOAT: number,
    FlagType.STRING: string,
    FlagType.OBJECT: structure,
}
_UNBOUNDED: Final = (FlagType.BOOLEAN, FlagType.STRING, FlagType.OBJECT)
_BOUNDS: Final[Mapping[str, Reader]] = {**_VALUES, **dict.fromkeys(_UNBOUNDED, _no_bound)}


def _iso_date(found: object) -> str:
    from canary_sdk.core.dates import iso_date

    try:
        return iso_date(found)
    except ValueError:
        raise ValueError(f"found {say(found)}, expected a date such as 2026-01-31") from None


_METADATA: Final[Mapping[str, Reader]] = {
    "description": string,
    "owner": filled,
    "tags": list_of(filled),
    "created": _iso_date,
    "expires": _iso_date,
    "metadata": each_named(lambda _, found: scalar(found)),
}
_FLAG: Final[Mapping[str, Reader]] = {
    **_METADATA,
    **READERS,
    "type": partial(_one_of, FlagType),
    "rollout": parse_percent,
    "enabled": boolean,
    "salt": filled,
    "bucketing": partial(_one_of, Bucketing),
    "order": list_of(filled),
    "slos": list_of(_slo),
    "soft": list_of(_slo),
    "plan": read_plan,
    "noise": each_named(lambda _, found: _noise(found)),
    "environments": anything,
}
_AUTO_ROLLBACK: Final[Mapping[str, Reader]] = {
    "enabled": boolean,
    "dry_run": boolean,
    "rule": _rollback_rule,
    "holdback": _holdback,
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
    values = {"default": value, "candidate": value, "minimum": bound, "maximum": bound}
    return {**_FLAG, **values, "variants": variants_of(type_, value)}


def _read_flag(key: str, found: object) -> FlagDeclaration:
    table = mapping(found)
    type_ = table.get("type", str(FlagType.BOOLEAN))
    readers = _readers(type_)
    problems: list[Problem] = []
    _collect_name(key, problems)
    own = {each: value for each, value in table.items() if each != "environments"}
    fields = collect(entries(own, readers), problems)
    problems += missing(own, _needs(type_))
    problems += _conflicts(type_, fields, fields, certain=_is_certain(own, fields))
    read = each_named(partial(_read_environment, type_, fields, readers))
    overrides = collect([(each, read, table[each]) for each in table if each == "environments"], problems)
    if problems:
        raise ConfigError(problems)
    return _declared(key, fields, overrides)


def _read_environment(type_: object, fields: Fields, readers: Mapping[str, Reader], key: str, found: object) -> Any:
    """Return the fields that an environment overrides, checked together with those that it takes over."""
    problems: list[Problem] = []
    _collect_name(key, problems)
    readers = {**{each: readers[each] for each in readers if each != "environments"}, "type": _of_the_flag}
    table = mapping(found)
    own = collect(entries(table, readers, hidden={"type"}), problems)
    problems += _conflicts(type_, _overridden(fields, own), own, certain=_is_certain(table, own))
    if problems:
        raise ConfigError(problems)
    return own


def _collect_name(found: object, problems: list[Problem]) -> None:
    try:
        name(found)
    except ValueError as error:
        problems.append(Problem((), str(error)))


def _needs(type_: object) -> dict[str, str]:
    needs_default = str(type_) in set(_VALUES) - {FlagType.BOOLEAN}
    return {"default": f"the {type_} that is the baseline"} if needs_default else {}


def _is_certain(table: Mapping[Any, Any], read: Fields) -> bool:
    """Whether it is known what the variants are called: what could not be read says nothing."""
    return not {"type", "variants"} & (table.keys() - read.keys())


_MINIMUM: Final[Path] = ("minimum",)
_MAXIMUM: Final[Path] = ("maximum",)


def _conflicts(type_: object, fields: Fields, own: Fields, *, certain: bool) -> Iterator[Problem]:
    """Name the values that contradict each other, at the first of them that stands in the table `own`."""
    values = dict(_values(fields))
    answers = [path for path in values if path not in {_MINIMUM, _MAXIMUM}]
    above = [(_MINIMUM, answer, answer) for answer in answers]
    below = [(answer, _MAXIMUM, answer) for answer in answers]
    for lower, upper, at in [(_MINIMUM, _MAXIMUM, _MAXIMUM), *above, *below]:
        involved = [path for path in (at, lower, upper) if path[0] in own]
        if involved and lower in values and upper in values and values[lower] > values[upper]:
            low, high = ".".join(lower), ".".join(upper)
            words = f"found {low} {values[lower]} and {high} {values[upper]}, expected {low} <= {high}"
            yield Problem(involved[0], words)
    yield from _undecided(fields, own)
    if certain:
        yield from disagreements(type_, fields, own)


def _undecided(fields: Fields, own: Fields) -> Iterator[Problem]:
    """Name promises that cannot both take the flag back and only hold it."""
    hard = {parse_slo(text) for text in fields.get("slos", ())}
    for index, text in enumerate(fields.get("soft", ())):
        if parse_slo(text) in hard:
            message = f"found {text!r} in slos and in soft, expected it in one: a breach either takes back or holds"
            yield Problem(("soft", str(index)) if "soft" in own else ("slos",), message)


def _values(fields: Fields) -> Iterator[tuple[Path, Any]]:
    """Find the numbers that bounds and answers are."""
    for each in ("minimum", "maximum", "default", "candidate"):
        if is_number(fields.get(each)):
            yield (each,), fields[each]
    for variant, each in fields.get("variants", {}).items():
        if is_number(each["value"]):
            yield ("variants", variant, "value"), each["value"]


def _overridden(fields: Fields, own: Fields) -> dict[str, Any]:
    """Return all fields of an environment. Of a candidate and variants, of which a flag has one, its own holds."""
    other = {"candidate": "variants", "variants": "candidate"}
    gone = {other[each] for each in own if each in other}
    return {**{each: value for each, value in fields.items() if each not in gone}, **own}


def _declared(key: str, fields: Fields, overrides: Mapping[str, Any]) -> FlagDeclaration:
    return FlagDeclaration(
        key=key,
        fields={**fields, **overrides},
        base=_flag(key, fields),
        environments={
            each: _flag(key, _overridden(fields, own), tuple(sorted(own)))
            for each, own in overrides.get("environments", {}).items()
        },
    )


def _flag(key: str, fields: Fields, overridden: tuple[str, ...] = ()) -> Flag:
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
        bucketing=Bucketing(fields.get("bucketing", Bucketing.CANARY)),
        order=tuple(fields.get("order", ())),
        slos=tuple(parse_slo(text) for text in fields.get("slos", ())),
        soft=tuple(parse_slo(text) for text in fields.get("soft", ())),
        variants=tuple(Variant(each, **rest) for each, rest in sorted(fields.get("variants", {}).items())),
        targets={each: tuple(keys) for each, keys in fields.get("targets", {}).items()},
        rules=tuple(_rule(rule) for rule in fields.get("rules", ())),
        prerequisites=tuple(Prerequisite(**each) for each in fields.get("prerequisites", ())),
        plan=_plan(fields.get("plan")),
        noise=fields.get("noise", {}),
        metadata=_metadata(fields),
        overridden=overridden,
    )


def _plan(written: Any) -> Plan | str | None:
    return parse_plan(written) if isinstance(written, dict) else written


def _rule(fields: Fields) -> Rule:
    return Rule(fields["if"], fields["serve"], fields.get("rollout"), fields.get("name", ""))


def _metadata(fields: Fields) -> Metadata:
    given = {each: fields[each] for each in _METADATA if each in fields}
    custom = given.pop("metadata", {})
    return Metadata(**given | {"tags": tuple(given.get("tags", ()))}, custom=custom)


# --- segments ---


def _read_segment(key: str, found: object) -> SegmentDeclaration:
    problems: list[Problem] = []
    _collect_name(key, problems)
    table = mapping(found)
    fields = collect(entries(table, {"description": string, "if": read_condition}), problems)
    problems += missing(table, {"if": "the condition for being in the segment"})
    if problems:
        raise ConfigError(problems)
    return SegmentDeclaration(key, fields)


# --- plans ---


def _read_template(key: str, found: object) -> PlanDeclaration:
    plan = parse_plan(found)
    return PlanDeclaration(name(key), plan_fields(plan), plan)


_SECTIONS: Final[Mapping[str, Reader]] = {
    "flags": each_named(_read_flag),
    "segments": each_named(_read_segment),
    "plans": each_named(_read_template),
    "notify": each_named(read_channel),
    "auto_rollback": parse_auto_rollback,
    "retention": parse_retention,
    "roles": parse_roles,
}
