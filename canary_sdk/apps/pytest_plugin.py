"""The pytest plugin: the fixtures `canary` and `canary_clock`, and the mark `canary`. It loads nothing until asked.

    @pytest.mark.canary(new_checkout=True)
    def test_checkout(canary): ...

A project that has a `Canary` of its own returns it from a fixture named `canary`; the mark then forces its flags.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from canary_sdk import Canary
    from canary_sdk.testing import ManualClock

CONFIG = "canary_config"
"""The setting that names the file whose flags the fixture has."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Know the setting."""
    parser.addini(CONFIG, "the TOML or JSON file that the fixture `canary` applies, from pytest's root directory")


def pytest_configure(config: pytest.Config) -> None:
    """Know the mark."""
    config.addinivalue_line("markers", "canary(flags, **flags): what flags answer in this test: True, False, a variant")


@pytest.fixture
def canary_clock() -> ManualClock:
    """The clock of the fixture `canary`, which moves when the test says so."""
    from canary_sdk.testing import ManualClock

    return ManualClock()


@pytest.fixture
def canary(request: pytest.FixtureRequest, canary_clock: ManualClock) -> Iterator[Canary]:
    """A Canary in memory with the flags of `canary_config`, that does nothing by itself: the test calls `tick`."""
    from canary_sdk import connect

    path = request.config.getini(CONFIG)
    with connect("memory:", environment="test", clock=canary_clock, background=False) as client:
        if path:
            client.apply(request.config.rootpath / path)
        yield client


@pytest.fixture(autouse=True)
def _canary_marks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Force what the marks say; the nearest one wins."""
    marks = list(request.node.iter_markers("canary"))
    with ExitStack() as forced:
        if marks:
            from canary_sdk.testing import override

            client = request.getfixturevalue("canary")
            for mark in reversed(marks):
                forced.enter_context(override(client, *mark.args, **mark.kwargs))
        yield
