"""The memory under an arena: a file that all processes of a host map, opened with suspicion. It counts nothing.

A file is taken only if it is a regular file of this user that nobody else may open, with the right header and size. One
that belongs to somebody else, or is open to others, is refused and left alone. One of this user's that is damaged or of
another format is replaced by a new file under the same name, never cut short: other processes may still have it mapped,
and touching a page that is gone kills a process. For the same reason what will be touched is really allocated first.

Threads: `hold` excludes processes and other opens of the same file, not the threads that share a file descriptor.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from canary_sdk.measure import layout

try:
    import fcntl
except ImportError:  # a platform without file locks keeps its arena private
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from canary_sdk.clock import Clock

PATIENCE_S: Final = 1.0
"""How long to wait for a file lock. It is held for microseconds, except by a process that was stopped amid."""
ATTEMPTS: Final = 8
SUFFIX: Final = ".arena"
SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - files in it are opened with suspicion, see `share`


class Refused(OSError):
    """The file is not one that this process may trust, or cannot be had; the message says why."""


def share(path: str, clock: Clock, is_worn: Callable[[mmap.mmap], bool]) -> tuple[int, mmap.mmap]:
    """Open or make the file at `path` and map it; return its descriptor and the mapping.

    A file that `is_worn`, which is asked under its lock, is replaced by a new one. Whoever makes a new file takes away
    what is worn beside it, for those whose store is never opened again. Raises: OSError, when it cannot be had.
    """
    if fcntl is None:
        raise Refused("this platform has no file locks")
    for _ in range(ATTEMPTS):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with hold(fd, clock):
                is_new = os.fstat(fd).st_size == 0
                memory = _map(fd, path, clock, is_worn)
            if memory is not None:
                if is_new:
                    _sweep(path, is_worn)
                return fd, memory
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    raise Refused(f"{path} is replaced as often as it is opened")


def default_path(store: str, environment: str) -> str:
    """Return where the arena of a store and environment is on this host, for this user.

    `store` is the URL that all processes of the host know the store by: relative paths in it must be resolved. Who logs
    in, and with what password, does not count. Every format has its own file, so that versions can run side by side.
    """
    identity = "\0".join((str(layout.FORMAT), re.sub(r"//[^/]*@", "//", store), environment))
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return f"{_directory()}{os.sep}{_prefix()}{digest}{SUFFIX}"


def lease_path(path: str) -> str:
    """Return where the lease of an arena is."""
    return f"{path}.lease"


def _prefix() -> str:
    return f"canary-{os.getuid() if hasattr(os, 'getuid') else 0}-"


def _directory() -> str:
    if chosen := os.environ.get("CANARY_ARENA_DIR"):
        return chosen
    if os.path.isdir(SHARED_MEMORY) and os.access(SHARED_MEMORY, os.W_OK):  # noqa: PTH112 - pathlib is not worth its import here
        return SHARED_MEMORY
    import tempfile

    return tempfile.gettempdir()


def private() -> mmap.mmap:
    """Return memory for everything but blocks, for this process alone."""
    return mmap.mmap(-1, layout.FRONT_BYTES)


@contextmanager
def hold(fd: int, clock: Clock) -> Iterator[None]:
    """Hold the file's lock, across processes.

    Raises: Refused, after `PATIENCE_S`.
    """
    deadline = clock.monotonic() + PATIENCE_S
    while not lock(fd):
        if clock.monotonic() >= deadline:
            raise Refused(f"another process holds the lock for more than {PATIENCE_S:g} s")
        clock.pause(0.001)
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


def back(fd: int, offset: int, length: int) -> None:
    """Make sure that these bytes, all of them still zero or already allocated, can be touched.

    Raises: OSError, when there is no room for them.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, offset, length)
    elif not any(os.pread(fd, length, offset)):
        os.pwrite(fd, bytes(length), offset)


def is_at(fd: int, path: str) -> bool:
    """Tell whether `path` still leads to this open file."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))  # noqa: PTH116 - ten times a second
    except OSError:
        return False


def lock(fd: int) -> bool:
    """Lock an open file, across processes, and say whether that was possible; it lasts until the file is closed."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _map(fd: int, path: str, clock: Clock, is_worn: Callable[[mmap.mmap], bool]) -> mmap.mmap | None:
    """Map the file, built if it is empty; None if it is, or has just been made, no longer the one at `path`."""
    if not is_at(fd, path):
        return None
    _refuse_stranger(os.fstat(fd), path)
    if os.fstat(fd).st_size == 0:
        _build(fd, clock)
    elif not _is_whole(fd):
        _remove(path)
        return None
    back(fd, 0, layout.FRONT_BYTES)
    memory = mmap.mmap(fd, layout.FILE_BYTES)
    if is_worn(memory):
        _remove(path)
        return None
    return memory


def _sweep(path: str, is_worn: Callable[[mmap.mmap], bool]) -> None:
    """Take away what is worn beside `path`; what is held, damaged, or of another user or format is left alone."""
    with suppress(OSError), os.scandir(os.path.dirname(path) or os.curdir) as entries:  # noqa: PTH120 - as above
        beside = [entry.path for entry in entries if entry.name.startswith(_prefix()) and entry.name.endswith(SUFFIX)]
        for other in beside:
            with suppress(OSError, ValueError):
                _remove_if_worn(other, is_worn)


def _remove_if_worn(path: str, is_worn: Callable[[mmap.mmap], bool]) -> None:
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not lock(fd) or not is_at(fd, path):
            return
        _refuse_stranger(os.fstat(fd), path)
        if _is_whole(fd) and is_worn(mmap.mmap(fd, layout.FILE_BYTES)):
            _remove(path)
            _remove(lease_path(path))
    finally:
        os.close(fd)


def _remove(path: str) -> None:
    os.unlink(path)  # noqa: PTH108 - pathlib is not worth its import here


def _refuse_stranger(status: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{path} is not a regular file")
    if status.st_uid != os.geteuid():
        raise Refused(f"{path} belongs to user {status.st_uid}, this process runs as {os.geteuid()}")
    if stat.S_IMODE(status.st_mode) & 0o077 or status.st_nlink != 1:
        raise Refused(f"{path} is open to others: mode {stat.S_IMODE(status.st_mode):o}, {status.st_nlink} links")


def _is_whole(fd: int) -> bool:
    expected = layout.size_of(layout.HEADER)
    return os.fstat(fd).st_size == layout.FILE_BYTES and layout.is_header(os.pread(fd, expected, 0))


def _build(fd: int, clock: Clock) -> None:
    """Give an empty file its size and its front, and the header last: without one, nobody maps it."""
    try:
        os.ftruncate(fd, layout.FILE_BYTES)
        back(fd, 0, layout.FRONT_BYTES)
        os.pwrite(fd, layout.header(int(clock.wall() * 1e9)), 0)
    except OSError:
        os.ftruncate(fd, 0)
        raise
