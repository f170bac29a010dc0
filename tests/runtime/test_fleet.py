"""Claims about hosts that judge a rollout together: what is added up, what a host that is missing does, who goes on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from canary_sdk.core.events import FlagTripped
from canary_sdk.core.flags.evaluation import Role
from canary_sdk.core.rollout.journal import Interval
from canary_sdk.core.rollout.state import Status
from canary_sdk.measure import counters
from canary_sdk.runtime.joint import arm_of
from tests.runtime.leading import FLAG, Host, Hosts, a_config, healthy, slow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from canary_sdk.testing import ManualClock

FEW = 30
"""Requests a second: too few on one host for the interval rule, enough on three."""
ARMS = (Role.CANDIDATE, Role.BASELINE)
CLASSIC = {"interval": "2s", "breaches": 2, "min_samples": 35, "rule": "consecutive"}


@pytest.fixture
def hosts(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    """Hosts that share a store."""
    return Hosts(tmp_path, clock, monkeypatch)


@pytest.fixture
def fleet(hosts: Hosts) -> Iterator[list[Host]]:
    """Three hosts, of which the first is about to lead a rollout; the first stage bakes for long."""
    first = hosts.start("a")
    first.canary.apply(
        a_config(stages=[{"percent": 30, "bake": "1h"}, {"percent": 100, "bake": "1h"}]) | {"auto_rollback": CLASSIC}
    )
    fleet = [first, hosts.start("b"), hosts.start("c")]
    yield fleet
    for host in fleet:
        host.canary.close()


def begin(fleet: list[Host], seconds: float = 8) -> None:
    """Start the rollout, and let all hosts serve a healthy candidate for a while."""
    first, *others = fleet
    first.canary.rollouts.start(FLAG)
    first.serve(3, healthy, FEW)  # it moves the rollout, and by now it says so
    first.serve(seconds, healthy, FEW, *others)


def trips(host: Host) -> list[FlagTripped]:
    """Return the trips that were told."""
    return [event for event in host.events if isinstance(event, FlagTripped)]


def intervals(host: Host) -> list[Interval]:
    """Return what was written down of the intervals."""
    records = [entry.record for entry in host.canary.rollouts.journal(FLAG)]
    return [record for record in records if isinstance(record, Interval)]


def hosts_of(host: Host) -> Any:
    """Return whose traffic a host judges."""
    return host.canary.status().hosts.get(FLAG)


def test_a_fault_that_no_host_can_see_alone_is_taken_back_on_the_sum(fleet: list[Host]) -> None:
    """Of no host there are enough requests to judge; together there are, and all of them serve the baseline."""
    begin(fleet)
    first, *others = fleet
    first.serve(12, slow, FEW, *others)
    (trip,) = [trip for host in fleet for trip in trips(host)]
    assert trip.reason.startswith("3 hosts together: breach 2 in a row: p95 ")
    assert [host.share for host in fleet] == [0, 0, 0]
    assert first.state.status is Status.ABORTED
    assert "3 hosts together" in first.state.reason


def test_one_host_alone_cannot_see_it(fleet: list[Host]) -> None:
    """The same fault on the same traffic of one host is no verdict, so nothing is taken back: the sum has decided."""
    begin(fleet[:1])
    fleet[0].serve(12, slow, FEW)
    assert (trips(fleet[0]), fleet[0].share) == ([], 30)


def test_the_sum_moves_the_rollout_on(fleet: list[Host]) -> None:
    """What is too little for a verdict on one host lets no rollout go on; together it does."""
    stages = [{"percent": 30, "bake": "6s"}, {"percent": 100, "bake": "1h"}]
    fleet[0].canary.apply(a_config(stages=stages) | {"auto_rollback": CLASSIC})
    fleet[0].serve(1, healthy, FEW, *fleet[1:])
    begin(fleet[:1], seconds=20)
    assert (fleet[0].share, fleet[0].state.status) == (30, Status.HELD)
    fleet[0].serve(20, healthy, FEW, *fleet[1:])
    assert [host.share for host in fleet] == [100, 100, 100]


def test_what_is_written_down_is_the_sum(fleet: list[Host]) -> None:
    """An interval of the journal counts all hosts' requests once, and says of how many hosts they are."""
    begin(fleet, seconds=20)
    alone, together = [[each for each in intervals(fleet[0]) if each.hosts == number] for number in (1, 3)]
    assert alone
    assert together
    served = 2 * FEW  # by one host in an interval
    for each in together[2:]:
        assert each.baseline is not None
        assert abs(each.candidate.requests + each.baseline.requests - 3 * served) <= 3 * FEW
    counted = sum(each.candidate.requests + (each.baseline.requests if each.baseline else 0) for each in together)
    assert abs(counted / len(together) - 3 * served) < 0.15 * 3 * served
    assert together[-1].candidate.quantiles[0.95] == pytest.approx(0.1, rel=0.02)
    assert together[-1].stale == 0


