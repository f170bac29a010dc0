"""A thread for what may wait for somebody else: an exporter, a mail server. Nobody ever waits for it.

Threads: `wake` and `stop` from any. The thread is a daemon, and is started by the first `wake` of a process: never at
import, and anew in a forked child, where nothing of the parent's is used again.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    Step = Callable[[], float | None]

AFTER_FAILURE_S: Final = 1.0
"""How long a step that raised is left alone."""


class Worker:
    """Calls `step` whenever it is woken, and again as long as it says so.

    `step` returns how many seconds later it wants to be called again: 0 at once, None not before the next `wake`. What
    it raises is swallowed, and it is called again a little later.
    """

    def __init__(self, step: Step, name: str) -> None:
        """Prepare; nothing runs yet."""
        self._step = step
        self._name = name
        self._pid = 0

    def wake(self) -> None:
        """Have `step` called soon. Never raises: where threads cannot be had, what waits goes on waiting."""
        if self._pid != os.getpid():
            self._begin()
        self._woken.set()

    def stop(self, timeout_s: float) -> bool:
        """Have done what can be done at once, and end; return whether that took no longer than `timeout_s`."""
        if self._pid != os.getpid():
            return True
        self._stopping.set()
        self._woken.set()
        self._thread.join(timeout_s)
        is_over = not self._thread.is_alive()
        self._pid = 0
        return is_over

    def _begin(self) -> None:
        self._woken, self._stopping = (
            threading.Event(),
            threading.Event(),
        )  # a thread that outlives its stop has its own
        self._thread = threading.Thread(
            target=self._run, args=(self._woken, self._stopping), name=self._name, daemon=True
        )
        self._pid = os.getpid()
        try:
            self._thread.start()
        except RuntimeError:
            self._pid = 0

    def _run(self, woken: threading.Event, stopping: threading.Event) -> None:
        wait_s: float | None = None
        while not stopping.is_set():
            woken.wait(wait_s)
            woken.clear()
            wait_s = self._stepped()
            while wait_s == 0:
                wait_s = self._stepped()

    def _stepped(self) -> float | None:
        try:
            return self._step()
        except Exception:  # noqa: BLE001 - the steps tell of their failures; the thread must outlive all of them
            return AFTER_FAILURE_S
