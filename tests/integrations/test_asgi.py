"""The ASGI middleware measures what the client saw, classifies it by its state, and changes nothing."""

from __future__ import annotations

import asyncio
import inspect
import threading
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import trio
import uvicorn
from asgiref.wsgi import WsgiToAsgi
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from canary_sdk.integrations.asgi import CanaryMiddleware
from canary_sdk.runtime.scope import ABORTED, FAILED, GOOD, UNDECIDED
from tests.integrations.driver import CHUNK, LAST, START, exchange, http, hung_up, ignore, measured, receive, run

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping, Sequence

    Message = MutableMapping[str, Any]

    from starlette.requests import Request
    from starlette.responses import Response

    from canary_sdk import Canary
    from canary_sdk.testing import ManualClock
    from tests.integrations.driver import App


def sends(*messages: Message, then: BaseException | None = None) -> App:
    """Build an application that sends `messages`, and then may raise."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
        if then is not None:
            raise then

    return app


def status(code: int) -> Message:
    """Build the start of a response."""
    return {**START, "status": code}


def a(kind: str, **more: Any) -> Message:
    """Build a message."""
    return {"type": f"http.response.{kind}", **more}


# --- forms of a response ---------------------------------------------------------------------------------------------


class Form(NamedTuple):
    """What an application sends, each message a second after the one before, and what is to be measured of it."""

    name: str
    messages: Sequence[Message]
    started_after: int
    ended_after: int
    streamed: bool = False
    status: int = 200


EVENTS = (b"content-type", b"text/event-stream")
FORMS = [
    Form("complete", [START, LAST], 1, 2),
    Form("without a body", [status(204), a("body")], 1, 2, status=204),
    Form("a failure", [status(503), LAST], 1, 2, status=503),
    Form("a stream", [START, CHUNK, CHUNK, LAST], 1, 4, streamed=True),
    Form("server-sent events", [{**START, "headers": [EVENTS]}, CHUNK, LAST], 1, 3, True),
    Form("trailers", [{**START, "trailers": True}, LAST, a("trailers", headers=[], more_trailers=False)], 1, 2),
    Form("early hints", [a("early_hint", links=[b"</style.css>"]), START, LAST], 2, 3),
    Form("an informational start", [status(103), START, LAST], 2, 3),
    Form("a pushed resource", [a("push", path="/x", headers=[]), START, LAST], 2, 3),
    Form("a file by its path", [START, a("pathsend", path="/x")], 1, 2),
    Form("a file by its number", [START, a("zerocopysend", file=3)], 1, 2),
    Form("a file in pieces", [START, a("zerocopysend", file=3, more_body=True), a("zerocopysend", file=3)], 1, 3, True),
    Form("debug information", [a("debug", info={}), START, LAST], 2, 3),
    Form("what nobody has heard of", [a("unheard-of"), START, {"type": "vendor.special"}, LAST, a("later")], 2, 4),
]


@pytest.mark.parametrize("form", FORMS, ids=[form.name for form in FORMS])
def test_every_form_of_response_is_timed_to_its_last_body_byte(canary: Canary, clock: ManualClock, form: Form) -> None:
    """The start and the last body message are noted, and every message reaches the server as the object it was."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        for message in form.messages:
            clock.advance(1)
            await send(message)
        clock.advance(60)

    sent = exchange(CanaryMiddleware(app, canary=canary))
    unit = measured(canary)
    assert len(sent) == len(form.messages)
    assert all(there is here for there, here in zip(sent, form.messages, strict=True))
    assert unit.responded - unit.started == form.started_after
    assert unit.ended - unit.started == form.ended_after
    assert (unit.streamed, unit.status, unit.outcome) == (form.streamed, form.status, UNDECIDED)


def test_a_request_is_recorded_before_it_is_finished(canary: Canary) -> None:
    """A request that hangs can be seen hanging."""
    seen = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        seen.append(measured(canary))
        assert not seen[0].ended
        await send(START)

    exchange(CanaryMiddleware(app, canary=canary))
    assert seen[0].ended


