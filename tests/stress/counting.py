"""A process that is going to be killed: one thread appends samples, the other counts them ten times a second.

It writes what it has done into a pipe: `A` at a time so many were appended, `T` at a time a tick ended that had begun
when so many were appended. What is in a pipe outlives its writer.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
import time
from typing import Final

from canary_sdk.measure.arena import Arena
from canary_sdk.measure.ring import Ring
from canary_sdk.measure.sketch import bin_of

REPORT: Final = struct.Struct("=cdQ")
LIMITS: Final = (0.02, 0.05)
PIECE: Final = 256


def main(path: str) -> None:
    """Append and count until killed."""
    arena = Arena(path)
    arm = arena.arm("a", LIMITS)
    ring = Ring[float](1_000_000)
    appended = 0

    def report(kind: bytes, done: int) -> None:
        os.write(1, REPORT.pack(kind, time.monotonic(), done))

    def append() -> None:
        nonlocal appended
        while True:
            for number in range(50):
                ring.append(number / 500)
            appended += 50
            report(b"A", appended)
            time.sleep(0.005)

    threading.Thread(target=append, daemon=True).start()
    due = time.monotonic()
    while True:
        began = appended
        while records := ring.drain(PIECE):
            for duration in records:
                arm.finish(duration, bin_of(duration), error=duration > LIMITS[1])
        arena.heartbeat()
        report(b"T", began)
        due += 0.1
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main(sys.argv[1])
