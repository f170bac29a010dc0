"""`GuardedProvider` around real providers: their answers unchanged, measured on their arms, and ours to take back."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEvent, ProviderEventDetails
from openfeature.exception import ErrorCode, FlagNotFoundError, GeneralError
from openfeature.flag_evaluation import FlagResolutionDetails
from openfeature.hook import Hook
from openfeature.provider import ProviderStatus
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider
from openfeature.track import TrackingEventDetails

from canary_sdk.core import breaker as breakers
from canary_sdk.core.events import FlagTripped
from canary_sdk.core.flags.bucketing import bucket_of, threshold_of
from canary_sdk.core.flags.evaluation import Role
from canary_sdk.integrations.openfeature import Arms, GuardedProvider
from tests.integrations.test_openfeature_provider import heard

if TYPE_CHECKING:
    from pathlib import Path

    from openfeature.client import OpenFeatureClient

    from canary_sdk import Canary
    from canary_sdk.testing import ManualClock

KEYS = [f"user-{number}" for number in range(200)]
CONFIG: dict[str, Any] = {
    "flags": {
        "checkout": {"slos": ["p95 < 500ms"]},
        "colour": {"type": "string", "default": "grey", "candidate": "blue"},
        "size": {"type": "integer", "default": 20, "candidate": 50},
        "ratio": {"type": "float", "default": 0.25, "candidate": 0.75},
        "layout": {},
    },
    "auto_rollback": {"interval": "1s", "breaches": 3, "min_samples": 20, "probe": "10%"},
}
GUARDS = {"layout": Arms("old", "new", value={"columns": 1})}
KINDS: dict[str, tuple[str, Any, Any, Any]] = {
    "boolean": ("checkout", False, True, True),
    "string": ("colour", "grey", "blue", "mine"),
    "integer": ("size", 20, 50, -1),
    "float": ("ratio", 0.25, 0.75, -1.0),
    "object": ("layout", {"columns": 1}, {"columns": 2}, {}),
}


def in_memory(flag_key: str, baseline: Any, candidate: Any, reason: str = "SPLIT") -> InMemoryFlag[Any]:
    """Make a flag of the SDK's own provider that gives half of the keys the candidate."""

    def split(flag: InMemoryFlag[Any], context: EvaluationContext) -> FlagResolutionDetails[Any]:
        is_new = bucket_of(context.targeting_key or "", len(flag_key)) < threshold_of(50)
        name = "new" if is_new else "old"
        return FlagResolutionDetails(flag.variants[name], variant=name, reason=reason, flag_metadata={"from": "vendor"})

    return InMemoryFlag("old", {"old": baseline, "new": candidate}, context_evaluator=split)


class Vendor(InMemoryProvider):
    """The SDK's provider in memory, which counts what it is asked."""

    def __init__(self) -> None:
        flags = {flag_key: in_memory(flag_key, off, on) for flag_key, off, on, _ in KINDS.values()}
        flags["theirs"] = in_memory("theirs", False, True)
        flags["pinned"] = InMemoryFlag("on", {"on": True})
        super().__init__(flags)
        self.asked: Counter[str] = Counter()

    def _resolve(self, flag_key: str, default_value: Any, evaluation_context: Any) -> Any:
        self.asked[flag_key] += 1
        return super()._resolve(flag_key, default_value, evaluation_context)


class Echo(InMemoryProvider):
    """A provider that answers with the caller's own default, and says who asked."""

    def __init__(self) -> None:
        super().__init__({})

    def _resolve(self, flag_key: str, default_value: Any, evaluation_context: Any) -> Any:
        return FlagResolutionDetails(default_value, variant=evaluation_context.targeting_key)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_async", [False, True], ids=["now", "async"])
def test_the_inner_provider_hears_the_default_and_who_asks(canary: Canary, kind: str, is_async: bool) -> None:
    """Each way to ask hands on the caller's default and context, and measures by that context."""
    canary.apply(CONFIG)
    guarded = GuardedProvider(Echo(), canary)
    flag_key, _, _, default = KINDS[kind]
    ask: Any = getattr(guarded, f"resolve_{kind}_details{'_async' if is_async else ''}")
    with canary.scope("job") as unit:
        answer = ask(flag_key, default, EvaluationContext("user-7"))
        found = asyncio.run(answer) if is_async else answer
    assert (found.value, found.variant) == (default, "user-7")
    assert unit is not None
    assert unit.marks[flag_key][1] == "user-7"


@pytest.fixture
def vendor(canary: Canary) -> Vendor:
    """A provider of somebody else's, and our declarations of some of its flags."""
    canary.apply(CONFIG)
    return Vendor()


