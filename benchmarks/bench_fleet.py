"""A trip on one of three hosts: when is the candidate off on the other two, with push and with push cut?

    python -m benchmarks.bench_fleet [TRIPS]

Three processes, each with an arena of its own, as three hosts have, on the PostgreSQL and Valkey that the tests use,
or those that CANARY_TEST_PG_DSN and CANARY_TEST_REDIS_URL name. The candidate fails on the first one, whose judge takes
it back; the time is from just before that judge sets its guard byte to the changed answer on the later of the others,
which ask all the time. Where push is cut they do not hear of changes, and poll.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from contextlib import ExitStack
from statistics import median

from tests import servers
from tests.matrix.fleet import delays

TRIPS = 50


def main() -> None:
    """Measure each store, with push and without, and print one line of JSON for each."""
    trips = int(sys.argv[1]) if len(sys.argv) > 1 else TRIPS
    with ExitStack() as stack:
        stores = {
            "postgresql": stack.enter_context(servers.postgres()),
            "valkey": stack.enter_context(servers.redis()),
        }
        for name, server in stores.items():
            for how, role in (("push", "hears"), ("poll", "deaf")):
                found = sorted(delays(server, role, trips))
                figures = {
                    "trips": trips,
                    "median_ms": round(median(found)),
                    "p99_ms": round(found[min(int(trips * 0.99), trips - 1)]),
                    "worst_ms": round(found[-1]),
                }
                where = {"python": platform.python_version(), "load": round(os.getloadavg()[0], 1)}
                print(
                    json.dumps({"store": name, "by": how, **figures, "date": time.strftime("%Y-%m-%d"), **where}),
                    flush=True,
                )


if __name__ == "__main__":
    main()
