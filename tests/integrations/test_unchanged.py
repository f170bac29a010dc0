"""Whatever an application does, the server sees the same with the middleware as without it."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from canary_sdk.integrations import asgi, wsgi
from tests.integrations.driver import http, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from canary_sdk import Canary

KINDS = [
    "http.response.start",
    "http.response.body",
    "http.response.trailers",
    "http.response.early_hint",
    "http.response.pathsend",
    "http.response.zerocopysend",
    "http.response.push",
    "http.response.debug",
    "unheard-of",
]
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.binary(max_size=3)
MESSAGES = (
    st.fixed_dictionaries(
        {"type": st.sampled_from(KINDS)},
        optional={"status": st.integers(100, 599) | SCALARS, "more_body": st.booleans(), "body": SCALARS},
    )
    | st.dictionaries(st.text(max_size=4), SCALARS, max_size=2)
    | SCALARS
)
RAISED = st.sampled_from([None, RuntimeError, OSError, KeyboardInterrupt, GeneratorExit, SystemExit])
RUNS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


class Recorder:
    """A server that writes down what it is told, and may fail at a message."""

    def __init__(self, fails_at: int) -> None:
        self.log: list[object] = []
        self._fails_at = fails_at

    def note(self, *what: object) -> None:
        """Write down, or fail."""
        self.log.append(what)
        if len(self.log) == self._fails_at:
            raise ConnectionResetError

    async def send(self, message: Any) -> None:
        """Take a message."""
        self.note("sent", message)

    async def receive(self) -> dict[str, Any]:
        """Give one."""
        self.note("asked")
        return {"type": "http.request"}

    def start_response(self, *arguments: Any) -> Any:
        """Take a status."""
        self.note("started", *arguments)
        return lambda chunk: self.note("written", chunk)


@RUNS
@given(messages=st.lists(MESSAGES, max_size=6), error=RAISED, fails_at=st.integers(0, 8), result=SCALARS)
def test_asgi_is_unchanged(
    canary: Canary, messages: list[Any], error: type[BaseException] | None, fails_at: int, result: object
) -> None:
    """The same messages in the same order, the same return value or the same exception, even for nonsense."""
    boom = None if error is None else error()

    async def app(_scope: Any, receive: Any, send: Any) -> object:
        for message in messages:
            await receive()
            await send(message)
        if boom is not None:
            raise boom
        return result

    def story(served: Any) -> tuple[object, ...]:
        recorder = Recorder(fails_at)
        return recorder.log, end_of(lambda: run(served(http(), recorder.receive, recorder.send)), boom)

    assert story(asgi.CanaryMiddleware(app, canary=canary)) == story(app)
    assert all(unit.ended for unit in canary.units.ring.drain(10))


@pytest.mark.parametrize("scope", [{}, {"type": None}, {"type": "vendor"}, None, "http", ()], ids=repr)
def test_what_is_no_request_reaches_the_application(canary: Canary, scope: Any) -> None:
    """Even what is no scope or environ at all, as tests of frameworks use it, and whatever it says of it."""
    given: list[object] = []

    async def app(*arguments: object) -> str:
        given.extend(arguments)
        return "served"

    def wsgi_app(*arguments: object) -> str:
        given.extend(arguments)
        return "served"

    assert run(asgi.CanaryMiddleware(app, canary=canary)(scope, 1, 2)) == "served"  # type: ignore[arg-type]
    served: Any = wsgi.CanaryMiddleware(wsgi_app, canary=canary)(scope, 3)  # type: ignore[arg-type]
    assert "".join(served) == "served"
    assert [given[at] is scope for at in (0, 3)] == [True, True]
    assert given[1:3] == [1, 2]


def end_of(serve: Callable[[], object], boom: BaseException | None) -> tuple[object, ...]:
    """Serve, and return what came of it: a result, or which exception in which context."""
    try:
        return (serve(),)
    except BaseException as raised:  # noqa: BLE001 - it is what the server would see
        return (raised if raised is boom else type(raised), raised.__cause__, raised.__context__)


class Script(NamedTuple):
    """What a WSGI application does."""

    starts: list[str]
    chunks: list[bytes]
    kind: str
    error: BaseException | None

    def app(self, log: list[object]) -> Callable[[Any, Any], Any]:
        """Build the application; its generator logs its end."""

        def begin(start_response: Any) -> None:
            for status in self.starts:
                start_response(status, [])(b"written")

        def fail() -> None:
            if self.error is not None:
                raise self.error

        def pieces(start_response: Any) -> Iterator[bytes]:
            try:
                begin(start_response)
                yield from self.chunks
                fail()
            finally:
                log.append("closed")

        def app(_environ: Any, start_response: Any) -> Any:
            if self.kind == "generator":
                return pieces(start_response)
            begin(start_response)
            fail()
            return {"list": list, "tuple": tuple, "iterator": iter}[self.kind](self.chunks)  # type: ignore[operator]

        return app


SCRIPTS = st.builds(
    Script,
    st.lists(st.sampled_from(["200 OK", "404 Not Found", "503 Out", "nonsense", ""]), max_size=2),
    st.lists(st.binary(max_size=2), max_size=4),
    st.sampled_from(["list", "tuple", "iterator", "generator"]),
    RAISED.map(lambda error: None if error is None else error()),
)


@RUNS
@given(script=SCRIPTS, stops_at=st.integers(0, 5), fails_at=st.integers(0, 8))
def test_wsgi_is_unchanged(canary: Canary, script: Script, stops_at: int, fails_at: int) -> None:
    """The same starts and chunks, closed as often, also where the server stops reading or the body raises midway."""

    def read(recorder: Recorder, body: Any) -> None:
        try:
            for chunk in islice(body, stops_at):
                recorder.note("sent", chunk)
        finally:
            if hasattr(body, "close"):
                body.close()

    def story(wrap: Callable[[Any], Any]) -> tuple[object, ...]:
        recorder = Recorder(fails_at)
        app = wrap(script.app(recorder.log))
        return recorder.log, end_of(lambda: read(recorder, app({}, recorder.start_response)), script.error)

    assert story(lambda app: wsgi.CanaryMiddleware(app, canary=canary)) == story(lambda app: app)
    assert all(unit.ended for unit in canary.units.ring.drain(10))