@pytest.fixture
def client(canary: Canary, vendor: Vendor, openfeature: Any) -> OpenFeatureClient:
    """A client of the guarded provider."""
    openfeature.set_provider_and_wait(GuardedProvider(vendor, canary, guards=GUARDS))
    result: OpenFeatureClient = openfeature.get_client()
    return result


def ask(client: OpenFeatureClient, kind: str, key: str) -> Any:
    """Ask for the flag of this kind, synchronously and asynchronously; both must agree."""
    flag_key, _, _, default = KINDS[kind]
    details = getattr(client, f"get_{kind}_details")(flag_key, default, EvaluationContext(key))
    ask_async = getattr(client, f"get_{kind}_details_async")
    assert asyncio.run(ask_async(flag_key, default, EvaluationContext(key))) == details
    return details


def role(canary: Canary, client: OpenFeatureClient, kind: str, key: str) -> Role | None:
    """Ask in a unit of work and return the arm that it was put on."""
    with canary.scope("job") as unit:
        ask_once = getattr(client, f"get_{kind}_details")
        ask_once(KINDS[kind][0], KINDS[kind][3], EvaluationContext(key))
    assert unit is not None
    return unit.marks[KINDS[kind][0]][0].role if unit.marks else None


def hold(canary: Canary, flag_key: str, state: breakers.State) -> None:
    """Put a breaker into a state."""
    canary.breaker(flag_key)
    canary._guard.decide(flag_key, lambda _: (breakers.Breaker(flag_key, state, reason="slow"), ()))


# --- the inner provider's answers ---


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_the_inner_providers(client: OpenFeatureClient, vendor: Vendor, kind: str) -> None:
    """Value, variant, reason and metadata, of every type, for every key, in a unit of work and outside of one."""
    flag_key, _, _, default = KINDS[kind]
    for key in KEYS:
        inner = getattr(vendor, f"resolve_{kind}_details")(flag_key, default, EvaluationContext(key))
        assert ask(client, kind, key) == inner.to_flag_evaluation_details(flag_key)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_put_on_their_arms(client: OpenFeatureClient, canary: Canary, kind: str) -> None:
    """By value, or by the variants that a guard names; with the key that was asked for."""
    _, baseline, candidate, _ = KINDS[kind]
    seen = set()
    for key in KEYS:
        value = ask(client, kind, key).value
        seen.add((str(value), role(canary, client, kind, key)))
    assert seen == {(str(baseline), Role.BASELINE), (str(candidate), Role.CANDIDATE)}


def test_one_unit_of_work_asks_once(client: OpenFeatureClient, canary: Canary, vendor: Vendor) -> None:
    """And keeps its answer, for another key and after a kill in its middle."""
    on = next(key for key in KEYS if ask(client, "boolean", key).value)
    off = next(key for key in KEYS if not ask(client, "boolean", key).value)
    vendor.asked.clear()
    with canary.scope("job") as unit:
        assert client.get_boolean_details("checkout", False, EvaluationContext(on)).reason == "SPLIT"
        canary.kill("checkout", reason="x")
        again = ask(client, "boolean", off)
        assert (again.value, again.variant, again.reason) == (True, "new", "CACHED")
        assert again.flag_metadata["role"] == "candidate"
        assert canary.is_enabled("checkout", off)
    assert vendor.asked == {"checkout": 1}
    assert unit is not None
    assert unit.marks["checkout"][1] == on


def test_threads_of_one_unit_agree(canary: Canary, client: OpenFeatureClient, vendor: Vendor) -> None:
    """Where another asked at the same time and was answered first, its answer holds for both."""
    on = next(key for key in KEYS if ask(client, "boolean", key).value)
    resolve = vendor._resolve

    def overtaken(flag_key: str, default_value: Any, evaluation_context: Any) -> Any:
        canary.mark("checkout", "baseline", value=False, variant="old")
        return resolve(flag_key, default_value, evaluation_context)

    vendor._resolve = overtaken  # type: ignore[method-assign]
    with canary.scope("job"):
        details = client.get_boolean_details("checkout", True, EvaluationContext(on))
    assert (details.value, details.variant, details.reason) == (False, "old", "CACHED")


