"""ASGI middleware: opens a unit of work for each HTTP request and stops its clock at the last body message.

Passes everything through untouched and unbuffered: `receive`, every message, every exception. Background tasks that run
after the response are not part of its time. WebSocket and lifespan traffic is not looked at.

How a request is judged: complete responses by the time to their last body message; streamed ones (the first body
message says that more follows) by the time to the start of the response. A cancellation before the response started is
the client going away, an abort and no error; after the start the status decides, and an exception always is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from canary_sdk.runtime.scope import ABORTED, FAILED, UNDECIDED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from typing import Any

    from canary_sdk.runtime.client import Canary
    from canary_sdk.runtime.scope import Subject, Unit, Units

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

SCOPE_KEY: Final = "canary"
"""Where the unit of work stands in the ASGI scope."""

BODIES: Final = frozenset({"http.response.body", "http.response.zerocopysend", "http.response.pathsend"})
"""Messages that carry a body; one without `more_body` is the last."""

UNMEASURED: Final = "The request went on unmeasured; please report this with its traceback"


class CanaryMiddleware:
    """Measure every HTTP request of `app` and know which flags it met.

    `key(scope)` may return the request's targeting key; it is asked only when an evaluation brings none. Installed
    twice, a request counts once. Threads: any number of event loops in any number of threads.
    """

    def __init__(self, app: App, *, canary: Canary, key: Callable[[Scope], str | None] | None = None) -> None:
        """Wrap `app`."""
        self.app = app
        self._units = canary.units
        self._failures = canary.failures
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or SCOPE_KEY in scope:
            return await self.app(scope, receive, send)
        units = self._units
        try:
            unit = units.open_request(_subject(self._key, scope))
            scope[SCOPE_KEY] = unit
            token = units.enter(unit)
        except Exception as error:  # noqa: BLE001 - ours never reaches the host
            self._failures.note("opening a request", error, UNMEASURED)
            return await self.app(scope, receive, send)
        try:
            return await self.app(scope, receive, self._watched(send, unit, units.now))
        except BaseException as error:
            _settle(unit, units, error)
            raise
        finally:
            _settle(unit, units, None)
            units.leave(token)

    def _watched(self, send: Send, unit: Unit, now: Callable[[], float]) -> Send:
        """Wrap `send` to see the response start and the last body; a plain function, no extra await."""

        def watch(message: Message) -> Awaitable[None]:
            try:
                kind = message["type"]
                if kind == "http.response.start":
                    unit.status = message["status"]
                    unit.responded = now()
                elif kind in BODIES:
                    if message.get("more_body"):
                        unit.streamed = True
                    else:
                        unit.finish(now())
            except Exception as error:  # noqa: BLE001 - ours never reaches the host
                self._failures.note("reading a response message", error, UNMEASURED)
            return send(message)

        return watch


def _subject(key: Callable[[Scope], str | None] | None, scope: Scope) -> Subject:
    return None if key is None else lambda: key(scope)


def _settle(unit: Unit, units: Units, error: BaseException | None) -> None:
    """Close a unit whose last body message never came: by response state first, then by the kind of exception."""
    if unit.ended:
        return
    started = unit.responded > 0.0
    if isinstance(error, Exception):
        outcome = FAILED
    elif started:
        unit.streamed = True
        outcome = UNDECIDED
    else:
        outcome = FAILED if error is None else ABORTED
    unit.finish(units.now(), outcome)
