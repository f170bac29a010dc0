"""WSGI middleware: opens a unit of work for each request and stops its clock when the body is closed.

A complete body (list or tuple) is returned as it is and its clock stops there; any other body is wrapped in an object
that delegates to the application's iterator, notes an exception on the way, and closes it exactly once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from canary_sdk.runtime.scope import FAILED, UNDECIDED, outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextvars import Token
    from typing import Any

    from canary_sdk.runtime.client import Canary
    from canary_sdk.runtime.scope import Subject, Unit, Units

    Environ = dict[str, Any]
    StartResponse = Callable[..., Callable[[bytes], object]]
    App = Callable[[Environ, StartResponse], Iterable[bytes]]

ENVIRON_KEY: Final = "canary"
"""Where the unit of work stands in the WSGI environ."""

UNMEASURED: Final = "The request went on unmeasured; please report this with its traceback"


class CanaryMiddleware:
    """Measure every request of `app` and know which flags it met.

    `key(environ)` may return the request's targeting key; it is asked only when an evaluation brings none. Installed
    twice, a request counts once. Threads: any number of server threads.
    """

    def __init__(self, app: App, *, canary: Canary, key: Callable[[Environ], str | None] | None = None) -> None:
        """Wrap `app`."""
        self.app = app
        self._units = canary.units
        self._failures = canary.failures
        self._key = key

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        if ENVIRON_KEY in environ:
            return self.app(environ, start_response)
        units = self._units
        try:
            unit = units.open_request(_subject(self._key, environ))
            environ[ENVIRON_KEY] = unit
            token = units.enter(unit)
        except Exception as error:  # noqa: BLE001 - ours never reaches the host
            self._failures.note("opening a request", error, UNMEASURED)
            return self.app(environ, start_response)
        try:
            body = self.app(environ, _watched(start_response, unit, units.now))
        except BaseException as error:
            unit.finish(units.now(), outcome_of(error))
            units.leave(token)
            raise
        if isinstance(body, (list, tuple)):
            unit.finish(units.now())
            units.leave(token)
            return body
        return _Body(body, unit, units, token)


def _subject(key: Callable[[Environ], str | None] | None, environ: Environ) -> Subject:
    return None if key is None else lambda: key(environ)


def _watched(start_response: StartResponse, unit: Unit, now: Callable[[], float]) -> StartResponse:
    def watch(status: str, *rest: object) -> Callable[[bytes], object]:
        unit.status = int(status[:3]) if status[:3].isdigit() else 0
        unit.responded = now()
        return start_response(status, *rest)

    return watch


class _Body:
    """A body that is not complete yet: iterated by the server, closed by it once."""

    __slots__ = ("_body", "_outcome", "_token", "_unit", "_units")

    def __init__(self, body: Iterable[bytes], unit: Unit, units: Units, token: Token[Unit | None]) -> None:
        self._body = body
        self._unit = unit
        self._units = units
        self._token: Token[Unit | None] | None = token
        self._outcome = UNDECIDED

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._body
        except Exception:
            self._outcome = FAILED
            raise

    def close(self) -> None:
        """Close the application's body if it can be closed, then stop the clock."""
        if self._token is None:
            return
        token, self._token = self._token, None
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        except Exception:
            self._outcome = FAILED
            raise
        finally:
            self._unit.finish(self._units.now(), self._outcome)
            self._units.leave(token)
