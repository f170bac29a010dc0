"""Under every server of the table: all workers are measured as one, switched off as one, and nothing hangs at the end.

Real server processes on the loopback; the application has `connect`, the middleware, and nothing for the server.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.matrix.hosts import ROWS, Hosted, Load, Row
from tests.matrix.looking import Onlooker, eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.stress, pytest.mark.timeout(120)]


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
        eventually(
            lambda: asked <= onlooker.counted <= asked + len(hosted.resets),
            lambda: (onlooker.counted, asked, len(hosted.resets), hosted.words),
        )
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
        return hosted.ask("/", "again").pid
    except OSError:
        return 0
