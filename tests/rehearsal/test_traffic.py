"""The parent's side: the load driver is started, read, and always gone afterwards; a port in use is told."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from canary_sdk import CanaryError
from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.rehearsal.server import Serving
from canary_sdk.rehearsal.traffic import Load, Traffic
from tests.needs import need

if TYPE_CHECKING:
    from collections.abc import Callable


async def application(scope: Any, _receive: Any, send: Any) -> None:
    """Answer anything."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


def wait_for(what: Callable[[], object]) -> None:
    """Look until it is so, for ten seconds at most."""
    deadline = SYSTEM_CLOCK.monotonic() + 10
    while not what():
        assert SYSTEM_CLOCK.monotonic() < deadline
        SYSTEM_CLOCK.pause(0.02)


def test_traffic_flows_and_is_gone_afterwards() -> None:
    """A served application is asked by a process of its own, whose figures arrive, and which ends with us."""
    load = Load(paths=("GET /?user={user}",), rate=100)
    with Serving(application) as serving:
        with Traffic(serving.url, load) as traffic:
            wait_for(lambda: traffic.seconds)
            traffic.check()
            process = traffic._process
        assert process.returncode == 0
    first = traffic.seconds[0]
    assert first.errors == 0
    assert 0 < len(first.times) <= first.sent <= 120


def test_small_answers_are_sent_at_once() -> None:
    """No answer waits 40 ms for an acknowledgement: a quarter of them takes less, on a busy machine too."""
    with Serving(application) as serving, Traffic(serving.url, Load(paths=("GET /",), rate=100)) as traffic:
        wait_for(lambda: len(traffic.seconds) > 1)
    times = sorted(traffic.seconds[-1].times)
    assert times[len(times) // 4] < 0.04


def test_a_driver_that_ended_is_noticed() -> None:
    """If the process is gone although nobody closed it, that is told with what it said."""
    need("h11")
    with Traffic("http://192.0.2.1:9", Load(paths=("GET /",))) as traffic:
        traffic._process.wait(10)
        with pytest.raises(CanaryError, match="only driven against this machine"):
            traffic.check()


def test_a_port_in_use_is_told_before_anything_starts() -> None:
    """The message names the port and the way out."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CanaryError, match=f"port {port} cannot be used.*--port"):
            Serving(application, port)


def test_an_application_that_does_not_start_is_told() -> None:
    """A lifespan that fails is no server."""

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})

    with pytest.raises(CanaryError, match="could not be served"), Serving(broken):
        pass