# --- how a request ends ----------------------------------------------------------------------------------------------


class Ending(NamedTuple):
    """What an application sends before it raises, and what that makes of the request."""

    name: str
    messages: Sequence[Message]
    error: Callable[[], BaseException]
    outcome: int


def group(*errors: BaseException) -> Callable[[], BaseException]:
    """Build an exception group."""
    return lambda: BaseExceptionGroup("several", errors)


GONE = asyncio.CancelledError
ENDINGS = [
    Ending("an exception", [], RuntimeError, FAILED),
    Ending("an exception after the start", [START], RuntimeError, FAILED),
    Ending("an exception in a stream", [START, CHUNK], RuntimeError, FAILED),
    Ending("an exception in background work", [START, LAST], RuntimeError, UNDECIDED),
    Ending("a body without a start", [LAST], RuntimeError, FAILED),
    Ending("a cancellation", [], GONE, ABORTED),
    Ending("a cancellation after the start", [START], GONE, UNDECIDED),
    Ending("a cancellation in a stream", [START, CHUNK], GONE, UNDECIDED),
    Ending("a cancellation between hint and response", [status(103)], GONE, ABORTED),
    Ending("an exit", [], SystemExit, ABORTED),
    Ending("an interrupt", [], KeyboardInterrupt, ABORTED),
    Ending("a closed coroutine", [], GeneratorExit, ABORTED),
    Ending("a group of one failure", [], group(ValueError()), FAILED),
    Ending("a group of cancellations", [], group(GONE(), GONE()), ABORTED),
    Ending("a group of cancellations after the start", [START], group(GONE(), GONE()), UNDECIDED),
    Ending("a group with one failure deep inside", [], group(GONE(), group(GONE(), ValueError())()), FAILED),
    Ending("a group of groups of cancellations", [], group(group(GONE())(), GONE()), ABORTED),
    Ending("Starlette's word for a client that left", [], ClientDisconnect, ABORTED),
    Ending("the same in a group", [], group(ClientDisconnect(), GONE()), ABORTED),
    Ending("the same in a stream", [START, CHUNK], ClientDisconnect, UNDECIDED),
    Ending("the application's own broken connection", [], ConnectionResetError, FAILED),
]


@pytest.mark.parametrize("ending", ENDINGS, ids=[ending.name for ending in ENDINGS])
def test_what_was_raised_is_classified_by_state_and_content(canary: Canary, ending: Ending) -> None:
    """A client that went away is no error; a failure is one, until the response is complete; the object stays."""
    error = ending.error()
    with pytest.raises(type(error)) as caught:
        exchange(CanaryMiddleware(sends(*ending.messages, then=error), canary=canary))
    unit = measured(canary)
    assert caught.value is error
    assert error.__context__ is error.__cause__ is None
    assert unit.outcome == ending.outcome
    assert unit.ended
    assert canary.current_unit() is None


@pytest.mark.parametrize("error", [GONE, ClientDisconnect])
def test_a_client_that_left_before_the_first_piece_is_judged_by_the_start(
    canary: Canary, clock: ManualClock, error: type[BaseException]
) -> None:
    """How long it stayed afterwards says nothing of the application."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(START)
        clock.advance(60)
        raise error

    with pytest.raises(error):
        exchange(CanaryMiddleware(app, canary=canary))
    assert measured(canary).streamed


def test_the_traceback_grows_by_one_line(canary: Canary) -> None:
    """Whoever reads it finds one frame of ours, as of any middleware."""

    def lines(app: App) -> int:
        try:
            exchange(app)
        except RuntimeError as error:
            return len(traceback.extract_tb(error.__traceback__))
        return 0

    assert (
        lines(CanaryMiddleware(sends(then=RuntimeError()), canary=canary)) == lines(sends(then=RuntimeError())) + 1 > 1
    )


@pytest.mark.parametrize(("messages", "outcome"), [([START, CHUNK], UNDECIDED), ([status(500), CHUNK], UNDECIDED)])
def test_an_oserror_of_the_servers_send_is_the_client_leaving(
    canary: Canary, messages: list[Message], outcome: int
) -> None:
    """ASGI lets `send` raise one after a disconnect; the application's own failures of that type stay errors."""

    async def send(message: Message) -> None:
        if message is CHUNK:
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        run(CanaryMiddleware(sends(*messages), canary=canary)(http(), receive, send))
    assert measured(canary).outcome == outcome


