"""What does it cost a request to be recorded, beside a bare append and beside a ring behind a lock?"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from benchmarks.race import publish, race
from canary_sdk.measure.ring import Ring

if TYPE_CHECKING:
    from collections.abc import Callable

APPEND = "bare deque.append"
LOOPS = 20_000

STATEMENTS = {
    APPEND: "bare(record)",
    "Ring.append": "append(record)",
    "Ring.append, full": "append_full(record)",
    "naive: a lock and an index": "locked(record)",
}


def locked_ring(capacity: int) -> Callable[[object], None]:
    """Return the append of the ring that one would write first."""
    cells: list[object] = [None] * capacity
    lock = threading.Lock()
    at = 0

    def append(record: object) -> None:
        nonlocal at
        with lock:
            cells[at] = record
            at = (at + 1) % capacity

    return append


def main() -> None:
    """Race the appends; one ring never fills, one always is full."""
    names = {
        "record": (1.0, 2.0),
        "bare": deque[object](maxlen=LOOPS).append,
        "append": Ring[object](LOOPS * 100).append,
        "append_full": Ring[object](1).append,
        "locked": locked_ring(LOOPS),
    }
    publish(__doc__ or "", race(STATEMENTS, names, loops=LOOPS), baseline=APPEND)


if __name__ == "__main__":
    main()
