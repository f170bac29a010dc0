"""What is counted for the sequential judge: a user once a batch, by side, stratum and latency, in all processes."""

from __future__ import annotations

import itertools
import math
import sys
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import mmh3
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from canary_sdk.core.flags.bucketing import BUCKETS, bucket_of
from canary_sdk.core.judge.strata import MICRO_BANDS, SEED, STRATA, micro_band
from canary_sdk.measure import layout
from canary_sdk.measure.arena import Arena
from canary_sdk.measure.layout import BANDS, PAST_BITS, PLACES
from canary_sdk.measure.sketch import bin_of, log_of
from canary_sdk.measure.trial import (
    BAND_ERRORS,
    BAND_UNITS,
    BASELINE,
    CANDIDATE,
    ERRORS,
    NEWCOMERS,
    PASTS,
    PSEUDO_CANDIDATE,
    UNITS,
    VERSION,
    WRITES,
    Mode,
    Published,
    Trial,
    bands_of,
    cells_of,
    futures_of,
    pasts_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EDGES: Final = ((0.1, 0.5),)
TERMS: Final = Published(mode=Mode.JUDGING, candidate=((0.11, 0.55),), baseline=EDGES, began_s=100.0)
WIDTHS: Final = (3,)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an arena may be made."""
    return tmp_path / "a.arena"


@pytest.fixture
def arena(path: Path) -> Iterator[Arena]:
    """An arena in a file."""
    arena = Arena(path)
    assert not arena.private_reason
    yield arena
    arena.close()


def on_trial(arena: Arena, terms: Published = TERMS) -> Trial:
    """Begin a stage by these terms."""
    trial = arena.trial("checkout")
    assert trial is not None
    trial.publish(terms, is_new_stage=True)
    return trial


def end(trial: Trial, key: str | None, seconds: float, *, on: bool = False, error: bool = False) -> None:
    """Let a unit end that began in the stage."""
    trial.count(key, 100.0, seconds, bin_of(seconds), is_candidate=on, error=error)


def test_each_side_is_counted_by_its_own_edges(arena: Arena) -> None:
    """Exactly at an edge is not over it; a failure counts on its side, whatever its cell."""
    trial = on_trial(arena)
    for number, seconds in enumerate((0.1, 0.105, 0.5, 0.52, 9.0)):
        end(trial, f"b{number}", seconds)
        end(trial, f"c{number}", seconds, on=True, error=seconds == 9.0)
    words = arena.read_trial(trial)
    assert cells_of(words, BASELINE, WIDTHS) == ((1, 2, 2),)
    assert cells_of(words, CANDIDATE, WIDTHS) == ((2, 2, 1),)
    assert (words[UNITS + BASELINE], words[ERRORS + BASELINE]) == (5, 0)
    assert (words[UNITS + CANDIDATE], words[ERRORS + CANDIDATE]) == (5, 1)


def test_a_user_counts_once_a_batch_in_all_processes(path: Path) -> None:
    """Whoever serves a user's other requests leaves them out; in the next batch the user counts again."""
    arenas = Arena(path), Arena(path)
    first = on_trial(arenas[0])
    second = arenas[1].trial("checkout")
    assert second is not None
    for _ in range(3):
        end(first, "user-1", 0.2)
        end(second, "user-1", 0.2)
    assert arenas[0].read_trial(first)[UNITS + BASELINE] == 1
    first.next_batch()
    second.refresh()
    end(second, "user-1", 0.2)
    for arena in arenas:
        assert arena.read_trial(first)[UNITS + BASELINE] == 2
        arena.close()


def test_places_that_share_a_byte_are_told_apart(arena: Arena) -> None:
    """Each of eight neighbours counts once a batch and is new once a stage, whichever of them were seen before."""
    keys: dict[int, str] = {}
    for number in itertools.count():
        place = mmh3.hash(f"user-{number}", SEED, False) >> 16
        keys |= {place: f"user-{number}"} if place < 8 else {}
        if len(keys) == 8:
            break
    trial = on_trial(arena)
    for batch in (1, 2):
        for _ in range(2):
            for key in keys.values():
                end(trial, key, 0.2)
        words = arena.read_trial(trial)
        assert (words[UNITS + BASELINE], words[NEWCOMERS + 1]) == (8 * batch, 8)
        trial.next_batch()


def test_who_is_new_is_counted_once_a_stage(arena: Arena) -> None:
    """A user is new once, on the arm of the first unit; without a key each request is; a new stage forgets."""
    trial = on_trial(arena)
    for _ in range(3):
        end(trial, "user-1", 0.2)
        end(trial, "user-2", 0.2, on=True)
        end(trial, None, 0.2)
        trial.next_batch()
        trial.refresh()
    words = arena.read_trial(trial)
    assert words[NEWCOMERS : NEWCOMERS + 2] == (1, 4)
    trial.publish(TERMS, is_new_stage=False)
    end(trial, "user-1", 0.2)
    assert arena.read_trial(trial)[NEWCOMERS + 1] == 4
    trial.publish(TERMS, is_new_stage=True)
    end(trial, "user-1", 0.2)
    assert arena.read_trial(trial)[NEWCOMERS + 1] == 5


def test_a_unit_that_hangs_is_in_the_last_cell_while_it_hangs(arena: Arena) -> None:
    """As soon as its age is over the last edge, and once; when it ends, only how it ended is counted."""
    trial = on_trial(arena)
    assert not trial.overdue("user-1", 100.0, 0.55, is_candidate=True)
    assert trial.overdue("user-1", 100.0, 0.56, is_candidate=True)
    words = arena.read_trial(trial)
    assert cells_of(words, CANDIDATE, WIDTHS) == ((0, 0, 1),)
    assert words[UNITS + CANDIDATE] == 0
    trial.count("user-1", 100.0, 30.0, bin_of(30.0), is_candidate=True, error=True, is_counted=True)
    words = arena.read_trial(trial)
    assert cells_of(words, CANDIDATE, WIDTHS) == ((0, 0, 1),)
    assert (words[UNITS + CANDIDATE], words[ERRORS + CANDIDATE]) == (1, 1)


def test_what_began_before_the_stage_is_left_out(arena: Arena) -> None:
    """On both arms, whether it ends or hangs; and nothing is counted while nobody is on trial."""
    trial = on_trial(arena)
    trial.count("user-1", 99.9, 0.2, bin_of(0.2), is_candidate=False, error=False)
    assert not trial.overdue("user-1", 99.9, 60.0, is_candidate=True)
    trial.publish(replace(TERMS, mode=Mode.IDLE), is_new_stage=False)
    end(trial, "user-1", 0.2)
    assert not trial.overdue("user-1", 100.0, 60.0, is_candidate=True)
    assert not any(arena.read_trial(trial) + arena.read_learnt(trial))


def test_a_user_is_counted_in_the_stratum_of_the_map(arena: Arena) -> None:
    """By the micro-band of the key; one without a key is in the middle."""
    strata = bytes(band % STRATA for band in range(MICRO_BANDS))
    edges = EDGES * STRATA
    trial = on_trial(arena, replace(TERMS, candidate=edges, baseline=edges, strata=strata))
    end(trial, "user-1", 0.2)
    end(trial, None, 0.2)
    cells = cells_of(arena.read_trial(trial), BASELINE, (3,) * STRATA)
    expected = [0] * STRATA
    expected[micro_band("user-1") % STRATA] += 1
    expected[STRATA // 2] += 1
    assert [sum(stratum) for stratum in cells] == expected


def test_a_part_of_the_baseline_plays_the_candidate(arena: Arena) -> None:
    """As large as asked for, the same users every time, and never the candidate's own."""
    trial = on_trial(arena, replace(TERMS, pseudo=0.25))
    for number in range(2000):
        end(trial, f"user-{number}", 0.2, on=number % 2 == 0)
    words = arena.read_trial(trial)
    pseudo, rest = words[UNITS + PSEUDO_CANDIDATE], words[UNITS + BASELINE]
    assert 0.2 < pseudo / (pseudo + rest) < 0.3
    assert cells_of(words, PSEUDO_CANDIDATE, WIDTHS) == ((0, pseudo, 0),)


def test_before_a_release_the_future_arms_and_the_past_are_learnt(arena: Arena) -> None:
    """The first buckets are counted apart; errors by percent of the buckets; latencies by micro-band. Later no more."""
    seed = 77
    trial = on_trial(arena, replace(TERMS, mode=Mode.LEARNING, seed=seed, first=0.25))
    keys = [f"user-{number}" for number in range(200)]
    for key in keys:
        end(trial, key, 0.2, error=key == "user-7")
    words, learnt = arena.read_trial(trial), arena.read_learnt(trial)
    future = sum(bucket_of(key, seed) < BUCKETS // 4 for key in keys)
    counted = words[UNITS + CANDIDATE] + words[UNITS + BASELINE]
    assert abs(words[UNITS + CANDIDATE] - future) <= 200 - counted < 5  # some may share a place
    assert sum(learnt[PASTS : PASTS + MICRO_BANDS]) == counted * ((1 << PAST_BITS) + bin_of(0.2))
    assert sum(learnt[BAND_UNITS : BAND_UNITS + BANDS]) == counted
    percent = bucket_of("user-7", seed) * 100 // BUCKETS
    assert [band for band in range(BANDS) if learnt[BAND_ERRORS + band]] == [percent]
    trial.publish(TERMS, is_new_stage=True)
    end(trial, "user-1", 0.2)
    assert arena.read_learnt(trial) == learnt


def test_what_is_learnt_is_learnt_by_all_processes(path: Path) -> None:
    """Each adds to it, and each reads all of it; two processes they are."""
    arenas = Arena(path), Arena(path)
    first = on_trial(arenas[0], replace(TERMS, mode=Mode.LEARNING))
    second = arenas[1].trial("checkout")
    assert second is not None
    end(first, "user-1", 0.2)
    end(second, "user-2", 0.2)
    for arena, trial in zip(arenas, (first, second), strict=True):
        assert sum(pasts_of(arena.read_learnt(trial)).counts) == 2
        assert arena.processes == 2
    assert not first.private
    assert not second.private
    for arena in arenas:
        arena.close()


def test_terms_that_are_being_changed_are_not_taken(path: Path) -> None:
    """A process that looks amid a change goes on by the old terms, and takes the new ones when they are whole."""
    arenas = Arena(path), Arena(path)
    first = on_trial(arenas[0])
    second = arenas[1].trial("checkout")
    assert second is not None
    first._head[VERSION] += 1  # as in the midst of a change, or after its author died there
    first._terms[:8] = (1_000).to_bytes(8, sys.byteorder)
    second.refresh()
    end(second, "user-1", 0.105, on=True)
    assert cells_of(arenas[0].read_trial(first), CANDIDATE, WIDTHS) == ((1, 0, 0),)
    first.publish(replace(TERMS, candidate=((0.01,),)), is_new_stage=False)
    second.refresh()
    end(second, "user-2", 0.105, on=True)
    assert cells_of(arenas[0].read_trial(first), CANDIDATE, (2,)) == ((1, 1),)
    for arena in arenas:
        arena.close()


def test_there_is_room_for_so_many(arena: Arena) -> None:
    """A flag too many is refused and counted, and the others are the same objects as before."""
    trials = [arena.trial(f"flag-{number}") for number in range(layout.TRIALS)]
    assert [trial and trial.name for trial in trials] == [f"flag-{number}" for number in range(layout.TRIALS)]
    for times in (1, 2):
        assert arena.trial("one-more") is None
        assert arena.refused["trials"] == times
    assert arena.trial("flag-3") is trials[3]


def test_each_has_room_of_its_own(arena: Arena) -> None:
    """The terms of each stand where the file has their place, and those of the others are as they were."""
    trials = [trial for number in range(3) if (trial := arena.trial(f"flag-{number}")) is not None]
    for number, trial in enumerate(trials):
        trial.publish(replace(TERMS, baseline=((1.0 + number,),)), is_new_stage=True)
    for number, trial in enumerate(trials):
        assert trial.number is not None
        start = layout.TRIAL_TERMS.offset + trial.number * layout.TRIAL_TERMS.size
        assert bytes(arena._bytes[start : start + layout.TRIAL_TERMS.size]) == bytes(trial._terms)
        end(trial, "user-1", 1.0 + number)
        assert cells_of(arena.read_trial(trial), BASELINE, (2,)) == ((1, 0),)


def test_without_a_file_a_process_counts_for_itself() -> None:
    """Everything works in memory of its own."""
    arena = Arena()
    trial = on_trial(arena, replace(TERMS, mode=Mode.LEARNING))
    end(trial, "user-1", 0.2)
    assert arena.read_trial(trial)[UNITS + BASELINE] == 1
    assert sum(pasts_of(arena.read_learnt(trial)).counts) == 1
    assert arena.processes == 1


def test_it_says_in_a_line_what_it_counts_and_where(arena: Arena) -> None:
    """Nothing yet, in the arena, or for itself alone."""
    trial = arena.trial("checkout")
    assert repr(trial) == "<Trial checkout, untouched, IDLE, batch 0>"
    end(on_trial(arena), None, 0.2)
    assert repr(trial) == "<Trial checkout, shared, JUDGING, batch 1>"
    alone = on_trial(Arena())
    end(alone, None, 0.2)
    assert repr(alone) == "<Trial checkout, private, JUDGING, batch 1>"


def test_edges_survive_their_way_through_the_arena(arena: Arena) -> None:
    """To the nanosecond: limits of SLOs are exact."""
    limits = (0.0001, 0.1234567, 0.5, 7.25)
    trial = on_trial(arena, replace(TERMS, baseline=(limits,)))
    for number, limit in enumerate(limits):
        end(trial, f"at-{number}", limit)
        end(trial, f"over-{number}", math.nextafter(limit, math.inf))
    assert cells_of(arena.read_trial(trial), BASELINE, (5,)) == ((1, 2, 2, 2, 1),)


# --- against a plain model ---

LIMITS: Final = tuple((0.1 * (1 + stratum), 0.5 * (1 + stratum)) for stratum in range(STRATA))
SHIFTED: Final = tuple((*(edge * 1.5 for edge in edges), 9.0) for edges in LIMITS)
SORTED: Final = bytes(band * 7 % STRATA for band in range(MICRO_BANDS))
PHASES: Final = tuple(
    Published(mode=mode, began_s=began, candidate=SHIFTED, baseline=LIMITS, strata=SORTED, seed=seed, **shares)
    for mode, began, seed, shares in (
        (Mode.JUDGING, 100.0, 5, {"pseudo": 0.3}),
        (Mode.LEARNING, 100.0, 6, {"first": 0.4}),
        (Mode.LEARNING, 101.5, 7, {"first": 0.0}),
        (Mode.IDLE, 0.0, 0, {}),
    )
)
USERS: Final = st.none() | st.sampled_from([f"user-{number}" for number in range(9)])
TIMES: Final = st.sampled_from([0.001, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 8.0, 30.0])
BEGUN: Final = st.sampled_from([99.0, 100.0, 101.0, 102.0])
STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("end"), USERS, BEGUN, TIMES, st.booleans(), st.booleans()),
        st.tuples(st.just("hang"), USERS, BEGUN, TIMES, st.booleans(), st.booleans()),
        st.tuples(st.just("batch")),
        st.tuples(st.just("publish"), st.sampled_from(PHASES), st.booleans()),
    ),
    max_size=30,
)


