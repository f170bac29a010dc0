"""Claims about single values: what is taken, at its edges, and how it is said."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from canary_sdk.core.dates import iso_date
from canary_sdk.core.reading import LONGEST_S, hint, is_number, list_of, parse_duration, parse_percent, ratio, say
from canary_sdk.errors import ConfigError


@pytest.mark.parametrize("found", [0, -0.0, 1.5, -(2**63), 2**63 - 1, 1e308])
def test_a_number(found: object) -> None:
    """A finite float is a number, and an integer of 64 bits from the lowest to the highest."""
    assert is_number(found)


@pytest.mark.parametrize("found", [True, False, None, "1", math.inf, math.nan, -(2**63) - 1, 2**63, 10**400, 1j, [1]])
def test_what_is_no_number(found: object) -> None:
    """Everything else is none: neither a boolean, nor what is endless, nor what needs more bits."""
    assert not is_number(found)


@pytest.mark.parametrize(("found", "expected"), [(0, 0.0), (1, 0.01), (1.5, 0.015), ("0.5%", 0.005), (100, 1.0)])
def test_a_ratio(found: object, expected: float) -> None:
    """A percentage is a ratio; only a bare number between 0 and 1 is in doubt, and neither of these is."""
    assert ratio(found) == expected


@pytest.mark.parametrize("found", [0.001, 0.999])
def test_a_ratio_in_doubt(found: float) -> None:
    """A bare fraction is refused, with both spellings that it can have meant."""
    with pytest.raises(ValueError, match=rf"write '{found:g}%' or '{found * 100:g}%', whichever is meant"):
        ratio(found)


def test_the_longest_duration() -> None:
    """A leap year is taken, in hours and in seconds, and nothing longer."""
    assert parse_duration("8784h") == parse_duration(LONGEST_S) == 31_622_400
    for found in ("8784.01h", LONGEST_S + 1):
        with pytest.raises(ValueError, match="at most 8784h"):
            parse_duration(found)


def test_durations_are_rounded_to_the_microsecond() -> None:
    """What is finer than a microsecond is rounded away; a percentage that is too fine is refused."""
    assert parse_duration(1.0000005001) == 1.000001
    assert parse_duration("0.0014ms") == 0.000001
    with pytest.raises(ValueError, match="three decimals"):
        parse_percent(0.0001)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ("x" * 60, f"'{'x' * 60}'"),
        ("x" * 61, f"'{'x' * 57}...'"),
        (True, "true"),
        (1.5, "1.5"),
        (7, "7"),
        (2**63, "an integer of more than 64 bits"),
        ({}, "a table"),
        ((), "a list"),
        (None, "a NoneType"),
        (date(2026, 1, 31), "a date"),
    ],
)
def test_what_was_found_is_said(found: object, words: str) -> None:
    """Its author recognises it: text in quotes, cut where it is long, and anything else by its kind."""
    assert say(found) == words


@pytest.mark.parametrize(
    ("found", "names", "meant"),
    [
        ("rolout", ["rollout", "rules"], "rollout"),
        ("Starts-With", ["ends_with", "starts_with"], "starts_with"),
        ("percent", ["rollout", "percents"], "rollout"),
        ("percent", ["percents"], "percents"),
        ("rule", ["rules", "ruled", "rulers"], "rules"),
        ("zzz", ["rollout"], None),
        (5, ["rollout"], None),
    ],
)
def test_a_hint(found: object, names: list[str], meant: str | None) -> None:
    """The nearest name is asked for, whatever its case and dashes; of another word for it, that which it means."""
    assert hint(found, names) == (f"; did you mean {meant!r}?" if meant else "")


def test_items_differ_as_they_are_written() -> None:
    """True is not 1, in a list of lists too; a table is the same in whatever order its keys are."""
    read = list_of(lambda found: found, "values")
    different = [1, True, 1.0, "1", [1], [True], [1, 2], ["1, 2"], {"a": 1}, {"a": True}]
    assert read(different) == different
    for first, again in ([{"a": 1, "b": [2]}, {"b": [2], "a": 1}], [[{"a": 1, "b": 2}], [{"b": 2, "a": 1}]]):
        with pytest.raises(ConfigError, match="again, expected it once"):
            read([first, again])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("2026-01-31", "2026-01-31"),
        ("20260131", "2026-01-31"),
        ("2026-01-31T23:59:59+02:00", "2026-01-31"),
        (date(2026, 1, 31), "2026-01-31"),
        (datetime(2026, 1, 31, 12, tzinfo=UTC), "2026-01-31"),
        (datetime(2026, 1, 31, 0, 30, tzinfo=timezone(timedelta(hours=2))), "2026-01-31"),
    ],
)
def test_a_date(found: object, expected: str) -> None:
    """A date is kept as ISO 8601 text, as it was where it was said."""
    assert iso_date(found) == expected


@pytest.mark.parametrize("found", ["", "soon", "2026-02-30", None, 5, True])
def test_what_is_no_date(found: object) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError):  # noqa: PT011 - whoever asks has the words
        iso_date(found)
