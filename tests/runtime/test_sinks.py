"""What a sink may offer beside taking events: counting along, tracing, draining; and that it costs nobody else."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from canary_sdk.core.flags.evaluation import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from canary_sdk import Canary, Evaluation
    from canary_sdk.core.events import Event
    from canary_sdk.ports import Ended
    from canary_sdk.testing import ManualClock


class Quiet:
    """A sink that takes no notice of events."""

    def handle(self, event: Event) -> None:
        """Take no notice."""


class Counter(Quiet):
    """Keeps what it counted."""

    def __init__(self) -> None:
        self.seen: list[tuple[list[str], Ended]] = []

    def finished(self, evaluations: Sequence[Evaluation], ended: Ended) -> None:
        """Keep it."""
        self.seen.append(([each.flag_key for each in evaluations], ended))


class Tracer(Quiet):
    """Keeps which answers were given."""

    def __init__(self) -> None:
        self.seen: list[Evaluation] = []
        self.drained: list[float] = []

    def answered(self, evaluation: Evaluation) -> None:
        """Keep it."""
        self.seen.append(evaluation)

    def drain(self, timeout_s: float) -> None:
        """Keep how long it may take."""
        self.drained.append(timeout_s)


@pytest.fixture(autouse=True)
def _flags(canary: Canary) -> None:
    canary.apply({"flags": {"checkout": {"rollout": 100}, "search": {"rollout": 0}}})


def test_a_counting_sink_sees_every_unit_that_met_a_flag_once(canary: Canary, clock: ManualClock) -> None:
    """It sees all flags of the unit, how long it took and how it ended; no flag, nothing to see."""
    counter = Counter()
    canary.subscribe(counter)
    with canary.scope("job", key="user-1"):
        canary.is_enabled("checkout")
        canary.is_enabled("search")
        canary.is_enabled("search")
        clock.advance(0.25)
    with canary.scope("idle"):
        pass
    canary.tick()
    canary.tick()
    ((flag_keys, ended),) = counter.seen
    assert flag_keys == ["checkout", "search"]
    assert ended.duration_s == pytest.approx(0.25)
    assert not ended.is_request
    assert not ended.is_error
    assert not ended.is_aborted


def test_a_counting_sink_tells_requests_failures_and_aborts_apart(canary: Canary, clock: ManualClock) -> None:
    """Each unit says what it was and how it ended."""
    counter = Counter()
    canary.subscribe(counter)
    request = canary.units.open_request("user-1")
    token = canary.units.enter(request)
    canary.is_enabled("checkout")
    request.status, request.route = 503, "/carts/{id}"
    request.in_request = False
    request.finish(clock.monotonic() + 1)
    canary.units.leave(token)
    for error in (ValueError, KeyboardInterrupt):
        with suppress(error), canary.scope("job", key="user-2"):
            canary.is_enabled("checkout")
            raise error
    canary.tick()
    ended = [each for _, each in counter.seen]
    assert [(each.is_request, each.is_error, each.is_aborted) for each in ended] == [
        (True, True, False),
        (False, True, False),
        (False, False, True),
    ]
    assert (ended[0].status, ended[0].route) == (503, "/carts/{id}")


def test_a_counting_sink_goes_on_counting_after_the_arena_was_renewed(canary: Canary) -> None:
    """A new arena has a new folder, which counts along as the old one did."""
    counter = Counter()
    canary.subscribe(counter)
    canary.is_enabled("checkout", "user-1")
    canary._renew_arena()
    with canary.scope("job", key="user-1"):
        canary.is_enabled("checkout")
    canary.tick()
    assert len(counter.seen) == 1


def test_a_counting_sink_that_fails_keeps_nobody_from_counting(canary: Canary) -> None:
    """What it raises is counted; every unit of the same turn reaches its arm, and the sink beside it."""

    class Broken(Quiet):
        def finished(self, evaluations: Sequence[Evaluation], ended: Ended) -> None:
            raise RuntimeError(evaluations, ended)

    counter = Counter()
    canary.subscribe(Broken())
    canary.subscribe(counter)
    for number in range(3):
        with canary.scope("job", key=f"user-{number}"):
            canary.is_enabled("checkout")
    canary.tick()
    assert len(counter.seen) == 3
    assert canary._arena.read(canary._monitor._folder.arm("checkout", Role.CANDIDATE, "unit")).requests == 3
    assert canary.failures.counts["counting a unit of work along"] == 3


def test_a_tracing_sink_is_told_of_each_flag_once_a_unit(canary: Canary) -> None:
    """It hears the first answer of a unit, and every answer where no unit is open."""
    tracer = Tracer()
    canary.subscribe(tracer)
    with canary.scope("job", key="user-1"):
        canary.is_enabled("checkout")
        canary.evaluate("checkout")
        canary.is_enabled("search")
    canary.is_enabled("checkout", "user-2")
    assert [each.flag_key for each in tracer.seen] == ["checkout", "search", "checkout"]
    assert tracer.seen[0].role is Role.CANDIDATE


def test_a_tracing_sink_that_fails_changes_no_answer(canary: Canary) -> None:
    """What it raises is counted."""

    class Broken(Quiet):
        def answered(self, evaluation: Evaluation) -> None:
            raise RuntimeError(evaluation)

    canary.subscribe(Broken())
    assert canary.is_enabled("checkout", "user-1")
    assert canary.failures.counts["tracing an evaluation"] == 1


def test_without_a_tracing_sink_evaluations_take_the_short_way(canary: Canary) -> None:
    """Whether anybody traces is decided when a sink comes or goes: the table is the one that it would be without."""

    def code() -> object:
        entry = canary._wake().entries["checkout"]
        return entry.resolve.__code__, entry.seed

    tracer = Tracer()
    before = code()
    canary.subscribe(Counter())
    assert code() == before
    canary.subscribe(tracer)
    assert code() != before
    canary.unsubscribe(tracer)
    assert code() == before


def test_a_draining_sink_is_drained_when_the_canary_is_closed(canary: Canary) -> None:
    """It is given a bounded time, once everything was told."""
    tracer = Tracer()
    canary.subscribe(tracer)
    canary.close()
    assert tracer.drained == [2.0]


def test_the_lag_of_the_judge_grows_while_nobody_ticks(canary: Canary, clock: ManualClock) -> None:
    """It is nought while the arms are read in time, and else how long they have waited."""
    canary.apply({"flags": {"checkout": {"slos": ["errors < 1%"]}}})
    canary.tick()
    assert canary.status().judge_lag_s == 0.0
    clock.advance(31.0)
    assert canary.status().judge_lag_s == pytest.approx(30.0)
    canary.tick()
    assert canary.status().judge_lag_s == 0.0
