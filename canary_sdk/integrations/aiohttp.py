"""aiohttp's server is neither ASGI nor WSGI: a middleware of its kind, over the same unit of work.

    setup(app, canary=canary)

A request is timed from the outermost middleware to the moment when the handler has returned its response, or, where the
handler streams one, to its start. WebSockets are none of its business.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from canary_sdk.integrations.ending import UNMEASURED, judged
from canary_sdk.integrations.routes import Routes
from canary_sdk.runtime.scope import ABORTED, UNDECIDED, outcome_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextvars import Token

    from canary_sdk.integrations.ending import IsError
    from canary_sdk.runtime.client import Canary
    from canary_sdk.runtime.scope import Unit

    Handler = Callable[[Any], Awaitable[Any]]


def setup(
    app: Any, *, canary: Canary, key: Callable[[Any], str | None] | None = None, is_error: IsError | None = None
) -> None:
    """Measure every HTTP request of an `aiohttp.web.Application`, its subapplications' included.

    `key(request)` may return the request's targeting key; it is asked only when an evaluation brings none. `is_error`
    is as for the ASGI middleware. Call it after other middlewares were added: it goes around them. Called twice, a
    request counts once.
    """
    from aiohttp import web  # type: ignore[import-not-found,unused-ignore]

    measuring = _Measuring(canary, key, is_error)

    @web.middleware  # type: ignore[untyped-decorator,unused-ignore]
    async def measure(request: Any, handler: Handler) -> Any:
        return await measuring.measure(request, handler)

    app.middlewares.insert(0, measure)
    app.on_response_prepare.append(measuring.respond)


class _Measuring:
    """Opens and ends the units. Nothing of it reaches the application."""

    def __init__(self, canary: Canary, key: Callable[[Any], str | None] | None, is_error: IsError | None) -> None:
        self._units = canary.units
        self._failures = canary.failures
        self._key = key
        self._is_error = is_error
        self._routes = Routes(_template)

    async def measure(self, request: Any, handler: Handler) -> Any:
        """Serve one request."""
        if self._is_open() or request.headers.get("Upgrade", "").lower() == "websocket":
            return await handler(request)
        opened = self._open(request)
        try:
            response = await handler(request)
        except BaseException as error:
            self._close(opened, request, error, error)
            raise
        self._close(opened, request, response)
        return response

    async def respond(self, _: object, response: Any) -> None:
        """Note that a response starts: where its unit is open still, the handler streams it."""
        with suppress(Exception):
            unit = self._units.current()
            if unit is not None and not unit.ended:
                unit.responded, unit.streamed, unit.status = self._units.now(), True, response.status

    def _is_open(self) -> bool:
        """Whether this request is being measured already, because this was set up twice."""
        unit = self._units.current()
        return unit is not None and unit.in_request

    def _open(self, request: Any) -> tuple[Unit, Token[Unit | None]] | None:
        try:
            unit = self._units.open_request(None if self._key is None else partial(self._key, request))
            return unit, self._units.enter(unit)
        except Exception as error:  # noqa: BLE001 - ours never reaches the host
            self._failures.note(("opening a request", error, UNMEASURED))
            return None

    def _close(
        self,
        opened: tuple[Unit, Token[Unit | None]] | None,
        request: Any,
        response: Any,
        error: BaseException | None = None,
    ) -> None:
        """End the unit; an exception of aiohttp's own is a response too."""
        if opened is None:
            return
        unit, token = opened
        try:
            now = self._units.now()
            unit.status = unit.status or getattr(response, "status", 0)
            unit.responded = unit.responded or now
            resource = request.match_info.route.resource
            unit.route = None if resource is None else self._routes.label(resource, {})
            outcome = UNDECIDED if unit.status else outcome_of(error)
            if outcome != ABORTED:
                outcome = judged(self._is_error, self._failures, unit.status, error, outcome)
            unit.finish(now, outcome)
            unit.subject = None
            unit.in_request = False
            self._units.leave(token)
        except Exception as failure:  # noqa: BLE001 - ours never reaches the host
            self._failures.note(("closing a request", failure, UNMEASURED))


def _template(resource: object, _: Mapping[str, Any]) -> str | None:
    """Return the template of a resource."""
    template = getattr(resource, "canonical", None)
    return template if isinstance(template, str) else None
