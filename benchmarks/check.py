"""Has a hot path become slower than it may? The short form of the benchmarks, for CI.

    python -m benchmarks.check

A path fails if its ratio to the least operation of the same race is above its bound in three races out of three. Bounds
are ratios, never times, and half as much again as what `docs/performance.md` shows, for a machine that others use too.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

import mmh3

from benchmarks.bench_feature import checkout, empty
from benchmarks.bench_middleware import Passthrough, WSGIPassthrough, call, list_app, raw_app, serve
from benchmarks.race import race
from canary_sdk import connect
from canary_sdk.integrations import wsgi
from canary_sdk.integrations.asgi import CanaryMiddleware
from canary_sdk.measure.ring import Ring

if TYPE_CHECKING:
    from canary_sdk import Canary

LOOPS: Final = 200
TRIES: Final = 3
FIVE: Final = ["one", "two", "three", "four", "five"]


class Bound(NamedTuple):
    """What a path may cost at most: so many times the least that it could be."""

    path: str
    statement: str
    limit: str
    most: float


BOUNDS: Final = (
    Bound("is_enabled, 25 %", "is_enabled('some', 'user-42')", "hash_of('user-42', 7, False)", 6.5),
    Bound("is_enabled, 0 %", "is_enabled('nobody', 'user-42')", "hash_of('user-42', 7, False)", 4.5),
    Bound("a decorated call in a unit of work", "ours('user-42')", "closure('user-42')", 5.5),
    Bound("Ring.append", "append(1.0)", "bare(1.0)", 9.0),
    Bound("an ASGI request", "serve(measured)", "serve(passthrough)", 3.6),
    Bound("an ASGI request that asks one flag", "serve(asking)", "serve(passthrough)", 4.2),
    Bound("an ASGI request that asks five flags", "serve(asking_five)", "serve(passthrough)", 6.0),
    Bound("a WSGI request", "call(measured_wsgi)", "call(passthrough_wsgi)", 7.5),
)


def names_of(canary: Canary) -> dict[str, object]:
    """Return what the statements speak of."""

    def drain() -> None:
        canary.units.ring.drain(LOOPS * 2)
        canary.units.call_ring.drain(LOOPS * 2)

    return {
        "hash_of": mmh3.hash,
        "is_enabled": canary.is_enabled,
        "ours": canary.feature("some", key="user")(checkout),
        "closure": empty(checkout),
        "bare": deque[float](maxlen=LOOPS).append,
        "append": Ring[float](LOOPS * 1_000).append,
        "serve": serve,
        "passthrough": Passthrough(raw_app(canary, [])),
        "measured": CanaryMiddleware(raw_app(canary, []), canary=canary),
        "asking": CanaryMiddleware(raw_app(canary, ["some"]), canary=canary),
        "asking_five": CanaryMiddleware(raw_app(canary, FIVE), canary=canary),
        "call": call,
        "passthrough_wsgi": WSGIPassthrough(list_app),
        "measured_wsgi": wsgi.CanaryMiddleware(list_app, canary=canary),
        "drain": drain,
    }


def ratio(bound: Bound, canary: Canary, names: dict[str, object]) -> float:
    """Race a path with its limit, inside a unit of work if it is about one."""
    statements = {"limit": bound.limit, "path": bound.statement}
    if "unit of work" in bound.path:
        with canary.scope("check"):
            result = race(statements, names, loops=LOOPS, before="drain()")
    else:
        result = race(statements, names, loops=LOOPS, before="drain()")
    return result["path"] / result["limit"]


def main() -> int:
    """Race every path, again if it is above its bound, and return how many always were."""
    failed = 0
    with connect("memory:", background=False) as canary:
        canary.apply({"flags": {"nobody": {"rollout": 0}} | {flag: {"rollout": 25} for flag in ("some", *FIVE)}})
        canary.tick()
        names = names_of(canary)
        for bound in BOUNDS:
            found: list[float] = []
            while len(found) < TRIES and (not found or found[-1] > bound.most):
                found.append(ratio(bound, canary, names))
            kept = found[-1] <= bound.most
            failed += not kept
            tries = ", ".join(f"{each:.1f}" for each in found)
            print(f"{'kept  ' if kept else 'BROKEN'}  {bound.path}: {tries} × {bound.limit}, at most {bound.most}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
