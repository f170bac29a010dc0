"""Claims about keeping flags in order: stale ones, the source that asks for them, their keys as constants."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from canary_sdk.apps.commands import canary as program
from canary_sdk.apps.constants import module_of
from canary_sdk.compose import operate

if TYPE_CHECKING:
    from click.testing import Result

CONFIG = """
[flags.new-checkout]
description = 'The "new" checkout'
rollout = 100
expires = 2020-01-31
[flags.page]
type = "integer"
default = 20
candidate = 50
rollout = 10
[flags.forgotten]
[flags.staged]
rollout = 5
[flags.staged.environments.staging]
rollout = 100
"""

APP = """
from canary_sdk import connect
from openfeature import api
from .keys import CHECKOUT
import flags

client = connect()
PAGE = "page"

class Shop:
    def __init__(self):
        self._canary = client

    def total(self, key):
        self._canary.is_enabled("mispelt", key)
        self._canary.is_enabled(key)
        return other.value("not-ours")

@client.feature(CHECKOUT)
def checkout(): ...

client.value(PAGE, default=1)
client.evaluate(flag_key="page")
client.is_enabled(flags.STAGED)
api.get_client().get_string_details_async("elsewhere", "")
needed = enabled(client, "unwritten"), enabled("no flag", 1), other.enabled()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store, its configuration and an application."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CANARY_URL", f"sqlite:///{tmp_path}/canary.db")
    monkeypatch.delenv("CANARY_ENVIRONMENT", raising=False)
    Path("canary.toml").write_text(CONFIG)
    assert run("flags", "apply", "canary.toml").exit_code == 0
    Path("app", ".venv").mkdir(parents=True)
    Path("app", "site-packages").mkdir()
    Path("app/shop.py").write_text(APP)
    Path("app/keys.py").write_text('CHECKOUT: str = "new-checkout"\n')
    Path("app/other.py").write_text('PAGE = "another"\n')
    Path("app/notes.txt").write_text("no Python")
    for ignored in (".venv", "site-packages"):
        Path("app", ignored, "broken.py").write_text("def")
    return tmp_path


