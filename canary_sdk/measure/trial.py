"""What every process counts for the sequential judge of one flag: by side, stratum and latency, a user once a batch.

Units of work are counted in one trial, decorated calls and the values of an indicator each in one of their own. What is
said of units holds for them: a call or a value is of the user, and of the time, of the unit that it belongs to.

Whoever judges publishes the terms: edges, strata, since when. Whoever counts looks at them before every fold. What the
counts must keep, so that the judge may rest on them, is told in `core.judge.batch`.

Two things are needed of a user, and both are found by one hash of the targeting key that has nothing to do with the
flag's own: the micro-band, which says the stratum, and one of 65,536 places, of which two bits tell whether a user was
counted in this batch, and seen in this stage. All processes of the host share the places, so a user counts once,
whoever serves the requests; two that write the same eight places in the same moment may lose a bit, and then count a
user twice. Users who share a place are taken for one, on both arms alike. No key is kept.

Threads: the ticker's only.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from enum import IntEnum
from itertools import takewhile
from typing import TYPE_CHECKING, Final

import mmh3

from canary_sdk.core.flags.bucketing import BUCKETS, bucket_of
from canary_sdk.core.judge.evalues import Pair
from canary_sdk.core.judge.strata import MICRO_BANDS, SEED, STRATA, Pasts
from canary_sdk.measure.counters import nanoseconds
from canary_sdk.measure.layout import (
    BANDS,
    CELLS,
    COUNTS,
    LEARNT,
    PAST_BITS,
    PLACES,
    SIDES,
    TERMS,
    TRIAL,
    WORD,
    cell_of,
)
from canary_sdk.measure.sketch import log_of

if TYPE_CHECKING:
    from collections.abc import Callable

    Edges = tuple[tuple[float, ...], ...]

VERSION: Final = cell_of(TRIAL, "version")
BATCH: Final = cell_of(TRIAL, "batch")
BEGAN_NS: Final = cell_of(TRIAL, "began_ns")
MODE: Final = cell_of(TRIAL, "mode")
FLAG_SEED: Final = cell_of(TRIAL, "seed")
FIRST: Final = cell_of(TRIAL, "first")
PSEUDO: Final = cell_of(TRIAL, "pseudo")
MIDDLE: Final = cell_of(TRIAL, "middle")

WRITES: Final = cell_of(COUNTS, "writes")
NEWCOMERS: Final = cell_of(COUNTS, "newcomers")
ERRORS: Final = cell_of(COUNTS, "errors")
UNITS: Final = cell_of(COUNTS, "units")
LATENCY: Final = cell_of(COUNTS, "cells")

BAND_ERRORS: Final = cell_of(LEARNT, "band_errors")
BAND_UNITS: Final = cell_of(LEARNT, "band_units")
PASTS: Final = cell_of(LEARNT, "pasts")

CANDIDATE: Final = 0
BASELINE: Final = 1
PSEUDO_CANDIDATE: Final = 2

_MAP_AT: Final = cell_of(TERMS, "strata") * WORD
_PLACE_BITS: Final = 16
assert 1 << _PLACE_BITS == PLACES
_SEEN_BYTES: Final = PLACES // 8
_NOBODY_SEEN: Final = bytes(_SEEN_BYTES)
_ONE_UNIT: Final = 1 << PAST_BITS


class Mode(IntEnum):
    """What is counted."""

    IDLE = 0
    """Nothing: nobody is on the arms."""
    LEARNING = 1
    """Everybody is on the baseline: who they are, and how those will do who are the candidates of later."""
    JUDGING = 2
    """Both arms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """By what units are counted.

    Edges ascend, in seconds, a tuple a stratum. `began_s` is monotonic. `first` is the share of buckets that is the
    first to get the candidate; `pseudo` the share of all users that plays it on the baseline. `strata` says the stratum
    of every micro-band.
    """

    mode: Mode = Mode.IDLE
    candidate: Edges = ((),)
    baseline: Edges = ((),)
    strata: bytes = bytes(MICRO_BANDS)
    began_s: float = 0.0
    seed: int = 0
    first: float = 0.0
    pseudo: float = 0.0

    @property
    def middle(self) -> int:
        """The stratum of whom nothing is known."""
        return len(self.baseline) // 2


