"""`CanaryProvider` through OpenFeature's own client: what its specification asks of a provider, section by section.

The names of the sections are those of the specification: flag evaluation, providers, evaluation context, hooks, events,
tracking.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEvent
from openfeature.exception import ErrorCode, ProviderNotReadyError
from openfeature.flag_evaluation import FlagEvaluationOptions, Reason
from openfeature.hook import Hook
from openfeature.provider import ProviderStatus
from openfeature.track import TrackingEventDetails
from openfeature.transaction_context import ContextVarsTransactionContextPropagator

from canary_sdk import StoreError, connect
from canary_sdk.core import breaker as breakers
from canary_sdk.core.flags.evaluation import Role
from canary_sdk.integrations.openfeature import CanaryProvider

if TYPE_CHECKING:
    from collections.abc import Callable

    from openfeature.client import OpenFeatureClient
    from openfeature.event import EventDetails
    from openfeature.flag_evaluation import FlagEvaluationDetails

    from canary_sdk import Canary
    from canary_sdk.testing import ManualClock

FLAGS: dict[str, dict[str, Any]] = {
    "checkout": {"rollout": 50},
    "everybody": {"rollout": 100},
    "nobody": {},
    "disabled": {"rollout": 100, "enabled": False},
    "needy": {"rollout": 100, "prerequisites": [{"flag": "nobody", "variant": "on"}]},
    "swiss": {"rules": [{"if": {"attribute": "country", "equals": "CH"}, "serve": "on"}]},
    "target": {"targets": {"on": ["u"]}},
    "page-size": {"type": "integer", "default": 20, "candidate": 50, "rollout": 100},
    "ratio": {"type": "float", "default": 0.25, "candidate": 0.75, "rollout": 100},
    "colour": {"type": "string", "default": "grey", "candidate": "blue", "rollout": 100},
    "layout": {
        "type": "object",
        "default": {},
        "candidate": {"title": "Pictures", "rows": [1, 2.5, True]},
        "rollout": 100,
    },
    "empty": {"type": "object", "default": []},
    "shades": {
        "type": "string",
        "default": "",
        "variants": {"blue": {"value": "b"}, "green": {"value": "g"}},
        "rollout": 100,
        "metadata": {"ticket": "SHOP-7", "tier": 2, "share": 0.5, "public": True, "environment": "hidden"},
    },
}
KINDS: dict[str, tuple[str, Any]] = {
    "boolean": ("everybody", True),
    "string": ("colour", "blue"),
    "integer": ("page-size", 50),
    "float": ("ratio", 0.75),
    "object": ("layout", {"title": "Pictures", "rows": [1, 2.5, True]}),
}
DEFAULTS: dict[str, Any] = {"boolean": False, "string": "mine", "integer": -1, "float": -1.0, "object": {"mine": True}}
ON, OFF = EvaluationContext("user-0"), EvaluationContext("user-1")


class Sour(dict[str, Any]):
    """Attributes that do not like to be read."""

    def __len__(self) -> int:
        raise RuntimeError("sour")


@pytest.fixture
def client(canary: Canary, openfeature: Any) -> OpenFeatureClient:
    """A client of a provider that is ready, and flags of every kind."""
    canary.apply({"flags": FLAGS, "auto_rollback": {"probe": "10%"}})
    openfeature.set_provider_and_wait(CanaryProvider(canary))
    result: OpenFeatureClient = openfeature.get_client()
    return result


def ask(client: OpenFeatureClient, kind: str, flag_key: Any, context: Any = None) -> FlagEvaluationDetails[Any]:
    """Ask for details synchronously and asynchronously; both must agree."""
    details: FlagEvaluationDetails[Any] = getattr(client, f"get_{kind}_details")(flag_key, DEFAULTS[kind], context)
    ask_async = getattr(client, f"get_{kind}_details_async")
    assert asyncio.run(ask_async(flag_key, DEFAULTS[kind], context)) == details
    return details


def hold(canary: Canary, state: breakers.State) -> None:
    """Put the breaker of `everybody` into a state."""
    canary.breaker("everybody")
    canary._guard.decide("everybody", lambda _: (breakers.Breaker("everybody", state, reason="slow"), ()))


def heard(client: OpenFeatureClient, event: ProviderEvent) -> SimpleQueue[EventDetails]:
    """Listen to an event."""
    queue: SimpleQueue[EventDetails] = SimpleQueue()
    client.add_handler(event, queue.put)
    return queue


# --- flag evaluation ---


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_is_answered(client: OpenFeatureClient, kind: str) -> None:
    """Value and details, synchronously and asynchronously, with the type that was asked for."""
    flag_key, value = KINDS[kind]
    details = ask(client, kind, flag_key, ON)
    assert (details.value, details.reason, details.error_code, details.error_message) == (value, "STATIC", None, None)
    assert type(details.value) is type(value)
    assert getattr(client, f"get_{kind}_value")(flag_key, DEFAULTS[kind], ON) == value
    assert asyncio.run(getattr(client, f"get_{kind}_value_async")(flag_key, DEFAULTS[kind], ON)) == value


def test_answers_are_those_of_the_canary(client: OpenFeatureClient, canary: Canary) -> None:
    """For every key, value and variant are what `evaluate` gives."""
    for number in range(200):
        key = f"user-{number}"
        own, told = canary.evaluate("checkout", key), ask(client, "boolean", "checkout", EvaluationContext(key))
        assert (told.value, told.variant, told.flag_key) == (own.value, own.variant, "checkout")


def test_an_integer_is_a_float_and_nothing_else_is_another_type(client: OpenFeatureClient) -> None:
    """Every other pair is a type mismatch, answered with the caller's default."""
    for asked, default in DEFAULTS.items():
        for kind, (flag_key, value) in KINDS.items():
            details = ask(client, asked, flag_key, ON)
            if asked == kind or (asked, kind) == ("float", "integer"):
                assert (details.value, details.error_code) == (value, None)
                assert type(details.value) is type(default)
            else:
                assert (details.value, details.error_code) == (default, ErrorCode.TYPE_MISMATCH)
                assert details.reason == Reason.ERROR
                assert flag_key in str(details.error_message)


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_is_answered_to_whoever_asks(canary: Canary, client: OpenFeatureClient, kind: str) -> None:
    """The context decides whatever the type: one user is given the candidate, another the default, nobody either."""
    flag_key, candidate = KINDS[kind]
    canary.update(flag_key, {"rollout": 50, "salt": "checkout"})
    baseline = FLAGS[flag_key].get("default", False)
    assert [ask(client, kind, flag_key, context).value for context in (ON, OFF)] == [candidate, baseline]


