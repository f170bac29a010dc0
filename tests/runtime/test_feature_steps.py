"""Calls that do not happen at once: coroutines and generators count from their first step to their end, once."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import warnings
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import pytest

from canary_sdk.runtime.scope import ABORTED, FAILED, UNDECIDED

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator

    from canary_sdk import Canary
    from canary_sdk.testing import ManualClock

    Counted = Callable[[], list[tuple[float, int]]]


@pytest.fixture
def counted(canary: Canary) -> Counted:
    """Return seconds and outcome of the calls since the last time; each is a finished unit of work of its own, too."""
    canary.apply({"flags": {"checkout": {"rollout": 100}}})

    def drain() -> list[tuple[float, int]]:
        calls = [(seconds, outcome) for _, _, seconds, outcome in canary.units.call_ring.drain(10)]
        units = [(unit.ended - unit.started, unit.outcome) for unit in canary.units.ring.drain(10)]
        assert units == calls
        return calls

    return drain


# --- coroutines ---


async def test_a_coroutine_counts_once_it_is_awaited(canary: Canary, clock: ManualClock, counted: Counted) -> None:
    """Making the coroutine asks nothing and counts nothing; its time starts with the first step."""

    @canary.feature("checkout")
    async def checkout() -> str:
        clock.advance(1)
        await asyncio.sleep(0)
        clock.advance(1)
        return "new"

    coroutine = checkout()
    assert counted() == []
    clock.advance(10)
    assert await coroutine == "new"
    assert counted() == [(2, UNDECIDED)]


def test_a_coroutine_that_is_never_awaited_counts_nowhere(canary: Canary, counted: Counted) -> None:
    """Python's own warning names the function, as before."""

    @canary.feature("checkout")
    async def checkout() -> None: ...

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        checkout()  # type: ignore[unused-coroutine]
        gc.collect()
    assert [str(each.message) for each in caught] == [f"coroutine '{checkout.__qualname__}' was never awaited"]
    assert counted() == []


async def test_a_cancelled_coroutine_is_aborted(canary: Canary, clock: ManualClock, counted: Counted) -> None:
    """Somebody who goes away is neither good nor bad, and no fallback answers."""
    started = asyncio.Event()

    @canary.feature("checkout", fallback=lambda: "old", on_error="fallback")
    async def checkout() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(checkout())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counted() == [(0, ABORTED)]
    canary.tick()
    assert canary.units.current() is None


async def test_an_aborted_call_is_no_request_of_its_arm(canary: Canary, counted: Counted) -> None:
    """The arms count it as aborted, and not among the calls that have a latency."""
    canary.apply({"flags": {"checkout": {"rollout": 100, "slos": ["call.errors < 1%"]}}})

    @canary.feature("checkout")
    async def checkout() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await checkout()
    folder = canary._monitor._folder
    folder.fold()
    from canary_sdk.core.flags.evaluation import Role

    totals = canary._arena.read(folder.arm("checkout", Role.CANDIDATE, "call"))
    assert (totals.requests, totals.aborted) == (0, 1)


async def test_tasks_do_not_see_each_others_unit(canary: Canary, counted: Counted) -> None:
    """Concurrent calls are units of their own, and a call inside a task joins the one that started the task."""
    seen = []

    @canary.feature("checkout")
    async def checkout(depth: int) -> None:
        seen.append(canary.current_unit())
        await asyncio.sleep(0)
        if depth:
            await asyncio.gather(checkout(0), asyncio.create_task(checkout(0)))

    await asyncio.gather(checkout(1), checkout(0))
    units = canary.units.ring.drain(10)
    assert len(units) == 2
    assert [sum(unit is each for each in seen) for unit in units] == [3, 1]
    assert canary.units.current() is None


# --- generators ---


def echo(log: list[str]) -> Generator[str, str, str]:
    """Do all that a generator can do."""
    try:
        sent = yield "first"
        while sent != "stop":
            try:
                sent = yield f"got {sent}"
            except LookupError as error:
                sent = yield f"caught {error!r}"
    finally:
        log.append("closed")
    return "result"


def talk(generator: Generator[str, str, str]) -> Iterator[object]:
    """Use all that a generator offers."""
    yield next(generator)
    yield generator.send("a")
    yield generator.throw(KeyError("b"))
    yield generator.send("c")
    try:
        generator.send("stop")
    except StopIteration as stop:
        yield stop.value
    yield next(generator, "over")