def test_an_error_page_about_a_client_that_left_is_an_abort(canary: Canary) -> None:
    """Starlette answers 500 to nobody before it raises; the status is not the application's."""

    async def reads(request: Request) -> Response:
        await request.body()
        return PlainTextResponse("never")

    app = CanaryMiddleware(Starlette(routes=[Route("/", reads)]), canary=canary)
    with pytest.raises(ClientDisconnect):
        exchange(app, receive=hung_up)
    unit = measured(canary)
    assert (unit.status, unit.outcome) == (500, ABORTED)


def test_an_error_page_about_a_failure_is_an_error(canary: Canary) -> None:
    """What is being handled while the page is sent is a failure here, and the status says so."""

    async def fails(_: Request) -> Response:
        raise KeyError

    app = CanaryMiddleware(Starlette(routes=[Route("/", fails)]), canary=canary)
    with pytest.raises(KeyError):
        exchange(app)
    unit = measured(canary)
    assert (unit.status, unit.outcome) == (500, UNDECIDED)


class Connection:
    """A server's connection that knows whether its client is still there, like uvicorn's."""

    def __init__(self, *, disconnected: bool) -> None:
        self.disconnected = disconnected

    async def send(self, message: Message) -> None:
        """Take a message."""


@pytest.mark.parametrize(("disconnected", "outcome"), [(False, FAILED), (True, ABORTED)])
def test_no_answer_at_all_is_an_error_unless_nobody_waits_for_it(
    canary: Canary, disconnected: bool, outcome: int
) -> None:
    """Servers turn it into a 500; but some frameworks just return when the client has left."""
    send = Connection(disconnected=disconnected).send
    run(CanaryMiddleware(sends(), canary=canary)(http(), receive, send))
    assert measured(canary).outcome == outcome


def test_a_response_that_stops_midway_is_judged_by_its_start(canary: Canary) -> None:
    """Frameworks stop a stream and return when its client has left."""
    exchange(CanaryMiddleware(sends(START, CHUNK), canary=canary))
    unit = measured(canary)
    assert (unit.outcome, unit.streamed) == (UNDECIDED, True)
    assert unit.ended


# --- what the application calls an error -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "error", "asked", "verdict", "outcome"),
    [
        ([status(404), LAST], None, (404, None), True, FAILED),
        ([status(503), LAST], None, (503, None), False, GOOD),
        ([START, CHUNK], None, (200, None), True, FAILED),
        ([], RuntimeError(), (0, "it"), False, GOOD),
        ([START], RuntimeError(), (200, "it"), True, FAILED),
        ([START], GONE(), (200, None), False, GOOD),
        ([], None, (0, None), False, GOOD),
        ([], GONE(), None, True, ABORTED),
    ],
)
def test_the_application_says_what_an_error_is(
    canary: Canary,
    messages: list[Message],
    error: BaseException | None,
    asked: tuple[int, object] | None,
    verdict: bool,
    outcome: int,
) -> None:
    """`is_error` is asked once, with the status and what was raised, unless the client left before the response."""
    questions: list[tuple[int, object]] = []

    def is_error(code: int, exception: BaseException | None) -> bool:
        questions.append((code, "it" if exception is error is not None else exception))
        return verdict

    app = CanaryMiddleware(sends(*messages, then=error), canary=canary, is_error=is_error)
    if error is None:
        exchange(app)
    else:
        with pytest.raises(type(error)):
            exchange(app)
    assert questions == ([] if asked is None else [asked])
    assert measured(canary).outcome == outcome


