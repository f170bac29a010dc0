"""A request is named by the template of its route, which a client cannot choose, and there are only so many names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest
from fastapi import APIRouter, FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route
from werkzeug.wrappers import Request as WerkzeugRequest
from werkzeug.wrappers import Response as WerkzeugResponse

from canary_sdk.integrations import asgi, wsgi
from canary_sdk.integrations.routes import OTHER, Routes, asgi_template, flask_template
from tests.integrations.driver import LAST, START, exchange, http, measured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from canary_sdk import Canary
    from tests.integrations.driver import App


ENVIRON: Final = {
    "REQUEST_METHOD": "GET",
    "PATH_INFO": "/",
    "SERVER_NAME": "test",
    "SERVER_PORT": "80",
    "wsgi.url_scheme": "http",
}


async def page(_: Request) -> Response:
    """Answer."""
    return PlainTextResponse("")


def starlette() -> App:
    """Build an application with mounts inside mounts."""
    tenant = Starlette(routes=[Route("/items/{id:int}", page)])
    return Starlette(
        routes=[
            Route("/users/{id}", page),
            Mount("/tenants/{tenant}", routes=[Mount("/v1", app=tenant)]),
            Host("{name}.example.org", app=Starlette(routes=[Route("/home", page)])),
        ]
    )


def fastapi() -> App:
    """Build an application with a router that is included under two prefixes, and in another one that is mounted."""
    app, mounted, router = FastAPI(), FastAPI(), APIRouter(prefix="/users")

    @router.get("/{id}")
    async def user(id: int) -> int:  # noqa: A002 - FastAPI tells parameters by their names
        """Answer."""
        return id

    mounted.include_router(router)
    app.include_router(router, prefix="/v1")
    app.include_router(router, prefix="/v2/{region}")
    app.mount("/tenants/{tenant}", mounted)
    return app


async def litestar(scope: Any, _receive: Any, send: Any) -> None:
    """Leave in the scope what Litestar 2 leaves there."""
    scope["path_template"] = "/api/users/{id}"
    await send(START)
    await send(LAST)


async def raw(_scope: Any, _receive: Any, send: Any) -> None:
    """Route nothing."""
    await send(START)
    await send(LAST)


@pytest.mark.parametrize(
    ("app", "path", "route"),
    [
        (starlette(), "/users/7", "/users/{id}"),
        (starlette(), "/tenants/acme/v1/items/7", "/tenants/{tenant}/v1/items/{id:int}"),
        (starlette(), "/tenants/acme/v1/nothing", "/tenants/{tenant}/v1"),
        (starlette(), "/nothing", None),
        (litestar, "/api/users/7", "/api/users/{id}"),
        (raw, "/api/users/7", None),
    ],
)
def test_the_template_is_what_the_framework_left_in_the_scope(
    canary: Canary, app: App, path: str, route: str | None
) -> None:
    """With the templates of what it is mounted in, and no word of the path."""
    exchange(asgi.CanaryMiddleware(app, canary=canary), http(path))
    assert measured(canary).route == route


def test_a_router_that_fastapi_includes_several_times_is_told_apart(canary: Canary) -> None:
    """The same route has a name for each place that it can be reached at."""
    app = asgi.CanaryMiddleware(fastapi(), canary=canary)
    expected = {
        "/v1/users/7": "/v1/users/{id}",
        "/v2/eu/users/7": "/v2/{region}/users/{id}",
        "/tenants/acme/users/7": "/tenants/{tenant}/users/{id}",
    }
    for _ in range(2):
        for path, route in expected.items():
            exchange(app, http(path))
            assert measured(canary).route == route


def test_a_host_is_no_part_of_the_template(canary: Canary) -> None:
    """Its routes are told by their paths."""
    scope = http("/home", headers=[(b"host", b"acme.example.org")])
    exchange(asgi.CanaryMiddleware(starlette(), canary=canary), scope)
    assert measured(canary).route == "/home"


@pytest.mark.parametrize(("path", "route"), [("/users/7", "/users/<int:number>"), ("/nothing", None)])
def test_flask_leaves_its_url_rule(canary: Canary, path: str, route: str | None) -> None:
    """It is read while Flask still has it, when the response starts."""
    app = Flask(__name__)
    app.add_url_rule("/users/<int:number>", view_func=str)
    body: Any = wsgi.CanaryMiddleware(app, canary=canary)({**ENVIRON, "PATH_INFO": path}, lambda *_: lambda _: None)
    body.close()
    assert measured(canary).route == route


def test_werkzeug_alone_has_no_template(canary: Canary) -> None:
    """A request of Werkzeug's that no router of Flask has seen is measured without a name, and nothing has failed."""

    @WerkzeugRequest.application
    def app(_: WerkzeugRequest) -> WerkzeugResponse:
        return WerkzeugResponse("hello", status=503)

    body: Any = wsgi.CanaryMiddleware(app, canary=canary)(dict(ENVIRON), lambda *_: lambda _: None)
    body.close()
    unit = measured(canary)
    assert (unit.route, unit.status) == (None, 503)
    assert not canary.status().failures


def test_a_route_that_stands_in_no_tree_is_told_by_its_own_path() -> None:
    """Nothing is said about where it is mounted."""
    assert asgi_template(Route("/home", endpoint=str), {"path": "/somewhere/home"}) == "/home"


def test_what_is_no_rule_of_flask_has_no_template() -> None:
    """Something else that stands there is no label, and no error."""
    assert flask_template(object(), {}) is None
    assert flask_template(SimpleNamespace(rule=7), {}) is None


def test_there_are_only_so_many_labels() -> None:
    """Past the cap every new route is "other"; the ones before it keep their names."""
    asked: list[object] = []

    def find(route: object, _: Mapping[str, Any]) -> str:
        asked.append(route)
        return str(route)

    routes = Routes(find, most=3)
    templates = [f"/{number}" for number in range(5)]
    for _ in range(2):
        assert [routes.label(each, {}) for each in templates] == ["/0", "/1", "/2", OTHER, OTHER]
    assert asked == templates[:3]


def test_a_route_that_cannot_be_named_is_asked_once() -> None:
    """What fails inside a framework's own objects does not fail at every request."""
    routes = Routes(asgi_template)
    endless = Mount("/again", routes=[])
    endless.app.routes.append(endless)  # type: ignore[attr-defined]
    stranger = object()
    with pytest.raises(RecursionError):
        routes.label(stranger, {"router": endless})
    assert routes.label(stranger, {"router": endless}) is None