@pytest.mark.parametrize(("splits", "roles"), [(("SPLIT",), {Role.APART}), (("STATIC", "TARGETING_MATCH"), {*Role})])
def test_what_no_percentage_decided_is_apart(
    canary: Canary, vendor: Vendor, openfeature: Any, splits: tuple[str, ...], roles: set[Role]
) -> None:
    """A provider's own reasons can be named, because they differ; a variant that nobody named is apart as well."""
    vendor._flags["checkout"] = in_memory("checkout", False, True, reason="TARGETING_MATCH")
    vendor._flags["colour"] = InMemoryFlag("red", {"red": "red"})
    openfeature.set_provider_and_wait(GuardedProvider(vendor, canary, splits=splits))
    client = openfeature.get_client()
    seen = {role(canary, client, "boolean", key) for key in KEYS} | {role(canary, client, "string", "u")}
    assert seen == roles


def test_a_variant_that_no_arm_is_named_after_is_apart(canary: Canary, vendor: Vendor, openfeature: Any) -> None:
    """Such as one that the vendor has added since."""
    openfeature.set_provider_and_wait(GuardedProvider(vendor, canary, guards={"checkout": Arms("old", "newer")}))
    client = openfeature.get_client()
    assert {role(canary, client, "boolean", key) for key in KEYS} == {Role.BASELINE, Role.APART}


def test_without_a_named_candidate_every_other_variant_is(canary: Canary, vendor: Vendor, openfeature: Any) -> None:
    """As for a flag that divides its percentage among several."""
    openfeature.set_provider_and_wait(GuardedProvider(vendor, canary, guards={"checkout": Arms("old")}))
    client = openfeature.get_client()
    assert {role(canary, client, "boolean", key) for key in KEYS} == {Role.BASELINE, Role.CANDIDATE}


def test_a_flag_that_is_not_declared_passes_through(client: OpenFeatureClient, canary: Canary) -> None:
    """It is neither marked nor counted as a failure."""
    with canary.scope("job") as unit:
        details = client.get_boolean_details("theirs", False, EvaluationContext("user-1"))
        assert details.flag_metadata == {"from": "vendor"}
        assert client.get_boolean_value("pinned", False)
    assert unit is not None
    assert unit.marks == {}
    assert not canary.status().failures


def test_errors_of_the_inner_provider_pass_as_they_are(
    client: OpenFeatureClient, canary: Canary, vendor: Vendor
) -> None:
    """Those that it returns, those that it raises, and values of a wrong type; none of them is marked."""
    del vendor._flags["checkout"]
    with canary.scope("job") as unit:
        details = client.get_boolean_details("checkout", True)
        assert (details.value, details.error_code) == (True, ErrorCode.FLAG_NOT_FOUND)
        assert client.get_string_details("size", "mine").error_code is ErrorCode.TYPE_MISMATCH

        def fail(*_: object) -> Any:
            raise FlagNotFoundError("gone")

        vendor._resolve = fail  # type: ignore[method-assign, assignment]
        with pytest.raises(FlagNotFoundError):
            client.provider.resolve_boolean_details("checkout", True)
        assert client.get_boolean_details("checkout", True).error_message == "gone"
    assert unit is not None
    assert unit.marks == {}
    assert not canary.status().failures


def test_what_fails_in_us_is_counted_and_their_answer_served(client: OpenFeatureClient, canary: Canary) -> None:
    """Nothing of ours reaches the caller, whether it fails before or after the inner provider was asked."""
    on = next(key for key in KEYS if ask(client, "boolean", key).value)
    with canary.scope("job") as unit:
        canary._wake = lambda: 1 / 0  # type: ignore[assignment, method-assign, return-value]
        assert ask(client, "boolean", on).value is True
    del canary._wake
    assert unit is not None
    assert unit.marks == {}
    assert canary.status().failures == {"settling checkout": 2, "measuring checkout": 2}


# --- the way back ---


@pytest.mark.parametrize("kind", KINDS)
def test_while_a_flag_is_held_the_baseline_is_served(
    client: OpenFeatureClient, canary: Canary, vendor: Vendor, kind: str
) -> None:
    """Of every type; the inner provider is not asked; and it is measured apart. Released, it decides again."""
    flag_key, baseline, _, _ = KINDS[kind]
    canary.kill(flag_key, reason="looks wrong")
    for key in KEYS[:20]:
        details = ask(client, kind, key)
        assert (details.value, details.reason, details.error_code) == (baseline, "DISABLED", None)
        assert details.flag_metadata["breaker"] == "KILLED"
        assert details.flag_metadata["breaker_reason"] == "looks wrong"
        assert role(canary, client, kind, key) is Role.APART
    assert not vendor.asked
    canary.release(flag_key)
    assert {str(ask(client, kind, key).value) for key in KEYS} > {str(baseline)}


