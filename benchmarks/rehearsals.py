"""How soon does `canary demo` take its fault back, and does it leave a healthy release alone? Many whole runs, as JSON.

    python -m benchmarks.rehearsals --runs 20

Each run is a process of its own with its own seed: a shop, real requests, 5 % and then 25 % of the users, and in the
middle of that stage the fault of the demo. Then as many runs without a fault, which go on to everybody. It fails if
the median is over the goal, a fault is missed, or a healthy release is taken back. A run takes about 35 s.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

GOAL_S: Final = 6.0
"""From the first bad request to the flag being off, at the median."""
TO_TRIP: Final = "The flag goes off by itself"
UNTOUCHED: Final = ("The flag stays on until there is a fault", "A healthy candidate is left alone")


def rehearse(seed: int, *options: str) -> dict[str, Any]:
    """Run the demo once and return its report."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "from canary_sdk.apps.cli import main; main()", "demo"]
        options = ("--seed", str(seed), "--out", folder, *options)
        subprocess.run([*command, *options], stdout=subprocess.DEVNULL, check=False)
        report: dict[str, Any] = json.loads((Path(folder) / "report.json").read_text(encoding="utf-8"))
        return report


def seconds_to_trip(report: dict[str, Any]) -> float | None:
    """Return how long it took from the first bad request to the flag being off, None if it stayed on."""
    at = {each["kind"]: each["at_s"] for each in report["timeline"] if each["kind"] in ("fault", "trip")}
    return at["trip"] - at["fault"] if "trip" in at and "fault" in at else None


def is_untouched(report: dict[str, Any]) -> bool:
    """Return whether nothing was taken back that was healthy."""
    return all(each["held"] for each in report["checks"] if each["claim"] in UNTOUCHED)


def reasons(report: dict[str, Any]) -> list[str]:
    """Return why the flag was switched off."""
    return [each["sentence"] for each in report["timeline"] if each["kind"] == "trip"]


def main() -> int:
    """Run them and print what was found; 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    faulty, healthy = [], []
    for seed in range(1, runs + 1):
        faulty.append(rehearse(seed))
        healthy.append(rehearse(seed, "--no-fault"))
    found = [seconds_to_trip(report) for report in faulty]
    took = sorted(seconds for seconds in found if seconds is not None)
    touched = sum(not is_untouched(report) for report in faulty + healthy)
    median = statistics.median(took) if took else None
    print(
        json.dumps(
            {
                "question": __doc__.partition("\n")[0] if __doc__ else "",
                "date": datetime.now(UTC).date().isoformat(),
                "machine": f"{platform.system()} {platform.machine()}",
                "python": platform.python_version(),
                "command": " ".join(["python", *sys.orig_argv[1:]]),
                "runs with a fault": len(faulty),
                "taken back": len(took),
                "median seconds": median and round(median, 2),
                "slowest seconds": round(took[-1], 2) if took else None,
                "seconds": [round(seconds, 2) for seconds in took],
                "healthy runs": len(healthy),
                "healthy, taken back": touched,
                "why": [each for report in faulty + healthy if not is_untouched(report) for each in reasons(report)],
                "all checks held": sum(report["conclusion"] == "PASSED" for report in faulty + healthy),
            },
            indent=2,
        )
    )
    return 0 if median is not None and median <= GOAL_S and len(took) == runs and not touched else 1


if __name__ == "__main__":
    sys.exit(main())
