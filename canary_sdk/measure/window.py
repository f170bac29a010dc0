"""The last slices of one arm, and the tally of them. It reads no clock and no arena: readings and times come in.

Threads: one, the ticker's.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter, deque
from dataclasses import replace
from itertools import compress
from operator import sub
from typing import TYPE_CHECKING, NamedTuple

from canary_sdk.core.tally import EMPTY, Tally
from canary_sdk.measure import sketch
from canary_sdk.measure.counters import ABORTED, BINS, CELLS, ERRORS, OVER, REQUESTS, Counters, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


class _Slice(NamedTuple):
    """What changed in one turn: which cells, and by how much. A cell may come twice."""

    turn: int
    since_s: float
    cells: array[int]
    deltas: array[int]


class Window:
    """The last `slices` slices of `slice_s` seconds; a tumbling interval is one that is cleared after its tally.

    Memory: the last reading, a total of the cells in use, and for every slice in which something changed about 500
    bytes and 10 bytes a changed cell. Cost: `push` compares two readings, unless they are the same object; all else is
    O(changed cells).
    """

    def __init__(self, slices: int, slice_s: float = 1.0) -> None:
        """Begin empty: the first reading is only what the second one is compared with."""
        self.slices = slices
        self.slice_s = slice_s
        self._last: Counters | None = None
        self._at_s = 0.0
        self.clear()

    def clear(self) -> None:
        """Begin again at the last reading."""
        self._since_s = self._at_s
        self._held: deque[_Slice] = deque()
        self._total: Counter[int] = Counter()

    def push(self, counters: Counters, at_s: float) -> None:
        """Keep what was counted since the last push, at a time of the monotonic clock.

        When the counters began anew, or a limit was added to the arm, the window begins again too: what it holds and
        what comes cannot be compared.
        """
        last, since_s = self._last, self._at_s
        self._last, self._at_s = counters, at_s
        if last is None or last.limits_ns != counters.limits_ns:
            self.clear()
        elif counters is not last:
            changes = list(map(sub, counters.cells, last.cells))
            if min(changes) < 0:
                self.clear()
            else:
                self._keep(array("H", compress(range(CELLS), changes)), array("Q", filter(None, changes)), since_s)
        self._forget()

    def tally(
        self, limits: Iterable[float] = (), quantiles: Collection[float] = (), seconds: float | None = None
    ) -> Tally:
        """Tally all slices, or those of the last `seconds`, rounded up to whole ones.

        `over` has the limits that the arm is held against. A request that was counted while it was open can fail, or
        cross its next limit, in a later slice: `requests` is then as many as failed or crossed, so that a share of them
        is never above one and a late failure is never lost.
        """
        length_s, cells = self._recent(seconds)
        over = {limit: cells[cell] for limit in limits if (cell := self._cell_of(limit)) is not None}
        return Tally(
            requests=max(cells[REQUESTS], cells[ERRORS], *over.values(), 0),
            errors=cells[ERRORS],
            aborted=cells[ABORTED],
            seconds=length_s,
            over=over,
            quantiles=_quantiles(self.bins(seconds), quantiles) if quantiles else {},
        )

    def bins(self, seconds: float | None = None) -> Counter[int]:
        """Return finished requests by duration, bins that are not empty; see `canary_sdk.measure.sketch`."""
        cells = self._recent(seconds)[1]
        return Counter({cell - BINS: count for cell, count in cells.items() if BINS <= cell < OVER})

    def _recent(self, seconds: float | None) -> tuple[float, Counter[int]]:
        """Return how long the wanted slices were, and what changed in them."""
        turns = self.slices if seconds is None else min(self.slices, math.ceil(seconds / self.slice_s))
        recent = [held for held in self._held if held.turn > self._turn - turns]
        cells = self._total if len(recent) == len(self._held) else _summed(recent)
        return self._at_s - self._start(recent, self._turn - turns + 1), cells

    @property
    def _turn(self) -> int:
        return int(self._at_s // self.slice_s)

    def _keep(self, cells: array[int], deltas: array[int], since_s: float) -> None:
        self._total.update(dict(zip(cells, deltas, strict=True)))
        if self._held and self._held[-1].turn == self._turn:
            self._held[-1].cells.extend(cells)
            self._held[-1].deltas.extend(deltas)
        else:
            self._held.append(_Slice(self._turn, since_s, cells, deltas))

    def _forget(self) -> None:
        while self._held and self._held[0].turn <= self._turn - self.slices:
            oldest = self._held.popleft()
            self._total -= _summed([oldest])  # keeps what is above zero

    def _start(self, recent: list[_Slice], first_turn: int) -> float:
        """Return when the time began that these slices tell of; a turn without a slice has nothing to tell."""
        if recent and recent[0].turn == first_turn:
            return recent[0].since_s
        start = max(self._since_s, first_turn * self.slice_s)
        return min(start, recent[0].since_s) if recent else min(start, self._at_s)

    def _cell_of(self, limit_s: float) -> int | None:
        limits_ns = self._last.limits_ns if self._last else ()
        limit = nanoseconds(limit_s)
        return OVER + limits_ns.index(limit) if limit in limits_ns else None


def tally(
    windows: Collection[Window],
    limits: Collection[float] = (),
    quantiles: Collection[float] = (),
    seconds: float | None = None,
) -> Tally:
    """Tally what several arms did in the same time; see `Window.tally`. Their sketches are merged."""
    joined = sum((window.tally(limits, (), seconds) for window in windows), EMPTY)
    bins: Counter[int] = sum((window.bins(seconds) for window in windows), Counter())
    return replace(joined, quantiles=_quantiles(bins, quantiles))


def _summed(slices: Iterable[_Slice]) -> Counter[int]:
    total: Counter[int] = Counter()
    for held in slices:
        for cell, delta in zip(held.cells, held.deltas, strict=True):
            total[cell] += delta
    return total


def _quantiles(bins: Mapping[int, int], wanted: Iterable[float]) -> dict[float, float]:
    return sketch.quantiles(bins, wanted) if bins else {}
