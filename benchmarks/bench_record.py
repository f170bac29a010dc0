"""What does it cost a request to be recorded, and the background to count it and to read it back?"""

from __future__ import annotations

import random
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.peers import RECORDING as PEERS
from benchmarks.peers import made
from benchmarks.race import publish, race
from canary_sdk.measure.arena import Arena
from canary_sdk.measure.ring import Ring
from canary_sdk.measure.sketch import Sketch, bin_of, quantiles

if TYPE_CHECKING:
    from collections.abc import Callable

APPEND = "bare deque.append"
SORT = "naive: sort 1,024 samples"
LOOPS = 1_000

RECORDING = {
    APPEND: "bare(record)",
    "Ring.append": "append(record)",
    "Ring.append, full": "append_full(record)",
    "naive: a lock and an index": "locked(record)",
}
COUNTING = {
    SORT: "sorted(samples)",
    "p50, p95 and p99 of a sketch": "quantiles(counts, wanted)",
    "bin_of": "bin_of(0.123)",
    "Arm.finish": "busy.finish(0.123, 471, response_start_s=0.1)",
    "Arm.finish, over two limits": "busy.finish(0.623, 552, response_start_s=0.1)",
    "Arm.overdue, not yet": "busy.overdue(0.1)",
    "Arena.read, just counted on": "busy.abort(); arena.read(busy)",
    "Arena.read, idle": "arena.read(idle)",
    "Arena.read, never touched": "arena.read(untouched)",
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


def race_recording() -> None:
    """Race the appends of a request; one ring never fills, one always is full."""
    ring = Ring[object](LOOPS * 100)
    names: dict[str, object] = {
        "record": (1.0, 2.0),
        "bare": deque[object](maxlen=LOOPS).append,
        "append": ring.append,
        "drain": lambda: ring.drain(LOOPS),
        "append_full": Ring[object](1).append,
        "locked": locked_ring(LOOPS),
    }
    peers, missing = made(PEERS)
    names |= {f"peer_{number}": observe for number, observe in enumerate(peers.values())}
    statements = RECORDING | {name: f"peer_{number}(0.123)" for number, name in enumerate(peers)}
    results = race(statements, names, loops=LOOPS, before="drain()")
    publish("What does it cost a request to be recorded?", results, baseline=APPEND, missing=missing)


def race_counting(path: Path) -> None:
    """Race what the background does once a request, and once a second and arm."""
    draw = random.Random(0)
    samples = [draw.lognormvariate(-2.5, 0.8) for _ in range(1_024)]
    arena = Arena(path)
    busy, idle = arena.arm("busy", (0.2, 0.5)), arena.arm("idle")
    for seconds in samples:
        busy.finish(seconds, bin_of(seconds))
        idle.finish(seconds, bin_of(seconds))
    names = {
        "arena": arena,
        "busy": busy,
        "idle": idle,
        "untouched": arena.arm("untouched"),
        "samples": samples,
        "counts": Sketch(samples).counts,
        "bin_of": bin_of,
        "quantiles": quantiles,
        "wanted": (0.5, 0.95, 0.99),
    }
    publish("What does it cost the background to count and to read?", race(COUNTING, names, loops=500), baseline=SORT)
    arena.close()


def main() -> None:
    """Run both races."""
    race_recording()
    with tempfile.TemporaryDirectory() as directory:
        race_counting(Path(directory) / "bench.arena")


if __name__ == "__main__":
    main()
