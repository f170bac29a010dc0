"""Eight threads append a million records while one drains: each is drained once or counted as dropped once."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest

from canary_sdk.measure.ring import Ring

if TYPE_CHECKING:
    from collections.abc import Iterator

THREADS = 8
RECORDS = 125_000

pytestmark = [pytest.mark.stress, pytest.mark.timeout(120)]


@pytest.fixture(autouse=True)
def _impatient_interpreter() -> Iterator[None]:
    """Make threads interrupt each other often."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def append_all(ring: Ring[int], first: int, begin: threading.Barrier) -> None:
    """Append this thread's numbers."""
    begin.wait()
    for number in range(first, first + RECORDS):
        ring.append(number)


@pytest.mark.parametrize(("capacity", "drops"), [(50, True), (THREADS * RECORDS, False)])
def test_a_million_records(capacity: int, drops: bool) -> None:
    """Drained, dropped and left add up to what was appended; none comes twice, none is invented, order is kept."""
    ring = Ring[int](capacity)
    begin = threading.Barrier(THREADS + 1)
    writers = [threading.Thread(target=append_all, args=(ring, n * RECORDS, begin)) for n in range(THREADS)]
    for writer in writers:
        writer.start()
    begin.wait()
    drained: list[int] = []
    most = 0
    while any(writer.is_alive() for writer in writers):
        drained += ring.drain(256)
        most = max(most, len(ring))
    for writer in writers:
        writer.join()
    left = ring.drain(THREADS * RECORDS)
    assert len(drained) + ring.dropped + len(left) == THREADS * RECORDS
    seen = drained + left
    assert len(set(seen)) == len(seen)
    assert min(seen) >= 0
    assert max(seen) < THREADS * RECORDS
    assert all(numbers == sorted(numbers) for numbers in by_writer(seen))
    assert most <= capacity + THREADS
    assert (ring.dropped > 0) is drops


def by_writer(numbers: list[int]) -> list[list[int]]:
    """Return the numbers of each thread, in the order they were drained."""
    kept: list[list[int]] = [[] for _ in range(THREADS)]
    for number in numbers:
        kept[number // RECORDS].append(number)
    return kept
