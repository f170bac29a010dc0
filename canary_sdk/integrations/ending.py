"""How a request ended, where no complete response says so: the client went away, or the application failed.

Asked only about exceptions and about responses that never came, so nothing here is in the way of a good request.
"""

from __future__ import annotations

import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from canary_sdk.runtime.scope import ABORTED, FAILED, GOOD, left_early

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from typing import Any

    from canary_sdk.runtime.failures import Failures
    from canary_sdk.runtime.scope import Unit

    IsError = Callable[[int, BaseException | None], bool]

UNMEASURED: Final = "The request went on unmeasured; please report this with its traceback"

DISCONNECTS: Final = frozenset(
    {
        "django.core.exceptions.RequestAborted",
        "django.http.request.UnreadablePostError",
        "starlette.requests.ClientDisconnect",
        "uvicorn.protocols.utils.ClientDisconnected",
        "werkzeug.exceptions.ClientDisconnected",
    }
)
"""Exceptions by which others say that the client went away. By name, because none of them is a dependency."""


def is_disconnect(error: BaseException, send: object = None) -> bool:
    """Whether this exception, no group, says that the client went away and not that something failed.

    Besides those known by name: what is no `Exception` at all, and an `OSError` that came out of the server's `send`,
    which is how ASGI servers report it.
    """
    if left_early(error):
        return True
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    return not DISCONNECTS.isdisjoint(names) or (isinstance(error, OSError) and _came_out_of(send, error))


def is_gone(send: object) -> bool:
    """Whether the server, whose method `send` is, says that the client is not there any more. uvicorn does."""
    return getattr(getattr(send, "__self__", None), "disconnected", False) is True


def judged(is_error: IsError | None, failures: Failures, status: int, error: BaseException | None, outcome: int) -> int:
    """Return the outcome by the application's own idea of an error; `outcome` where it has none, or it fails."""
    if is_error is None:
        return outcome
    try:
        return FAILED if is_error(status, error) else GOOD
    except Exception as failure:  # noqa: BLE001 - somebody else's code, in somebody else's request
        failures.note(("is_error", failure, "The request was judged by its status and exception instead"))
        return outcome


def abandon(unit: Unit | None, traffic: MutableMapping[str, Any], key: str) -> None:
    """Forget a unit that could not be opened all the way, so that it is not taken for a request that hangs."""
    if unit is not None:
        unit.finish(unit.started, ABORTED)
        with suppress(Exception):
            del traffic[key]


def _came_out_of(function: object, error: BaseException) -> bool:
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return any(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__))
