"""Django under WSGI and ASGI: requests are measured, views served as they are, and routes told by their patterns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import django
import pytest
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory
from django.urls import include, path

from canary_sdk.integrations import asgi, wsgi
from canary_sdk.integrations.django import RouteMiddleware
from canary_sdk.integrations.routes import MOST_ROUTES, OTHER
from canary_sdk.runtime.scope import Unit

if TYPE_CHECKING:
    from django.http.response import HttpResponseBase

    from canary_sdk import Canary


def sync_view(_request: Any, number: int) -> HttpResponse:
    """Answer at once."""
    return HttpResponse(f"number {number}")


async def async_view(_request: Any, name: str) -> HttpResponse:
    """Answer from a coroutine."""
    return HttpResponse(f"name {name}")


inner = [path("<int:number>/", sync_view)]
urlpatterns = [path("numbers/", include(inner)), path("names/<str:name>/", async_view)]

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["canary_sdk.integrations.django.RouteMiddleware"],
    LOGGING_CONFIG=None,
)
django.setup()


@pytest.mark.parametrize(
    ("url", "text", "status", "route"),
    [
        ("/numbers/7/", "number 7", 200, "numbers/<int:number>/"),
        ("/names/x/", "name x", 200, "names/<str:name>/"),
        ("/nowhere/", "", 404, None),
    ],
)
def test_wsgi(canary: Canary, url: str, text: str, status: int, route: str | None) -> None:
    """Sync and async views under WSGI."""
    app = wsgi.CanaryMiddleware(get_wsgi_application(), canary=canary)
    started: list[str] = []
    environ = RequestFactory().get(url).META
    body = app(environ, lambda line, *_: started.append(line))  # type: ignore[arg-type]
    assert text in b"".join(body).decode()
    body.close()  # type: ignore[attr-defined]
    (unit,) = canary.units.ring.drain(10)
    assert started[0].startswith(str(status))
    assert (unit.status, unit.route) == (status, route)


def test_a_response_is_the_servers_own_to_read(canary: Canary) -> None:
    """One that is complete is returned as it is, and goes out there; one that streams is still one."""
    pages = {"plain": HttpResponse("text"), "stream": StreamingHttpResponse([b"one", b"two"])}
    plain, stream = (
        wsgi.CanaryMiddleware(answers(page), canary=canary)({}, lambda *_: print) for page in pages.values()
    )
    first, second = canary.units.ring.drain(10)
    assert plain is pages["plain"]
    assert (bool(first.ended), bool(second.ended)) == (True, False)
    assert stream is not pages["stream"]
    assert isinstance(stream, StreamingHttpResponse)
    assert (stream.streaming, list(stream), second.streamed) == (True, [b"one", b"two"], True)
    stream.close()
    assert second.ended


def answers(page: HttpResponseBase) -> Any:
    """Build an application that answers with a page, as Django's handler does."""

    def app(_environ: Any, start_response: Any) -> HttpResponseBase:
        start_response("200 OK", [])
        return page

    return app


@pytest.mark.parametrize(
    ("url", "text", "route"),
    [("/numbers/7/", "number 7", "numbers/<int:number>/"), ("/names/x/", "name x", "names/<str:name>/")],
)
async def test_asgi(canary: Canary, url: str, text: str, route: str) -> None:
    """Sync and async views under ASGI."""
    app = asgi.CanaryMiddleware(get_asgi_application(), canary=canary)
    sent: list[dict[str, Any]] = []

    requests = [{"type": "http.request", "body": b""}]

    async def receive() -> dict[str, Any]:
        return requests.pop() if requests else await asyncio.Future()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": url, "headers": [], "query_string": b"", "scheme": "http"}
    await app(scope, receive, send)
    assert text in b"".join(message.get("body", b"") for message in sent).decode()
    (unit,) = canary.units.ring.drain(10)
    assert (unit.status, unit.route) == (200, route)


class Request:
    """What the middleware looks at."""

    def __init__(self, unit: Unit | None, route: str) -> None:
        """Belong to a unit, if there is one."""
        self.META = {wsgi.ENVIRON_KEY: unit}
        self.resolver_match = type("Match", (), {"route": route})


def test_there_are_only_so_many_routes() -> None:
    """Past the cap a new one is "other", and a known one keeps its name."""
    middleware, unit = RouteMiddleware(lambda request: request), Unit()
    for number in range(MOST_ROUTES + 1):
        middleware.process_view(Request(unit, f"route {number}"), None, None, None)
    assert unit.route == OTHER
    middleware.process_view(Request(unit, "route 7"), None, None, None)
    assert unit.route == "route 7"


def test_what_is_not_measured_is_left_alone() -> None:
    """Without a unit, or with a request that is like no other, nothing happens and nothing is raised."""
    middleware = RouteMiddleware(lambda request: request)
    assert middleware("request") == "request"
    middleware.process_view(Request(None, "a"), None, None, None)
    middleware.process_view(object(), None, None, None)
