"""Writes what happened to the flags to OpenTelemetry's log, as events: trips, advances, approvals and the rest.

The background hands them over and goes on: a log that stands still must not keep it from judging. Threads: `handle` the
background's; what writes has a thread of its own.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Final

from opentelemetry._logs import LogRecord, SeverityNumber

from canary_sdk.core.events import FlagEvent, Severity, VerdictReached
from canary_sdk.telemetry.otel import names
from canary_sdk.telemetry.worker import Worker

if TYPE_CHECKING:
    from opentelemetry._logs import Logger

    from canary_sdk.core.events import Event

MOST_WAITING: Final = 1_024
"""Events that wait to be written; the oldest give way."""
SEVERITIES: Final = {
    Severity.INFO: SeverityNumber.INFO,
    Severity.WARNING: SeverityNumber.WARN,
    Severity.CRITICAL: SeverityNumber.ERROR,
}


class Events:
    """A sink that writes events to `logger`. Verdicts are counted, not written: there is one for each interval."""

    def __init__(self, logger: Logger, environment: str) -> None:
        """Write nothing yet."""
        self._logger = logger
        self._environment = environment
        self._waiting: deque[Event] = deque(maxlen=MOST_WAITING)
        self._worker = Worker(self._write, "canary-otel-events")

    def handle(self, event: Event) -> None:
        """Have it written soon."""
        if not isinstance(event, VerdictReached):
            self._waiting.append(event)
            self._worker.wake()

    def drain(self, timeout_s: float) -> None:
        """Write what waits; for at most that long."""
        self._worker.stop(timeout_s)

    def _write(self) -> float | None:
        while self._waiting:
            self._logger.emit(record_of(self._waiting.popleft(), self._environment))
        return None


def record_of(event: Event, environment: str) -> LogRecord:
    """Return it as OpenTelemetry has it: named for its class, `canary.flag_tripped`, with its sentence as the body."""
    attributes = {names.ENVIRONMENT: environment}
    if isinstance(event, FlagEvent):
        attributes[names.FLAG_KEY] = event.flag_key
    return LogRecord(
        event_name=names.EVENT + re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower(),
        timestamp=int(event.at * 1e9),
        severity_number=SEVERITIES[event.severity],
        severity_text=event.severity.upper(),
        body=event.sentence,
        attributes=attributes,
    )
