"""How long do other threads wait for the interpreter while a hundred busy flags are folded and judged?

A thread of arrivals sleeps until the next is due, notes how late it woke, and opens a unit of work that meets five of
the flags; a thread that wakes has to win the interpreter back from whoever has it. The same arrivals are served by
turns with the background on and with nobody folding, in short spells, so that what else runs meets both alike.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from benchmarks.race import publish_figures
from canary_sdk import connect

if TYPE_CHECKING:
    from canary_sdk import Canary

FLAGS = 100
MET = 5
SPELLS = 8
SPELL_S = 1.5
PAUSE_S = 0.002
INTERVAL = {"interval": "1s", "breaches": 3, "tolerance": "10%", "min_samples": 20}
SLOS = ["p50 < 200ms", "p95 < 500ms", "errors < 1%"]


def arrive(canary: Canary, names: list[str], waits: list[float]) -> None:
    """Let users arrive for one spell, each when its time has come, however late the last one was served."""
    now, sleep, is_enabled = time.perf_counter, time.sleep, canary.is_enabled
    due = now()
    for number in range(int(SPELL_S / PAUSE_S)):
        due += PAUSE_S
        sleep(max(due - now(), 0))
        waits.append(now() - due)
        key = f"user-{number}"
        with canary.scope("arrival", key=key):
            for flag in range(number * MET, number * MET + MET):
                is_enabled(names[flag % FLAGS], key)


def figures(waits: list[float], least: float) -> dict[str, float]:
    """Return how many waited long, in percent, and the longest waits, in milliseconds, over the least of all."""
    late = sorted(wait - least for wait in waits)

    def quantile(share: float) -> float:
        return late[int(share * len(late))] * 1e3

    return {
        "over 1 ms, %": 100 * sum(wait > 0.001 for wait in late) / len(late),
        "over 4 ms, %": 100 * sum(wait > 0.004 for wait in late) / len(late),
        "median, ms": quantile(0.5),
        "p99, ms": quantile(0.99),
        "p99.9, ms": quantile(0.999),
    }


def main() -> None:
    """Serve both by turns."""
    names = [f"flag-{number}" for number in range(FLAGS)]
    config: dict[str, Any] = {
        "auto_rollback": INTERVAL,
        "flags": {name: {"rollout": 50, "slos": SLOS} for name in names},
    }
    waits: dict[str, list[float]] = {"nobody folds": [], "folded and judged": []}
    with connect("memory:") as busy, connect("memory:", background=False) as idle:
        for canary in (busy, idle):
            canary.apply(config)
            canary.status()
        for _ in range(SPELLS):
            busy._turn.acquire()  # the ticker goes on, and finds somebody else at work
            arrive(idle, names, waits["nobody folds"])
            busy._turn.release()
            idle.units.ring.drain(1_000_000)
            arrive(busy, names, waits["folded and judged"])
        status = busy.status()
        assert not status.failures, status.failures
        assert not status.dropped
    least = min(min(each) for each in waits.values())
    publish_figures("The stall of other threads, 100 busy flags", {k: figures(v, least) for k, v in waits.items()})


if __name__ == "__main__":
    main()
