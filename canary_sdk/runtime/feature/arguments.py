"""How one function is called in place of another: their parameters are compared once, when a function is decorated.

Parameters are matched by position. Where the same one has another name, it is translated, so that whoever calls by
keyword, as frameworks do, meets no difference on the day when the fallback has to serve.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.errors import CanaryError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    Function = Callable[..., Any]

POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def in_place_of(candidate: Function, other: Function, what: str) -> Function:
    """Return `other` so that it takes the arguments of `candidate`.

    Raises `CanaryError` if it cannot, as far as that can be told: two calls are tried, with all that `candidate` takes
    and with what it must be given, and each must be possible by position or by keyword.
    """
    try:
        ours, theirs = inspect.signature(candidate), inspect.signature(other)
    except (TypeError, ValueError):  # it does not tell
        return other
    names = _translation(ours, theirs)
    parameters = ours.parameters.values()
    bind = theirs.bind_partial if any(each.kind in VARIADIC for each in parameters) else theirs.bind
    for wanted in (parameters, [each for each in parameters if each.default is each.empty]):
        problems = [_problem(bind, wanted, kinds, names) for kinds in (POSITIONAL, POSITIONAL[:1])]
        if all(problems):
            raise CanaryError(
                f"feature({what}=…): {name_of(other)}{theirs} cannot take the arguments of "
                f"{name_of(candidate)}{ours}: {problems[0]}"
            )
    return _translated(other, names) if names else other


def _translation(ours: inspect.Signature, theirs: inspect.Signature) -> dict[str, str]:
    """Return what each positional parameter of ours that goes by another name is called by them."""
    pairs = zip(_positional(ours), _positional(theirs), strict=False)
    return {
        one.name: another.name
        for one, another in pairs
        if one.name not in theirs.parameters and another.kind is another.POSITIONAL_OR_KEYWORD
    }


def _positional(signature: inspect.Signature) -> list[inspect.Parameter]:
    return [each for each in signature.parameters.values() if each.kind in POSITIONAL]


def _problem(
    bind: Function, wanted: Collection[inspect.Parameter], by_position: tuple[Any, ...], names: Mapping[str, str]
) -> str:
    """Return why a call cannot be made that gives these parameters, those of some kinds by position; "" if it can."""
    args = [each.name for each in wanted if each.kind in by_position]
    kwargs = {names.get(each.name, each.name): 0 for each in wanted if each.kind not in (*by_position, *VARIADIC)}
    try:
        bind(*args, **kwargs)
    except TypeError as error:
        return str(error)
    return ""


def _translated(function: Function, names: Mapping[str, str]) -> Function:
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **{names.get(name, name): value for name, value in kwargs.items()})

    return call


def name_of(function: object) -> str:
    """Return what people call a function."""
    return getattr(function, "__qualname__", None) or type(function).__qualname__
