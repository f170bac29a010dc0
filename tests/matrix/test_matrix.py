"""Under every server of the table: all workers are measured as one, switched off as one, and nothing hangs at the end.

Real server processes on the loopback; the application has `connect`, the middleware, and nothing for the server.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from canary_sdk import connect
from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.measure.arena import Arena
from canary_sdk.measure.mapping import default_path
from canary_sdk.ports import Action
from tests.matrix.hosts import READY_S, ROWS, Hosted, Load, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from canary_sdk import Canary
    from canary_sdk.measure.arm import Arm

pytestmark = [pytest.mark.stress, pytest.mark.timeout(120)]

CONFIG = {
    "flags": {"checkout": {"rollout": 50, "slos": ["errors < 1%"]}},
    "auto_rollback": {"interval": "1s", "breaches": 1, "min_samples": 20},
}


def eventually(
    act: Callable[[], object], what: Callable[[], object], within_s: float = READY_S, every_s: float = 0.02
) -> None:
    """Wait until it is so."""
    deadline = SYSTEM_CLOCK.monotonic() + within_s
    while not act():
        if SYSTEM_CLOCK.monotonic() > deadline:
            pytest.fail(str(what()))
        SYSTEM_CLOCK.pause(every_s)


class Onlooker:
    """Somebody outside the server: its operator, and a reader of the arena that its workers share."""

    def __init__(self, folder: Path) -> None:
        """Declare the flag in a store of its own."""
        self.url = f"sqlite:///{folder}/canary.db"
        self.operator: Canary = connect(self.url, background=False)
        self.operator.apply(CONFIG)
        self.arena = Arena(default_path(f"sqlite:{os.path.realpath(folder)}/canary.db", "production"))
        assert self.arena.heartbeat()

    @property
    def arms(self) -> list[Arm]:
        """The arms of the flag."""
        return [self.arena.arm(f"checkout/{role}/unit") for role in ("candidate", "baseline", "apart")]

    @property
    def counted(self) -> int:
        """How many requests all workers have counted together."""
        assert self.arena.heartbeat()
        return sum(self.arena.read(arm).requests + self.arena.read(arm).aborted for arm in self.arms)

    @property
    def counting(self) -> int:
        """In how many segments something was counted."""
        return max(len(self.arena._views(arm)) for arm in self.arms)

    @property
    def trips(self) -> int:
        """How often the flag has tripped."""
        return sum(row.action is Action.TRIPPED for row in self.operator.history("checkout"))

    def close(self) -> None:
        """Let go."""
        self.operator.close()
        self.arena.close()


@pytest.fixture
def onlooker(tmp_path: Path) -> Iterator[Onlooker]:
    """Who looks on."""
    looking = Onlooker(tmp_path)
    yield looking
    looking.close()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "-"))
def test_all_workers_are_one(
    row: Row, onlooker: Onlooker, tmp_path: Path, untested: Callable[[str, bool], None]
) -> None:
    """Every request is counted once; kill and trip hold in all workers at once, and it trips once; all end in time."""
    if find_spec(row.needs) is None:
        untested(f"{row.name}, because {row.needs} is not installed", row.optional)
    with Hosted(row, tmp_path / "app", onlooker.url) as hosted:
        asked = hosted.wait()

        def all_met(seen: Load) -> bool:
            return len(seen.answers) >= row.workers and seen.answers.total() >= 40

        def many_met(seen: Load) -> bool:
            return len(seen.answers) > row.workers if row.recycled else all_met(seen)

        seen = hosted.load(many_met, row.paths)
        assert 0 < seen.candidates < seen.answers.total()
        asked += seen.answers.total()
        eventually(lambda: onlooker.counted == asked, lambda: (onlooker.counted, asked, hosted.words))
        assert row.recycled or onlooker.counting >= row.workers

        onlooker.operator.kill("checkout", reason="try it")
        seen = hosted.load(all_met, row.paths)
        assert seen.candidates == 0
        onlooker.operator.release("checkout")
        eventually(lambda: hosted.load(all_met, row.paths).candidates, lambda: hosted.words)

        if row.touch:
            before = {0, *seen.answers}
            (hosted.folder / row.touch).touch()
            eventually(lambda: reloaded(hosted) not in before, lambda: hosted.words)

        eventually(lambda: hosted.load(all_met, ("/broken",)).candidates == 0, lambda: hosted.words, every_s=0.2)
        eventually(lambda: onlooker.trips, lambda: hosted.words)
        assert hosted.load(all_met, row.paths).candidates == 0
        assert onlooker.trips == 1

        hosted.end()
        eventually(lambda: hosted.is_gone, lambda: hosted.words, 5.0)
        assert "Traceback" not in hosted.words


def reloaded(hosted: Hosted) -> int:
    """Return who answers now; nobody does while it reloads."""
    try:
        return hosted.ask("/", "again")[0]
    except OSError:
        return 0
