"""What the tests of integrations share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


@pytest.fixture
def openfeature() -> Iterator[ModuleType]:
    """OpenFeature's API, which is global: as it is after an import, before the test and after it."""
    from openfeature import api

    api.shutdown()
    yield api
    api.shutdown()
