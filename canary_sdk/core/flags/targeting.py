"""Who is served what, as it is declared: variants, targets, rules and prerequisites, read into canonical plain data.

    variants = { blue = { value = "b", weight = 60 }, green = { value = "g", weight = 40 } }
    targets = { on = ["user-1"], off = ["user-2"] }
    rules = [
      { name = "staff", if = { segment = "staff" }, serve = "on" },
      { if = { attribute = "country", in = ["CH"] }, serve = "rollout", rollout = 20 },
    ]
    prerequisites = [{ flag = "new-basket", variant = "on" }]

What each may say of the others is checked for a whole flag; the flags and segments that it names, by
`core.config.references`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.core.flags.conditions import read_condition
from canary_sdk.core.flags.flag import BASELINE, CANDIDATE, DEFAULT, ROLLOUT, SWITCH, FlagType
from canary_sdk.core.flags.schemes import Bucketing
from canary_sdk.core.reading import (
    each_named,
    either,
    filled,
    hint,
    list_of,
    name,
    names,
    number,
    parse_percent,
    say,
    table_of,
)
from canary_sdk.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from canary_sdk.core.reading import Reader

    Fields = Mapping[str, Any]

MOST_WEIGHT: Final = 1_000_000.0
RESERVED: Final = (BASELINE, CANDIDATE, DEFAULT, ROLLOUT)
"""What a variant cannot be called, because it means something else where variants are named."""


# --- each by itself ---


def _weight(found: object) -> float:
    weight = number(found)
    if not 0 < weight <= MOST_WEIGHT or round(weight, 3) != weight:
        raise ValueError(
            f"found {say(found)}, expected a weight of more than 0 and at most {MOST_WEIGHT:.0f}, "
            "with at most three decimals"
        )
    return weight


def _variant(value: Reader, variant: str, found: object) -> dict[str, Any]:
    name(variant)
    if variant in RESERVED:
        raise ValueError(f"found a variant named {variant!r}, expected another name: this one has a meaning of its own")
    return table_of({"value": value, "weight": _weight}, {"value": "the value of this variant"})(found)  # type: ignore[no-any-return]


def _variants(value: Reader, found: object) -> dict[str, Any]:
    variants: dict[str, Any] = each_named(partial(_variant, value))(found)
    if not variants:
        raise ValueError("found none, expected one or more")
    return variants


def _no_variants(_: object) -> None:
    raise ValueError("found variants, expected none: a boolean flag has 'on' and 'off'")


def variants_of(type_: object, value: Reader) -> Reader:
    """Return the reader of the variants of a flag of this type, whose values `value` reads."""
    return _no_variants if type_ == FlagType.BOOLEAN else partial(_variants, value)


_CONDITION: Final = "the condition for which the rule holds"
_SERVE: Final = f"what the rule serves: a variant, {DEFAULT!r} or {ROLLOUT!r}"


def _rule(found: object) -> dict[str, Any]:
    readers: dict[str, Reader] = {"name": filled, "if": read_condition, "serve": filled, "rollout": parse_percent}
    rule: dict[str, Any] = table_of(readers, {"if": _CONDITION, "serve": _SERVE})(found)
    if "rollout" in rule and rule["serve"] != ROLLOUT:
        raise ValueError(f"found a rollout and serve = {say(rule['serve'])}, expected serve = 'rollout' with it")
    return rule


_PREREQUISITE: Final = table_of(
    {"flag": name, "variant": filled}, {"flag": "the key of another flag", "variant": "the variant it must answer"}
)

READERS: Final[Mapping[str, Reader]] = {
    "targets": each_named(lambda _, found: list_of(filled)(found)),
    "rules": list_of(_rule, "rules"),
    "prerequisites": list_of(_PREREQUISITE, "tables"),
}
"""The readers that are the same for every type of flag."""


# --- all together ---


def disagreements(type_: object, fields: Fields, own: Fields) -> Iterator[Problem]:
    """Name what the fields of a flag of this type say against each other, at those that stand in the table `own`."""
    known = set(SWITCH.values()) if type_ == FlagType.BOOLEAN else {BASELINE, *fields.get("variants", [CANDIDATE])}
    if "variants" in own and "candidate" in own:
        yield Problem(("candidate",), "found 'candidate' and 'variants', expected one of them")
    for path, variant, others in _named(fields):
        choices = sorted(known | others)
        if variant not in choices and path[0] in own:
            yield Problem(path, f"found {say(variant)}, expected {either(map(repr, choices))}{hint(variant, choices)}")
        elif variant not in choices and "variants" in own:
            yield Problem(
                ("variants",), f"found no {say(variant)}, expected it, or other {path[0]} with these variants"
            )
    yield from _named_twice(own)
    yield from _misordered(type_, fields, own)
    yield from _not_as_unleash_has(fields, own)


def _misordered(type_: object, fields: Fields, own: Fields) -> Iterator[Problem]:
    """Name an order that no other tool can have."""
    at = next((each for each in ("order", "bucketing", "variants", "default") if each in own), None)
    if "order" not in fields or at is None:
        return
    order, baseline, variants = fields["order"], BASELINE, set(fields.get("variants", [CANDIDATE]))
    if type_ == FlagType.BOOLEAN:
        baseline = SWITCH[bool(fields.get("default", False))]
        variants = set(SWITCH.values()) - {baseline}
    if fields.get("bucketing", Bucketing.CANARY) == Bucketing.CANARY:
        yield Problem((at,), "found an order, expected a 'bucketing' of another tool with it: ours needs none")
    elif set(order) - {baseline} != variants:
        yield Problem((at,), f"found the order {say(order)}, expected all of {names(sorted(variants))}")
    elif baseline in order[1:-1]:
        yield Problem((at,), "found the baseline between variants, expected it first or last")


def _not_as_unleash_has(fields: Fields, own: Fields) -> Iterator[Problem]:
    """Name weights that are no whole numbers, if it is Unleash's way in which they are drawn."""
    if fields.get("bucketing") != Bucketing.UNLEASH or not {"variants", "bucketing"} & own.keys():
        return
    for variant, each in fields.get("variants", {}).items():
        if each["weight"] % 1:
            at = ("variants", variant, "weight") if "variants" in own else ("bucketing",)
            yield Problem(at, f"found a weight of {each['weight']}, expected a whole one, as Unleash has")


def _named(fields: Fields) -> Iterator[tuple[tuple[str, ...], str, set[str]]]:
    """Find each place where a variant is named, with what may stand there as well."""
    for variant in fields.get("targets", {}):
        yield ("targets", variant), variant, set()
    for index, rule in enumerate(fields.get("rules", [])):
        yield ("rules", str(index), "serve"), rule["serve"], {DEFAULT, ROLLOUT}


def _named_twice(own: Fields) -> Iterator[Problem]:
    """Name the keys that are forced to two variants, and the rules that are called the same."""
    seen: dict[str, str] = {}
    for variant, keys in own.get("targets", {}).items():
        for index, key in enumerate(keys):
            if seen.setdefault(key, variant) != variant:
                yield Problem(
                    ("targets", variant, str(index)), f"found {say(key)}, which {seen[key]!r} has too, expected it once"
                )
    called: set[str] = set()
    for index, rule in enumerate(own.get("rules", ())):
        if rule.get("name") in called:
            yield Problem(("rules", str(index), "name"), f"found {say(rule['name'])} again, expected it once")
        called.update([rule["name"]] if "name" in rule else [])
