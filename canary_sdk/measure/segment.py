"""Who counts in which segment: one process each, claimed under the file's lock, given back or inherited after a death.

Threads: the ticker's. Processes: a claim is worth something only in the process that made it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from canary_sdk.measure.layout import SEGMENT, SEGMENT_TABLE, SEGMENTS, WORD, cell_of, size_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PID: Final = cell_of(SEGMENT, "pid")
STARTED: Final = cell_of(SEGMENT, "started")
GENERATION: Final = cell_of(SEGMENT, "generation")
HEARTBEAT: Final = cell_of(SEGMENT, "heartbeat")

SILENCE_NS: Final = 5_000_000_000
"""An owner that gave a sign of life this recently is believed, even where its process cannot be seen from here."""
FORGOTTEN_NS: Final = 60_000_000_000
"""A file in which nobody has counted for so long is not handed on: workers that are recycled are away for seconds."""


class Segment:
    """The claim of this process to a segment."""

    __slots__ = ("_generation", "_head", "_pid", "number")

    def __init__(self, head: memoryview, number: int, now_ns: int) -> None:
        """Write this process into the segment's record; only under the file's lock."""
        self.number = number
        self._head = head
        self._pid = os.getpid()
        self._generation = head[GENERATION] + 1
        head[STARTED] = started(self._pid)
        head[GENERATION] = self._generation
        head[HEARTBEAT] = now_ns
        head[PID] = self._pid

    @property
    def is_ours(self) -> bool:
        """Whether nobody, who could not see us alive, has taken it over, and we are not a fork of the owner."""
        return self._head[GENERATION] == self._generation and self._pid == os.getpid()

    def beat(self, now_ns: int) -> None:
        """Give a sign of life."""
        self._head[HEARTBEAT] = now_ns

    def give_back(self) -> None:
        """Let somebody else go on from these counters."""
        if self.is_ours:
            self._head[PID] = 0


def claim(words: memoryview, now_ns: int) -> Segment | None:
    """Take the first segment that nobody counts in; None if there is none. Only under the file's lock."""
    for number, head in enumerate(_heads(words)):
        if _is_free(head, now_ns):
            return Segment(head, number, now_ns)
    return None


def is_forgotten(words: memoryview, now_ns: int) -> bool:
    """Tell whether processes have counted here, and none does or has lately. Only under the file's lock."""
    heads = list(_heads(words))
    last_ns = max(head[HEARTBEAT] for head in heads)
    is_recent = not last_ns or 0 <= now_ns - last_ns < FORGOTTEN_NS
    return not is_recent and all(_is_free(head, now_ns) for head in heads)


def owners(words: memoryview) -> int:
    """Return how many segments have an owner, alive or dead."""
    return sum(1 for head in _heads(words) if head[PID])


def owners_ever(words: memoryview) -> int:
    """Return how many owners all segments together have had."""
    return sum(head[GENERATION] for head in _heads(words))


def _heads(words: memoryview) -> Iterator[memoryview]:
    size = size_of(SEGMENT) // WORD
    for start in range(SEGMENT_TABLE.offset // WORD, SEGMENT_TABLE.offset // WORD + SEGMENTS * size, size):
        yield words[start : start + size]


def started(pid: int) -> int:
    """Return when a process started, in the kernel's ticks after boot; 0 where that is not told."""
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib is not worth its import here
        return int(file.read().rpartition(b")")[2].split()[19])  # field 22; the second one, in brackets, is free text
    return 0


def _is_free(head: memoryview, now_ns: int) -> bool:
    if not head[PID]:
        return True
    is_silent = not 0 <= now_ns - head[HEARTBEAT] < SILENCE_NS  # one from the future is of an earlier boot
    return is_silent and not _is_running(head[PID], head[STARTED])


def _is_running(pid: int, started_then: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    started_now = started(pid)
    return started_now == started_then or not (started_now and started_then)
