"""How long does a change take from one process to the next, pushed by PostgreSQL and by Redis, and polled in SQLite?

    python -m benchmarks.bench_push

Starts the servers that the tests use, or takes those that CANARY_TEST_PG_DSN and CANARY_TEST_REDIS_URL name. Another
process holds a Canary with its ticker and says when its answer changes; the time is from just before the change is
committed here, so it holds the commit, the word of it, the wait for the next tick, and the new table.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from statistics import median

from canary_sdk import connect
from tests import servers

CHANGES = 40

WATCHING = """
import sys, time
from canary_sdk import connect
with connect(sys.argv[1], environment="bench") as canary:
    canary.is_enabled("checkout", "u")
    time.sleep(2.5)
    print(flush=True)
    for turn in range(int(sys.argv[2])):
        while canary.is_enabled("checkout", "u") is not (turn % 2 == 0):
            time.sleep(0.0005)
        print(time.time(), flush=True)
"""


def latencies(url: str) -> list[float]:
    """Change a flag many times and return how many milliseconds each change took to the other process."""
    with connect(url, environment="bench", background=False) as canary:
        canary.apply({"flags": {"checkout": {"rollout": 0}}})
        command = [sys.executable, "-c", WATCHING, url, str(CHANGES)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
            assert watcher.stdout
            watcher.stdout.readline()
            found = []
            for turn in range(CHANGES):
                time.sleep(0.1 + turn * 0.618 % 1)  # anywhere between two ticks, and between two polls
                begun = time.time()
                canary.update("checkout", {"rollout": 100 if turn % 2 == 0 else 0})
                found.append((float(watcher.stdout.readline()) - begun) * 1_000)
    return found


def main() -> None:
    """Measure each store and print one line of JSON for it."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        urls = {
            "sqlite (polled)": f"sqlite:///{folder}/bench.db",
            "postgresql": stack.enter_context(servers.postgres()).url,
            "redis": stack.enter_context(servers.redis()).url,
        }
        for name, url in urls.items():
            found = sorted(latencies(url))
            print(
                json.dumps(
                    {
                        "store": name,
                        "changes": CHANGES,
                        "median_ms": round(median(found)),
                        "p95_ms": round(found[int(len(found) * 0.95) - 1]),
                        "worst_ms": round(found[-1]),
                        "date": time.strftime("%Y-%m-%d"),
                        "python": platform.python_version(),
                        "machine": f"{platform.system()} {platform.machine()}",
                    }
                )
            )


if __name__ == "__main__":
    main()
