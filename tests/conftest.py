"""What every test may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, settings

from canary_sdk import connect
from canary_sdk.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from canary_sdk import Canary

# A busy machine is slow, and no test claims otherwise.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "mutants",  # one failure is enough, and need not be the smallest
    settings.get_profile("any machine"),
    max_examples=20,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _arenas_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is left in this machine's shared memory."""
    monkeypatch.setenv("CANARY_ARENA_DIR", str(tmp_path_factory.mktemp("arena")))


@pytest.fixture
def clock() -> ManualClock:
    """A clock that moves when the test says so."""
    return ManualClock()


@pytest.fixture
def canary(clock: ManualClock) -> Iterator[Canary]:
    """A Canary in memory that does nothing by itself: the test calls `tick`."""
    with connect("memory:", environment="test", clock=clock, background=False) as client:
        yield client
