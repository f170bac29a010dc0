"""Dates as values: ISO 8601 text, and what an application holds, as moments that can be compared.

Where no offset is said, UTC is meant; a date alone is its midnight. It never asks what time it is.
"""

from __future__ import annotations

from datetime import UTC, date, datetime


def moment_of(found: object) -> datetime | None:
    """Return the moment, None for what holds none. Raises ValueError for text that is no date."""
    if isinstance(found, str):
        found = datetime.fromisoformat(found)
    if isinstance(found, datetime):
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return datetime(found.year, found.month, found.day, tzinfo=UTC) if isinstance(found, date) else None


def iso_date(found: object) -> str:
    """Return a date as ISO 8601 text, from itself or from such text. Raises ValueError."""
    moment = moment_of(found)
    if moment is None:
        raise ValueError
    return moment.date().isoformat()
