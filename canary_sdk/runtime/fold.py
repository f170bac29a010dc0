"""Turns finished units and calls into counters: takes them from the rings, an arm and a trial for each flag they met.

Units that are still open are kept, and counted against latency limits as their age crosses them, so that a request
which hangs is seen hanging. Work is cut into small pieces with a pause between, so that no other thread waits long for
it.

Threads: the ticker's only.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import combinations, islice
from typing import TYPE_CHECKING, Final

from canary_sdk.core.flags.evaluation import Role
from canary_sdk.measure.sketch import bin_of
from canary_sdk.ports import Ended
from canary_sdk.runtime.scope import ABORTED, FAILED, UNDECIDED, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from canary_sdk.clock import Clock
    from canary_sdk.core.flags.evaluation import Evaluation
    from canary_sdk.core.judge.slo import Cut, Of
    from canary_sdk.measure.arena import Arena
    from canary_sdk.measure.arm import Arm
    from canary_sdk.measure.trial import Trial
    from canary_sdk.runtime.failures import Failure
    from canary_sdk.runtime.scope import Unit, Units

    Cuts = Mapping[str, Mapping[str, Mapping[str, Cut]]]
    Limits = Mapping[tuple[str, Of], tuple[float, ...]]
    Trials = Mapping[str, Mapping[Of, Trial]]
    Progress = dict[str | Trial, int]
    """What an open unit was counted for already: how many limits of a flag's arm, and whether in its trial."""

PIECE: Final = 64
"""Marks counted before other threads are let in: a unit that met a hundred flags takes as long as a hundred units."""
MOST_PIECES: Final = 100
"""Into how many pieces what came in since the last time is cut, about, at most: on a busy machine each pause takes its
time, and what waits too long for its turn is lost."""
BATCH: Final = 256
"""Records taken from a ring at once."""
MOST_OPEN: Final = 65_536
"""Open units kept under watch; the oldest is let go first, and counted as dropped."""
SERVER_ERROR: Final = 500
_NUMBER: Final = 0xFFFF_FFFF


