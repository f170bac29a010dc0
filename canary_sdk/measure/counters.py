"""A frozen reading of one arm's counters. It reads nothing itself and knows neither files nor processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from canary_sdk.measure.layout import BLOCK, LIMITS, WORD, cell_of, size_of

WRITES: Final = cell_of(BLOCK, "writes")
ABORTED: Final = cell_of(BLOCK, "aborted")
EARLY: Final = cell_of(BLOCK, "early")
STREAMS: Final = cell_of(BLOCK, "streams")
RESPONSE_START_NS: Final = cell_of(BLOCK, "response_start_ns")
LATENCY_NS: Final = cell_of(BLOCK, "latency_ns")
ERRORS: Final = cell_of(BLOCK, "errors")
BINS: Final = cell_of(BLOCK, "bins")
OVER: Final = cell_of(BLOCK, "over")
REQUESTS: Final = cell_of(BLOCK, "requests")
CELLS: Final = size_of(BLOCK) // WORD


def nanoseconds(limit_s: float) -> int:
    """Return a limit as the arena writes it; what is written is never 0, which means none."""
    return max(1, round(limit_s * 1e9))


@dataclass(frozen=True, slots=True)
class Counters:
    """A frozen reading of one arm: the words of a block, added up over all processes.

    `limits_ns` says which limit each cell of `over` belongs to; 0 means none. Memory: 8 bytes a cell, and the integers.
    """

    cells: tuple[int, ...] = (0,) * CELLS
    limits_ns: tuple[int, ...] = (0,) * LIMITS

    @property
    def requests(self) -> int:
        """Requests that are finished, or known to be over a limit."""
        return self.cells[REQUESTS]

    @property
    def errors(self) -> int:
        """Finished requests that failed."""
        return self.cells[ERRORS]

    @property
    def aborted(self) -> int:
        """Requests whose client went away."""
        return self.cells[ABORTED]

    @property
    def bins(self) -> tuple[int, ...]:
        """Finished requests by duration; see `canary_sdk.measure.sketch`."""
        return self.cells[BINS:OVER]

    def over(self, limit_s: float) -> int:
        """Requests that took longer. Raises: ValueError, for a limit the arm is not held against."""
        return self.cells[OVER + self.limits_ns.index(nanoseconds(limit_s))]
