"""Run every benchmark, and keep what it found.

    python -m benchmarks.run results.json [bench_evaluate …]

Each script is a process of its own. The file says when, on which machine, with which Python and which versions of
everything that took part; `benchmarks.render` makes the tables of `docs/performance.md` of it. Without names, all run
but those that start servers.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.peers import versions

SCRIPTS = (
    "bench_evaluate",
    "bench_feature",
    "bench_record",
    "bench_middleware",
    "bench_server",
    "bench_openfeature",
    "bench_otel",
    "bench_import",
    "bench_growth",
    "bench_stall",
    "bench_scale",
)


def reports(script: str) -> list[dict[str, Any]]:
    """Run one script and return what it printed, one report after the other."""
    print(script, file=sys.stderr)
    command = [sys.executable, "-m", f"benchmarks.{script}"]
    left = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    found = []
    while left:
        report, end = json.JSONDecoder().raw_decode(left)
        found.append(report)
        left = left[end:].strip()
    return found


def processor() -> str:
    """Return what the processor calls itself, where the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def main(path: str, *scripts: str) -> None:
    """Run the scripts, and replace what the file has of each."""
    file = Path(path)
    kept = json.loads(file.read_text())["scripts"] if file.exists() else {}
    for script in scripts or SCRIPTS:
        kept[script] = reports(script)
        result = {
            "date": datetime.now(UTC).date().isoformat(),
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} × {processor()}",
            "command": "python -m benchmarks.run",
            "versions": versions(),
            "scripts": kept,
        }
        file.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
