"""Run the experiment and hold it against its goals."""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.simulation import cells, users
from benchmarks.simulation.agreement import agree
from benchmarks.simulation.goals import rows, table
from benchmarks.simulation.release import HORIZONS_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Cell = tuple["Callable[..., Any]", dict[str, Any]]

SHORT = {"plans": 200, "compressed": 180, "incidents": 40, "delays": 60, "noise": 100, "split": 100, "users": 4}
FULL = {"plans": 500, "compressed": 10, "incidents": 50, "delays": 200, "noise": 300, "split": 1000, "users": 300}


def experiment(size: Mapping[str, int], *, full: bool) -> dict[str, Cell]:
    """Return every cell by its name; the longest come first."""
    made: dict[str, Cell] = {}
    for kind in cells.PLANS:
        made[f"plan: {kind}"] = (cells.plan, {"kind": kind, "runs": size["plans"], "compressed": size["compressed"]})
    for stage in reversed(range(4)):
        late_s = int(HORIZONS_S[stage] / 2) if full else 300
        for when, onset_s in (("later", late_s), ("at promotion", 0)):
            if full or when == "at promotion":
                made[f"delays: {stage}, {when}"] = (
                    cells.delays,
                    {"stage": stage, "onset_s": onset_s, "runs": size["delays"]},
                )
    made |= {
        "shapes": (cells.delays, {"stage": 0, "onset_s": 0, "runs": size["delays"], "shapes": True}),
        "thin": (cells.thin_delays, {"runs": size["delays"]}),
        "split: 6 for 5": (
            cells.split,
            {"true": 0.06, "asked": 0.05, "seconds": 900, "every_s": 1, "runs": size["split"]},
        ),
        "split: 5 for 5": (
            cells.split,
            {"true": 0.05, "asked": 0.05, "seconds": 7200, "every_s": 5, "runs": size["split"]},
        ),
        "classic": (cells.classic, {"runs": 400}),
    }
    kinds = list(cells.NOISES)
    for kind, calibrated in (*((kind, True) for kind in kinds[: None if full else 1]), (kinds[0], False)):
        made[f"noise: {kind}, {'' if calibrated else 'not '}calibrated"] = (
            cells.private_noise,
            {"runs": size["noise"], "compressed": 1 if full else 60, "calibrated": calibrated, "kind": kind},
        )
    for kind in cells.INCIDENTS:
        for stage in range(3) if full else (1,):
            made[f"incident: {kind}, {stage}"] = (
                cells.incident,
                {"kind": kind, "stage": stage, "runs": size["incidents"]},
            )
    return made | users.experiment(size["users"], full=full)


def run(cell: Cell) -> Any:
    """Run one cell, in a process of its own."""
    function, arguments = cell
    return function(**arguments)


def answered(made: Mapping[str, Cell], kept: Path | None) -> dict[str, Any]:
    """Run what is not known yet, two at a time, and keep every answer as it comes."""
    results: dict[str, Any] = json.loads(kept.read_text()) if kept and kept.exists() else {}
    began = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        waiting = {pool.submit(run, cell): name for name, cell in made.items() if name not in results}
        for done in as_completed(waiting):
            results[waiting[done]] = done.result()
            if kept:
                kept.write_text(json.dumps(results, sort_keys=True))
                print(f"{time.perf_counter() - began:7.0f} s  {waiting[done]}", file=sys.stderr, flush=True)
    return results


def main() -> int:
    """Run the experiment; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation", description=__doc__)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--short", action="store_true", help="under a minute: small samples, wide limits")
    how.add_argument(
        "--full", action="store_true", help="an hour or more: what the goals ask for; goes on where it was stopped"
    )
    parser.add_argument("--results", type=Path, help="where the answers are kept, as JSON", default=None)
    asked = parser.parse_args()
    agree()
    size = FULL if asked.full else SHORT
    kept = asked.results or (Path("simulation.json") if asked.full else None)
    found = list(rows(answered(experiment(size, full=asked.full), kept), slack=1.0 if asked.full else 1.35))
    print(table(found))
    return 0 if all(row.passed for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