def test_a_generator_is_what_it_was(canary: Canary, clock: ManualClock, counted: Counted) -> None:
    """`send`, `throw`, `close` and the return value work as without the decorator; it counts from first step to end."""
    log: list[str] = []
    decorated = canary.feature("checkout")(echo)
    generator = decorated(log)
    clock.advance(10)
    assert counted() == []
    heard = []
    for word in talk(generator):
        heard.append(word)
        clock.advance(1)
    assert heard == list(talk(echo([])))
    assert log == ["closed"]
    assert counted() == [(4, UNDECIDED)]


def test_its_return_value_is_seen_by_yield_from(canary: Canary, counted: Counted) -> None:
    """A generator that delegates to a decorated one gets what it returns."""

    def outer() -> Generator[str, str, None]:
        yield (yield from canary.feature("checkout")(echo)([]))

    generator = outer()
    next(generator)
    assert generator.send("stop") == "result"


@pytest.mark.parametrize("end", [lambda generator: generator.close(), lambda generator: None], ids=["closed", "left"])
def test_a_generator_that_is_left_has_finished(
    canary: Canary, clock: ManualClock, counted: Counted, end: Callable[[Any], None]
) -> None:
    """Closed early, or left to the garbage collector, it counts without an error, and cleans up."""
    log: list[str] = []
    generator = canary.feature("checkout")(echo)(log)
    next(generator)
    clock.advance(2)
    end(generator)
    del generator
    gc.collect()
    assert log == ["closed"]
    assert counted() == [(2, UNDECIDED)]
    assert canary.units.current() is None


@pytest.mark.parametrize("end", [lambda generator: generator.close(), lambda generator: None], ids=["closed", "left"])
def test_a_generator_that_never_starts_counts_nowhere(
    canary: Canary, counted: Counted, end: Callable[[Any], None]
) -> None:
    """A generator that nobody steps through asks no flag."""
    generator = canary.feature("checkout")(echo)([])
    end(generator)
    del generator
    gc.collect()
    assert counted() == []


def test_what_a_generator_does_with_its_close_is_its_own(canary: Canary, counted: Counted) -> None:
    """A body that fails as it is closed is an error; one that refuses to close is told so by Python."""

    @canary.feature("checkout")
    def checkout(stubborn: bool) -> Iterator[int]:
        try:
            yield 1
        except GeneratorExit:
            if not stubborn:
                raise ValueError("while closing") from None
        yield 2

    for stubborn, error in ((False, ValueError), (True, RuntimeError)):
        generator: Any = checkout(stubborn)
        next(generator)
        with pytest.raises(error):
            generator.close()
    assert [outcome for _, outcome in counted()] == [FAILED, FAILED]


def test_the_fallback_answers_until_the_first_item_is_out(canary: Canary, counted: Counted) -> None:
    """A failure before the first item is answered by the fallback; a later one is the caller's."""

    @canary.feature("checkout", fallback=lambda at: ["old"], on_error="fallback")
    def checkout(at: int) -> Iterator[str]:
        for n in range(at):
            yield f"new {n}"
        raise ValueError

    assert list(checkout(0)) == ["old"]
    generator = checkout(1)
    assert next(generator) == "new 0"
    with pytest.raises(ValueError, match=r"^$"):
        next(generator)
    assert [outcome for _, outcome in counted()] == [FAILED, FAILED]


def test_a_generator_gives_the_context_back_between_its_steps(canary: Canary, counted: Counted) -> None:
    """Its unit is current inside and never outside; what the caller opens between is not its business."""
    inside = []

    @canary.feature("checkout")
    def checkout() -> Iterator[int]:
        for n in range(3):
            inside.append(canary.current_unit())
            yield n

    generator = checkout()
    next(generator)
    assert canary.units.current() is None
    with canary.scope("other") as other:
        next(generator)
        assert canary.current_unit() is other
    assert list(generator) == [2]
    assert canary.units.current() is None
    assert inside[0] is inside[1] is inside[2] is not None


def test_a_scope_inside_a_generator_lasts_over_its_steps(canary: Canary, counted: Counted) -> None:
    """What the body makes current is so again when it goes on, and the caller never sees it."""

    @canary.feature("checkout")
    def checkout() -> Iterator[object]:
        with canary.scope("inner") as inner:
            yield inner
            yield canary.current_unit()
        yield canary.current_unit()

    generator = checkout()
    inner = next(generator)
    assert canary.units.current() is None
    assert next(generator) is inner
    assert next(generator) not in (inner, None)
    generator.close()  # type: ignore[attr-defined]


