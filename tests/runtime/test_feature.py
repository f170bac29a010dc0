"""Whatever is decorated serves the right function, stays what it was, and counts the call on the right arm."""

# ruff: noqa: D103 - a form is what its name says
from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
import traceback
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import wrapt

from canary_sdk import CanaryError, connect
from canary_sdk.core.flags.evaluation import Role
from canary_sdk.runtime.scope import FAILED, UNDECIDED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from canary_sdk import Canary

    Feature = Callable[..., Callable[[Any], Any]]

SHARED = connect("memory:", environment="test", background=False)
SHARED.apply({"flags": {"checkout": {"rollout": 50}}})
ON, OFF = (
    next(key for key in map(str, range(100)) if SHARED.is_enabled("checkout", key) is on) for on in (True, False)
)


@pytest.fixture(autouse=True, scope="module")
def _close_shared() -> Iterator[None]:
    """What it has to say, it says before the tests' own last word."""
    yield
    SHARED.close()


@pytest.fixture
def feature(canary: Canary) -> Feature:
    """Decorate with a flag at 50 %."""
    canary.apply({"flags": {"checkout": {"rollout": 50}}})
    return functools.partial(canary.feature, "checkout")


# --- every form ---


def new(user: str, error: Exception | None = None) -> str:
    """Serve the candidate, or fail."""
    if error is not None:
        raise error
    return f"new {user}"


def old(user: str, error: Exception | None = None) -> str:
    """Serve the baseline, whatever happens."""
    return f"old {user}"


def a_function(feature: Feature) -> Any:
    return feature(fallback=old, key="user")(new)


def a_coroutine_function(feature: Feature) -> Any:
    @feature(fallback=old, key="user")
    async def checkout(user: str, error: Exception | None) -> str:
        await asyncio.sleep(0)
        return new(user, error)

    return lambda *args: asyncio.run(checkout(*args))


def a_coroutine_function_with_its_like(feature: Feature) -> Any:
    async def legacy(user: str, error: Exception | None) -> str:
        await asyncio.sleep(0)
        return old(user, error)

    @feature(fallback=legacy, key="user")
    async def checkout(user: str, error: Exception | None) -> str:
        return new(user, error)

    return lambda *args: asyncio.run(checkout(*args))


def a_generator_function(feature: Feature) -> Any:
    def legacy(user: str, error: Exception | None) -> Iterator[str]:
        yield old(user, error)

    @feature(fallback=legacy, key="user")
    def checkout(user: str, error: Exception | None) -> Iterator[str]:
        yield new(user, error)

    return lambda *args: " ".join(checkout(*args))


def a_generator_function_with_a_list(feature: Feature) -> Any:
    @feature(fallback=lambda *args: [old(*args)], key="user")
    def checkout(user: str, error: Exception | None) -> Iterator[str]:
        yield new(user, error)

    return lambda *args: " ".join(checkout(*args))


async def joined(items: Any) -> str:
    return " ".join([item async for item in items])


def an_async_generator_function(feature: Feature) -> Any:
    async def legacy(user: str, error: Exception | None) -> Any:
        yield old(user, error)

    @feature(fallback=legacy, key="user")
    async def checkout(user: str, error: Exception | None) -> Any:
        await asyncio.sleep(0)
        yield new(user, error)

    return lambda *args: asyncio.run(joined(checkout(*args)))


def an_async_generator_function_with_a_coroutine(feature: Feature) -> Any:
    async def legacy(user: str, error: Exception | None) -> list[str]:
        return [old(user, error)]

    @feature(fallback=legacy, key="user")
    async def checkout(user: str, error: Exception | None) -> Any:
        yield new(user, error)

    return lambda *args: asyncio.run(joined(checkout(*args)))


def a_method(feature: Feature) -> Any:
    class Shop:
        def legacy(self, user: str, error: Exception | None) -> str:
            return old(user, error)

        @feature(fallback=legacy, key="user")
        def checkout(self, user: str, error: Exception | None) -> str:
            assert isinstance(self, Shop)
            return new(user, error)

    return Shop().checkout


def a_bound_method(feature: Feature) -> Any:
    class Shop:
        def checkout(self, user: str, error: Exception | None) -> str:
            return new(user, error)

    return feature(fallback=old, key="user")(Shop().checkout)