def test_asynchronous_evaluation_never_suspends(canary: Canary, client: OpenFeatureClient) -> None:
    """Driven by hand, the coroutine of every type returns at its first step: there is nothing to wait for."""
    for kind, (flag_key, value) in KINDS.items():
        steps = getattr(client.provider, f"resolve_{kind}_details_async")(flag_key, DEFAULTS[kind], ON)
        with pytest.raises(StopIteration) as stopped:
            steps.send(None)
        assert stopped.value.value.value == value


# --- providers: reasons, errors, metadata ---


@pytest.mark.parametrize(
    ("flag_key", "context", "reason", "own"),
    [
        ("checkout", ON, "SPLIT", "SPLIT"),
        ("everybody", ON, "STATIC", "SPLIT"),
        ("nobody", ON, "STATIC", "DEFAULT"),
        ("nobody", None, "STATIC", "DEFAULT"),
        ("swiss", EvaluationContext("v", {"country": "DE"}), "DEFAULT", "DEFAULT"),
        ("checkout", None, "DEFAULT", "DEFAULT"),
        ("needy", ON, "DEFAULT", "PREREQUISITE_FAILED"),
        ("disabled", ON, "DISABLED", "DISABLED"),
        ("target", EvaluationContext("u"), "TARGETING_MATCH", "TARGETING_MATCH"),
        ("swiss", EvaluationContext("v", {"country": "CH"}), "TARGETING_MATCH", "TARGETING_MATCH"),
        ("swiss", EvaluationContext(None, {"country": "CH"}), "TARGETING_MATCH", "TARGETING_MATCH"),
    ],
)
def test_reasons(
    client: OpenFeatureClient, canary: Canary, flag_key: str, context: EvaluationContext | None, reason: str, own: str
) -> None:
    """Each of ours is one of OpenFeature's, and the metadata has ours; they say STALE while the store is away."""
    details = ask(client, "boolean", flag_key, context)
    assert (details.reason, details.flag_metadata["reason"], details.error_code) == (reason, own, None)
    canary._stale = "the store is away"
    stale = ask(client, "boolean", flag_key, context)
    assert (stale.reason, stale.flag_metadata["reason"]) == ("STALE", own)
    assert (stale.value, stale.variant) == (details.value, details.variant)


