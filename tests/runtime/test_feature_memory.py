"""A decorated call and a scope leave nothing behind either, however they end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("starlette")

from tests.integrations.driver import run
from tests.integrations.test_memory import cycles_left_by

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from canary_sdk import Canary


class Shop:
    """An application, decorated once."""

    def __init__(self, canary: Canary) -> None:
        """Decorate each form."""
        feature = canary.feature("checkout", key="user", fallback=lambda user: user)

        @feature
        def plain(user: str) -> str:
            return user

        @feature
        def failing(user: str) -> str:
            raise LookupError(user)

        @feature
        async def awaited(user: str) -> str:
            await asyncio.sleep(0)
            return user

        @canary.feature("checkout", key="user", fallback=lambda user: [user, user])
        def generated(user: str) -> Iterator[str]:
            yield user
            yield user

        @canary.feature("checkout", key="user", fallback=lambda user: [user, user])
        async def streamed(user: str) -> AsyncIterator[str]:
            yield user
            yield user

        self.canary = canary
        self.plain, self.failing, self.awaited = plain, failing, awaited
        self.generated, self.streamed = generated, streamed

    def rescued(self, user: str) -> None:
        """Call what fails."""
        with suppress(LookupError):
            self.failing(user)

    def cancelled(self, user: str) -> None:
        """Await, and be thrown away while it waits."""
        steps: Any = self.awaited(user).__await__()
        with suppress(StopIteration):
            steps.send(None)
        steps.close()

    def left(self, user: str) -> None:
        """Take one item, and leave."""
        items = self.generated(user)
        next(items)
        del items

    def joined(self, user: str) -> None:
        """Read a stream to its end."""

        async def read() -> list[str]:
            return [item async for item in self.streamed(user)]

        run(read())

    def scoped(self, user: str) -> None:
        """Do a job that asks the flag twice, and fails."""
        with suppress(KeyError), self.canary.scope("job", key=user):
            self.plain(user)
            self.canary.is_enabled("checkout")
            raise KeyError

    def explained(self, user: str) -> None:
        """Ask why."""
        self.canary.evaluate("checkout", user, explain=True)


WAYS: dict[str, Callable[[Shop, str], object]] = {
    "a call": lambda shop, user: shop.plain(user),
    "a failure": Shop.rescued,
    "a coroutine": Shop.cancelled,
    "a coroutine that is never awaited": lambda shop, user: shop.awaited(user).close(),
    "a generator": lambda shop, user: list(shop.generated(user)),
    "a generator that is left": Shop.left,
    "a stream": Shop.joined,
    "a scope": Shop.scoped,
    "an explanation": Shop.explained,
}


@pytest.mark.parametrize("way", WAYS)
def test_no_call_leaves_a_cycle(canary: Canary, way: str) -> None:
    """After a thousand calls for two users, one on each arm, there is nothing to collect."""
    canary.apply({"flags": {"checkout": {"rollout": 50}}})
    users = [
        next(f"user-{n}" for n in range(99) if canary.is_enabled("checkout", f"user-{n}") is arm)
        for arm in (False, True)
    ]
    shop = Shop(canary)
    assert cycles_left_by(canary, lambda: [WAYS[way](shop, user) for user in users]) == []
    assert canary.status().open_units == 0
