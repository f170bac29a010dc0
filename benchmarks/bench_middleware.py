"""What does the middleware add to a request, beside a class that only passes it through?

    python -m benchmarks.bench_middleware [KIND …]

Nothing folds while the clock runs, because in production that is the ticker's work, ten times a second; what a round
has left in the ring is thrown away before the next.
"""

from __future__ import annotations

import sys
from io import BytesIO
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from benchmarks.peers import ASGI, STARLETTE, WSGI, made
from benchmarks.race import publish, race
from canary_sdk import connect
from canary_sdk.integrations import asgi, wsgi

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from starlette.requests import Request
    from starlette.responses import Response

    from canary_sdk import Canary

    App = Callable[[Any, Any, Any], Awaitable[None]]
    WSGIApp = Callable[[dict[str, Any], Any], Iterable[bytes]]

FLAGS = [f"flag-{number}" for number in range(5)]
LEFT = 200_000
LOOPS = 20

ASGI_SCOPE: dict[str, Any] = {
    "type": "http",
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "root_path": "",
    "headers": [],
    "server": ("test", 80),
    "client": None,
}


ENVIRON: dict[str, Any] = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/",
    "QUERY_STRING": "",
    "SERVER_NAME": "test",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_HOST": "test",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.input": BytesIO(),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}


class Passthrough:
    """The least that an ASGI middleware can be."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass everything through."""
        await self.app(scope, receive, send)


class WSGIPassthrough:
    """The least that a WSGI middleware can be."""

    def __init__(self, app: WSGIApp) -> None:
        self.app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Pass everything through."""
        return self.app(environ, start_response)


def raw_app(canary: Canary, flags: list[str]) -> App:
    """Return a raw application that asks `flags` and answers with two messages."""

    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 - the protocol's signature
        for flag in flags:
            canary.is_enabled(flag, "user-42")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return app


def starlette_app(canary: Canary, flags: list[str]) -> App:
    """Return a Starlette application with one route that asks `flags`."""

    async def page(_: Request) -> Response:
        for flag in flags:
            canary.is_enabled(flag, "user-42")
        return PlainTextResponse("")

    return Starlette(routes=[Route("/", page)])


def fastapi_app(canary: Canary, flags: list[str]) -> App:
    """Return a FastAPI application with one route that asks `flags`."""
    from fastapi import FastAPI

    app = FastAPI()

    async def page() -> PlainTextResponse:
        for flag in flags:
            canary.is_enabled(flag, "user-42")
        return PlainTextResponse("")

    app.get("/", response_class=PlainTextResponse, response_model=None)(page)
    return app


def flask_app() -> WSGIApp:
    """Return a Flask application with one page."""
    from flask import Flask

    app = Flask("bench")
    app.route("/")(lambda: "")
    return app


def django_app() -> WSGIApp:
    """Return a Django application with one page and no middleware of its own."""
    import django
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse
    from django.urls import path

    urls = type("urls", (), {"urlpatterns": [path("", lambda _: HttpResponse(""))]})
    settings.configure(ROOT_URLCONF=urls, ALLOWED_HOSTS=["*"], SECRET_KEY="bench", MIDDLEWARE=[])
    django.setup()
    app: WSGIApp = WSGIHandler()
    return app


def list_app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ARG001 - the protocol's signature
    """Answer with a complete body."""
    start_response("200 OK", [])
    return [b""]


def generator_app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:  # noqa: ARG001 - as above
    """Answer piece by piece."""
    start_response("200 OK", [])
    yield b""


async def ignore(message: object = None) -> None:
    """Stand in for the server's `send` and `receive`."""


def serve(app: App) -> None:
    """Drive one ASGI request to its end without an event loop; nothing in it waits."""
    try:
        app(ASGI_SCOPE.copy(), ignore, ignore).__await__().send(None)
    except StopIteration:
        return


def start(status: str, headers: object) -> None:
    """Stand in for the server's `start_response`."""


def call(app: WSGIApp) -> None:
    """Drive one WSGI request as a server does."""
    body: Any = app(ENVIRON.copy(), start)
    for _ in body:
        pass
    if hasattr(body, "close"):
        body.close()


def main() -> None:
    """Race the applications, each called as a server calls it, one kind of application after the other."""
    with connect("memory:", background=False) as canary:
        canary.apply({"flags": {flag: {"rollout": 25} for flag in FLAGS}})
        canary.tick()
        for kind, (app, peers) in ASGI_KINDS.items():
            if not is_wanted(kind):
                continue
            names = {
                "bare": app(canary, []),
                "passthrough": Passthrough(app(canary, [])),
                "measured": asgi.CanaryMiddleware(app(canary, []), canary=canary),
                "one flag": asgi.CanaryMiddleware(app(canary, FLAGS[:1]), canary=canary),
                "five flags": asgi.CanaryMiddleware(app(canary, FLAGS), canary=canary),
            }
            compare(canary, kind, serve, names, app(canary, []), peers)
        applications = {"Raw WSGI, a list": list_app, "Raw WSGI, a generator": generator_app}
        for kind, wsgi_app in (applications | made({"Flask": flask_app, "Django": django_app})[0]).items():
            if not is_wanted(kind):
                continue
            names = {
                "bare": wsgi_app,
                "passthrough": WSGIPassthrough(wsgi_app),
                "measured": wsgi.CanaryMiddleware(wsgi_app, canary=canary),
            }
            compare(canary, kind, call, names, wsgi_app, WSGI)


ASGI_KINDS: dict[str, tuple[Callable[[Canary, list[str]], App], dict[str, Any]]] = {
    "Raw ASGI": (raw_app, ASGI),
    "Starlette": (starlette_app, STARLETTE),
    "FastAPI": (fastapi_app, {}),
}


def is_wanted(kind: str) -> bool:
    """Whether a kind of application was asked for; all are if none is named."""
    return not sys.argv[1:] or kind in sys.argv[1:]


def compare(
    canary: Canary, kind: str, drive: Callable[[Any], None], names: dict[str, Any], app: Any, peers: dict[str, Any]
) -> None:
    """Race one kind of application, in ours and in the middleware of others, and publish."""
    wraps, missing = made(peers)
    apps = names | {name: wrap(app) for name, wrap in wraps.items()}
    numbered = {f"app_{number}": each for number, each in enumerate(apps.values())}
    statements = {name: f"drive(app_{number})" for number, name in enumerate(apps)}
    context = {**numbered, "drive": drive, "drain": lambda: canary.units.ring.drain(LEFT)}
    results = race(statements, context, loops=LOOPS, before="drain()")
    publish(f"Middleware: {kind}", results, baseline="passthrough", missing=missing)


if __name__ == "__main__":
    main()
