"""Serves an ASGI application on loopback from a thread of this process, so that its `Canary` is ours to look at.

The only module here that knows the server. The port is bound before anything starts: one in use is told at once.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.errors import CanaryError

if TYPE_CHECKING:
    from canary_sdk.clock import Clock

HOST: Final = "127.0.0.1"
START_S: Final = 10.0
CLOSE_S: Final = 5.0
KEEP_ALIVE_S: Final = 75


class Serving:
    """An application that is being served. Use as a context manager."""

    def __init__(self, app: Any, port: int = 0, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Bind the port, 0 for a free one. Raises `CanaryError` when it cannot be had."""
        import uvicorn

        self._socket = _bound(port)
        self._clock = clock
        config = uvicorn.Config(
            app,
            log_level="critical",
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="canary-rehearsal-server", daemon=True)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        """Start the thread and wait until it serves."""
        self._thread.start()
        deadline = self._clock.monotonic() + START_S
        while not self._server.started:
            if not self._thread.is_alive() or self._clock.monotonic() > deadline:
                self.__exit__()
                raise CanaryError("the application could not be served")
            self._clock.pause(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving, cut off whatever is still open, and wait for the thread."""
        self._server.should_exit = True
        self._thread.join(CLOSE_S)
        self._socket.close()

    def _run(self) -> None:
        """Serve until told to stop. The server means to end a process of its own when it cannot start."""
        with suppress(SystemExit):
            self._server.run([self._socket])


def _bound(port: int) -> socket.socket:
    """Bind it. The protocol is named, because asyncio only then sends small answers at once (TCP_NODELAY)."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((HOST, port))
        bound.listen(1024)
    except (OSError, OverflowError) as error:
        bound.close()
        raise CanaryError(
            f"port {port} cannot be used: {error}. Choose another with --port, or leave it out for a free one"
        ) from None
    return bound
