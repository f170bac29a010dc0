"""A unit of work pins what it was first told, and is opened, joined and closed where design says."""

from __future__ import annotations

import asyncio
import inspect
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from canary_sdk import CanaryError
from canary_sdk.runtime.scope import ABORTED, FAILED, UNDECIDED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from canary_sdk import Canary
    from canary_sdk.testing import ManualClock


@pytest.fixture(autouse=True)
def _flag(canary: Canary) -> None:
    canary.apply({"flags": {"checkout": {"rollout": 50}}})


def some_keys(canary: Canary) -> tuple[str, str]:
    """Return a key that gets the candidate and one that does not."""
    keys = [f"user-{number}" for number in range(100)]
    on = next(key for key in keys if canary.is_enabled("checkout", key))
    return on, next(key for key in keys if not canary.is_enabled("checkout", key))


def test_one_unit_never_sees_two_variants(canary: Canary) -> None:
    """The first answer holds for the whole unit, even for another key and after a kill in its middle."""
    on, off = some_keys(canary)
    with canary.scope("job", key=on):
        assert canary.is_enabled("checkout")
        assert canary.is_enabled("checkout", off)
        canary.kill("checkout", reason="test")
        assert canary.is_enabled("checkout", on)
    assert not canary.is_enabled("checkout", on)


def test_a_scope_inside_a_scope_is_a_unit_of_its_own(canary: Canary) -> None:
    """A job that works for one tenant after another asks again for each of them."""
    on, off = some_keys(canary)
    with canary.scope("outer", key=off) as outer:
        assert not canary.is_enabled("checkout")
        with canary.scope("inner", key=on) as inner:
            assert canary.is_enabled("checkout")
        assert canary.current_unit() is outer is not inner
        assert not canary.is_enabled("checkout")


def test_a_scope_inside_a_request_joins_it(canary: Canary) -> None:
    """What happens in a request belongs to the request."""
    request = canary.units.open_request()
    token = canary.units.enter(request)
    with canary.scope("step") as unit:
        assert unit is request
    assert not request.ended
    canary.units.leave(token)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(None, UNDECIDED), (ValueError(), FAILED), (KeyError(), UNDECIDED), (KeyboardInterrupt(), ABORTED)],
)
def test_how_a_scope_ends_is_its_outcome(
    canary: Canary, clock: ManualClock, error: BaseException | None, outcome: int
) -> None:
    """An exception is an error unless it was expected; what is no Exception went away."""
    scope = canary.scope("job", expected=(LookupError,))
    unit = scope.__enter__()
    clock.advance(2)
    scope.__exit__(type(error) if error else None, error, None)
    assert unit is not None
    assert (unit.outcome, unit.ended - unit.started) == (outcome, 2)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ExceptionGroup("", [KeyError()]), UNDECIDED),
        (ExceptionGroup("", [KeyError(), ValueError()]), FAILED),
        (BaseExceptionGroup("", [KeyError(), asyncio.CancelledError()]), ABORTED),
    ],
)
def test_a_group_is_what_it_holds(canary: Canary, error: BaseException, outcome: int) -> None:
    """What a task group raises is classified by its content, as elsewhere."""
    with suppress(BaseExceptionGroup), canary.scope("job", expected=(LookupError,)) as unit:
        raise error
    assert unit is not None
    assert unit.outcome == outcome


def test_one_scope_may_be_entered_again(canary: Canary) -> None:
    """One object, entered after it was left or while it is open, is a new unit each time."""
    scope = canary.scope("job")
    with scope as first, scope as second:
        assert canary.current_unit() is second is not first
    with scope as third:
        assert canary.current_unit() is third
    units = [first, second, third]
    assert [unit.ended > 0 for unit in units if unit is not None] == [True] * 3
    assert canary.units.ring.drain(10) == units
    assert canary.units.current() is None


def test_the_oldest_unit_gives_way_where_there_is_no_room(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit more than the ring holds is kept, the oldest is not, and that is counted."""
    monkeypatch.setattr("canary_sdk.runtime.scope.RING_CAPACITY", 2)
    canary.units.cool_down()
    canary.units.warm_up()
    units = [canary.units.open() for _ in range(3)]
    assert canary.units.ring.drain(10) == units[1:]
    assert canary.units.ring.dropped == 1


def test_a_decorated_job_is_a_unit_each_time(canary: Canary) -> None:
    """`scope` decorates functions and methods, keeps what they are, and classifies what they raise."""

    class Jobs:
        @canary.scope("job", key="tenant", expected=(KeyError,))
        def run(self, error: Exception | None = None, depth: int = 1) -> object:
            """Run."""
            if error:
                raise error
            return self.run(depth=0) if depth else canary.current_unit()

    (inner,) = [Jobs().run()]
    assert canary.units.current() is None
    for error in (ValueError(), KeyError()):
        with pytest.raises(type(error)) as caught:
            Jobs().run(error)
        assert caught.value is error
    units = canary.units.ring.drain(10)
    assert [unit.outcome for unit in units] == [UNDECIDED, UNDECIDED, FAILED, UNDECIDED]
    assert units[1] is inner
    assert all(unit.ended for unit in units)
    assert (Jobs.run.__name__, Jobs.run.__doc__) == ("run", "Run.")
    assert list(inspect.signature(Jobs.run).parameters) == ["self", "error", "depth"]


async def test_a_decorated_coroutine_function_stays_one(canary: Canary, clock: ManualClock) -> None:
    """Concurrent calls are units of their own, open until they have been awaited."""

    @canary.scope("message")
    async def consume(seconds: float) -> object:
        await asyncio.sleep(0)
        clock.advance(seconds)
        return canary.current_unit()

    assert inspect.iscoroutinefunction(consume)
    first, second = await asyncio.gather(consume(1), consume(2))
    units = canary.units.ring.drain(10)
    assert [first, second] == units
    assert first is units[0] is not second
    assert [unit.ended - unit.started for unit in units] == [1, 3]


def test_a_generator_is_no_job(canary: Canary) -> None:
    """A generator would leave the scope before its first step, so it is refused, with what to do."""

    def items() -> Iterator[int]:
        yield 1

    with pytest.raises(CanaryError, match=r"scope\('job'\) decorates functions .*; open the scope inside .*items"):
        canary.scope("job")(items)


async def test_a_scope_works_in_async_code(canary: Canary) -> None:
    """`async with` opens and closes the same unit."""
    async with canary.scope("job") as unit:
        assert canary.current_unit() is unit is not None
    assert canary.units.current() is None
    assert unit.ended


def test_two_threads_of_one_unit_agree_while_the_flag_trips(canary: Canary) -> None:
    """Threads that evaluate at the instant of a kill all get what the unit was told first."""
    on, _ = some_keys(canary)
    for _ in range(50):
        with canary.scope("job"):
            unit = canary.current_unit()
            answers: list[bool] = []
            barrier = threading.Barrier(4)

            def ask(unit: object = unit, answers: list[bool] = answers, barrier: threading.Barrier = barrier) -> None:
                canary.units.variable.set(unit)  # type: ignore[arg-type]
                barrier.wait()
                answers.extend(canary.is_enabled("checkout", on) for _ in range(3))

            threads = [threading.Thread(target=ask) for _ in range(3)]
            for thread in threads:
                thread.start()
            barrier.wait()
            canary.kill("checkout", reason="test")
            for thread in threads:
                thread.join()
        assert len(set(answers)) == 1
        canary.release("checkout")