OFTEN: Final[list[tuple[Any, ...]]] = [
    step
    for on in (False, True)
    for batch in range(3)
    for key in ("user-1", "user-2", None)
    for step in (
        *[("hang", key, 100.0, 30.0 - 10 * batch, on, True)] * 2,
        ("end", key, 102.0, 0.5, on, True),
        ("batch",),
        ("end", key, 102.0, 0.5, on, True),
    )
]
"""Everything twice: what hangs while it has been counted, and whoever fails in one batch and in the next."""


class Plain:
    """What a trial counts, by sets and counters."""

    def __init__(self, terms: Published) -> None:
        """Begin with a stage."""
        self.cells: Counter[tuple[int, int, int]] = Counter()
        self.counts: Counter[tuple[str, int]] = Counter()
        self.writes = 0
        self.publish(terms, is_new_stage=True)

    def publish(self, terms: Published, *, is_new_stage: bool) -> None:
        """Go on by other terms, in another batch."""
        self.terms = terms
        self.counted: set[int] = set()
        if is_new_stage:
            self.seen: set[int] = set()

    def of(self, what: str) -> dict[int, int]:
        """All counts of a kind that are not 0."""
        return {number: count for (kind, number), count in self.counts.items() if kind == what and count}

    def side(self, key: str | None, on: bool) -> int:
        """Whose unit it is."""
        is_learning = self.terms.mode is Mode.LEARNING
        if on:
            return PSEUDO_CANDIDATE if is_learning else CANDIDATE
        if key is None:
            return BASELINE
        if is_learning:
            return CANDIDATE if bucket_of(key, self.terms.seed) < self.terms.first * BUCKETS else BASELINE
        return PSEUDO_CANDIDATE if self.place(key) < round(self.terms.pseudo * PLACES) else BASELINE

    def place(self, key: str) -> int:
        """Where it is remembered who was seen."""
        return mmh3.hash(key, SEED, False) // 2**16

    def lane(self, key: str | None, on: bool) -> tuple[int, int, tuple[float, ...]]:
        """The side and the stratum of a unit, and the edges that it is counted by."""
        stratum = STRATA // 2 if key is None else SORTED[micro_band(key)]
        side = self.side(key, on)
        return side, stratum, (SHIFTED if side == CANDIDATE else LIMITS)[stratum]

    def is_counted(self, begun: float) -> bool:
        """Whether a unit is any of this stage's."""
        return self.terms.mode is not Mode.IDLE and begun >= self.terms.began_s

    def is_first(self, key: str | None, on: bool) -> bool:
        """Whether it is the user's first in the batch; who is new in the stage is counted."""
        place = None if key is None else self.place(key)
        if place in self.counted:
            return False
        if place not in self.seen:
            self.counts["new", 0 if on else 1] += 1
        if place is not None:
            self.counted.add(place)
            self.seen.add(place)
        return True

    def end(self, key: str | None, begun: float, seconds: float, on: bool, error: bool, *, hung: bool = False) -> None:
        """Count a unit that has ended."""
        if not self.is_counted(begun):
            return
        side, stratum, edges = self.lane(key, on)
        if not hung:
            if not self.is_first(key, on):
                return
            self.cells[side, stratum, sum(seconds > edge for edge in edges)] += 1
        self.counts["units", side] += 1
        self.counts["errors", side] += error
        self.writes += 1
        if key is not None and self.terms.mode is Mode.LEARNING and not on:
            percent = bucket_of(key, self.terms.seed) * BANDS // BUCKETS
            self.counts["band units", percent] += 1
            self.counts["band errors", percent] += error
            self.counts["past", micro_band(key)] += 1
            self.counts["bins", micro_band(key)] += bin_of(seconds)

    def hang(self, key: str | None, begun: float, age: float, on: bool) -> bool:
        """Count a unit that is older than the last edge."""
        side, stratum, edges = self.lane(key, on)
        if not self.is_counted(begun) or age <= edges[-1] or not self.is_first(key, on):
            return False
        self.cells[side, stratum, len(edges)] += 1
        self.writes += 1
        return True


