"""What does it cost to import us, in time and memory, beside the clients of others?

Each import is measured in interpreters of their own, the least of many; what an empty interpreter takes is taken off.
All find their bytecode, as they do where packages are installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from benchmarks.race import publish_figures

ROUNDS = 10
MEASURE = """
import sys, time
{before}
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
size, begun = resident(), time.process_time()
{statement}
print(time.process_time() - begun, resident() - size, *sorted({unwanted} & sys.modules.keys()))
"""
UNWANTED = {"wrapt", "opentelemetry", "asyncio", "sqlite3", "logging"}
IMPORTS = {
    "canary_sdk": "import canary_sdk",
    "canary_sdk, connected": "import canary_sdk; canary_sdk.connect('memory:')",
    "eppo": "import eppo_client",
    "openfeature": "from openfeature import api",
    "launchdarkly": "import ldclient",
    "unleash": "import UnleashClient",
    "growthbook": "import growthbook",
    "posthog": "import posthog",
    "prometheus-client": "import prometheus_client",
    "circuitbreaker": "import circuitbreaker",
    "pybreaker": "import pybreaker",
}
LOADED = "import starlette.applications"
BESIDE_STARLETTE = {
    "our ASGI middleware": "import canary_sdk.integrations.asgi",
    "otel-asgi": "import opentelemetry.instrumentation.asgi",
    "prometheus-fastapi-instrumentator": "import prometheus_fastapi_instrumentator",
}


def measured(statement: str, before: str, bytecode: str) -> tuple[dict[str, float], str]:
    """Return the least time and memory of an import, and which modules came along that had better not.

    The first round leaves its bytecode in the folder `bytecode`, for the others.
    """
    code = MEASURE.format(statement=statement, before=before, unwanted=UNWANTED)
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
    seconds, sizes, along = [], [], ""
    for _ in range(ROUNDS):
        run = [sys.executable, "-c", code]
        printed = subprocess.run(run, check=True, capture_output=True, text=True, env=environment).stdout
        second, size, *modules = printed.split()
        seconds.append(float(second))
        sizes.append(int(size))
        along = ", ".join(modules)
    return {"ms": min(seconds) * 1e3, "MiB": min(sizes) / 2**20}, along


def compare(question: str, statements: dict[str, str], before: str = "") -> None:
    """Measure each, and publish."""
    found, missing = {}, {}
    with tempfile.TemporaryDirectory() as bytecode:
        for name, statement in statements.items():
            try:
                found[name], along = measured(statement, before, bytecode)
            except subprocess.CalledProcessError as error:
                missing[name] = error.stderr.strip().rpartition("\n")[2]
                continue
            if along:
                print(f"{name} brings {along}", file=sys.stderr)
                assert name != "canary_sdk", along
    publish_figures(question, found, missing=missing)


def main() -> None:
    """Measure into an empty interpreter, and into one that has starlette."""
    compare("Import", IMPORTS)
    compare("Import where starlette is loaded", BESIDE_STARLETTE, LOADED)


if __name__ == "__main__":
    main()
