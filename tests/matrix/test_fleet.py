"""Three hosts on one store: a trip on one is off on all; what none sees alone is seen by all; who is cut off is stale.

By push a trip comes at once, and by polling where push is cut.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.matrix.fleet import delays
from tests.matrix.looking import eventually
from tests.matrix.serving import Serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import Server
    from tests.stores.places import Place

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


@pytest.fixture
def serving(place: Place, tmp_path: Path) -> Iterator[Serving]:
    """Three hosts on a server, which have found each other."""
    with Serving(place.url, tmp_path) as serving:
        eventually(lambda: serving.looks()[0]["heard"] == 3, serving.looks, every_s=0.2)
        yield serving


def test_a_fault_that_no_host_can_see_alone(serving: Serving) -> None:
    """Each host's own judge has too few requests; on the sum of all it is taken back, and off on all."""
    serving.looks(fails=True)
    eventually(lambda: all(look["reason"] for look in serving.looks()), serving.looks, every_s=0.2)
    assert [look["share"] for look in serving.looks()] == [0, 0, 0]
    for look in serving.looks():
        assert look["reason"].startswith("3 hosts together: breach 2 in a row: errors ")
        assert (look["raised"], look["stale"]) == (0, "")
    assert serving.operator.rollouts.status("checkout").status == "ABORTED"


def test_a_host_that_is_cut_off(serving: Serving) -> None:
    """It serves what it had, and says that it is stale; the others name it and go on; it trips by itself.

    What it decided reaches the others once it is heard again.
    """
    lost = serving.hosts[2]
    serving.relay.cut()
    eventually(lambda: serving.looks()[0]["silent"] == [lost.name], serving.looks, every_s=0.5)
    looks = serving.looks()
    assert [(look["share"], bool(look["stale"])) for look in looks] == [(50, False), (50, False), (50, True)]
    assert looks[0]["heard"] == 2
    assert serving.operator.rollouts.status("checkout").status == "RUNNING"
    lost.look(rate=100, fails=True)
    eventually(lambda: not lost.look()["share"], serving.looks, every_s=0.2)
    assert [look["share"] for look in serving.looks()] == [50, 50, 0]
    serving.relay.mend()
    eventually(lambda: not any(look["share"] for look in serving.looks()), serving.looks, every_s=0.2)
    assert [(look["raised"], look["stale"]) for look in serving.looks()] == [(0, "")] * 3


def test_a_host_that_stands_still(serving: Serving) -> None:
    """Nobody waits for it: the others find a fault without it, and it serves the baseline once it goes on."""
    slow = serving.hosts[2]
    slow.process.send_signal(signal.SIGSTOP)
    try:
        eventually(lambda: serving.hosts[0].look()["silent"] == [slow.name], serving.hosts[0].look, every_s=0.5)
        others = serving.hosts[:2]
        eventually(
            lambda: [host.look(fails=True)["share"] for host in others] == [0, 0],
            lambda: [host.look() for host in others],
            every_s=0.2,
        )
        eventually(lambda: others[0].look()["reason"], others[0].look, every_s=0.2)
        assert others[0].look()["reason"].startswith("2 hosts together: ")
    finally:
        slow.process.send_signal(signal.SIGCONT)
    eventually(lambda: not slow.look()["share"], slow.look, every_s=0.2)