def over_a_classmethod(feature: Feature) -> Any:
    class Shop:
        @classmethod
        def legacy(cls, user: str, error: Exception | None) -> str:
            assert cls is Shop
            return old(user, error)

        @feature(fallback=legacy, key="user")
        @classmethod
        def checkout(cls, user: str, error: Exception | None) -> str:
            assert cls is Shop
            return new(user, error)

    assert isinstance(vars(Shop)["checkout"], classmethod)
    return Shop().checkout


def under_a_classmethod(feature: Feature) -> Any:
    class Shop:
        @classmethod
        @feature(fallback=lambda cls, *args: old(*args), key="user")
        def checkout(cls, user: str, error: Exception | None) -> str:
            assert cls is Shop
            return new(user, error)

    return Shop.checkout


def over_a_staticmethod(feature: Feature) -> Any:
    class Shop:
        @feature(fallback=old, key="user")
        @staticmethod
        def checkout(user: str, error: Exception | None) -> str:
            return new(user, error)

    assert isinstance(vars(Shop)["checkout"], staticmethod)
    return Shop().checkout


def under_a_staticmethod(feature: Feature) -> Any:
    class Shop:
        @staticmethod
        @feature(fallback=old, key="user")
        def checkout(user: str, error: Exception | None) -> str:
            return new(user, error)

    return Shop.checkout


class Cart(SimpleNamespace):
    """Somebody's cart; what properties look at."""

    @classmethod
    def made(cls) -> Cart:
        """Make one."""
        return cls()

    @property
    def old_total(self) -> str:
        """What everybody had."""
        return old(self.user, self.error)

    def new_total(self) -> str:
        """The total."""
        return new(self.user, self.error)


def a_property_getter(feature: Feature) -> Any:
    class Shop(Cart):
        @property
        @feature(fallback=Cart.old_total, key="self.user")
        def total(self) -> str:
            return self.new_total()

    return lambda user, error: Shop(user=user, error=error).total


def a_property(feature: Feature) -> Any:
    class Shop(Cart):
        total = feature(fallback=Cart.old_total, key="self.user")(property(Cart.new_total))

    return lambda user, error: Shop(user=user, error=error).total


def a_cached_property(feature: Feature) -> Any:
    class Shop(Cart):
        @feature(fallback=Cart.old_total, key="self.user")  # type: ignore[prop-decorator]
        @functools.cached_property
        def total(self) -> str:
            return self.new_total()

    return lambda user, error: Shop(user=user, error=error).total


def a_callable_object(feature: Feature) -> Any:
    class Checkout:
        def __call__(self, user: str, error: Exception | None) -> str:
            return new(user, error)

    return feature(fallback=old, key="user")(Checkout())


def an_async_callable_object(feature: Feature) -> Any:
    class Checkout:
        async def __call__(self, user: str, error: Exception | None) -> str:
            return new(user, error)

    checkout = feature(fallback=old, key="user")(Checkout())
    return lambda *args: asyncio.run(checkout(*args))


def a_partial(feature: Feature) -> Any:
    def checkout(shop: str, user: str, error: Exception | None) -> str:
        return new(user, error)

    return feature(fallback=old, key="user")(functools.partial(checkout, "shop"))


def a_partial_of_a_coroutine_function(feature: Feature) -> Any:
    async def checkout(shop: str, user: str, error: Exception | None) -> str:
        return new(user, error)

    decorated = feature(fallback=old, key="user")(functools.partial(checkout, "shop"))
    return lambda *args: asyncio.run(decorated(*args))


def a_partialmethod(feature: Feature) -> Any:
    class Shop:
        def _checkout(self, fast: bool, user: str, error: Exception | None) -> str:
            return new(user, error)

        checkout = feature(fallback=lambda self, fast, *args: old(*args), key="user")(
            functools.partialmethod(_checkout, True)
        )

    return Shop().checkout


def a_cached_function(feature: Feature) -> Any:
    return feature(fallback=old, key="user")(functools.lru_cache(new))


def a_cached_method(feature: Feature) -> Any:
    class Shop:
        @feature(fallback=lambda self, *args: old(*args), key="user")
        @functools.lru_cache  # noqa: B019 - what it costs is not the question
        def checkout(self, user: str, error: Exception | None) -> str:
            assert isinstance(self, Shop)
            return new(user, error)

    return Shop().checkout


def a_wrapped_function(feature: Feature) -> Any:
    @functools.wraps(new)
    def checkout(*args: Any, **kwargs: Any) -> str:
        return new(*args, **kwargs)

    return feature(fallback=old, key="user")(checkout)


