"""The WSGI middleware measures what the client saw, returns bodies as they are, and closes them once."""

from __future__ import annotations

import gc
import io
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest
from starlette.requests import ClientDisconnect

from canary_sdk.integrations.wsgi import CanaryMiddleware
from canary_sdk.runtime.scope import ABORTED, FAILED, GOOD, UNDECIDED
from tests.integrations.driver import measured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from canary_sdk import Canary
    from canary_sdk.testing import ManualClock

    App = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Server:
    """A server's side of one request: what it was told, in the order it came."""

    def __init__(self) -> None:
        self.started: list[tuple[object, ...]] = []
        self.written: list[bytes] = []

    def start_response(self, *arguments: Any) -> Callable[[bytes], object]:
        """Take a status and headers; refuse a second time unless it comes with an exception, which it raises late."""
        if self.started and len(arguments) < 3:
            raise AssertionError("headers already set")
        if self.written and len(arguments) == 3:
            raise arguments[2][1]
        self.started.append(arguments)
        return self.written.append

    def call(self, app: App, **environ: Any) -> Iterable[bytes]:
        """Call the application and return its body, not yet read."""
        return app({"REQUEST_METHOD": "GET", **environ}, self.start_response)

    def serve(self, app: App, **environ: Any) -> list[bytes]:
        """Read and close the body as PEP 3333 asks."""
        body: Any = self.call(app, **environ)
        try:
            for chunk in body:
                self.written.append(chunk)
        finally:
            if hasattr(body, "close"):
                body.close()
        return self.written


class Body:
    """A body that counts how often it is closed, and may fail anywhere."""

    def __init__(self, *chunks: bytes, breaks: bool = False, close_breaks: bool = False) -> None:
        self.chunks = chunks
        self.breaks = breaks
        self.close_breaks = close_breaks
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield from self.chunks
        if self.breaks:
            raise KeyError

    def close(self) -> None:
        """Count."""
        self.closed += 1
        if self.close_breaks:
            raise KeyError


