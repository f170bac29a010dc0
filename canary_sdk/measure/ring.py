"""The ring: where requests leave their records for the ticker, without ever waiting for it.

Contract:
    Writers are wait-free: one C-level append and one comparison; in an overflow a handful of C-level pops and appends
    more; no lock of ours, no retry. Memory is fixed: `capacity` records, and one more for each writer that is amid its
    append. When the ring is full the oldest record gives way. Every record is either drained exactly once or counted as
    dropped exactly once. The ring is popped, never iterated, so nobody can see it change under his hands.

Threads: `append` from any thread; `drain` from one thread at a time, the ticker's; `dropped` and `len` from any. All
rests on `append`, `pop` and `popleft` of a deque being atomic, with and without the global interpreter lock.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Ring(Generic[T]):
    """Fixed room for records on their way to the ticker.

    Cost: `append` is a Python frame, a `deque.append` and a `len`; `benchmarks/bench_record.py` measures it. Who cannot
    afford the frame does by hand what it does: `records.append(record)`, then `if len(records) > capacity: give_way()`.
    """

    __slots__ = ("_losses", "append", "capacity", "give_way", "records")

    append: Callable[[T], None]
    """Leave a record. An instance attribute, so that it can be bound once; never raises, never waits."""
    give_way: Callable[[], None]
    """Drop the oldest record, and count it as dropped."""

    def __init__(self, capacity: int) -> None:
        """Make room for `capacity` records, at least one."""
        if capacity < 1:
            raise ValueError(f"a ring holds at least one record, not {capacity}")
        self.capacity = capacity
        self.records: deque[T] = deque()
        self._losses: deque[int] = deque()
        self.give_way = _dropper(self.records, self._losses)
        self.append = _appender(self.records, capacity, self.give_way)

    def drain(self, limit: int) -> list[T]:
        """Take at most `limit` records out, oldest first; records that arrive meanwhile may be among them."""
        records: list[T] = []
        keep, pop = records.append, self.records.popleft
        with suppress(IndexError):  # a writer's overflow may take the last one first
            for _ in range(min(limit, len(self.records))):
                keep(pop())
        return records

    @property
    def dropped(self) -> int:
        """How many records gave way before they were drained.

        Exact whenever no append is under way; never too many, and never forgotten.
        """
        return sum(self._losses.copy())

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        return f"<Ring {len(self)}/{self.capacity}, dropped {self.dropped}>"


def _dropper(records: deque[T], losses: deque[int]) -> Callable[[], None]:
    pop = records.popleft

    def give_way() -> None:
        try:
            pop()
        except IndexError:  # the ticker was faster, nothing is lost
            return
        # A sum that several threads add to without a lock: whoever holds a part of it has popped it, so no part is
        # added twice; who finds none to add to leaves a new part. There are never more parts than writers at once.
        lost = 1
        with suppress(IndexError):
            lost += losses.pop()
        losses.append(lost)

    return give_way


def _appender(records: deque[T], capacity: int, give_way: Callable[[], None]) -> Callable[[T], None]:
    push = records.append

    def append(record: T) -> None:
        push(record)
        if len(records) > capacity:
            give_way()

    return append
