"""What breaks under four loaded workers breaks no request, loses nothing acknowledged, and is right afterwards.

In each of these a kill is acknowledged first and holds throughout; afterwards it is let go of, and the candidate trips.
CANARY_TEST_PAUSE_S=30 lets what stands still stand still for as long.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sqlite3
import subprocess
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.measure.layout import FRONT_BYTES
from tests.matrix.hosts import READY_S, WORKERS, Hosted, Load
from tests.matrix.looking import Onlooker, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

    from tests.stores.places import Place

pytestmark = [pytest.mark.stress, pytest.mark.timeout(120)]

PAUSE_S = float(os.environ.get("CANARY_TEST_PAUSE_S", "3"))
"""How long a server stands still."""


SMALL_BYTES = 24 * 2**20
"""As much as an arena and a store need, and some."""


def nothing() -> None:
    """Mend nothing."""


class Bench:
    """Four workers, their onlooker, and what they go through."""

    def __init__(self, onlooker: Onlooker, hosted: Hosted) -> None:
        """Wait until all workers have answered."""
        self.onlooker = onlooker
        self.hosted = hosted
        hosted.wait()
        hosted.load(lambda seen: len(seen.answers) == WORKERS.workers)

    def suffer(self, fault: Callable[[], object], mend: Callable[[], object] = nothing, within_s: float = 0.5) -> None:
        """Kill the flag, let a fault happen under load, mend it, and hold everybody to what was promised."""
        self.onlooker.operator.kill("checkout", reason="before the fault")
        steps = [(0.3, fault), (0.3 + within_s, mend), (2.0 + within_s, nothing)]
        begun = SYSTEM_CLOCK.monotonic()

        def enough(_: Load) -> bool:
            while steps and SYSTEM_CLOCK.monotonic() - begun >= steps[0][0]:
                steps.pop(0)[1]()
            return not steps

        seen = self.hosted.load(enough, within_s=READY_S + within_s)
        assert (seen.failures, seen.candidates) == (0, 0)
        assert len(seen.answers) == WORKERS.workers
        self.onlooker.operator.tick()
        eventually(self.released, lambda: self.hosted.words)
        self.onlooker.renew()
        self.onlooker.trip(self.hosted)
        assert self.onlooker.trips == 1, self.onlooker.story

    def released(self) -> int:
        """Let go of the kill, and tell whether the candidate is served again."""
        self.onlooker.operator.release("checkout")
        return self.hosted.load(lambda seen: seen.answers.total() >= 40).candidates

    def limit(self, most: int) -> None:
        """Let no worker write a file beyond so many bytes; -1 lets go."""
        for pid in self.onlooker.owners:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


@pytest.fixture
def bench(onlooker: Onlooker, tmp_path: Path) -> Iterator[Bench]:
    """Four workers on SQLite."""
    with Hosted(WORKERS, tmp_path / "app", onlooker.url) as hosted:
        yield Bench(onlooker, hosted)


def test_the_arena_is_deleted(bench: Bench) -> None:
    """Each process opens a new one at its next heartbeat, and what is off stays off."""
    bench.suffer(Path(bench.onlooker.arena.path or "").unlink)


def test_the_arena_is_overwritten(bench: Bench) -> None:
    """Random bytes in the file that all have mapped: each process leaves it for a new one."""
    noise = random.Random(7).randbytes(FRONT_BYTES)

    def overwrite() -> None:
        with Path(bench.onlooker.arena.path or "").open("r+b") as file:
            file.write(noise)

    bench.suffer(overwrite)


def test_the_disk_is_full(bench: Bench) -> None:
    """The workers can write no byte, to neither store nor arena: what they serve does not change."""
    bench.suffer(lambda: bench.limit(0), lambda: bench.limit(-1), within_s=2.0)


def test_the_disk_is_full_when_it_trips(bench: Bench) -> None:
    """A trip that cannot be written down holds in all workers, and is written down once there is room."""
    bench.limit(0)
    hosted, onlooker = bench.hosted, bench.onlooker
    hosted.load(lambda _: onlooker.is_off, ("/broken",))
    begun = SYSTEM_CLOCK.monotonic()
    assert hosted.load(lambda _: SYSTEM_CLOCK.monotonic() - begun > 7.0).candidates == 0
    assert onlooker.trips == 0
    bench.limit(-1)
    eventually(lambda: onlooker.trips, lambda: hosted.words)
    assert hosted.load(lambda seen: seen.answers.total() >= 40).candidates == 0
    assert onlooker.trips == 1


def test_somebody_holds_the_store(bench: Bench, tmp_path: Path) -> None:
    """A backup or a shell has SQLite's file locked."""
    with closing(sqlite3.connect(tmp_path / "canary.db", isolation_level=None, check_same_thread=False)) as shell:
        bench.suffer(lambda: shell.execute("BEGIN EXCLUSIVE"), lambda: shell.execute("ROLLBACK"), within_s=PAUSE_S)


