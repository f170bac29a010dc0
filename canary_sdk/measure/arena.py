"""The arena: monotone counters an arm and guard bytes a flag, in one file that all processes of a host share.

Every process counts in a segment of its own, which nobody else writes; a reader adds the segments up and takes
differences. A process that dies leaves its counters behind, and its successor goes on from them, so no sum ever goes
down. `canary_sdk.measure.layout` draws the file, `canary_sdk.measure.mapping` opens it.

Nothing here raises into an application. What cannot be shared is kept in this process's memory instead, still counted
and still readable here; `private_reason` says why there is no file, and `refused` counts what found no room in it.

Threads: one thread a process counts, reads, beats and closes, the ticker's; any may use `arm`, `flag_slot`, `guard`.
Processes: an arena belongs to the process that opened it. A forked child opens an arena of its own, and forgets or
closes the inherited one: there, `heartbeat` returns False and `close` gives nothing back.
"""

from __future__ import annotations

import os
import threading
from array import array
from collections import Counter
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from operator import add
from typing import TYPE_CHECKING, Final, NamedTuple

import mmh3

from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.measure import layout, mapping
from canary_sdk.measure.arm import Arm
from canary_sdk.measure.counters import CELLS, WRITES, Counters, nanoseconds
from canary_sdk.measure.layout import ARM, SEEN, TERMS, TRIAL, WORD, cell_of, size_of
from canary_sdk.measure.lease import Lease
from canary_sdk.measure.segment import Segment, claim, is_forgotten, owners, owners_ever
from canary_sdk.measure.trial import Trial

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterable, Iterator

    from canary_sdk.clock import Clock

_CREATED: Final = cell_of(layout.HEADER, "created")
_FLAGS: Final = layout.FLAG_DIRECTORY.offset // WORD
_ARMS: Final = layout.ARM_DIRECTORY.offset // WORD
_ARM_WORDS: Final = size_of(ARM) // WORD
_ARM_LIMITS: Final = cell_of(ARM, "limits")
_ARM_NAME: Final = cell_of(ARM, "name")
_TRIALS: Final = layout.TRIAL_DIRECTORY.offset // WORD
_TRIAL_WORDS: Final = size_of(TRIAL) // WORD
_UNTOUCHED: Final = bytes(layout.SEGMENTS)


class _Counters(NamedTuple):
    """A kind of counters: which part holds them, a record a segment and number, and which says what is there."""

    part: layout.Part
    touched: layout.Part

    @property
    def words(self) -> int:
        """The words of a record."""
        return self.part.size // WORD

    def start(self, segment: int, number: int) -> int:
        """Return the first word of a segment's record of this number."""
        return self.part.offset // WORD + (segment * self.touched.records + number) * self.words


_OF_ARMS: Final = _Counters(layout.BLOCKS, layout.TOUCHED)
_OF_TRIALS: Final = _Counters(layout.TRIAL_COUNTS, layout.COUNTING)
_OF_LEARNING: Final = _Counters(layout.TRIAL_LEARNT, layout.LEARNING)


