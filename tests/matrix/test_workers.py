"""Four workers of gunicorn, under load: one decision, and no hanging."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.measure.segment import SILENCE_NS
from tests.matrix.hosts import WORKERS, Hosted, Load
from tests.matrix.looking import Onlooker, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.stress, pytest.mark.timeout(120)]

TRIPS = 4


@pytest.fixture
def hosted(onlooker: Onlooker, tmp_path: Path) -> Iterator[Hosted]:
    """Gunicorn with four workers, all of which have answered."""
    with Hosted(WORKERS, tmp_path / "app", onlooker.url) as hosted:
        hosted.wait()
        hosted.load(lambda seen: len(seen.answers) == WORKERS.workers)
        yield hosted


def test_after_a_trip_no_worker_serves_the_candidate(hosted: Hosted, onlooker: Onlooker) -> None:
    """It trips once for all; what `benchmarks.bench_trip` measures is far below what a message would take."""
    delays = [onlooker.trip(hosted) for _ in range(TRIPS)]
    assert onlooker.trips == TRIPS, onlooker.story
    assert max(delays) < 1.0


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="nobody tells who holds a lock")
def test_workers_that_are_killed_are_replaced(hosted: Hosted, onlooker: Onlooker) -> None:
    """Under load all workers are killed, the judge first: another judges, slots are used again, it trips once."""
    killed: list[int] = []

    def kill(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    def kill_the_judge() -> None:
        judges = [0]

        def is_there() -> bool:
            judges.append(onlooker.judge)
            return judges[-1] not in {0, *killed}

        eventually(is_there, lambda: hosted.words)
        kill(judges[-1])  # to kill 0 would be to kill this very process group

    def killed_up_to(number: int, seen: Load) -> bool:
        for pid in list(seen.answers.keys() - set(killed))[: number - len(killed)]:
            kill(pid)
        return len(killed) == number

    kill_the_judge()
    hosted.load(partial(killed_up_to, WORKERS.workers))
    hosted.load(lambda seen: len(seen.answers) == WORKERS.workers)
    eventually(lambda: onlooker.judge not in {0, *killed}, lambda: hosted.words)
    slots = len(onlooker.owners)
    SYSTEM_CLOCK.pause(SILENCE_NS / 1e9)
    kill_the_judge()
    hosted.load(partial(killed_up_to, 2 * WORKERS.workers))
    hosted.load(lambda seen: len(seen.answers) == WORKERS.workers)
    assert len(onlooker.owners) == slots
    onlooker.trip(hosted)
    assert onlooker.trips == 1
