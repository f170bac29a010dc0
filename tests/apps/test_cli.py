"""The command's front: versions, refusals and missing extras are told in a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from tests.needs import need

if TYPE_CHECKING:
    from pathlib import Path

need("click", "rich", "starlette", "uvicorn")


def canary(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command, in a process of its own."""
    script = f"import sys; sys.argv[0] = 'canary'\n{before}\nfrom canary_sdk.apps.cli import main; main()"
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)


def test_it_tells_its_version() -> None:
    """The version is the distribution's."""
    assert canary("--version").stdout.strip() == version("canary-rollout")


def test_a_poor_terminal_ends_nothing() -> None:
    """Where the output cannot show a character, a question mark stands for it."""
    code = "from canary_sdk.apps.cli import main\nimport sys; sys.argv[1:] = ['--version']\nmain()"
    script = f"import atexit; atexit.register(lambda: print(chr(0x2714)))\n{code}"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.endswith("?\n")


def test_it_explains_itself() -> None:
    """Help names the demo and its options, in the words of the fault grammar."""
    assert "demo" in canary("--help").stdout
    told = canary("demo", "--help").stdout
    assert "latency=800ms@50%" in told
    assert "--no-fault" in told
    assert "--baseline" not in told, "hidden options are for tests"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["demo", "--fault", "slow=5%"], 'found "slow=5%"'),
        (["demo", "--fault", "errors=200%"], "expected a share"),
        (["demo", "--port", "70000"], "70000"),
        (["nonsense"], "nonsense"),
    ],
)
def test_a_mistake_is_a_usage_error(arguments: list[str], told: str) -> None:
    """Exit code 2 and what was expected, without a traceback."""
    run = canary(*arguments)
    assert run.returncode == 2
    assert told in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("missing", "extra"), [("click", "cli"), ("rich", "cli"), ("starlette", "demo"), ("uvicorn", "demo")]
)
def test_a_missing_extra_is_named(missing: str, extra: str, tmp_path: Path) -> None:
    """Without what the command needs, it says what to install."""
    run = canary("demo", "--out", str(tmp_path), before=f"sys.modules[{missing!r}] = None")
    assert run.returncode == 2
    assert f'pip install "canary-rollout[{extra}]"' in run.stderr
    assert "Traceback" not in run.stderr
