"""The servers that applications run under, one row each: how it is started, and what is special about it.

`Hosted` starts one as a real process on the loopback, puts load on it, and ends it as its operator would.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from canary_sdk.clock import SYSTEM_CLOCK
from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

APPS: Final = Path(__file__).with_name("apps")
PROGRAMS: Final = Path(sys.executable).parent
READY_S: Final = 30.0
CLIENTS: Final = 8
"""Requests that are under way at the same time."""


@dataclass(frozen=True)
class Row:
    """A server. Its `command` may say {port}; `needs` are the modules that have to be there.

    `early` lets the application evaluate a flag while it is imported, which is before the fork where a server loads it
    first. `recycled` workers come and go under load. `touch` is a file whose change makes it reload.
    `optional` is what does not come as a wheel, and may be missing in CI.
    """

    name: str
    command: tuple[str, ...]
    needs: str
    workers: int = 2
    paths: tuple[str, ...] = ("/",)
    early: bool = False
    recycled: bool = False
    touch: str = ""
    optional: bool = False


def _python(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *words)


def _gunicorn(kind: str, *more: str, application: str = "plain:application", early: bool = False) -> Row:
    options = ("-b", "127.0.0.1:{port}", "-w", "2", "-k", kind, "--graceful-timeout", "5", "--log-level", "warning")
    short = kind.rpartition(".")[2].removesuffix("Worker").lower()
    words = [word.strip("-") for word in more if word.startswith("--") and word != "--threads"]
    return Row(
        name=" ".join(["gunicorn", short, *words]),
        command=_python("gunicorn", *options, *more, application),
        needs={"gevent": "gevent", "uvicorn.workers.UvicornWorker": "uvicorn"}.get(kind, "gunicorn"),
        paths=("/",) if application.startswith("plain") else ("/", "/pool", "/to_thread"),
        early=early,
        recycled="--max-requests" in more,
    )


_ASYNC: Final[dict[str, Any]] = {"paths": ("/", "/pool", "/to_thread")}
_PRELOAD: Final = "--preload"
_RECYCLED: Final = ("--max-requests", "100")
_KINDS: Final[dict[str, dict[str, Any]]] = {
    "sync": {},
    "gthread": {},
    "gevent": {},
    "asgi": {"application": "star:application"},
    "uvicorn.workers.UvicornWorker": {"application": "star:application"},
}


def _gunicorns() -> Iterator[Row]:
    for kind, given in _KINDS.items():
        more = ("--threads", "4") if kind == "gthread" else ()
        yield _gunicorn(kind, *more, **given)
        yield _gunicorn(kind, _PRELOAD, *more, early=True, **given)
    for kind in ("sync", "gthread", "uvicorn.workers.UvicornWorker"):
        yield _gunicorn(kind, *_RECYCLED, **_KINDS[kind])
        yield _gunicorn(kind, _PRELOAD, *_RECYCLED, early=True, **_KINDS[kind])


_UVICORN: Final = ("uvicorn", "star:application", "--port", "{port}", "--log-level", "warning")
_HYPERCORN: Final = (
    "hypercorn",
    "-b",
    "127.0.0.1:{port}",
    "-w",
    "2",
    "--graceful-timeout",
    "5",
    "--log-level",
    "ERROR",
)
_GRANIAN: Final = ("granian", "--port", "{port}", "--workers", "2", "--no-access-log", "--log-level", "warning")
_UWSGI: Final = (
    str(PROGRAMS / "uwsgi"),
    *("--http-socket", "127.0.0.1:{port}", "--master", "--processes", "2", "--need-app", "--die-on-term"),
    *("--disable-logging", "--virtualenv", str(PROGRAMS.parent), "--module", "plain:application"),
)

ROWS: Final = (
    *_gunicorns(),
    Row("uvicorn", _python(*_UVICORN, "--loop", "asyncio"), "uvicorn", workers=1, **_ASYNC),
    Row("uvicorn uvloop", _python(*_UVICORN, "--loop", "uvloop"), "uvloop", workers=1, **_ASYNC),
    Row("uvicorn workers", _python(*_UVICORN, "--workers", "2"), "uvicorn", **_ASYNC),
    Row(
        "uvicorn workers recycled",
        _python(*_UVICORN, "--workers", "2", "--limit-max-requests", "100"),
        "uvicorn",
        recycled=True,
        **_ASYNC,
    ),
    Row("uvicorn reload", _python(*_UVICORN, "--reload"), "uvicorn", workers=1, touch="star.py", **_ASYNC),
    Row("hypercorn", _python(*_HYPERCORN, "star:application"), "hypercorn", **_ASYNC),
    Row(
        "hypercorn recycled",
        _python(*_HYPERCORN, "--max-requests", "100", "star:application"),
        "hypercorn",
        recycled=True,
        **_ASYNC,
    ),
    Row("granian asgi", _python(*_GRANIAN, "--interface", "asgi", "star:application"), "granian", **_ASYNC),
    Row(
        "granian asgi threads",
        _python(*_GRANIAN, "--interface", "asgi", "--runtime-threads", "2", "--loop", "uvloop", "star:application"),
        "granian",
        **_ASYNC,
    ),
    Row(
        "granian wsgi threads",
        _python(*_GRANIAN, "--interface", "wsgi", "--blocking-threads", "4", "plain:application"),
        "granian",
    ),
    Row(
        "waitress",
        _python("waitress", "--listen=127.0.0.1:{port}", "--threads=4", "plain:application"),
        "waitress",
        workers=1,
    ),
    Row(
        "django runserver",
        (sys.executable, "djangoed.py", "runserver", "127.0.0.1:{port}"),
        "django",
        workers=1,
        touch="djangoed.py",
    ),
    Row("uwsgi", (*_UWSGI, "--enable-threads"), "uwsgidecorators", early=True, optional=True),
    Row(
        "uwsgi fork hooks",
        (*_UWSGI, "--enable-threads", "--py-call-uwsgi-fork-hooks"),
        "uwsgidecorators",
        early=True,
        optional=True,
    ),
    Row("uwsgi lazy", (*_UWSGI, "--enable-threads", "--lazy-apps"), "uwsgidecorators", optional=True),
    Row("multiprocessing fork", (sys.executable, "processes.py", "fork", "{port}"), "canary_sdk", early=True),
    Row("multiprocessing spawn", (sys.executable, "processes.py", "spawn", "{port}"), "canary_sdk", early=True),
    Row("threads", (sys.executable, "processes.py", "threads", "{port}"), "canary_sdk", workers=1),
    Row("gevent patched", (sys.executable, "processes.py", "gevent", "{port}"), "gevent", workers=1, early=True),
)

WORKERS: Final = replace(_gunicorn("sync", _PRELOAD, "-w", "4"), workers=4, recycled=True)
"""Four workers, one of which judges: their master has loaded the application, and evaluated nothing."""


class Answer(NamedTuple):
    """Who answered, whether the candidate did, whether it failed; and when (wall seconds), where the worker says so."""

    pid: int
    is_candidate: bool
    failed: bool
    at: float


@dataclass
class Load:
    """What clients saw: how many answers each process gave, how many failed, and how many were of the candidate.

    `last_candidate_at` is when a worker last answered with it.
    """

    answers: Counter[int] = field(default_factory=Counter)
    candidates: int = 0
    failures: int = 0
    last_candidate_at: float = 0.0

    def add(self, answer: Answer) -> None:
        """Count an answer."""
        self.answers[answer.pid] += 1
        self.failures += answer.failed
        if answer.is_candidate:
            self.candidates += 1
            self.last_candidate_at = max(self.last_candidate_at, answer.at)


class Hosted:
    """One server of the table, running."""

    def __init__(self, row: Row, folder: Path, url: str) -> None:
        """Start it in a folder of its own; what it says goes to a file there."""
        self.row = row
        self.folder = folder
        self.resets: list[str] = []
        """Requests that a leaving worker reset: it may have answered them, and counted them, or not."""
        self.said = folder / "said.txt"
        shutil.copytree(APPS, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        self.port = free_port()
        environment = {
            **os.environ,
            "CANARY_URL": url,
            "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
            "PYTHONWARNINGS": "ignore::DeprecationWarning",  # forking with threads is what is tested here
        }
        if row.early:
            environment["EVALUATE_AT_IMPORT"] = "1"
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                [word.format(port=self.port) for word in row.command],
                cwd=folder,
                env=environment,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        """Use it for a while."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no process behind."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ask(self, path: str, key: str) -> Answer:
        """Send one request.

        A worker that leaves may reset what it has not begun to answer; then it is asked again.
        """
        while True:
            try:
                return self._ask(path, key)
            except ConnectionResetError:
                if not self.row.recycled:
                    raise
                self.resets.append(key)

    def _ask(self, path: str, key: str) -> Answer:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=READY_S)) as client:
            client.request("GET", f"{path}?{key}", headers={"connection": "close"})
            response = client.getresponse()
            pid, served = json.loads(response.read())
            return Answer(pid, served, response.status != 200, float(response.headers.get("x-answered-at", 0)))

    def wait(self) -> int:
        """Wait until it answers; return how many answers that took."""
        deadline = SYSTEM_CLOCK.monotonic() + READY_S
        while SYSTEM_CLOCK.monotonic() < deadline and self.process.poll() is None:
            try:
                self.ask("/", "first")
            except OSError:
                SYSTEM_CLOCK.pause(0.05)
            else:
                return 1
        raise AssertionError(f"{self.row.name} does not answer\n{self.words}")

    def load(self, enough: Callable[[Load], bool], paths: tuple[str, ...] = ("/",), within_s: float = READY_S) -> Load:
        """Send requests of ever new users, several at a time, until it is `enough`."""
        seen = Load()
        deadline = SYSTEM_CLOCK.monotonic() + within_s
        where = cycle(paths)
        users = (f"user-{number}" for number in range(10**9))
        with ThreadPoolExecutor(CLIENTS) as clients:
            while not enough(seen):
                if SYSTEM_CLOCK.monotonic() > deadline:
                    raise AssertionError(f"{self.row.name} was loaded in vain: {seen}\n{self.words}")
                asked = [clients.submit(self.ask, next(where), next(users)) for _ in range(CLIENTS)]
                for each in asked:
                    seen.add(each.result())
        return seen

    def end(self, within_s: float = 15.0) -> int:
        """End it as its operator would; return its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.row.name} hangs\n{self.words}") from None

    @property
    def is_gone(self) -> bool:
        """Whether no process of it is left."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    @property
    def words(self) -> str:
        """What it said."""
        return self.said.read_text(errors="replace")
