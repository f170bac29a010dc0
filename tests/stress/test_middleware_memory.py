"""A million requests through the middleware: the process ends as large as it was after the first thousands."""

from __future__ import annotations

import gc
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from canary_sdk import connect
from canary_sdk.integrations import asgi, wsgi
from canary_sdk.testing import ManualClock
from tests.integrations.driver import CHUNK, LAST, START, http, ignore, receive, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from canary_sdk import Canary

REQUESTS = 1_000_000
WARM_UP = 20_000
BETWEEN_TICKS = 10_000
ALLOWED = 64 * 1024
"""Bytes: for what the interpreter keeps for itself. One byte lost a request would be sixteen times as much."""


def asgi_kind(canary: Canary, *messages: dict[str, Any]) -> Callable[[int], object]:
    """Serve requests of many users and paths."""

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        scope["path_template"] = scope["path"]  # what no framework should do
        canary.is_enabled("checkout")
        for message in messages:
            await send(message)

    measured = asgi.CanaryMiddleware(app, canary=canary, key=lambda scope: str(scope["path"]))
    return lambda number: run(measured(http(f"/{number}"), receive, ignore))


def wsgi_kind(canary: Canary) -> Callable[[int], object]:
    """Serve requests of many users whose bodies are generators."""

    def app(_environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        canary.is_enabled("checkout")
        yield b"one"

    measured = wsgi.CanaryMiddleware(app, canary=canary, key=lambda environ: str(environ["PATH_INFO"]))

    def serve(number: int) -> None:
        body: Any = measured({"PATH_INFO": f"/{number}"}, lambda *_: print)
        list(body)
        body.close()

    return serve


@pytest.mark.stress
@pytest.mark.timeout(600)
def test_a_million_requests_leave_nothing(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Complete, streamed and WSGI requests in turn, each of another user on another path."""
    monkeypatch.setenv("CANARY_ARENA_DIR", str(tmp_path))
    # Windows of seconds gone by take their own, bounded room: here no time goes by.
    with connect("memory:", clock=ManualClock(), background=False) as canary:
        canary.apply({"flags": {"checkout": {"rollout": 30, "slos": ["p95 < 500ms"]}}})
        kinds = [asgi_kind(canary, START, LAST), asgi_kind(canary, START, CHUNK, LAST), wsgi_kind(canary)]

        def serve(first: int, last: int) -> int:
            for number in range(first, last):
                kinds[number % len(kinds)](number)
                if number % BETWEEN_TICKS == 0:
                    canary.tick()
            canary.tick()
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            before = serve(0, WARM_UP)
            after = serve(WARM_UP, REQUESTS)
        finally:
            tracemalloc.stop()
        status = canary.status()
    assert after - before < ALLOWED
    assert (status.open_units, status.dropped) == (0, 0)
    assert not status.failures
