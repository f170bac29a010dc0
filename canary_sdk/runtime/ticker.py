"""The one background thread: calls one function ten times a second until told to stop.

A plain daemon thread and an event; started by whoever needs it first in a process, never at import. It survives
whatever the function raises.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from canary_sdk.runtime.failures import Failures

PERIOD_S: Final = 0.1


class Ticker:
    """Threads: `start` and `stop` from any thread, each at most once."""

    def __init__(self, work: Callable[[], None], failures: Failures) -> None:
        """Prepare; nothing runs yet."""
        self._work = work
        self._failures = failures
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="canary-ticker", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread. Raises RuntimeError where threads cannot be had."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Ask the thread to end and wait at most `timeout_s`; return whether it has ended."""
        self._stopping.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.wait(PERIOD_S):
            try:
                self._work()
            except Exception as error:  # noqa: BLE001 - the background must outlive any of its mistakes
                self._failures.note(
                    ("a tick", error, "The next tick tries again; please report this with its traceback")
                )
