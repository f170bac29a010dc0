"""The verbs of `canary rollout`: what they order, what they say, and the exit code that a script goes by."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from click.testing import CliRunner

from canary_sdk import connect
from canary_sdk.apps.commands import canary as program
from canary_sdk.clock import SYSTEM_CLOCK
from tests.runtime.leading import FLAG, Host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

    from canary_sdk.testing import ManualClock

CONFIG: Final = """
[flags.checkout]
rollout = 7
slos = ["p95 < 500ms", "errors < 5%"]
[flags.checkout.plan]
interval = "2s"
stages = [
  { percent = 20, bake = "6s" },
  { percent = 100, bake = "6s", approval = ["sre-lead"], soft = ["p50 < 300ms"] },
]
[flags.plain]
rollout = 50
[auto_rollback]
rule = "consecutive"
interval = "2s"
min_samples = 10
"""


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store that the command line means, with one flag that has a plan."""
    url = f"sqlite:///{tmp_path}/canary.db"
    monkeypatch.setenv("CANARY_URL", url)
    monkeypatch.delenv("CANARY_ENVIRONMENT", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("canary.toml").write_text(CONFIG)
    assert run("flags", "apply", "canary.toml").exit_code == 0
    return url


@pytest.fixture
def application(url: str, clock: ManualClock) -> Iterator[Host]:
    """The application that serves the flag."""
    clock.set_wall(SYSTEM_CLOCK.wall())  # as the command line has it
    with connect(url, background=False, clock=clock) as canary:
        yield Host(canary, clock)


def run(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(program, arguments)


def said(*arguments: str) -> str:
    """Run a command that must succeed, and return what it says."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def stored(flag_key: str = FLAG) -> dict[str, Any]:
    """Return where the rollout stands, as a machine reads it."""
    found: dict[str, Any] = json.loads(said("rollout", "status", flag_key, "--json"))[flag_key]
    return found


def test_a_rollout_from_the_command_line(application: Host) -> None:
    """What is ordered there the application carries out; each order says where it stands then."""
    started = said("rollout", "start", FLAG, "--actor", "ana", "--reason", "release 4.2")
    assert started.startswith("checkout SCHEDULED")
    assert "served in production: 0 %" in started
    application.serve(12)
    assert application.share == 20
    assert "stage 2 needs approval by sre-lead" in said("rollout", "status")
    sheet = said("rollout", "status", FLAG)
    assert "held" in sheet
    assert "· sre-lead" in sheet
    assert "started by ana: release 4.2" in sheet
    assert run("rollout", "advance", FLAG).exit_code == 1
    assert "needs approval" not in said("rollout", "approve", FLAG, "sre-lead", "--actor", "bo").splitlines()[1]
    assert "✔ sre-lead, bo" in said("rollout", "status", FLAG)
    application.serve(3)
    assert application.share == 100
    assert "PAUSED" in said("rollout", "pause", FLAG, "--reason", "lunch")
    assert "RUNNING" in said("rollout", "resume", FLAG)
    assert "PROMOTED" in said("rollout", "promote", FLAG)
    assert "ABORTED" in said("rollout", "abort", FLAG)
    assert "restart begins it again" in run("rollout", "start", FLAG).stderr
    assert "attempt" in stored()
    assert "SCHEDULED" in said("rollout", "restart", FLAG)
    assert stored()["attempt"] == 2


def test_who_looks_moves_nothing(url: str) -> None:
    """The command line orders and shows; without an application a rollout stays as it was ordered."""
    said("rollout", "start", FLAG)
    said("rollout", "status")
    assert (stored()["status"], stored()["controller"], stored()["seq"]) == ("SCHEDULED", "", 1)


def test_whose_traffic_is_judged(application: Host, tmp_path: Path) -> None:
    """Of several hosts those are named that are heard, and each that is stale; of one alone nothing is said."""
    assert "together" not in said("rollout", "status", FLAG)
    for name in ("web-1/a", "web-2/b", "web-3/c"):
        application.canary._repository.put_up(FLAG, name, "{}")
    with closing(sqlite3.connect(tmp_path / "canary.db")) as sql, sql:
        sql.execute("UPDATE notice SET at = at - 11 WHERE author = 'web-2/b'")
    shown = said("rollout", "status", FLAG)
    assert "judged together: web-1/a, web-3/c" in shown
    assert "STALE: web-2/b has told nothing lately" in shown
    assert stored()["hosts"] == {"heard": ["web-1/a", "web-3/c"], "stale": ["web-2/b"]}


def test_dismissed_the_flag_is_its_own_again(application: Host) -> None:
    """It says what is served then."""
    said("rollout", "start", FLAG)
    application.serve(1)
    said("rollout", "abort", FLAG)
    assert "served in production: 7 %" in said("rollout", "dismiss", FLAG)


def test_a_start_can_be_scheduled(url: str) -> None:
    """The moment needs its offset, or it is not known which moment is meant."""
    assert "starts in" in said("rollout", "start", FLAG, "--at", "2999-01-01T09:00:00+01:00")
    refused = run("rollout", "start", FLAG, "--at", "2999-01-01 09:00")
    assert refused.exit_code == 2
    assert "with its offset" in refused.output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["start", "nowhere"], "there is no flag 'nowhere'"),
        (["start", "plain"], "plain has no plan"),
        (["pause", FLAG], "pause is refused: checkout is IDLE"),
        (["restart", FLAG], "restart is refused: checkout is IDLE"),
        (["approve", FLAG, "sre-lead"], "approve is refused"),
    ],
)
def test_a_refusal_says_why(url: str, arguments: list[str], expected: str) -> None:
    """With exit code 1, on standard error."""
    result = run("rollout", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert expected in result.stderr


def test_the_percentage_is_the_rollouts_unless_forced(application: Host) -> None:
    """`flags rollout` and `flags set` are refused, and with --force dismiss it."""
    said("rollout", "start", FLAG)
    application.serve(1)
    assert "in the hands of its rollout" in run("flags", "rollout", FLAG, "50").stderr
    assert "in the hands of its rollout" in run("flags", "set", FLAG, "rollout=50").stderr
    said("flags", "rollout", FLAG, "50", "--force", "--reason", "fire")
    application.serve(1)
    assert application.share == 50
    assert "forced: fire" in said("flags", "history", FLAG)


def test_a_plan_is_checked_before_it_starts(url: str) -> None:
    """With the rate of its traffic it names what a stage cannot show in its time, and exits with 1."""
    assert "checkout: nothing stands in its way" in said("rollout", "check")
    result = run("rollout", "check", "--rate", "6")
    assert result.exit_code == 1
    assert "checkout: stage 1, bake: at 6 req/s this stage cannot show p95 in 6 s" in result.stdout
    assert json.loads(run("rollout", "check", "--rate", "6", "--json").stdout)[FLAG]
    assert said("rollout", "check", "--rate", "5000").startswith("checkout: nothing")


def test_it_is_checked_who_can_approve(url: str) -> None:
    """A role that nobody has is named, and with four eyes roles that too few people share; else nothing."""
    said(
        "flags",
        "set",
        FLAG,
        'plan={"four_eyes": true, "stages": [{"percent": 100, "bake": 60, "approval": ["a", "b"]}]}',
    )
    assert "'b', which nobody has" in run("rollout", "check", "--role", "a=ana,bo").stdout
    overlapping = run("rollout", "check", "--role", "a=ana", "--role", "b=ana")
    assert overlapping.exit_code == 1
    assert "stage 1, approval: found 2 roles that overlap" in overlapping.stdout
    assert said("rollout", "check", "--role", "a=ana", "--role", "b=bo").startswith("checkout: nothing")
    assert run("rollout", "check", "--role", "a").exit_code == 2


def test_a_file_is_checked_without_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zones that are not known, a flag that is off, and stages in which nothing is promised are named."""
    monkeypatch.chdir(tmp_path)
    Path("canary.toml").write_text(
        "[flags.f]\nenabled = false\n[flags.f.plan]\nstages = [{ percent = 100, bake = '1h' }]\n"
        "blackout = ['22:00-06:00 Europe/Brelin']\n"
    )
    result = run("rollout", "check", "--file", "canary.toml")
    assert result.exit_code == 1
    assert "enabled: found false" in result.stdout
    assert "stage 1, slos: found neither here nor in the flag" in result.stdout
    assert "found the time zone 'Europe/Brelin', which is not known; did you mean" in result.stdout
    assert not Path("canary.db").exists()


def test_roles_are_enforced_where_they_are_declared(application: Host) -> None:
    """Whoever lacks the role is told who has it; `check` knows of the section, and the history of every approval."""
    Path("roles.toml").write_text('[roles]\nsre-lead = ["bo", "cy"]\n')
    said("flags", "apply", "roles.toml")
    assert said("rollout", "check").startswith("checkout: nothing")
    said("rollout", "start", FLAG, "--actor", "ana")
    application.serve(12)
    refused = run("rollout", "approve", FLAG, "sre-lead", "--actor", "ana")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "ana does not have the role 'sre-lead'; bo and cy have it" in refused.stderr
    said("rollout", "approve", FLAG, "sre-lead", "--actor", "Bo", "--reason", "flat")
    assert "✔ sre-lead, Bo: flat" in said("rollout", "status", FLAG)
    application.serve(3)
    assert application.share == 100
    Path("roles.toml").write_text('[roles]\nsre = ["bo"]\n')
    said("flags", "apply", "roles.toml")
    assert "stage 2, approval: found 'sre-lead', which nobody has" in run("rollout", "check").stdout


def test_the_sheet_says_what_the_plan_asks_for(url: str) -> None:
    """Besides the stages: what is measured first, who may not approve, when nothing moves; before the start, too."""
    assert "not started yet" in said("rollout", "status", FLAG)
    stage = {"percent": 100, "bake": 60, "deadline": 7200}
    plan = {"stages": [stage], "baseline": 600, "warmup": 30, "holdback": 5, "four_eyes": True, "parallel": 2}
    plan |= {"blackout": ["Fri 16:00-Mon 08:00 Europe/Berlin"], "watch": 3600}
    said("flags", "set", FLAG, f"plan={json.dumps(plan)}")
    sheet = said("rollout", "status", FLAG)
    assert "measures the baseline for 10 min first; warm-up 30 s; 5 % stay on the baseline until the promotion" in sheet
    assert "who starts it approves nothing; begins while fewer than 2 others are under way" in sheet
    assert "blackout Fri 16:00-Mon 08:00 Europe/Berlin; watched for 60 min after the promotion" in " ".join(
        sheet.split()
    )
    assert "deadline 2 h" in sheet
    said("flags", "set", FLAG, f"plan={json.dumps(plan | {'parallel': 1})}")
    assert "begins while no others are under way" in said("rollout", "status", FLAG)


def test_an_approval_for_the_wrong_stage_is_told_of_the_right_one(url: str) -> None:
    """Whoever agrees early learns which stage waits for that, and the history when it was told."""
    said("rollout", "start", FLAG, "--actor", "ana")
    assert "waiting for an application that serves it" in said("rollout", "status", FLAG)
    refused = run("rollout", "approve", FLAG, "sre-lead", "--actor", "bo").stderr
    assert "stage 1 does not wait for 'sre-lead'; it needs no approval; stage 2 waits for that" in refused
    said("rollout", "approve", FLAG, "sre-lead", "--actor", "bo", "--stage", "2")
    assert "approved – → ['stage 2 by sre-lead']" in said("flags", "history", FLAG)


def test_who_starts_what_only_he_may_approve_is_told(url: str) -> None:
    """At the start, when somebody else can still do so."""
    plan = {"four_eyes": True, "stages": [{"percent": 100, "bake": 60, "approval": ["sre"]}]}
    said("flags", "set", FLAG, f"plan={json.dumps(plan)}")
    Path("roles.toml").write_text('[roles]\nsre = ["ana"]\n')
    said("flags", "apply", "roles.toml")
    started = run("rollout", "start", FLAG, "--actor", "ana")
    assert started.exit_code == 0
    assert "careful: stage 1, approval: found 'sre', which only ana has, who started it" in started.stderr