@pytest.mark.parametrize("first", PHASES[:2], ids=["judging", "learning"])
@example(steps=OFTEN)
@given(steps=STEPS)
def test_it_counts_what_a_plain_model_counts(first: Published, steps: list[tuple[Any, ...]]) -> None:
    """In whatever order units end and hang, batches begin and terms change."""
    arena, model = Arena(), Plain(first)
    trial = on_trial(arena, first)
    batches = 1
    for what, *how in steps:
        if what == "batch":
            trial.next_batch()
            model.counted.clear()
        elif what == "publish":
            trial.publish(how[0], is_new_stage=how[1])
            model.publish(how[0], is_new_stage=how[1])
        else:
            key, begun, seconds, on, error = how
            hung = what == "hang" and trial.overdue(key, begun, seconds, is_candidate=on)
            if what == "hang":
                assert hung == model.hang(key, begun, seconds, on)
            trial.count(key, begun, seconds, bin_of(seconds), is_candidate=on, error=error, is_counted=hung)
            model.end(key, begun, seconds, on, error, hung=hung)
        batches += what in {"batch", "publish"}
        assert trial.batch == batches
    words, learnt = arena.read_trial(trial), arena.read_learnt(trial)
    for side in range(3):
        edges = SHIFTED if side == CANDIDATE else LIMITS
        widths = tuple(len(each) + 1 for each in edges)
        assert cells_of(words, side, widths) == tuple(
            tuple(model.cells[side, stratum, cell] for cell in range(width)) for stratum, width in enumerate(widths)
        )
        assert (words[UNITS + side], words[ERRORS + side]) == (
            model.counts["units", side],
            model.counts["errors", side],
        )
    assert words[NEWCOMERS : NEWCOMERS + 2] == (model.counts["new", 0], model.counts["new", 1])
    assert words[WRITES] == model.writes
    pasts, lowest, step = pasts_of(learnt), log_of(0), log_of(1) - log_of(0)
    assert {band: count for band, count in enumerate(pasts.counts) if count} == model.of("past")
    assert {band: total for band, total in enumerate(pasts.sums) if total} == pytest.approx(
        {band: count * lowest + model.counts["bins", band] * step for band, count in model.of("past").items()}
    )
    bands = [model.counts[what, percent] for what in ("band errors", "band units") for percent in range(BANDS)]
    assert bands_of(learnt) == tuple(bands)
    for percent in (0.0, 100.0, *(band + 0.5 for band in model.of("band units"))):
        mine = range(math.ceil(percent))
        future, rest = futures_of(bands_of(learnt), percent)
        assert future == tuple(sum(model.counts[what, each] for each in mine) for what in ("band errors", "band units"))
        assert (future.bad + rest.bad, future.total + rest.total) == (sum(bands[:BANDS]), sum(bands[BANDS:]))
