"""Every name that OpenTelemetry knows us by, once. The only module that names attributes, metrics and events.

The names that begin with `feature_flag.`, `http.`, `rpc.`, `error.` and `otel.` are those of the semantic conventions,
version 1.44.0: HTTP server metrics are stable there, feature flags and RPC a release candidate. Those that begin with
`canary.` are ours.
"""

from __future__ import annotations

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
SCOPE: Final = "canary_sdk"
"""The instrumentation scope, and what `feature_flag.provider.name` says."""

# --- attributes ---

FLAG_KEY: Final = "feature_flag.key"
VARIANT: Final = "feature_flag.result.variant"
REASON: Final = "feature_flag.result.reason"
PROVIDER: Final = "feature_flag.provider.name"
ROUTE: Final = "http.route"
METHOD: Final = "rpc.method"
STATUS_CODE: Final = "http.response.status_code"
ERROR_TYPE: Final = "error.type"
OVERFLOW: Final = "otel.metric.overflow"
"""True on the one point of a metric that counts what found no room, and that has no other attribute."""

ARM: Final = "canary.arm"
"""`candidate`, `baseline`, or `apart` for what the split did not decide."""
ENVIRONMENT: Final = "canary.environment"
OUTCOME: Final = "canary.verdict.outcome"
CAUSE: Final = "canary.rollback.cause"
"""`tripped`, `killed` or `aborted`."""
PLACE: Final = "canary.failure.place"
SPAN_VARIANT: Final = "canary.variant."
"""With the flag key behind it, the variant on a span: a request may meet many flags, and an attribute has one value."""

# --- metrics ---

EVALUATION: Final = "feature_flag.evaluation"
"""The metric, and the name of the semantic conventions' event."""
REQUEST_DURATION: Final = "http.server.request.duration"
UNIT_DURATION: Final = "canary.unit.duration"
BREAKER: Final = "canary.breaker.state"
PERCENT: Final = "canary.rollout.percent"
STAGE: Final = "canary.rollout.stage"
VERDICTS: Final = "canary.verdicts"
ROLLBACKS: Final = "canary.rollbacks"
DROPPED: Final = "canary.samples.dropped"
LAG: Final = "canary.judge.lag"
FAILURES: Final = "canary.failures"
STALE: Final = "canary.store.stale"

BOUNDARIES_S: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""The bucket boundaries that the conventions give for `http.server.request.duration`, in seconds."""

# --- events ---

EVENT: Final = "canary."
"""With an event's name behind it: `canary.flag_tripped`."""
