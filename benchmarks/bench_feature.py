"""What does the decorator add to a call, beside an empty `functools.wraps` closure, the least by hand, and breakers?

Five races: functions and coroutine functions, inside an open unit of work and on their own, and a flag that is off
beside an exception that is raised and caught. "By hand" is the least that does it all: hash, compare, two readings
of the clock, and a `deque.append`, with nothing contained, pinned or shared. `canary_sdk` is the public decorator.
"""

from __future__ import annotations

import functools
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any

import mmh3

from benchmarks.peers import ASYNC_BREAKERS, BREAKERS, made
from benchmarks.race import publish, race
from canary_sdk import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from canary_sdk import Canary

    Function = Callable[..., Any]

LOOPS = 200
BATCH = 50
LIMIT = 2**31
CLOSURE = "an empty functools.wraps closure"
RAISED = "raise and except"
CALLS = {CLOSURE: "closure", "by hand": "hand", "canary_sdk": "ours", "canary_sdk, method": "method"}


def checkout(user: str) -> str:
    """Do next to nothing."""
    return user


async def checkout_async(user: str) -> str:
    """Do next to nothing."""
    return user


def refuse(user: str) -> str:
    """Raise."""
    raise LookupError(user)


def empty(function: Function) -> Function:
    """Decorate with nothing."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


def empty_async(function: Function) -> Function:
    """Decorate with nothing, and await it."""

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return call


def by_hand(function: Function) -> Function:
    """Decorate with the least that chooses, times and counts."""
    hash_of, now, add = mmh3.hash, perf_counter, deque[float](maxlen=1_024).append

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        run = function if hash_of(args[0], 7, False) < LIMIT else checkout
        started = now()
        try:
            result = run(*args, **kwargs)
        except BaseException:
            add(started - now())
            raise
        add(now() - started)
        return result

    return call


def by_hand_async(function: Function) -> Function:
    """Decorate with the least that chooses, times and counts, and await it."""
    hash_of, now, add = mmh3.hash, perf_counter, deque[float](maxlen=1_024).append

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        run = function if hash_of(args[0], 7, False) < LIMIT else checkout_async
        started = now()
        try:
            result = await run(*args, **kwargs)
        except BaseException:
            add(started - now())
            raise
        add(now() - started)
        return result

    return call


async def awaits(function: Function) -> None:
    """Await a coroutine function `BATCH` times."""
    for _ in range(BATCH):
        await function("user-42")


def drive(coroutine: Any) -> None:
    """Run a coroutine that never waits to its end, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration:
        return


def race_functions(canary: Canary, names: dict[str, Any]) -> None:
    """Race the decorated functions, inside a unit of work and on their own."""
    breakers, missing = made(BREAKERS)
    names = names | {f"peer_{number}": breaker(checkout) for number, breaker in enumerate(breakers.values())}
    calls = CALLS | {name: f"peer_{number}" for number, name in enumerate(breakers)}
    statements = {name: f"{call}('user-42')" for name, call in calls.items()}
    with canary.scope("benchmark"):
        results = race(statements, names, loops=LOOPS, before="drain()")
    publish("A decorated function, inside an open unit of work", results, baseline=CLOSURE, missing=missing)
    results = race(statements, names, loops=LOOPS, before="drain()")
    publish("A decorated function, each call a unit of work of its own", results, baseline=CLOSURE, missing=missing)


def race_coroutines(canary: Canary, names: dict[str, Any]) -> None:
    """Race the decorated coroutine functions, awaited in batches, inside a unit of work and on their own."""
    breakers, missing = made(ASYNC_BREAKERS)
    names = names | {f"peer_{number}": breaker(checkout_async) for number, breaker in enumerate(breakers.values())}
    calls = {"bare await": "bare", **CALLS} | {name: f"peer_{number}" for number, name in enumerate(breakers)}
    statements = {name: f"drive(awaits({call}))" for name, call in calls.items()}

    def each() -> dict[str, float]:
        results = race(statements, names, loops=LOOPS // BATCH, before="drain()")
        return {name: value / BATCH for name, value in results.items()}

    with canary.scope("benchmark"):
        publish("A coroutine function, inside an open unit of work", each(), baseline=CLOSURE, missing=missing)
    publish("A coroutine function, each call a unit of work of its own", each(), baseline=CLOSURE, missing=missing)


def race_tripped(canary: Canary, names: dict[str, Any]) -> None:
    """Race the fallback of a flag that is off with the exception that a breaker would raise."""
    statements = {RAISED: "try: refuse('user-42')\nexcept LookupError: pass", "canary_sdk, off": "ours('user-42')"}
    canary.kill("checkout", reason="benchmark")
    with canary.scope("benchmark"):
        results = race(statements, names, loops=LOOPS, before="drain()")
    publish("A flag that is off, inside an open unit of work", results, baseline=RAISED)


def main() -> None:
    """Run the races."""
    with connect("memory:", background=False) as canary:
        canary.apply({"flags": {"checkout": {"rollout": 50}}})
        canary.status()  # awake
        feature = canary.feature("checkout", fallback=checkout, key="user")
        feature_async = canary.feature("checkout", fallback=checkout_async, key="user")

        class Thing:
            """Holds a decorated method and a decorated coroutine method."""

            @canary.feature("checkout", key="user")
            def ours(self, user: str) -> str:
                """Do next to nothing."""
                return user

            @canary.feature("checkout", key="user")
            async def ours_async(self, user: str) -> str:
                """Do next to nothing."""
                return user

        def drain() -> None:
            canary.units.ring.drain(LOOPS * 2)
            canary.units.call_ring.drain(LOOPS * 2)

        thing = Thing()
        common = {"drain": drain, "drive": drive, "awaits": awaits, "refuse": refuse}
        plain = {"closure": empty(checkout), "hand": by_hand(checkout), "ours": feature(checkout), "method": thing.ours}
        race_functions(canary, {**common, **plain})
        awaited = {
            "bare": checkout_async,
            "closure": empty_async(checkout_async),
            "hand": by_hand_async(checkout_async),
            "ours": feature_async(checkout_async),
            "method": thing.ours_async,
        }
        race_coroutines(canary, {**common, **awaited})
        race_tripped(canary, {**common, **plain})


if __name__ == "__main__":
    main()
