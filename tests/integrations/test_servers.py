"""Under real servers, over real sockets: what was measured is what the client saw."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

import pytest
import uvicorn
import waitress  # type: ignore[import-untyped]
from fastapi import BackgroundTasks, FastAPI
from flask import Flask
from flask import Response as FlaskResponse
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from canary_sdk.integrations import asgi, wsgi
from canary_sdk.runtime.scope import ABORTED, UNDECIDED
from tests.integrations.driver import measured

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from starlette.requests import Request
    from starlette.responses import Response

    from canary_sdk import Canary
    from canary_sdk.runtime.scope import Unit

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[tuple[str, int]]:
    """Run uvicorn in this loop and give its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, lifespan="off", log_level="critical", http="h11")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield listening.getsockname()
    finally:
        server.should_exit = True
        await task
        listening.close()


async def request(address: tuple[str, int], *, body: bytes = b"", length: int | None = None) -> Client:
    """Send a request, or only the beginning of one whose `length` is more than that."""
    reader, writer = await asyncio.open_connection(*address)
    method = "GET" if length is None else "POST"
    head = f"{method} / HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {length or len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    return reader, writer


async def ended(unit: Unit) -> None:  # the middleware has no event to wait for
    """Let the loop turn until the unit has ended; the timeout of the test is the limit."""
    while not unit.ended or unit.in_request:  # noqa: ASYNC110 - see above
        await asyncio.sleep(0)


async def test_a_stream_is_whole_and_measured(canary: Canary) -> None:
    """Every piece arrives as it is sent, the first before the last exists."""
    go_on = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        await go_on.wait()
        yield b"last"

    async def page(_: Request) -> Response:
        return StreamingResponse(pieces())

    async with served(asgi.CanaryMiddleware(Starlette(routes=[Route("/", page)]), canary=canary)) as address:
        reader, writer = await request(address)
        assert b"200 OK" in await reader.readuntil(b"first")
        unit = measured(canary)
        assert (unit.streamed, unit.ended) == (True, 0.0)
        go_on.set()
        assert b"last" in await reader.read()
        await ended(unit)
        writer.close()
    assert (unit.status, unit.outcome, unit.route) == (200, UNDECIDED, "/")


async def test_a_client_that_leaves_a_stream_is_no_error(canary: Canary) -> None:
    """The stream is judged by its start, and the application is told as without us."""
    stopped = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"piece"
                await asyncio.sleep(0)
        finally:
            stopped.set()

    async def page(_: Request) -> Response:
        return StreamingResponse(pieces())

    async with served(asgi.CanaryMiddleware(Starlette(routes=[Route("/", page)]), canary=canary)) as address:
        reader, writer = await request(address)
        await reader.readuntil(b"piece")
        unit = measured(canary)
        writer.close()
        await ended(unit)
        assert stopped.is_set()
    assert (unit.status, unit.outcome, unit.streamed) == (200, UNDECIDED, True)


async def test_a_client_that_leaves_while_it_sends_is_an_abort(canary: Canary) -> None:
    """The framework reports it as an exception, and answers 500 to nobody."""
    reading = asyncio.Event()

    async def page(request: Request) -> Response:
        reading.set()
        await request.body()
        return PlainTextResponse("never")

    app = Starlette(routes=[Route("/", page, methods=["POST"])])
    async with served(asgi.CanaryMiddleware(app, canary=canary)) as address:
        _, writer = await request(address, body=b"a part", length=1_000)
        await reading.wait()
        unit = measured(canary)
        writer.close()
        await ended(unit)
    assert unit.outcome == ABORTED


async def test_background_tasks_are_no_part_of_the_response(canary: Canary) -> None:
    """The unit has ended when the client has its answer, while the task still runs."""
    release = asyncio.Event()
    app = FastAPI()

    @app.get("/")
    async def page(tasks: BackgroundTasks) -> str:
        tasks.add_task(release.wait)
        return "answer"

    async with served(asgi.CanaryMiddleware(app, canary=canary)) as address:
        reader, writer = await request(address)
        await reader.readuntil(b'"answer"')
        unit = measured(canary)
        assert unit.ended
        assert unit.in_request
        release.set()
        await ended(unit)
        writer.close()


# --- WSGI ------------------------------------------------------------------------------------------------------------


def flask_app() -> Flask:
    """Build an application with a complete page, a stream, and one that breaks midway."""
    app = Flask(__name__)

    @app.get("/page/<int:number>")
    def page(number: int) -> str:
        return f"page {number}"

    @app.get("/stream")
    def stream() -> FlaskResponse:
        return FlaskResponse(iter(["one", "two", "three"]))

    return app


@contextmanager
def waiting(app: Any) -> Iterator[http.client.HTTPConnection]:
    """Run waitress in a thread and give a connection to it."""
    server: Any = waitress.create_server(app, listen="127.0.0.1:0", threads=1)
    thread = threading.Thread(target=server.run)
    thread.start()
    client = http.client.HTTPConnection("127.0.0.1", server.effective_port, timeout=10)
    try:
        yield client
    finally:
        client.close()
        server.trigger.pull_trigger(server.close)  # in its own loop, which then has nothing left to wait for
        thread.join()
        server.task_dispatcher.shutdown()


@pytest.mark.parametrize(
    ("path", "body", "route", "streamed"),
    [
        ("/page/7", b"page 7", "/page/<int:number>", False),
        ("/stream", b"onetwothree", "/stream", True),
        ("/nothing", None, None, False),
    ],
)
def test_flask_under_waitress(canary: Canary, path: str, body: bytes | None, route: str | None, streamed: bool) -> None:
    """The client gets what Flask sent, and the unit has its status and route."""
    with waiting(wsgi.CanaryMiddleware(flask_app(), canary=canary)) as client:
        client.request("GET", path)
        response = client.getresponse()
        received = response.read()
    unit = measured(canary)
    assert body in (None, received)
    assert (unit.status, unit.route, unit.streamed) == (response.status, route, streamed)
    assert unit.ended


class Quiet(WSGIRequestHandler):
    """Says nothing on standard error."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.filterwarnings("ignore::wsgiref.validate.WSGIWarning")
def test_the_reference_server_finds_the_protocol_kept(canary: Canary, method: str) -> None:
    """The standard library serves it, with its validator on both sides of the middleware."""

    def app(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
        return iter([b"one", b"two"]) if method == "GET" else []

    checked: Any = validator(wsgi.CanaryMiddleware(validator(app), canary=canary))
    with make_server("127.0.0.1", 0, checked, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        client = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        client.request(method, "/?a=b")
        response = client.getresponse()
        assert response.read() == (b"onetwo" if method == "GET" else b"")
        thread.join()
        client.close()
    unit = measured(canary)
    assert (unit.status, unit.outcome) == (200, UNDECIDED)
    assert unit.ended