def test_the_variant_of_the_baseline_is_the_inner_providers_if_named(client: OpenFeatureClient, canary: Canary) -> None:
    """Else it is ours."""
    canary.kill("layout", reason="x")
    canary.kill("colour", reason="x")
    assert ask(client, "object", "u").variant == "old"
    assert ask(client, "string", "u").variant == "baseline"


def test_arms_without_a_value_have_the_one_that_we_declared(canary: Canary, vendor: Vendor, openfeature: Any) -> None:
    """Under the inner provider's name for it, and not the caller's default."""
    openfeature.set_provider_and_wait(GuardedProvider(vendor, canary, guards={"checkout": Arms("old", "new")}))
    canary.kill("checkout", reason="x")
    details = openfeature.get_client().get_boolean_details("checkout", True, EvaluationContext("u"))
    assert (details.value, details.variant) == (False, "old")


def test_a_baseline_that_nobody_named_is_the_callers_default(canary: Canary, vendor: Vendor, openfeature: Any) -> None:
    """A kill holds also where our declaration is of another type than what is asked; no unit sees it change."""
    openfeature.set_provider_and_wait(GuardedProvider(vendor, canary))
    client = openfeature.get_client()
    canary.kill("layout", reason="x")
    with canary.scope("job"):
        for _ in range(2):
            details = client.get_object_details("layout", {"mine": 1}, EvaluationContext("u"))
            assert (details.value, details.variant, details.reason) == ({"mine": 1}, None, "DISABLED")
            canary.release("layout")
    assert not vendor.asked


def test_a_probe_asks_for_a_few(client: OpenFeatureClient, canary: Canary, vendor: Vendor) -> None:
    """Half open, the inner provider is asked for a tenth of the users; the others get the baseline."""
    hold(canary, "checkout", breakers.State.HALF_OPEN)
    told = Counter(str(client.get_boolean_details("checkout", True, EvaluationContext(key)).reason) for key in KEYS)
    assert set(told) == {"SPLIT", "DISABLED"}
    assert told["SPLIT"] == vendor.asked["checkout"] < len(KEYS) / 5


def serve(canary: Canary, clock: ManualClock, client: OpenFeatureClient, seconds: int, slow_s: float) -> None:
    """Let two hundred users a second make a request each; the candidate takes `slow_s`."""
    for _ in range(seconds * 10):
        for key in KEYS[:: len(KEYS) // 40]:
            unit = canary.units.open_request()
            token = canary.units.enter(unit)
            is_new = client.get_boolean_value("checkout", False, EvaluationContext(key))
            unit.finish(unit.started + (slow_s if is_new else 0.1))
            canary.units.leave(token)
        clock.advance(0.1)
        canary.tick()


class Told:
    """A sink that remembers trips."""

    def __init__(self) -> None:
        self.trips: list[FlagTripped] = []

    def handle(self, event: object) -> None:
        """Remember it."""
        if isinstance(event, FlagTripped):
            self.trips.append(event)


def test_a_slow_candidate_of_theirs_is_taken_back(
    client: OpenFeatureClient, canary: Canary, clock: ManualClock, vendor: Vendor
) -> None:
    """The judge compares the arms of the inner provider's split, the breaker opens, and nobody asks it any more."""
    told = Told()
    canary.subscribe(told)
    changes = heard(client, ProviderEvent.PROVIDER_CONFIGURATION_CHANGED)
    serve(canary, clock, client, 3, slow_s=0.1)
    assert not told.trips
    serve(canary, clock, client, 5, slow_s=0.9)
    (trip,) = told.trips
    assert "p95" in trip.reason
    assert changes.get(timeout=10).flags_changed == ["checkout"]
    vendor.asked.clear()
    details = client.get_boolean_details("checkout", True, EvaluationContext("user-1"))
    assert (details.value, details.flag_metadata["breaker"]) == (False, "OPEN")
    assert "p95" in str(details.flag_metadata["breaker_reason"])
    assert not vendor.asked


# --- the inner provider's life ---


def test_its_life_events_hooks_and_tracking_are_passed_on(canary: Canary, openfeature: Any) -> None:
    """Initialised and shut down with ours, told as ours, under its own name; the `Canary` stays open."""

    class Lively(Vendor):
        life: tuple[str, ...] = ()

        def initialize(self, evaluation_context: EvaluationContext) -> None:
            """Remember it."""
            self.life += ("initialized",)

        def shutdown(self) -> None:
            """Remember it."""
            self.life += ("shut down",)

        def get_provider_hooks(self) -> list[Hook]:
            """Bring one."""
            return [hook]

    hook, lively = Hook(), Lively()
    openfeature.set_provider_and_wait(GuardedProvider(lively, canary))
    client = openfeature.get_client()
    assert client.provider.get_provider_hooks() == [hook]
    assert client.provider.get_metadata().name == "In-Memory Provider"
    changes, gone = (
        heard(client, each) for each in (ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, ProviderEvent.PROVIDER_STALE)
    )
    lively.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=["theirs"]))
    assert changes.get(timeout=10).flags_changed == ["theirs"]
    lively.emit_provider_stale(ProviderEventDetails())
    assert gone.get(timeout=10).provider_name == "In-Memory Provider"
    assert client.get_provider_status() is ProviderStatus.STALE
    canary.apply({"flags": {"search": {"slos": ["paid.p50 > 20"]}}})
    with canary.scope("job", key="u") as unit:
        canary.is_enabled("search")
        client.track("paid", EvaluationContext("u"), TrackingEventDetails(7))
    assert canary.units.value_ring.drain(10) == [(unit, 1, "paid", 7)]
    assert lively._tracking_events["paid"].value == 7
    sinks = canary._sinks
    openfeature.shutdown()
    assert lively.life == ("initialized", "shut down")
    assert len(canary._sinks) == len(sinks) - 1
    lively.emit_provider_ready(ProviderEventDetails())
    assert not canary._closed


