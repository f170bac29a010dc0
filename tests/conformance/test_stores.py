"""Every store of the package keeps what `ports.FlagStore` promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from canary_sdk.ports import Notice
from canary_sdk.stores.memory import MemoryStore
from canary_sdk.stores.sqlite import SQLiteStore
from canary_sdk.testing.stores import BoardConformance, DurableStoreConformance, StoreConformance

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from canary_sdk.ports import FlagStore
    from canary_sdk.testing import ManualClock
    from tests.stores.places import Place


class TestMemoryStore(BoardConformance, StoreConformance):
    """The store that ends with the process."""

    @pytest.fixture
    def make_store(self) -> Callable[[], FlagStore]:
        """Make one in memory."""
        return MemoryStore

    def test_a_notice_that_is_not_renewed_goes(self, clock: ManualClock) -> None:
        """What is older than ten minutes is not shown; its age is in seconds."""
        store = MemoryStore(clock)
        store.put_up("x", "ada", "1")
        clock.advance(600)
        assert store.notices("x") == (Notice("ada", "1", 600.0),)
        clock.advance(1)
        assert store.notices("x") == ()


class TestSQLiteStore(BoardConformance, DurableStoreConformance):
    """The store in a file."""

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], FlagStore]:
        """Open one in a file of this test."""
        return lambda: SQLiteStore(tmp_path / "canary.db")


class TestRemoteStore(BoardConformance, DurableStoreConformance):
    """The stores in PostgreSQL and in Redis."""

    @pytest.fixture
    def make_store(self, place: Place) -> Callable[[], FlagStore]:
        """Open one at a place of this test, on a real server."""
        return place.open
