"""A decorated endpoint is routed as its framework routes the function inside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import Depends, FastAPI
from flask import Flask

from canary_sdk.integrations.asgi import CanaryMiddleware
from canary_sdk.integrations.wsgi import CanaryMiddleware as WsgiMiddleware
from tests.integrations.driver import http, receive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from canary_sdk import Canary


@pytest.fixture(autouse=True)
def _flag(canary: Canary) -> None:
    canary.apply({"flags": {"checkout": {"rollout": 50}}})


def sides(canary: Canary) -> tuple[str, str]:
    """Return a key that gets the candidate and one that does not."""
    keys = [str(number) for number in range(100)]
    on = next(key for key in keys if canary.is_enabled("checkout", key))
    return on, next(key for key in keys if not canary.is_enabled("checkout", key))


async def get(app: FastAPI, path: str, query: str = "") -> tuple[int, Any]:
    """Ask for a page and return its status and what its JSON says."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await app(http(path, query_string=query.encode()), receive, send)
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent))


def fastapi_application(canary: Canary) -> FastAPI:
    """Return an application with a decorated endpoint, async endpoint and dependencies, sync and async."""
    app = FastAPI()
    app.add_middleware(CanaryMiddleware, canary=canary)
    feature = canary.feature

    @feature("checkout", fallback=lambda user: ["old"], key="user")
    def opened(user: int) -> Iterator[str]:
        yield "new"

    async def old_async(user: int) -> AsyncIterator[str]:
        yield "old"

    @feature("checkout", fallback=old_async, key="user")
    async def opened_async(user: int) -> AsyncIterator[str]:
        yield "new"

    @app.get("/sync/{user}")
    @feature("checkout", fallback=lambda uid, n=0, **_: {"old": uid, "n": n}, key="user")
    def checkout(
        user: int,
        n: int = 3,
        first: str = Depends(opened),  # noqa: FAST002 - an annotation would be looked up among the globals
        second: str = Depends(opened_async),  # noqa: FAST002
    ) -> Any:
        """Check out."""
        return {"new": user, "n": n, "first": first, "second": second}

    @app.get("/async/{user}")
    @feature("checkout", fallback=lambda user: {"old": user}, key="user")
    async def checkout_async(user: int) -> dict[str, int]:
        return {"new": user}

    @feature("checkout", fallback=lambda user: {"old": user}, key="user")
    @app.get("/over/{user}")
    def checkout_over(user: int) -> dict[str, int]:
        return {"new": user}

    assert checkout_over(1) in ({"new": 1}, {"old": 1})
    return app


async def test_fastapi_routes_what_is_inside(canary: Canary) -> None:
    """Path, query and dependencies reach the function, converted; a mistake is a 422; the schema shows it all."""
    app = fastapi_application(canary)
    on, off = sides(canary)
    assert await get(app, f"/sync/{on}", "n=5") == (200, {"new": int(on), "n": 5, "first": "new", "second": "new"})
    assert await get(app, f"/sync/{off}") == (200, {"old": int(off), "n": 3})
    assert await get(app, f"/async/{on}") == (200, {"new": int(on)})
    assert await get(app, f"/async/{off}") == (200, {"old": int(off)})
    assert (await get(app, "/sync/nobody"))[0] == 422
    schema = app.openapi()["paths"]["/sync/{user}"]["get"]
    assert [each["name"] for each in schema["parameters"]] == ["user", "n"]
    assert (schema["summary"], schema["description"]) == ("Checkout", "Check out.")
    assert canary.status().failures == {}


async def test_above_the_route_only_direct_calls_are_decorated(canary: Canary) -> None:
    """A route that was registered before the decorator serves what it was given, and goes on working."""
    app = fastapi_application(canary)
    for key in sides(canary):
        assert await get(app, f"/over/{key}") == (200, {"new": int(key)})


def test_flask_routes_what_is_inside(canary: Canary) -> None:
    """The endpoint has the function's name, and the path's parameter reaches it."""
    app = Flask("shop")
    app.wsgi_app = WsgiMiddleware(app.wsgi_app, canary=canary)  # type: ignore[method-assign]

    @app.get("/<int:user>")
    @canary.feature("checkout", fallback=lambda user: f"old {user}", key="user")
    def checkout(user: int) -> str:
        return f"new {user}"

    on, off = sides(canary)
    client = app.test_client()
    assert client.get(f"/{on}").text == f"new {on}"
    assert client.get(f"/{off}").text == f"old {off}"
    assert "checkout" in app.view_functions
