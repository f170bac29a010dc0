"""Workers are born and die, a third of them killed: what they leave behind does not grow.

The short form of CANARY_TEST_BIRTHS=2000, a day of a server that recycles a worker every 43 seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from canary_sdk.measure.layout import SEGMENTS

BIRTHS = int(os.environ.get("CANARY_TEST_BIRTHS", "150"))

pytestmark = [
    pytest.mark.stress,
    pytest.mark.timeout(60 + BIRTHS),
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="nobody tells what is open"),
]


def test_nothing_grows_with_births_and_deaths(tmp_path: Path) -> None:
    """All are counted, killed or not; arena, files and threads stay as they were, and its own memory within 4 MiB."""
    script = Path(__file__).with_name("nursery.py")
    command = [sys.executable, str(script), f"sqlite:///{tmp_path}/canary.db", str(BIRTHS)]
    environment = os.environ | {"PYTHONWARNINGS": "ignore::DeprecationWarning"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    early, late = map(json.loads, done.stdout.splitlines())
    print(late)
    assert (late["births"], late["counted"], late["refused"]) == (BIRTHS, BIRTHS + 1, 0)
    assert late["owners"] < SEGMENTS
    for name in ("files_of_arenas", "open_files", "threads"):
        assert late[name] == early[name], name
    assert late["arena_kib"] - early["arena_kib"] <= (2 * 12 + 72 + 16) * SEGMENTS  # arms, trials, heads
    assert late["memory_kib"] - early["memory_kib"] < 4_096
