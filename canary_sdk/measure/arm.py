"""One arm, as one process counts it: what a finished, an open and an aborted request add, and in which order.

The order of the stores is the one that `canary_sdk.measure.layout` promises to readers. Nothing here knows where a
block is kept, and nothing reads what others count.

Threads: one, the ticker's; `hold_against` may be called from another.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from canary_sdk.measure.counters import (
    ABORTED,
    BINS,
    EARLY,
    ERRORS,
    LATENCY_NS,
    OVER,
    REQUESTS,
    RESPONSE_START_NS,
    STREAMS,
    WRITES,
    Counters,
)
from canary_sdk.measure.layout import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable


class Arm:
    """One arm, as this process counts it. Made by `Arena.arm`; the ticker alone counts.

    A request that is still open is shown to `overdue` from time to time, and `finish` or `abort` ends it. `counted` is
    what `overdue` returned last for this request and this arm: which limits have been counted already; 0 at first.

    `index` is its record in the directory, `private` its block where no shared one could be had, `last_read` the
    arena's last reading of it. Cost: about half a microsecond a count.
    """

    __slots__ = ("_limits", "_lowest_s", "_open_block", "_words", "index", "last_read", "limits_ns", "name", "private")

    def __init__(self, name: str, index: int | None, open_block: Callable[[Arm], memoryview]) -> None:
        """Stand for the record `index` of the directory; None if it has no room for this arm."""
        self.name = name
        self.index = index
        self.private: dict[str, memoryview] = {}
        self.last_read: tuple[tuple[int, ...], Counters] = ((), Counters())
        self._open_block = open_block
        self._words: memoryview | None = None
        self.hold_against((0,) * LIMITS)

    def hold_against(self, limits_ns: tuple[int, ...]) -> None:
        """Take the limits of the directory: cell by cell for the block, ascending for the count."""
        cells = sorted((limit / 1e9, OVER + cell, 1 << cell) for cell, limit in enumerate(limits_ns) if limit)
        self.limits_ns = limits_ns
        self._limits = tuple(cells)
        self._lowest_s = cells[0][0] if cells else math.inf

    @property
    def limits(self) -> tuple[float, ...]:
        """The limits it is held against, in seconds, ascending."""
        return tuple(limit for limit, _, _ in self._limits)

    def finish(
        self,
        duration_s: float,
        index: int,
        counted: int = 0,
        *,
        error: bool = False,
        response_start_s: float = 0.0,
        stream: bool = False,
    ) -> None:
        """Count a finished request; `index` is the `bin_of` its duration, computed once for all arms of the request.

        Units: seconds, not negative. `duration_s` is what its limits are about: for a streamed answer the caller may
        give the time to its start. A request that was overdue and then aborted is finished too: it was too slow.
        """
        words = self._words or self._open()
        if not counted:
            words[REQUESTS] += 1
        if duration_s > self._lowest_s:
            self._cross(words, duration_s, counted)
        words[BINS + index] += 1
        if error:
            words[ERRORS] += 1
        words[LATENCY_NS] += int(duration_s * 1e9)
        words[RESPONSE_START_NS] += int(response_start_s * 1e9)
        if stream:
            words[STREAMS] += 1
        words[WRITES] += 1

    def overdue(self, age_s: float, counted: int = 0) -> int:
        """Count an open request against the limits its age is over by now; return the new `counted`."""
        if age_s <= self._lowest_s:
            return counted
        words = self._words or self._open()
        if not counted:
            words[REQUESTS] += 1
        crossed = self._cross(words, age_s, counted)
        if not counted:
            words[EARLY] += 1
        if crossed != counted:
            words[WRITES] += 1
        return crossed

    def abort(self) -> None:
        """Count a request whose client went away, and that was never overdue."""
        words = self._words or self._open()
        words[ABORTED] += 1
        words[WRITES] += 1

    def let_go(self) -> None:
        """Forget the block: the next count asks the arena for one."""
        self._words = None

    def _cross(self, words: memoryview, seconds: float, counted: int) -> int:
        for limit_s, cell, bit in self._limits:
            if seconds <= limit_s:
                break
            if not counted & bit:
                words[cell] += 1
                counted |= bit
        return counted

    def _open(self) -> memoryview:
        self._words = self._open_block(self)
        return self._words

    def __repr__(self) -> str:
        kept = "private" if self.private else "shared" if self._words else "untouched"
        return f"<Arm {self.name}, {kept}, limits {self.limits}>"
