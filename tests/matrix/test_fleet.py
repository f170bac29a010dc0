"""Three hosts on one store: a trip on one is off on all, by push at once, and by polling where push is cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.matrix.fleet import delays

if TYPE_CHECKING:
    from tests.servers import Server

pytestmark = [pytest.mark.stress, pytest.mark.timeout(120)]

TRIPS = 3
SLOW_S = 2.0
"""What a busy machine may add; `benchmarks.bench_fleet` measures."""


@pytest.mark.parametrize("name", ["postgres", "redis"])
@pytest.mark.parametrize(("others", "within_s"), [("hears", 0.25), ("deaf", 1.0)])
def test_a_trip_on_one_host_is_off_on_all(
    request: pytest.FixtureRequest, name: str, others: str, within_s: float
) -> None:
    """The hosts that did not trip serve the baseline soon after, again and again."""
    server: Server = request.getfixturevalue(f"{name}_server")
    found = delays(server, others, TRIPS)
    assert len(found) == TRIPS
    assert max(found) / 1_000 < within_s + SLOW_S
