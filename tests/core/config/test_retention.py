"""Claims about how long things are kept, as configured."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.core.config.retention import Retention, parse_retention, retention_fields
from canary_sdk.core.reading import LONGEST_S
from canary_sdk.errors import ConfigError

DAY_S = 86_400.0
AGES = st.none() | st.floats(0.001, LONGEST_S).map(lambda seconds: round(seconds, 6))
NUMBERS = st.none() | st.integers(1, 10**9)
AGE = "expected a duration of at most a year such as '90d', or 'forever'"


@pytest.mark.parametrize(
    ("section", "retention"),
    [
        ({}, Retention(journal_s=90 * DAY_S, journal_lines=None, audit_s=None, audit_rows=None)),
        ({"journal": "forever"}, Retention(journal_s=None)),
        ({"journal": "30d", "journal_lines": 5}, Retention(journal_s=30 * DAY_S, journal_lines=5)),
        ({"audit": 60, "audit_rows": 1}, Retention(audit_s=60.0, audit_rows=1)),
    ],
)
def test_the_section_is_read(section: dict[str, Any], retention: Retention) -> None:
    """Each key sets its own bound, and what is left out stays usual."""
    assert parse_retention(section) == retention


@given(
    st.builds(Retention, journal_s=AGES, journal_lines=NUMBERS, audit_s=AGES, audit_rows=NUMBERS),
)
def test_it_is_written_and_read_again(retention: Retention) -> None:
    """In the words of the configuration, without what is not bounded."""
    fields = retention_fields(retention)
    assert parse_retention(fields) == retention
    assert None not in fields.values()


def test_every_mistake_is_named() -> None:
    """At its key, all at once."""
    with pytest.raises(ConfigError) as caught:
        parse_retention({"journal": "for ever", "audit": 0, "journal_lines": 0, "audit_row": 5})
    assert sorted(map(str, caught.value.problems)) == [
        f"audit: found 0, {AGE}",
        "audit_row: unknown key, expected audit, audit_rows, journal or journal_lines; did you mean 'audit_rows'?",
        f"journal: found 'for ever', {AGE}",
        "journal_lines: found 0, expected 1 or more",
    ]
