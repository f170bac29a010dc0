"""The last slices of one arm, and the tally of them. It reads no clock and no arena: readings and times come in.

Threads: one pushes, the ticker; any may tally.
"""

from __future__ import annotations

from array import array
from collections import Counter, deque
from dataclasses import replace
from itertools import compress
from operator import sub
from typing import TYPE_CHECKING, Final, NamedTuple

from canary_sdk.core.judge.tally import EMPTY, Tally
from canary_sdk.measure import sketch
from canary_sdk.measure.counters import ABORTED, BINS, CELLS, ERRORS, OVER, REQUESTS, Counters, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_NO_CELLS: Final = array("H")
_NO_DELTAS: Final = array("Q")


class _Slice(NamedTuple):
    """What changed between two readings: since when, which cells, and by how much."""

    since_s: float
    cells: array[int]
    deltas: array[int]


class Window:
    """What an arm did between the last readings: `slices` stretches of time, each from one `push` to the next.

    Memory: the last reading, a total of the cells in use, and for every slice about 500 bytes and 10 bytes a changed
    cell. Cost: `push` compares two readings, unless they are the same object; all else is O(changed cells).
    """

    def __init__(self, slices: int) -> None:
        """Begin empty: the first reading is only what the second one is compared with."""
        self.slices = slices
        self._last: Counters | None = None
        self._at_s = 0.0
        self._begin()

    @property
    def last(self) -> Counters:
        """The last reading."""
        return self._last or Counters()

    def push(self, counters: Counters, at_s: float) -> None:
        """End a slice at a time of the monotonic clock; the oldest gives way to it.

        When the counters began anew, or a limit was added to the arm, the window begins again too: what it holds and
        what comes cannot be compared.
        """
        last, since_s = self._last, self._at_s
        self._last, self._at_s = counters, at_s
        if last is None or last.limits_ns != counters.limits_ns:
            self._begin()
        elif counters is last:
            self._keep(_Slice(since_s, _NO_CELLS, _NO_DELTAS))
        else:
            changes = list(map(sub, counters.cells, last.cells))
            if min(changes) < 0:
                self._begin()
            else:
                cells, deltas = compress(range(CELLS), changes), filter(None, changes)
                self._keep(_Slice(since_s, array("H", cells), array("Q", deltas)))

    @property
    def reading(self) -> tuple[Counters, float] | None:
        """The last reading and its time; None before the first."""
        return None if self._last is None else (self._last, self._at_s)

    def tally(self, limits: Iterable[float] = (), quantiles: Collection[float] = ()) -> Tally:
        """Tally all slices.

        `over` has the limits that the arm is held against. A request that was counted while it was open can fail, or
        cross its next limit, in a later slice: `requests` is then as many as failed or crossed, so that a share of them
        is never above one and a late failure is never lost.
        """
        cells, held = self._total, self._held
        over = {limit: cells[cell] for limit in limits if (cell := self._cell_of(limit)) is not None}
        return Tally(
            requests=max(cells[REQUESTS], cells[ERRORS], *over.values()),
            errors=cells[ERRORS],
            aborted=cells[ABORTED],
            seconds=self._at_s - held[0].since_s if held else 0.0,
            over=over,
            quantiles=_quantiles(self.bins(), quantiles) if quantiles else {},
        )

    def bins(self) -> Counter[int]:
        """Return finished requests by duration, bins that are not empty; see `canary_sdk.measure.sketch`."""
        total = dict(self._total)  # in one step: another thread may look while the ticker counts
        return Counter({cell - BINS: count for cell, count in total.items() if BINS <= cell < OVER})

    def _begin(self) -> None:
        """Begin again at the last reading."""
        self._held: deque[_Slice] = deque()
        self._total: Counter[int] = Counter()

    def _keep(self, new: _Slice) -> None:
        self._total.update(dict(zip(new.cells, new.deltas, strict=True)))
        self._held.append(new)
        if len(self._held) > self.slices:
            old = self._held.popleft()
            self._total -= Counter(dict(zip(old.cells, old.deltas, strict=True)))  # keeps what is above zero

    def _cell_of(self, limit_s: float) -> int | None:
        limits_ns = self._last.limits_ns if self._last else ()
        limit = nanoseconds(limit_s)
        return OVER + limits_ns.index(limit) if limit in limits_ns else None


def tally(windows: Collection[Window], limits: Collection[float] = (), quantiles: Collection[float] = ()) -> Tally:
    """Tally what several arms did in the same time; see `Window.tally`. Their sketches are merged."""
    joined = sum((window.tally(limits) for window in windows), EMPTY)
    bins: Counter[int] = sum((window.bins() for window in windows), Counter())
    return replace(joined, quantiles=_quantiles(bins, quantiles))


def _quantiles(bins: Mapping[int, int], wanted: Iterable[float]) -> dict[float, float]:
    return sketch.quantiles(bins, wanted) if bins else {}
