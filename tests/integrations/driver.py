"""Drives applications by hand, as a server would, without an event loop or a socket: nothing in them waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from canary_sdk import Canary
    from canary_sdk.runtime.scope import Unit

    App = Callable[[Any, Any, Any], Awaitable[Any]]

START = {"type": "http.response.start", "status": 200, "headers": []}
CHUNK = {"type": "http.response.body", "body": b"x", "more_body": True}
LAST = {"type": "http.response.body", "body": b"done"}


def http(path: str = "/", **more: Any) -> dict[str, Any]:
    """Build a request's scope, as a server does."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": None,
        "server": ("test", 80),
        **more,
    }


async def receive() -> dict[str, Any]:
    """Say that the request has no body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def hung_up() -> dict[str, Any]:
    """Say that the client went away."""
    return {"type": "http.disconnect"}


async def ignore(_: Any) -> None:
    """Take a message and forget it."""


def run(awaitable: Awaitable[Any]) -> Any:
    """Run to the end what never waits, and return what it returned."""
    steps: Generator[Any, Any, Any] = awaitable.__await__()
    try:
        steps.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


def exchange(app: App, scope: dict[str, Any] | None = None, receive: Any = receive) -> list[dict[str, Any]]:
    """Send one request and return what the server was sent."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    run(app(http() if scope is None else scope, receive, send))
    return sent


def measured(canary: Canary) -> Unit:
    """Return the one unit that was recorded."""
    (unit,) = canary.units.ring.drain(10)
    return unit
