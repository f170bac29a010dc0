"""Route templates as labels: what a framework leaves behind after routing, never the path that a client sent.

There are only so many labels: past the cap every new route is "other". Where nothing is left behind, there is no label.
Starlette and FastAPI leave the route in the ASGI scope, Litestar its template; Flask leaves its request in the WSGI
environ. Django leaves nothing; its applications may assign `unit.route` themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

MOST_ROUTES: Final = 256
OTHER: Final = "other"


class Routes:
    """Labels of the routes that were seen.

    `find(route, traffic)` names a route by its template, from the scope or environ in which it was first seen; it is
    asked once a route. Threads: any. Memory: `most` routes, and one more for each thread that meets its first one in
    the same instant.
    """

    def __init__(self, find: Callable[[object, Mapping[str, Any]], str | None], most: int = MOST_ROUTES) -> None:
        """Begin with none."""
        self._find = find
        self._most = most
        self._labels: dict[int, tuple[object, str | None]] = {}

    def label(self, route: object, traffic: Mapping[str, Any]) -> str | None:
        """Return the label of a route; None if it has no template. Cost: one look-up, unless it is new."""
        known = self._labels.get(id(route))  # not every route can be hashed; it is kept, so its id stays its own
        return self._enter(route, traffic) if known is None else known[1]

    def _enter(self, route: object, traffic: Mapping[str, Any]) -> str | None:
        if len(self._labels) >= self._most:
            return OTHER
        self._labels[id(route)] = (route, None)  # asked once, also if `find` fails
        label = self._find(route, traffic)
        self._labels[id(route)] = (route, label)
        return label


def asgi_template(route: object, scope: Mapping[str, Any]) -> str | None:
    """Return Litestar's template as it is; Starlette's and FastAPI's with the templates of what it is mounted in."""
    if isinstance(route, str):
        return route
    return _mounted(route, _children(scope.get("router"))) or _path(route)


def flask_template(rule: object, _: Mapping[str, Any]) -> str | None:
    """Return the template of a URL rule."""
    template = getattr(rule, "rule", None)
    return template if isinstance(template, str) else None


def _mounted(route: object, among: Iterable[object], prefix: str = "") -> str | None:
    """Search the tree of routes: the path of a mount in the scope is the client's, its template is only here."""
    for each in among:
        path = prefix + (_path(each) or "")
        found = path if each is route else _mounted(route, _children(each), path)
        if found:
            return found
    return None


def _path(route: object) -> str | None:
    """Return a route's own part of the template, which a FastAPI router that was included keeps as its prefix."""
    for path in (getattr(route, "path", None), getattr(getattr(route, "include_context", None), "prefix", None)):
        if isinstance(path, str):
            return path
    return None


def _children(route: Any) -> Iterable[object]:
    """Return what is mounted there; in FastAPI, a router that was included holds it one step further."""
    return getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", None) or ()
