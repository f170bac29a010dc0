"""Tells events to the standard log, one line each, at a level that fits the severity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from canary_sdk.core.events import Severity, VerdictReached

if TYPE_CHECKING:
    from canary_sdk.core.events import Event


class LogSink:
    """Writes to the logger `canary_sdk`: verdicts at DEBUG, and what changed something as loud as it is severe."""

    def handle(self, event: Event) -> None:
        """Log one event."""
        import logging

        levels = {Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING, Severity.CRITICAL: logging.CRITICAL}
        level = logging.DEBUG if isinstance(event, VerdictReached) else levels[event.severity]
        logging.getLogger("canary_sdk").log(level, "%s", event.sentence)
