"""Between the middleware and the application: only the candidate is struck, and every answer is seen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from canary_sdk.integrations.asgi import CanaryMiddleware
from canary_sdk.rehearsal.fault import parse_fault
from canary_sdk.rehearsal.witness import BROKEN_BODY, FaultMiddleware

if TYPE_CHECKING:
    from canary_sdk import Canary
    from canary_sdk.testing import ManualClock

KEY = "new-checkout"


class Application:
    """Asks the flag and answers in two pieces."""

    def __init__(self, canary: Canary) -> None:
        self._canary = canary

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["path"] == "/flagged":
            self._canary.is_enabled(KEY, "user-1")
        await send({"type": "http.response.start", "status": 201, "headers": [(b"x-shop", b"1")]})
        await send({"type": "http.response.body", "body": b"half, ", "more_body": True})
        await send({"type": "http.response.body", "body": b"half"})


@pytest.fixture
def witness(canary: Canary, clock: ManualClock) -> FaultMiddleware:
    """An application under drill, with the candidate released to everybody."""
    release(canary, 100)
    return FaultMiddleware(Application(canary), flag_key=KEY, current_unit=canary.current_unit, clock=clock)


def release(canary: Canary, percent: float) -> None:
    """Set the rollout."""
    canary.apply({"flags": {KEY: {"rollout": percent}}})


async def ask(canary: Canary, witness: FaultMiddleware, path: str = "/flagged") -> list[dict[str, Any]]:
    """Send one request and return the messages of its answer."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(dict(message))

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    await CanaryMiddleware(witness, canary=canary)(scope, receive, send)
    return sent


def body(messages: list[dict[str, Any]]) -> bytes:
    """Join what the client was sent."""
    return b"".join(message.get("body", b"") for message in messages)


async def test_without_a_fault_nothing_is_touched(canary: Canary, witness: FaultMiddleware) -> None:
    """Every message passes as it is; the answer is seen with its status."""
    messages = await ask(canary, witness)
    assert [message["type"].rpartition(".")[2] for message in messages] == ["start", "body", "body"]
    assert (messages[0]["status"], body(messages)) == (201, b"half, half")
    (sighting,) = witness.seen()
    assert (sighting.is_candidate, sighting.status, witness.strikes) == (True, 201, 0)


async def test_an_error_replaces_the_whole_answer(canary: Canary, witness: FaultMiddleware) -> None:
    """The client gets one complete 500, nothing of the application's body, and the unit of work counts as failed."""
    witness.fault = parse_fault("errors=100%")
    messages = await ask(canary, witness)
    assert (messages[0]["status"], body(messages)) == (500, BROKEN_BODY)
    assert dict(messages[0]["headers"])[b"content-length"] == str(len(BROKEN_BODY)).encode()
    assert len(messages) == 2
    (unit,) = canary.units.ring.drain(10)
    assert unit.status == 500
    assert witness.seen()[0].is_error


async def test_latency_delays_the_answer_and_keeps_it(canary: Canary, witness: FaultMiddleware) -> None:
    """A struck request starts its answer that much later, and is otherwise as it was."""
    witness.fault = parse_fault("latency=5ms@100%")
    began = asyncio.get_running_loop().time()
    messages = await ask(canary, witness)
    assert asyncio.get_running_loop().time() - began >= 0.005
    assert (messages[0]["status"], body(messages)) == (201, b"half, half")


async def test_a_hanging_request_has_not_begun_to_answer(canary: Canary, witness: FaultMiddleware) -> None:
    """While it hangs nothing was sent, but the strike is known; going away ends it."""
    witness.fault = parse_fault("hang=100%")
    hanging = asyncio.create_task(ask(canary, witness))
    while not witness.strikes:  # noqa: ASYNC110 - the witness tells nobody
        await asyncio.sleep(0)
    assert not hanging.done()
    assert not witness.seen()
    assert witness.last_candidate is not None, "who was given the candidate is known although nothing was answered"
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging


async def test_half_the_requests_means_every_other_one(canary: Canary, witness: FaultMiddleware) -> None:
    """Strikes are counted, not drawn: the same requests are struck in every run."""
    witness.fault = parse_fault("errors=50%")
    statuses = [(await ask(canary, witness))[0]["status"] for _ in range(6)]
    assert statuses == [500, 201, 500, 201, 500, 201]
    assert witness.strikes == 3


async def test_the_baseline_is_never_struck(canary: Canary, witness: FaultMiddleware) -> None:
    """Who was given the baseline is left alone, and seen on its own side; so is everybody once the flag is off."""
    witness.fault = parse_fault("errors=100%")
    release(canary, 0)
    assert (await ask(canary, witness))[0]["status"] == 201
    release(canary, 100)
    canary.kill(KEY, reason="test")
    assert (await ask(canary, witness))[0]["status"] == 201
    assert [sighting.is_candidate for sighting in witness.seen()] == [False, False]


async def test_a_request_that_did_not_meet_the_flag_is_none_of_its_business(
    canary: Canary, witness: FaultMiddleware
) -> None:
    """It is neither struck nor seen."""
    witness.fault = parse_fault("errors=100%")
    assert (await ask(canary, witness, path="/other"))[0]["status"] == 201
    assert not witness.seen()


async def test_the_first_strike_is_remembered(canary: Canary, witness: FaultMiddleware, clock: ManualClock) -> None:
    """From it the time to the trip is counted."""
    witness.fault = parse_fault("errors=100%")
    clock.advance(2)
    first = clock.monotonic()
    await ask(canary, witness)
    clock.advance(2)
    await ask(canary, witness)
    assert witness.first_strike == first


async def test_what_is_no_request_passes(canary: Canary) -> None:
    """Lifespan and WebSocket traffic reaches the application untouched."""
    seen: list[str] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    witness = FaultMiddleware(app, flag_key=KEY, current_unit=canary.current_unit)
    await witness({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]
