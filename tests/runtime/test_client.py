"""The whole loop in one process, with time moved by hand: evaluate, measure, judge, trip, tell, and go on living."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING

import pytest

from canary_sdk import CanaryError, ConfigError, EvaluationContext, Reason, StoreError, connect
from canary_sdk.core.breaker import State
from canary_sdk.core.events import (
    FlagKilled,
    FlagReset,
    FlagsChanged,
    FlagTripped,
    IncidentSuspected,
    ProcessForked,
    ServiceRecovered,
    StoreLost,
    StoreRegained,
)
from canary_sdk.core.judge.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from canary_sdk import Canary
    from canary_sdk.core.events import Event
    from canary_sdk.testing import ManualClock

CONFIG = {
    "flags": {"checkout": {"rollout": 50, "slos": ["p95 < 500ms", "errors < 5%"]}},
    "auto_rollback": {"interval": "1s", "breaches": 3, "min_samples": 20},
}

CLASSIC = {
    "flags": CONFIG["flags"],
    "auto_rollback": {"rule": "consecutive", "interval": "1s", "breaches": 3, "min_samples": 20},
}


class Told:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def handle(self, event: Event) -> None:
        """Remember the event."""
        self.events.append(event)

    def of(self, kind: type[Event]) -> list[Event]:
        """Return what was told of this kind."""
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def told(canary: Canary) -> Told:
    """Everything that is told from the start."""
    sink = Told()
    canary.subscribe(sink)
    canary.apply(CONFIG)
    return sink


def serve(canary: Canary, clock: ManualClock, seconds: float, latency: Callable[[bool], float]) -> None:
    """Let 200 users a second make a request each; how long it takes depends on whether they got the candidate."""
    for turn in range(round(seconds * 10)):
        for number in range(20):
            unit = canary.units.open_request()
            token = canary.units.enter(unit)
            on = canary.is_enabled("checkout", f"user-{turn % 10}-{number}")
            unit.finish(unit.started + latency(on))
            canary.units.leave(token)
        clock.advance(0.1)
        canary.tick()


def test_a_slow_candidate_is_switched_off_by_itself(canary: Canary, clock: ManualClock, told: Told) -> None:
    """Three breaches in a row trip the flag, the next evaluation sees it, and recovery is seen on live traffic."""
    serve(canary, clock, 5, lambda _: 0.1)
    assert canary.status().flags["checkout"].verdict is not None
    assert not told.of(FlagTripped)
    serve(canary, clock, 4.2, lambda on: 0.9 if on else 0.1)
    (tripped,) = told.of(FlagTripped)
    assert isinstance(tripped, FlagTripped)
    assert "p95" in tripped.reason
    assert all(not canary.is_enabled("checkout", f"user-{n}") for n in range(100))
    assert canary.evaluate("checkout", "u").reason is Reason.TRIPPED
    serve(canary, clock, 3, lambda on: 0.9 if on else 0.1)
    assert len(told.of(ServiceRecovered)) == 1
    assert canary.status().flags["checkout"].breaker.state is State.OPEN
    assert len(told.of(FlagTripped)) == 1


def test_a_candidate_that_never_answers_is_switched_off(canary: Canary, clock: ManualClock, told: Told) -> None:
    """Requests that hang are counted as their age crosses the limit, though none of them ever completes."""
    for _ in range(60):
        for number in range(20):
            unit = canary.units.open_request()
            token = canary.units.enter(unit)
            if not canary.is_enabled("checkout", f"user-{number}"):
                unit.finish(unit.started + 0.1)
            canary.units.leave(token)
        clock.advance(0.1)
        canary.tick()
    assert len(told.of(FlagTripped)) == 1


def test_a_holdback_keeps_somebody_on_the_baseline(canary: Canary) -> None:
    """A flag that is measured never goes beyond it, one that is not measured does; nobody is moved by it before."""
    canary.apply(
        {
            "flags": {"measured": {"rollout": 100, "slos": ["errors < 1%"]}, "free": {"rollout": 100}},
            "auto_rollback": {"holdback": "5%"},
        }
    )
    keys = [f"user-{number}" for number in range(2000)]
    assert 0.93 < sum(canary.is_enabled("measured", key) for key in keys) / 2000 < 0.97
    assert all(canary.is_enabled("free", key) for key in keys)
    assert canary.status().flags["measured"].flag.rollout == 95
    canary.update("measured", {"rollout": 25})
    assert canary.status().flags["measured"].flag.rollout == 25


def test_a_soft_promise_takes_nothing_back(canary: Canary, clock: ManualClock, told: Told) -> None:
    """It is judged and shown; what it finds never trips."""
    canary.apply({"flags": {"checkout": {"rollout": 50, "soft": ["p95 < 500ms"], "slos": ["errors < 5%"]}}})
    serve(canary, clock, 8, lambda on: 0.9 if on else 0.1)
    verdict = canary.status().flags["checkout"].verdict
    assert verdict is not None
    assert verdict.outcome is Outcome.BREACH
    assert not told.of(FlagTripped)


def test_failing_requests_trip_as_well(canary: Canary, clock: ManualClock, told: Told) -> None:
    """A status of 500 and above is an error; only the candidate's are."""
    for _ in range(5):
        for number in range(200):
            unit = canary.units.open_request()
            token = canary.units.enter(unit)
            unit.status = 500 if canary.is_enabled("checkout", f"user-{number}") else 200
            unit.finish(unit.started + 0.1)
            canary.units.leave(token)
        clock.advance(1)
        canary.tick()
    (tripped,) = told.of(FlagTripped)
    assert "errors" in tripped.sentence


