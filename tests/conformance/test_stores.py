"""Every store of the package keeps what `ports.FlagStore` promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from canary_sdk.stores.memory import MemoryStore
from canary_sdk.stores.sqlite import SQLiteStore
from canary_sdk.testing.stores import DurableStoreConformance, StoreConformance

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from canary_sdk.ports import FlagStore
    from tests.stores.places import Place


class TestMemoryStore(StoreConformance):
    """The store that ends with the process."""

    @pytest.fixture
    def make_store(self) -> Callable[[], FlagStore]:
        """Make one in memory."""
        return MemoryStore


class TestSQLiteStore(DurableStoreConformance):
    """The store in a file."""

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], FlagStore]:
        """Open one in a file of this test."""
        return lambda: SQLiteStore(tmp_path / "canary.db")


class TestRemoteStore(DurableStoreConformance):
    """The stores in PostgreSQL and in Redis."""

    @pytest.fixture
    def make_store(self, place: Place) -> Callable[[], FlagStore]:
        """Open one at a place of this test, on a real server."""
        return place.open
