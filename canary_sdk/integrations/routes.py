"""Route templates as labels: what a framework leaves behind after routing, never the path that a client sent.

There are only so many labels: past the cap every new route is "other". Where nothing is left behind, there is no label.
Starlette and FastAPI leave the route in the ASGI scope, Litestar its template; Flask leaves its request in the WSGI
environ. Django leaves nothing to be seen from outside: `integrations.django` tells from inside. gRPC has methods.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
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


class Names:
    """Labels of those who are told by a name: the name itself, or "other" where there are too many.

    Threads: any. Memory: `MOST_ROUTES` names, and one more for each thread that meets a new one in the same instant.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._known: set[str] = set()

    def label(self, name: str) -> str:
        """Return the label of what has this name."""
        if name in self._known or len(self._known) < MOST_ROUTES:
            self._known.add(name)
            return name
        return OTHER


def asgi_route(scope: Mapping[str, Any]) -> object:
    """Return what stands for the route of this request; None if nothing does."""
    route = scope.get("route") or scope.get("path_template")
    if route is None:
        return None
    # FastAPI includes one route at several places, each of which has a context of its own.
    return scope.get("fastapi", {}).get("effective_route_context", route)


def asgi_template(route: object, scope: Mapping[str, Any]) -> str | None:
    """Return Litestar's template as it is; Starlette's and FastAPI's with the templates of what it is mounted in.

    The path of a mount in the scope is the client's; its template is only in the tree of routes. A route that stands
    there several times is told by its first request.
    """
    if isinstance(route, str):
        return route
    found = list(_templates(getattr(route, "original_route", route), _children(scope.get("router"))))
    found.sort(key=lambda template: not _fits(template, scope["path"]))
    return found[0] if found else _path(route)


def flask_template(rule: object, _: Mapping[str, Any]) -> str | None:
    """Return the template of a URL rule."""
    template = getattr(rule, "rule", None)
    return template if isinstance(template, str) else None


def _templates(route: object, among: Iterable[object], prefix: str = "") -> Iterator[str]:
    for each in among:
        template = prefix + (_path(each) or "")
        if each is route:
            yield template
        yield from _templates(route, _children(each), template)


def _fits(template: str, path: str) -> bool:
    return re.search(re.sub(r"\\{.*?\\}", ".+", re.escape(template)) + "$", path) is not None


def _path(route: object) -> str | None:
    """Return a route's own part of the template, which a FastAPI router that was included keeps as its prefix."""
    for path in (getattr(route, "path", None), getattr(getattr(route, "include_context", None), "prefix", None)):
        if isinstance(path, str):
            return path
    return None


def _children(route: Any) -> Iterable[object]:
    """Return what is mounted there; in FastAPI, a router that was included holds it one step further."""
    return getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", None) or ()