def test_an_incident_of_both_arms_blames_nobody(canary: Canary, clock: ManualClock, told: Told) -> None:
    """When the baseline breaches as well, the flag stays on and somebody is told once."""
    serve(canary, clock, 8, lambda _: 0.9)
    assert not told.of(FlagTripped)
    assert len(told.of(IncidentSuspected)) == 1
    assert any(canary.is_enabled("checkout", f"user-{n}") for n in range(100))


def test_no_traffic_is_no_verdict(canary: Canary, clock: ManualClock, told: Told) -> None:
    """Silence is INCONCLUSIVE, never a pass and never a breach."""
    for _ in range(50):
        clock.advance(0.1)
        canary.tick()
    verdict = canary.status().flags["checkout"].verdict
    assert verdict is not None
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert not told.of(FlagTripped)


def test_a_trip_survives_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    """A breaker is in the store: the next process serves the baseline from its first evaluation on."""
    url = f"sqlite:///{tmp_path}/canary.db"
    with connect(url, clock=clock, background=False) as first:
        first.apply(CONFIG)
        serve(first, clock, 6, lambda on: 0.9 if on else 0.1)
    with connect(url, clock=clock, background=False) as second:
        assert second.evaluate("checkout", "u").reason is Reason.TRIPPED
        second.reset("checkout")
        assert any(second.is_enabled("checkout", f"user-{n}") for n in range(100))


def test_kill_holds_until_release_and_outlives_a_reset(canary: Canary, told: Told) -> None:
    """The operator's switch is independent of the breaker."""
    on = next(f"user-{n}" for n in range(100) if canary.is_enabled("checkout", f"user-{n}"))
    canary.kill("checkout", reason="looks wrong", actor="alice")
    assert not canary.is_enabled("checkout", on)
    canary.reset("checkout")
    assert not canary.is_enabled("checkout", on)
    canary.release("checkout")
    assert canary.is_enabled("checkout", on)
    canary.tick()
    assert len(told.of(FlagKilled)) == 1
    assert not told.of(FlagReset)
    assert [row.actor for row in canary.history("checkout")][1] == "alice"


def test_control_of_an_unknown_flag_says_what_there_is(canary: Canary, told: Told) -> None:
    """A typo at 3 a.m. must not look like success."""
    with pytest.raises(CanaryError, match="there is no flag 'chekcout' in this store; it has checkout"):
        canary.kill("chekcout", reason="x")


def test_apply_takes_effect_at_once_and_is_idempotent(canary: Canary) -> None:
    """The next evaluation sees a new percentage; the same declaration again writes nothing."""
    assert not canary.is_enabled("checkout", "u")
    version = canary.apply({"flags": {"checkout": {"rollout": 100}}})
    assert canary.is_enabled("checkout", "u")
    assert canary.apply({"flags": {"checkout": {"rollout": 100}}}) == version
    assert len(canary.history("checkout")) == 1


def test_a_bad_declaration_changes_nothing(canary: Canary) -> None:
    """All mistakes are reported, and nothing is half applied."""
    canary.apply({"flags": {"checkout": {"rollout": 100}}})
    with pytest.raises(ConfigError) as caught:
        canary.apply({"flags": {"checkout": {"rollout": 0}, "search": {"rollout": 101, "typ": "boolean"}}})
    assert len(caught.value.problems) == 2
    assert canary.is_enabled("checkout", "u")
    assert len(canary.history()) == 1


def test_other_environments_have_their_own_fields(tmp_path: Path) -> None:
    """One store serves them all."""
    url = f"sqlite:///{tmp_path}/canary.db"
    config = {"flags": {"checkout": {"rollout": 0, "environments": {"staging": {"rollout": 100}}}}}
    with connect(url, environment="staging", background=False) as staging:
        staging.apply(config)
        assert staging.is_enabled("checkout", "u")
    with connect(url, environment="production", background=False) as production:
        assert not production.is_enabled("checkout", "u")


