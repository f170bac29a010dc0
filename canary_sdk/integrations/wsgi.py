"""WSGI middleware: opens a unit of work for each request and stops its clock when the body is closed.

A body that is complete (a list, a tuple, a response of Django that does not stream), or that the server sends by itself
(`wsgi.file_wrapper`), is returned as it is and its clock stops there. In the place of any other the server gets a
`canary_sdk.integrations.body.Body`, and the unit stays current while that runs. `start_response` may come late, twice
or never; the last status that the server took counts, and a request without one is an error.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from canary_sdk.integrations.body import body_of
from canary_sdk.integrations.ending import UNMEASURED, abandon, is_disconnect, judged
from canary_sdk.integrations.routes import Routes, flask_template
from canary_sdk.runtime.scope import ABORTED, FAILED, UNDECIDED, outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextvars import Token
    from typing import Any

    from canary_sdk.integrations.ending import IsError
    from canary_sdk.runtime.client import Canary
    from canary_sdk.runtime.scope import Unit

    Environ = dict[str, Any]
    StartResponse = Callable[..., Callable[[bytes], object]]
    App = Callable[[Environ, StartResponse], Iterable[bytes]]

ENVIRON_KEY: Final = "canary.unit"
"""Where the unit of work stands in the WSGI environ: whatever has a dot in its name may be an object."""
STATUSES: Final = {f"{status} {status.phrase}": status.value for status in HTTPStatus}
"""What the usual status lines say; to look one up is several times as fast as to read it."""


class CanaryMiddleware:
    """Measure every request of `app` and know which flags it met.

    `key(environ)` may return the request's targeting key; it is asked only when an evaluation brings none.
    `is_error(status, exception)` may say what counts as an error; without it that is an exception, or a status from 500
    on. It is asked once a request, when it has ended, unless the client went away before the response; `exception` is
    what came out of the application or its body, `status` is 0 if there was no response. `override` is the environment
    variable of the secret with which a request may be signed for a variant: see `canary_sdk.integrations.override`;
    without it none may, and none is looked at. Installed twice, a request counts once. Threads: any number of server
    threads.
    """

    def __init__(
        self,
        app: App,
        *,
        canary: Canary,
        key: Callable[[Environ], str | None] | None = None,
        is_error: IsError | None = None,
        override: str | None = None,
    ) -> None:
        """Wrap `app`. Raises `CanaryError` if `override` names no good secret."""
        self.app = app
        if override is not None:
            from canary_sdk.integrations.override import Overriding

            self.app = Overriding(canary, override).wsgi(app)
        self._units = canary.units
        self._now = canary.units.now
        self._failures = canary.failures
        self._key = key
        self._is_error = is_error
        self._routes = Routes(flask_template)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        try:
            is_ours = ENVIRON_KEY not in environ
        except Exception:  # noqa: BLE001 - what is no environ, the application refuses in its own words
            is_ours = False
        if not is_ours:
            return self.app(environ, start_response)
        units, key = self._units, self._key
        open_request, enter, leave = units.open_request, units.enter, units.leave
        unit, token, watched = None, None, start_response
        try:
            unit = open_request(None if key is None else partial(key, environ))
            environ[ENVIRON_KEY] = unit
            watched = self._watched(environ, start_response, unit)
            token = enter(unit)
        except Exception as error:  # noqa: BLE001 - ours never reaches the host
            with suppress(Exception):
                abandon(unit, environ, ENVIRON_KEY)
            self._failures.note(("opening a request", error, UNMEASURED))
        if unit is None or token is None:
            return self.app(environ, start_response)
        try:
            body = self.app(environ, watched)
        except BaseException as error:
            with suppress(Exception):
                self.close(unit, token, error)
            raise
        try:
            if type(body) is list and unit.status and self._is_error is None:  # the common case, in this very frame
                now = self._now
                unit.responded = unit.ended = now()
                unit.subject = None
                unit.in_request = False
                leave(token)
                return body
            return self._returned(body, environ, unit, token)
        except Exception as error:  # noqa: BLE001 - ours never reaches the host
            self._failures.note(("returning a body", error, UNMEASURED))
            with suppress(Exception):
                self.close(unit, token)
            return body

    def _returned(
        self, body: Iterable[bytes], environ: Environ, unit: Unit, token: Token[Unit | None]
    ) -> Iterable[bytes]:
        """Return a body that is complete, or the server's own, as it is; any other in a wrapper."""
        if _is_complete(body) or _is_file(body, environ):
            self.close(unit, token)
            return body
        return body_of(body, self, unit, token)

    def _watched(self, environ: Environ, start_response: StartResponse, unit: Unit) -> StartResponse:
        """Wrap `start_response` to see what the server took."""

        def watch(status: str, headers: object, exc_info: object = None) -> Callable[[bytes], object]:
            write = start_response(status, headers) if exc_info is None else start_response(status, headers, exc_info)
            try:
                unit.status = STATUSES.get(status) or int(status[:3])
                if "werkzeug.request" in environ:
                    rule = getattr(environ["werkzeug.request"], "url_rule", None)
                    if rule is not None:
                        unit.route = self._routes.label(rule, environ)
            except Exception as error:  # noqa: BLE001 - ours never reaches the host
                self._failures.note(("reading the start of a response", error, UNMEASURED))
            return write

        return watch

    def respond(self, unit: Unit) -> None:
        """Note that the response has started."""
        try:
            unit.responded = self._now()
        except Exception as error:  # noqa: BLE001 - ours never reaches the host
            self._failures.note(("reading the start of a response", error, UNMEASURED))

    def close(self, unit: Unit, token: Token[Unit | None] | None, error: BaseException | None = None) -> None:
        """End one of this middleware's units, if that is still to do, and let go of it."""
        try:
            if not unit.ended:
                unit.outcome = self._outcome(unit, error)
                now = self._now()
                if unit.status and not unit.responded:
                    unit.responded = now
                unit.ended = now
            unit.subject = None
            unit.in_request = False
            if token is not None:
                self._units.leave(token)
        except Exception as failure:  # noqa: BLE001 - ours never reaches the host
            self._failures.note(("closing a request", failure, UNMEASURED))

    def _outcome(self, unit: Unit, error: BaseException | None) -> int:
        """Decide by the exception, or by the status if the server took one."""
        outcome = UNDECIDED if unit.status else FAILED
        if error is not None:
            outcome = outcome_of(error, (), is_disconnect)
            if outcome == ABORTED and unit.status:
                outcome = UNDECIDED
        if self._is_error is None or outcome == ABORTED:
            return outcome
        return judged(self._is_error, self._failures, unit.status, error, outcome)


def _is_complete(body: Iterable[bytes]) -> bool:
    """Whether it is all there. Django's response is its own body, and says which kind it is."""
    return isinstance(body, (list, tuple)) or getattr(body, "streaming", None) is False


def _is_file(body: Iterable[bytes], environ: Environ) -> bool:
    """Whether the server knows a short way for this body, which it recognises by its type, or by being the file."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(body, wrapper) if isinstance(wrapper, type) else wrapper is not None and hasattr(body, "read")
