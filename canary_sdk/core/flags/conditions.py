"""A condition on who asks: how it is written, and the function that it is compiled to when the flag table is built.

    { attribute = "country", in = ["CH", "DE"] }      one test, by one of `core.flags.operators`
    { all = [ ... ] }  { any = [ ... ] }  { not = ... }   of conditions
    { segment = "staff" }                              a condition with a name

The targeting key is the attribute `targeting_key`; an empty one is missing. There are two truth values: a test on a
missing attribute is false, and so its negation is true. Nothing that an attribute does when it is compared gets out.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from canary_sdk.core.flags.operators import OPERATORS
from canary_sdk.core.reading import collect_all, entries, filled, list_of, mapping, name, names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from canary_sdk.core.flags.flag import Condition
    from canary_sdk.core.flags.operators import Predicate
    from canary_sdk.core.reading import Reader

    Attributes = Mapping[str, Any]
    Holds = Callable[[str | None, Attributes], object]
    """Whether a condition holds for a targeting key and attributes: true or false in Python's sense. Never raises."""

F = TypeVar("F")
T = TypeVar("T")

TARGETING_KEY: Final = "targeting_key"
MOST_LEVELS: Final = 20
"""How deep conditions may be nested, so that no recursion is ever deep."""


# --- reading ---


def read_condition(found: object, levels: int = MOST_LEVELS) -> dict[str, Any]:
    """Read a condition into its canonical form: plain data, ready for a store.

    Raises:
        ValueError: or ConfigError, as every reader.
    """
    if not levels:
        raise ValueError(f"found conditions in conditions, {MOST_LEVELS} deep, expected fewer; name some as segments")
    table = mapping(found)
    inner = partial(read_condition, levels=levels - 1)
    many = partial(_read_many, inner)
    forms: dict[str, Reader] = {"all": many, "any": many, "not": inner, "segment": name}
    tests: dict[str, Reader] = {key: each.read for key, each in OPERATORS.items()}
    values = collect_all(entries(table, {"attribute": filled, **forms, **tests}))
    given = values.keys() - {"attribute"}
    if len(given) != 1 or not given <= (tests if "attribute" in values else forms).keys():
        raise ValueError(
            f"found {names(table) if table else 'an empty table'}, expected 'attribute' with one operator "
            f"({', '.join(tests)}), or one of {names(forms)} alone"
        )
    return values


def _read_many(inner: Callable[[object], Any], found: object) -> list[Any]:
    conditions: list[Any] = list_of(inner, "conditions")(found)
    if not conditions:
        raise ValueError("found an empty list, expected at least one condition")
    return conditions


def segments_in(condition: Condition) -> Iterator[str]:
    """Name the segments that a condition refers to, as often as it does."""
    match condition:
        case {"segment": str(segment)}:
            yield segment
        case {"not": inner}:
            yield from segments_in(inner)
        case {"all": parts} | {"any": parts}:
            for part in parts:
                yield from segments_in(part)
        case _:
            return


# --- compiling ---


def compile_segments(segments: Mapping[str, Condition]) -> dict[str, Holds]:
    """Compile conditions that may refer to each other, but not in a circle."""
    compiled: dict[str, Holds] = {}

    def compiled_of(segment: str) -> Holds:
        if segment not in compiled:
            compiled[segment] = compile_condition(segments[segment], compiled_of)
        return compiled[segment]

    return {segment: compiled_of(segment) for segment in segments}


def compile_condition(condition: Condition, segment_of: Callable[[str], Holds]) -> Holds:
    """Compile a condition in canonical form; `segment_of` gives the segments that it refers to."""
    match condition:
        case {"all": parts}:
            return joined([compile_condition(part, segment_of) for part in parts], _both)
        case {"any": parts}:
            return joined([compile_condition(part, segment_of) for part in parts], first_of)
        case {"not": inner}:
            return _negated(compile_condition(inner, segment_of))
        case {"segment": segment}:
            return segment_of(segment)
        case _:
            return _compile_test(**condition)


def _compile_test(attribute: str, **test: Any) -> Holds:
    ((operator, constant),) = test.items()
    predicate = OPERATORS[operator].predicate(constant)
    return _on_key(predicate) if attribute == TARGETING_KEY else _on(attribute, predicate)


def joined(parts: Sequence[F], join: Callable[[F, F], F]) -> F:
    """Join functions in order, as a tree: calls nest as deep as the logarithm of their number; no list is walked."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return join(joined(parts[:middle], join), joined(parts[middle:], join))


def first_of(first: Callable[..., T | None], second: Callable[..., T]) -> Callable[..., T]:
    """Return the first that is true, or else what the second gives."""

    def either(key: str | None, attributes: Attributes) -> T:
        return first(key, attributes) or second(key, attributes)

    return either


def _both(first: Holds, second: Holds) -> Holds:
    def both(key: str | None, attributes: Attributes) -> object:
        return first(key, attributes) and second(key, attributes)

    return both


def _negated(inner: Holds) -> Holds:
    def negated(key: str | None, attributes: Attributes) -> object:
        return not inner(key, attributes)

    return negated


def _on(attribute: str, predicate: Predicate) -> Holds:
    def holds(_: str | None, attributes: Attributes) -> object:
        try:
            return predicate(attributes.get(attribute))
        except Exception:  # noqa: BLE001 - the attribute is somebody else's code; what cannot be compared is unequal
            return False

    return holds


def _on_key(predicate: Predicate) -> Holds:
    def holds(key: str | None, _: Attributes) -> object:
        try:
            return predicate(key or None)
        except Exception:  # noqa: BLE001 - the key may be of a type of the application's own
            return False

    return holds
