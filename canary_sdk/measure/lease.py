"""Who may judge on this host: one process at a time, by a lock on a file beside the arena.

The kernel lets go of the lock when its holder dies, however it dies; whoever asks next holds it. No process is special,
nothing has to be started, and nothing expires. Without a file there is nobody to share with, and the lease is always
held.

Threads: the ticker's. A forked child shares its parent's lock until it lets go of the copy: it opens a lease of its
own.
"""

from __future__ import annotations

import os
from contextlib import suppress

from canary_sdk.measure import mapping


class Lease:
    """The right to judge. Cost of `take`: one or two system calls."""

    def __init__(self, path: str | None) -> None:
        """Name the file to lock; None for a lease that nobody else can want."""
        self.path = path
        self._fd: int | None = None

    def take(self) -> bool:
        """Hold it if it is free, and say whether this process holds it now. Where it cannot be told, all judge."""
        if self.path is None:
            return True
        if self._fd is not None and mapping.is_at(self._fd, self.path):
            return True
        self.let_go()
        try:
            self._fd = _take(self.path)
        except OSError:
            return True  # two judges find the same; none would find nothing
        return self._fd is not None

    def let_go(self) -> None:
        """Let somebody else have it; idempotent."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def remove(self) -> None:
        """Let go, and take the file away: nobody is left who could want it."""
        if self.path is not None:
            with suppress(OSError):
                os.unlink(self.path)  # noqa: PTH108 - pathlib is not worth its import here
        self.let_go()


def _take(path: str) -> int | None:
    """Open and lock the file; None if somebody else holds it, or took it away meanwhile."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if mapping.lock(fd) and mapping.is_at(fd, path):
        return fd
    os.close(fd)
    return None