class Trial:
    """One trial of a flag, as this process counts it. Made by `Arena.trial`.

    `number` is its record in the arena, `private` its counts, and what it learnt, where no shared ones could be had.
    """

    __slots__ = (
        "_began_s",
        "_first",
        "_head",
        "_in_batch",
        "_in_stage",
        "_learnt",
        "_middle",
        "_mode",
        "_open_counts",
        "_open_learnt",
        "_pseudo",
        "_rows",
        "_seed",
        "_strata",
        "_terms",
        "_version",
        "_words",
        "name",
        "number",
        "private",
    )

    def __init__(
        self,
        name: str,
        number: int | None,
        memory: tuple[memoryview, memoryview, memoryview],
        open_counts: Callable[[Trial], memoryview],
        open_learnt: Callable[[Trial], memoryview],
    ) -> None:
        """Stand for one record: its head, its terms and the places of users, in `memory`."""
        self.name = name
        self.number = number
        self.private: dict[str, memoryview] = {}
        self._head, self._terms, seen = memory
        self._in_batch, self._in_stage = seen[:_SEEN_BYTES], seen[_SEEN_BYTES:]
        self._open_counts, self._open_learnt = open_counts, open_learnt
        self._words: memoryview | None = None
        self._learnt: memoryview | None = None
        self._version = -1
        self._mode = Mode.IDLE
        self.refresh()

    # --- who judges --------------------------------------------------------------------------------------------------

    @property
    def batch(self) -> int:
        """The number of the batch that is being counted; 0 if nobody has judged in this arena."""
        return int(self._head[BATCH])

    @property
    def terms(self) -> tuple[int, int]:
        """What is published: its version, and since when units count, monotonic nanoseconds."""
        return int(self._head[VERSION]), int(self._head[BEGAN_NS])

    def next_batch(self) -> None:
        """Let a batch begin, in which nobody was seen yet. Read afterwards: what is still counted belongs to it."""
        self._head[BATCH] += 1
        self._in_batch[:] = _NOBODY_SEEN

    def publish(self, terms: Published, *, is_new_stage: bool) -> None:
        """Change by what is counted; a new stage forgets who was seen.

        Other processes look before their next fold; the batch in which this happens mixes old and new.
        """
        head = self._head
        head[VERSION] += 1 + head[VERSION] % 2  # odd, also where a predecessor died amid
        head[MODE] = terms.mode
        head[BEGAN_NS] = max(0, int(terms.began_s * 1e9))
        head[FLAG_SEED], head[MIDDLE] = terms.seed, terms.middle
        head[FIRST], head[PSEUDO] = round(terms.first * BUCKETS), round(terms.pseudo * PLACES)
        sides = array("Q", _cells_of(terms.candidate) + _cells_of(terms.baseline))
        self._terms[: len(sides) * WORD] = memoryview(sides).cast("B")
        self._terms[_MAP_AT : _MAP_AT + MICRO_BANDS] = terms.strata
        self.next_batch()
        if is_new_stage:
            self._in_stage[:] = _NOBODY_SEEN
        head[VERSION] += 1
        self.refresh()

    # --- who counts --------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Look at what is published. Cost: a read, unless it has changed."""
        version = self._head[VERSION]
        if version != self._version and version % 2 == 0:
            self._load(version)

    def count(  # noqa: PLR0913 (what a unit is to a trial)
        self,
        key: str | None,
        started: float,
        seconds: float,
        index: int,
        *,
        is_candidate: bool,
        error: bool,
        is_counted: bool = False,
        unit: int = 0,
    ) -> None:
        """Count a unit that has ended after `seconds`, `index` being the `bin_of` them, if it is the user's first.

        `is_counted` says that `overdue` has put it into its cell already. A call or a value is of a `unit`, which 32
        bits stand for: where the user is not known, the first of each unit counts. Cost: about a microsecond.
        """
        if started < self._began_s or not self._mode:
            return
        words = self._words or self._open()
        digest = mmh3.hash(key, SEED, False) if key else unit
        side = self._side(key, digest, is_candidate)
        if not is_counted:
            if not self._is_first(words, digest, is_candidate):
                return
            edges, start = self._rows[side][self._strata[digest % MICRO_BANDS] if key else self._middle]
            words[start + bisect_left(edges, seconds)] += 1
        words[UNITS + side] += 1
        if error:
            words[ERRORS + side] += 1
        if key and self._mode is Mode.LEARNING and not is_candidate:
            self._learn(key, digest % MICRO_BANDS, index, error)
        words[WRITES] += 1

    def overdue(self, key: str | None, started: float, age_s: float, *, is_candidate: bool) -> bool:
        """Put a unit that is still open into the last cell if it is older than the last edge; return whether it was."""
        if started < self._began_s or not self._mode:
            return False
        digest = mmh3.hash(key, SEED, False) if key else 0
        side = self._side(key, digest, is_candidate)
        edges, start = self._rows[side][self._strata[digest % MICRO_BANDS] if key else self._middle]
        if not edges or age_s <= edges[-1]:
            return False
        words = self._words or self._open()
        if not self._is_first(words, digest, is_candidate):
            return False
        words[start + len(edges)] += 1
        words[WRITES] += 1
        return True

    def let_go(self) -> None:
        """Forget where to count: the next unit asks the arena."""
        self._words = self._learnt = None

    def _side(self, key: str | None, digest: int, is_candidate: bool) -> int:
        """Return whose unit it is: before a release, that of who will be.

        Who gets the candidate then already, by another tool, is counted as nobody else is then.
        """
        if is_candidate:
            return PSEUDO_CANDIDATE if self._mode is Mode.LEARNING else CANDIDATE
        if not key:
            return BASELINE
        if self._mode is Mode.LEARNING:
            return CANDIDATE if bucket_of(key, self._seed) < self._first else BASELINE
        return PSEUDO_CANDIDATE if digest >> _PLACE_BITS < self._pseudo else BASELINE

    def _is_first(self, words: memoryview, digest: int, is_candidate: bool) -> bool:
        """Tell whether it is this user's first unit in the batch, and count who is new; of nobody known, each is."""
        if not digest:
            words[NEWCOMERS if is_candidate else NEWCOMERS + 1] += 1
            return True
        place = digest >> _PLACE_BITS
        at, bit = place >> 3, 1 << (place & 7)
        seen = self._in_batch[at]
        if seen & bit:
            return False
        self._in_batch[at] = seen | bit
        seen = self._in_stage[at]
        if not seen & bit:
            self._in_stage[at] = seen | bit
            words[NEWCOMERS if is_candidate else NEWCOMERS + 1] += 1
        return True

    def _learn(self, key: str, band: int, index: int, error: bool) -> None:
        learnt = self._learnt or self._open_for_learning()
        learnt[PASTS + band] += _ONE_UNIT + index
        percent = bucket_of(key, self._seed) * BANDS // BUCKETS
        learnt[BAND_UNITS + percent] += 1
        if error:
            learnt[BAND_ERRORS + percent] += 1

    def _load(self, version: int) -> None:
        """Take over what is published, unless it is changed meanwhile."""
        head = self._head
        sides = self._terms[:_MAP_AT].cast("Q").tolist()
        strata = bytes(self._terms[_MAP_AT : _MAP_AT + MICRO_BANDS])
        mode, began_s = Mode(head[MODE]), head[BEGAN_NS] / 1e9
        seed, first, pseudo, middle = head[FLAG_SEED], head[FIRST], head[PSEUDO], head[MIDDLE]
        if head[VERSION] != version:
            return
        self._version, self._mode, self._began_s = version, mode, began_s
        self._seed, self._first, self._pseudo, self._middle, self._strata = seed, first, pseudo, middle, strata
        candidate, baseline = (_edges_of(sides[side * STRATA * CELLS :]) for side in (0, 1))
        self._rows = tuple(
            tuple((edges, LATENCY + (side * STRATA + stratum) * CELLS) for stratum, edges in enumerate(each))
            for side, each in enumerate((candidate, baseline, baseline))
        )

    def _open(self) -> memoryview:
        self._words = self._open_counts(self)
        return self._words

    def _open_for_learning(self) -> memoryview:
        self._learnt = self._open_learnt(self)
        return self._learnt

    def __repr__(self) -> str:
        kept = "private" if self.private else "shared" if self._words else "untouched"
        return f"<Trial {self.name}, {kept}, {self._mode.name}, batch {self.batch}>"


