"""What does the middleware add to an ASGI request, beside a class that only passes it through?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.race import publish, race
from canary_sdk import connect
from canary_sdk.integrations.asgi import CanaryMiddleware

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from canary_sdk import Canary

    App = Callable[[Any, Any, Any], Awaitable[None]]

FLAGS = [f"flag-{number}" for number in range(5)]
THROUGH = "passthrough"

STATEMENTS = {
    "bare app": "serve(bare)",
    THROUGH: "serve(passthrough)",
    "CanaryMiddleware": "serve(measured)",
    "CanaryMiddleware, 1 flag": "serve(one_flag)",
    "CanaryMiddleware, 5 flags": "serve(five_flags)",
}


class Passthrough:
    """The least that a middleware can be."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass everything through."""
        await self.app(scope, receive, send)


def application(canary: Canary, flags: list[str]) -> App:
    """Return a raw application that asks `flags` and answers with two messages."""

    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 - the protocol's signature
        for flag in flags:
            canary.is_enabled(flag, "user-42")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return app


async def ignore(message: object = None) -> None:
    """Stand in for the server's `send` and `receive`."""


def serve(app: App) -> None:
    """Drive one request to its end without an event loop; nothing in it waits."""
    try:
        app({"type": "http", "path": "/"}, ignore, ignore).__await__().send(None)
    except StopIteration:
        return


def main() -> None:
    """Race the applications, each called as a server calls it."""
    with connect("memory:") as canary:
        canary.apply({"flags": {flag: {"rollout": 25} for flag in FLAGS}})
        bare = application(canary, [])
        names = {
            "serve": serve,
            "bare": bare,
            "passthrough": Passthrough(bare),
            "measured": CanaryMiddleware(bare, canary=canary),
            "one_flag": CanaryMiddleware(application(canary, FLAGS[:1]), canary=canary),
            "five_flags": CanaryMiddleware(application(canary, FLAGS), canary=canary),
        }
        publish(__doc__ or "", race(STATEMENTS, names, loops=5_000), baseline=THROUGH)


if __name__ == "__main__":
    main()