def test_a_draw_among_variants_is_no_static_answer(client: OpenFeatureClient) -> None:
    """Though everybody is in; and what its people say of a flag is in the metadata, but never over what we say."""
    details = ask(client, "string", "shades", ON)
    assert (details.reason, details.variant in {"blue", "green"}) == ("SPLIT", True)
    told = details.flag_metadata
    assert (told["ticket"], told["tier"], told["share"], told["public"]) == ("SHOP-7", 2, 0.5, True)
    assert told["environment"] == "test"


def test_a_flag_that_is_switched_off_leaves_it_to_the_caller(client: OpenFeatureClient) -> None:
    """The specification wants the caller's default for it, and no variant."""
    for mine in (True, False):
        details = client.get_boolean_details("disabled", mine, ON)
        assert (details.value, details.variant, details.reason, details.error_code) == (mine, None, "DISABLED", None)


def test_an_object_is_the_callers_to_change(client: OpenFeatureClient, canary: Canary) -> None:
    """Nobody else gets what one caller made of it; an empty one is a value like any other."""
    for _ in range(2):
        value: Any = client.get_object_value("layout", {}, ON)
        assert value == {"title": "Pictures", "rows": [1, 2.5, True]}
        value["rows"].append("mine")
        own = canary.value("layout", "user-0", default={})
        assert own == {"title": "Pictures", "rows": [1, 2.5, True]}
        own.clear()
    assert client.get_object_value("empty", {"mine": 1}, ON) == []


def test_without_a_key_a_percentage_gives_the_flags_default(client: OpenFeatureClient) -> None:
    """It is no error: neither would it be at 0 % or at 100 %; and it is measured on no arm."""
    for context in (None, EvaluationContext(), EvaluationContext("")):
        details = ask(client, "boolean", "checkout", context)
        assert (details.value, details.variant, details.error_code) == (False, "off", None)
        assert details.flag_metadata["role"] == "apart"
        assert ask(client, "boolean", "everybody", context).value is True


@pytest.mark.parametrize(
    ("state", "told"),
    [(breakers.State.OPEN, "OPEN"), (breakers.State.HALF_OPEN, "HALF_OPEN"), (None, "KILLED")],
)
def test_what_is_held_is_disabled_and_says_why(
    client: OpenFeatureClient, canary: Canary, state: breakers.State | None, told: str
) -> None:
    """The baseline is served as DISABLED, also while the store is away; the metadata tells by what it is held."""
    if state is None:
        canary.kill("everybody", reason="slow")
    else:
        hold(canary, state)
    canary._stale = "the store is away"
    details = ask(client, "boolean", "everybody", EvaluationContext("user-3"))
    assert (details.value, details.variant, details.reason, details.error_code) == (False, "off", "DISABLED", None)
    metadata = details.flag_metadata
    assert (metadata["reason"], metadata["breaker"], metadata["breaker_reason"]) == ("TRIPPED", told, "slow")


def test_what_another_worker_has_tripped_is_held_before_its_reason_is_known(
    client: OpenFeatureClient, canary: Canary
) -> None:
    """The byte that workers share is ahead of the store."""
    canary._guard.byte_of("everybody")[()] = breakers.TRIPPED
    details = ask(client, "boolean", "everybody", ON)
    assert (details.reason, details.flag_metadata["breaker"]) == ("DISABLED", "OPEN")
    assert "breaker_reason" not in details.flag_metadata


def test_metadata_says_where_an_answer_comes_from(client: OpenFeatureClient, canary: Canary) -> None:
    """Environment, version, role and reason, each of a type that OpenFeature allows; and who the provider is."""
    details = ask(client, "boolean", "everybody", ON)
    assert dict(details.flag_metadata) == {
        "environment": "test",
        "version": canary.version,
        "role": "candidate",
        "reason": "SPLIT",
    }
    canary.kill("everybody", reason="x")
    for value in ask(client, "boolean", "everybody", ON).flag_metadata.values():
        assert type(value) in (bool, int, float, str)
    assert client.provider.get_metadata().name == "canary"


def test_a_flag_that_is_not_there(client: OpenFeatureClient) -> None:
    """Is not found: the caller's default, for every type."""
    for kind, default in DEFAULTS.items():
        details = ask(client, kind, "unheard-of", ON)
        assert (details.value, details.reason, details.error_code) == (default, "ERROR", ErrorCode.FLAG_NOT_FOUND)
        assert details.variant is None
        assert "unheard-of" in str(details.error_message)