def test_each_step_may_happen_in_another_thread_and_context(canary: Canary, counted: Counted) -> None:
    """A server that takes each item in some thread of a pool leaves nothing behind in any of them."""
    items: list[int] = []
    left: list[object] = []

    @canary.feature("checkout")
    def checkout() -> Iterator[int]:
        yield from range(3)

    generator = checkout()

    def step() -> None:
        with suppress(StopIteration):
            items.append(next(generator))
        left.append(canary.units.current())

    for _ in range(4):
        thread = threading.Thread(target=contextvars.copy_context().run, args=(step,))
        thread.start()
        thread.join()
    assert items == [0, 1, 2]
    assert left == [None] * 4
    assert [outcome for _, outcome in counted()] == [UNDECIDED]


# --- async generators ---


async def echo_async(log: list[str]) -> AsyncGenerator[str, str]:
    """Do all that an async generator can do."""
    try:
        sent = yield "first"
        while sent != "stop":
            await asyncio.sleep(0)
            try:
                sent = yield f"got {sent}"
            except LookupError as error:
                sent = yield f"caught {error!r}"
    finally:
        await asyncio.sleep(0)
        log.append("closed")


async def talk_async(generator: AsyncGenerator[str, str]) -> list[str]:
    """Use all that an async generator offers."""
    heard = [
        await anext(generator),
        await generator.asend("a"),
        await generator.athrow(KeyError("b")),
        await generator.asend("c"),
    ]
    with pytest.raises(StopAsyncIteration):
        await generator.asend("stop")
    return [*heard, await anext(generator, "over")]


async def test_an_async_generator_is_what_it_was(canary: Canary, counted: Counted) -> None:
    """`asend` and `athrow` work as without the decorator, and it counts once it has ended."""
    log: list[str] = []
    generator = canary.feature("checkout")(echo_async)(log)
    assert counted() == []
    assert await talk_async(generator) == await talk_async(echo_async([]))
    assert log == ["closed"]
    assert counted() == [(0, UNDECIDED)]


async def test_an_async_generator_that_is_closed_has_finished(
    canary: Canary, clock: ManualClock, counted: Counted
) -> None:
    """`aclose` waits for the body to clean up, and counts without an error."""
    log: list[str] = []
    async with aclosing(canary.feature("checkout")(echo_async)(log)) as generator:
        await anext(generator)
        clock.advance(2)
    assert log == ["closed"]
    assert counted() == [(2, UNDECIDED)]


async def test_an_async_generator_that_is_left_has_finished(canary: Canary, counted: Counted) -> None:
    """Left to the garbage collector, it is closed by the event loop and counts without an error."""
    log: list[str] = []
    generator = canary.feature("checkout")(echo_async)(log)
    await anext(generator)
    del generator
    gc.collect()
    for _ in range(10):
        await asyncio.sleep(0)
    assert log == ["closed"]
    assert counted() == [(0, UNDECIDED)]


async def test_a_cancelled_async_generator_is_aborted(canary: Canary, counted: Counted) -> None:
    """A consumer that is cancelled in the middle of a step went away."""
    started = asyncio.Event()

    @canary.feature("checkout")
    async def checkout() -> AsyncGenerator[int, None]:
        yield 1
        started.set()
        await asyncio.Event().wait()

    async def consume() -> None:
        async for _ in checkout():
            assert canary.units.current() is None

    task = asyncio.create_task(consume())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [outcome for _, outcome in counted()] == [ABORTED]


async def test_the_fallback_of_an_async_generator_answers_until_the_first_item(
    canary: Canary, counted: Counted
) -> None:
    """A failure before the first item is answered by the fallback; a later one is the caller's."""

    @canary.feature("checkout", fallback=lambda at: ["old"], on_error="fallback")
    async def checkout(at: int) -> AsyncGenerator[str, None]:
        for n in range(at):
            yield f"new {n}"
        raise ValueError

    assert [item async for item in checkout(0)] == ["old"]
    with pytest.raises(ValueError, match=r"^$"):
        assert [item async for item in checkout(1)]
    assert [outcome for _, outcome in counted()] == [FAILED, FAILED]


async def test_an_async_generator_gives_the_context_back_between_its_steps(canary: Canary, counted: Counted) -> None:
    """Its unit is current inside and never outside, however often it waits."""
    inside = []

    @canary.feature("checkout")
    async def checkout() -> AsyncGenerator[int, None]:
        for n in range(2):
            await asyncio.sleep(0)
            inside.append(canary.current_unit())
            yield n

    async for _ in checkout():
        assert canary.units.current() is None
    assert inside[0] is inside[1] is not None
