"""A request leaves nothing behind: no reference cycle that the garbage collector would have to find."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from starlette.routing import Route

from canary_sdk.integrations import asgi, wsgi
from tests.integrations.driver import CHUNK, LAST, START, exchange, http, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from canary_sdk import Canary

REQUESTS = 1_000
ROUTE = Route("/", print)


def asgi_request(*messages: dict[str, Any], then: type[BaseException] | None = None) -> Callable[[Canary], object]:
    """Build what serves one ASGI request that asks a flag by the request's own key."""

    def serve(canary: Canary) -> None:
        async def app(scope: Any, _receive: Any, send: Any) -> None:
            scope["route"] = ROUTE
            canary.is_enabled("checkout")
            for message in messages:
                await send(message)
            if then is not None:
                raise then

        measured = asgi.CanaryMiddleware(
            app, canary=canary, key=lambda scope: str(scope["path"]), is_error=lambda *_: False
        )
        with suppress(BaseException):
            exchange(measured)

    return serve


def abandoned(canary: Canary) -> None:
    """Serve a request that is thrown away while it waits."""

    async def app(*_: Any) -> None:
        await asyncio.sleep(0)

    coroutine = asgi.CanaryMiddleware(app, canary=canary, key=str)(http(), None, None)  # type: ignore[arg-type]
    coroutine.__await__().send(None)
    coroutine.close()


def wsgi_request(*, breaks: bool = False, reads: bool = True, closes: bool = True) -> Callable[[Canary], object]:
    """Build what serves one WSGI request whose body asks a flag by the request's own key."""

    def serve(canary: Canary) -> None:
        def app(_environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            canary.is_enabled("checkout")
            yield from (b"one", b"two", b"three")
            if breaks:
                raise KeyError

        body: Any = wsgi.CanaryMiddleware(app, canary=canary, key=str)({"PATH_INFO": "/"}, lambda *_: print)
        with suppress(KeyError):
            if reads:
                list(body)
        if closes:
            body.close()

    return serve


def wsgi_complete(canary: Canary) -> None:
    """Serve one WSGI request whose body is a list."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["self"] = environ.get("canary.unit")
        start_response("200 OK", [])
        return [b"one"]

    wsgi.CanaryMiddleware(app, canary=canary, key=str)({}, lambda *_: print)


KINDS = {
    "complete": asgi_request(START, LAST),
    "streamed": asgi_request(START, CHUNK, CHUNK, LAST),
    "never finished": asgi_request(START, CHUNK),
    "failed": asgi_request(then=RuntimeError),
    "failed midway": asgi_request(START, CHUNK, then=RuntimeError),
    "cancelled": asgi_request(then=asyncio.CancelledError),
    "abandoned": abandoned,
    "WSGI, a list": wsgi_complete,
    "WSGI, a generator": wsgi_request(),
    "WSGI, a body that breaks": wsgi_request(breaks=True),
    "WSGI, never read": wsgi_request(reads=False),
    "WSGI, never closed": wsgi_request(closes=False),
}


def cycles_left_by(canary: Canary, serve: Callable[[], object]) -> list[type]:
    """Return what a thousand requests leave to the garbage collector once the ticker has taken them."""
    for _ in range(10):
        serve()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(REQUESTS):
            serve()
        canary.tick()
        gc.collect()
        return [type(each) for each in gc.garbage]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("kind", KINDS)
def test_no_request_leaves_a_cycle(canary: Canary, kind: str) -> None:
    """After a thousand requests, and once the ticker has taken them, there is nothing to collect."""
    canary.apply({"flags": {"checkout": {"rollout": 50}}})
    assert cycles_left_by(canary, lambda: KINDS[kind](canary)) == []
    assert canary.status().open_units == 0


def test_what_is_run_here_does_leave_a_cycle_when_it_makes_one(canary: Canary) -> None:
    """The claim above can fail: a request that binds its scope to itself is found."""

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        scope["canary"].subject = scope
        scope["canary"].in_request = scope

    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        scope = http()
        run(app({**scope, "canary": canary.units.open_request()}, None, None))
        canary.units.ring.drain(10)
        gc.collect()
        assert gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