class Arena:
    """The counters and guard bytes of one store and environment on this host.

    Memory: of the file 0.6 MB, 8.25 KiB an arm and process that counts, and for each flag on trial 24 KiB and 6.1 KiB a
    process, or 40 KiB before a release; the rest of its 1.4 GB is a hole.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Map the file at `path`; without one, or where it cannot be had, memory of this process alone."""
        self.path = os.fspath(path) if path is not None else None
        self.private_reason = ""
        self.refused: Counter[str] = Counter()
        self._clock = clock
        self.owner = os.getpid()
        self._fd: int | None = None
        self._segment: Segment | None = None
        self._arms: dict[str, Arm] = {}
        self._trials: dict[str, Trial] = {}
        self._lock = threading.Lock()
        memory = memoryview(self._map())
        self.lease = Lease(None if self.path is None or self.private_reason else mapping.lease_path(self.path))
        self._words = memory.cast("Q")
        self._bytes = memory
        self.guard: memoryview = memory[layout.GUARD.offset : layout.GUARD.offset + layout.FLAGS]

    def flag_slot(self, flag_key: str) -> int:
        """Return the number of a flag's guard byte, allocated at first sight; 0 if there is no room.

        Cost: a hash and a few reads; a file lock at first sight on this host. Never for a request to wait for.
        """
        digest = _digest(flag_key)
        slot = self._find(_FLAGS, 1, digest, range(1, layout.FLAGS))
        if slot is not None and self._words[_FLAGS + slot] == digest:
            return slot
        with suppress(OSError), self._held():
            slot = self._find(_FLAGS, 1, digest, range(1, layout.FLAGS))
            if slot is not None:
                self._words[_FLAGS + slot] = digest
                return slot
        self.refused["flags"] += 1
        return 0

    def arm(self, name: str, limits: Iterable[float] = ()) -> Arm:
        """Return the arm of that name, held against at least these limits in seconds; always the same object.

        An arm or a limit for which the directory has no room is counted in `refused`: such an arm is counted in this
        process only, such a limit not at all. Cost: as `flag_slot`.
        """
        wanted = [nanoseconds(limit) for limit in limits]
        arm = self._arms.get(name)
        if arm is None or not set(wanted) <= set(arm.limits_ns):
            arm = self._entered(name, wanted)
        return arm

    def names(self) -> list[str]:
        """Return the names in the directory, for people: long ones are cut off."""
        heads = range(_ARMS, _ARMS + layout.ARMS * _ARM_WORDS, _ARM_WORDS)
        names = [bytes(self._words[head + _ARM_NAME : head + _ARM_WORDS]) for head in heads if self._words[head]]
        return [name.rstrip(b"\0").decode(errors="replace") for name in names]

    def read(self, arm: Arm) -> Counters:
        """Add up what all processes, alive or dead, have counted on an arm.

        The same object as before if nothing has changed. Cost: a slice for an arm that nobody has touched, a word a
        touched segment for an idle one, else O(cells) a touched segment.
        """
        views = self._views(_OF_ARMS, arm.index, arm.private)
        state = (*arm.limits_ns, *(view[WRITES] for view in views))
        if state != arm.last_read[0]:
            counted = Counters(limits_ns=arm.limits_ns)  # untouched arms share their zeros
            arm.last_read = (state, replace(counted, cells=_added(views, CELLS)) if views else counted)
        return arm.last_read[1]

    @property
    def identity(self) -> str:
        """What tells this file from any other on any host; empty where there is none."""
        if self._fd is None:
            return ""
        return f"{self._words[_CREATED]:x}-{os.fstat(self._fd).st_ino:x}"

    @property
    def processes(self) -> int:
        """How many processes have a segment now; at least one, ourselves."""
        return max(1, owners(self._words))

    def trial(self, name: str) -> Trial | None:
        """Return what is counted by that name for the sequential judge; always the same object. None without room.

        Cost: as `flag_slot`.
        """
        trial = self._trials.get(name)
        if trial is None:
            try:
                with self._held():
                    trial = self._trials.get(name) or self._opened_trial(name)
            except OSError:
                self.refused["trials"] += 1
        return trial

    def read_trial(self, trial: Trial) -> tuple[int, ...]:
        """Add up what all processes have counted in a trial. Cost: 784 words a touched segment."""
        return _added(self._views(_OF_TRIALS, trial.number, trial.private), _OF_TRIALS.words)

    def read_learnt(self, trial: Trial) -> tuple[int, ...]:
        """Add up what all processes have learnt before a release. Cost: 4,296 words a touched segment."""
        return _added(self._views(_OF_LEARNING, trial.number, trial.private), _OF_LEARNING.words)

    def heartbeat(self) -> bool:
        """Give a sign of life. False: the file is gone or damaged, or this is a fork; better open a new arena then.

        The counters of a new arena start anew: its owner asks again for slots and arms, and starts new windows. Who
        beats has a segment, if there is one left: so nobody who looks into the file loses it to others who leave.
        """
        if self.owner != os.getpid() or (self._fd is not None and not self._is_whole()):
            return False
        if self._segment is not None and not self._segment.is_ours:
            self._leave_segment()
        if self._segment is not None:
            self._segment.beat(self._now_ns())
        elif self._fd is not None:
            with suppress(OSError):
                self._claimed()
        return self._fd is None or self.path is None or mapping.is_at(self._fd, self.path)

    def _is_whole(self) -> bool:
        return layout.is_header(bytes(self._bytes[: layout.size_of(layout.HEADER)]))

    def close(self) -> None:
        """Give the segment back; its counters stay. Bounded, and done once. What is mapped stays readable.

        Who was alone in it, counted nothing and holds no flag back takes the file along, as a command does. Else it is
        left to others: all workers of a server may be recycled in the same moment.
        """
        if self._segment is not None and self._segment.is_ours:
            self._segment.give_back()
            with suppress(OSError), self._held():
                self._remove_if_alone()
        self._leave_segment()
        self.lease.let_go()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _remove_if_alone(self) -> None:
        if self._fd is None or self.path is None or not mapping.is_at(self._fd, self.path):
            return
        if (
            owners_ever(self._words) == 1
            and not any(self.guard)
            and not any(self._bytes[layout.TOUCHED.offset : layout.TOUCHED.end])
        ):
            os.unlink(self.path)  # noqa: PTH108 - pathlib is not worth its import here
            self.lease.remove()

    def _block(self, arm: Arm) -> memoryview:
        """Return the block in which this process counts an arm."""
        return self._own(_OF_ARMS, arm.index, arm.private)

    def _counts(self, trial: Trial) -> memoryview:
        """Return the record in which this process counts for a trial."""
        return self._own(_OF_TRIALS, trial.number, trial.private)

    def _learnt(self, trial: Trial) -> memoryview:
        """Return the record in which this process counts before a release."""
        return self._own(_OF_LEARNING, trial.number, trial.private)

    def _own(self, kind: _Counters, number: int | None, private: dict[str, memoryview]) -> memoryview:
        """Return this process's record of that number, ready to be touched: in `private` if it cannot be shared."""
        try:
            return self._shared(kind, number)
        except OSError:
            if self._fd is not None:
                self.refused[kind.part.name] += 1
        return private.setdefault(kind.part.name, memoryview(bytearray(kind.part.size)).cast("Q"))

    def _opened_trial(self, name: str) -> Trial | None:
        """Enter a trial, its room allocated before anybody finds it. Raises: OSError, when there is no room."""
        digest = _digest(name)
        number = self._find(_TRIALS, _TRIAL_WORDS, digest, range(layout.TRIALS))
        if number is None:
            self.refused["trials"] += 1
            return None
        head = self._words[_TRIALS + number * _TRIAL_WORDS : _TRIALS + (number + 1) * _TRIAL_WORDS]
        if self._fd is None:
            terms, seen = (memoryview(bytearray(size_of(record))) for record in (TERMS, SEEN))
            trial = Trial(name, None, (head, terms, seen), self._counts, self._learnt)
        else:
            terms, seen = (self._backed(part, number) for part in (layout.TRIAL_TERMS, layout.TRIAL_SEEN))
            trial = Trial(name, number, (head, terms, seen), self._counts, self._learnt)
        head[0] = digest
        return self._trials.setdefault(name, trial)

    def _backed(self, part: layout.Part, number: int) -> memoryview:
        """Return a record of a part, ready to be touched. Raises: OSError, when there is no room for it."""
        assert self._fd is not None
        start = part.offset + number * part.size
        mapping.back(self._fd, start, part.size)
        return self._bytes[start : start + part.size]

    def _map(self) -> mmap.mmap:
        if self.path is None:
            self.private_reason = "no file was asked for"
            return mapping.private()
        try:
            self._fd, memory = mapping.share(self.path, self._clock, self._is_worn)
        except (OSError, ValueError) as problem:
            self.private_reason = str(problem)
            return mapping.private()
        return memory

    def _is_worn(self, memory: mmap.mmap) -> bool:
        """Whether the file is of an earlier life: what it counted is nobody's, and it holds no flag back."""
        with memoryview(memory) as whole, whole.cast("Q") as words:
            held = any(whole[layout.GUARD.offset : layout.GUARD.offset + layout.FLAGS])
            return not held and is_forgotten(words, self._now_ns())

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Exclude other threads and processes. Raises: OSError, when that takes too long, or the file is closed."""
        if self._fd is None and not self.private_reason:
            raise mapping.Refused("the arena is closed")
        with self._lock, mapping.hold(self._fd, self._clock) if self._fd is not None else nullcontext():
            yield

    def _find(self, base: int, stride: int, digest: int, slots: range) -> int | None:
        """Return the slot with this hash, else the free one where it belongs, else None; by linear probing."""
        for step in range(len(slots)):
            slot = slots[(digest + step) % len(slots)]
            if self._words[base + slot * stride] in {0, digest}:
                return slot
        return None

    def _entered(self, name: str, wanted: Iterable[int]) -> Arm:
        """Return the arm, entered in the directory with its limits if there is room and its lock can be had."""
        try:
            with self._held():
                arm = self._arms.get(name) or self._arms.setdefault(name, Arm(name, self._arm_index(name), self._block))
                arm.hold_against(self._limits(arm, wanted))
        except OSError:
            self.refused["arms"] += 1
            arm = self._arms.setdefault(name, Arm(name, None, self._block))
            if arm.index is None:
                arm.hold_against(self._limits(arm, wanted))
        return arm

    def _arm_index(self, name: str) -> int | None:
        digest = _digest(name)
        index = self._find(_ARMS, _ARM_WORDS, digest, range(layout.ARMS))
        if index is None:
            self.refused["arms"] += 1
            return None
        head = _ARMS + index * _ARM_WORDS
        if not self._words[head]:
            written = name.encode()[: layout.NAME_BYTES].ljust(layout.NAME_BYTES, b"\0")
            start = (head + _ARM_NAME) * WORD
            self._bytes[start : start + layout.NAME_BYTES] = written
            self._words[head] = digest
        return index

    def _limits(self, arm: Arm, wanted: Iterable[int]) -> tuple[int, ...]:
        """Put the wanted limits into free cells of the arm's record, and return all of them."""
        cells = memoryview(array("Q", arm.limits_ns))
        if arm.index is not None:
            start = _ARMS + arm.index * _ARM_WORDS + _ARM_LIMITS
            cells = self._words[start : start + layout.LIMITS]
        for limit in wanted:
            room = [cell for cell, taken in enumerate(cells) if taken in {0, limit}]
            if room:
                cells[room[0]] = limit
            else:
                self.refused["limits"] += 1
        return tuple(cells)

    def _views(self, kind: _Counters, number: int | None, private: dict[str, memoryview]) -> list[memoryview]:
        """Return all records of this number that may be touched: the private one of this process, and in the file."""
        own = private.get(kind.part.name)
        views = [] if own is None else [own]
        return views if number is None else views + self._touched(kind, number)

    def _touched(self, kind: _Counters, number: int) -> list[memoryview]:
        """Return all records of this number in the file that may be touched."""
        start = kind.touched.offset + number * layout.SEGMENTS
        touched = bytes(self._bytes[start : start + layout.SEGMENTS])
        if touched == _UNTOUCHED:
            return []
        return [self._record(kind, segment, number) for segment, there in enumerate(touched) if there]

    def _shared(self, kind: _Counters, number: int | None) -> memoryview:
        """Return the record of this number in this process's segment. Raises: OSError, when there is no room for it."""
        if self._fd is None or number is None:
            raise mapping.Refused("there is no file, or no record of this name in it")
        segment = self._claimed()
        touched = kind.touched.offset + number * layout.SEGMENTS + segment
        if not self._bytes[touched]:
            mapping.back(self._fd, kind.start(segment, number) * WORD, kind.part.size)
            self._bytes[touched] = 1
        return self._record(kind, segment, number)

    def _record(self, kind: _Counters, segment: int, number: int) -> memoryview:
        start = kind.start(segment, number)
        return self._words[start : start + kind.words]

    def _claimed(self) -> int:
        """Return the number of this process's segment. Raises: OSError, when there is none."""
        if self._segment is None:
            with self._held():
                self._segment = claim(self._words, self._now_ns())
        if self._segment is None:
            raise mapping.Refused(f"{layout.SEGMENTS} processes count in this arena already")
        return self._segment.number

    def _leave_segment(self) -> None:
        self._segment = None
        for arm in list(self._arms.values()):
            arm.let_go()
        for trial in list(self._trials.values()):
            trial.let_go()

    def _now_ns(self) -> int:
        return int(self._clock.monotonic() * 1e9)

    def __repr__(self) -> str:
        kept = f"private: {self.private_reason}" if self.private_reason else self.path
        return f"<Arena {kept}, {len(self._arms)} arms, refused {dict(self.refused)}>"


def _digest(name: str) -> int:
    """Return the 64 bits that stand for a name; never 0, which means free."""
    digest: int = mmh3.hash64(name, signed=False)[0]
    return digest or 1


def _added(views: list[memoryview], words: int) -> tuple[int, ...]:
    """Add records up, each read from its beginning, a word at a time, as far as `words`."""
    cells = [0] * words
    for view in views:
        cells = list(map(add, cells, view[:words].tolist()))
    return tuple(cells)
