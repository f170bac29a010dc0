"""Workers are born and die: `python nursery.py URL BIRTHS`. Every third is killed amid; prints what is left behind.

After a tenth of the births, and at the end, one line of JSON: blocks of the arena's file, its owners and what it
refused, and of the master that forks them open files, threads and memory.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
from pathlib import Path

from canary_sdk import Canary, connect
from canary_sdk.measure.segment import owners


def main(url: str, births: int) -> None:
    """Fork, one after another, workers that answer a request, count it and go."""
    with connect(url) as canary:
        canary.apply({"flags": {"checkout": {"rollout": 50, "slos": ["errors < 1%"]}}})
        work(canary, 0)
        for number in range(1, births + 1):
            child = os.fork()
            if not child:
                live(canary, number)
            os.waitpid(child, 0)
            if number in {births // 10, births}:
                print(json.dumps(figures(canary, number)), flush=True)


def work(canary: Canary, number: int) -> None:
    """Answer one request, and wait until it is counted: a turn by hand does nothing while the background takes one."""
    with canary.scope("job", key=f"user-{number}"):
        canary.is_enabled("checkout")
        before = counted(canary)
    while counted(canary) == before:
        canary.tick()


def counted(canary: Canary) -> int:
    """Return how many requests all workers have counted so far."""
    arena = canary._arena
    return sum(arena.read(arena.arm(f"checkout/{role}/unit")).requests for role in ("candidate", "baseline"))


def live(canary: Canary, number: int) -> None:
    """Be a worker: every third is killed, the others end in order."""
    try:
        work(canary, number)
        if number % 3 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        canary.close()
    finally:
        os._exit(0)


def figures(canary: Canary, number: int) -> dict[str, float]:
    """Return what there is of everything."""
    gc.collect()
    arena = canary._arena
    path = Path(arena.path or "")
    return {
        "births": number,
        "counted": counted(canary),
        "refused": sum(arena.refused.values()),
        "owners": owners(arena._words),
        "arena_kib": path.stat().st_blocks // 2,
        "files_of_arenas": len(list(path.parent.iterdir())),
        "open_files": len(list(Path("/proc/self/fd").iterdir())),
        "threads": threading.active_count(),
        "memory_kib": own_kib(),
    }


def own_kib() -> int:
    """Return this process's own memory: the arena that it shares has a figure of its own."""
    resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    return (resident - shared) * 4


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