@pytest.fixture
def clock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, untested: Callable[[str, bool], NoReturn]) -> Path:
    """A file that says by how much the wall clock of the workers is wrong."""
    found = find_spec("libfaketime")
    if found is None or found.origin is None:
        untested("a wall clock that is set back, because libfaketime is not installed", True)
    path = tmp_path / "clock"
    path.write_text("+0\n")
    library = Path(found.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    given = {"LD_PRELOAD": f"{library}", "FAKETIME_TIMESTAMP_FILE": f"{path}", "FAKETIME_NO_CACHE": "1"}
    for name, value in {**given, "DONT_FAKE_MONOTONIC": "1"}.items():
        monkeypatch.setenv(name, value)
    return path


def test_the_clock_is_set_back(clock_file: Path, onlooker: Onlooker, tmp_path: Path) -> None:
    """By an hour, in all workers at once: what waits and what judges goes by another clock."""
    with Hosted(WORKERS, tmp_path / "app", onlooker.url) as hosted:
        Bench(onlooker, hosted).suffer(lambda: clock_file.write_text("-3600\n"))
        assert hosted.ask("/", "now").at < SYSTEM_CLOCK.wall() - 3_000


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, untested: Callable[[str, bool], NoReturn]) -> Iterator[Path]:
    """A small file system of its own, in memory, which holds the arena; only root may make one."""
    folder = tmp_path / "small"
    folder.mkdir()
    size = f"size={SMALL_BYTES},mode=0700"
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "canary", folder], capture_output=True, check=False)
    if made.returncode:
        untested("small and read-only file systems, which only root may mount", True)
    monkeypatch.setenv("CANARY_ARENA_DIR", str(folder))
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_the_file_system_of_the_arena_is_full(small: Path, onlooker: Onlooker, tmp_path: Path) -> None:
    """No byte is left in it, and flags come that were not counted before: nobody is ended, nothing stops."""
    filler = small / "filler"
    second = {"slos": ["p95 < 100ms"], "rollout": 50}

    def fill() -> None:
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        onlooker.operator.apply({"flags": {"second": second, "third": second}})

    with Hosted(WORKERS, tmp_path / "app", onlooker.url) as hosted:
        Bench(onlooker, hosted).suffer(fill, filler.unlink, within_s=2.0)


@pytest.fixture
def look_only(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same file system as somebody sees it who may only read."""
    folder = tmp_path / "look-only"
    folder.mkdir()
    subprocess.run(["mount", "--bind", small, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
    monkeypatch.setenv("CANARY_ARENA_DIR", str(folder))
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_file_system_that_cannot_be_written(small: Path, look_only: Path, tmp_path: Path) -> None:
    """Flags are served as they are; each worker counts, and trips, by itself; it is written down once it can be."""
    onlooker = Onlooker(small)
    with Hosted(WORKERS, tmp_path / "app", f"sqlite:///{look_only}/canary.db") as hosted:
        hosted.wait()
        seen = hosted.load(lambda seen: len(seen.answers) == WORKERS.workers and seen.answers.total() >= 200)
        assert seen.failures == 0
        assert seen.candidates > 0
        eventually(lambda: not hosted.load(_forty, ("/broken",)).candidates, lambda: hosted.words)
        assert onlooker.trips == 0
        subprocess.run(["mount", "-o", "remount,bind,rw", look_only], check=True)
        eventually(lambda: onlooker.trips, lambda: hosted.words)
        assert hosted.load(_forty).candidates == 0
        assert onlooker.trips == 1, onlooker.story
    onlooker.close()


def _forty(seen: Load) -> bool:
    return seen.answers.total() >= 40


@pytest.fixture
def remote(place: Place, tmp_path: Path) -> Iterator[tuple[Bench, Place]]:
    """Four workers on a server of their own store."""
    onlooker = Onlooker(tmp_path, place.url)
    with Hosted(WORKERS, tmp_path / "app", place.url) as hosted:
        yield Bench(onlooker, hosted), place
    onlooker.close()


def test_the_connections_are_cut(remote: tuple[Bench, Place]) -> None:
    """They are opened anew."""
    bench, place = remote
    bench.suffer(place.cut)


def test_the_server_stands_still(remote: tuple[Bench, Place]) -> None:
    """It neither answers nor refuses, for a while."""
    bench, place = remote
    stop, go = (lambda: place.server.signal(signal.SIGSTOP)), (lambda: place.server.signal(signal.SIGCONT))
    bench.suffer(stop, go, within_s=PAUSE_S)


def test_the_server_is_restarted(remote: tuple[Bench, Place]) -> None:
    """It is away, and comes back with what it had acknowledged."""
    bench, place = remote
    bench.suffer(place.server.stop, place.server.start, within_s=PAUSE_S)
