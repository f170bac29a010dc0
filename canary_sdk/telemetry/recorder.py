"""Counts what is exported, for this process: who met which variant, how long it took, what was found and done.

Monotone counts from the start of the process on (durations of HTTP requests in `requests`, of other units of work in
`others`), in memory that is bounded whatever the labels are. It knows no exporter, and nobody waits for it: those who
export read it when they want to.

Threads: one writes, the background; any may read: `dict()` of a table is one step, and a series is only added to.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.core.events import FlagKilled, FlagTripped, RolloutAborted, VerdictReached

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from canary_sdk.clock import Clock
    from canary_sdk.core.events import Event
    from canary_sdk.core.flags.evaluation import Evaluation
    from canary_sdk.ports import Ended

K = TypeVar("K")

MOST_SERIES: Final = 2_000
"""Label sets that one table tells apart; whatever comes later is counted together, under `None`."""


class Exposure(NamedTuple):
    """Which flag answered what, and why."""

    flag_key: str
    variant: str
    reason: str


class Arm(NamedTuple):
    """Whose durations are counted together. `error` says what went wrong, empty if nothing did."""

    flag_key: str
    variant: str
    role: str
    route: str | None
    status: int
    error: str


class Found(NamedTuple):
    """What a flag's verdict was."""

    flag_key: str
    outcome: str


class TakenBack(NamedTuple):
    """Which flag was taken back, and how: `tripped`, `killed` or `aborted`."""

    flag_key: str
    cause: str


class Series:
    """The durations of one arm: how many in each bin, and their sum in seconds."""

    __slots__ = ("bins", "sum_s")

    def __init__(self) -> None:
        """Begin with none."""
        self.bins: dict[int, int] = {}
        self.sum_s = 0.0

    def add(self, index: int, seconds: float) -> None:
        """Count one."""
        self.bins[index] = self.bins.get(index, 0) + 1
        self.sum_s += seconds


class Recorder:
    """A sink that counts. `bin_of` says into which bin of a histogram a duration in seconds belongs.

    Cost: two look-ups for each flag that a unit met, in the background. Memory: at most 2,000 label sets a table.
    """

    def __init__(self, bin_of: Callable[[float], int], *, clock: Clock = SYSTEM_CLOCK, most: int = MOST_SERIES) -> None:
        """Begin to count."""
        self._bin_of = bin_of
        self._clock = clock
        self._most = most
        self._begin()

    def _begin(self) -> None:
        """Begin anew: at the start, and in a forked child, which has done nothing yet of what its parent did."""
        self._pid = os.getpid()
        self.began_at = self._clock.wall()
        self.exposures: Counter[Exposure | None] = Counter()
        self.requests: dict[Arm | None, Series] = {}
        self.others: dict[Arm | None, Series] = {}
        self.verdicts: Counter[Found | None] = Counter()
        self.rollbacks: Counter[TakenBack | None] = Counter()

    def renew(self) -> None:
        """Begin anew if this is a forked child's first look."""
        if self._pid != os.getpid():
            self._begin()

    def finished(self, evaluations: Sequence[Evaluation], ended: Ended) -> None:
        """Count a unit once for each flag that it met; one whose client went away has no duration."""
        self.renew()
        table = self.requests if ended.is_request else self.others
        index = self._bin_of(ended.duration_s)
        error = "" if not ended.is_error else str(ended.status) if ended.status >= 500 else "_OTHER"
        for each in evaluations:
            self._count(self.exposures, Exposure(each.flag_key, each.variant, each.reason))
            if not ended.is_aborted:
                arm = Arm(each.flag_key, each.variant, each.role, ended.route, ended.status, error)
                self._series(table, arm).add(index, ended.duration_s)

    def handle(self, event: Event) -> None:
        """Count the verdicts, and what took a flag back."""
        self.renew()
        match event:
            case VerdictReached():
                self._count(self.verdicts, Found(event.flag_key, event.verdict.outcome.name))
            case FlagTripped() | FlagKilled() | RolloutAborted():
                self._count(self.rollbacks, TakenBack(event.flag_key, _CAUSES[type(event)]))
            case _:
                pass

    def _count(self, table: Counter[K | None], key: K) -> None:
        table[key if key in table or len(table) < self._most else None] += 1

    def _series(self, table: dict[Arm | None, Series], arm: Arm) -> Series:
        found = table.get(arm)
        if found is None:
            found = table.setdefault(arm if len(table) < self._most else None, Series())
        return found


_CAUSES: Final = {FlagTripped: "tripped", FlagKilled: "killed", RolloutAborted: "aborted"}
