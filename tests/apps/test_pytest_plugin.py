"""Claims about the pytest plugin, made by running pytest on tests that use it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["pytester"]

INI = """
[pytest]
canary_config = canary.toml
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
"""
FLAGS = """
[flags.new-checkout]
slos = ["errors < 1%"]
[flags.button]
type = "string"
default = "grey"
candidate = "blue"
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project whose pytest knows its flags."""
    pytester.makeini(INI)
    pytester.makefile(".toml", canary=FLAGS)
    return pytester


def test_the_fixture_has_the_projects_flags(project: pytest.Pytester) -> None:
    """The fixture is a Canary with the configured flags, new for each test, that moves by hand alone."""
    project.makepyfile(
        """
        def test_off(canary):
            assert not canary.is_enabled("new-checkout", "user-1")
            canary.update("new-checkout", {"rollout": 100})
            assert canary.is_enabled("new-checkout", "user-1")

        def test_still_off(canary, canary_clock):
            assert not canary.is_enabled("new-checkout", "user-1")
            before = canary.status().at
            canary_clock.advance(60)
            assert canary.status().at == before + 60
            assert not canary.status().ticking
        """
    )
    project.runpytest("-q", "--strict-markers").assert_outcomes(passed=2)


def test_the_mark_forces_flags(project: pytest.Pytester) -> None:
    """The mark holds in sync and async tests, with or without the fixture; the nearest one wins; then it is over."""
    project.makepyfile(
        """
        import asyncio
        import pytest

        @pytest.mark.canary({"button": "candidate"}, new_checkout=True)
        class TestForced:
            def test_sync(self, canary):
                assert canary.is_enabled("new-checkout")
                assert canary.value("button", default="") == "blue"

            async def test_async(self, canary):
                assert canary.is_enabled("new-checkout")
                assert await asyncio.to_thread(canary.is_enabled, "new-checkout")

            @pytest.mark.canary(new_checkout=False)
            def test_nearest(self, canary):
                assert not canary.is_enabled("new-checkout")
                assert canary.value("button", default="") == "blue"

        def test_not_forced(canary):
            assert not canary.is_enabled("new-checkout")
        """
    )
    project.runpytest("-q", "--strict-markers").assert_outcomes(passed=4)


def test_a_project_brings_its_own(project: pytest.Pytester) -> None:
    """Where the project has a Canary of its own in a fixture of that name, the mark forces that one's flags."""
    project.makeconftest(
        """
        import pytest
        from canary_sdk import connect

        theirs = connect("memory:", background=False)

        @pytest.fixture
        def canary():
            theirs.apply({"flags": {"theirs": {}}})
            return theirs
        """
    )
    project.makepyfile(
        """
        import pytest
        from conftest import theirs

        @pytest.mark.canary(theirs=True)
        def test_forced():
            assert theirs.is_enabled("theirs")
        """
    )
    project.runpytest("-q", "--strict-markers").assert_outcomes(passed=1)


def test_a_misspelt_flag_fails_the_test(project: pytest.Pytester) -> None:
    """A mark that names no flag is an error, and says which flags there are."""
    project.makepyfile(
        """
        import pytest

        @pytest.mark.canary(new_chekout=True)
        def test_forced():
            pass
        """
    )
    result = project.runpytest("-q")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*there is no flag 'new-chekout' in this store; it has button, new-checkout*"])


@pytest.mark.timeout(120)  # a process imports pytest
def test_it_loads_nothing_until_asked(tmp_path: Path) -> None:
    """A suite that uses none of it loads no store, no driver and starts no thread of ours."""
    (tmp_path / "test_other.py").write_text(
        "import sys, threading\n"
        "def test_other():\n"
        "    assert 'canary_sdk.apps.pytest_plugin' in sys.modules\n"
        "    heavy = ('canary_sdk.stores', 'canary_sdk.telemetry', 'opentelemetry', 'redis', 'sqlite3')\n"
        "    assert [name for name in sys.modules if name.startswith(heavy)] == []\n"
        "    assert threading.active_count() == 1\n"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "canary_sdk.apps.pytest_plugin", "."],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stdout