def cells_of(words: tuple[int, ...], side: int, widths: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return one side's cells by stratum, of which there are as many as `widths`, the numbers of cells of each."""
    starts = (LATENCY + (side * STRATA + stratum) * CELLS for stratum in range(len(widths)))
    return tuple(words[start : start + width] for start, width in zip(starts, widths, strict=True))


def pasts_of(words: tuple[int, ...]) -> Pasts:
    """Return of every micro-band what was learnt."""
    pasts, lowest, step = Pasts(), log_of(0), log_of(1) - log_of(0)
    learnt = [divmod(past, _ONE_UNIT) for past in words[PASTS : PASTS + MICRO_BANDS]]
    pasts.counts = array("d", (units for units, _ in learnt))
    pasts.sums = array("d", (units * lowest + bins * step for units, bins in learnt))
    return pasts


def bands_of(words: tuple[int, ...]) -> tuple[int, ...]:
    """Return, of what was learnt, errors by percent of the buckets, and then units."""
    return words[BAND_ERRORS : BAND_ERRORS + BANDS] + words[BAND_UNITS : BAND_UNITS + BANDS]


def futures_of(bands: tuple[int, ...], percent: float) -> tuple[Pair, Pair]:
    """Return how those failed, before the release, who are the candidates of a percentage, and how the rest did.

    Buckets were counted by whole percents: of a fraction, the whole one counts.
    """
    first = math.ceil(percent)
    errors, units = bands[:BANDS], bands[BANDS:]
    return Pair(sum(errors[:first]), sum(units[:first])), Pair(sum(errors[first:]), sum(units[first:]))


def _cells_of(edges: Edges) -> list[int]:
    """Write edges down, in as many cells as there are."""
    written: list[int] = []
    for stratum in range(STRATA):
        each = [nanoseconds(edge) for edge in edges[stratum]] if stratum < len(edges) else []
        written += each[: CELLS - 1] + [0] * (CELLS - len(each[: CELLS - 1]))
    return written


def _edges_of(words: list[int]) -> Edges:
    return tuple(
        tuple(edge / 1e9 for edge in takewhile(bool, words[stratum * CELLS : (stratum + 1) * CELLS]))
        for stratum in range(STRATA)
    )


assert SIDES == PSEUDO_CANDIDATE + 1