@pytest.mark.parametrize(
    ("flag_key", "context", "code"),
    [
        ("checkout", EvaluationContext(7), ErrorCode.INVALID_CONTEXT),  # type: ignore[arg-type]
        ("checkout", EvaluationContext(["u"]), ErrorCode.INVALID_CONTEXT),  # type: ignore[arg-type]
        (["checkout"], ON, ErrorCode.GENERAL),
        (None, ON, ErrorCode.FLAG_NOT_FOUND),
        ("swiss", EvaluationContext("u", Sour(country="CH")), ErrorCode.GENERAL),
        ("checkout", "no context", ErrorCode.GENERAL),
    ],
)
def test_the_provider_never_raises(
    client: OpenFeatureClient, canary: Canary, flag_key: Any, context: Any, code: ErrorCode
) -> None:
    """Whatever it is asked, it answers the caller's default with an error code."""
    details = client.provider.resolve_boolean_details(flag_key, True, context)
    assert (details.value, details.reason, details.error_code) == (True, "ERROR", code)
    assert bool(canary.status().failures) == (code is ErrorCode.GENERAL)


def test_an_evaluation_that_fails_serves_the_callers_default(client: OpenFeatureClient, canary: Canary) -> None:
    """Not the flag's: an error is answered as OpenFeature answers errors."""

    def fail(*_: object) -> Any:
        raise RuntimeError("broken")

    canary._table.entries["nobody"] = replace(canary._table.entries["nobody"], resolve=fail)
    details = client.get_boolean_details("nobody", True, ON)
    assert (details.value, details.reason, details.error_code) == (True, "ERROR", ErrorCode.GENERAL)
    assert canary.status().failures == {"evaluating nobody": 1}


# --- the unit of work ---


def test_an_evaluation_marks_the_unit_of_work(client: OpenFeatureClient, canary: Canary) -> None:
    """It counts on its arm as one by `is_enabled` would, and the first answer of a unit holds for both."""
    with canary.scope("job") as unit:
        assert client.get_boolean_value("checkout", False, ON)
        assert not client.get_boolean_value("nobody", True, ON)
        assert client.get_boolean_value("checkout", False, OFF)
        assert canary.is_enabled("checkout", "user-1")
    assert not client.get_boolean_value("checkout", True, OFF)
    assert unit is not None
    assert {key: (mark[0].role, mark[1]) for key, mark in unit.marks.items()} == {
        "checkout": (Role.CANDIDATE, "user-0"),
        "nobody": (Role.BASELINE, "user-0"),
    }


def test_what_was_not_served_is_not_measured(client: OpenFeatureClient, canary: Canary) -> None:
    """A type mismatch, an unknown flag and an invalid context leave no mark."""
    with canary.scope("job") as unit:
        client.get_string_value("checkout", "mine", ON)
        client.get_object_value("checkout", {}, ON)
        client.get_boolean_value("unheard-of", False, ON)
        client.get_boolean_value("checkout", False, EvaluationContext(7))  # type: ignore[arg-type]
    assert unit is not None
    assert unit.marks == {}


def test_the_units_own_key_is_asked_where_the_context_has_none(client: OpenFeatureClient, canary: Canary) -> None:
    """So an application need not repeat what its middleware knows, with attributes or without."""
    for context in (None, EvaluationContext(), EvaluationContext(None, {"country": "DE"})):
        with canary.scope("job", key="user-0"):
            assert client.get_boolean_details("checkout", False, context).reason == "SPLIT"


# --- evaluation context ---


def test_every_level_of_context_arrives(client: OpenFeatureClient, openfeature: Any) -> None:
    """API, transaction, client, invocation and hook: the later overrides, and rules see what is left."""
    openfeature.set_transaction_context_propagator(ContextVarsTransactionContextPropagator())

    class Move(Hook):
        def before(self, hook_context: Any, hints: Any) -> EvaluationContext:
            """Go to Switzerland."""
            return EvaluationContext(attributes={"country": "CH"})

    def answer(**options: Any) -> bool:
        return client.get_boolean_value("swiss", False, **options)

    assert not answer()
    openfeature.set_evaluation_context(EvaluationContext("u", {"country": "CH"}))
    assert answer()
    openfeature.set_transaction_context(EvaluationContext(attributes={"country": "FR"}))
    assert not answer()
    client.context = EvaluationContext(attributes={"country": "CH"})
    assert answer()
    invocation = EvaluationContext(attributes={"country": "IT", "since": datetime(2026, 1, 1, tzinfo=UTC)})
    assert not answer(evaluation_context=invocation)
    assert answer(evaluation_context=invocation, flag_evaluation_options=FlagEvaluationOptions(hooks=[Move()]))
    openfeature.set_transaction_context(EvaluationContext())


