"""The only module that reads a clock or waits.

Anything measured uses `monotonic`, anything persisted uses `wall`. Everybody else is handed a `Clock`.
"""

from __future__ import annotations

import time
from typing import Final, Protocol


class Clock(Protocol):
    """Two hands and a pause. Threads: all methods may be called from any thread."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back; comparable within one host."""

    def wall(self) -> float:
        """Seconds since the epoch; may jump."""

    def pause(self, seconds: float) -> None:
        """Let other threads run for at least `seconds`. For background threads only."""


class SystemClock:
    """The machine's own clocks, bound directly so that a reading costs no Python frame."""

    monotonic = staticmethod(time.perf_counter)
    wall = staticmethod(time.time)
    pause = staticmethod(time.sleep)


SYSTEM_CLOCK: Final[Clock] = SystemClock()