@pytest.mark.parametrize(("code", "verdict", "errors"), [(404, True, 1), (503, False, 0), (503, None, 1)])
def test_what_it_says_is_what_the_arm_counts(
    canary: Canary, clock: ManualClock, code: int, verdict: bool | None, errors: int
) -> None:
    """Also where the status would have said otherwise."""
    canary.apply({"flags": {"checkout": {"rollout": 100, "slos": ["errors < 1%"]}}})
    canary.tick()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        assert canary.is_enabled("checkout", "user")
        await send(status(code))
        await send(LAST)

    exchange(CanaryMiddleware(app, canary=canary, is_error=None if verdict is None else lambda *_: verdict))
    clock.advance(1)
    canary.tick()
    assert canary.status().flags["checkout"].candidate.errors == errors


# --- nothing of ours breaks a request --------------------------------------------------------------------------------


def broken(*_: object, **__: object) -> Any:
    """Fail, as a part of ours might."""
    raise RuntimeError("ours")


@pytest.mark.parametrize("part", ["open_request", "enter", "leave"])
@pytest.mark.parametrize("fails", [False, True], ids=["a good request", "a failing one"])
def test_a_broken_part_of_ours_changes_nothing(canary: Canary, part: str, fails: bool) -> None:
    """The request goes on, the failure is counted, and no unit is left that looks like a request that hangs."""
    boom = KeyError() if fails else None
    app = CanaryMiddleware(sends(START, LAST, then=boom), canary=canary)
    canary.is_enabled("wake up")
    before = canary.failures.counts
    setattr(canary.units, part, broken)
    sent: list[Message] = []
    scope = http()

    async def send(message: Message) -> None:
        sent.append(message)

    if boom is None:
        run(app(scope, receive, send))
    else:
        with pytest.raises(KeyError) as caught:
            run(app(scope, receive, send))
        assert caught.value is boom
        assert boom.__context__ is None
    assert sent == [START, LAST]
    assert ("canary" in scope) == (part == "leave")
    assert canary.failures.counts == {**before, f"{'closing' if part == 'leave' else 'opening'} a request": 1}
    units = canary.units.ring.drain(10)
    assert all(unit.ended for unit in units)
    if part == "enter":
        assert [(unit.outcome, unit.ended - unit.started) for unit in units] == [(ABORTED, 0.0)]


@pytest.mark.parametrize("part", ["", "open_request", "enter"])
def test_the_application_gets_what_the_server_gave(canary: Canary, part: str) -> None:
    """The very scope and `receive`, without a trace of a unit that could not be opened; also from the inner of two."""
    given: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        given.extend((scope, receive, "canary" in scope))
        await sends(START, LAST)(scope, receive, send)

    canary.is_enabled("wake up")
    setattr(canary.units, part, broken)
    scope = http()
    run(CanaryMiddleware(CanaryMiddleware(app, canary=canary), canary=canary)(scope, receive, ignore))
    assert given == [scope, receive, not part]
    assert given[0] is scope


@pytest.mark.parametrize("boom", [None, KeyError()], ids=["a good request", "a failing one"])
def test_what_was_current_before_a_request_is_current_after_it(canary: Canary, boom: BaseException | None) -> None:
    """A server that works inside a unit of its own finds it again, and nothing is left in the request's."""
    app = CanaryMiddleware(sends(START, LAST, then=boom), canary=canary, key=lambda _: "user-1")
    with canary.scope("server") as outer:
        with suppress(KeyError):
            exchange(app)
        assert canary.current_unit() is outer
    _, unit = canary.units.ring.drain(2)
    assert (unit.is_over, unit.subject) == (True, None)
    assert canary.failures.counts == {}


