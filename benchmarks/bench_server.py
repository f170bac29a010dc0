"""What is left of all that in a server? uvicorn's HTTP protocol, driven in this process, without a socket.

A request is parsed, gets a task of its own, is answered, and the answer is written; only the network is not there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from benchmarks.bench_middleware import FLAGS, LEFT, Passthrough, raw_app, starlette_app
from benchmarks.peers import STARLETTE, made
from benchmarks.race import publish, race
from canary_sdk import connect
from canary_sdk.integrations.asgi import CanaryMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable

    from canary_sdk import Canary

BATCH = 20
REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"


class Wire(asyncio.Transport):
    """A connection that takes what is written, and counts the answers."""

    answers = 0

    def write(self, data: object) -> None:
        """Take it."""
        self.answers += bytes(cast("bytes", data)).count(b"HTTP/1.1 200")

    def get_extra_info(self, name: str, default: object = None) -> object:  # noqa: ARG002 - there is nothing to tell
        """Know nothing."""
        return default

    def is_closing(self) -> bool:
        """Stay."""
        return False

    def pause_reading(self) -> None:
        """Be asked to wait, in vain."""

    def resume_reading(self) -> None:
        """Be asked to go on."""

    def set_protocol(self, protocol: object) -> None:
        """Keep to one protocol."""


def server(app: Any, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """Return what serves a batch of requests on one connection."""
    from uvicorn.config import Config
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    from uvicorn.server import ServerState

    config = Config(app, log_level="critical", access_log=False, lifespan="off", timeout_keep_alive=3_600)
    config.load()
    wire = Wire()

    async def connected() -> HttpToolsProtocol:
        protocol = HttpToolsProtocol(config, ServerState(), {}, _loop=loop)
        protocol.connection_made(wire)
        return protocol

    protocol = loop.run_until_complete(connected())

    async def serve() -> None:
        for _ in range(BATCH):
            answered = wire.answers
            protocol.data_received(REQUEST)
            while wire.answers == answered:  # noqa: ASYNC110 - an event would be a part of what is measured
                await asyncio.sleep(0)

    return lambda: loop.run_until_complete(serve())


def compare(
    canary: Canary, kind: str, make: Callable[[Canary, list[str]], Any], loop: asyncio.AbstractEventLoop
) -> None:
    """Race one kind of application."""
    wraps, missing = made(STARLETTE)
    apps = {
        "bare": make(canary, []),
        "passthrough": Passthrough(make(canary, [])),
        "measured": CanaryMiddleware(make(canary, []), canary=canary),
        "five flags": CanaryMiddleware(make(canary, FLAGS), canary=canary),
        **{name: wrap(make(canary, [])) for name, wrap in wraps.items()},
    }
    names = {f"serve_{number}": server(app, loop) for number, app in enumerate(apps.values())}
    statements = {name: f"serve_{number}()" for number, name in enumerate(apps)}
    results = race(statements, {**names, "drain": lambda: canary.units.ring.drain(LEFT)}, loops=1, before="drain()")
    results = {name: each / BATCH for name, each in results.items()}
    publish(f"In uvicorn: {kind}", results, baseline="bare", missing=missing)


def main() -> None:
    """Race both."""
    import uvloop

    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    with connect("memory:", background=False) as canary:
        canary.apply({"flags": {flag: {"rollout": 25} for flag in FLAGS}})
        canary.tick()
        compare(canary, "raw", raw_app, loop)
        compare(canary, "Starlette", starlette_app, loop)
    loop.close()


if __name__ == "__main__":
    main()
