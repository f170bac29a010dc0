"""Claims about who removes what was kept long enough: one process of a host, once an hour, a little at a time."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

import pytest
from click.testing import CliRunner

from canary_sdk import connect
from canary_sdk.apps.commands import canary as program
from canary_sdk.core.config.configuration import parse_declaration
from canary_sdk.ports import JournalLine
from canary_sdk.runtime import client
from canary_sdk.runtime.client import COMPACT_S, SETTLE_S
from canary_sdk.stores.codec import changes_for
from canary_sdk.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from canary_sdk import Canary
    from canary_sdk.ports import FlagStore
    from canary_sdk.testing import ManualClock

KEY: Final = "test/checkout"


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[FlagStore]:
    """A file in which five old lines and one new one are, and the history of two changes."""
    with closing(SQLiteStore(tmp_path / "canary.db")) as opened:
        declaration = parse_declaration({"flags": {"checkout": {}}, "retention": {"journal": "1d", "audit": "1d"}})
        old, at = clock.wall() - 2 * 86_400, clock.wall()
        lines = [JournalLine(KEY, old, f"{number}") for number in range(5)]
        opened.commit(changes_for(declaration, opened.load()), actor="", reason="", at=at, journal=lines)
        opened.commit([], actor="", reason="", at=at, journal=[JournalLine(KEY, at, "new")])
        yield opened


def served(tmp_path: Path, clock: ManualClock) -> Canary:
    """Open it as an application would, whose ticks the test makes."""
    return connect(f"sqlite:///{tmp_path}/canary.db", environment="test", clock=clock, background=False)


def kept(store: FlagStore) -> list[str]:
    """Return what is left of the journal."""
    return [line.text for line in store.journal(KEY)]


def test_it_happens_once_an_hour_and_not_at_a_start(
    store: FlagStore, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute after its start a process begins, a little at each tick; what gets old later goes an hour later."""
    monkeypatch.setattr(client, "COMPACTED", 2)
    with served(tmp_path, clock) as canary:
        canary.tick()
        clock.advance(SETTLE_S - 1)
        canary.tick()
        assert len(kept(store)) == 6
        clock.advance(1)
        canary.tick()
        assert kept(store) == ["2", "3", "4", "new"]
        for _ in range(3):
            canary.tick()
        assert kept(store) == ["new"]
        store.commit([], actor="", reason="", at=0.0, journal=[JournalLine(KEY, 0.0, "late")])
        clock.advance(COMPACT_S - 1)
        canary.tick()
        assert kept(store) == ["new", "late"]
        clock.advance(1)
        canary.tick()
        assert kept(store) == ["new"]
        assert canary.failures.counts == {}


def test_only_one_process_of_a_host_does_it(store: FlagStore, tmp_path: Path, clock: ManualClock) -> None:
    """Whoever does not hold the lease leaves it to the one that does."""
    with served(tmp_path, clock) as first, served(tmp_path, clock) as second:
        first.tick()
        second.tick()
        clock.advance(SETTLE_S)
        second.tick()
        assert len(kept(store)) == 6
        first.tick()
        first.tick()
        assert kept(store) == ["new"]


def test_an_operator_may_do_it_at_once(store: FlagStore, tmp_path: Path) -> None:
    """The command says how much went, for people and for machines; then there is nothing left to do."""
    url = f"sqlite:///{tmp_path}/canary.db"
    store.commit(
        [], actor="", reason="", at=0.0, journal=[JournalLine(KEY, 0.0, f"{number}") for number in range(1500)]
    )
    done = CliRunner().invoke(program, ["compact", "--store", url])
    assert done.exit_code == 0
    assert done.output.startswith("removed ")
    assert done.output.endswith(" of the history\n")
    again = CliRunner().invoke(program, ["compact", "--store", url, "--json"])
    assert again.output.split() == ["{", '"journal":', "0,", '"audit":', "0", "}"]
    assert "1500" not in kept(store)
    assert "0" not in kept(store)
