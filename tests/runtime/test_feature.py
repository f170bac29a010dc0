"""The decorator serves the right function, changes nothing about it, and counts the call on the right arm."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

import pytest

from canary_sdk import CanaryError
from canary_sdk.core.evaluation import Role

if TYPE_CHECKING:
    from canary_sdk import Canary
    from canary_sdk.testing import ManualClock


@pytest.fixture
def on(canary: Canary) -> str:
    """A key that gets the candidate of a flag at 50 %."""
    canary.apply({"flags": {"checkout": {"rollout": 50}}})
    return next(key for key in map(str, range(100)) if canary.is_enabled("checkout", key))


@pytest.fixture
def off(canary: Canary, on: str) -> str:
    """A key that does not."""
    return next(key for key in map(str, range(100)) if key != on and not canary.is_enabled("checkout", key))


def test_the_key_decides_by_position_keyword_and_default(canary: Canary, on: str, off: str) -> None:
    """`key` is found wherever the caller put it."""

    @canary.feature("checkout", fallback=lambda *_, **__: "old", key="user_id")
    def checkout(cart: str, user_id: str = on) -> str:
        return f"new {cart} {user_id}"

    assert checkout("c") == f"new c {on}"
    assert checkout("c", on) == f"new c {on}"
    assert checkout("c", user_id=off) == "old"
    assert checkout("c", off) == "old"


def test_methods_get_their_self(canary: Canary, on: str, off: str) -> None:
    """A decorated method is bound like any other, and its fallback gets the same arguments."""

    class Shop:
        name = "shop"

        def legacy(self, user: str) -> str:
            return f"old {self.name} {user}"

        @canary.feature("checkout", fallback=legacy, key="user")
        def checkout(self, user: str) -> str:
            return f"new {self.name} {user}"

    assert Shop().checkout(on) == f"new shop {on}"
    assert Shop().checkout(user=off) == f"old shop {off}"


async def test_coroutines_are_awaited_and_measured(canary: Canary, clock: ManualClock, on: str, off: str) -> None:
    """A coroutine function stays one; sync and async fallbacks both work; time includes the awaiting."""

    async def legacy(user: str) -> str:
        return f"old {user}"

    @canary.feature("checkout", fallback=legacy, key="user")
    async def checkout(user: str) -> str:
        await asyncio.sleep(0)
        clock.advance(0.5)
        return f"new {user}"

    @canary.feature("checkout", fallback=lambda user: f"plain {user}", key="user")
    async def other(user: str) -> str:
        return f"new {user}"

    assert inspect.iscoroutinefunction(checkout)
    assert await checkout(on) == f"new {on}"
    assert await checkout(off) == f"old {off}"
    assert await other(off) == f"plain {off}"
    (first, second, _) = canary.units.call_ring.drain(10)
    assert (first[0].role, first[1], first[2]) == (Role.CANDIDATE, 0.5, False)
    assert second[0].role is Role.BASELINE


def test_it_keeps_what_a_function_is(canary: Canary) -> None:
    """Name, docstring, hints and signature are the function's own."""

    def checkout(user: str, *, n: int = 3) -> str:
        """Check out."""
        return user * n

    decorated = canary.feature("checkout", key="user")(checkout)
    assert (decorated.__name__, decorated.__doc__) == ("checkout", "Check out.")
    assert inspect.signature(decorated) == inspect.signature(checkout)
    assert decorated.__annotations__ == checkout.__annotations__


def test_an_exception_is_counted_and_stays_itself(canary: Canary, on: str) -> None:
    """What the function raises reaches the caller; it is an error of the arm unless it was expected."""

    @canary.feature("checkout", key="user", expected=(KeyError,))
    def checkout(user: str, error: Exception) -> None:
        raise error

    for error in (ValueError(), KeyError()):
        with pytest.raises(type(error)) as caught:
            checkout(on, error)
        assert caught.value is error
    assert [failed for _, _, failed in canary.units.call_ring.drain(10)] == [True, False]


def test_the_call_is_a_unit_of_its_own_only_where_none_is_open(canary: Canary, on: str) -> None:
    """Inside a unit it joins; outside, nested evaluations see what the call was told."""

    @canary.feature("checkout", key="user")
    def checkout(user: str) -> bool:
        assert canary.current_unit() is not None
        return canary.is_enabled("checkout", "whoever")

    assert checkout(on)
    with canary.scope("job") as unit:
        assert checkout(on)
        assert canary.current_unit() is unit
    assert len(canary.units.ring.drain(10)) == 2
    assert canary.current_unit() is None


def test_without_a_key_the_units_own_is_used(canary: Canary, on: str) -> None:
    """A job names its tenant once."""

    @canary.feature("checkout")
    def checkout() -> str:
        return "new"

    with canary.scope("job", key=on):
        assert checkout() == "new"
    assert checkout() is None


def test_a_wrong_key_is_refused_at_decoration(canary: Canary) -> None:
    """The message names the function, what was asked for and what there is."""
    with pytest.raises(CanaryError, match=r'key="user"\): .*checkout\(\) has no such parameter; it has user_id, cart'):

        @canary.feature("checkout", key="user")
        def checkout(user_id: str, cart: str) -> None: ...


def test_what_is_no_function_is_refused_at_decoration(canary: Canary) -> None:
    """A class or a string is not silently taken for a feature."""
    with pytest.raises(CanaryError, match="got type"):
        canary.feature("checkout")(dict)
