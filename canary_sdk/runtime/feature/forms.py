"""What can be decorated, and how it stays what it was.

Functions of all four kinds, and bound methods, become closures, which keep Python's own descriptor behaviour and cost
less than a proxy. Of a classmethod, a staticmethod, a property, a cached property or a partial method the function
inside is decorated, and the same descriptor is made of it again. Any other callable is shown through a transparent
proxy. What is none of these is refused here, in a sentence, and not when it is called.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from functools import cached_property, partialmethod
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.errors import CanaryError
from canary_sdk.runtime.feature.arguments import in_place_of, name_of
from canary_sdk.runtime.feature.calls import (
    Feature,
    measured_async_generator,
    measured_coroutine,
    measured_function,
    measured_generator,
)
from canary_sdk.runtime.feature.targeting import key_finder

if TYPE_CHECKING:
    from collections.abc import Callable

    from canary_sdk.runtime.feature.calls import Function, Host
    from canary_sdk.runtime.feature.targeting import Key

    Errors = tuple[type[BaseException], ...]

FUNCTIONS: Final = (FunctionType, BuiltinFunctionType, MethodType)

DESCRIPTORS: Final[dict[type, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]]] = {
    classmethod: (lambda old: old.__func__, lambda _, function: classmethod(function)),
    staticmethod: (lambda old: old.__func__, lambda _, function: staticmethod(function)),
    property: (lambda old: old.fget, lambda old, function: old.getter(function)),
    cached_property: (lambda old: old.func, lambda _, function: cached_property(function)),
    partialmethod: (lambda old: old.func, lambda old, function: partialmethod(function, *old.args, **old.keywords)),
}
"""How to take the function out of a descriptor, and how to make the same descriptor of another function."""

SHAPES: Final = (
    (inspect.iscoroutinefunction, measured_coroutine),
    (inspect.isasyncgenfunction, measured_async_generator),
    (inspect.isgeneratorfunction, measured_generator),
)
"""How to call what is no plain function."""

ON_ERROR: Final = ("raise", "fallback")


@dataclass(frozen=True, slots=True)
class Terms:
    """What was asked for, whatever is decorated. Raises `CanaryError` if it makes no sense."""

    flag_key: str
    fallback: Function | None
    key: Key
    expected: Errors
    on_error: str

    def __post_init__(self) -> None:
        """Refuse what would fail at a call."""
        if self.on_error not in ON_ERROR:
            raise CanaryError(f'feature(on_error={self.on_error!r}): it is "raise" or "fallback"')
        if self.on_error == "fallback" and self.fallback is None:
            raise CanaryError('feature(on_error="fallback") needs a fallback to answer')
        if self.fallback is not None and not callable(_inside(self.fallback)):
            raise CanaryError(f"feature(fallback=…) is a function of the same arguments, not {self.fallback!r}")
        if not _are_exceptions(self.expected):
            raise CanaryError(f"feature(expected=…) is a tuple of exception classes, not {self.expected!r}")


def _are_exceptions(things: object) -> bool:
    return isinstance(things, tuple) and all(
        isinstance(each, type) and issubclass(each, BaseException) for each in things
    )


def decorate(candidate: Any, terms: Terms, host: Host) -> Any:
    """Return something like `candidate` that serves and counts by `terms`.

    Raises `CanaryError` at once for what cannot be decorated, a key that it does not take, and a fallback that cannot
    stand in for it.
    """
    kind = type(candidate)
    if kind in DESCRIPTORS:
        take_out, make_again = DESCRIPTORS[kind]
        return make_again(candidate, decorate(take_out(candidate), terms, host))
    if not callable(candidate) or isinstance(candidate, (type, classmethod, staticmethod)):
        raise CanaryError(f"feature() decorates functions, methods, properties and callable objects; {_got(candidate)}")
    feature = Feature(
        candidate=candidate,
        fallback=_stand_in(candidate, terms.fallback),
        rescued=candidate if terms.on_error == "fallback" else None,
        flag_key=terms.flag_key,
        key_of=key_finder(candidate, terms.key),
        expected=terms.expected,
        host=host,
    )
    measured = _shape_of(candidate)(feature)
    if kind in FUNCTIONS:
        return functools.wraps(candidate)(measured)
    from canary_sdk.runtime.feature.proxy import Proxy

    return Proxy(candidate, measured)


def _got(candidate: object) -> str:
    """Say what was decorated, and what to do instead where that is known."""
    if isinstance(candidate, type):
        return f"got type {candidate.__qualname__}: decorate a function that makes one"
    if callable(candidate):
        return f"got a {type(candidate).__name__} around a {candidate.__class__.__name__}: decorate what is inside"
    return f"got {type(candidate).__name__}"


def _inside(thing: Any) -> Any:
    """Return the function inside a descriptor, and anything else as it is."""
    while type(thing) in DESCRIPTORS:
        thing = DESCRIPTORS[type(thing)][0](thing)
    return thing


def _shape_of(candidate: Function) -> Callable[[Feature], Function]:
    """Choose the shape by what the candidate, or its `__call__`, is."""
    for is_one, shape in SHAPES:
        if is_one(candidate) or is_one(type(candidate).__call__):
            return shape
    return measured_function


def _stand_in(candidate: Function, given: Function | None) -> Function:
    """Return the function that serves in place of `candidate`; without a fallback, one that serves nothing."""
    if given is None:
        return _nothing if _shape_of(candidate) in (measured_function, measured_coroutine) else _no_items
    fallback: Function = _inside(given)
    if _shape_of(fallback) is measured_coroutine and _shape_of(candidate) in (measured_function, measured_generator):
        raise CanaryError(
            f"feature(fallback=…): {name_of(candidate)}() is not async, so nobody would await {name_of(fallback)}()"
        )
    return in_place_of(candidate, fallback, "fallback")


def _nothing(*_: object, **__: object) -> None:
    """Stand in for the fallback that was not given."""


def _no_items(*_: object, **__: object) -> tuple[()]:
    """Stand in for the fallback of a generator that was not given."""
    return ()
