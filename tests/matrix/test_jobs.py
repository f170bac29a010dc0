"""Under Celery's prefork pool: jobs of all children are counted as one, also of those that are recycled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.matrix.hosts import APPS
from tests.matrix.looking import Onlooker, eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.stress, pytest.mark.timeout(120)]

JOBS = 60
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--max-tasks-per-child", "20")
WORKER = ("-m", "celery", "-A", "jobs", "worker", "-P", "prefork", "-c", "2", "-l", "WARNING", *QUIET)
SEND = "import jobs, sys; [jobs.job.delay(f'user-{number}') for number in range(int(sys.argv[1]))]"


def test_all_children_are_one(onlooker: Onlooker, tmp_path: Path, untested: Callable[[str, bool], None]) -> None:
    """Every job is counted once, a broken candidate is taken back once, and the worker ends in time."""
    if find_spec("celery") is None:
        untested("Celery, because celery is not installed", False)
    queue = tmp_path / "queue"
    for folder in (queue, tmp_path / "queue-control"):
        folder.mkdir()
    environment = {
        **os.environ,
        "CANARY_URL": onlooker.url,
        "JOBS": str(queue),
        "EVALUATE_AT_IMPORT": "1",
        "PYTHONPATH": os.pathsep.join([str(APPS), *sys.path]),
    }

    def send(jobs: int) -> bool:
        return not subprocess.run([sys.executable, "-c", SEND, str(jobs)], env=environment, check=False).returncode

    said = tmp_path / "said.txt"
    assert send(JOBS)
    with (
        said.open("wb") as output,
        subprocess.Popen(
            [sys.executable, *WORKER],
            env=environment,
            cwd=tmp_path,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as worker,
    ):
        try:
            eventually(lambda: onlooker.counted == JOBS, lambda: (onlooker.counted, said.read_text()))
            (tmp_path / "broken").touch()
            eventually(lambda: send(4 * JOBS) and onlooker.trips, said.read_text)
            worker.send_signal(signal.SIGTERM)
            worker.wait(20)
        finally:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
    assert onlooker.trips == 1
