"""What the tests under real servers may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.matrix.looking import Onlooker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def onlooker(tmp_path: Path) -> Iterator[Onlooker]:
    """Who looks on."""
    looking = Onlooker(tmp_path)
    yield looking
    looking.close()