def run(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(program, arguments)


def found(*arguments: str) -> Any:
    """Return what `find` says, as JSON."""
    return json.loads(run("flags", "find", "app", "--json", *arguments).stdout)


# --- stale ---


def test_stale_names_what_is_over_and_leaves_with_1() -> None:
    """Expired flags, and after so many days those that answer everybody the same; in CI the exit code speaks."""
    result = run("flags", "stale")
    assert (result.stdout, result.exit_code) == ("new-checkout: expired on 2020-01-31\n", 1)
    result = run("flags", "stale", "--days", "0", "--json")
    assert {(each["flag_key"], each["why"]) for each in json.loads(result.stdout)} == {
        ("new-checkout", "EXPIRED"),
        ("new-checkout", "SETTLED"),
        ("forgotten", "SETTLED"),
    }
    assert run("flags", "stale", "--days", "0").stderr == "2 stale, of 4 flags, in production\n"
    assert run("flags", "set", "new-checkout", "--unset", "expires").exit_code == 0
    result = run("flags", "stale")
    assert (result.stdout, result.stderr, result.exit_code) == ("", "0 stale, of 4 flags, in production\n", 0)


def test_stale_is_asked_of_an_environment() -> None:
    """What everybody is served is what they are served there."""
    told = run("flags", "stale", "--days", "0", "--environment", "staging").stdout
    assert "staged: everybody has been served 'on' for 0 days" in told


def test_only_what_answers_depend_on_begins_anew() -> None:
    """A new description or SLO and a kill do not make a settled flag young, a changed percentage does."""
    from canary_sdk.apps.housekeeping import _answers_since

    with operate("memory:", environment="production") as canary:
        canary.apply("canary.toml")
        (created,) = canary.history("staged")
        canary.update("staged", {"description": "new"})
        canary.update("staged", {"slos": ["p95 < 1s"]})
        canary.update("staged", {"rollout": 7}, environment="staging")
        canary.kill("staged", reason="test")
        canary.release("staged")
        assert _answers_since(canary, "staged") == created.at
        canary.update("staged", {"rollout": 6})
        assert _answers_since(canary, "staged") == canary.history("staged")[0].at


# --- find ---


def test_find_tells_where_what_is_asked() -> None:
    """Written keys, constants of the file and of others, decorators, keywords, dependencies, OpenFeature: by line."""
    assert found() == {
        "asked": {
            "elsewhere": ["app/shop.py:25"],
            "mispelt": ["app/shop.py:15"],
            "new-checkout": ["app/shop.py:19"],
            "page": ["app/shop.py:22", "app/shop.py:23"],
            "unwritten": ["app/shop.py:26"],
        },
        "missing": {
            "elsewhere": ["app/shop.py:25"],
            "mispelt": ["app/shop.py:15"],
            "unwritten": ["app/shop.py:26"],
        },
        "unused": ["forgotten", "staged"],
        "untold": ["app/shop.py:16", "app/shop.py:24"],
    }


def test_find_says_it_to_people_and_leaves_with_1() -> None:
    """Each finding is a line that an editor can jump to; without a missing flag the exit code is 0."""
    result = run("flags", "find", "app")
    assert result.exit_code == 1
    assert "app/shop.py:15: there is no flag 'mispelt'\n" in result.stdout
    assert "forgotten: written nowhere in this source\n" in result.stdout
    assert "3 files read, 5 flags asked for, 4 known" in result.stderr
    assert run("flags", "find", "app/keys.py").exit_code == 0


def test_generated_constants_are_followed() -> None:
    """A key is told by its generated constant, and counts as written where that is used."""
    assert run("generate", "app/flags.py").exit_code == 0
    told = found()
    assert told["asked"]["staged"] == ["app/shop.py:24"]
    assert told["unused"] == ["forgotten"]


def test_find_takes_the_flags_of_a_file() -> None:
    """No store is needed where there is a configuration."""
    Path("other.toml").write_text(
        "[flags.mispelt]\n[flags.elsewhere]\n[flags.page]\n[flags.new-checkout]\n[flags.unwritten]\n"
    )
    assert found("--file", "other.toml")["missing"] == {}


def test_find_names_the_line_that_it_cannot_read() -> None:
    """A file that is no Python is refused with its line, and no traceback."""
    Path("app/broken.py").write_text("x = 1\ndef\n")
    result = run("flags", "find", "app")
    assert result.exit_code == 1
    assert "app/broken.py:2: invalid syntax" in result.stderr


# --- generate ---


def test_the_module_is_the_same_for_the_same_flags(folder: Path) -> None:
    """It is Python that says each key, sorted; written again it is the same, whatever the order of the flags."""
    first = run("generate").stdout
    names: dict[str, Any] = {}
    exec(compile(first, "flags.py", "exec"), names)
    assert (names["NEW_CHECKOUT"], names["PAGE"]) == ("new-checkout", "page")
    assert names["FlagKey"].__args__ == ("forgotten", "new-checkout", "page", "staged")
    assert names["IntegerKey"].__args__ == ("page",)
    assert "'The \"new\" checkout'" in first
    fields = tomllib.loads(CONFIG)["flags"]
    assert module_of(dict(reversed(fields.items()))) == first


@pytest.mark.timeout(120)  # a type checker reads the standard library
def test_the_module_passes_a_formatter_and_a_type_checker(folder: Path) -> None:
    """What is generated need not be excluded from a project's own checks, and a misspelt key is seen."""
    assert run("generate", "flags.py").exit_code == 0
    Path("use.py").write_text("import flags\n\nkey: flags.FlagKey = flags.PAGE\nbad: flags.FlagKey = 'pgae'\n")
    ran = subprocess.run([sys.executable, "-m", "ruff", "format", "--check", "flags.py"], check=False)
    assert ran.returncode == 0
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", f"{folder}/cache", "use.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line.split(":")[1] for line in checked.stdout.splitlines() if "error" in line and ".py:" in line] == ["4"]


def test_check_compares_and_writes_nothing() -> None:
    """It leaves with 0 where the module is as the flags are, else with 1 and with what would change."""
    assert run("generate", "flags.py", "--check").exit_code == 1
    assert not Path("flags.py").exists()
    run("generate", "flags.py")
    assert run("generate", "flags.py", "--check").stdout == "flags.py is as the flags are\n"
    assert run("flags", "delete", "page").exit_code == 0
    before = Path("flags.py").read_text()
    result = run("generate", "flags.py", "--check")
    assert result.exit_code == 1
    assert '-PAGE: Final = "page"' in result.stderr
    assert Path("flags.py").read_text() == before


def test_names_that_cannot_be_are_helped_or_refused() -> None:
    """A key that begins with a digit gets a prefix; two that would have one name are refused, and so is nothing."""
    Path("other.toml").write_text("[flags.2fa]\n")
    assert 'FLAG_2FA: Final = "2fa"' in run("generate", "--file", "other.toml").stdout
    assert json.loads(run("generate", "--file", "other.toml", "--json").stdout) == {"FLAG_2FA": "2fa"}
    Path("other.toml").write_text("[flags.a-b]\n[flags.a_b]\n")
    assert "found 'a-b' and 'a_b'" in run("generate", "--file", "other.toml").stderr
    Path("other.toml").write_text("")
    assert "found no flags" in run("generate", "--file", "other.toml").stderr
