"""A process that is going to be killed: it serves a flag under a rollout, and changes another one, as fast as it can.

It writes what it has done into a pipe: `S` as it serves another percentage, `A` as a change of its own is acknowledged.
What is in a pipe outlives its writer.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
import time
from typing import Final

from canary_sdk import connect

REPORT: Final = struct.Struct("=cd")
LED: Final = "led"
COUNTING: Final = "counting"


def main(url: str, count: int) -> None:
    """Serve, and count in a flag's `maximum`, until killed."""
    canary = connect(url)

    def serve() -> None:
        number = 0
        while True:
            number += 1
            with canary.scope("job", key=f"user-{number % 997}"):
                canary.is_enabled(LED)
            if not number % 20:
                time.sleep(0.01)

    threading.Thread(target=serve, daemon=True).start()

    def watch() -> None:
        served = -1.0
        while True:
            flag = canary.flag(LED)
            if flag is not None and flag.rollout != served:
                served = flag.rollout
                os.write(1, REPORT.pack(b"S", served))
            time.sleep(0.002)

    threading.Thread(target=watch, daemon=True).start()
    while True:
        count += 1
        canary.update(COUNTING, {"maximum": count})
        os.write(1, REPORT.pack(b"A", count))
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
