"""A process that counts is killed again and again, while another reads: nothing is torn or undone, little lost."""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from canary_sdk.measure.arena import Arena
from tests.stress.counting import LIMITS, REPORT

if TYPE_CHECKING:
    from canary_sdk.measure.counters import Counters

KILLS = 20
CHILD = Path(__file__).with_name("counting.py")

pytestmark = [
    pytest.mark.stress,
    pytest.mark.timeout(90),
    pytest.mark.skipif(sys.platform == "win32", reason="no shared arena here"),
]


def start(path: Path) -> subprocess.Popen[bytes]:
    """Start a process that appends and counts; the pipe has room for all it will report."""
    command = [sys.executable, str(CHILD), str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2], pipesize=1 << 20)


def check(seen: Counters, before: Counters) -> None:
    """Hold one reading against the one before it and against itself."""
    assert all(now >= then for now, then in zip(seen.cells, before.cells, strict=True))
    assert sum(seen.bins) <= seen.requests
    assert seen.errors <= seen.over(LIMITS[1]) <= seen.over(LIMITS[0]) <= seen.requests


def reports(child: subprocess.Popen[bytes]) -> dict[bytes, list[tuple[float, int]]]:
    """Return what a dead child left in its pipe, by kind: times, and how many."""
    assert child.stdout is not None
    told = child.stdout.read()
    child.stdout.close()
    kept: dict[bytes, list[tuple[float, int]]] = {b"A": [], b"T": []}
    for kind, at, done in REPORT.iter_unpack(told[: len(told) // REPORT.size * REPORT.size]):
        kept[kind].append((at, done))
    return kept


def test_a_process_that_is_killed_while_it_counts(tmp_path: Path) -> None:
    """Over twenty kills no counter goes down or is torn; what had been appended when the last tick began is counted."""
    arena = Arena(tmp_path / "a.arena")
    arm = arena.arm("a", LIMITS)
    moments = random.Random(7)
    seen, readings, gaps = arena.read(arm), 0, []
    for kill in range(1, KILLS + 1):
        started_with = seen.requests
        with start(tmp_path / "a.arena") as child:
            while seen.requests == started_with:
                assert child.poll() is None
                before, seen = seen, arena.read(arm)
                check(seen, before)
            end = time.monotonic() + moments.uniform(0.05, 0.5)
            while time.monotonic() < end:
                before, seen = seen, arena.read(arm)
                readings += 1
                check(seen, before)
            child.kill()
            killed = time.monotonic()
            child.wait()
            told = reports(child)
        before, seen = seen, arena.read(arm)
        check(seen, before)
        counted = seen.requests - started_with
        assert told[b"T"][-1][1] <= counted <= told[b"A"][-1][1] + 50
        assert seen.requests - sum(seen.bins) <= kill
        gaps.append(killed - told[b"T"][-1][0])
    arena.close()
    assert readings > KILLS * 20
    assert statistics.median(gaps) < 0.15
    assert not arena.refused