def answers(body: Iterable[bytes], status: str = "200 OK") -> App:
    """Build an application that answers with this body."""

    def app(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response(status, [])
        return body

    return app


# --- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [[b"one", b"two"], (b"one",), []], ids=["list", "tuple", "empty"])
def test_a_complete_body_is_returned_as_it_is(canary: Canary, clock: ManualClock, body: Any) -> None:
    """It is the application's own object, and goes out when the application returns it, where its clock stops."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        clock.advance(0.2)
        start_response("201 Created", [])
        clock.advance(0.3)
        assert environ["canary.unit"] is canary.current_unit()
        return body  # type: ignore[no-any-return]

    assert Server().call(CanaryMiddleware(app, canary=canary)) is body
    unit = measured(canary)
    assert (unit.status, unit.outcome, unit.streamed) == (201, UNDECIDED, False)
    assert unit.responded - unit.started == unit.ended - unit.started == pytest.approx(0.5)
    assert canary.current_unit() is None


def test_a_generator_body_is_timed_to_its_close(canary: Canary, clock: ManualClock) -> None:
    """It starts with its first chunk, more than one make a stream, and the unit is current while it runs."""

    def app(_environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        unit = canary.current_unit()
        clock.advance(1)
        yield b"one"
        assert canary.current_unit() is unit is not None
        clock.advance(1)
        yield b"two"
        clock.advance(1)
        yield b"three"

    server = Server()
    assert server.serve(CanaryMiddleware(app, canary=canary)) == [b"one", b"two", b"three"]
    assert server.started == [("200 OK", [])]
    unit = measured(canary)
    assert (unit.responded - unit.started, unit.ended - unit.started, unit.streamed) == (1, 3, True)
    assert canary.current_unit() is None


@pytest.mark.parametrize("chunks", [(), (b"one",)])
def test_one_chunk_is_no_stream(canary: Canary, chunks: tuple[bytes, ...]) -> None:
    """A framework's own body object mostly holds one."""
    assert Server().serve(CanaryMiddleware(answers(Body(*chunks)), canary=canary)) == list(chunks)
    assert not measured(canary).streamed


def test_the_servers_own_file_wrapper_is_returned_as_it_is(canary: Canary) -> None:
    """Servers tell by its type that they may send the file themselves."""
    body = FileWrapper(io.BytesIO(b"file"))
    app = CanaryMiddleware(answers(body), canary=canary)
    assert Server().call(app, **{"wsgi.file_wrapper": FileWrapper}) is body
    assert measured(canary).ended


def test_a_file_that_a_function_has_wrapped_is_returned_as_it_is(canary: Canary) -> None:
    """Where the wrapper is no class, the server tells by the file's identity."""
    file: Any = io.BytesIO(b"file")
    app = CanaryMiddleware(answers(file), canary=canary)
    assert Server().call(app, **{"wsgi.file_wrapper": lambda each: each}) is file
    assert measured(canary).ended


def test_what_is_no_file_is_not_taken_for_one(canary: Canary) -> None:
    """A body like any other is wrapped, though the server has a short way for files."""
    body = Body(b"no file")
    app = CanaryMiddleware(answers(body), canary=canary)
    wrapped = Server().call(app, **{"wsgi.file_wrapper": lambda each: each})
    assert wrapped is not body
    assert not measured(canary).ended


def test_a_file_where_the_server_knows_no_short_way_is_read_and_closed(canary: Canary) -> None:
    """Without a file wrapper it is a body like any other."""
    file: Any = io.BytesIO(b"one\ntwo")
    assert Server().serve(CanaryMiddleware(answers(file), canary=canary)) == [b"one\n", b"two"]
    assert file.closed


class Sized(Body):
    """A body that knows how many chunks it has."""

    def __len__(self) -> int:
        return len(self.chunks)


def test_a_body_with_a_length_keeps_it(canary: Canary) -> None:
    """Servers take a length of one for a known content length, and no length for an unknown one."""
    sized: Any = Server().call(CanaryMiddleware(answers(Sized(b"one")), canary=canary))
    unsized = Server().call(CanaryMiddleware(answers(Body(b"one")), canary=canary))
    assert len(sized) == 1
    assert not hasattr(unsized, "__len__")


# --- ways out --------------------------------------------------------------------------------------------------------


def test_a_body_that_is_a_response_still_shows_it(canary: Canary) -> None:
    """What others read of a body, such as Django's status code, is read through ours; what is missing is missing."""

    class Response(Body):
        """A body that is more than one."""

        status_code = 404

    body = Response(b"x")
    wrapped: Any = Server().call(CanaryMiddleware(answers(body), canary=canary))
    assert (wrapped.status_code, wrapped.closed) == (404, 0)
    assert not hasattr(wrapped, "read")
    wrapped.close()
    assert wrapped.closed == 1


def test_a_body_is_closed_exactly_once(canary: Canary) -> None:
    """A server that closes twice, or never iterates, closes the application's body once."""
    body = Body(b"x")
    wrapped: Any = Server().call(CanaryMiddleware(answers(body), canary=canary))
    assert not measured(canary).ended
    wrapped.close()
    wrapped.close()
    assert body.closed == 1
    assert canary.current_unit() is None


def test_a_body_without_close_needs_none(canary: Canary) -> None:
    """An iterator that is no generator ends as well."""
    assert Server().serve(CanaryMiddleware(answers(iter([b"one"])), canary=canary)) == [b"one"]
    assert measured(canary).ended


def test_an_exception_in_the_middle_of_a_body_is_an_error(canary: Canary, clock: ManualClock) -> None:
    """The status was 200, but the client never got the rest; the clock stops there, and the body is closed once."""
    body = Body(b"one", b"two", b"three", breaks=True)
    with pytest.raises(KeyError) as caught:
        Server().serve(CanaryMiddleware(answers(body), canary=canary))
    unit = measured(canary)
    assert (unit.outcome, body.closed) == (FAILED, 1)
    assert caught.value.__context__ is None
    assert canary.current_unit() is None


def test_an_exception_while_closing_is_an_error(canary: Canary) -> None:
    """It reaches the server, which closes no second time."""
    body = Body(b"one", close_breaks=True)
    with pytest.raises(KeyError):
        Server().serve(CanaryMiddleware(answers(body), canary=canary))
    assert (measured(canary).outcome, body.closed) == (FAILED, 1)
    assert canary.current_unit() is None


@pytest.mark.parametrize("body", [[b"one"], Body(b"one"), Body(close_breaks=True)], ids=["list", "wrapped", "breaks"])
def test_what_was_current_before_a_request_is_current_after_it(canary: Canary, body: Any) -> None:
    """A server that works inside a unit of its own finds it again, and nothing is left in the request's."""
    with canary.scope("server") as outer:
        with suppress(KeyError):
            Server().serve(CanaryMiddleware(answers(body), canary=canary, key=lambda _: "user-1"))
        assert canary.current_unit() is outer
    _, unit = canary.units.ring.drain(2)
    assert (unit.is_over, unit.subject) == (True, None)


def test_a_server_that_stops_midway_is_no_error(canary: Canary) -> None:
    """It closes the body when the client has left: the status decides, and the generator is closed."""
    ended = []

    def app(_environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            yield from (b"one", b"two", b"three", b"four")
        finally:
            ended.append(True)

    body: Any = Server().call(CanaryMiddleware(app, canary=canary))
    chunks = iter(body)
    assert [next(chunks), next(chunks), next(chunks)] == [b"one", b"two", b"three"]
    body.close()
    assert ended
    unit = measured(canary)
    assert (unit.outcome, unit.status, unit.streamed) == (UNDECIDED, 200, True)


@pytest.mark.parametrize("reads", [False, True])
def test_a_server_that_never_closes_leaves_it_to_the_garbage_collector(canary: Canary, reads: bool) -> None:
    """The unit ends with its body, in whatever thread that is, and without a word to anybody else's unit."""
    waiting: list[Iterable[bytes]] = [Server().call(CanaryMiddleware(answers(Body(b"x")), canary=canary))]
    unit = measured(canary)
    if reads:
        assert list(waiting[0]) == [b"x"]
    assert not unit.ended

    def collect() -> None:
        with canary.scope("another's") as other:
            waiting.clear()
            assert canary.current_unit() is other

    thread = threading.Thread(target=collect)
    thread.start()
    thread.join()
    assert unit.ended
    assert unit.outcome == UNDECIDED
    assert not canary.failures.counts


# --- the start of a response -----------------------------------------------------------------------------------------


def test_a_late_start_is_seen(canary: Canary) -> None:
    """A generator calls `start_response` when the server asks for its first chunk."""

    def app(_environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("503 Service Unavailable", [])
        yield b""

    Server().serve(CanaryMiddleware(app, canary=canary))
    unit = measured(canary)
    assert (unit.status, unit.outcome) == (503, UNDECIDED)


def test_a_second_start_replaces_the_first(canary: Canary) -> None:
    """An application that notices its failure in time says so with `exc_info`; the client sees the second status."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        try:
            environ["missing"]
        except KeyError:
            start_response("500 Internal Server Error", [], sys.exc_info())
        return [b"sorry"]

    server = Server()
    server.serve(CanaryMiddleware(app, canary=canary))
    first, second = server.started
    assert (first, second[:2]) == (("200 OK", []), ("500 Internal Server Error", []))
    assert len(second) == 3
    assert measured(canary).status == 500


def test_a_second_start_that_comes_too_late_raises_what_went_wrong(canary: Canary) -> None:
    """The server re-raises once the headers are out; the first status was what the client saw."""
    boom = KeyError()

    def app(_environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"one"
        start_response("500 Internal Server Error", [], (KeyError, boom, None))

    with pytest.raises(KeyError) as caught:
        Server().serve(CanaryMiddleware(app, canary=canary))
    assert caught.value is boom
    unit = measured(canary)
    assert (unit.status, unit.outcome) == (200, FAILED)


def test_a_response_that_never_starts_is_an_error(canary: Canary) -> None:
    """Servers turn it into a failure of theirs."""
    Server().serve(CanaryMiddleware(lambda _environ, _start: [], canary=canary))
    assert measured(canary).outcome == FAILED


def test_the_write_callable_is_the_servers_own(canary: Canary) -> None:
    """What is written reaches the server directly."""
    server = Server()

    def app(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        write(b"one")
        return []

    assert server.serve(CanaryMiddleware(app, canary=canary)) == [b"one"]


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("started", "error", "outcome"),
    [
        (False, KeyError(), FAILED),
        (True, KeyError(), FAILED),
        (False, SystemExit(), ABORTED),
        (True, SystemExit(), UNDECIDED),
        (False, ClientDisconnect(), ABORTED),
        (False, ExceptionGroup("several", [ClientDisconnect()]), ABORTED),
        (False, ExceptionGroup("several", [ClientDisconnect(), KeyError()]), FAILED),
    ],
)
def test_what_was_raised_is_classified_by_state_and_content(
    canary: Canary, started: bool, error: BaseException, outcome: int
) -> None:
    """A client that went away is no error; a failure is one; the object stays itself."""

    def app(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if started:
            start_response("200 OK", [])
        raise error

    with pytest.raises(type(error)) as caught:
        Server().serve(CanaryMiddleware(app, canary=canary))
    assert caught.value is error
    assert error.__context__ is error.__cause__ is None
    assert measured(canary).outcome == outcome
    assert canary.current_unit() is None


@pytest.mark.parametrize(
    ("status", "breaks", "verdict", "outcome"),
    [(404, False, True, FAILED), (503, False, False, GOOD), (200, True, False, GOOD), (200, True, True, FAILED)],
)
def test_the_application_says_what_an_error_is(
    canary: Canary, status: int, breaks: bool, verdict: bool, outcome: int
) -> None:
    """`is_error` is asked once, with the status and what came out of the body."""
    asked: list[tuple[int, type | None]] = []

    def is_error(code: int, exception: BaseException | None) -> bool:
        asked.append((code, exception and type(exception)))  # type: ignore[arg-type]
        return verdict

    app = CanaryMiddleware(answers(Body(b"x", breaks=breaks), f"{status} X"), canary=canary, is_error=is_error)
    if breaks:
        with pytest.raises(KeyError):
            Server().serve(app)
    else:
        Server().serve(app)
    assert asked == [(status, KeyError if breaks else None)]
    assert measured(canary).outcome == outcome


def test_a_client_that_left_is_nothing_to_ask_about(canary: Canary) -> None:
    """An abort is neither good nor bad, whatever the application calls an error."""

    def app(_environ: dict[str, Any], _start_response: Any) -> Iterable[bytes]:
        raise ClientDisconnect

    with pytest.raises(ClientDisconnect):
        Server().serve(CanaryMiddleware(app, canary=canary, is_error=lambda *_: True))
    assert measured(canary).outcome == ABORTED


def broken(*_: object, **__: object) -> Any:
    """Fail, as a part of ours might."""
    raise RuntimeError("ours")


@pytest.mark.parametrize("part", ["open_request", "enter", "leave"])
def test_a_broken_part_of_ours_changes_nothing(canary: Canary, part: str) -> None:
    """The request goes on, the failure is counted, and no unit is left that looks like a request that hangs."""
    app = CanaryMiddleware(answers(Body(b"one", b"two")), canary=canary)
    canary.status()
    setattr(canary.units, part, broken)
    server = Server()
    assert server.serve(app) == [b"one", b"two"]
    assert server.started == [("200 OK", [])]
    assert canary.failures.counts == {f"{'closing' if part == 'leave' else 'opening'} a request": 1}
    units = canary.units.ring.drain(10)
    assert all(unit.ended for unit in units)
    if part == "enter":
        assert [(unit.outcome, unit.ended - unit.started) for unit in units] == [(ABORTED, 0.0)]


@pytest.mark.parametrize("part", ["", "open_request", "enter"])
def test_the_application_gets_what_the_server_gave(canary: Canary, part: str) -> None:
    """The very environ, without a trace of a unit that could not be opened; also from the inner one of two."""
    given: list[object] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        given.extend((environ, "canary.unit" in environ))
        return answers([b"one"])(environ, start_response)

    canary.status()
    setattr(canary.units, part, broken)
    environ: dict[str, Any] = {"REQUEST_METHOD": "GET"}
    twice = CanaryMiddleware(CanaryMiddleware(app, canary=canary), canary=canary)
    assert twice(environ, Server().start_response) == [b"one"]
    assert given == [environ, not part]
    assert given[0] is environ


def test_a_body_that_cannot_be_wrapped_is_returned_as_it_is(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure is counted where it belongs."""
    body = Body(b"one")
    app = CanaryMiddleware(answers(body), canary=canary)
    monkeypatch.setattr(app, "_returned", broken)
    assert Server().call(app) is body
    assert canary.failures.counts == {"returning a body": 1}


def test_a_failure_on_top_of_a_failure_changes_nothing(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither when a unit can be neither opened nor forgotten, nor when it cannot even be closed."""
    app = CanaryMiddleware(answers(Body(b"one")), canary=canary)
    for part in ("respond", "close"):
        monkeypatch.setattr(app, part, broken)
    assert Server().serve(app) == [b"one"]
    Server().call(app)
    gc.collect()
    canary.status()
    canary.units.enter = broken
    monkeypatch.setattr("canary_sdk.integrations.wsgi.abandon", broken)
    assert Server().serve(app) == [b"one"]


@pytest.mark.parametrize("body", [None, Body(breaks=True), Body(close_breaks=True)], ids=["call", "body", "close"])
def test_what_the_application_raises_is_not_replaced_by_ours(
    canary: Canary, monkeypatch: pytest.MonkeyPatch, body: Any
) -> None:
    """The server sees the application's exception, also when the unit cannot be closed."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if body is None:
            raise KeyError
        return answers(body)(environ, start_response)

    middleware = CanaryMiddleware(app, canary=canary)
    monkeypatch.setattr(middleware, "close", broken)
    with pytest.raises(KeyError):
        Server().serve(middleware)


def test_a_broken_clock_changes_nothing(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chunks reach the server, and each failure is counted."""
    app = CanaryMiddleware(answers(Body(b"one", b"two")), canary=canary)
    monkeypatch.setattr(app, "_now", broken)
    assert Server().serve(app) == [b"one", b"two"]
    assert set(canary.failures.counts) == {"reading the start of a response", "closing a request"}


def test_a_broken_is_error_leaves_it_to_the_status(canary: Canary) -> None:
    """The request is judged as if nothing had been said."""
    assert Server().serve(CanaryMiddleware(answers([b"one"]), canary=canary, is_error=broken)) == [b"one"]
    assert measured(canary).outcome == UNDECIDED
    assert canary.failures.counts == {"is_error": 1}


def test_a_status_that_is_none_reaches_the_server(canary: Canary) -> None:
    """What an application does wrong, the server is to tell it; here it did not mind."""
    server = Server()
    server.serve(CanaryMiddleware(answers([], "nonsense"), canary=canary))
    assert server.started == [("nonsense", [])]


def test_the_key_function_is_asked_while_the_body_runs(canary: Canary) -> None:
    """`key` sees the environ, once an evaluation brings no key of its own."""
    canary.apply({"flags": {"checkout": {"rollout": 50}}})
    user = next(key for key in map(str, range(100)) if canary.is_enabled("checkout", key))

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        environ["user"] = user
        start_response("200 OK", [])
        yield str(canary.is_enabled("checkout")).encode()

    app_with_key = CanaryMiddleware(app, canary=canary, key=lambda environ: str(environ["user"]))
    assert Server().serve(app_with_key) == [b"True"]


def test_installed_twice_a_request_counts_once(canary: Canary) -> None:
    """The inner installation sees the outer one's unit and steps aside."""
    twice = CanaryMiddleware(CanaryMiddleware(answers([b""]), canary=canary), canary=canary)
    Server().serve(twice)
    measured(canary)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("kind", ["list", "generator"])
@pytest.mark.filterwarnings("ignore::wsgiref.validate.WSGIWarning")
def test_it_keeps_to_the_protocol_on_both_sides(canary: Canary, method: str, kind: str) -> None:
    """The validator of the standard library finds nothing wrong between server, middleware and application."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        body = [b"one", b"two"] if method == "GET" else []
        return body if kind == "list" else iter(body)

    checked: Any = validator(CanaryMiddleware(validator(app), canary=canary))
    environ: dict[str, Any] = {"REQUEST_METHOD": method}
    setup_testing_defaults(environ)
    environ["QUERY_STRING"] = ""
    body = checked(environ, lambda _status, _headers, _exc_info=None: lambda _: None)
    assert b"".join(body) == (b"onetwo" if method == "GET" else b"")
    body.close()
    gc.collect()
    assert measured(canary).ended
