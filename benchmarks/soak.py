"""Does anything grow in a process that serves for long?

    python -m benchmarks.soak [requests]

Ten million requests, if nothing else is said: by threads that come and go, of an application that asks a flag, with a
trip and a release in every tenth. After each tenth it says what memory, threads and files the process has.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.bench_growth import resident
from benchmarks.bench_middleware import call
from canary_sdk import connect
from canary_sdk.integrations.wsgi import CanaryMiddleware

if TYPE_CHECKING:
    from canary_sdk import Canary

TENTHS = 10
THREADS = 4
REQUESTS = 10_000_000
SLOWLY = 2_000  # requests between two looks at the ring: whoever serves faster than the ticker folds loses records
FLAGS = {"checkout": {"rollout": 50, "slos": ["p95 < 500ms", "errors < 1%"]}}


def served(canary: Canary, number: int) -> None:
    """Serve so many requests, as a server's thread does."""
    users = iter(range(number))

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:  # noqa: ARG001 - the protocol's signature
        canary.is_enabled("checkout", f"user-{next(users)}")
        start_response("200 OK", [])
        return [b""]

    wrapped = CanaryMiddleware(app, canary=canary)
    for each in range(number):
        call(wrapped)
        if not each % SLOWLY:
            while len(canary.units.ring) > canary.units.ring.capacity // 2:
                threading.Event().wait(0.01)


def main(requests: int = REQUESTS) -> None:
    """Serve, and look."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CANARY_ARENA_DIR"] = folder
        with connect(f"sqlite:///{folder}/soak.db") as canary:
            canary.apply({"flags": FLAGS})
            for tenth in range(1, TENTHS + 1):
                threads = [
                    threading.Thread(target=served, args=(canary, requests // TENTHS // THREADS))
                    for _ in range(THREADS)
                ]
                for thread in threads:
                    thread.start()
                canary.kill("checkout", reason="soak")
                canary.release("checkout")
                for thread in threads:
                    thread.join()
                status = canary.status()
                found = {
                    "requests": requests * tenth // TENTHS,
                    "resident_mib": round(resident() / 2**20, 1),
                    "threads": threading.active_count(),
                    "files": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - names alone
                    "arena_mib": sum(each.stat().st_blocks for each in Path(folder).glob("*.arena")) / 2**11,
                    "waiting": len(canary.units.ring),
                    "dropped": status.dropped,
                    "failures": dict(status.failures),
                }
                print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
