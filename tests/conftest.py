"""What every test may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from canary_sdk import connect
from canary_sdk.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from canary_sdk import Canary


@pytest.fixture
def clock() -> ManualClock:
    """A clock that moves when the test says so."""
    return ManualClock()


@pytest.fixture
def canary(clock: ManualClock) -> Iterator[Canary]:
    """A Canary in memory that does nothing by itself: the test calls `tick`."""
    with connect("memory:", environment="test", clock=clock, background=False) as client:
        yield client