def test_who_is_heard_is_told(fleet: list[Host]) -> None:
    """The host that moves the rollout names all whose traffic it judges; the others judge their own alone."""
    begin(fleet)
    names = sorted(host.canary._controller._name for host in fleet)
    assert hosts_of(fleet[0]) == (tuple(names), ())
    assert [hosts_of(host) for host in fleet[1:]] == [None, None]


def test_a_host_that_is_silent_is_stale_and_does_no_harm(fleet: list[Host], tmp_path: Path) -> None:
    """It is named, and not waited for; the sum of the others still decides; it goes on with what it had."""
    begin(fleet)
    first, second, silent = fleet
    with closing(sqlite3.connect(tmp_path / "canary.db")) as sql, sql:
        name = silent.canary._controller._name
        sql.execute("UPDATE notice SET at = at - 11 WHERE author = ?", (name,))
    first.serve(4, healthy, FEW, second)
    heard, stale = hosts_of(first)
    assert (len(heard), stale) == (2, (name,))
    assert intervals(first)[-1].stale == 1
    assert first.state.status is Status.RUNNING
    first.serve(12, slow, 45, second)
    assert (first.share, second.share) == (0, 0)
    assert silent.canary.is_enabled(FLAG, "user-0-2") is silent.canary.is_enabled(FLAG, "user-0-2")
    assert silent.share == 30  # what it knew last
    silent.tick()
    assert silent.share == 0


def test_a_host_that_was_silent_is_heard_again(fleet: list[Host], tmp_path: Path) -> None:
    """What it has counted meanwhile comes with its next report, and nothing is counted twice."""
    begin(fleet)
    first, second, silent = fleet
    joint = first.canary._monitor._joints[FLAG]
    put_up: Any = silent.canary._repository.put_up
    silent.canary._repository.put_up = lambda *_: None  # type: ignore[method-assign]
    first.serve(6, healthy, FEW, second, silent)
    before = joint._sums[arm_of(Role.CANDIDATE, "unit")]
    silent.canary._repository.put_up = put_up  # type: ignore[method-assign]
    first.serve(4, healthy, FEW, second, silent)
    grown = sum(joint._sums[arm_of(Role.CANDIDATE, "unit")].values()) - sum(before.values())
    assert grown > 0
    first.serve(6, healthy, FEW, second, silent)
    totals = [sum(host.canary._monitor.read(FLAG, role).requests for host in fleet) for role in ARMS]
    counted = [joint._sums[arm_of(role, "unit")][f"{counters.REQUESTS}"] for role in ARMS]
    for total, found in zip(totals, counted, strict=True):
        assert found <= total
        assert found > 0.6 * total  # but for what was counted before all were heard, and what is under way


def test_a_host_that_is_alone_puts_up_nothing(fleet: list[Host], tmp_path: Path) -> None:
    """Without others there is nobody to tell, and the rollout is judged as ever."""
    begin(fleet[:1])
    with closing(sqlite3.connect(tmp_path / "canary.db")) as sql:
        assert sql.execute("SELECT count(*) FROM notice").fetchone() == (0,)
    assert hosts_of(fleet[0]) is None
    assert intervals(fleet[0])[-1].hosts == 1


def test_who_leaves_is_not_stale(fleet: list[Host], tmp_path: Path) -> None:
    """A host that is shut down takes its notice along; so does everybody when the rollout is over."""
    begin(fleet)
    first, second, third = fleet
    third.canary.close()
    first.serve(3, healthy, FEW, second)
    assert hosts_of(first) == (tuple(sorted(host.canary._controller._name for host in (first, second))), ())
    first.canary.rollouts.abort(FLAG)
    first.serve(3, healthy, FEW, second)
    with closing(sqlite3.connect(tmp_path / "canary.db")) as sql:
        assert sql.execute("SELECT count(*) FROM notice").fetchone() == (0,)