@wrapt.decorator
def transparent(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """Do nothing, as wrapt does it."""
    return wrapped(*args, **kwargs)


def a_function_wrapped_by_wrapt(feature: Feature) -> Any:
    return feature(fallback=old, key="user")(transparent(new))


def a_coroutine_function_wrapped_by_wrapt(feature: Feature) -> Any:
    @feature(fallback=old, key="user")
    @transparent
    async def checkout(user: str, error: Exception | None) -> str:
        return new(user, error)

    return lambda *args: asyncio.run(checkout(*args))


def a_method_wrapped_by_wrapt(feature: Feature) -> Any:
    class Shop:
        @feature(fallback=lambda self, *args: old(*args), key="user")
        @transparent
        def checkout(self, user: str, error: Exception | None) -> str:
            assert isinstance(self, Shop)
            return new(user, error)

    return Shop().checkout


def under_wrapt(feature: Feature) -> Any:
    return transparent(a_function(feature))


def a_fallback_that_is_a_feature(feature: Feature) -> Any:
    return feature(fallback=SHARED.feature("unheard-of", fallback=old)(new), key="user")(new)


FORMS = [
    a_function,
    a_coroutine_function,
    a_coroutine_function_with_its_like,
    a_generator_function,
    a_generator_function_with_a_list,
    an_async_generator_function,
    an_async_generator_function_with_a_coroutine,
    a_method,
    a_bound_method,
    over_a_classmethod,
    under_a_classmethod,
    over_a_staticmethod,
    under_a_staticmethod,
    a_property_getter,
    a_property,
    a_cached_property,
    a_callable_object,
    an_async_callable_object,
    a_partial,
    a_partial_of_a_coroutine_function,
    a_partialmethod,
    a_cached_function,
    a_cached_method,
    a_wrapped_function,
    a_function_wrapped_by_wrapt,
    a_coroutine_function_wrapped_by_wrapt,
    a_method_wrapped_by_wrapt,
    under_wrapt,
    a_fallback_that_is_a_feature,
]


class Case(NamedTuple):
    """A call, and what it must come to: `served` or the error, and how it counts."""

    user: str
    error: type[Exception] | None
    served: str | None
    outcome: int
    options: dict[str, Any]


RESCUED = {"expected": (KeyError,), "on_error": "fallback"}

CASES = {
    "on": Case(ON, None, f"new {ON}", UNDECIDED, {}),
    "off": Case(OFF, None, f"old {OFF}", UNDECIDED, {}),
    "raises": Case(ON, ValueError, None, FAILED, {}),
    "raises what is expected": Case(ON, KeyError, None, UNDECIDED, {"expected": (KeyError,)}),
    "raises, rescued": Case(ON, ValueError, f"old {ON}", FAILED, RESCUED),
    "raises what is expected, not rescued": Case(ON, KeyError, None, UNDECIDED, RESCUED),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_serves_and_counts(
    canary: Canary, feature: Feature, form: Callable[[Feature], Any], case: Case
) -> None:
    """Each form serves what its arm serves, lets its own exception through, and counts once as a call and as a unit."""
    call = form(functools.partial(feature, **case.options))
    error = case.error("from inside") if case.error else None
    if case.served is None:
        with pytest.raises(Exception, match="from inside") as caught:
            call(case.user, error)
        assert caught.value is error
        frames = [frame.filename for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert sum("canary_sdk" in name for name in frames) == 1
    else:
        assert call(case.user, error) == case.served
    ((_, evaluation, _, outcome),) = canary.units.call_ring.drain(10)
    (unit,) = canary.units.ring.drain(10)
    assert evaluation.role is (Role.CANDIDATE if case.user == ON else Role.BASELINE)
    assert outcome == unit.outcome == case.outcome
    assert unit.ended
    assert unit.marks["checkout"] == (evaluation, case.user)
    assert canary.units.current() is None
    assert canary.status().failures == {}


# --- what it stays ---


@SHARED.feature("checkout", key="user")
def plain(user: str, *, n: int = 3) -> str:
    """Check out."""
    return user * n


@SHARED.feature("checkout", key="user")
@functools.lru_cache
def cached(user: str) -> str:
    """Check out, or remember."""
    return f"new {user}"


class Till:
    """Something that pickles, with a decorated method."""

    def __init__(self, name: str) -> None:
        """Name it."""
        self.name = name

    @SHARED.feature("checkout", key="user")
    def checkout(self, user: str) -> str:
        """Check out."""
        return f"{self.name} {user}"


def test_it_keeps_what_a_function_is() -> None:
    """Name, module, docstring, hints, signature and the way to the original are the function's own."""
    original = inspect.unwrap(plain)
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__annotations__"):
        assert getattr(plain, name) == getattr(original, name)
    assert inspect.signature(plain) == inspect.signature(original)
    assert plain.__wrapped__ is original is not plain  # type: ignore[attr-defined]


@pytest.mark.parametrize("thing", [plain, cached], ids=["closure", "proxy"])
def test_it_pickles_and_copies_by_reference(thing: Any) -> None:
    """A decorated function of a module is found again by its name, and is its own copy."""
    assert pickle.loads(pickle.dumps(thing)) is thing
    assert copy.copy(thing) is copy.deepcopy(thing) is thing


def test_a_bound_method_pickles_with_its_object() -> None:
    """A decorated method travels with the object that it is bound to."""
    assert pickle.loads(pickle.dumps(Till("a").checkout))(ON) == f"a {ON}"


KINDS = [inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction, inspect.isfunction]


async def a_coroutine() -> None: ...
def a_generator() -> Iterator[None]:
    yield


async def an_async_generator() -> Any:
    yield


@pytest.mark.parametrize("wrap", [lambda it: it, functools.partial, transparent], ids=["itself", "partial", "wrapt"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("candidate", [new, a_coroutine, a_generator, an_async_generator])
def test_inspect_gives_the_same_answers(
    feature: Feature, candidate: Any, kind: Callable[[Any], bool], wrap: Callable[[Any], Any]
) -> None:
    """Who asks what kind of function it is learns what the candidate is."""
    assert kind(feature()(wrap(candidate))) is kind(wrap(candidate))


def test_a_cached_function_keeps_its_cache(feature: Feature) -> None:
    """What a cached function offers can be reached, and it still caches."""
    calls: list[str] = []

    @feature(key="user")
    @functools.lru_cache
    def checkout(user: str) -> None:
        calls.append(user)

    for _ in range(3):
        checkout(ON)
    assert calls == [ON]
    assert checkout.cache_info().hits == 2
    checkout.cache_clear()
    assert checkout.cache_info().currsize == 0


def test_attributes_of_a_function_are_kept(feature: Feature) -> None:
    """What others have hung on a function, such as the registry of a single dispatch, is still there."""

    @feature(fallback=lambda cart: "old")
    @functools.singledispatch
    def checkout(cart: object) -> str:
        return "anything"

    checkout.register(int, lambda cart: "number")
    assert checkout.dispatch(int)(3) == "number"


def test_a_property_keeps_its_setter_and_docstring(feature: Feature) -> None:
    """Only the getter is decorated."""

    class Shop:
        _total = "none"

        def _get(self) -> str:
            """The total."""
            return self._total

        def _set(self, total: str) -> None:
            self._total = total

        total = feature(fallback=lambda self: "old")(property(_get, _set))

    shop = Shop()
    shop.total = "set"
    assert shop._total == "set"
    assert shop.total == "old"
    assert Shop.total.__doc__ == "The total."


def test_an_object_looks_like_itself(feature: Feature) -> None:
    """A decorated object has its own class and attributes, and does not become a method."""

    class Checkout:
        name = "checkout"

        def __call__(self) -> str:
            return self.name

    checkout = feature(fallback=lambda: "old")(Checkout())
    holder = type("Holder", (), {"checkout": checkout})()
    assert isinstance(checkout, Checkout)
    assert checkout.name == "checkout"
    assert holder.checkout() == "old"


def test_recursion_and_nesting_are_one_unit(canary: Canary, feature: Feature) -> None:
    """A call inside a call joins its unit and gets its answer; both are counted."""

    @feature(fallback=lambda n, user: "old", key="user")
    def countdown(n: int, user: str) -> str:
        return f"{n} {countdown(n - 1, OFF)}" if n else "new"

    assert countdown(2, ON) == "2 1 new"
    assert len(canary.units.call_ring.drain(10)) == 3
    assert len(canary.units.ring.drain(10)) == 1


def test_inside_a_unit_it_joins(canary: Canary, feature: Feature) -> None:
    """In a scope the scope is the unit, and its own key decides where the call names nobody."""
    checkout = feature()(canary.current_unit)
    with canary.scope("job", key=ON) as unit:
        assert checkout() is unit
    assert checkout() is None
    assert len(canary.units.call_ring.drain(10)) == 2


def test_a_unit_that_is_over_is_not_joined(canary: Canary, feature: Feature) -> None:
    """A task that outlives the job that started it is a unit of its own."""
    checkout = feature(key="user")(lambda user: canary.current_unit())
    with canary.scope("job") as unit:
        pass
    token = canary.units.enter(unit)
    assert checkout(ON) not in (unit, None)
    assert canary.units.current() is unit
    canary.units.leave(token)
    assert len(canary.units.ring.drain(10)) == 2


def test_a_fallback_answers_for_the_candidate_alone(feature: Feature) -> None:
    """A fallback that fails is not asked again, and what it raises says what came before it."""
    asked: list[str] = []

    def legacy(user: str, error: Exception | None = None) -> str:
        asked.append(user)
        raise LookupError("fallback")

    checkout = feature(fallback=legacy, key="user", on_error="fallback")(new)
    with pytest.raises(LookupError):
        checkout(OFF)
    with pytest.raises(LookupError) as caught:
        checkout(ON, ValueError("candidate"))
    assert repr(caught.value.__context__) == "ValueError('candidate')"
    assert asked == [OFF, ON]


# --- what is refused ---


class Shop:
    """A class is no function."""


REFUSED: dict[str, tuple[dict[str, Any], Any, str]] = {
    "a class": ({}, Shop, r"got type Shop: decorate a function that makes one"),
    "a string": ({}, "checkout", r"got str"),
    "a classmethod inside a wrapper": (
        {},
        transparent(vars(Cart)["made"]),
        r"got a FunctionWrapper around a classmethod",
    ),
    "a property without getter": ({}, property(), r"got NoneType"),
    "on_error": ({"on_error": "ignore"}, new, r'on_error=\'ignore\'\): it is "raise" or "fallback"'),
    "nothing to fall back to": ({"on_error": "fallback"}, new, r"needs a fallback"),
    "a fallback that is a value": ({"fallback": "old"}, new, r"a function of the same arguments, not 'old'"),
    "an expected that is no tuple": (
        {"expected": KeyError},
        new,
        r"a tuple of exception classes, not <class 'KeyError'>",
    ),
    "an expected that is no class": ({"expected": (KeyError(),)}, new, r"a tuple of exception classes"),
    "a fallback that takes less": ({"fallback": lambda user: ""}, new, r"cannot take the arguments of new\(.*too many"),
    "a fallback that needs more": ({"fallback": lambda user, error, cart: ""}, new, r"missing a required .*'cart'"),
    "a fallback that needs an option": ({"fallback": lambda user, error: ""}, new, r"missing a required .*'error'"),
    "a fallback nobody awaits": ({"fallback": a_coroutine}, lambda: None, r"is not async, so nobody would await"),
}


@pytest.mark.parametrize(("options", "candidate", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_makes_no_sense_is_refused_at_decoration(
    canary: Canary, options: dict[str, Any], candidate: Any, message: str
) -> None:
    """The mistake is told where it was made, with what was found."""
    with pytest.raises(CanaryError, match=message):
        canary.feature("checkout", **options)(candidate)


def test_parameters_of_a_fallback_are_matched_by_position(feature: Feature) -> None:
    """A fallback may call its parameters otherwise, however the caller names them."""

    def legacy(uid: str, /, basket: str = "empty", *rest: str, fast: bool = False) -> str:
        return f"old {uid} {basket} {fast}"

    @feature(fallback=legacy, key="user")
    def checkout(user: str, /, cart: str, *, fast: bool = True) -> str:
        return "new"

    assert checkout(OFF, cart="c") == checkout(OFF, "c") == f"old {OFF} c False"
    assert checkout(OFF, cart="c", fast=True) == f"old {OFF} c True"


async def test_an_async_fallback_is_matched_too(feature: Feature) -> None:
    """Awaited fallbacks are told the same way."""

    async def legacy(uid: str) -> str:
        return f"old {uid}"

    @feature(fallback=legacy, key="user")
    async def checkout(user: str) -> str:
        return "new"

    assert await checkout(user=OFF) == f"old {OFF}"


def test_a_fallback_that_does_not_tell_is_believed(feature: Feature) -> None:
    """Where a signature cannot be read, or takes anything, nothing is refused."""
    assert feature(fallback=dict, key="user")(new)
    assert feature(fallback=lambda user, **_: user, key="user")(new)(user=OFF, error=None) == OFF
    assert feature(fallback=lambda *_, **__: "old")(new)(OFF) == "old"
    assert feature(fallback=lambda user: user)(lambda *args: args)("u") == "u"