def test_an_inner_provider_that_cannot_start_says_so(canary: Canary, openfeature: Any) -> None:
    """As if it stood alone."""

    class Broken(Vendor):
        def initialize(self, evaluation_context: EvaluationContext) -> None:
            """Fail."""
            raise GeneralError("no network")

    with pytest.raises(GeneralError):
        openfeature.set_provider_and_wait(GuardedProvider(Broken(), canary))
    assert openfeature.get_client().get_provider_status() is ProviderStatus.ERROR


# --- flagd, from a file ---

FLAGD = {
    "flags": {
        "checkout": {
            "state": "ENABLED",
            "variants": {"on": True, "off": False},
            "defaultVariant": "off",
            "targeting": {"fractional": [["on", 50], ["off", 50]]},
        },
        "layout": {
            "state": "ENABLED",
            "variants": {"old": {"columns": 1}, "new": {"columns": 2}},
            "defaultVariant": "old",
            "targeting": {"fractional": [["new", 30], ["old", 70]]},
        },
        "switched-off": {"state": "DISABLED", "variants": {"on": True}, "defaultVariant": "on"},
    }
}


@pytest.fixture
def flagd(canary: Canary, openfeature: Any, tmp_path: Path) -> OpenFeatureClient:
    """A client of flagd's provider, which reads a file, guarded."""
    provider = pytest.importorskip("openfeature.contrib.provider.flagd", reason="install openfeature-provider-flagd")
    config = pytest.importorskip("openfeature.contrib.provider.flagd.config")
    canary.apply(CONFIG)
    path = tmp_path / "flagd.json"
    path.write_text(json.dumps(FLAGD))
    inner = provider.FlagdProvider(resolver_type=config.ResolverType.FILE, offline_flag_source_path=str(path))
    openfeature.set_provider_and_wait(GuardedProvider(inner, canary, guards=GUARDS, splits=["TARGETING_MATCH"]))
    result: OpenFeatureClient = openfeature.get_client()
    return result


def test_flagd_is_measured_and_taken_back(flagd: OpenFeatureClient, canary: Canary) -> None:
    """Its fractions, which it calls targeting matches, make the arms; killed here, its baseline is served."""
    for kind, (baseline, candidate) in {"boolean": ("off", "on"), "object": ("old", "new")}.items():
        seen = {(ask(flagd, kind, key).variant, role(canary, flagd, kind, key)) for key in KEYS}
        assert seen == {(baseline, Role.BASELINE), (candidate, Role.CANDIDATE)}
        canary.kill(KINDS[kind][0], reason="x")
        held = ask(flagd, kind, KEYS[0])
        assert (held.value, held.variant, held.reason) == (KINDS[kind][1], baseline, "DISABLED")


def test_what_flagd_says_itself_passes_through(flagd: OpenFeatureClient, canary: Canary) -> None:
    """Unknown flags, which it raises, disabled ones, mismatches, and its name."""
    assert flagd.get_boolean_details("unheard-of", True).error_code is ErrorCode.FLAG_NOT_FOUND
    assert flagd.get_boolean_details("switched-off", False).reason == "DISABLED"
    assert flagd.get_string_details("checkout", "mine", EvaluationContext("u")).error_code is ErrorCode.TYPE_MISMATCH
    assert flagd.provider.get_metadata().name == "FlagdProvider"
    assert not canary.status().failures
