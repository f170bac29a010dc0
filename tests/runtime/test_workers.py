"""Claims about several workers of one host that share an arena and a store: what one holds back, all do, and once."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from canary_sdk import connect
from canary_sdk.core.breaker import State
from canary_sdk.core.events import FlagTripped
from canary_sdk.core.flags.evaluation import Reason
from canary_sdk.errors import StoreError
from canary_sdk.ports import Action
from canary_sdk.runtime.guard import DOUBT_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from canary_sdk import Canary
    from canary_sdk.core.events import Event
    from canary_sdk.testing import ManualClock

CONFIG = {
    "flags": {"checkout": {"rollout": 50, "slos": ["errors < 1%"]}},
    "auto_rollback": {"rule": "consecutive", "interval": "1s", "breaches": 1, "min_samples": 20},
}


@pytest.fixture
def workers(tmp_path: Path, clock: ManualClock) -> Iterator[list[Canary]]:
    """Two workers; the first one judges."""
    url = f"sqlite:///{tmp_path}/canary.db"
    with connect(url, clock=clock, background=False) as first, connect(url, clock=clock, background=False) as second:
        first.apply(CONFIG)
        first.tick()
        second.tick()
        yield [first, second]


def serve(worker: Canary, *, failing: bool) -> None:
    """Let a worker answer a hundred users, its candidate failing or not."""
    for number in range(100):
        unit = worker.units.open_request()
        token = worker.units.enter(unit)
        unit.status = 500 if worker.is_enabled("checkout", f"user-{number}") and failing else 200
        unit.finish(unit.started + 0.01)
        worker.units.leave(token)


def is_off(worker: Canary) -> bool:
    """Whether nobody gets the candidate."""
    return worker.evaluate("checkout", "user-1").reason is Reason.TRIPPED


def turn(workers: list[Canary], clock: ManualClock, seconds: float) -> None:
    """Let time pass, with a tick of each worker ten times a second."""
    for _ in range(round(seconds * 10)):
        clock.advance(0.1)
        for worker in workers:
            worker.tick()


def trip(workers: list[Canary], clock: ManualClock) -> None:
    """Let the candidate fail until the flag is off."""
    for worker in workers:
        serve(worker, failing=True)
    turn(workers, clock, 1.2)


def test_a_trip_that_cannot_be_saved_holds_in_all_workers(
    workers: list[Canary], clock: ManualClock, tmp_path: Path
) -> None:
    """However long the store is away, no worker lets the flag go; once it is back, one trip is in its history."""
    store, away = tmp_path / "canary.db", tmp_path / "away.db"
    store.rename(away)
    trip(workers, clock)
    assert all(map(is_off, workers))
    for _ in range(int(4 * DOUBT_S)):
        turn(workers, clock, 1.0)
        assert all(map(is_off, workers))
    away.rename(store)
    turn(workers, clock, 2.1)
    assert all(map(is_off, workers))
    assert [worker.breaker("checkout").state for worker in workers] == [State.OPEN] * 2
    assert sum(row.action is Action.TRIPPED for row in workers[0].history("checkout")) == 1


def test_a_kill_outlives_the_process_that_could_not_save_it(
    workers: list[Canary], clock: ManualClock, tmp_path: Path
) -> None:
    """A command that failed at the store and has ended still holds, and is saved once the store is back."""
    store, away = tmp_path / "canary.db", tmp_path / "away.db"
    with connect(f"sqlite:///{store}", clock=clock, background=False) as operator:
        assert operator.is_enabled("checkout", "user-1") is workers[0].is_enabled("checkout", "user-1")
        store.rename(away)
        with pytest.raises(StoreError):
            operator.kill("checkout", reason="it burns")
    turn(workers, clock, 2 * DOUBT_S)
    assert all(map(is_off, workers))
    away.rename(store)
    turn(workers, clock, 2 * DOUBT_S)
    assert all(map(is_off, workers))
    assert [worker.breaker("checkout").killed for worker in workers] == [True, True]
    assert sum(row.action is Action.KILLED for row in workers[0].history("checkout")) == 1


def test_whoever_becomes_the_judge_does_not_trip_again(workers: list[Canary], clock: ManualClock) -> None:
    """The judge trips and dies; the next one, before it reads of it, has the same figures and leaves the flag alone."""
    first, second = workers
    told: list[Event] = []
    second.subscribe(SimpleNamespace(handle=told.append))
    turn(workers, clock, 0.9)
    serve(first, failing=True)
    second.tick()
    clock.advance(0.2)
    first.tick()
    assert is_off(second)
    first._arena.lease.let_go()
    second.tick()
    clock.advance(2.0)
    second.tick()
    assert second.breaker("checkout").state is State.OPEN
    assert not [event for event in told if isinstance(event, FlagTripped)]


def test_a_reset_is_not_undone_by_news_of_the_trip(workers: list[Canary], clock: ManualClock) -> None:
    """The judge notes that service has recovered, while somebody resets the flag: the reset holds."""
    first, second = workers
    trip(workers, clock)
    turn(workers, clock, 1.1)
    first._guard.decide("checkout", lambda old: (replace(old, overdue=True), ()))
    second.reset("checkout", reason="mended")
    turn(workers, clock, 2.1)
    assert [worker.breaker("checkout").state for worker in workers] == [State.CLOSED] * 2
    assert not any(map(is_off, workers))


def test_what_was_before_a_reset_trips_nothing(workers: list[Canary], clock: ManualClock) -> None:
    """A slow worker counts the failures of before only after the reset: the flag stays on until there are new ones."""
    first, second = workers
    serve(first, failing=True)
    serve(second, failing=True)
    for _ in range(12):
        clock.advance(0.1)
        first.tick()
    assert is_off(second)
    first.reset("checkout", reason="mended")
    second.tick()
    turn(workers, clock, 5.0)
    assert not any(map(is_off, workers))
    trip(workers, clock)
    turn(workers, clock, 1.2)
    assert all(map(is_off, workers))


def test_two_hosts_that_trip_at_once_trip_once(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each host trips on its own evidence; in the store stands one trip, with the reason of whoever came first."""
    url = f"sqlite:///{tmp_path}/canary.db"
    hosts = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv("CANARY_ARENA_DIR", str(tmp_path / name))
        hosts.append(connect(url, clock=clock, background=False))
        hosts[-1].apply(CONFIG)
        hosts[-1].tick()
    for reason, host in zip(("too slow", "too many errors"), hosts, strict=True):
        host._guard.decide("checkout", lambda old, why=reason: (replace(old, state=State.OPEN, reason=why), ()))  # type: ignore[misc]
    turn(hosts, clock, 1.1)
    assert all(map(is_off, hosts))
    assert {host.breaker("checkout").reason for host in hosts} == {"too slow"}
    assert [row.action for row in hosts[0].history("checkout")] == [Action.TRIPPED, Action.CREATED]
    for host in hosts:
        host.close()
