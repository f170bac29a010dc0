"""The ASGI middleware measures what the client saw, classifies it by its state, and changes nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from canary_sdk.integrations.asgi import CanaryMiddleware
from canary_sdk.runtime.scope import ABORTED, FAILED, UNDECIDED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from canary_sdk import Canary
    from canary_sdk.runtime.scope import Unit
    from canary_sdk.testing import ManualClock

    App = Callable[[Any, Any, Any], Awaitable[None]]

START = {"type": "http.response.start", "status": 200, "headers": []}
LAST = {"type": "http.response.body", "body": b"done"}


def http() -> dict[str, Any]:
    """Build a request's scope."""
    return {"type": "http", "method": "GET", "path": "/", "headers": []}


async def serve(canary: Canary, app: App, scope: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Send one request through the middleware and return what the server was sent."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    await CanaryMiddleware(app, canary=canary)(scope or http(), receive, send)
    return sent


def measured(canary: Canary) -> Unit:
    """Return the one unit that was recorded."""
    (unit,) = canary.units.ring.drain(10)
    return unit


async def test_the_clock_stops_at_the_last_body_message(canary: Canary, clock: ManualClock) -> None:
    """Background work after the response is not part of its time; both times are kept."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        clock.advance(0.2)
        await send(START)
        clock.advance(0.3)
        await send(LAST)
        clock.advance(60)

    sent = await serve(canary, app)
    unit = measured(canary)
    assert unit.responded - unit.started == pytest.approx(0.2)
    assert unit.ended - unit.started == pytest.approx(0.5)
    assert (unit.outcome, unit.status, unit.streamed) == (UNDECIDED, 200, False)
    assert sent == [START, LAST]


async def test_a_stream_is_told_from_a_complete_body(canary: Canary) -> None:
    """A first body message that announces more makes the response a stream, passed on message by message."""
    chunk = {"type": "http.response.body", "body": b"x", "more_body": True}

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        for message in (START, chunk, chunk, LAST):
            await send(message)

    assert await serve(canary, app) == [START, chunk, chunk, LAST]
    assert measured(canary).streamed


async def test_an_exception_is_an_error_and_stays_itself(canary: Canary) -> None:
    """What the application raised reaches the server as the same object."""
    boom = RuntimeError("boom")

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        raise boom

    with pytest.raises(RuntimeError) as caught:
        await serve(canary, app)
    assert caught.value is boom
    assert measured(canary).outcome == FAILED


async def test_a_cancellation_before_the_response_is_an_abort(canary: Canary) -> None:
    """The client went away: no error."""

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(serve(canary, app))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert measured(canary).outcome == ABORTED


async def test_a_cancellation_after_the_response_started_is_decided_by_the_status(canary: Canary) -> None:
    """A stream that the client left is judged by its start, not by how it ended."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(START)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await serve(canary, app)
    unit = measured(canary)
    assert (unit.outcome, unit.streamed) == (UNDECIDED, True)


async def test_an_exception_after_a_complete_response_changes_nothing(canary: Canary, clock: ManualClock) -> None:
    """A background task that fails belongs to no request: the client had its answer."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(START)
        await send(LAST)
        clock.advance(5)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await serve(canary, app)
    unit = measured(canary)
    assert unit.outcome == UNDECIDED
    assert unit.ended == unit.started


async def test_an_application_that_never_answers_is_an_error(canary: Canary) -> None:
    """Returning without a response is what servers turn into a 500."""

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        return

    await serve(canary, app)
    assert measured(canary).outcome == FAILED


async def test_a_request_is_recorded_before_it_is_finished(canary: Canary) -> None:
    """A request that hangs can be seen hanging."""
    seen: list[Unit] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        seen.extend(canary.units.ring.drain(10))
        await send(START)

    await serve(canary, app)
    assert len(seen) == 1


async def test_installed_twice_a_request_counts_once(canary: Canary) -> None:
    """The inner installation sees the outer one's unit and steps aside."""

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        assert scope["canary"] is canary.current_unit()
        await send(START)
        await send(LAST)

    await serve(canary, CanaryMiddleware(app, canary=canary))
    measured(canary)


@pytest.mark.parametrize("kind", ["websocket", "lifespan", "unheard-of"])
async def test_other_traffic_is_not_touched(canary: Canary, kind: str) -> None:
    """Everything that is no HTTP request reaches the application with the server's own callables."""
    seen: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend((scope, receive, send))

    async def receive() -> dict[str, Any]:
        return {}

    async def send(_: Any) -> None:
        return

    scope = {"type": kind}
    await CanaryMiddleware(app, canary=canary)(scope, receive, send)
    assert seen == [scope, receive, send]
    assert scope == {"type": kind}


async def test_the_receive_callable_is_the_servers_own(canary: Canary) -> None:
    """Nothing stands between the application and the request body."""

    async def receive() -> dict[str, Any]:
        return {}

    async def send(_: Any) -> None:
        return

    async def app(_scope: Any, inner: Any, _send: Any) -> None:
        assert inner is receive

    await CanaryMiddleware(app, canary=canary)(http(), receive, send)


async def test_the_key_function_is_asked_only_when_it_is_needed(canary: Canary) -> None:
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
    await CanaryMiddleware(app, canary=canary, key=key)(http(), None, _ignore)  # type: ignore[arg-type]
    assert asked == []
    await CanaryMiddleware(keyless, canary=canary, key=key)(http(), None, _ignore)  # type: ignore[arg-type]
    assert asked == ["user-2"]


async def _ignore(_: Any) -> None:
    return


async def test_concurrent_requests_never_share_a_unit(canary: Canary) -> None:
    """Tasks that interleave each keep their own pinned answers."""
    canary.apply({"flags": {"checkout": {"rollout": 50}}})
    keys = [f"user-{number}" for number in range(50)]
    expected = {key: canary.is_enabled("checkout", key) for key in keys}

    async def request(key: str) -> None:
        async def app(_scope: Any, _receive: Any, send: Any) -> None:
            first = canary.is_enabled("checkout", key)
            for _ in range(5):
                await asyncio.sleep(0)
                assert canary.is_enabled("checkout", key) == first == expected[key]
            await send(START)
            await send(LAST)

        await serve(canary, app)

    await asyncio.gather(*(request(key) for key in keys))
    assert {expected[key] for key in keys} == {True, False}
    assert canary.current_unit() is None