def test_a_failure_on_top_of_a_failure_changes_nothing(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither when a unit can be neither opened nor forgotten, nor when it cannot even be closed."""
    app = CanaryMiddleware(sends(START, LAST, then=KeyError()), canary=canary)
    monkeypatch.setattr(app, "_close", broken)
    with pytest.raises(KeyError):
        exchange(app)
    canary.is_enabled("wake up")
    canary.units.enter = broken
    monkeypatch.setattr("canary_sdk.integrations.asgi.abandon", broken)
    assert exchange(CanaryMiddleware(sends(START, LAST), canary=canary)) == [START, LAST]


def test_a_broken_clock_changes_nothing(canary: Canary, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages reach the server, and each failure is counted."""
    app = CanaryMiddleware(sends(START, LAST), canary=canary)
    monkeypatch.setattr(app, "_now", broken)
    assert exchange(app) == [START, LAST]
    assert set(canary.failures.counts) == {"reading a response message", "closing a request"}


def test_a_broken_is_error_leaves_it_to_the_status(canary: Canary) -> None:
    """The request is judged as if nothing had been said."""
    assert exchange(CanaryMiddleware(sends(START, LAST), canary=canary, is_error=broken)) == [START, LAST]
    assert measured(canary).outcome == UNDECIDED
    assert canary.failures.counts == {"is_error": 1}


def test_a_broken_key_serves_the_baseline(canary: Canary) -> None:
    """The evaluation is answered, the failure is counted."""
    canary.apply({"flags": {"checkout": {"rollout": 50}}})

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        assert not canary.is_enabled("checkout")
        await send(START)
        await send(LAST)

    assert exchange(CanaryMiddleware(app, canary=canary, key=broken)) == [START, LAST]
    assert canary.failures.counts == {"evaluating checkout": 1}


def test_a_message_that_is_none_reaches_the_server(canary: Canary) -> None:
    """What an application does wrong, the server is to tell it."""
    nonsense: Any = object()
    assert exchange(CanaryMiddleware(sends(nonsense), canary=canary)) == [nonsense]


# --- who is asked, and how often -------------------------------------------------------------------------------------


def test_installed_twice_a_request_counts_once(canary: Canary) -> None:
    """The inner installation sees the outer one's unit and steps aside."""

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        assert scope["canary"] is canary.current_unit()
        await send(START)
        await send(LAST)

    exchange(CanaryMiddleware(CanaryMiddleware(app, canary=canary), canary=canary))
    measured(canary)


def test_a_mounted_application_that_is_measured_too_counts_once(canary: Canary) -> None:
    """The unit is found in what a framework makes of the scope for its mounted applications."""
    inner = CanaryMiddleware(Starlette(routes=[Route("/page", page)]), canary=canary)
    app = CanaryMiddleware(Starlette(routes=[Mount("/mounted", app=inner)]), canary=canary)
    assert exchange(app, http("/mounted/page"))[0]["status"] == 200
    measured(canary)


async def page(_: Request) -> Response:
    """Answer."""
    return PlainTextResponse("hello")


@pytest.mark.parametrize("kind", ["websocket", "lifespan", "unheard-of"])
def test_other_traffic_is_not_touched(canary: Canary, kind: str) -> None:
    """Everything that is no HTTP request reaches the application with the server's own callables."""
    seen: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend((scope, receive, send))

    scope = {"type": kind}
    run(CanaryMiddleware(app, canary=canary)(scope, receive, ignore))
    assert seen == [scope, receive, ignore]
    assert scope == {"type": kind}
    assert not canary.units.ring.drain(10)


async def test_the_application_runs_where_the_server_called_it(canary: Canary) -> None:
    """Same task, same thread, the server's own `receive`, and what is returned is handed back."""
    here = (asyncio.current_task(), threading.get_ident())

    async def app(_scope: Any, inner: Any, _send: Any) -> Any:
        assert inner is receive
        return (asyncio.current_task(), threading.get_ident())

    result: object = await CanaryMiddleware(app, canary=canary)(http(), receive, ignore)
    assert result == here


async def test_what_is_given_looks_like_what_the_server_gave(canary: Canary) -> None:
    """`send` is a coroutine function, or asgiref would warn where it calls it from a thread; `receive` is the same."""
    given: list[Any] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        given.extend((receive, send))

    await CanaryMiddleware(app, canary=canary)(http(), receive, ignore)
    assert given[0] is receive
    assert inspect.iscoroutinefunction(given[1])

    def wsgi_app(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"x"]

    served = CanaryMiddleware(WsgiToAsgi(wsgi_app), canary=canary)  # type: ignore[no-untyped-call]
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await served(http(), receive, send)
    assert [message.get("body") for message in sent] == [None, b"x", None]


def test_a_server_takes_it_for_asgi_3(canary: Canary) -> None:
    """A server such as uvicorn tells by whether `__call__` is a coroutine function."""
    app = CanaryMiddleware(sends(START, LAST), canary=canary)
    assert inspect.iscoroutinefunction(app.__call__)
    config = uvicorn.Config(app)
    config.load()
    assert config.interface == "asgi3"


def test_the_key_function_is_asked_only_when_it_is_needed(canary: Canary) -> None:
    """`key` sees the scope as the application left it, once an evaluation brings no key of its own."""
    canary.apply({"flags": {"checkout": {"rollout": 50}}})
    asked: list[str] = []

    def key(scope: Any) -> str:
        asked.append(scope["user"])
        return str(scope["user"])

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        canary.is_enabled("checkout", "somebody-else")
        scope["user"] = "user-1"
        await send(START)
        await send(LAST)

    async def keyless(scope: Any, receive: Any, send: Any) -> None:
        scope["user"] = "user-2"
        assert canary.is_enabled("checkout") == expected
        await app(scope, receive, send)

    expected = canary.is_enabled("checkout", "user-2")
    exchange(CanaryMiddleware(app, canary=canary, key=key))
    assert asked == []
    exchange(CanaryMiddleware(keyless, canary=canary, key=key))
    assert asked == ["user-2"]


def somebody(canary: Canary) -> str:
    """Return a key that gets the candidate of a flag at 50 %."""
    canary.apply({"flags": {"checkout": {"rollout": 50}, "later": {"rollout": 50, "salt": "checkout"}}})
    return next(key for key in map(str, range(100)) if canary.is_enabled("checkout", key))


def test_background_work_is_told_what_its_request_was_told(canary: Canary) -> None:
    """After the response the request's key still counts, and so do the answers it was given."""
    user = somebody(canary)
    told: list[bool] = []

    def later() -> None:
        canary.kill("checkout", reason="test")
        told.extend((canary.is_enabled("checkout"), canary.is_enabled("later")))

    async def answers(_: Request) -> Response:
        canary.is_enabled("checkout")
        return PlainTextResponse("", background=BackgroundTask(later_async))

    async def later_async() -> None:
        later()

    app = CanaryMiddleware(Starlette(routes=[Route("/", answers)]), canary=canary, key=lambda _: user)
    exchange(app)
    assert told == [True, True]


async def test_a_task_that_outlives_its_request_is_not_bound_by_it(canary: Canary) -> None:
    """A long-running task that a request started inherits its context, but sees a flag go off."""
    user = somebody(canary)
    over = asyncio.Event()
    tasks: list[asyncio.Task[bool]] = []

    async def outlives() -> bool:
        await over.wait()
        return canary.is_enabled("checkout", user)

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        assert canary.is_enabled("checkout", user)
        tasks.append(asyncio.create_task(outlives()))
        await send(START)
        await send(LAST)

    await CanaryMiddleware(app, canary=canary)(http(), receive, ignore)
    canary.kill("checkout", reason="test")
    over.set()
    assert await tasks[0] is False


# --- loops and threads -----------------------------------------------------------------------------------------------


async def crowd(canary: Canary, expected: dict[str, bool]) -> None:
    """Serve one request for each key, all at once, and compare what each is told, again and again."""

    async def request(key: str) -> None:
        async def app(_scope: Any, _receive: Any, send: Any) -> None:
            for _ in range(5):
                assert canary.is_enabled("checkout", key) == expected[key]
                await asyncio.sleep(0)
            await send(START)
            await send(LAST)

        await CanaryMiddleware(app, canary=canary)(http(), receive, ignore)

    await asyncio.gather(*map(request, expected))
    assert canary.current_unit() is None


def expectations(canary: Canary) -> dict[str, bool]:
    """Return some keys, with what each is told of a flag at 50 %."""
    canary.apply({"flags": {"checkout": {"rollout": 50}}})
    expected = {key: canary.is_enabled("checkout", key) for key in map(str, range(50))}
    assert set(expected.values()) == {True, False}
    return expected


async def test_concurrent_requests_never_share_a_unit(canary: Canary) -> None:
    """Tasks that interleave each keep their own pinned answers."""
    await crowd(canary, expectations(canary))


def test_event_loops_in_several_threads_never_share_a_unit(canary: Canary) -> None:
    """One middleware serves them all."""
    expected = expectations(canary)
    failed: list[BaseException] = []

    def loop() -> None:
        try:
            asyncio.run(crowd(canary, expected))
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=loop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    units = canary.units.ring.drain(1_000)
    assert len(units) == 4 * len(expected)
    assert all(len(unit.marks) == 1 and unit.ended for unit in units)


async def waits(*_: Any) -> None:
    """Wait for ever."""
    await asyncio.Event().wait()


async def test_a_cancelled_task_is_an_abort(canary: Canary) -> None:
    """The client went away: no error."""
    task = asyncio.ensure_future(CanaryMiddleware(waits, canary=canary)(http(), receive, ignore))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert measured(canary).outcome == ABORTED


async def deserted(_scope: Any, _receive: Any, _send: Any) -> None:
    """Wait for ever, on trio."""
    await trio.sleep_forever()


async def failing(_scope: Any, _receive: Any, _send: Any) -> None:
    """Fail in a child task while another waits."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        raise ValueError


@pytest.mark.parametrize(("app", "outcome"), [(deserted, ABORTED), (failing, FAILED), (sends(START, LAST), UNDECIDED)])
def test_it_serves_under_trio_as_well(canary: Canary, app: App, outcome: int) -> None:
    """Nothing in it knows which loop runs it: a cancelled scope is an abort, a group that holds a failure an error."""

    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await CanaryMiddleware(app, canary=canary)(http(), receive, ignore)

    if outcome == FAILED:
        with pytest.raises(ExceptionGroup):
            trio.run(main)
    else:
        trio.run(main)
    assert measured(canary).outcome == outcome


# --- what it is for --------------------------------------------------------------------------------------------------


def test_a_candidate_that_never_answers_is_taken_back(canary: Canary, clock: ManualClock) -> None:
    """Seen while it hangs: no request of the candidate ever ends, and everybody else is answered all the while."""
    canary.apply({"flags": {"checkout": {"rollout": 25, "slos": ["p95 < 500ms", "errors < 1%"]}}})

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        if canary.is_enabled("checkout", scope["path"]):
            await asyncio.Event().wait()
        await send(START)
        await send(LAST)

    measured_app = CanaryMiddleware(app, canary=canary)

    async def serve() -> float:
        """Serve 50 users, each of them once a second, until the flag is off; return how long that took."""
        hanging = []
        for turn in range(100):
            requests = [http(f"/user-{number}") for number in range(turn % 10, 50, 10)]
            hanging += [asyncio.create_task(measured_app(scope, receive, ignore)) for scope in requests]
            await asyncio.sleep(0)
            clock.advance(0.1)
            canary.tick()
            if not canary.breaker("checkout").is_serving:
                break
        assert 5 < sum(not task.done() for task in hanging) < len(hanging)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        return turn / 10

    assert asyncio.run(serve()) <= 5
    assert "if the candidate is worse than the baseline" in canary.breaker("checkout").reason
