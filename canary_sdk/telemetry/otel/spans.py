"""Tells the request's own span, and the log of events, which variants the request was answered. Runs in the request.

A span that is not recorded costs a look. A request may meet several flags, and an attribute has one value: those of the
conventions say what was answered last, and one more for each flag says what that flag answered.

Threads: any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import get_current
from opentelemetry.trace import get_current_span

from canary_sdk.core.flags.evaluation import Reason
from canary_sdk.telemetry.otel import names

if TYPE_CHECKING:
    from opentelemetry._logs import Logger

    from canary_sdk.core.events import Event
    from canary_sdk.core.flags.evaluation import Evaluation


class Spans:
    """A sink that traces. Without a `logger` no events are written."""

    def __init__(self, logger: Logger | None) -> None:
        """Write the events to `logger`."""
        self._logger = logger

    def handle(self, event: Event) -> None:
        """Events are no business of a request's span."""

    def answered(self, evaluation: Evaluation) -> None:
        """Tell the current span, if it is recorded."""
        span = get_current_span()
        if not span.is_recording():
            return
        attributes = attributes_of(evaluation)
        span.set_attributes({**attributes, names.SPAN_VARIANT + evaluation.flag_key: evaluation.variant})
        if self._logger is not None:
            self._logger.emit(
                LogRecord(
                    event_name=names.EVALUATION,
                    severity_number=SeverityNumber.INFO,
                    attributes=attributes,
                    context=get_current(),
                )
            )


def attributes_of(evaluation: Evaluation) -> dict[str, str]:
    """Return the attributes of the conventions; the targeting key is a person's, and is none of them."""
    attributes = {
        names.FLAG_KEY: evaluation.flag_key,
        names.VARIANT: evaluation.variant,
        names.REASON: evaluation.reason.lower(),
        names.PROVIDER: names.SCOPE,
    }
    return attributes | {names.ERROR_TYPE: "general"} if evaluation.reason is Reason.ERROR else attributes