# --- hooks ---


class Diary(Hook):
    """A hook that writes down its stages."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def before(self, hook_context: Any, hints: Any) -> None:
        """Write it down, with who answers."""
        self.stages.append(f"before {hook_context.provider_metadata.name}")

    def after(self, hook_context: Any, details: Any, hints: Any) -> None:
        """Write it down."""
        self.stages.append(f"after {details.variant}")

    def error(self, hook_context: Any, exception: Exception, hints: Any) -> None:
        """Write it down."""
        self.stages.append(f"error {type(exception).__name__}")

    def finally_after(self, hook_context: Any, details: Any, hints: Any) -> None:
        """Write it down."""
        self.stages.append(f"finally {details.reason}")


def test_the_hooks_of_others_run(client: OpenFeatureClient) -> None:
    """Around an answer, and around an error; the provider brings none of its own."""
    assert client.provider.get_provider_hooks() == []
    diary = Diary()
    client.add_hooks([diary])
    client.get_boolean_value("everybody", False, ON)
    client.get_boolean_value("unheard-of", False, ON)
    assert diary.stages == [
        *("before canary", "after on", "finally STATIC"),
        *("before canary", "error FlagNotFoundError", "finally ERROR"),
    ]


# --- events and life ---


def test_a_client_is_told_that_the_provider_is_ready(client: OpenFeatureClient) -> None:
    """Also one that asks late."""
    assert client.get_provider_status() is ProviderStatus.READY
    assert heard(client, ProviderEvent.PROVIDER_READY).get(timeout=10).provider_name == "canary"


def test_a_changed_flag_is_told(client: OpenFeatureClient, canary: Canary) -> None:
    """The keys of those that changed, and only of those."""
    changes = heard(client, ProviderEvent.PROVIDER_CONFIGURATION_CHANGED)
    canary.update("checkout", {"rollout": 60}, reason="more")
    canary.tick()
    assert changes.get(timeout=10).flags_changed == ["checkout"]


def test_a_flag_that_was_switched_is_told(client: OpenFeatureClient, canary: Canary) -> None:
    """Its answers change, though its configuration does not."""
    changes = heard(client, ProviderEvent.PROVIDER_CONFIGURATION_CHANGED)
    canary.kill("checkout", reason="looks wrong")
    canary.release("checkout")
    canary.tick()
    told = [changes.get(timeout=10) for _ in range(2)]
    assert [each.flags_changed for each in told] == [["checkout"]] * 2
    assert {"looks wrong" in str(each.message) for each in told} == {True, False}


class Away:
    """A repository that cannot be reached."""

    def __getattr__(self, name: str) -> Callable[..., object]:
        def fail(*_: object, **__: object) -> object:
            raise StoreError("the store is away")

        return fail


def test_a_store_that_goes_away_makes_the_provider_stale(
    client: OpenFeatureClient, canary: Canary, clock: ManualClock
) -> None:
    """It is told and answers on; when the store is back, it is ready again."""
    gone, back = heard(client, ProviderEvent.PROVIDER_STALE), heard(client, ProviderEvent.PROVIDER_READY)
    back.get(timeout=10)
    whole, canary._repository = canary._repository, Away()  # type: ignore[assignment]
    clock.advance(2)
    canary.tick()
    assert "the store is away" in str(gone.get(timeout=10).message)
    assert client.get_provider_status() is ProviderStatus.STALE
    assert (client.get_boolean_details("everybody", False, ON).reason) == "STALE"
    canary._repository = whole
    clock.advance(2)
    canary.tick()
    assert back.get(timeout=10).message
    assert client.get_provider_status() is ProviderStatus.READY
    assert client.get_boolean_details("everybody", False, ON).reason == "STATIC"


def test_a_store_that_was_never_there_is_an_error_until_it_is(
    canary: Canary, clock: ManualClock, openfeature: Any
) -> None:
    """The provider is not ready and says so, serves the caller's defaults, and gets ready by itself."""
    whole, canary._repository = canary._repository, Away()  # type: ignore[assignment]
    client = openfeature.get_client()
    errors, ready = heard(client, ProviderEvent.PROVIDER_ERROR), heard(client, ProviderEvent.PROVIDER_READY)
    ready.get(timeout=10)  # of the provider before, which does nothing
    with pytest.raises(ProviderNotReadyError):
        openfeature.set_provider_and_wait(CanaryProvider(canary))
    assert errors.get(timeout=10).error_code is ErrorCode.PROVIDER_NOT_READY
    canary.tick()
    assert client.get_provider_status() is ProviderStatus.ERROR
    details = ask(client, "boolean", "everybody", ON)
    assert (details.value, details.error_code) == (False, ErrorCode.PROVIDER_NOT_READY)
    canary._repository = whole
    canary._repository.apply({"flags": FLAGS}, canary._stamp("", ""), force=False)
    clock.advance(2)
    canary.tick()
    assert ready.get(timeout=10).message
    assert ask(client, "boolean", "everybody", ON).value is True
    assert ask(client, "boolean", "unheard-of", ON).error_code is ErrorCode.FLAG_NOT_FOUND


