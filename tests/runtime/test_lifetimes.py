"""Claims about processes that begin or end where Python's own hooks are not run; servers are in `tests/matrix`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from canary_sdk import connect
from canary_sdk.testing import ManualClock

CHILD = """
import multiprocessing, sys
from canary_sdk import connect

canary = connect(sys.argv[1])

def work():
    with canary.scope("job", key="user-1"):
        canary.is_enabled("checkout")

if __name__ == "__main__":
    child = multiprocessing.get_context(sys.argv[2]).Process(target=work)
    child.start()
    child.join()
    sys.exit(child.exitcode)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.skipif(sys.platform == "win32", reason="no shared arena here")
def test_a_child_of_a_pool_counts_its_last_work(tmp_path: Path, method: str) -> None:
    """It ends without atexit, before its ticker has come round: what it had measured is in the arena all the same."""
    url = f"sqlite:///{tmp_path}/canary.db"
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    with connect(url, background=False) as canary:
        canary.apply({"flags": {"checkout": {"rollout": 100, "slos": ["errors < 1%"]}}})
        canary.tick()
        subprocess.run([sys.executable, script, url, method], check=True)
        arena = canary._arena
        assert arena.read(arena.arm("checkout/candidate/unit")).requests == 1


def test_a_lost_arena_does_not_take_along_what_another_process_switched_off(tmp_path: Path) -> None:
    """Known here by the byte alone, as the store is looked at once a second: it is read before the new one is used."""
    clock = ManualClock()
    with (
        connect(f"sqlite:///{tmp_path}/canary.db", clock=clock, background=False) as operator,
        connect(f"sqlite:///{tmp_path}/canary.db", clock=clock, background=False) as worker,
    ):
        operator.apply({"flags": {"checkout": {"rollout": 100}}})
        clock.advance(2.0)
        worker.tick()
        assert worker.is_enabled("checkout", "u")
        operator.kill("checkout", reason="slow")
        assert not worker.is_enabled("checkout", "u")
        Path(worker._arena.path or "").unlink()
        worker.tick()
        assert not worker.is_enabled("checkout", "u")
