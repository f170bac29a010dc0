"""What units of work add to the trial of a flag: who counts, once, and one that hangs while it hangs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from canary_sdk.core.flags.evaluation import Evaluation, Reason, Role
from canary_sdk.core.judge.slo import Cut
from canary_sdk.measure.arena import Arena
from canary_sdk.measure.trial import BASELINE, CANDIDATE, ERRORS, UNITS, Mode, Published, cells_of
from canary_sdk.runtime.fold import MOST_PIECES, PIECE, Folder
from canary_sdk.runtime.scope import ABORTED, FAILED, UNDECIDED, Unit, Units

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from canary_sdk.testing import ManualClock

EDGES = ((0.5,),)


class Host:
    """The counting half of one process, with one flag on trial since now."""

    def __init__(self, clock: ManualClock, path: Path) -> None:
        self.clock = clock
        self.arena = Arena(path, clock=clock)
        self.units = Units(clock, lambda: None)
        self.units.warm_up()
        self.folder = Folder(self.units, self.arena, clock)
        trial = self.arena.trial("checkout")
        assert trial is not None
        self.trial = trial
        trial.publish(Published(mode=Mode.JUDGING, candidate=EDGES, baseline=EDGES), is_new_stage=True)
        self.folder.count_for({"checkout": {"unit": trial}})

    def open(self, role: Role, key: str | None = "user-1") -> Unit:
        """Open a unit that meets the flag on this side."""
        unit = self.units.open()
        unit.marks["checkout"] = Evaluation("checkout", None, "", Reason.SPLIT, role), key
        return unit

    def cells(self, side: int) -> tuple[int, ...]:
        """Return who was within the limit, and who over it."""
        return cells_of(self.arena.read_trial(self.trial), side, (2,))[0]

    def ended(self, side: int) -> tuple[int, int]:
        """Return how many units ended, and how many of them failed."""
        words = self.arena.read_trial(self.trial)
        return words[UNITS + side], words[ERRORS + side]


@pytest.fixture
def host(clock: ManualClock, tmp_path: Path) -> Iterator[Host]:
    """A process that counts."""
    host = Host(clock, tmp_path / "a.arena")
    yield host
    host.arena.close()


def test_each_arm_counts_on_its_side_and_nobody_else_does(host: Host) -> None:
    """Cells, ends and failures; what was decided apart from the split and what was aborted is left out."""
    host.open(Role.CANDIDATE, "a").finish(host.clock.monotonic() + 0.9, FAILED)
    host.open(Role.BASELINE, "b").finish(host.clock.monotonic() + 0.1)
    host.open(Role.BASELINE, "c").finish(host.clock.monotonic() + 0.2)
    host.open(Role.APART, "d").finish(host.clock.monotonic() + 0.9)
    host.open(Role.BASELINE, "e").finish(host.clock.monotonic() + 0.1, ABORTED)
    host.folder.fold()
    assert (host.cells(CANDIDATE), host.ended(CANDIDATE)) == ((0, 1), (1, 1))
    assert (host.cells(BASELINE), host.ended(BASELINE)) == ((2, 0), (2, 0))


def test_a_unit_that_hangs_is_over_the_limit_once(host: Host) -> None:
    """It is there as its age crosses the last edge, and ends in no other cell."""
    unit = host.open(Role.CANDIDATE)
    host.clock.advance(0.4)
    host.folder.fold()
    assert host.cells(CANDIDATE) == (0, 0)
    for _ in range(3):
        host.clock.advance(0.2)
        host.trial.next_batch()
        host.folder.fold()
        assert (host.cells(CANDIDATE), host.ended(CANDIDATE)) == ((0, 1), (0, 0))
    unit.finish(host.clock.monotonic(), FAILED)
    host.trial.next_batch()
    host.folder.fold()
    assert (host.cells(CANDIDATE), host.ended(CANDIDATE)) == ((0, 1), (1, 1))


def test_new_terms_hold_from_the_next_fold_on(host: Host) -> None:
    """What another process of the host publishes is looked at before anything is counted."""
    other = Arena(host.arena.path, clock=host.clock)
    theirs = other.trial("checkout")
    assert theirs is not None
    theirs.publish(Published(mode=Mode.JUDGING, candidate=EDGES, baseline=((1.0,),)), is_new_stage=True)
    host.open(Role.BASELINE).finish(host.clock.monotonic() + 0.9)
    host.folder.fold()
    assert host.cells(BASELINE) == (1, 0)
    other.close()


@pytest.mark.parametrize("flags", [1, 100])
def test_others_are_let_in_after_so_many_marks(host: Host, monkeypatch: pytest.MonkeyPatch, flags: int) -> None:
    """However many flags a unit met, no more than a piece, and the unit that ends it, is counted between two pauses."""
    marks = 10 * PIECE
    for _ in range(marks // flags):
        unit = host.open(Role.BASELINE)
        for number in range(1, flags):
            unit.marks[f"flag-{number}"] = unit.marks["checkout"]
        unit.finish(host.clock.monotonic() + 0.1)
    pauses: list[float] = []
    monkeypatch.setattr(host.folder, "_pause", pauses.append)
    host.folder.fold()
    assert len(pauses) >= marks // (PIECE + flags)
    assert set(pauses) == {0}


def test_much_that_waits_is_cut_into_larger_pieces(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause takes long where the machine is busy, so there are only so many, or the ring would overflow meanwhile."""
    monkeypatch.setattr("canary_sdk.runtime.fold.PIECE", 2)
    for _ in range(8 * MOST_PIECES):
        host.open(Role.BASELINE).finish(host.clock.monotonic() + 0.1)
    pauses: list[float] = []
    monkeypatch.setattr(host.folder, "_pause", pauses.append)
    host.folder.fold()
    assert MOST_PIECES <= len(pauses) <= 2 * MOST_PIECES


@pytest.mark.parametrize(("key", "counted"), [("user-1", 1), (None, 2)])
def test_what_a_unit_does_many_times_over_counts_once(host: Host, key: str | None, counted: int) -> None:
    """Calls and values of a user, or of a unit whose user is not known, as good or as bad as the first of them."""
    for name in ("call", "hit<0.5"):
        trial = host.arena.trial(f"checkout/{name}")
        assert trial is not None
        trial.publish(Published(mode=Mode.JUDGING, candidate=EDGES, baseline=EDGES), is_new_stage=True)
        host.folder.count_for({"checkout": {name: trial}})
        host.folder.cut({"checkout": {"hit": {"hit<0.5": Cut(0.5, below=True)}}})
        for _ in range(2):
            host.clock.advance(0.001)
            unit = host.open(Role.CANDIDATE, key)
            for good in (False, True, True):
                host.units.call_ring.append((unit, unit.marks["checkout"][0], 0.1, FAILED if not good else UNDECIDED))
                host.units.value_ring.append((unit, 1, "hit", good))
            unit.finish(host.clock.monotonic())
        host.folder.fold()
        words = host.arena.read_trial(trial)
        assert (words[UNITS + CANDIDATE], words[ERRORS + CANDIDATE]) == (counted, counted)
