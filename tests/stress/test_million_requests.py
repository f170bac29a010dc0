"""A million requests from eight threads while the ticker folds: each is counted once, on its own arm, or dropped."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from canary_sdk import connect
from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.core.flags.evaluation import Role

if TYPE_CHECKING:
    from pathlib import Path

    from canary_sdk import Canary

THREADS = 8
EACH = 125_000
ROOM = 65_536
SMALL = 500


def work(canary: Canary, thread: int, met: Counter[Role], *, polite: bool) -> None:
    """Serve one thread's requests; remember which arm each of them met. A polite one lets the ticker keep up."""
    units = canary.units
    for number in range(EACH):
        while polite and len(units.ring) > ROOM // 2:
            SYSTEM_CLOCK.pause(0.001)
        unit = units.open_request()
        token = units.enter(unit)
        canary.is_enabled("checkout", f"user-{thread}-{number}")
        met[unit.marks["checkout"][0].role] += 1
        unit.status = 500 if number % 100 == 0 else 200
        unit.finish(unit.started + 0.010)
        units.leave(token)


@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.parametrize("capacity", [ROOM, SMALL], ids=["room enough", "a ring that overflows"])
def test_every_request_is_counted_once_or_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capacity: int
) -> None:
    """What the arms hold is what the threads saw, less what is counted as dropped; nothing torn, nothing invented."""
    monkeypatch.setenv("CANARY_ARENA_DIR", str(tmp_path))
    monkeypatch.setattr("canary_sdk.runtime.scope.RING_CAPACITY", capacity)
    with connect(f"sqlite:///{tmp_path}/canary.db") as canary:
        canary.apply({"flags": {"checkout": {"rollout": 30, "slos": ["p95 < 500ms"]}}})
        counts = [Counter[Role]() for _ in range(THREADS)]
        threads = [
            threading.Thread(target=work, args=(canary, number, met), kwargs={"polite": capacity == ROOM})
            for number, met in enumerate(counts)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        canary.close()
        folder, arena = canary._monitor._folder, canary._arena
        read = {role: arena.read(folder.arm("checkout", role, "unit")) for role in Role}
    met = sum(counts, Counter())
    counted = {role: counters.requests for role, counters in read.items()}
    dropped = folder.dropped
    assert sum(counted.values()) + dropped == THREADS * EACH
    assert all(counted[role] <= met[role] for role in Role)
    assert all(sum(counters.bins) == counters.requests for counters in read.values())
    assert all(counters.aborted == 0 for counters in read.values())
    if capacity == SMALL:
        assert dropped > 0
    else:
        assert dropped == 0
        assert counted == {role: met[role] for role in Role}
        assert sum(counters.errors for counters in read.values()) == THREADS * EACH // 100
