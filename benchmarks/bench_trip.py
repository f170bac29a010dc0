"""How long after a trip does any worker of a host still serve the candidate, and how soon does another worker judge?

    python -m benchmarks.bench_trip

Gunicorn with four workers and `--preload`, eight clients without a pause. The time of a trip is from just before the
judge sets the guard byte to the last answer, of whichever worker, that served the candidate: it holds the requests that
were evaluated before and answered after. Then the worker that judges is killed, again and again under load; the time is
until another worker holds the lease.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import tempfile
import time
from pathlib import Path
from statistics import median
from threading import Thread

from tests.matrix.hosts import WORKERS, Hosted, Load
from tests.matrix.looking import Onlooker

TRIPS = 50
KILLS = 20


def takeovers(hosted: Hosted, onlooker: Onlooker) -> list[float]:
    """Kill the judge again and again under load; return how many milliseconds passed until there was another."""
    found: list[float] = []

    def killing() -> None:
        while len(found) < KILLS:
            judge = onlooker.judge
            if not judge:
                continue
            begun = time.monotonic()
            os.kill(judge, signal.SIGKILL)
            while onlooker.judge in {0, judge}:
                time.sleep(0.001)
            found.append((time.monotonic() - begun) * 1_000)
            time.sleep(0.5)

    def is_over(_: Load) -> bool:
        return not killer.is_alive()

    killer = Thread(target=killing)
    killer.start()
    while killer.is_alive():
        hosted.load(is_over, within_s=120.0)
    return found


def report(name: str, found: list[float]) -> None:
    """Print one line of JSON."""
    found = sorted(found)
    figures = {
        "median_ms": round(median(found), 1),
        "p99_ms": round(found[min(int(len(found) * 0.99), len(found) - 1)], 1),
        "worst_ms": round(found[-1], 1),
        "of": len(found),
    }
    where = {"date": time.strftime("%Y-%m-%d"), "python": platform.python_version(), "load": os.getloadavg()[0]}
    print(json.dumps({"what": name, **figures, **where}), flush=True)


def main() -> None:
    """Measure and print one line of JSON for each."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["CANARY_ARENA_DIR"] = name
        onlooker = Onlooker(Path(name))
        with Hosted(WORKERS, Path(name) / "app", onlooker.url) as hosted:
            hosted.wait()
            hosted.load(lambda seen: len(seen.answers) == WORKERS.workers)
            delays = [onlooker.trip(hosted) * 1_000 for _ in range(TRIPS)]
            if onlooker.trips != TRIPS:
                raise SystemExit(f"{TRIPS} times the candidate failed, it tripped {onlooker.trips} times")
            report("from the trip to the last answer of the candidate", delays)
            report("from the death of the judge to the next one", takeovers(hosted, onlooker))
        onlooker.close()


if __name__ == "__main__":
    main()
