"""The WSGI middleware measures what the client saw, returns bodies as they are, and closes them once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from canary_sdk.integrations.wsgi import CanaryMiddleware
from canary_sdk.runtime.scope import FAILED, UNDECIDED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from canary_sdk import Canary
    from canary_sdk.runtime.scope import Unit
    from canary_sdk.testing import ManualClock

    App = Callable[[dict[str, Any], Any], Iterable[bytes]]


def call(canary: Canary, app: App, environ: dict[str, Any] | None = None) -> Iterable[bytes]:
    """Send one request through the middleware and return the body, not yet read."""
    return CanaryMiddleware(app, canary=canary)(environ if environ is not None else {}, lambda *_: lambda _: None)


def serve(canary: Canary, app: App) -> bytes:
    """Read and close the body as a server does."""
    body = call(canary, app)
    try:
        return b"".join(body)
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()


def measured(canary: Canary) -> Unit:
    """Return the one unit that was recorded."""
    (unit,) = canary.units.ring.drain(10)
    return unit


def test_a_complete_body_is_returned_as_it_is(canary: Canary, clock: ManualClock) -> None:
    """A list body is the application's own object, and its clock stops when the application returns."""
    body = [b"one", b"two"]

    def app(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        clock.advance(0.2)
        start_response("201 Created", [])
        clock.advance(0.3)
        return body

    assert call(canary, app) is body
    unit = measured(canary)
    assert (unit.status, unit.outcome) == (201, UNDECIDED)
    assert unit.responded - unit.started == pytest.approx(0.2)
    assert unit.ended - unit.started == pytest.approx(0.5)
    assert canary.current_unit() is None


def test_a_generator_body_is_timed_to_its_close(canary: Canary, clock: ManualClock) -> None:
    """The unit stays open, and current, while the body runs."""

    def app(_environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        unit = canary.current_unit()
        clock.advance(1)
        yield b"one"
        assert canary.current_unit() is unit is not None
        clock.advance(1)
        yield b"two"

    assert serve(canary, app) == b"onetwo"
    unit = measured(canary)
    assert unit.ended - unit.started == pytest.approx(2)
    assert canary.current_unit() is None


def test_an_exception_in_the_application_is_an_error_and_stays_itself(canary: Canary) -> None:
    """What the application raised reaches the server as the same object."""
    boom = RuntimeError("boom")

    def app(_environ: dict[str, Any], _start_response: Any) -> Iterable[bytes]:
        raise boom

    with pytest.raises(RuntimeError) as caught:
        serve(canary, app)
    assert caught.value is boom
    assert measured(canary).outcome == FAILED
    assert canary.current_unit() is None


def test_an_exception_in_the_middle_of_a_body_is_an_error(canary: Canary) -> None:
    """The status was 200, but the client never got the rest."""

    def app(_environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"one"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        serve(canary, app)
    assert measured(canary).outcome == FAILED


class Body:
    """A body that counts how often it is closed."""

    def __init__(self) -> None:
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield b"x"

    def close(self) -> None:
        """Count."""
        self.closed += 1


def test_a_body_is_closed_exactly_once(canary: Canary) -> None:
    """A server that closes twice, or never iterates, closes the application's body once."""
    body = Body()
    wrapped = call(canary, lambda _environ, _start: body)
    wrapped.close()  # type: ignore[attr-defined]
    wrapped.close()  # type: ignore[attr-defined]
    assert body.closed == 1
    assert measured(canary).ended


def test_a_500_needs_no_exception(canary: Canary) -> None:
    """The status is kept for the fold to judge."""

    def app(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("503 Service Unavailable", [])
        return [b""]

    serve(canary, app)
    assert measured(canary).status == 503


def test_installed_twice_a_request_counts_once(canary: Canary) -> None:
    """The inner installation sees the outer one's unit and steps aside."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        assert environ["canary"] is canary.current_unit()
        start_response("200 OK", [])
        return [b""]

    serve(canary, CanaryMiddleware(app, canary=canary))
    measured(canary)
