"""`override`: what a test wants a flag to answer, here and in whatever inherits this context."""

from __future__ import annotations

import functools
import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from canary_sdk.core.flags.override import forced
from canary_sdk.errors import CanaryError, UnknownFlag

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextvars import Token
    from typing import Self

    from canary_sdk.core.flags.evaluation import Evaluation
    from canary_sdk.core.flags.override import Wanted
    from canary_sdk.runtime.client import Canary

P = ParamSpec("P")
R = TypeVar("R")


class override:  # noqa: N801 - it is called like the function that it would be, were it not entered too
    """Have `canary` answer as wanted: for `with`, `async with`, and to decorate functions and coroutine functions.

        with override(canary, {"new-checkout": True, "button": "blue"}): ...

        @override(canary, new_checkout=True)
        async def test_checkout(): ...

    True and False are on and off, or the candidate and the baseline of a flag of another type; a text is a variant's
    name. A keyword's underscores stand for dashes where no flag has the underscores. What is forced holds here, for
    tasks that are started inside and for what frameworks call in threads, and nowhere else: tests that run side by side
    do not meet. The inner one wins. It goes before everything, a kill and the answer of the unit of work included, and
    is no exposure: nothing is measured of it.

    Raises `UnknownFlag`, and `CanaryError` for a variant that the flag does not have, when it is entered. It may be
    entered again, also while it is open, by the same thread or task; a decorated function may be called by any.
    """

    def __init__(self, canary: Canary, flags: Mapping[str, Wanted] | None = None, /, **named: Wanted) -> None:
        """Remember it; nothing is opened or changed yet."""
        self._canary = canary
        self._flags = dict(flags or {})
        self._named = named
        self._tokens: list[Token[Mapping[str, Evaluation]]] = []

    def __enter__(self) -> Self:
        """Force the answers from here on."""
        variable = self._canary.overrides()
        self._tokens.append(variable.set({**variable.get(), **self._answers()}))
        return self

    def __exit__(self, *_: object) -> None:
        """Answer as before."""
        with suppress(ValueError):  # a context that only inherited it is not ours to change
            self._canary.overrides().reset(self._tokens.pop())

    async def __aenter__(self) -> Self:
        """Force the answers from here on."""
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        """Answer as before."""
        self.__exit__()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function or coroutine function. Raises `CanaryError` for a class or a generator."""
        if inspect.isclass(function) or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise CanaryError(f"override decorates functions and coroutine functions; use it inside {function!r}")

        async def call_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            with override(self._canary, self._flags, **self._named):
                return await cast("Awaitable[Any]", function(*args, **kwargs))

        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with override(self._canary, self._flags, **self._named):
                return function(*args, **kwargs)

        is_async = inspect.iscoroutinefunction(function)
        return cast("Callable[P, R]", functools.wraps(function)(call_async if is_async else call))

    def _answers(self) -> dict[str, Evaluation]:
        known = self._canary.flag
        named = {name if known(name) else name.replace("_", "-"): wanted for name, wanted in self._named.items()}
        return {key: self._answer(key, wanted) for key, wanted in {**self._flags, **named}.items()}

    def _answer(self, flag_key: str, wanted: Wanted) -> Evaluation:
        flag = self._canary.flag(flag_key)
        if flag is None:
            raise UnknownFlag(flag_key, self._canary.flags())
        try:
            return forced(flag, wanted)
        except ValueError as error:
            raise CanaryError(str(error)) from None