def test_what_cannot_be_read_is_said_once(fleet: list[Host]) -> None:
    """A notice of another release, or of nobody's making, is left out, and counted as a failure."""
    begin(fleet)
    first, *others = fleet
    for body in ("{", "[]", '{"format": 99}', '{"format": 1, "run": "x"}'):
        first.canary._repository.put_up(FLAG, "stranger", body)
        first.serve(2, healthy, FEW, *others)
    assert first.canary.failures.counts["reading what stranger has put up"] >= 4
    assert len(hosts_of(first)[0]) == 3
    assert first.state.status is Status.RUNNING


# --- by the sequential judge ---


class Weak:
    """A fault that is hard to see: one in so many of the candidate's requests is slow, and one in fifty of all."""

    def __init__(self, one_in: int) -> None:
        self._one_in = one_in
        self._served = {True: 0, False: 0}

    def __call__(self, on: bool) -> float:
        """Return how long the next request takes."""
        self._served[on] += 1
        return 0.9 if self._served[on] % (self._one_in if on else 50) == 0 else 0.1


def heard(host: Host) -> Any:
    """Return what the sequential judge of one host says of its own traffic."""
    found = host.canary.status().flags[FLAG].heard
    assert found is not None
    return found.decision


def declare_sequential(fleet: list[Host]) -> None:
    """Let the sequential judge decide."""
    fleet[0].canary.apply(
        a_config(stages=[{"percent": 30, "bake": "1h"}, {"percent": 100, "bake": "1h"}])
        | {"auto_rollback": {"interval": "5s", "breaches": 3, "min_samples": 50}}
    )
    fleet[0].serve(2, healthy, FEW, *fleet[1:])


def test_evidence_of_all_hosts_is_added_up(fleet: list[Host]) -> None:
    """A weak fault, of which each host's own judge is not sure yet, is enough on all of them together."""
    declare_sequential(fleet)
    begin(fleet)
    first, *others = fleet
    sure: list[float] = []
    weak = Weak(8)
    while first.share and len(sure) < 120:
        first.serve(1, weak, FEW, *others)
        if first.share:
            sure.append(max(heard(host).log_e for host in fleet))
    (trip,) = [trip for host in fleet for trip in trips(host)]
    assert trip.decision is not None
    assert trip.decision.hosts == 3
    assert "added up over 3 hosts" in trip.reason
    assert sure[-1] < 0.75 * trip.decision.needed
    others[0].serve(1, healthy, FEW, others[1])
    assert [host.share for host in fleet] == [0, 0, 0]


def test_a_host_still_trips_on_its_own_evidence(fleet: list[Host]) -> None:
    """What one host is sure of is off on all, before and without any sum."""
    declare_sequential(fleet)
    begin(fleet)
    first, second, third = fleet
    for _ in range(40):
        second.answer(0, slow, FEW * 4)
        first.answer(0, healthy, FEW)
        first.clock.advance(0.5)
        second.tick()
        if not second.share:
            break
    (trip,) = trips(second)
    assert trip.decision is not None
    assert trip.decision.hosts == 1
    first.serve(1, healthy, FEW, third)
    assert (first.share, third.share) == (0, 0)


def test_who_takes_over_goes_on_with_the_evidence(fleet: list[Host]) -> None:
    """When the host that moves the rollout dies, another takes it over, with what was known against the candidate."""
    declare_sequential(fleet)
    begin(fleet)
    first, second, third = fleet
    weak = Weak(12)
    first.serve(10, weak, FEW, second, third)
    joint: Any = first.canary._monitor._joints[FLAG]
    evidence = joint.evidence["unit"]
    second.serve(12, healthy, FEW, third)
    taken: Any = next(
        joint for host in (second, third) if (joint := host.canary._monitor._joints.get(FLAG)) is not None
    )
    assert hosts_of(first) is not None
    assert taken.evidence["unit"]["judged_s"] > evidence["judged_s"]
    assert taken.evidence["unit"]["judged_s"] < evidence["judged_s"] + 12
