"""Django leaves no trace of its routing where a middleware around it could see one; this one goes inside and tells.

    MIDDLEWARE = ["canary_sdk.integrations.django.RouteMiddleware", ...]

The requests themselves are measured by `CanaryMiddleware` around the WSGI or ASGI application. It changes nothing.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction

from canary_sdk.integrations import asgi, wsgi
from canary_sdk.integrations.routes import Names

if TYPE_CHECKING:
    from collections.abc import Callable


class RouteMiddleware:
    """Name the request's unit of work by the URL pattern that it matched, as Django writes it: `users/<int:id>/`.

    Threads: any. Memory: at most 256 routes, then "other". Never raises into a request.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        """Stand before `get_response`, sync or async as it is."""
        self._get_response = get_response
        self._names = Names()
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        """Hand the request on."""
        return self._get_response(request)

    def process_view(self, request: Any, _view: object, _args: object, _kwargs: object) -> None:
        """Note the route, which is known from here on."""
        with suppress(Exception):
            scope = getattr(request, "scope", None)
            unit = request.META.get(wsgi.ENVIRON_KEY) if scope is None else scope.get(asgi.SCOPE_KEY)
            if unit is not None:
                unit.route = self._names.label(request.resolver_match.route)
