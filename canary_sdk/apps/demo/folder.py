"""The demo's folder: one run at a time, cleared of what an earlier one left, and never of anybody else's files."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Final, Self

from canary_sdk.errors import CanaryError

if TYPE_CHECKING:
    from pathlib import Path

LOCK: Final = ".canary-demo"
"""Its presence says that the folder is a demo's. It is locked while one runs, and says "running" until it has ended."""
OURS: Final = ("demo.db", "demo.db-wal", "demo.db-shm", "demo.db-journal", "demo.log", "report.md", "report.json")
RUNNING: Final = "running"
DONE: Final = "done"


class Folder:
    """A folder that is ours while this is entered. The lock goes with the process, however it ends."""

    def __init__(self, path: Path) -> None:
        """Take nothing yet."""
        self.path = path
        self.was_interrupted = False
        self._lock = -1

    @property
    def store_url(self) -> str:
        """Where the demo keeps its flags."""
        return f"sqlite:////{str(self.path.resolve() / 'demo.db').lstrip('/')}"

    def __enter__(self) -> Self:
        """Make and lock it, and clear what an earlier demo left. Raises `CanaryError` with what to do instead."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._refuse_foreign()
            self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise CanaryError(
                f"a demo is running in {self.path}: wait for it, or choose another folder with --out"
            ) from None
        except OSError as error:
            raise CanaryError(
                f"cannot write to {self.path}: {error.strerror}. Choose another folder with --out"
            ) from None
        self.was_interrupted = self._state() == RUNNING
        self._clear()
        self._mark(RUNNING)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Let go of it."""
        if kind is None:
            self._mark(DONE)
        os.close(self._lock)

    def _refuse_foreign(self) -> None:
        if (self.path / LOCK).exists():
            return
        foreign = [name for name in OURS if (self.path / name).exists()]
        if foreign:
            raise CanaryError(
                f"{self.path / foreign[0]} is not from a demo and is not replaced: choose another folder with --out"
            )

    def _clear(self) -> None:
        for name in OURS:
            (self.path / name).unlink(missing_ok=True)

    def _state(self) -> str:
        return os.pread(self._lock, 64, 0).decode("utf-8", "replace").strip()

    def _mark(self, state: str) -> None:
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{state}\n".encode(), 0)
