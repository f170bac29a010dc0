"""What a condition can ask of one attribute: how its constant is written, and how the attribute is held against it.

    equals = "CH"                in = ["CH", "DE"]              text, a number, true or false; true is not 1
    starts_with = "eu-"          ends_with = "@example.com"     text
    contains = "beta"            a part of the text, or an item of the list
    matches = "^v[0-9]+$"        RE2 syntax, anywhere in the text; needs the extra `regex`
    number = ">= 18"             <, <=, >, >=, =, or "between 18 and 65", which includes both
    version = "< 2.0.0"          the same, by the precedence of semver.org
    date = "before 2026-01-01"   the same, and `after`; ISO 8601, UTC where no offset is said
    exists = true                false: it is missing

An attribute that is absent or None is missing. Of a missing attribute, and of one that is not of the type asked for,
everything is false but `exists = false`. Nothing is converted: the text "18" is no number. A predicate may raise for an
attribute that was made to; whoever calls it takes that for false.
"""

from __future__ import annotations

import operator
import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from canary_sdk.core.reading import boolean, filled, is_number, list_of, say, string

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from canary_sdk.core.reading import Reader

    Predicate = Callable[[Any], bool]


class Operator(NamedTuple):
    """How the constant is read into its canonical form, and which predicate that makes."""

    read: Reader
    predicate: Callable[[Any], Predicate]


# --- equality ---


def _scalar(found: object) -> object:
    """Read what an attribute can be equal to."""
    if isinstance(found, bool) or is_number(found):
        return found
    if not isinstance(found, str):
        raise ValueError(f"found {say(found)}, expected a string, a number, true or false")  # noqa: TRY004 - as all
    return string(found)


def _some(found: object) -> list[object]:
    items: list[object] = list_of(_scalar, "values")(found)
    if not items:
        raise ValueError("found an empty list, expected at least one value")
    return items


def _one_of(constants: Iterable[object]) -> Predicate:
    """Hold for what is equal to a constant and of its kind; of text alone this is the set's own method."""
    allowed = frozenset(constants)
    if all(isinstance(constant, str) for constant in allowed):
        return allowed.__contains__
    kinds = frozenset((_kind(constant), constant) for constant in constants)
    return lambda value: (_kind(value), value) in kinds


def _kind(value: object) -> type:
    """Tell booleans from numbers, which Python would take for equal."""
    if isinstance(value, bool):
        return bool
    return float if isinstance(value, (int, float)) else str


# --- text ---


def _is_text(holds: Callable[[str, str], bool], constant: str) -> Predicate:
    return lambda value: isinstance(value, str) and holds(value, constant)


def _contains(constant: str) -> Predicate:
    return lambda value: isinstance(value, (str, list, tuple, set, frozenset)) and constant in value


# --- regular expressions ---

MOST_REGEX_BYTES: Final = 2**20
"""Memory that one expression may take, compiled; what would need more is refused, or runs slower."""


def _expression(found: object) -> str:
    _searcher(text := filled(found))
    return text


def _matches(constant: str) -> Predicate:
    search = _searcher(constant)
    return lambda value: isinstance(value, str) and search(value) is not None


def _searcher(text: str) -> Callable[[str], object]:
    """Compile by RE2, whose time grows with the text alone. Raises ValueError."""
    try:
        import re2  # type: ignore[import-untyped] # it tells no types
    except ModuleNotFoundError:
        raise ValueError(
            f"found {say(text)}, which needs an engine that always ends in time: pip install "
            '"canary-rollout[regex]"; or use starts_with, ends_with, contains or in'
        ) from None
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MOST_REGEX_BYTES
    try:
        return re2.compile(text, options).search  # type: ignore[no-any-return]
    except re2.error as error:
        why = error.args[0].decode()
        raise ValueError(f"found {say(text)}, expected a regular expression in the syntax of RE2: {why}") from None


# --- order ---


class _Scale(NamedTuple):
    """What can be ordered: the value of a constant and of an attribute, None if it has none, and an example."""

    constant: Callable[[str], Any]
    attribute: Callable[[Any], Any]
    example: str


_RELATIONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "before": operator.lt,
    "after": operator.gt,
}
_COMPARISON: Final = re.compile(r"(<=|>=|<|>|=|before\s|after\s)\s*(\S+)|between\s+(\S+)\s+and\s+(\S+)")


def _parse(scale: _Scale, found: object) -> tuple[str, list[str], list[Any]]:
    """Return the relation, empty for `between`, its constants as written, and their values."""
    if isinstance(found, str) and (written := _COMPARISON.fullmatch(found.strip())):
        relation = (written[1] or "").strip()
        texts = [each for each in written.groups()[1:] if each]
        values = [_constant(scale, each) for each in texts]
        if None not in values and (relation or values[0] <= values[1]):
            return relation, texts, values
    raise ValueError(f"found {say(found)}, expected a comparison: {scale.example}")


def _constant(scale: _Scale, text: str) -> Any:
    try:
        return scale.constant(text)
    except ValueError:
        return None


def _comparison(scale: _Scale, found: object) -> str:
    relation, texts, _ = _parse(scale, found)
    return f"{relation} {texts[0]}" if relation else f"between {texts[0]} and {texts[1]}"


def _compares(scale: _Scale, constant: str) -> Predicate:
    relation, _, values = _parse(scale, constant)
    value_of, low, high = scale.attribute, values[0], values[-1]
    if not relation:
        return lambda value: (own := value_of(value)) is not None and low <= own <= high
    holds = _RELATIONS[relation]
    return lambda value: (own := value_of(value)) is not None and holds(own, low)


_DIGITS: Final = re.compile(r"-?[0-9]+")
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def _number(text: str) -> float | None:
    """Read a number; an integer stays exact."""
    if not _NUMBER.fullmatch(text):
        return None
    number = int(text) if _DIGITS.fullmatch(text) else float(text)
    return number if is_number(number) else None


def _number_of(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


_NATURAL: Final = "(0|[1-9][0-9]*)"
_VERSION: Final = re.compile(
    rf"{_NATURAL}\.{_NATURAL}\.{_NATURAL}(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)


def version_of(value: object) -> tuple[Any, ...] | None:
    """Return what orders a semantic version as semver.org has it, None for what is none; build metadata is ignored."""
    written = _VERSION.fullmatch(value) if isinstance(value, str) else None
    if not written:
        return None
    identifiers = written[4].split(".") if written[4] else []
    if any(not each or (each.isdecimal() and each != "0" and each[0] == "0") for each in identifiers):
        return None
    before = tuple((False, int(each)) if each.isdecimal() else (True, each) for each in identifiers)
    return int(written[1]), int(written[2]), int(written[3]), not before, before


def _moment_of(value: object) -> Any:
    from canary_sdk.core.dates import moment_of

    return moment_of(value)


_NUMBERS: Final = _Scale(_number, _number_of, "'>= 18', '< 0.5' or 'between 18 and 65'")
_VERSIONS: Final = _Scale(version_of, version_of, "'>= 2.4.0', '< 3.0.0-rc.1' or 'between 2.0.0 and 2.9.9'")
_DATES: Final = _Scale(_moment_of, _moment_of, "'before 2026-01-01', 'after 2026-01-01T12:00:00Z' or '>= 2026-01-01'")


OPERATORS: Final[Mapping[str, Operator]] = {
    "equals": Operator(_scalar, lambda constant: _one_of([constant])),
    "in": Operator(_some, _one_of),
    "starts_with": Operator(filled, partial(_is_text, str.startswith)),
    "ends_with": Operator(filled, partial(_is_text, str.endswith)),
    "contains": Operator(filled, _contains),
    "matches": Operator(_expression, _matches),
    "number": Operator(partial(_comparison, _NUMBERS), partial(_compares, _NUMBERS)),
    "version": Operator(partial(_comparison, _VERSIONS), partial(_compares, _VERSIONS)),
    "date": Operator(partial(_comparison, _DATES), partial(_compares, _DATES)),
    "exists": Operator(boolean, lambda constant: lambda value: (value is not None) is constant),
}