def test_values_are_typed(canary: Canary) -> None:
    """A typed flag answers with its own type; a default of another type is served, and that is said."""
    canary.apply({"flags": {"page": {"type": "integer", "default": 20, "candidate": 50, "rollout": 100}}})
    assert canary.value("page", "u", default=10) == 50
    assert canary.value("page", "u", default="ten") == "ten"
    assert canary.value("unknown", "u", default=1.5) == 1.5
    assert canary.is_enabled("page", "u")
    assert {"value of page", "evaluating unknown"} <= canary.status().failures.keys()


def test_a_context_may_stand_for_the_key(canary: Canary) -> None:
    """An EvaluationContext's targeting key is hashed like a plain one."""
    canary.apply({"flags": {"checkout": {"rollout": 50}}})
    keys = [f"user-{n}" for n in range(100)]
    assert [canary.is_enabled("checkout", key) for key in keys] == [
        canary.is_enabled("checkout", EvaluationContext(key)) for key in keys
    ]


@pytest.mark.parametrize("key", [42, ["list"], 1.5, object()])
def test_a_key_of_the_wrong_type_serves_the_baseline(
    canary: Canary, caplog: pytest.LogCaptureFixture, key: object
) -> None:
    """Nothing is raised into the application; it is counted, and said once."""
    canary.apply({"flags": {"checkout": {"rollout": 50}}})
    with caplog.at_level(logging.WARNING, "canary_sdk"):
        answers = [canary.evaluate("checkout", key) for _ in range(3)]  # type: ignore[arg-type]
    assert {(answer.value, answer.reason) for answer in answers} == {(False, Reason.ERROR)}
    assert canary.status().failures["evaluating checkout"] == 3
    assert len(caplog.records) == 1


class BrokenStore:
    """A repository that cannot be reached."""

    def __getattr__(self, name: str) -> Callable[..., object]:
        def fail(*_: object, **__: object) -> object:
            raise StoreError("the store is away")

        return fail


def test_a_store_that_goes_away_changes_nothing(canary: Canary, clock: ManualClock, told: Told) -> None:
    """What was served is still served, the local breaker still works, and the status says why it is stale."""
    on = next(f"user-{n}" for n in range(100) if canary.is_enabled("checkout", f"user-{n}"))
    whole, canary._repository = canary._repository, BrokenStore()  # type: ignore[assignment]
    serve(canary, clock, 2, lambda _: 0.1)
    assert canary.is_enabled("checkout", on)
    assert canary.status().stale == "the store is away"
    serve(canary, clock, 5, lambda is_on: 0.9 if is_on else 0.1)
    assert not canary.is_enabled("checkout", on)
    assert canary.status().breakers_unsaved == 1
    canary._repository = whole
    serve(canary, clock, 2, lambda _: 0.1)
    status = canary.status()
    assert (status.stale, status.breakers_unsaved) == ("", 0)
    assert canary.history("checkout")[0].kind == "breaker"


def test_a_lost_store_is_told_once_and_so_is_its_return(canary: Canary, clock: ManualClock, told: Told) -> None:
    """However long it is away; and what may be read but not written is not lost and regained every second."""
    whole = canary._repository
    canary._repository = BrokenStore()  # type: ignore[assignment]
    serve(canary, clock, 3, lambda _: 0.1)
    (lost,) = told.of(StoreLost)
    assert "the store is away" in lost.sentence
    assert canary.stale == "the store is away"
    canary._repository = whole
    serve(canary, clock, 3, lambda _: 0.1)
    (regained,) = told.of(StoreRegained)
    assert f"version {canary.version}" in regained.sentence
    assert not canary.stale

    def refuse(*_: object) -> int:
        raise StoreError("read only")

    whole.save_breakers = refuse  # type: ignore[method-assign, assignment]
    with contextlib.suppress(StoreError):
        canary.kill("checkout", reason="x")
    serve(canary, clock, 5, lambda _: 0.1)
    assert len(told.of(StoreLost)) == 2
    assert len(told.of(StoreRegained)) == 1


def test_a_store_that_was_never_there_is_told_of_as_well(canary: Canary, clock: ManualClock) -> None:
    """Also if it comes back before the first tick."""
    whole, sink = canary._repository, Told()
    canary.subscribe(sink)
    canary._repository = BrokenStore()  # type: ignore[assignment]
    assert not canary.is_enabled("checkout", "u")
    canary._repository = whole
    canary.apply(CONFIG)
    canary.tick()
    assert [type(event) for event in sink.events] == [StoreLost, FlagsChanged, StoreRegained]


def test_who_unsubscribes_is_told_nothing_any_more(canary: Canary, told: Told) -> None:
    """Others still are; and it may do so twice."""
    other = Told()
    canary.subscribe(other)
    for _ in range(2):
        canary.unsubscribe(other)
    canary.kill("checkout", reason="x")
    canary.tick()
    assert not other.events
    assert told.of(FlagKilled)


