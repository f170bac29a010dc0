"""A process that serves a flag under a rollout is killed again and again: what was acknowledged holds, in order."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from canary_sdk import connect
from canary_sdk.core.rollout.journal import Transition
from canary_sdk.core.rollout.state import Status
from canary_sdk.errors import Refused
from tests.stress.leading import COUNTING, LED, REPORT

if TYPE_CHECKING:
    from canary_sdk import Canary
    from canary_sdk.ports import JournalEntry

CHILD: Final = Path(__file__).with_name("leading.py")
STAGES: Final = 200
CONFIG: Final = {
    "flags": {
        LED: {
            "slos": ["p95 < 60s", "errors < 50%"],
            "plan": {
                "interval": "0.1s",
                "fresh": 20,
                "stages": [
                    {"percent": 100 * number / STAGES, "bake": "0.3s", "approval": [] if number % 5 else ["lead"]}
                    for number in range(1, STAGES + 1)
                ],
            },
        },
        COUNTING: {"type": "integer", "default": 0, "candidate": 0},
    },
    "auto_rollback": {"interval": "0.2s", "min_samples": 1, "rule": "consecutive"},
}


def stage_moves(operator: Canary) -> list[int]:
    """Return each stage that was entered, in order, as it is written down."""
    entries: list[JournalEntry] = []
    last = 0
    while page := operator._repository.journal(LED, after=last, limit=1_000):
        entries += page
        last = page[-1].id
    moves = [each.record for each in entries if isinstance(each.record, Transition)]
    return [after.stage for before, after in pairwise(moves) if before.stage != after.stage]


def approve_next(operator: Canary) -> int:
    """Agree to the next stage that waits for it, as somebody who watches would; return how many were given so far."""
    state = operator.rollouts.status(LED)
    if "needs approval" in state.reason and state.status is Status.HELD:
        with suppress(Refused):  # it was given, and the process has not come to it yet
            state = operator.rollouts.approve(LED, "lead", actor="bo")
    return len(state.approvals)


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(20, marks=[pytest.mark.stress, pytest.mark.timeout(180)]),
        pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="no process is killed so here")
def test_a_process_that_is_killed_in_a_rollout(tmp_path: Path, kills: int) -> None:
    """No acknowledged change is lost, no stage skipped or repeated; nothing is served that was not stored before."""
    url = f"sqlite:///{tmp_path}/canary.db"
    moments = random.Random(5)
    acknowledged, approved, moved_in = 0, 0, 0
    with connect(url, background=False) as operator:
        operator.apply(CONFIG)
        operator.rollouts.start(LED, actor="ana")
        for _ in range(kills):
            before = operator.rollouts.status(LED)
            command = [sys.executable, str(CHILD), url, str(acknowledged)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
                assert child.stdout is not None
                told = child.stdout.read(REPORT.size)  # it is awake
                end = time.monotonic() + moments.uniform(0.1, 1.5)
                while time.monotonic() < end:
                    assert child.poll() is None
                    approved = max(approved, approve_next(operator))
                    time.sleep(0.02)
                child.kill()
                told += child.stdout.read()
                child.wait()
            reports = [
                REPORT.unpack_from(told, at) for at in range(0, len(told) // REPORT.size * REPORT.size, REPORT.size)
            ]
            acknowledged = max([acknowledged, *(int(figure) for kind, figure in reports if kind == b"A")])
            served = [figure for kind, figure in reports if kind == b"S"]
            after = operator.rollouts.status(LED)
            assert operator.flags()[COUNTING].fields.get("maximum", 0) >= acknowledged
            assert len(after.approvals) >= approved
            assert served == sorted(served)
            assert all(before.percent <= figure <= after.percent for figure in served)
            moved_in += after.stage > before.stage
        moves = stage_moves(operator)
        last = operator.rollouts.status(LED)
    assert moves == list(range(1, last.stage + 1))
    assert last.attempt == 1
    assert moved_in > kills / 4, "the kills came too soon for anything to happen"
