"""Whom a call is for: how the targeting key is found in its arguments, settled when the function is decorated.

`key` is a parameter's name, a dotted path that begins with one (`user.id`: an attribute, or a key where the object is
a mapping), or a function of the same arguments. What it finds is a str, an `EvaluationContext`, an int or a UUID; the
last two are hashed as their text, so 42 and "42" are the same user. None means that the call names nobody, and the unit
of work's own key is used.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from canary_sdk.core.flags.evaluation import EvaluationContext
from canary_sdk.errors import CanaryError
from canary_sdk.runtime.feature.arguments import VARIADIC, in_place_of, name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from canary_sdk.runtime.table import Context

    KeyOf = Callable[[tuple[Any, ...], dict[str, Any]], Context]
    Key = str | Callable[..., object] | None
    Function = Callable[..., Any]


def key_finder(candidate: Function, key: Key) -> KeyOf:
    """Return a function of a call's positional and keyword arguments that finds the targeting key.

    Raises `CanaryError` when `key` names nothing that `candidate` takes. What is returned raises TypeError for a key of
    another type, and whatever a path or a function that does not fit the arguments raises.
    """
    if key is None:
        return lambda _args, _kwargs: None
    if not isinstance(key, str):
        function = _key_function(candidate, key)
        return lambda args, kwargs: _as_key(function(*args, **kwargs))
    name, *path = key.split(".")
    argument = _argument_finder(candidate, key, name, path)

    def find(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Context:
        found = argument(args, kwargs)
        for step in path:
            found = found[step] if isinstance(found, Mapping) else getattr(found, step)
        return found if type(found) is str else _as_key(found)

    return find


def _key_function(candidate: Function, key: object) -> Function:
    if not callable(key) or inspect.iscoroutinefunction(key):
        raise CanaryError(
            f"feature(key=…) is a parameter's name, a dotted path, or a plain function of the arguments, not {key!r}"
        )
    return in_place_of(candidate, key, "key")


def _argument_finder(candidate: Function, key: str, name: str, path: list[str]) -> Callable[..., Any]:
    """Find one argument wherever the caller put it."""
    parameters = _parameters(candidate, key)
    parameter = parameters.get(name)
    if parameter is None or (parameter.kind in VARIADIC and not (parameter.kind is parameter.VAR_KEYWORD and path)):
        raise CanaryError(_no_such(candidate, key, name, parameters))
    if parameter.kind is parameter.VAR_KEYWORD:
        return lambda _args, kwargs: kwargs
    default = None if parameter.default is parameter.empty else parameter.default
    if parameter.kind is parameter.KEYWORD_ONLY:
        return lambda _args, kwargs: kwargs.get(name, default)
    position = list(parameters).index(name)
    return lambda args, kwargs: args[position] if position < len(args) else kwargs.get(name, default)


def _parameters(candidate: Function, key: str) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(candidate).parameters
    except (TypeError, ValueError) as error:
        msg = f'feature(key="{key}"): {name_of(candidate)}() does not tell its parameters; give key a function of them'
        raise CanaryError(msg) from error


def _no_such(candidate: Function, key: str, name: str, parameters: Mapping[str, inspect.Parameter]) -> str:
    from difflib import get_close_matches

    known = ", ".join(str(each).partition(":")[0].partition("=")[0].strip() for each in parameters.values())
    close = get_close_matches(name, parameters, 1)
    return (
        f'feature(key="{key}"): {name_of(candidate)}() has no such parameter; it has {known or "none at all"}'
        f"{f'; did you mean {close[0]}?' if close and close[0] != name else ''}"
    )


def _as_key(found: object) -> Context:
    """Return a targeting key as it is hashed."""
    if found is None or isinstance(found, (str, EvaluationContext)):
        return found
    from uuid import UUID

    if isinstance(found, (int, UUID)) and not isinstance(found, bool):
        return str(found)
    raise TypeError(f"a targeting key is a str, an int or a UUID, not a {type(found).__name__}")