def test_making_a_provider_starts_nothing_and_initialising_it_wakes_the_canary(
    canary: Canary, openfeature: Any
) -> None:
    """So it may be made at import time, before a fork."""
    provider = CanaryProvider(canary)
    assert not canary._is_awake
    openfeature.set_provider_and_wait(provider, "shop")
    assert canary._is_awake


def test_shutting_down_leaves_the_canary_to_its_owner(
    client: OpenFeatureClient, canary: Canary, openfeature: Any
) -> None:
    """It serves on, tells OpenFeature nothing any more, and keeps nothing of the provider."""
    before: list[object] = list(canary._sinks)
    provider = client.provider
    openfeature.shutdown()
    assert canary.is_enabled("everybody", "u")
    assert [each for each in before if each not in canary._sinks] == [provider]
    canary.kill("checkout", reason="x")
    canary.tick()
    assert not canary.status().failures


def test_a_provider_may_serve_domains_and_come_back(
    client: OpenFeatureClient, canary: Canary, openfeature: Any
) -> None:
    """Bound twice, and again after a shutdown, it is told everything once."""
    provider = client.provider
    openfeature.set_provider_and_wait(provider, "shop")
    shop = openfeature.get_client("shop")
    assert shop.get_boolean_value("everybody", False, ON)
    openfeature.shutdown()
    assert not shop.get_boolean_value("everybody", False, ON)
    openfeature.set_provider_and_wait(provider, "shop")
    openfeature.set_provider_and_wait(provider)
    provider.initialize(EvaluationContext())
    changes = heard(shop, ProviderEvent.PROVIDER_CONFIGURATION_CHANGED)
    canary.kill("checkout", reason="x")
    canary.tick()
    assert changes.get(timeout=10).flags_changed == ["checkout"]
    with pytest.raises(Empty):
        changes.get_nowait()


def test_two_canaries_serve_two_domains(client: OpenFeatureClient, openfeature: Any) -> None:
    """Each client is answered and told by its own."""
    with connect("memory:", environment="other", background=False) as other:
        openfeature.set_provider_and_wait(CanaryProvider(other), "other")
        away = openfeature.get_client("other")
        assert away.get_boolean_details("everybody", False, ON).error_code is ErrorCode.FLAG_NOT_FOUND
        assert client.get_boolean_details("everybody", False, ON).flag_metadata["environment"] == "test"
        openfeature.shutdown()


# --- tracking ---


def test_what_is_tracked_with_a_value_is_observed(client: OpenFeatureClient, canary: Canary) -> None:
    """On the arms that the unit of work has met, if an SLO speaks of it; it is forgotten elsewhere."""
    canary.apply({"flags": {**FLAGS, "everybody": {"rollout": 100, "slos": ["paid.p50 > 20"]}}})
    client.track("paid", ON, TrackingEventDetails(1.0))
    with canary.scope("job", key="u") as unit:
        client.get_boolean_value("everybody", False, ON)
        client.track("paid", ON, TrackingEventDetails(99.5, {"currency": "CHF"}))
        client.track("paid")
        client.track("shipped", ON, TrackingEventDetails(1.0))
    assert canary.units.value_ring.drain(10) == [(unit, 1, "paid", 99.5)]


def test_tracking_of_what_nobody_asks_for_does_nothing(client: OpenFeatureClient, canary: Canary) -> None:
    """Nothing is raised and no unit of work changes."""
    with canary.scope("job", key="u") as unit:
        client.track("paid", ON, TrackingEventDetails(99.5, {"currency": "CHF"}))
        client.track("seen")
    assert unit is not None
    assert unit.marks == {}
