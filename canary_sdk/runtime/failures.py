"""Contains what goes wrong inside the package: counts it by place, and says it once in the log with what to do."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

LOGGER_NAME: Final = "canary_sdk"
MOST_PLACES: Final = 256


class Failures:
    """How often what failed.

    Threads: any. A count may be low by one when two threads fail in the same instant; nothing is ever locked, because
    this is called where a request must go on. Memory: at most 256 places, then "other".
    """

    def __init__(self) -> None:
        """Start with nothing wrong."""
        self._counts: dict[str, int] = {}

    @property
    def counts(self) -> Mapping[str, int]:
        """Failures by place, as of now."""
        return MappingProxyType(dict(self._counts))

    def note(self, place: str, error: BaseException | str, advice: str) -> None:
        """Count a failure; the first one of a place goes to the log with `advice`. Never raises."""
        try:
            if place not in self._counts and len(self._counts) >= MOST_PLACES:
                place = "other"
            seen = self._counts.get(place, 0)
            self._counts[place] = seen + 1
            if not seen:
                _say(place, error, advice)
        except Exception:  # noqa: BLE001, S110 - the last line of defence of somebody else's request
            pass


def _say(place: str, error: BaseException | str, advice: str) -> None:
    import logging

    logging.getLogger(LOGGER_NAME).warning(
        "%s failed: %s. %s (said once; counted in status().failures)",
        place,
        error if isinstance(error, str) else repr(error),
        advice,
        exc_info=error if isinstance(error, Exception) else None,
    )
