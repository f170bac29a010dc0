"""ASGI middleware: opens a unit of work for each HTTP request and stops its clock at the last body message.

Passes everything through untouched and unbuffered: `receive`, every message, every exception, what the application
returns. Messages it does not know (trailers, early hints, whatever an extension brings) are none of its business, nor
is WebSocket and lifespan traffic. Background tasks that run after the response are not part of its time.

How a request is judged: complete responses by the time to their last body message; streamed ones (the first body
message says that more follows) by the time to the start of the response. What ends a request without a response is an
abort if the client went away, else an error; after the start of the response an exception is an error, and a client
that went away leaves it to the status.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from canary_sdk.integrations.ending import UNMEASURED, abandon, is_disconnect, is_gone, judged
from canary_sdk.integrations.routes import Routes, asgi_route, asgi_template
from canary_sdk.runtime.scope import ABORTED, FAILED, UNDECIDED, outcome_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from contextvars import Token
    from typing import Any

    from canary_sdk.integrations.ending import IsError
    from canary_sdk.runtime.client import Canary
    from canary_sdk.runtime.scope import Unit

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[Any]]

SCOPE_KEY: Final = "canary"
"""Where the unit of work stands in the ASGI scope."""

BODY: Final = "http.response.body"
OTHER_BODIES: Final = frozenset({"http.response.zerocopysend", "http.response.pathsend"})
"""Extensions that carry a body; like a body message, one without `more_body` is the last."""

FIRST_FINAL: Final = 200
"""Statuses below are informational; the response is still to come."""
SERVER_ERROR: Final = 500


class CanaryMiddleware:
    """Measure every HTTP request of `app` and know which flags it met.

    `key(scope)` may return the request's targeting key; it is asked only when an evaluation brings none.
    `is_error(status, exception)` may say what counts as an error; without it that is an exception, or a status from 500
    on. It is asked once a request, when it has ended, unless the client went away before the response; `exception` is
    what came out of the application, `status` is 0 if there was no response. `override` is the environment variable of
    the secret with which a request may be signed for a variant: see `canary_sdk.integrations.override`; without it none
    may, and none is looked at. Installed twice, a request counts once. Threads: any number of event loops in any number
    of threads.
    """

    def __init__(
        self,
        app: App,
        *,
        canary: Canary,
        key: Callable[[Scope], str | None] | None = None,
        is_error: IsError | None = None,
        override: str | None = None,
    ) -> None:
        """Wrap `app`. Raises `CanaryError` if `override` names no good secret."""
        self.app = app
        if override is not None:
            from canary_sdk.integrations.override import Overriding

            self.app = Overriding(canary, override).asgi(app)
        self._units = canary.units
        self._now = canary.units.now
        self._failures = canary.failures
        self._key = key
        self._is_error = is_error
        self._routes = Routes(asgi_template)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Serve one connection, and hand back what the application returned."""
        try:
            is_ours = scope["type"] == "http" and SCOPE_KEY not in scope
        except Exception:  # noqa: BLE001 - what is no scope, the application refuses in its own words
            is_ours = False
        if not is_ours:
            return await self.app(scope, receive, send)
        units, key = self._units, self._key
        open_request, enter = units.open_request, units.enter
        unit, token, watched = None, None, send
        try:
            unit = open_request(None if key is None else partial(key, scope))
            scope[SCOPE_KEY] = unit
            watched = self._watched(scope, send, unit)
            token = enter(unit)
        except Exception as error:  # noqa: BLE001 - ours never reaches the host
            with suppress(Exception):
                abandon(unit, scope, SCOPE_KEY)
            self._failures.note(("opening a request", error, UNMEASURED))
        if unit is None or token is None:
            return await self.app(scope, receive, send)
        try:
            result = await self.app(scope, receive, watched)
        except BaseException as error:
            with suppress(Exception):
                self._close(unit, token, send, error)
            raise
        try:  # noqa: SIM105 - `suppress` would cost a tenth of all the rest
            self._close(unit, token, send)
        except Exception:  # noqa: BLE001, S110 - it counts its own failures; this one cannot even be called
            pass
        return result

    def _watched(self, scope: Scope, send: Send, unit: Unit) -> Send:
        """Wrap `send` to see the response start and the last body; in a coroutine function, as asgiref asks for one."""
        now = self._now

        async def watch(message: Message) -> None:
            try:
                kind = message["type"]
                if kind == "http.response.start":
                    status = message["status"]
                    if status >= SERVER_ERROR:
                        self._look_behind(unit)
                    unit.status = status
                    unit.responded = now()
                    route = asgi_route(scope)
                    if route is not None:
                        unit.route = self._routes.label(route, scope)
                elif kind == BODY or kind in OTHER_BODIES:
                    if message.get("more_body"):
                        unit.streamed = True
                    else:
                        if self._is_error is not None:
                            unit.outcome = self._judged(unit, None, unit.outcome)
                        unit.ended = now()
            except Exception as error:  # noqa: BLE001 - ours never reaches the host
                self._failures.note(("reading a response message", error, UNMEASURED))
            return await send(message)

        return watch

    def _look_behind(self, unit: Unit) -> None:
        """See what an error page is about: frameworks answer an exception before they let it go on to the server."""
        error = sys.exception()
        if error is not None and outcome_of(error, (), is_disconnect) == ABORTED:
            unit.outcome = ABORTED

    def _close(self, unit: Unit, token: Token[Unit | None], send: Send, error: BaseException | None = None) -> None:
        """Let go of the unit when the application is through with the request, and end it if that is still to do."""
        try:
            # Once the response is complete, what fails is background work. A body without a start is no response.
            if not unit.ended or (error is not None and not unit.status):
                self._settle(unit, send, error)
            unit.subject = None
            unit.in_request = False
            self._units.leave(token)
        except Exception as failure:  # noqa: BLE001 - ours never reaches the host
            self._failures.note(("closing a request", failure, UNMEASURED))

    def _settle(self, unit: Unit, send: Send, error: BaseException | None) -> None:
        """End a unit whose last body message never came: by response state first, then by the kind of exception."""
        outcome = outcome_of(error, (), partial(is_disconnect, send=send))
        if unit.status >= FIRST_FINAL:
            if outcome != FAILED:
                unit.streamed, outcome, error = True, UNDECIDED, None
        elif error is None:
            outcome = ABORTED if is_gone(send) else FAILED
        unit.finish(self._now(), self._judged(unit, error, outcome))

    def _judged(self, unit: Unit, error: BaseException | None, outcome: int) -> int:
        return outcome if outcome == ABORTED else judged(self._is_error, self._failures, unit.status, error, outcome)
