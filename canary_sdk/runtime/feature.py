"""The decorator: serve the candidate or its fallback, time the call, and count it on the right arm.

Plain functions, methods and coroutine functions are wrapped in closures, which keep Python's own descriptor behaviour
and cost a fifth of a transparent proxy. The call is a unit of work of its own when no other is open.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

from canary_sdk.errors import CanaryError
from canary_sdk.runtime.scope import FAILED, Scope, outcome_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from canary_sdk.core.evaluation import Evaluation
    from canary_sdk.runtime.scope import Units

    Decide = Callable[[str | None], Evaluation]

P = ParamSpec("P")
R = TypeVar("R")

Errors = tuple[type[BaseException], ...]


def decorate(
    candidate: Callable[P, R],
    *,
    fallback: Callable[..., object] | None,
    key: str | None,
    expected: Errors,
    decide: Decide,
    units: Units,
) -> Callable[P, R]:
    """Wrap `candidate`. `decide(targeting_key)` evaluates the flag and never raises.

    Raises `CanaryError` at once when `candidate` is no function or `key` names no parameter of it.
    """
    import inspect

    if not inspect.isroutine(candidate):
        msg = f"feature() decorates functions, methods and coroutine functions; got {type(candidate).__name__}"
        raise CanaryError(msg)
    find_key = _key_finder(candidate, key, inspect.signature(candidate))
    wrap = _wrap_coroutine if inspect.iscoroutinefunction(candidate) else _wrap_function
    wrapper = wrap(candidate, fallback or _nothing, find_key, expected, decide, units)
    return cast("Callable[P, R]", functools.wraps(candidate)(wrapper))


def _nothing(*_: object, **__: object) -> None:
    """Stand in for the fallback that was not given."""


def _key_finder(candidate: Callable[..., object], key: str | None, signature: object) -> Callable[..., str | None]:
    """Return a function of the call's arguments that finds the targeting key; positions are resolved once, here."""
    import inspect

    if key is None:
        return lambda _args, _kwargs: None
    assert isinstance(signature, inspect.Signature)
    names = list(signature.parameters)
    if key not in names:
        msg = (
            f'feature(key="{key}"): {candidate.__qualname__}() has no such parameter; '
            f"it has {', '.join(names) or 'none at all'}"
        )
        raise CanaryError(msg)
    parameter = signature.parameters[key]
    default = None if parameter.default is parameter.empty else parameter.default
    if parameter.kind is parameter.KEYWORD_ONLY:
        return lambda _args, kwargs: kwargs.get(key, default)
    position = names.index(key)
    return lambda args, kwargs: args[position] if position < len(args) else kwargs.get(key, default)


def _wrap_function(
    candidate: Callable[..., object],
    fallback: Callable[..., object],
    find_key: Callable[..., str | None],
    expected: Errors,
    decide: Decide,
    units: Units,
) -> Callable[..., object]:
    now = units.now

    def call(args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        evaluation = decide(find_key(args, kwargs))
        function = candidate if evaluation.enabled else fallback
        started = now()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            units.record_call((evaluation, now() - started, outcome_of(error, expected) == FAILED))
            raise
        units.record_call((evaluation, now() - started, False))
        return result

    def wrapper(*args: object, **kwargs: object) -> object:
        if units.current() is not None:
            return call(args, kwargs)
        with _own_unit(units, expected):
            return call(args, kwargs)

    return wrapper


def _wrap_coroutine(
    candidate: Callable[..., Awaitable[object]],
    fallback: Callable[..., object],
    find_key: Callable[..., str | None],
    expected: Errors,
    decide: Decide,
    units: Units,
) -> Callable[..., object]:
    now = units.now

    async def call(args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        evaluation = decide(find_key(args, kwargs))
        started = now()
        try:
            if evaluation.enabled:
                result = await candidate(*args, **kwargs)
            else:
                result = fallback(*args, **kwargs)
                if hasattr(result, "__await__"):
                    result = await result
        except BaseException as error:
            units.record_call((evaluation, now() - started, outcome_of(error, expected) == FAILED))
            raise
        units.record_call((evaluation, now() - started, False))
        return result

    async def wrapper(*args: object, **kwargs: object) -> object:
        if units.current() is not None:
            return await call(args, kwargs)
        with _own_unit(units, expected):
            return await call(args, kwargs)

    return wrapper


def _own_unit(units: Units, expected: Errors) -> Scope:
    return Scope(units, "call", None, expected)
