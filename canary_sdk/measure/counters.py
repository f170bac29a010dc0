"""A frozen reading of one arm's counters. It reads nothing itself and knows neither files nor processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from canary_sdk.measure.layout import BLOCK, LIMITS, WORD, cell_of, size_of

if TYPE_CHECKING:
    from collections.abc import Mapping

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

    def to_sums(self) -> dict[str, int]:
        """Return all that is not 0 by name, limits by their nanoseconds: it adds up over hosts as over processes."""
        limits = range(OVER, OVER + LIMITS)
        found = {f"{cell}": count for cell, count in enumerate(self.cells) if count and cell not in limits}
        return found | {f">{limit}": self.cells[OVER + cell] for cell, limit in enumerate(self.limits_ns) if limit}

    @classmethod
    def from_sums(cls, sums: Mapping[str, float], limits_ns: tuple[int, ...]) -> Counters:
        """Read sums of an arm that is held against these limits, the cells in this order."""
        cells = [int(sums.get(f"{cell}", 0)) for cell in range(CELLS)]
        cells[OVER : OVER + LIMITS] = [int(sums.get(f">{limit}", 0)) if limit else 0 for limit in limits_ns]
        return cls(tuple(cells), limits_ns)

    def over(self, limit_s: float) -> int:
        """Requests that took longer. Raises: ValueError, for a limit the arm is not held against."""
        return self.cells[OVER + self.limits_ns.index(nanoseconds(limit_s))]
