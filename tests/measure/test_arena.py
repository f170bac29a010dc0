"""The arena counts each request once, for all processes of a host, and never raises into them."""

from __future__ import annotations

import fcntl
import io
import itertools
import math
import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from contextlib import suppress
from operator import ge
from pathlib import Path
from typing import TYPE_CHECKING

import mmh3
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.measure import layout, mapping, segment
from canary_sdk.measure.arena import Arena
from canary_sdk.measure.counters import EARLY, LATENCY_NS, RESPONSE_START_NS, STREAMS, Counters
from canary_sdk.measure.mapping import default_path
from canary_sdk.measure.sketch import bin_of
from canary_sdk.testing.clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from canary_sdk.measure.arm import Arm

LIMITS = (0.2, 0.5, 1.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an arena may be made."""
    return tmp_path / "a.arena"


@pytest.fixture
def arena(path: Path) -> Iterator[Arena]:
    """An arena in a file."""
    arena = Arena(path)
    assert not arena.private_reason
    yield arena
    arena.close()


def count(arm: Arm, *durations: float, error: bool = False) -> None:
    """Finish requests that took so long."""
    for duration in durations:
        arm.finish(duration, bin_of(duration), error=error)


class ArenaModel(RuleBasedStateMachine):
    """Processes that come, count and go, beside a plain count of what they did."""

    arms = Bundle("arms")

    @initialize()
    def start(self) -> None:
        """Begin with an empty file."""
        self.path = Path(default_path(f"model {os.getpid()}", "test"))
        self.clock = ManualClock()
        self.processes: list[Arena] = []
        self.expected: dict[str, Counter[str]] = {}
        self.before: dict[str, Counters] = {}
        self.reader = Arena(self.path, clock=self.clock)
        self.reader.arm("reader").abort()  # who counts keeps the file

    @rule(target=arms, name=st.sampled_from(["a/on/unit", "a/off/unit", "ö" * 80]))
    def open(self, name: str) -> Arm:
        """Start a process that counts on an arm."""
        self.processes.append(Arena(self.path, clock=self.clock))
        self.expected.setdefault(name, Counter())
        return self.processes[-1].arm(name, LIMITS)

    @rule(index=st.integers(0, 9))
    def close(self, index: int) -> None:
        """Stop a process; what it counts from now on is its own affair."""
        if index < len(self.processes):
            self.processes.pop(index).close()

    @rule(arm=arms, duration=st.floats(1e-4, 4.0), error=st.booleans(), stream=st.booleans())
    def finish(self, arm: Arm, duration: float, error: bool, stream: bool) -> None:
        """Count a request that took so long, and was seen at two ages before."""
        counted = 0
        for age in (duration / 3, duration / 2):
            counted = arm.overdue(age, counted)
        early = duration / 2 > LIMITS[0]
        arm.finish(duration, bin_of(duration), counted, error=error, stream=stream, response_start_s=duration / 2)
        if self._is_open(arm):
            kept = self.expected[arm.name]
            kept.update(requests=1, errors=error, streams=stream, early=early, ns=int(duration * 1e9))
            kept.update({str(limit): 1 for limit in LIMITS if duration > limit})
            kept[f"bin {bin_of(duration)}"] += 1

    @rule(arm=arms)
    def abort(self, arm: Arm) -> None:
        """Count a request that nobody waited for."""
        arm.abort()
        if self._is_open(arm):
            self.expected[arm.name]["aborted"] += 1

    @invariant()
    def agrees(self) -> None:
        """A reader sees the sums over all processes, those that are gone too, and nothing ever goes down."""
        for name, kept in getattr(self, "expected", {}).items():
            arm = self.reader.arm(name, LIMITS)
            seen = self.reader.read(arm)
            assert (seen.requests, seen.errors, seen.aborted) == (kept["requests"], kept["errors"], kept["aborted"])
            assert [seen.over(limit) for limit in LIMITS] == [kept[str(limit)] for limit in LIMITS]
            assert (seen.cells[STREAMS], seen.cells[EARLY]) == (kept["streams"], kept["early"])
            assert seen.cells[LATENCY_NS] == kept["ns"]
            assert {f"bin {i}": n for i, n in enumerate(seen.bins) if n} == {
                k: n for k, n in kept.items() if k[:3] == "bin"
            }
            assert all(map(ge, seen.cells, self.before.get(name, Counters()).cells))
            self.before[name] = seen

    def teardown(self) -> None:
        """Remove the file."""
        for arena in (*getattr(self, "processes", ()), *([self.reader] if hasattr(self, "reader") else [])):
            arena.close()
        with suppress(AttributeError, OSError):
            self.path.unlink()

    def _is_open(self, arm: Arm) -> bool:
        return any(arm is process._arms.get(arm.name) for process in self.processes)


TestArena = ArenaModel.TestCase
TestArena.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


def test_a_finished_request_is_counted_everywhere_once(arena: Arena) -> None:
    """Requests, limits, bin, errors and sums, each by one."""
    arm = arena.arm("a", LIMITS)
    arm.finish(0.6, bin_of(0.6), error=True, response_start_s=0.25, stream=True)
    seen = arena.read(arm)
    assert (seen.requests, seen.errors, seen.aborted) == (1, 1, 0)
    assert [seen.over(limit) for limit in LIMITS] == [1, 1, 0]
    assert seen.bins[bin_of(0.6)] == sum(seen.bins) == 1
    assert (seen.cells[LATENCY_NS], seen.cells[RESPONSE_START_NS], seen.cells[STREAMS]) == (600_000_000, 250_000_000, 1)


def test_a_duration_at_the_limit_is_not_over_it(arena: Arena) -> None:
    """Over means strictly longer."""
    arm = arena.arm("a", LIMITS)
    count(arm, 0.5, math.nextafter(0.5, 1))
    assert arena.read(arm).over(0.5) == 1


def test_an_open_request_is_counted_as_its_age_crosses_each_limit(arena: Arena) -> None:
    """It becomes a request at the first limit, is over each limit once, and gets its bin and error at the end."""
    arm = arena.arm("a", LIMITS)
    seen, counted = [], 0
    for age in (0.1, 0.3, 0.4, 0.7):
        counted = arm.overdue(age, counted)
        now = arena.read(arm)
        seen.append((now.requests, *(now.over(limit) for limit in LIMITS), now.errors, sum(now.bins)))
    arm.finish(1.5, bin_of(1.5), counted, error=True)
    now = arena.read(arm)
    seen.append((now.requests, *(now.over(limit) for limit in LIMITS), now.errors, sum(now.bins)))
    assert seen == [(0, 0, 0, 0, 0, 0), (1, 1, 0, 0, 0, 0), (1, 1, 0, 0, 0, 0), (1, 1, 1, 0, 0, 0), (1, 1, 1, 1, 1, 1)]


def test_a_limit_that_is_added_while_a_request_is_open_counts_it_once(arena: Arena) -> None:
    """What has been counted is known by cell, so that a new limit in between changes no other."""
    arm = arena.arm("a", (0.5,))
    counted = arm.overdue(0.7)
    assert arena.arm("a", (0.2, 1.0)) is arm
    arm.finish(0.8, bin_of(0.8), counted)
    seen = arena.read(arm)
    assert (seen.requests, seen.over(0.2), seen.over(0.5), seen.over(1.0)) == (1, 1, 1, 0)


def test_an_idle_arm_is_read_for_nothing(arena: Arena) -> None:
    """The reading is the same object until something is counted."""
    arm = arena.arm("a", LIMITS)
    first = arena.read(arm)
    assert arena.read(arm) is first
    count(arm, 0.1)
    second = arena.read(arm)
    assert second is not first
    assert arena.read(arm) is second


def test_arms_that_nobody_touched_share_their_zeros(arena: Arena) -> None:
    """Nothing is kept of watched flags that nobody meets; their limits are known all the same."""
    idle, other = arena.read(arena.arm("a", [0.5])), arena.read(arena.arm("b"))
    assert idle.cells is other.cells
    assert (idle.over(0.5), sum(idle.cells)) == (0, 0)


def test_every_count_is_a_change(arena: Arena) -> None:
    """No kind of count is missed by a reader that looks at `writes` alone."""
    arm = arena.arm("a", LIMITS)
    readings = [arena.read(arm)]
    arm.abort()
    readings.append(arena.read(arm))
    counted = arm.overdue(0.3)
    readings.append(arena.read(arm))
    assert arm.overdue(0.3, counted) == counted
    assert arena.read(arm) is readings[-1]
    arm.overdue(0.6, counted)
    readings.append(arena.read(arm))
    assert len({id(reading) for reading in readings}) == 4


def test_nothing_is_allocated_before_it_is_touched(arena: Arena, path: Path) -> None:
    """An arm that nobody counts on costs no block; one that is counted on costs two or three pages."""
    arms = [arena.arm(f"arm {number}", LIMITS) for number in range(100)]
    for arm in arms:
        arena.read(arm)
    before = path.stat().st_blocks
    assert before * 512 < layout.FRONT_BYTES + layout.PAGE * 4
    count(arms[50], 0.1)
    assert 2 * layout.PAGE <= (path.stat().st_blocks - before) * 512 <= 4 * layout.PAGE


def test_guard_bytes_are_seen_at_once_by_other_processes(arena: Arena, path: Path) -> None:
    """The same flag has the same byte in every process, and it is one memory."""
    other = Arena(path)
    slot = arena.flag_slot("new-checkout")
    assert slot == 1 + mmh3.hash64("new-checkout", signed=False)[0] % (layout.FLAGS - 1)
    assert len(arena.guard) == layout.FLAGS
    assert other.flag_slot("new-checkout") == slot
    assert other.guard[slot] == 0
    arena.guard[slot] = 1
    assert other.guard[slot] == 1
    assert other.flag_slot("another") not in {0, slot}
    other.close()
    assert other.guard[slot] == 1


def test_slot_zero_is_never_given_away(arena: Arena) -> None:
    """Not even to a flag whose hash would lead there in a table that began at zero."""
    keys = (f"flag {number}" for number in itertools.count())
    key = next(key for key in keys if mmh3.hash64(key, signed=False)[0] % layout.FLAGS == 0)
    assert arena.flag_slot(key) != 0


def test_a_taken_place_is_passed_upwards(arena: Arena) -> None:
    """Every process looks in the same order, so that none enters what another has entered."""
    homes: dict[int, list[str]] = defaultdict(list)
    for number in range(2_000):
        homes[mmh3.hash64(f"flag {number}", signed=False)[0] % (layout.FLAGS - 1)].append(f"flag {number}")
    home, keys = next((home, keys) for home, keys in homes.items() if len(keys) == 2)
    assert [arena.flag_slot(key) for key in keys] == [home + 1, home + 2]


def test_a_full_flag_directory_gives_slot_zero() -> None:
    """A flag without a slot gets slot 0, which is never set, and is counted as refused; the others keep theirs."""
    arena = Arena()
    slots = {arena.flag_slot(f"flag {number}") for number in range(200)}
    assert len(slots) == 200
    assert 0 not in slots
    words = arena._words[layout.FLAG_DIRECTORY.offset // 8 :]
    for slot in range(layout.FLAGS):
        words[slot] = words[slot] or 2**64 - 1 - slot
    assert arena.flag_slot("one too many") == arena.flag_slot("two too many") == 0
    assert arena.refused == {"flags": 2}
    assert {arena.flag_slot(f"flag {number}") for number in range(200)} == slots


def test_a_full_arm_directory_counts_in_private(arena: Arena, path: Path) -> None:
    """An arm without a record still counts, with its limits, in this process only."""
    for number in range(layout.ARMS):
        arena.arm(f"arm {number}")
    assert arena.refused == {}
    arm = arena.arm("one too many", LIMITS)
    count(arm, 0.1, 0.6)
    assert arm.index is None
    assert arena.arm("two too many").index is None
    assert arena.refused["arms"] == 2
    assert (arena.read(arm).requests, arena.read(arm).over(0.5)) == (2, 1)
    other = Arena(path)
    assert other.read(other.arm("one too many", LIMITS)).requests == 0
    other.close()


def test_a_limit_too_many_is_refused_and_not_pretended(arena: Arena) -> None:
    """A seventeenth limit, and the next, are counted as refused; asking what is over it is an error, never a zero."""
    arm = arena.arm("a", [number / 10 for number in range(1, 19)])
    assert len(arm.limits) == layout.LIMITS
    assert arena.refused == {"limits": 2}
    count(arm, 9.0)
    with pytest.raises(ValueError, match="not in tuple"):
        arena.read(arm).over(1.7)


def test_a_limit_of_nothing_is_one_nanosecond(arena: Arena) -> None:
    """A cell that says 0 is free, so no limit is written as 0."""
    arm = arena.arm("a", (0.0,))
    count(arm, 1e-9, 2e-9)
    assert (arm.limits, arena.read(arm).over(0.0)) == ((1e-9,), 1)


def test_limits_are_shared_by_all_processes(arena: Arena, path: Path) -> None:
    """Two processes that know different limits of an arm use different cells for them."""
    arena.arm("a", (0.5, 0.2))
    other = Arena(path)
    arm = other.arm("a", (1.0,))
    assert arm.limits == (0.2, 0.5, 1.0)
    assert arena.arm("a", (1.0,)).limits_ns == arm.limits_ns
    other.close()


def test_names_are_kept_for_people(arena: Arena) -> None:
    """A long name is cut off in the directory, and still tells arms apart."""
    long = "ö" * 100
    one, other = arena.arm(long + "a"), arena.arm(long + "b")
    assert one.index != other.index
    assert sorted(arena.names()) == ["ö" * 56, "ö" * 56]


def test_a_name_is_told_as_it_is_or_up_to_the_letter_that_was_cut(arena: Arena) -> None:
    """A letter that the cut went through is shown as such, and nothing else is taken off."""
    arena.arm("X")
    assert arena.names() == ["X"]
    arena.arm("a" + "ö" * 56)
    assert sorted(arena.names()) == ["X", "a" + "ö" * 55 + "\N{REPLACEMENT CHARACTER}"]


def test_repr_shows_where_it_counts(arena: Arena, path: Path) -> None:
    """The file, or why there is none; and what an arm counts in."""
    arm = arena.arm("a", LIMITS)
    count(arm, 0.1)
    assert repr(arena) == f"<Arena {path}, 1 arms, refused {{}}>"
    assert repr(arm) == "<Arm a, shared, limits (0.2, 0.5, 1.0)>"
    private = Arena()
    arm = private.arm("a")
    count(arm, 0.1)
    assert repr(private) == "<Arena private: no file was asked for, 1 arms, refused {}>"
    assert repr(arm) == "<Arm a, private, limits ()>"


def test_counters_outlive_their_process(path: Path) -> None:
    """A successor takes the same segment and goes on from what it finds, as long as somebody keeps the file."""
    keeper = Arena(path)
    count(keeper.arm("other"), 0.1)
    for _ in range(3):
        arena = Arena(path)
        count(arena.arm("a"), 0.1)
        arena.close()
        arena.close()
    last = Arena(path)
    assert last.read(last.arm("a")).requests == 3
    generations = [
        last._words[(layout.SEGMENT_TABLE.offset + number * layout.SEGMENT_TABLE.size) // 8 + segment.GENERATION]
        for number in range(3)
    ]
    assert generations == [1, 3, 0]
    keeper.close()


def test_whoever_was_alone_takes_the_file_along(path: Path) -> None:
    """A command leaves nothing behind, unless it counted or holds a flag back; a file of others' is left alone."""
    arena = Arena(path)
    arena.arm("a")
    assert arena.heartbeat()
    arena.close()
    assert not path.exists()
    arena = Arena(path)
    assert arena.heartbeat()
    arena.guard[arena.flag_slot("a")] = 1
    arena.close()
    assert path.exists()
    path.unlink()
    arena = Arena(path)
    count(arena.arm("a"), 0.1)
    arena.close()
    assert path.exists()
    path.unlink()
    late, looking = Arena(path), Arena(path)
    count(late.arm("a"), 0.1)
    path.unlink()
    path.write_text("somebody else's")
    late.close()
    looking.close()
    assert path.read_text() == "somebody else's"


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_leave_together_lose_no_counts(path: Path, workers: int) -> None:
    """Where all workers are recycled in the same moment, be it the only one, the next go on from their counters."""
    arenas = [Arena(path) for _ in range(workers)]
    for arena in arenas:
        count(arena.arm("a"), 0.1)
    for arena in arenas:
        arena.close()
    successor = Arena(path)
    assert successor.heartbeat()
    assert successor.read(successor.arm("a")).requests == workers
    successor.close()


def test_a_file_that_was_left_long_ago_is_begun_anew(path: Path) -> None:
    """After a minute nobody goes on from what is in it, unless somebody lives or a flag is held back there."""
    clock = ManualClock()

    def counted_after(seconds: float) -> int:
        clock.advance(seconds)
        arena = Arena(path, clock=clock)
        requests = arena.read(arena.arm("a")).requests
        count(arena.arm("a"), 0.1)
        arena.close()
        return requests

    worker = Arena(path, clock=clock)
    count(worker.arm("a"), 0.1)
    assert counted_after(3_600.0) == 1
    worker.close()
    assert counted_after(59.0) == 2
    assert counted_after(61.0) == 0
    worker = Arena(path, clock=clock)
    worker.guard[worker.flag_slot("checkout")] = 1
    worker.close()
    assert counted_after(3_600.0) == 1


def test_whoever_makes_a_file_takes_away_what_was_left_long_ago(tmp_path: Path) -> None:
    """Of this user, whole, and with nobody in it: the file of a store that is never opened again does not stay."""
    clock = ManualClock()

    def left(store: str) -> Path:
        path = Path(default_path(store, "production"))
        arena = Arena(path, clock=clock)
        count(arena.arm("a"), 0.1)
        assert arena.lease.take()
        arena.close()
        return path

    tidied, damaged = left("tidied"), left("damaged")
    damaged.write_bytes(b"whatever")
    living = Arena(default_path("living", "production"), clock=clock)
    count(living.arm("a"), 0.1)
    held = left("held")
    clock.advance(61.0)
    with held.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # somebody is about to go on with it
        maker = left("maker")
    assert {path.name for path in tidied.parent.iterdir()} == {
        *(f"{path.name}{more}" for path in (damaged, maker, held) for more in ("", ".lease")),
        Path(living.path or "").name,
    }
    clock.advance(1.0)
    left("maker")
    assert maker.exists()
    living.close()


def test_whoever_is_awake_keeps_its_segment(path: Path) -> None:
    """A process that has counted nothing yet, as a server's master, is somebody: a worker's file outlives it."""
    master, worker = Arena(path), Arena(path)
    assert master.heartbeat()
    count(worker.arm("a"), 0.1)
    worker.close()
    assert master.heartbeat()
    assert master.read(master.arm("a")).requests == 1
    master.close()


def test_close_does_not_wait_for_a_lock_that_is_not_let_go(path: Path) -> None:
    """A process that was stopped amid keeps nobody from closing; the file is left to it."""
    arena = Arena(path, clock=ManualClock())
    count(arena.arm("a"), 0.1)
    with path.open("r+b") as stopped:
        assert mapping.lock(stopped.fileno())
        arena.close()
    assert path.exists()


def test_counting_after_close_is_private(path: Path) -> None:
    """A late count neither raises nor touches a segment that may be somebody else's by now."""
    keeper, arena = Arena(path), Arena(path)
    count(keeper.arm("other"), 0.1)
    arm = arena.arm("a")
    count(arm, 0.1)
    arena.close()
    successor = Arena(path)
    count(successor.arm("a"), 0.1)
    count(arm, 0.1)
    assert successor.read(successor.arm("a")).requests == 2
    assert arena.read(arm).requests == 3
    successor.close()
    keeper.close()


def test_a_closed_arena_enters_nothing(path: Path) -> None:
    """Flags and arms that are first asked for after the close are served without touching what others share.

    A slot that was given away, and an arm that was handed out, are found all the same: that takes no lock.
    """
    arena, other = Arena(path), Arena(path)
    early = arena.arm("early", LIMITS)
    slots = {key: other.flag_slot(key) for key in map(str, range(20))}
    arena.close()
    assert {key: arena.flag_slot(key) for key in slots} == slots
    assert arena.arm("early", LIMITS) is early
    assert arena.refused == {}
    assert arena.flag_slot("late") == 0
    count(arena.arm("late", LIMITS), 0.6)
    assert arena.read(arena.arm("late", LIMITS)).over(0.5) == 1
    assert repr(arena.arm("later")) == "<Arm later, untouched, limits ()>"
    assert arena.arm("later") is arena.arm("later")
    assert arena.refused["arms"] == 2
    assert other.names() == ["early"]
    assert arena.heartbeat()
    other.close()


def in_a_child(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run code in another process and wait for its end."""
    return subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)


COUNT_AND_DIE = """
import os, sys
from canary_sdk.measure.arena import Arena
arena = Arena(sys.argv[1])
arena.arm("a").finish(0.1, 500)
arena.heartbeat()
print(arena._segment.number, flush=True)
os._exit(9)
"""


def test_the_segment_of_a_dead_process_is_taken_once_it_has_been_silent(path: Path) -> None:
    """A killed owner is believed for five seconds, then its segment goes to the next process."""
    dead = int(in_a_child(COUNT_AND_DIE, path).stdout)
    clock = ManualClock(monotonic=SYSTEM_CLOCK.monotonic())
    arena = Arena(path, clock=clock)
    head = layout.SEGMENT_TABLE.offset // 8 + dead * 8
    arena._words[head + segment.HEARTBEAT] = int(clock.monotonic() * 1e9)
    count(arena.arm("a"), 0.1)
    assert arena._segment is not None
    assert arena._segment.number != dead
    arena.close()
    clock.advance(5.0)
    later = [Arena(path, clock=clock) for _ in range(2)]
    for process in later:
        count(process.arm("a"), 0.1)
    assert dead in {process._segment.number for process in later if process._segment}
    assert later[0].read(later[0].arm("a")).requests == 4
    for process in later:
        process.close()


@pytest.mark.skipif(not Path("/proc/uptime").exists(), reason="the kernel does not tell")
def test_a_claim_tells_when_its_process_started(arena: Arena) -> None:
    """In ticks after boot, whatever the process is called; 0 for a process that is gone."""

    def ticks() -> float:
        return float(Path("/proc/uptime").read_text().split()[0]) * os.sysconf("SC_CLK_TCK")

    before = ticks()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert before - 2 <= segment.started(child.pid) <= ticks() + 2
        child.communicate(b"\n")
    assert segment.started(child.pid) == 0
    ours, name = segment.started(os.getpid()), Path("/proc/self/comm").read_text()
    Path("/proc/self/comm").write_text("a) b")
    assert segment.started(os.getpid()) == ours
    Path("/proc/self/comm").write_text(name)
    count(arena.arm("a"), 0.1)
    assert arena._words[layout.SEGMENT_TABLE.offset // 8 + segment.STARTED] == ours


@pytest.mark.parametrize("told", [b"", b"1 (a) " + b"? " * 40])
def test_what_the_kernel_tells_otherwise_is_not_known(told: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shape that we do not know is 0, and raises nothing."""
    monkeypatch.setattr(segment, "open", lambda *_: io.BytesIO(told), raising=False)
    assert segment.started(1) == 0


@pytest.mark.parametrize(
    ("pid", "started", "free"), [("own", 0, False), ("own", 7, True), (2**40, 0, True), (2**63, 0, True)]
)
def test_a_silent_segment_is_free_if_its_process_is_gone(path: Path, pid: str | int, started: int, free: bool) -> None:
    """A process of the same pid that started at another time is another process."""
    arena = Arena(path, clock=ManualClock())
    head = layout.SEGMENT_TABLE.offset // 8
    arena._words[head + segment.PID] = os.getpid() if pid == "own" else int(pid)
    arena._words[head + segment.STARTED] = started
    count(arena.arm("a"), 0.1)
    assert arena._segment is not None
    assert (arena._segment.number == 0) is (free and bool(segment.started(os.getpid()) or pid != "own"))
    arena.close()


def test_a_heartbeat_from_the_future_proves_nothing(path: Path) -> None:
    """After a reboot the monotonic clock is behind what an old file says; its dead owner is dead all the same."""
    arena = Arena(path, clock=ManualClock())
    head = layout.SEGMENT_TABLE.offset // 8
    arena._words[head + segment.PID] = 2**40
    arena._words[head + segment.HEARTBEAT] = 2**62
    count(arena.arm("a"), 0.1)
    assert arena._segment is not None
    assert arena._segment.number == 0
    arena.close()


def test_an_owner_that_was_robbed_claims_another_segment(path: Path) -> None:
    """Whoever finds a newer generation in its segment leaves it alone, and loses none of its counts."""
    arena = Arena(path)
    arm = arena.arm("a")
    count(arm, 0.1)
    arena._words[layout.SEGMENT_TABLE.offset // 8 + segment.GENERATION] += 1
    assert arena.heartbeat()
    count(arm, 0.1)
    assert arena._segment is not None
    assert arena._segment.number == 1
    assert arena.read(arm).requests == 2
    arena.close()


def test_a_process_without_a_segment_counts_in_private(path: Path) -> None:
    """When all segments are taken the next process keeps its counts to itself, says so, and still shares the guard."""
    arenas = [Arena(path) for _ in range(layout.SEGMENTS + 1)]
    for process in arenas:
        count(process.arm("a"), 0.1)
    last = arenas[-1]
    assert last.refused == {"blocks": 1}
    assert last.arm("a").private
    assert last.read(last.arm("a")).requests == layout.SEGMENTS + 1
    assert arenas[0].read(arenas[0].arm("a")).requests == layout.SEGMENTS
    assert not last.private_reason
    for process in arenas:
        process.close()


def test_heartbeat_notices_that_the_file_is_gone(path: Path) -> None:
    """An owner whose file was deleted or replaced is told to open a new arena."""
    arena = Arena(path)
    assert arena.heartbeat()
    path.unlink()
    assert not arena.heartbeat()
    successor = Arena(path)
    assert not arena.heartbeat()
    assert successor.heartbeat()
    arena.close()
    successor.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_is_told_to_open_its_own(path: Path) -> None:
    """In a forked child the inherited arena asks to be replaced, and closing it gives nothing of the parent's back."""
    arena = Arena(path)
    count(arena.arm("a"), 0.1)
    child = os.fork()
    if not child:
        told = arena.heartbeat()
        arena.close()
        os._exit(1 if told else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert arena._words[layout.SEGMENT_TABLE.offset // 8 + segment.PID] == os.getpid()
    assert arena.heartbeat()
    arena.close()


def test_without_a_path_everything_works_in_private() -> None:
    """An arena of one process counts, guards and reads like any other, and names the reason."""
    arena = Arena()
    arm = arena.arm("a", LIMITS)
    count(arm, 0.1, 0.6)
    assert arena.read(arm).over(0.5) == 1
    assert arena.heartbeat()
    assert arena.private_reason == "no file was asked for"
    assert not arena.refused
    assert repr(arena) == "<Arena private: no file was asked for, 1 arms, refused {}>"
    assert repr(arm) == "<Arm a, private, limits (0.2, 0.5, 1.0)>"
    arena.close()


def test_a_lock_that_is_never_freed_costs_a_bounded_wait(path: Path, arena: Arena) -> None:
    """While a stopped process holds the lock, flags and arms are served from private memory after a second."""
    fd = os.open(path, os.O_RDWR)
    with mapping.hold(fd, ManualClock()):
        clock = ManualClock()
        arena._clock = clock
        assert arena.flag_slot("f") == 0
        arm = arena.arm("a", LIMITS)
        count(arm, 0.1, 0.6)
        assert clock.monotonic() - 1_000 < 3 * mapping.PATIENCE_S
        late = Arena(path, clock=ManualClock())
    os.close(fd)
    assert "holds the lock" in late.private_reason
    assert (arena.read(arm).requests, arena.read(arm).over(0.5)) == (2, 1)
    assert arena.refused["flags"] == arena.refused["arms"] == 1


def mounted(directory: Path, size: int) -> bool:
    """Mount a small file system in memory, if this user may."""
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(directory)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount")
def test_a_full_file_system_kills_nobody(tmp_path: Path) -> None:
    """Where there is no room for a block it lives in private; where there is none for the file, all of it does."""
    room = tmp_path / "room"
    if not mounted(room, layout.FRONT_BYTES + 12 * layout.PAGE):
        pytest.skip("this root may not mount")
    try:
        arena = Arena(room / "a.arena")
        assert not arena.private_reason
        arms = [arena.arm(f"arm {number}") for number in range(20)]
        for arm in arms:
            count(arm, 0.1)
        kept = [not arm.private for arm in arms]
        assert kept == sorted(kept, reverse=True)
        assert 2 <= sum(kept) < 10
        assert arena.refused == {"blocks": 20 - sum(kept)}
        assert {arena.read(arm).requests for arm in arms} == {1}
        second = Arena(room / "b.arena")
        assert "No space left" in second.private_reason
        assert (room / "b.arena").stat().st_size == 0
        arena.close()
    finally:
        subprocess.run(["umount", "-l", str(room)], check=True)


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limits on file sizes here")
def test_a_limit_on_file_sizes_keeps_the_arena_private(path: Path) -> None:
    """A process that may not write large files counts in private and says why."""
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
    code += "from canary_sdk.measure.arena import Arena\n"
    code += (
        "arena = Arena(sys.argv[1]); arena.arm('a').finish(0.1, 500); print(arena.read(arena.arm('a')).requests, arena)"
    )
    done = in_a_child(code, path)
    assert done.stdout.startswith("1 <Arena private: [Errno 27] File too large")
