"""A WSGI body that is not complete yet, as the server gets it: the application's own in all but identity.

It hands out the application's own chunks, notes an exception on the way, and closes the body exactly once. Whatever
else is done with it is done with the application's: `isinstance`, `bytes`, `len`, `next`, attributes, what its class
can. Only `type` and `is` tell them apart.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextvars import Token
    from typing import Any

    from canary_sdk.runtime.scope import Unit

MOST_FACES: Final = 256
"""Classes of bodies that are remembered; an application has a few."""


class Watcher(Protocol):
    """Who is told how a body fares."""

    def respond(self, unit: Unit) -> None:
        """Note that the response has started."""

    def close(self, unit: Unit, token: Token[Unit | None] | None, error: BaseException | None = None) -> None:
        """End the unit, if that is still to do, and let go of it."""


class Body:
    """A body that is not complete yet: iterated by the server, and closed by it once.

    More than one chunk makes it a stream. Where the server never closes it, the garbage collector ends the unit. What
    we keep of it has names that no body has.
    """

    __slots__ = ("__weakref__", "_canary_body", "_canary_token", "_canary_unit", "_canary_watcher")

    def __init__(self, body: Iterable[bytes], watcher: Watcher, unit: Unit, token: Token[Unit | None]) -> None:
        self._canary_body = body
        self._canary_watcher = watcher
        self._canary_unit = unit
        self._canary_token: Token[Unit | None] | None = token

    def __iter__(self) -> Iterator[bytes]:
        unit = self._canary_unit
        try:
            chunks = iter(self._canary_body)
            for first in chunks:
                try:  # noqa: SIM105 - `suppress` would cost as much as all of the rest
                    self._canary_watcher.respond(unit)  # servers keep the headers back until now
                except Exception:  # noqa: BLE001, S110 - it counts its own failures; this one cannot even be called
                    pass
                yield first
                break
            for second in chunks:
                unit.streamed = True
                yield second
                break
            yield from chunks
        except Exception as error:
            with suppress(Exception):
                self._canary_watcher.close(unit, None, error)
            raise

    def close(self) -> None:
        """Close the application's body if it can be closed, then stop the clock."""
        token, self._canary_token = self._canary_token, None
        if token is None:
            return
        try:
            close = getattr(self._canary_body, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            with suppress(Exception):
                self._canary_watcher.close(self._canary_unit, token, error)
            raise
        try:  # noqa: SIM105 - as above
            self._canary_watcher.close(self._canary_unit, token)
        except Exception:  # noqa: BLE001, S110 - as above
            pass

    def __getattr__(self, name: str) -> Any:
        """Show what the application's body shows; Django's, for one, is the response itself."""
        return getattr(object.__getattribute__(self, "_canary_body"), name)

    def __del__(self) -> None:
        """End the unit, but not in the context of whoever runs this, and leave the body to its own collection."""
        if self._canary_token is not None:
            with suppress(Exception):
                self._canary_watcher.close(self._canary_unit, None)


def body_of(body: Iterable[bytes], watcher: Watcher, unit: Unit, token: Token[Unit | None]) -> Body:
    """Return what stands for the application's body, and looks like it."""
    ours = Body(body, watcher, unit, token)
    ours.__class__ = face_of(type(body))
    return ours


@lru_cache(MOST_FACES)
def face_of(kind: type) -> type[Body]:
    """Return the `Body` that looks like a body of this class: its special methods hand on to the application's."""
    methods = (name for name in dir(kind) if name.startswith("__") and callable(getattr(kind, name)))
    face: dict[str, object] = {name: _handing_on(name) for name in methods if name not in _OURS}
    face |= {"__slots__": (), "__module__": kind.__module__, "__class__": property(lambda _: kind)}
    if hasattr(kind, "__next__"):
        face["__next__"] = _next
    if kind.__dictoffset__ or hasattr(kind, "__slots__"):
        face |= {"__setattr__": _set, "__delattr__": _handing_on("__delattr__")}
    return cast("type[Body]", type(kind.__name__, (Body,), face))


_OURS: Final = frozenset(vars(Body)) | {
    *("__class__", "__new__", "__init_subclass__", "__subclasshook__", "__class_getitem__"),
    *("__next__", "__getattribute__", "__setattr__", "__delattr__"),
}
"""What a face does not hand on: what is a class's own, and what is told apart above."""


def _handing_on(name: str) -> Callable[..., object]:
    return lambda self, *args, **kwargs: getattr(self._canary_body, name)(*args, **kwargs)


def _next(self: Body) -> bytes:
    """Hand out one chunk, as `Body.__iter__` does, to whom needs no iterator."""
    unit = self._canary_unit
    try:
        chunk = next(cast("Iterator[bytes]", self._canary_body))
    except StopIteration:
        raise
    except Exception as error:
        with suppress(Exception):
            self._canary_watcher.close(unit, None, error)
        raise
    with suppress(Exception):
        if unit.responded:
            unit.streamed = True
        else:
            self._canary_watcher.respond(unit)
    return chunk


def _set(self: Body, name: str, value: object) -> None:
    """Set an attribute of the application's body; the two that we change are our own."""
    if name in Body.__slots__:
        object.__setattr__(self, name, value)
    else:
        setattr(self._canary_body, name, value)
