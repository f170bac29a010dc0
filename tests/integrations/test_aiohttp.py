"""Claims about aiohttp's server, over real sockets: what is measured, what passes through, and what is left alone."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from canary_sdk.integrations.aiohttp import setup
from canary_sdk.runtime.scope import ABORTED, FAILED, GOOD, UNDECIDED
from tests.integrations.driver import measured

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from canary_sdk import Canary
    from canary_sdk.testing import ManualClock

    Get = Callable[..., Awaitable[Any]]

pytestmark = pytest.mark.stress  # .ci/run installs aiohttp for these


class Application:
    """An application with a view of each kind, whose requests take as long as the clock is moved."""

    def __init__(self, web: Any, clock: ManualClock) -> None:
        self.app = web.Application()
        self.hangs = asyncio.Event()
        self.web = web
        self.clock = clock
        inner = web.Application()
        inner.router.add_get("/{name}", self.plain)
        self.app.add_subapp("/inner", inner)
        for name in ("plain", "streamed", "refused", "broken", "hanging", "talking"):
            self.app.router.add_get(f"/{name}/{{number}}", getattr(self, name))

    async def plain(self, request: Any) -> Any:
        """Answer after two seconds."""
        self.clock.advance(2)
        return self.web.Response(text="plain")

    async def streamed(self, request: Any) -> Any:
        """Begin after two seconds, and end after ten more."""
        self.clock.advance(2)
        response = self.web.StreamResponse()
        await response.prepare(request)
        self.clock.advance(10)
        await response.write(b"streamed")
        return response

    async def refused(self, request: Any) -> Any:
        """Raise what aiohttp answers."""
        raise self.web.HTTPServiceUnavailable(text="refused")

    async def broken(self, request: Any) -> Any:
        """Fail."""
        raise ZeroDivisionError

    async def hanging(self, request: Any) -> Any:
        """Wait until the client goes away."""
        self.hangs.set()
        await asyncio.Event().wait()

    async def talking(self, request: Any) -> Any:
        """Speak another protocol."""
        socket = self.web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("hello")
        await socket.close()
        return socket


@pytest.fixture
async def application(
    canary: Canary, clock: ManualClock, untested: Callable[[str, bool], None], request: pytest.FixtureRequest
) -> Application:
    """The application, measured."""
    if find_spec("aiohttp") is None:
        untested("aiohttp's server, because aiohttp is not installed", False)
    from aiohttp import web  # type: ignore[import-not-found,unused-ignore]

    made = Application(web, clock)
    if request.node.name == "test_set_up_twice_a_request_counts_once":
        setup(made.app, canary=canary)
    setup(made.app, canary=canary, key=lambda asked: asked.headers["x-user"])
    return made


@pytest.fixture
async def client(application: Application) -> AsyncIterator[Any]:
    """A client of it."""
    from aiohttp.test_utils import TestClient, TestServer

    async with TestClient(TestServer(application.app)) as client:
        client.session.headers["x-user"] = "user-1"
        yield client


@pytest.mark.parametrize(
    ("path", "status", "text", "route", "outcome"),
    [
        ("/plain/7", 200, "plain", "/plain/{number}", UNDECIDED),
        ("/inner/a", 200, "plain", "/inner/{name}", UNDECIDED),
        ("/refused/7", 503, "refused", "/refused/{number}", UNDECIDED),
        ("/broken/7", 500, None, "/broken/{number}", FAILED),
        ("/nowhere", 404, None, None, UNDECIDED),
    ],
)
async def test_a_request_is_measured_and_passed_through(
    canary: Canary, client: Any, path: str, status: int, text: str | None, route: str | None, outcome: int
) -> None:
    """Responses that are returned or raised, failures, subapplications and what no route serves."""
    async with client.get(path) as response:
        assert response.status == status
        assert text in {None, await response.text()}
    unit = measured(canary)
    assert (unit.route, unit.outcome, unit.in_request, unit.streamed) == (route, outcome, False, False)
    assert unit.status == (0 if path == "/broken/7" else status)
    assert unit.ended - unit.started == (2 if text == "plain" else 0)


async def test_a_stream_is_judged_by_its_start(canary: Canary, client: Any) -> None:
    """The time to the start of the response is kept, and that it was streamed."""
    async with client.get("/streamed/7") as response:
        assert await response.text() == "streamed"
    unit = measured(canary)
    assert (unit.streamed, unit.responded - unit.started, unit.ended - unit.started) == (True, 2, 12)


async def test_the_key_and_the_unit_are_the_requests(canary: Canary, application: Application, client: Any) -> None:
    """A flag asked without a key is answered for whom the request names, and marked in its unit."""
    canary.apply({"flags": {"f": {"rollout": 50}}})

    async def asks(request: Any) -> Any:
        return application.web.json_response(canary.is_enabled("f"))

    application.app.router._frozen = False
    application.app.router.add_get("/asks", asks)
    for number in range(20):
        async with client.get("/asks", headers={"x-user": f"user-{number}"}) as response:
            assert await response.json() is canary.is_enabled("f", f"user-{number}")
        assert measured(canary).marks["f"][1] == f"user-{number}"


async def test_a_client_that_left_is_no_error(canary: Canary, application: Application) -> None:
    """A handler that is cancelled ends as an abort."""
    from aiohttp.test_utils import TestClient, TestServer

    async with TestClient(TestServer(application.app, handler_cancellation=True)) as client:
        waiting = asyncio.create_task(client.get("/hanging/7", headers={"x-user": "user-1"}))
        await application.hangs.wait()
        unit = measured(canary)
        waiting.cancel()
        await asyncio.wait([waiting])
    assert unit.outcome == ABORTED


async def test_set_up_twice_a_request_counts_once(canary: Canary, client: Any) -> None:
    """The outer one measures, the inner one does nothing."""
    async with client.get("/plain/7") as response:
        assert response.status == 200
    assert measured(canary).route == "/plain/{number}"


async def test_a_websocket_is_left_alone(canary: Canary, client: Any) -> None:
    """A conversation is no request."""
    async with client.ws_connect("/talking/7") as socket:
        assert await socket.receive_str() == "hello"
    assert canary.units.ring.drain(10) == []


async def test_the_application_may_say_what_an_error_is(
    canary: Canary, clock: ManualClock, application: Application
) -> None:
    """`is_error` is asked with status and exception, unless the client went away."""
    from aiohttp.test_utils import TestClient, TestServer

    other = Application(application.web, clock)
    setup(other.app, canary=canary, is_error=lambda status, _: status == 404)
    async with TestClient(TestServer(other.app, handler_cancellation=True)) as client:
        for path, outcome in (("/nowhere", FAILED), ("/refused/7", GOOD)):
            async with client.get(path):
                assert measured(canary).outcome == outcome
        waiting = asyncio.create_task(client.get("/hanging/7"))
        await other.hangs.wait()
        waiting.cancel()
        await asyncio.wait([waiting])
    assert measured(canary).outcome == ABORTED


async def test_what_fails_in_here_reaches_nobody(canary: Canary, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request goes on unmeasured where it cannot be opened, or closed."""
    for name in ("open_request", "leave"):
        with monkeypatch.context() as broken:
            broken.setattr(canary.units, name, None)
            async with client.get("/plain/7") as response:
                assert response.status == 200
    assert not measured(canary).streamed
    canary.tick()
    assert canary.status().failures == {"opening a request": 1, "closing a request": 1}
