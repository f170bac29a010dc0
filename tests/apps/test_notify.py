"""`canary notify`, and who is told of what is done on the command line: against receivers that are real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from canary_sdk import connect
from canary_sdk.apps.commands import canary as program
from canary_sdk.telemetry.notify import delivery
from tests.telemetry.receiving import HttpEnd, http_end

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

CONFIG = """
[flags.search]
rollout = 50
[notify.slack]
url_env = "SLACK_WEBHOOK_URL"
[notify.night]
kind = "pagerduty"
url = "{url}"
routing_key_env = "PAGERDUTY_ROUTING_KEY"
"""
KEY = "correct-horse-battery"


@pytest.fixture
def end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpEnd]:
    """Who listens, and is declared as two channels of the store that the command line means."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CANARY_URL", f"sqlite:///{tmp_path}/canary.db")
    monkeypatch.setenv("PAGERDUTY_ROUTING_KEY", KEY)
    with http_end() as end:
        monkeypatch.setenv("SLACK_WEBHOOK_URL", f"{end.url}/slack")
        Path("canary.toml").write_text(CONFIG.format(url=end.url))
        assert run("flags", "apply", "canary.toml").exit_code == 0
        yield end


def run(*words: str) -> Result:
    """Run a command."""
    return CliRunner().invoke(program, words)


def received(end: HttpEnd) -> list[tuple[str, Any]]:
    """Return what came where."""
    return sorted((each.path, json.loads(each.body).get("event_action", "")) for each in end.received)


def test_a_test_opens_and_closes_an_incident_everywhere(end: HttpEnd) -> None:
    """So that one sees whether it wakes somebody, and nothing stays open."""
    result = run("notify", "test")
    assert (result.exit_code, result.stdout) == (0, "night: it was taken\nslack: it was taken\n")
    assert received(end) == [("/slack", ""), ("/slack", ""), ("/v2/enqueue", "resolve"), ("/v2/enqueue", "trigger")]


def test_what_was_not_taken_is_told(end: HttpEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the exit code too, and without the secret."""
    end.answers.append((403, {}))
    monkeypatch.delenv("PAGERDUTY_ROUTING_KEY")
    result = run("notify", "test", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "slack": "it answered 403",
        "night": "channel night needs the environment variable PAGERDUTY_ROUTING_KEY, which is not set here",
    }
    assert len(end.received) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [(["notify", "test", "slak"], "there is no channel slak; there is night, slack")],
)
def test_a_channel_that_is_not_there_is_refused(end: HttpEnd, words: list[str], said: str) -> None:
    """With those that there are."""
    result = run(*words)
    assert (result.exit_code, said in result.stderr) == (2, True)


def test_an_order_on_the_command_line_is_told(end: HttpEnd) -> None:
    """Before the command ends: nobody else is there to tell it."""
    assert run("kill", "search", "--reason", "it smells").exit_code == 0
    assert received(end) == [("/slack", ""), ("/v2/enqueue", "trigger")]
    assert b"it smells" in end.received[0].body
    assert run("release", "search").exit_code == 0
    assert ("/v2/enqueue", "resolve") in received(end)


def test_a_channel_that_hangs_keeps_no_command(end: HttpEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """For it is waited two seconds, not until it answers."""
    monkeypatch.setattr(delivery, "TIMEOUT_S", 60.0)
    end.hears.clear()
    try:
        assert run("kill", "search").exit_code == 0
    finally:
        end.hears.set()


def test_a_service_tells_what_it_does(end: HttpEnd) -> None:
    """With the channels that the store names, and with those that it names later."""
    with connect(background=False) as canary:
        canary.kill("search", reason="by the service")
        canary.tick()
        canary.apply({"auto_rollback": {"notify": ["slack"]}})
        canary.tick()
        canary.release("search")
    assert received(end) == [("/slack", ""), ("/slack", ""), ("/v2/enqueue", "trigger")]
