"""How the benchmarks measure: statements race each other in one process, in shuffled rounds, and the minimum counts.

The ratio of two statements of one race can be compared between machines; nanoseconds cannot. Every result says when,
where and by which command it was made.
"""

from __future__ import annotations

import json
import platform
import random
import sys
import time
import timeit
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ROUNDS = 100
LOOPS = 2_000
EMPTY = "pass"


def race(
    statements: Mapping[str, str], names: Mapping[str, object], *, loops: int = LOOPS, before: str = EMPTY
) -> dict[str, float]:
    """Return the nanoseconds of each statement, over those of an empty loop.

    They are the processor's, of this thread: what others do on the machine in the meantime is not in them.
    `names` are its globals; `before` runs before each round of a statement, off the clock.
    """
    runs = {
        name: timeit.Timer(code, before, time.thread_time, dict(names))
        for name, code in {EMPTY: EMPTY, **statements}.items()
    }
    best = dict.fromkeys(runs, float("inf"))
    order = list(runs)
    shuffle = random.Random(0).shuffle
    for _ in range(ROUNDS):
        shuffle(order)
        for name in order:
            best[name] = min(best[name], runs[name].timeit(loops))
    return {name: (best[name] - best[EMPTY]) / loops * 1e9 for name in statements}


def publish(
    question: str, results: Mapping[str, float], *, baseline: str, missing: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Print the results as JSON: nanoseconds, and the ratio of each to the baseline of the same race.

    `missing` names the peers that could not take part, and why.
    """
    _print(
        question,
        {
            "baseline": baseline,
            "missing": dict(missing),
            "nanoseconds": {name: round(value, 1) for name, value in results.items()},
            "ratio": {name: round(value / results[baseline], 2) for name, value in results.items()},
        },
    )


def publish_figures(
    question: str, figures: Mapping[str, Mapping[str, float]], *, missing: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Print results as JSON that are no race: by name what was found of it, each figure with its unit in its name."""
    found = {name: {key: round(value, 3) for key, value in each.items()} for name, each in figures.items()}
    _print(question, {"missing": dict(missing), "figures": found})


def _print(question: str, found: Mapping[str, object]) -> None:
    report = {
        "question": question,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "command": " ".join(["python", *sys.orig_argv[1:]]),
        **found,
    }
    print(json.dumps(report, indent=2))
