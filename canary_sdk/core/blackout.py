"""When nothing may be released further: windows that come again every week or every day, in a place's own local time.

    Fri 16:00-Mon 08:00 Europe/Berlin    from Friday afternoon to Monday morning
    22:00-06:00 America/New_York         every night
    Sat 00:00-Mon 00:00                  UTC, where no place is named

It knows no time zones: the caller says what minute of the week it is in each place, so that a day of 23 or 25 hours is
the caller's arithmetic and a window begins and ends when the clocks on the wall there say so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from canary_sdk.core.reading import say, string

if TYPE_CHECKING:
    from collections.abc import Mapping

DAY_MIN: Final = 24 * 60
WEEK_MIN: Final = 7 * DAY_MIN

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
"""A week begins on Monday at 00:00, which is its minute 0."""

_FORM: Final = re.compile(
    r"\s*(?:([A-Za-z]{3})[a-z]*\s+)?(\d\d?):(\d\d)\s*[-–]\s*(?:([A-Za-z]{3})[a-z]*\s+)?(\d\d?):(\d\d)"
    r"(?:\s+([A-Za-z][A-Za-z0-9_+/-]*))?\s*",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Blackout:
    """One window: from `begin` until before `end`, in minutes of each `period`, by the clocks of `zone`."""

    text: str = field(compare=False)
    zone: str
    begin: int
    end: int
    period: int

    def holds(self, local: Mapping[str, int]) -> bool:
        """Tell whether it is in force, from the minute of the week by zone; where that is not known, it is."""
        if self.zone not in local:
            return True
        return (local[self.zone] - self.begin) % self.period < (self.end - self.begin) % self.period


def parse_blackout(found: object) -> Blackout:
    """Read one window.

    Raises:
        ValueError: with one sentence.
    """
    written = _FORM.fullmatch(string(found))
    if written is None or (written[1] is None) is not (written[4] is None):
        raise ValueError(f"found {say(found)}, expected a window such as 'Fri 16:00-Mon 08:00 Europe/Berlin'")
    period = DAY_MIN if written[1] is None else WEEK_MIN
    begin, end = _minute(written[1], written[2], written[3]), _minute(written[4], written[5], written[6])
    if begin == end:
        raise ValueError(f"found {say(found)}, expected a window that ends at another time than it begins")
    zone = written[7] or "UTC"
    return Blackout(f"{_say(begin, period)}-{_say(end, period)} {zone}", zone, begin, end, period)


def _minute(day: str | None, hour: str, minute: str) -> int:
    if int(hour) > 23 or int(minute) > 59:
        raise ValueError(f"found the time {hour}:{minute}, expected one from 00:00 to 23:59")
    if day is not None and day.title() not in DAYS:
        raise ValueError(f"found the day {day!r}, expected one of {', '.join(DAYS)}")
    return (DAYS.index(day.title()) if day else 0) * DAY_MIN + int(hour) * 60 + int(minute)


def _say(minute: int, period: int) -> str:
    day = f"{DAYS[minute // DAY_MIN]} " if period == WEEK_MIN else ""
    return f"{day}{minute % DAY_MIN // 60:02}:{minute % 60:02}"
