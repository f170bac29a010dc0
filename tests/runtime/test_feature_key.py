"""Whom a call is for is found wherever the caller put it, and a wrong way to it is told at decoration."""

from __future__ import annotations

import logging
import uuid
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from canary_sdk import CanaryError, EvaluationContext

if TYPE_CHECKING:
    from collections.abc import Callable

    from canary_sdk import Canary

NOBODY = "nobody was asked"


@pytest.fixture
def asked(canary: Canary) -> Callable[..., object]:
    """Return what was asked for a call of `function`, decorated with `key` and called with the arguments."""
    canary.apply({"flags": {"checkout": {"rollout": 50}}})

    def ask(function: Callable[..., object], key: Any, *args: Any, **kwargs: Any) -> object:
        canary.feature("checkout", key=key)(function)(*args, **kwargs)
        (unit,) = canary.units.ring.drain(10)
        return unit.marks["checkout"][1] if unit.marks else NOBODY

    return ask


def checkout(cart: str, user_id: str = "default", /, other: str = "other", *, tenant: str = "tenant") -> None:
    """Take arguments in every way."""


def variadic(user: object, *args: object, **options: object) -> None:
    """Take any arguments."""


USER = SimpleNamespace(id="u1", account=SimpleNamespace(owner={"id": "u2"}))

FOUND: dict[str, tuple[Callable[..., object], Any, tuple[Any, ...], dict[str, Any], object]] = {
    "position": (checkout, "user_id", ("c", "u1"), {}, "u1"),
    "default": (checkout, "user_id", ("c",), {}, "default"),
    "keyword": (checkout, "other", ("c",), {"other": "u1"}, "u1"),
    "keyword only": (checkout, "tenant", ("c",), {"tenant": "t1"}, "t1"),
    "keyword only, default": (checkout, "tenant", ("c",), {}, "tenant"),
    "attribute": (variadic, "user.id", (USER,), {}, "u1"),
    "attributes and a mapping": (variadic, "user.account.owner.id", (USER,), {}, "u2"),
    "mapping": (variadic, "user.id", (), {"user": {"id": "u3"}}, "u3"),
    "any mapping": (variadic, "user.id", (MappingProxyType({"id": "u4"}),), {}, "u4"),
    "further keywords": (variadic, "options.tenant", ("u",), {"tenant": "t1"}, "t1"),
    "a function": (variadic, lambda user, *_, tenant: f"{tenant}/{user}", ("u",), {"tenant": "t"}, "t/u"),
    "a function that calls it otherwise": (variadic, lambda who, **_: who, (), {"user": "u"}, "u"),
    "an int": (variadic, "user", (42,), {}, "42"),
    "zero": (variadic, "user", (0,), {}, "0"),
    "a UUID": (variadic, "user", (uuid.UUID(int=7),), {}, "00000000-0000-0000-0000-000000000007"),
    "a context": (variadic, "user", (EvaluationContext("u5"),), {}, "u5"),
    "None": (variadic, "user", (None,), {}, None),
    "no key": (variadic, None, ("u",), {}, None),
}


@pytest.mark.parametrize(("function", "key", "args", "kwargs", "found"), FOUND.values(), ids=FOUND.keys())
def test_the_key_is_found(
    asked: Callable[..., object],
    function: Callable[..., object],
    key: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    found: object,
) -> None:
    """A name, a path and a function find the key by position, keyword and default; ints and UUIDs become text."""
    assert asked(function, key, *args, **kwargs) == found


def test_a_number_is_the_user_of_its_text(canary: Canary) -> None:
    """Whoever is 42 in one place and "42" in another is served alike, at every percentage."""
    canary.apply({"flags": {"checkout": {"rollout": 50}}})
    decorated = canary.feature("checkout", fallback=lambda user: "old", key="user")(lambda user: "new")
    assert [decorated(n) for n in range(200)] == [decorated(str(n)) for n in range(200)]
    assert {decorated(n) for n in range(200)} == {"new", "old"}


LOST: dict[str, tuple[Any, Any]] = {
    "no such attribute": ("user.id", None),
    "no such key": ("user.id", {}),
    "a list": ("user", ["u1"]),
    "a bool": ("user", True),
    "bytes": ("user", b"u1"),
    "a float": ("user", 1.5),
    "a function that fails": (lambda user: user.id, None),
}


@pytest.mark.parametrize(("key", "user"), LOST.values(), ids=LOST.keys())
def test_who_cannot_be_told_gets_the_baseline(
    canary: Canary, key: Any, user: object, caplog: pytest.LogCaptureFixture
) -> None:
    """A path that leads nowhere, or to what is no key, is counted and serves the baseline, even at 100 %."""
    canary.apply({"flags": {"checkout": {"rollout": 100}}})
    decorated = canary.feature("checkout", fallback=lambda user: "old", key=key)(lambda user: "new")
    with caplog.at_level(logging.WARNING):
        assert [decorated(user), decorated(user)] == ["old", "old"]
    assert canary.status().failures == {"evaluating checkout": 2}
    assert len(caplog.records) == 1


REFUSED: dict[str, tuple[Callable[..., object], Any, str]] = {
    "a typo": (
        checkout,
        "user",
        r'key="user"\): checkout\(\) has no .* it has cart, user_id, .*; did you mean user_id\?',
    ),
    "a typo before a path": (checkout, "crat.id", r'key="crat.id"\): .*; did you mean cart\?'),
    "nothing like it": (checkout, "zzz", r"has no such parameter; it has cart, user_id, other, tenant$"),
    "no parameters": (lambda: None, "user", r"it has none at all"),
    "all positions": (variadic, "args", r"it has user, \*args, \*\*options$"),
    "all keywords": (variadic, "options", r"it has user, \*args, \*\*options$"),
    "no signature": (max, "user", r"max\(\) does not tell its parameters; give key a function of them"),
    "a number": (checkout, 3, r"a parameter's name, a dotted path, or a plain function of the arguments, not 3"),
    "a function of other arguments": (
        checkout,
        lambda: "",
        r"feature\(key=…\): .* cannot take the arguments of checkout",
    ),
}


@pytest.mark.parametrize(("function", "key", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_key_that_is_not_there_is_refused_at_decoration(
    canary: Canary, function: Callable[..., object], key: Any, message: str
) -> None:
    """The message names the function, what was asked for, what there is, and what may have been meant."""
    with pytest.raises(CanaryError, match=message):
        canary.feature("checkout", key=key)(function)


def test_a_coroutine_function_finds_no_key(canary: Canary) -> None:
    """A key that would have to be awaited is refused."""

    async def find(user: str) -> str:
        return user

    with pytest.raises(CanaryError, match="a plain function of the arguments"):
        canary.feature("checkout", key=find)(lambda user: None)


def test_where_the_call_names_nobody_the_unit_does(canary: Canary) -> None:
    """A key that is None leaves it to the scope's own."""
    canary.apply({"flags": {"checkout": {"rollout": 50}}})
    decorated = canary.feature("checkout", key="user")(lambda user: None)
    with canary.scope("job", key="tenant") as unit:
        decorated(None)
    assert unit is not None
    assert unit.marks["checkout"][1] == "tenant"
