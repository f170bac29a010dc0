"""Contains what goes wrong inside the package: counts it by place, and says it once in the log with what to do.

Where a request must go on, nothing of ours may run that could fail again, and nothing may be written to a log: there a
failure is only noted, which is a single append. The background counts and says it at its next turn.
"""

from __future__ import annotations

from collections import deque
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Failure = tuple[str, BaseException | str, str]

LOGGER_NAME: Final = "canary_sdk"
MOST_PLACES: Final = 256
MOST_WAITING: Final = 1_000


class Failures:
    """How often what failed.

    `note((place, error, advice))` is the bound append of a deque: it cannot fail, and costs what an append costs.
    Threads: any may note; `settle` and `counts` are for one at a time, and nothing is locked. Memory: at most 1,000
    failures wait, the oldest give way uncounted; at most 256 places are told apart, then "other".
    """

    note: Callable[[Failure], None]

    def __init__(self) -> None:
        """Start with nothing wrong."""
        self._waiting: deque[Failure] = deque(maxlen=MOST_WAITING)
        self._counts: dict[str, int] = {}
        self.note = self._waiting.append

    @property
    def counts(self) -> Mapping[str, int]:
        """Failures by place, as of now."""
        self.settle()
        return MappingProxyType(dict(self._counts))

    def settle(self) -> None:
        """Count what waits; the first failure of a place goes to the log. A log that fails is nobody's business."""
        while self._waiting:
            place, error, advice = self._waiting.popleft()
            if place not in self._counts and len(self._counts) >= MOST_PLACES:
                place = "other"
            seen = self._counts.get(place, 0)
            self._counts[place] = seen + 1
            if not seen:
                _say(place, error, advice)


def _say(place: str, error: BaseException | str, advice: str) -> None:
    import logging

    logging.getLogger(LOGGER_NAME).warning(
        "%s failed: %s. %s (said once; counted in status().failures)",
        place,
        error if isinstance(error, str) else repr(error),
        advice,
        exc_info=error if isinstance(error, Exception) else None,
    )
