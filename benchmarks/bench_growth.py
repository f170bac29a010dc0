"""What grows with the number of flags, of workers and of samples, and what does not?"""

from __future__ import annotations

import gc
import tempfile
import time
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import mmh3

from benchmarks.race import publish, publish_figures, race
from canary_sdk import connect
from canary_sdk.measure.arena import Arena
from canary_sdk.measure.sketch import bin_of, quantiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from canary_sdk import Canary
    from canary_sdk.measure.arm import Arm

SIZES = (1, 10, 100, 1_000, 10_000)
WATCHED = 100
WORKERS = (1, 4, 16)
SAMPLES = (1_000, 100_000, 1_000_000)
SLOS = ["p95 < 500ms", "errors < 1%"]
HASH = "bare mmh3"


def with_flags(number: int) -> Canary:
    """Return a client of so many flags, a hundred of which at most are watched."""
    canary = connect("memory:", background=False)
    flags = {f"flag-{each}": {"rollout": 25, **({"slos": SLOS} if each < WATCHED else {})} for each in range(number)}
    canary.apply({"flags": flags})
    canary.tick()
    return canary


def resident() -> int:
    """Return the memory that this process really has."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4_096


def seconds(run: Callable[[], object], times: int = 25) -> float:
    """Return the least time that something took the processor."""
    least = float("inf")
    for _ in range(times):
        begun = time.thread_time()
        run()
        least = min(least, time.thread_time() - begun)
    return least


def grow_flags() -> None:
    """Ask one of 1 to 10,000 flags; and see what so many cost to keep, to read after a change, and to look after."""
    with_flags(1).close()  # what is imported for the first of all is no flag's
    figures = {}
    names: dict[str, object] = {
        "hash_of": mmh3.hash,
        "next_key": cycle([f"user-{number}" for number in range(1_000)]).__next__,
    }
    clients = {}
    for number in SIZES:
        before = resident()
        canary = clients[number] = with_flags(number)
        size = resident() - before
        names[f"ask_{number}"] = canary.is_enabled
        names[f"flag_{number}"] = cycle([f"flag-{each}" for each in range(number)]).__next__
        figures[f"{number} flags"] = {
            "memory a flag, kB": size / number / 1e3,
            "a change, ms": seconds(canary._load, 5) * 1e3,
            "a tick, ms": seconds(canary.tick) * 1e3,
        }
    statements = {f"{number} flags": f"ask_{number}(flag_{number}(), next_key())" for number in SIZES}
    results = race(
        {"key": "flag_1(); next_key()", HASH: "hash_of(next_key(), 7, False); flag_1()", **statements}, names
    )
    key = results.pop("key")
    publish("Growth: an evaluation", {name: each - key for name, each in results.items()}, baseline=HASH)
    publish_figures("Growth: flags", figures)
    for canary in clients.values():
        canary.close()


def grow_workers(folder: str) -> None:
    """Read an arm on which 1 to 16 processes count; and one that has seen a thousand to a million samples."""
    figures = {}
    for number in WORKERS:
        path = Path(folder) / f"{number}.arena"
        arenas = [Arena(path) for _ in range(number)]
        for arena in arenas:
            arena.heartbeat()
        arms = [arena.arm("checkout") for arena in arenas]
        count = partial(count_on, arms)
        own = seconds(count)
        figures[f"{number} workers"] = {
            "reading an arm, µs": (seconds(partial(read_first, arenas[0], count)) - own) * 1e6
        }
        for arena in arenas:
            arena.close()
    publish_figures("Growth: workers", figures)


def read_first(arena: Arena, count: Callable[[], list[Arm]]) -> None:
    """Read the first of the arms that were just counted on."""
    arena.read(count()[0])


def count_on(arms: list[Arm]) -> list[Arm]:
    """Count a request on each, so that all have to be read again."""
    for arm in arms:
        arm.finish(0.1, 400)
    return arms


def grow_samples(folder: str) -> None:
    """Read three quantiles of an arm that has seen so many samples."""
    figures = {}
    for number in SAMPLES:
        arena = Arena(Path(folder) / f"{number}.samples")
        arm = arena.arm("checkout")
        for each in range(number):
            arm.finish(0.05 + each % 100 / 1_000, bin_of(0.05 + each % 100 / 1_000))
        ask = partial(quantiles, arena.read(arm).bins, (0.5, 0.95, 0.99))
        figures[f"{number} samples"] = {"three quantiles, µs": seconds(ask) * 1e6}
        arena.close()
    publish_figures("Growth: samples", figures)


def main() -> None:
    """Grow all three."""
    grow_flags()
    with tempfile.TemporaryDirectory() as folder:
        grow_workers(folder)
        grow_samples(folder)


if __name__ == "__main__":
    main()
