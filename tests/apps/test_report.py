"""Claims about `canary report`: what it shows, where it writes it, and what it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from benchmarks.rollout import KEY, classic
from canary_sdk.apps.commands import canary as program
from canary_sdk.core.breaker import AutoRollback
from canary_sdk.stores.memory import MemoryStore
from canary_sdk.stores.repository import DocumentRepository
from canary_sdk.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store in which a rollout has ended, whose journal is longer than a page."""
    path, quick = tmp_path_factory.mktemp("store") / "canary.db", MemoryStore()
    classic(AutoRollback(interval_s=3.0), DocumentRepository(quick, "production"), scale=1 / 60).run()
    lines = quick.journal(f"production/{KEY}", limit=10_000)
    assert len(lines) > 1_000
    store = SQLiteStore(path)
    store.commit([], actor="", reason="", at=0.0, journal=lines)
    store.close()
    return f"sqlite:///{path}"


def run(store: str, *arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(program, ["report", *arguments, "--store", store])


def test_it_shows_markdown_for_people_and_json_for_machines(store: str) -> None:
    """The whole journal is in it, beyond its first page."""
    shown = run(store, KEY)
    assert shown.exit_code == 0
    assert shown.output.startswith(f"# Rollout of {KEY}, attempt 1\n")
    assert "RUNNING → PROMOTED" in shown.output
    data = json.loads(run(store, KEY, "--json").output)
    assert sum(data["stages"][number]["seconds"] for number in range(1, 5)) == pytest.approx(31 * 60)


@pytest.mark.parametrize(("name", "begins"), [("r.md", "# Rollout"), ("r.HTML", "<!doctype"), ("r.json", "{")])
def test_it_writes_a_file_of_the_kind_that_its_name_says(store: str, tmp_path: Path, name: str, begins: str) -> None:
    """The end of the name decides what is written; nothing but where it is is said."""
    out = tmp_path / name
    done = run(store, KEY, "--out", str(out))
    assert (done.exit_code, done.output) == (0, f"the report is in {out}\n")
    assert out.read_text(encoding="utf-8").startswith(begins)


def test_what_makes_no_sense_is_refused(store: str, tmp_path: Path) -> None:
    """A rollout that never was, a name of no known end, and a folder that is not there are named."""
    for arguments, code, said in (
        (("other",), 1, "the journal of other in production tells of no rollout: there is nothing"),
        ((KEY, "--attempt", "2"), 1, "tells of no rollout of attempt 2: there is 1"),
        ((KEY, "--environment", "staging"), 1, f"the journal of {KEY} in staging tells of no rollout"),
        ((KEY, "--out", "report.pdf"), 2, "report.pdf: expected a name that ends in .md, .html, .json"),
        ((KEY, "--out", str(tmp_path / "no" / "r.md")), 1, "the report cannot be written: No such file"),
    ):
        refused = run(store, *arguments)
        assert refused.exit_code == code
        assert said in " ".join(refused.output.split())
