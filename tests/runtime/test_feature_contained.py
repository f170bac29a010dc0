"""Nothing that fails inside a decorated call or a scope changes what the application gets."""

# ruff: noqa: D103 - a break and a form are what their names say
from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from canary_sdk import connect
from canary_sdk.runtime.table import Table
from canary_sdk.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from canary_sdk import Canary


class BrokenError(Exception):
    """What is raised inside."""


class Watch(ManualClock):
    """A clock that can break."""

    broken = False

    def monotonic(self) -> float:
        """Return the time, or break."""
        if self.broken:
            raise BrokenError
        return super().monotonic()


@pytest.fixture
def watch() -> Watch:
    """A clock that still works."""
    return Watch()


@pytest.fixture
def canary(watch: Watch) -> Iterator[Canary]:
    """A Canary whose parts can be broken one by one."""
    logging.getLogger("canary_sdk").setLevel(logging.CRITICAL)
    with connect("memory:", environment="test", clock=watch, background=False) as client:
        client.apply({"flags": {"checkout": {"rollout": 100}}})
        client.status()
        yield client
        watch.broken = False
    logging.getLogger("canary_sdk").setLevel(logging.NOTSET)


def fail(*_: object, **__: object) -> Any:
    """Break."""
    raise BrokenError


def break_the_clock(canary: Canary) -> None:
    canary._clock.broken = True  # type: ignore[attr-defined]


def break_the_ring_of_calls(canary: Canary) -> None:
    canary.units.record_call = fail


def break_the_ring_of_units(canary: Canary) -> None:
    canary.units.open = fail


def break_every_answer(canary: Canary) -> None:
    entry = replace(canary._table.entries["checkout"], resolve=fail)
    canary._table = Table({}, 0, {"checkout": entry}, {}, {})


def a_function(canary: Canary) -> Callable[[bool], str]:
    return canary.feature("checkout", fallback=lambda fails: "old")(body)


def body(fails: bool) -> str:
    """Serve or fail."""
    if fails:
        raise LookupError("the application's own")
    return "new"


def a_coroutine_function(canary: Canary) -> Callable[[bool], str]:
    @canary.feature("checkout", fallback=lambda fails: "old")
    async def checkout(fails: bool) -> str:
        return body(fails)

    return lambda fails: asyncio.run(checkout(fails))


def a_generator_function(canary: Canary) -> Callable[[bool], str]:
    @canary.feature("checkout", fallback=lambda fails: ["old"])
    def checkout(fails: bool) -> Iterator[str]:
        yield body(fails)

    return lambda fails: "".join(checkout(fails))


def an_async_generator_function(canary: Canary) -> Callable[[bool], str]:
    @canary.feature("checkout", fallback=lambda fails: ["old"])
    async def checkout(fails: bool) -> Any:
        yield body(fails)

    async def join(fails: bool) -> str:
        return "".join([item async for item in checkout(fails)])

    return lambda fails: asyncio.run(join(fails))


FORMS = [a_function, a_coroutine_function, a_generator_function, an_async_generator_function]
BREAKS = [
    (break_the_clock, "new"),
    (break_the_ring_of_calls, "new"),
    (break_the_ring_of_units, "new"),
    (break_every_answer, "old"),
]


@pytest.mark.parametrize("inside", [False, True], ids=["on its own", "inside a unit"])
@pytest.mark.parametrize(("breaks", "served"), BREAKS, ids=[breaks.__name__ for breaks, _ in BREAKS])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_a_failure_of_ours_stays_inside(
    canary: Canary,
    form: Callable[[Canary], Callable[[bool], str]],
    breaks: Callable[[Canary], None],
    served: str,
    inside: bool,
) -> None:
    """The call gives what it would have given, or the baseline where the flag cannot answer; the failure is counted."""
    call = form(canary)
    unit = canary.units.open(None) if inside else None
    token = canary.units.enter(unit)
    call(False)  # the unit has its answer
    if unit is not None and served == "old":
        unit.marks.clear()
    breaks(canary)
    try:
        assert call(False) == served
        if served == "new":
            with pytest.raises(LookupError, match="the application's own"):
                call(True)
    finally:
        assert canary.units.current() is unit
        canary.units.leave(token)
    if not (inside and breaks is break_the_ring_of_units):
        assert set(canary.failures.counts) <= {"measuring a call of checkout", "evaluating checkout"}
        assert sum(canary.failures.counts.values()) >= 1


@pytest.mark.parametrize("breaks", [break_the_clock, break_the_ring_of_units])
def test_a_scope_that_cannot_be_measured_runs_all_the_same(canary: Canary, breaks: Callable[[Canary], None]) -> None:
    """The body runs without a unit, and the failure is counted."""
    breaks(canary)
    with canary.scope("job") as unit:
        assert unit is None
    assert dict(canary.failures.counts) == {"scope job": 1}


def test_a_scope_whose_clock_breaks_gives_the_context_back(canary: Canary) -> None:
    """What cannot be closed is left, and the body's own exception is not held back."""
    scope = canary.scope("job")
    scope.__enter__()
    break_the_clock(canary)
    assert scope.__exit__(LookupError, LookupError(), None) is None  # type: ignore[func-returns-value]
    assert canary.units.current() is None
    assert dict(canary.failures.counts) == {"scope job": 1}
