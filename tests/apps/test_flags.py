"""The verbs of operators: what they change, what they say, and the exit code that a script goes by."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from click.testing import CliRunner

from canary_sdk import connect
from canary_sdk.apps.commands import canary as program
from canary_sdk.compose import operate
from canary_sdk.core.breaker import Breaker, State
from canary_sdk.errors import CanaryError
from canary_sdk.ports import Change
from canary_sdk.stores import codec
from canary_sdk.stores.sqlite import SQLiteStore
from canary_sdk.telemetry.notify import Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

    from canary_sdk import Canary

CONFIG: Final = """
[flags.checkout]
description = "The [bold]new[/] checkout"
rollout = 5
slos = ["p95 < 500ms"]
[flags.checkout.environments.staging]
rollout = 100
[flags.page]
type = "integer"
default = 20
candidate = 50
"""


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with two flags, which is the one that the command line means."""
    url = f"sqlite:///{tmp_path}/canary.db"
    monkeypatch.setenv("CANARY_URL", url)
    monkeypatch.delenv("CANARY_ENVIRONMENT", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("canary.toml").write_text(CONFIG)
    assert run("flags", "apply", "canary.toml", "--actor", "deploy").exit_code == 0
    return url


@pytest.fixture
def worker(url: str) -> Iterator[Canary]:
    """A process of the application that serves these flags."""
    with connect(url, background=False) as canary:
        canary.status()
        yield canary


def run(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(program, arguments)


def said(*arguments: str) -> str:
    """Run a command that must succeed, and return what it says."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def read(*arguments: str) -> Any:
    """Run a command that must succeed, and return its JSON."""
    return json.loads(said(*arguments, "--json"))


def refused(*arguments: str) -> str:
    """Run a command that must be refused, and return why."""
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    return result.stderr


# --- changing ---


def test_a_change_says_what_it_did_and_how_to_undo_it(url: str) -> None:
    """Each verb changes the field, signs it, tells old and new; the undo that it names restores it."""
    told = said("flags", "rollout", "checkout", "25%", "--actor", "ada", "--reason", "looks good")
    assert told.startswith("checkout: rollout 5 → 25 (revision 2; canary flags undo ")
    row = read("flags", "history", "checkout")[0]
    assert (row["actor"], row["reason"], row["revision"]) == ("ada", "looks good", 2)
    assert "rollout 25 → 5" in said("flags", "undo", str(row["id"]))
    assert "enabled – → false" in said("flags", "disable", "checkout")
    assert "enabled false → true" in said("flags", "enable", "checkout")
    assert said("flags", "enable", "checkout") == "nothing to change: it is so already\n"


def test_set_reads_json_or_text(url: str) -> None:
    """Several fields at once: numbers, lists and text, set and taken away; and no field is no question."""
    said("flags", "set", "checkout", "rollout=0.5", 'slos=["errors < 1%"]', "owner=ops = us", "--unset", "description")
    assert read("flags", "show", "checkout")["fields"] == {
        "rollout": 0.5,
        "slos": ["errors < 1%"],
        "owner": "ops = us",
        "environments": {"staging": {"rollout": 100.0}},
    }
    assert run("flags", "set", "checkout").exit_code == 2
    assert run("flags", "set", "checkout", "rollout").exit_code == 2


def test_an_environment_is_changed_where_it_is_named(url: str) -> None:
    """With --environment or its variable an override is changed; without, whoever overrides the field is named."""
    said("flags", "rollout", "checkout", "50", "--environment", "staging")
    result = run("flags", "rollout", "checkout", "10")
    assert result.stderr == ("staging overrides rollout and keeps 50: change it there with --environment staging\n")
    assert (
        "staging rollout 50 → –"
        in CliRunner(env={"CANARY_ENVIRONMENT": "staging"})
        .invoke(program, ["flags", "set", "checkout", "--unset", "rollout"])
        .stdout
    )


def test_apply_keeps_what_operators_changed(url: str) -> None:
    """Applying the same file again says what it leaves alone; --force takes the file as it is."""
    said("flags", "rollout", "checkout", "25")
    told = said("flags", "apply", "canary.toml").splitlines()
    assert told == [
        "nothing to change: it is so already",
        "checkout is kept as it was changed since it was declared: rollout 5 → 25",
    ]
    assert "rollout 25 → 5" in said("flags", "apply", "canary.toml", "--force")


def test_delete_and_undo(url: str) -> None:
    """A deleted flag is gone, and the undo that was named brings it back."""
    told = said("flags", "delete", "checkout")
    assert told.startswith("checkout: deleted")
    assert "there is no flag 'checkout'" in refused("flags", "show", "checkout")
    said("flags", "undo", told.rpartition(" ")[2].strip(")\n"))
    assert read("flags", "show", "checkout")["fields"]["rollout"] == 5.0


def test_export_and_apply_elsewhere(url: str, tmp_path: Path) -> None:
    """What is exported, in either format or to standard output, makes the same store anew."""
    for name in ("all.toml", "all.json"):
        assert said("flags", "export", name) == f"2 flags written to {name}\n"
        said("flags", "apply", name, "--store", f"sqlite:///{tmp_path}/{name}.db")
        assert read("flags", "export", "--store", f"sqlite:///{tmp_path}/{name}.db") == read("flags", "export")
    assert tomllib.loads(said("flags", "export")) == read("flags", "export")
    assert "expected a name that ends in .toml or .json" in refused("flags", "export", "all.yaml")


# --- what is refused ---


def test_a_stale_change_is_refused(url: str) -> None:
    """With --expected, whoever was faster is named, and nothing is written."""
    said("flags", "rollout", "checkout", "25", "--actor", "grace")
    for verb in (["set", "checkout", "rollout=50"], ["delete", "checkout"]):
        words = refused("flags", *verb, "--expected", "1")
        assert "canary: checkout is at revision 2, and not at 1 as expected" in words
        assert "grace: rollout 5 → 25" in words
    assert "rollout 25 → 50" in said("flags", "set", "checkout", "rollout=50", "--expected", "2")


@pytest.mark.parametrize(
    "arguments",
    [
        ["flags", "show"],
        ["flags", "history"],
        ["flags", "explain"],
        ["flags", "enable"],
        ["flags", "delete"],
        ["kill"],
        ["release"],
        ["reset"],
    ],
)
def test_an_unknown_flag_is_refused(url: str, arguments: list[str]) -> None:
    """A typo is no success, whatever the verb; what there is instead is named."""
    assert refused(*arguments, "chekcout") == (
        "canary: there is no flag 'chekcout' in this store; it has checkout, page\n"
    )


def test_every_mistake_has_its_line(url: str) -> None:
    """A file's problems are told one a line, with file and line, by apply and by check; a change's with their keys."""
    Path("bad.json").write_text('{\n"flags": {"a": {\n"rollout": 101,\n"typ": 1}}}')
    for verb in ("apply", "check"):
        first, second = refused("flags", verb, "bad.json").splitlines()
        assert first.startswith("bad.json:3: flags.a.rollout: found 101")
        assert second.startswith("bad.json:4: flags.a.typ: unknown key")
    assert refused("flags", "rollout", "page", "101").startswith("flags.page.rollout: found 101")


def test_check_needs_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is read, all their mistakes are told, and nothing is made."""
    monkeypatch.chdir(tmp_path)
    Path("good.toml").write_text(CONFIG)
    Path("bad.toml").write_text("[flags.a]\nrules = [{if = {segment = 'nobody'}, serve = 'on'}]\n")
    assert said("flags", "check", "good.toml") == "good.toml: no mistakes, 2 flags\n"
    words = refused("flags", "check", "bad.toml", "no.toml", "good.toml")
    assert words.splitlines()[0].startswith("bad.toml:2: flags.a.rules.0.if: found the segment 'nobody'")
    assert words.splitlines()[1] == "no.toml: configuration: the file cannot be read: No such file or directory"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.toml", "good.toml"]


@pytest.mark.parametrize("verb", [["flags", "list"], ["kill", "checkout"], ["status"]])
def test_a_store_that_is_not_there_is_not_made(tmp_path: Path, verb: list[str]) -> None:
    """In the wrong folder nothing is made, and the mistake is one of usage; so is a URL that no store answers to."""
    result = run(*verb, "--store", f"sqlite:///{tmp_path}/no.db")
    assert result.exit_code == 2
    assert f"there is no store at {tmp_path}/no.db" in result.stderr
    assert list(tmp_path.iterdir()) == []
    assert run(*verb, "--store", "mysql://x").exit_code == 2


def test_a_damaged_store_is_refused(tmp_path: Path) -> None:
    """What is no store is told in words, and so is what is damaged in one; the other flags are still shown."""
    (tmp_path / "text.db").write_text("no database" * 100)
    assert "this is no SQLite database" in refused("status", "--store", f"sqlite:///{tmp_path}/text.db")
    url = f"sqlite:///{tmp_path}/canary.db"
    store = SQLiteStore(tmp_path / "canary.db")
    store.commit(
        [Change("flag", "bad", "{"), Change("flag", "good", '{"fields":{},"format":1}')], actor="", reason="", at=1
    )
    store.close()
    assert "✘ damaged" in said("flags", "list", "--store", url)
    assert "flag bad, revision 1, is damaged" in refused("flags", "show", "bad", "--store", url)


# --- looking ---


def test_lists_and_sheets_are_drawn_as_they_are(url: str) -> None:
    """What people wrote is no markup; state, overrides and what was changed since it was declared are seen."""
    said("flags", "rollout", "checkout", "25")
    listed = said("flags", "list")
    assert "The [bold]new[/] checkout" in listed
    (line,) = [line for line in listed.splitlines() if line.startswith("checkout")]
    assert line.split()[1:6] == ["●", "25", "%", "boolean", "staging"]
    sheet = said("flags", "show", "checkout")
    for words in (
        "revision 2",
        "● 25 %",
        "everywhere",
        "staging",
        "declared",
        "p95 < 500ms",
        "rollout 5 → 25",
        "deploy",
    ):
        assert words in sheet
    assert "● 100 %" in said("flags", "show", "checkout", "--environment", "staging")


def test_an_empty_store_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is nothing, that is said instead of an empty table."""
    monkeypatch.setenv("CANARY_URL", f"sqlite:///{tmp_path}/canary.db")
    monkeypatch.chdir(tmp_path)
    Path("empty.toml").write_text("")
    said("flags", "apply", "empty.toml")
    SQLiteStore(tmp_path / "canary.db").version()
    for verb in (["flags", "list"], ["status"]):
        assert "There are no flags in this store." in said(*verb)
    assert said("flags", "history") == "Nothing has happened yet.\n"


def test_the_history_is_drawn_newest_first(url: str) -> None:
    """Each change has its number, who, where, what and why, one difference a line; and so have kills."""
    said("flags", "set", "checkout", "rollout=25", "owner=ops", "--actor", "ada", "--reason", "why not")
    said("kill", "checkout", "--actor", "bob", "--reason", "looks wrong")
    lines = [line for line in said("flags", "history", "--limit", "2").splitlines() if "checkout" in line]
    assert lines[0].split()[3:] == ["bob", "checkout", "production", "killed", "looks", "wrong"]
    assert "owner – → 'ops'" in lines[1]
    assert [row["action"] for row in read("flags", "history")] == ["KILLED", "CHANGED", "CREATED", "CREATED"]


def test_explain_tells_the_answer_and_why(url: str) -> None:
    """The answer, its reason and a sentence; attributes are read as values are."""
    said("flags", "set", "checkout", 'rules=[{"if": {"attribute": "age", "number": ">= 18"}, "serve": "on"}]')
    assert read("flags", "explain", "checkout", "u", "--attribute", "age=17")["value"] is False
    told = said("flags", "explain", "checkout", "u", "--attribute", "age=18")
    assert told.startswith("true  TARGETING_MATCH\ncheckout is 'on' in production, because rule 0")
    said("kill", "checkout")
    assert read("flags", "explain", "checkout", "u", "--attribute", "age=18")["reason"] == "TRIPPED"


# --- on call ---


def test_a_kill_is_seen_by_a_running_worker_at_once(url: str, worker: Canary) -> None:
    """The real script, in a process of its own: the worker's next evaluation is the baseline, before it looks."""
    worker.apply({"flags": {"page": {"type": "integer", "default": 20, "candidate": 50, "rollout": 100}}}, force=True)
    assert worker.value("page", "u", default=0) == 50
    script = Path(sys.executable).with_name("canary")
    killed = subprocess.run(
        [script, "kill", "page", "--reason", "looks wrong"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CANARY_URL": url},
    )
    assert (killed.returncode, killed.stderr) == (0, "")
    assert killed.stdout.startswith("page is off in production until it is released: every process of this host sees")
    assert worker.value("page", "u", default=0) == 20
    assert not worker.status().flags["page"].breaker.killed, "it has not looked into the store yet"
    released = subprocess.run([script, "release", "page"], capture_output=True, text=True, check=False)
    assert released.returncode == 0
    assert worker.value("page", "u", default=0) == 50


def test_release_and_reset_say_what_is_left(url: str, tmp_path: Path) -> None:
    """A kill and a trip hold independently: each verb says whether the flag is still off, and what is to be done."""
    store = SQLiteStore(tmp_path / "canary.db")
    tripped = codec.encode_breaker(Breaker("checkout", State.OPEN, reason="p95 too slow", tripped_at=1.0))
    store.commit([Change("breaker", "production/checkout", tripped)], actor="", reason="", at=1.0)
    store.close()
    said("kill", "checkout", "--reason", "x")
    assert "still off, as it had tripped: p95 too slow\nOnce that is mended: canary reset checkout" in said(
        "release", "checkout"
    )
    assert "tripped" in said("status")
    assert "every process of this host sees it" in said("reset", "checkout")
    said("kill", "checkout")
    assert "it is still off until: canary release checkout" in said("reset", "checkout")
    assert "every process of this host sees it" in said("release", "checkout")


def test_status_shows_what_is_off_first_and_why(url: str) -> None:
    """What a person at night looks for stands on top, with since when and why; machines get the same as JSON."""
    said("kill", "page", "--reason", "looks [red]wrong[/]")
    lines = [line.strip() for line in said("status").splitlines()]
    assert lines[0].startswith("production")
    first = next(line for line in lines if line.startswith(("page", "checkout")))
    assert first.startswith("page")
    assert "■ killed" in first
    assert first.endswith("looks [red]wrong[/]")
    found = read("status")
    assert (found["environment"], found["stale"]) == ("production", "")
    assert [found["flags"][key]["serving"] for key in ("checkout", "page")] == [True, False]
    assert found["flags"]["page"]["breaker"]["kill_reason"] == "looks [red]wrong[/]"
    assert read("status", "--environment", "staging")["flags"]["page"]["serving"]


def test_a_command_starts_no_thread(url: str) -> None:
    """A process of one command has no background, tells only whom `notify` names, and signs with its login name."""
    before = threading.active_count()
    with operate(url, actor="ada") as canary:
        canary.kill("page", reason="x")
        assert not canary.status().ticking
        assert threading.active_count() == before
        assert [type(each) for each in canary._sinks] == [Notifier]
    assert read("flags", "history")[0]["actor"] == "ada"


def test_operating_makes_no_file(tmp_path: Path) -> None:
    """A store that is not there is refused, unless it is to be made."""
    with pytest.raises(CanaryError, match="there is no store"):
        operate(f"sqlite:///{tmp_path}/no.db")
    with operate(f"sqlite:///{tmp_path}/no.db", create=True) as canary:
        assert canary.flags() == {}
