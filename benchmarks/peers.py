"""Other packages that do what one of our hot paths does, each made ready to be raced beside it.

The extra `bench` installs them. One that is not there, or that fails, is named as missing, not left out in silence.
Nothing here reaches a network: flags come from a file or from memory, and events are off.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mmh3

from canary_sdk.core.flags.bucketing import seed_of, threshold_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Ask = Callable[[str], Any]
    """Whether the flag `some`, a quarter of whose users are in, is on for a user."""
    Decorate = Callable[[Callable[..., Any]], Callable[..., Any]]
    Wrap = Callable[[Any], Any]
    Observe = Callable[[float], object]

FLAG = "some"
SHARE = 0.25


def made(makers: Mapping[str, Callable[[], Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what could be made, by name, and why the others could not."""
    found, missing = {}, {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            missing[name] = f"{type(error).__name__}: {error}".partition("\n")[0]
            print(f"{name} is missing: {missing[name]}", file=sys.stderr)
    return found, missing


def versions() -> dict[str, str]:
    """Return the version of every package that takes part and is installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


PACKAGES = (
    "mmh3",
    "eppo-server-sdk",
    "growthbook",
    "launchdarkly-server-sdk",
    "openfeature-sdk",
    "posthog",
    "UnleashClient",
    "yggdrasil-engine",
    "aiobreaker",
    "circuitbreaker",
    "purgatory",
    "pybreaker",
    "asgi-correlation-id",
    "opentelemetry-instrumentation-asgi",
    "opentelemetry-instrumentation-wsgi",
    "opentelemetry-sdk",
    "prometheus-client",
    "prometheus-fastapi-instrumentator",
    "starlette-exporter",
    "ddsketch",
    "starlette",
    "fastapi",
    "flask",
    "django",
    "uvicorn",
    "httptools",
    "uvloop",
)

# --- evaluation ---


def eppo() -> Ask:
    """Eppo's client, whose core is written in Rust."""
    import eppo_client
    from eppo_client.assignment_logger import AssignmentLogger
    from eppo_client.config import Config

    ranges = [{"start": 0, "end": int(SHARE * 10_000)}]
    split = {
        "key": "split",
        "rules": [],
        "doLog": False,
        "splits": [
            {"variationKey": "on", "shards": [{"salt": FLAG, "ranges": ranges}]},
            {"variationKey": "off", "shards": []},
        ],
    }
    flag = {
        "key": FLAG,
        "enabled": True,
        "variationType": "BOOLEAN",
        "variations": {"on": {"key": "on", "value": True}, "off": {"key": "off", "value": False}},
        "allocations": [split],
        "totalShards": 10_000,
    }
    flags = {
        "createdAt": "2026-01-01T00:00:00Z",
        "format": "SERVER",
        "environment": {"name": "Test"},
        "flags": {FLAG: flag},
    }
    client = eppo_client.init(
        Config(
            api_key="none",
            base_url="http://127.0.0.1:9",
            assignment_logger=AssignmentLogger(),
            poll_interval_seconds=None,
            initial_configuration=eppo_client.Configuration(flags_configuration=json.dumps(flags).encode()),
        )
    )
    return lambda key: client.get_boolean_assignment(FLAG, key, {}, False)


def growthbook() -> Ask:
    """GrowthBook, an object a user as its documentation has it."""
    from growthbook import GrowthBook

    features = {FLAG: {"defaultValue": False, "rules": [{"force": True, "coverage": SHARE, "hashAttribute": "id"}]}}
    return lambda key: GrowthBook(attributes={"id": key}, features=features).is_on(FLAG)


def launchdarkly() -> Ask:
    """LaunchDarkly, with flags from a file and events off."""
    import ldclient
    from ldclient.config import Config
    from ldclient.integrations import Files

    logging.getLogger("ldclient").setLevel(logging.CRITICAL)
    weights = [
        {"variation": 0, "weight": int(SHARE * 100_000)},
        {"variation": 1, "weight": int((1 - SHARE) * 100_000)},
    ]
    flag = {
        "key": FLAG,
        "on": True,
        "version": 1,
        "variations": [True, False],
        "fallthrough": {"rollout": {"variations": weights}},
        "offVariation": 1,
        "salt": FLAG,
        "rules": [],
        "targets": [],
        "prerequisites": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flags.json"
        path.write_text(json.dumps({"flags": {FLAG: flag}}))
        source = Files.new_data_source(paths=[str(path)])
        client = ldclient.LDClient(Config("none", update_processor_class=source, send_events=False))
    context = ldclient.Context.create
    return lambda key: client.variation(FLAG, context(key), default=False)


def openfeature() -> Ask:
    """OpenFeature's own client, with its provider in memory and our hash."""
    from openfeature import api
    from openfeature.evaluation_context import EvaluationContext
    from openfeature.flag_evaluation import FlagResolutionDetails, Reason
    from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

    seed, threshold = seed_of(FLAG), threshold_of(SHARE * 100)

    def split(flag: Any, context: EvaluationContext) -> FlagResolutionDetails[bool]:
        variant = "on" if mmh3.hash(context.targeting_key or "", seed, False) < threshold else "off"
        return FlagResolutionDetails(flag.variants[variant], reason=Reason.SPLIT, variant=variant)

    flags = {FLAG: InMemoryFlag("off", {"on": True, "off": False}, context_evaluator=split)}
    api.set_provider_and_wait(InMemoryProvider(flags), "peer")
    ask = api.get_client("peer").get_boolean_value
    return lambda key: ask(FLAG, False, EvaluationContext(key))


def posthog() -> Ask:
    """PostHog, evaluating locally."""
    from posthog import Posthog

    client: Any = Posthog("none", host="http://127.0.0.1:9", sync_mode=True, send=False)
    groups = {"groups": [{"properties": [], "rollout_percentage": SHARE * 100}]}
    client.feature_flags = [{"id": 1, "key": FLAG, "active": True, "is_simple_flag": False, "filters": groups}]
    client._FEATURE_FLAGS_POLL = None
    return lambda key: client.feature_enabled(FLAG, key, only_evaluate_locally=True, send_feature_flag_events=False)


UNLEASH = {
    "version": 2,
    "features": [
        {
            "name": FLAG,
            "enabled": True,
            "strategies": [
                {
                    "name": "flexibleRollout",
                    "parameters": {"rollout": str(int(SHARE * 100)), "stickiness": "userId", "groupId": FLAG},
                }
            ],
        }
    ],
}


def yggdrasil() -> Ask:
    """Unleash's core, written in Rust, without its client."""
    from yggdrasil_engine.engine import UnleashEngine

    engine = UnleashEngine()
    engine.take_state(json.dumps(UNLEASH))
    return lambda key: engine.is_enabled(FLAG, {"userId": key}).is_enabled


def unleash() -> Ask:
    """Unleash's client, on a state that it is given."""
    from UnleashClient import UnleashClient
    from UnleashClient.cache import FileCache

    logging.getLogger("UnleashClient").setLevel(logging.CRITICAL)
    cache = FileCache("bench", directory=tempfile.mkdtemp())
    cache.bootstrap_from_dict(UNLEASH)
    client = UnleashClient("http://127.0.0.1:9", "bench", cache=cache, disable_metrics=True, disable_registration=True)
    client.initialize_client(fetch_toggles=False)
    return lambda key: client.is_enabled(FLAG, {"userId": key})


EVALUATION: dict[str, Callable[[], Ask]] = {
    "eppo (Rust)": eppo,
    "yggdrasil (Rust)": yggdrasil,
    "growthbook": growthbook,
    "posthog": posthog,
    "openfeature, in memory": openfeature,
    "launchdarkly": launchdarkly,
    "unleash": unleash,
}


# --- breakers ---


def circuitbreaker() -> Decorate:
    """The breaker that does least."""
    from circuitbreaker import CircuitBreaker

    decorate: Decorate = CircuitBreaker()
    return decorate


def pybreaker() -> Decorate:
    """The breaker that is installed most."""
    from pybreaker import CircuitBreaker

    decorate: Decorate = CircuitBreaker()
    return decorate


def aiobreaker() -> Decorate:
    """A breaker for coroutine functions, and others, after pybreaker."""
    from aiobreaker import CircuitBreaker

    decorate: Decorate = CircuitBreaker()
    return decorate


def purgatory() -> Decorate:
    """A breaker whose state may lie in Redis; here it does not."""
    from purgatory import SyncCircuitBreakerFactory

    decorate: Decorate = SyncCircuitBreakerFactory()("bench")
    return decorate


def purgatory_async() -> Decorate:
    """The same for coroutine functions."""
    from purgatory import AsyncCircuitBreakerFactory

    decorate: Decorate = AsyncCircuitBreakerFactory()("bench")
    return decorate


BREAKERS: dict[str, Callable[[], Decorate]] = {
    "circuitbreaker": circuitbreaker,
    "pybreaker": pybreaker,
    "aiobreaker": aiobreaker,
    "purgatory": purgatory,
}
ASYNC_BREAKERS: dict[str, Callable[[], Decorate]] = {
    "circuitbreaker": circuitbreaker,
    "aiobreaker": aiobreaker,
    "purgatory": purgatory_async,
}

# --- middleware ---


def prometheus_by_hand() -> Wrap:
    """The cheapest that measures: a histogram's child and a counter's for each request."""
    from time import perf_counter

    from prometheus_client import CollectorRegistry, Counter, Histogram

    registry = CollectorRegistry()
    seconds = Histogram("seconds", "", ["method"], registry=registry)
    requests = Counter("requests", "", ["method", "status"], registry=registry)

    def wrap(app: Any) -> Any:
        async def measured(scope: Any, receive: Any, send: Any) -> None:
            status, started = 500, perf_counter()

            async def watch(message: Any) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await app(scope, receive, watch)
            finally:
                seconds.labels(scope["method"]).observe(perf_counter() - started)
                requests.labels(scope["method"], status).inc()

        return measured

    return wrap


def correlation_id() -> Wrap:
    """asgi-correlation-id: a header read, a header written."""
    from asgi_correlation_id import CorrelationIdMiddleware

    wrap: Wrap = CorrelationIdMiddleware
    return wrap


def instrumentator() -> Wrap:
    """prometheus-fastapi-instrumentator, the metrics middleware that is used most."""
    from prometheus_client import CollectorRegistry
    from prometheus_fastapi_instrumentator import metrics
    from prometheus_fastapi_instrumentator.middleware import PrometheusInstrumentatorMiddleware

    registry = CollectorRegistry()
    default = metrics.default(registry=registry)
    return lambda app: PrometheusInstrumentatorMiddleware(app, instrumentations=[default], registry=registry)


def starlette_exporter() -> Wrap:
    """starlette-exporter."""
    from starlette_exporter import PrometheusMiddleware

    return lambda app: PrometheusMiddleware(app, prefix="bench")


def otel_meter() -> Any:
    """Make OpenTelemetry's SDK measure into memory."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    return MeterProvider([InMemoryMetricReader()])


def otel_asgi() -> Wrap:
    """opentelemetry-instrumentation-asgi, metrics alone."""
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.trace import NoOpTracerProvider

    meters = otel_meter()
    return lambda app: OpenTelemetryMiddleware(app, meter_provider=meters, tracer_provider=NoOpTracerProvider())


def otel_wsgi() -> Wrap:
    """opentelemetry-instrumentation-wsgi, metrics alone."""
    from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
    from opentelemetry.trace import NoOpTracerProvider

    meters = otel_meter()
    return lambda app: OpenTelemetryMiddleware(app, meter_provider=meters, tracer_provider=NoOpTracerProvider())


ASGI: dict[str, Callable[[], Wrap]] = {
    "prometheus-client, by hand": prometheus_by_hand,
    "asgi-correlation-id": correlation_id,
    "prometheus-fastapi-instrumentator": instrumentator,
    "otel-asgi, metrics": otel_asgi,
}
STARLETTE: dict[str, Callable[[], Wrap]] = {**ASGI, "starlette-exporter": starlette_exporter}
WSGI: dict[str, Callable[[], Wrap]] = {"otel-wsgi, metrics": otel_wsgi}

# --- recording ---


def prometheus_histogram() -> Observe:
    """A child of a histogram of prometheus-client."""
    from prometheus_client import CollectorRegistry, Histogram

    observe: Observe = Histogram("seconds", "", ["arm"], registry=CollectorRegistry()).labels("on").observe
    return observe


def otel_histogram() -> Observe:
    """A histogram of OpenTelemetry's SDK, with two attributes."""
    record = otel_meter().get_meter("bench").create_histogram("seconds").record
    attributes = {"flag": FLAG, "arm": "on"}
    return lambda seconds: record(seconds, attributes)


def ddsketch() -> Observe:
    """DataDog's sketch."""
    from ddsketch import DDSketch

    observe: Observe = DDSketch(0.01).add
    return observe


RECORDING: dict[str, Callable[[], Observe]] = {
    "prometheus-client, a histogram's child": prometheus_histogram,
    "ddsketch": ddsketch,
    "otel, a histogram": otel_histogram,
}