class Folder:
    """Folds one process's rings into its segment of the arena."""

    def __init__(
        self, units: Units, arena: Arena, clock: Clock, note: Callable[[Failure], object] = lambda _: None
    ) -> None:
        """Fold the rings that `units` has now; `note` is told of a reported value that is no number."""
        self._source = units
        self._units = units.ring
        self._calls = units.call_ring
        self._values = units.value_ring
        self._note = note
        self._cuts: Cuts = {}
        self._arena = arena
        self._now = clock.monotonic
        self._pause = clock.pause
        self._open: deque[tuple[Unit, Progress]] = deque()
        self._arms: dict[tuple[str, Role, Of], Arm] = {}
        self._limits: Limits = {}
        self._trials: Trials = {}
        self._led: frozenset[str] = frozenset()
        self.met: set[tuple[str, str]] = set()
        """Pairs of flags under a rollout that a unit of work has met both of."""
        self._let_go = 0
        self._done = 0
        self._piece = PIECE

    @property
    def open_units(self) -> int:
        """How many units of work are open and under watch."""
        return len(self._open)

    @property
    def dropped(self) -> int:
        """Units, calls and reported values that were never counted because there was no room for them."""
        return self._units.dropped + self._calls.dropped + self._values.dropped + self._let_go

    def hold_against(self, limits: Limits) -> None:
        """Count requests over these limits (seconds) from now on, by flag key and kind."""
        self._limits = limits
        self._arms.clear()

    def cut(self, cuts: Cuts) -> None:
        """Count reported values by these cuts from now on: by flag key, by indicator, by what the arm counts."""
        self._cuts = cuts

    def lead(self, flag_keys: frozenset[str]) -> None:
        """Notice from now on where units of work meet several of these flags."""
        self._led = flag_keys
        self.met = {pair for pair in self.met if flag_keys.issuperset(pair)}

    def count_for(self, trials: Trials) -> None:
        """Count for the sequential judge in these trials from now on, by flag key and by what is counted."""
        self._trials = trials

    def arm(self, flag_key: str, role: Role, of: Of) -> Arm:
        """Return the arm that counts one side of a flag; entered into the arena at first sight."""
        name = (flag_key, role, of)
        arm = self._arms.get(name)
        if arm is None:
            arm = self._arms[name] = self._arena.arm(f"{flag_key}/{role}/{of}", self._limits.get((flag_key, of), ()))
        return arm

    def fold(self) -> None:
        """Count everything that has finished since the last time."""
        for trials in self._trials.values():
            for trial in trials.values():
                trial.refresh()
        self._piece = max(PIECE, (len(self._units) + len(self._calls)) // MOST_PIECES)
        self._piecewise(len(self._open), self._fold_open)
        self._piecewise(self._units.capacity, self._fold_new)
        self._piecewise(self._calls.capacity, self._fold_calls)
        self._piecewise(self._values.capacity, self._fold_values)

    def _piecewise(self, most: int, fold_piece: Callable[[], bool]) -> None:
        """Fold piece by piece until there is no more, or `most` records are done."""
        for _ in range(0, most, BATCH):
            if not fold_piece():
                return

    def _let_others_in(self, done: int) -> None:
        """Pause whenever a piece is done, of which `done` was just added."""
        self._done += done
        if self._done >= self._piece:
            self._done = 0
            self._pause(0)

    def _fold_open(self) -> bool:
        for _ in range(min(BATCH, len(self._open))):
            unit, progress = self._open.popleft()
            self._let_others_in(1 + len(unit.marks))
            if not self._settle(unit, progress):
                self._open.append((unit, progress))
        return True

    def _fold_new(self) -> bool:
        units = self._units.drain(BATCH)
        for unit in units:
            self._let_others_in(1 + len(unit.marks))
            progress: Progress = {}
            if not self._settle(unit, progress):
                self._open.append((unit, progress))
        while len(self._open) > MOST_OPEN:
            self._open.popleft()
            self._let_go += 1
        return len(units) == BATCH

    def _fold_calls(self) -> bool:
        calls = self._calls.drain(BATCH)
        for unit, evaluation, seconds, outcome in calls:
            self._let_others_in(1)
            arm = self.arm(evaluation.flag_key, evaluation.role, "call")
            if outcome == ABORTED:
                arm.abort()
                continue
            index, error = bin_of(seconds), outcome == FAILED
            arm.finish(seconds, index, error=error)
            self._try(unit, evaluation, "call", seconds, index, error=error)
        return len(calls) == BATCH

    def _fold_values(self) -> bool:
        values = self._values.drain(PIECE)
        for unit, marks, name, value in values:
            if not isinstance(value, (int, float)) or math.isnan(value):
                what = "NaN" if isinstance(value, float) else f"a value of type {type(value).__name__}"
                self._note((f"observing {name}", f"found {what}, expected a number or a boolean", "It was not counted"))
                continue
            for flag_key, (evaluation, _) in islice(list(unit.marks.items()), marks):
                for counts, cut in self._cuts.get(flag_key, {}).get(name, {}).items():
                    error = cut.is_bad(value)
                    self.arm(flag_key, evaluation.role, counts).finish(0.0, 0, error=error)
                    self._try(unit, evaluation, counts, 0.0, 0, error=error)
        return len(values) == PIECE

    def _try(
        self, unit: Unit | None, evaluation: Evaluation, counts: Of, seconds: float, index: int, *, error: bool
    ) -> None:
        """Count for the sequential judge what was done or reported in a unit, whose the user and the time are.

        What one unit does many times over is no evidence of many, so where the user is not known it is told apart.
        """
        trial = self._trial(evaluation, counts)
        mark = unit.marks.get(evaluation.flag_key) if unit is not None else None
        if trial is not None and unit is not None and mark is not None:
            is_candidate = evaluation.role is Role.CANDIDATE
            number = hash((id(unit), unit.started)) & _NUMBER | 1
            trial.count(mark[1], unit.started, seconds, index, is_candidate=is_candidate, error=error, unit=number)

    def _settle(self, unit: Unit, progress: Progress) -> bool:
        """Count a unit that has ended and return True; one that is open against the limits that its age has crossed.

        The age is read before the end: a unit that is seen open at an age was open at that age.
        """
        now = self._now()
        if not unit.ended:
            if unit.marks and not (unit.streamed and unit.responded):
                self._watch_age(unit, now - unit.started, progress)
            return False
        if unit.marks:
            self._count(unit, progress)
        return True

    def _watch_age(self, unit: Unit, age_s: float, progress: Progress) -> None:
        for flag_key, (evaluation, key) in list(unit.marks.items()):
            arm = self.arm(flag_key, evaluation.role, "unit")
            progress[flag_key] = arm.overdue(age_s, progress.get(flag_key, 0))
            trial = self._trial(evaluation, "unit")
            if trial is not None and trial not in progress:
                is_candidate = evaluation.role is Role.CANDIDATE
                if trial.overdue(key, unit.started, age_s, is_candidate=is_candidate):
                    progress[trial] = 1

    def _count(self, unit: Unit, progress: Progress) -> None:
        response_start_s = unit.responded - unit.started if unit.responded else 0.0
        duration_s = response_start_s if unit.streamed and unit.responded else unit.ended - unit.started
        index = bin_of(duration_s)
        error = unit.outcome == FAILED or (unit.outcome == UNDECIDED and unit.status >= SERVER_ERROR)
        marks = list(unit.marks.items())
        if len(marks) > 1 and len(self._led) > 1:
            self.met.update(combinations(sorted(key for key, _ in marks if key in self._led), 2))
        for flag_key, (evaluation, key) in marks:
            arm = self.arm(flag_key, evaluation.role, "unit")
            counted = progress.get(flag_key, 0)
            if unit.outcome == ABORTED and not counted:
                arm.abort()
            else:
                arm.finish(
                    duration_s,
                    index,
                    counted,
                    error=error,
                    response_start_s=response_start_s,
                    stream=unit.streamed,
                )
            trial = None if unit.outcome == ABORTED else self._trial(evaluation, "unit")
            if trial is not None:
                trial.count(
                    key,
                    unit.started,
                    duration_s,
                    index,
                    is_candidate=evaluation.role is Role.CANDIDATE,
                    error=error,
                    is_counted=trial in progress,
                )
        if self._source.observe is not None:
            aborted, is_request = unit.outcome == ABORTED, type(unit) is Request
            ended = Ended(duration_s, error, aborted, is_request, unit.status, unit.route)
            self._source.observe([evaluation for _, (evaluation, _) in marks], ended)

    def _trial(self, evaluation: Evaluation, counts: Of) -> Trial | None:
        """Return where what this answer led to is compared, if the split gave it and anybody compares."""
        trials = None if evaluation.role is Role.APART else self._trials.get(evaluation.flag_key)
        return None if trials is None else trials.get(counts)
