"""Serves an example on the loopback, and tells each unit of work that ended: a line of JSON each, after the port.

    python serve.py fastapi_app:app uvicorn

It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import threading
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from canary_sdk import Canary, Evaluation
    from canary_sdk.core.events import Event
    from canary_sdk.ports import Ended


class Teller:
    """Tells what is counted."""

    def handle(self, event: Event) -> None:
        """Say nothing of it."""

    def finished(self, evaluations: Sequence[Evaluation], ended: Ended) -> None:
        """Write a line."""
        arms = {each.flag_key: each.role for each in evaluations}
        print(json.dumps({"arms": arms, "route": ended.route, "status": ended.status}), flush=True)


def uvicorn(app: Any, listening: socket.socket) -> None:
    """Serve ASGI."""
    from uvicorn import Config, Server

    Server(Config(app, log_level="critical", lifespan="auto")).run([listening])


def waitress(app: Any, listening: socket.socket) -> None:
    """Serve WSGI."""
    from waitress import serve  # type: ignore[import-untyped]

    serve(app, sockets=[listening], threads=2)


def aiohttp(app: Any, listening: socket.socket) -> None:
    """Serve aiohttp's own kind."""
    from aiohttp.web import run_app  # type: ignore[import-not-found,unused-ignore]

    run_app(app, sock=listening, handle_signals=False, print=None, loop=asyncio.new_event_loop())


def grpc(app: Any, address: str) -> None:
    """Serve gRPC."""
    app.add_insecure_port(address)
    app.start()


def grpc_aio(app: Any, address: str) -> None:
    """Serve gRPC on asyncio."""
    asyncio.run(app(address))


HTTP: Final = {"uvicorn": uvicorn, "waitress": waitress, "aiohttp": aiohttp}
"""What serves a socket."""
OTHERS: Final = {"grpc": grpc, "grpc_aio": grpc_aio}
"""What wants to open the port by itself."""


def settle(canary: Canary) -> None:
    """Let every request end: a server may be at one still whose client has its answer."""
    deadline = SYSTEM_CLOCK.monotonic() + 10
    canary.tick()
    while canary.status().open_units and SYSTEM_CLOCK.monotonic() < deadline:
        SYSTEM_CLOCK.pause(0.01)
        canary.tick()


def main(example: str, server: str) -> None:
    """Serve until nobody wants it any more."""
    name, _, attribute = example.partition(":")
    module = import_module(name)
    module.canary.subscribe(Teller())
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", 0))
    host, port = bound.getsockname()
    app = getattr(module, attribute)
    if server in HTTP:
        bound.listen()
        serve = partial(HTTP[server], app, bound)
    else:
        serve = partial(OTHERS[server], app, f"{host}:{port}")  # which is kept for it, as long as nobody listens there
    print(port, flush=True)
    threading.Thread(target=serve, daemon=True).start()
    sys.stdin.read()
    settle(module.canary)
    module.canary.close()
    sys.stdout.flush()
    os._exit(0)  # the servers were not made to end in a thread


if __name__ == "__main__":
    main(*sys.argv[1:])