def test_a_cold_start_without_a_store_serves_defaults(canary: Canary) -> None:
    """The first answer is False, nothing is raised, and the status says why."""
    canary._repository = BrokenStore()  # type: ignore[assignment]
    assert not canary.is_enabled("checkout", "u")
    assert canary.evaluate("checkout", "u").reason is Reason.ERROR
    assert canary.status().stale == "the store is away"
    canary._repository = connect("memory:", background=False)._repository


def test_a_sink_that_fails_stops_nobody(canary: Canary, told: Told, clock: ManualClock) -> None:
    """Other sinks are told, and the failure is counted."""

    class Rude:
        def handle(self, event: Event) -> None:
            raise RuntimeError(event.sentence)

    polite = Told()
    canary.subscribe(Rude())
    canary.subscribe(polite)
    canary.kill("checkout", reason="x")
    canary.tick()
    assert len(polite.events) == 1
    assert canary.status().failures["telling Rude"] == 1


def test_it_goes_on_answering_after_close(canary: Canary) -> None:
    """A request that is late at shutdown still gets an answer."""
    canary.apply({"flags": {"checkout": {"rollout": 100}}})
    assert canary.is_enabled("checkout", "u")
    canary.close()
    canary.close()
    assert canary.is_enabled("checkout", "u")
    assert not canary.status().failures


def test_a_forked_child_starts_by_itself(tmp_path: Path) -> None:
    """It answers, counts in a segment of its own, has its own thread, and leaves its parent's lease alone."""
    with connect(f"sqlite:///{tmp_path}/canary.db") as parent:
        parent.apply({"flags": {"checkout": {"rollout": 100}}})
        assert parent.is_enabled("checkout", "u")
        assert parent._arena.lease.take()
        reading, writing = os.pipe()
        if not (child := os.fork()):
            with contextlib.suppress(BaseException):
                status = (parent.is_enabled("checkout", "u"), parent.status().ticking, parent._arena.lease.take())
                os.write(writing, repr(status).encode())
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reading, 100) == b"(True, True, False)"
        assert parent._arena.lease.take()
        os.close(reading)
        os.close(writing)


def test_a_forked_child_says_once_that_it_has_begun_anew(tmp_path: Path) -> None:
    """With whose child it is; a child of a process that had evaluated nothing has nothing to say."""
    with connect(f"sqlite:///{tmp_path}/canary.db", background=False) as parent:
        sink = Told()
        parent.subscribe(sink)
        reading, writing = os.pipe()

        def said_in_a_child() -> bytes:
            if not (child := os.fork()):
                with contextlib.suppress(BaseException):
                    for _ in range(3):
                        parent.is_enabled("checkout", "u")
                        parent.tick()
                    forked = [event.sentence.partition(":")[0] for event in sink.of(ProcessForked)]
                    os.write(writing, repr(forked).encode())
                os._exit(0)
            os.waitpid(child, 0)
            return os.read(reading, 200)

        assert said_in_a_child() == b"[]"
        parent.tick()
        assert said_in_a_child() == f"['forked from process {os.getpid()}']".encode()
        assert not sink.of(ProcessForked)
        os.close(reading)
        os.close(writing)


def test_one_of_two_workers_judges(tmp_path: Path, clock: ManualClock) -> None:
    """Both count, one judges the sum, the other sees the trip at its next evaluation, and it is told once."""
    url = f"sqlite:///{tmp_path}/canary.db"
    with connect(url, clock=clock, background=False) as first, connect(url, clock=clock, background=False) as second:
        first.apply(CLASSIC)
        sinks = [Told(), Told()]
        for worker, sink in zip((first, second), sinks, strict=True):
            worker.subscribe(sink)
            worker.tick()
        for _ in range(50):
            for worker in (first, second):
                for number in range(10):
                    unit = worker.units.open_request()
                    token = worker.units.enter(unit)
                    is_on = worker.is_enabled("checkout", f"user-{number}")
                    unit.finish(unit.started + (0.9 if is_on else 0.1))
                    worker.units.leave(token)
            clock.advance(0.1)
            second.tick()
            first.tick()
            if sinks[0].of(FlagTripped):
                break
        assert second.evaluate("checkout", "u").reason is Reason.TRIPPED
        tripped = sinks[0].of(FlagTripped)[0]
        assert isinstance(tripped, FlagTripped)
        assert tripped.verdict is not None
        assert tripped.verdict.findings[0].samples > 50
        for _ in range(30):
            clock.advance(0.1)
            second.tick()
        assert len(sinks[0].of(FlagTripped)) == 1
        assert not sinks[1].of(FlagTripped)
        assert second.status().flags["checkout"].breaker.state is State.OPEN
