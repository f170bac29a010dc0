"""How the public face is used, for the type checker alone: nothing here is ever run.

`assert_type` pins what a decorated function is to whoever calls it; a line that must be refused carries the checker's
own word for why, which is itself an error once it is not refused any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import assert_type

from canary_sdk import Canary, connect

canary: Canary = connect("memory:", environment="test")

assert_type(canary.is_enabled("checkout", "user-42"), bool)
assert_type(canary.value("page-size", default=20), int)
assert_type(canary.value("greeting", "user-42", default="hello"), str)


def legacy(user_id: int, cart: list[str]) -> str:
    """Serve the baseline."""
    return f"{user_id} {len(cart)}"


@canary.feature("checkout", fallback=legacy, key="user_id", expected=(KeyError,), on_error="fallback")
def checkout(user_id: int, cart: list[str], *, fast: bool = False) -> str:
    """Serve the candidate."""
    return f"{user_id} {len(cart)} {fast}"


assert_type(checkout(1, ["a"], fast=True), str)
checkout("1", [])  # type: ignore[arg-type]
checkout(1)  # type: ignore[call-arg]
checkout(1, [], slow=True)  # type: ignore[call-arg]


@canary.feature("checkout", key=lambda user_id: user_id)
async def checkout_async(user_id: str) -> bytes:
    """Serve the candidate, awaited."""
    await asyncio.sleep(0)
    return user_id.encode()


async def awaits() -> None:
    """Await what is decorated."""
    assert_type(await checkout_async("1"), bytes)


@canary.feature("checkout")
def items(n: int) -> Iterator[int]:
    """Serve one by one."""
    yield from range(n)


assert_type(items(3), Iterator[int])


@canary.feature("checkout")
async def items_async(n: int) -> AsyncIterator[int]:
    """Serve one by one, awaited."""
    for each in range(n):
        yield each


assert_type(items_async(3), AsyncIterator[int])


class Shop:
    """Methods keep what they are bound to."""

    @canary.feature("checkout", key="self.tenant")
    def total(self, price: float) -> float:
        """Serve a method."""
        return price

    @classmethod
    @canary.feature("checkout")
    def made(cls, name: str) -> Shop:
        """Serve a class method."""
        return cls()

    @staticmethod
    @canary.feature("checkout")
    def rounded(price: float) -> int:
        """Serve a static method."""
        return round(price)

    @property
    @canary.feature("checkout")
    def name(self) -> str:
        """Serve a property."""
        return "shop"


assert_type(Shop().total(1.0), float)
assert_type(Shop.made("a"), Shop)
assert_type(Shop.rounded(1.5), int)
assert_type(Shop().name, str)
Shop().total("1")  # type: ignore[arg-type]


canary.observe("cache_hit", True)
canary.observe("basket_value", 31.5)
canary.observe("basket_value", "31.5")  # type: ignore[arg-type]


@canary.scope("job", key=lambda: "tenant")
def job(tenant: str) -> int:
    """Do something that is no request."""
    return len(tenant)


assert_type(job("a"), int)
refused: Callable[[], int] = job  # type: ignore[assignment]
canary.feature("checkout", on_error="ignore")  # type: ignore[arg-type]
canary.feature("checkout", expected=KeyError)  # type: ignore[arg-type]
