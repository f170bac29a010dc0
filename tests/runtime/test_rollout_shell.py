"""Rollouts in applications to which everything bad happens: what must hold in every history.

Two hosts serve one flag from one store. Each is killed and started again in whatever it does, loses its store for a
while, or has a change acknowledged to nobody: it was made, and the answer was lost. Others order something between its
looking and its writing. The wall clock jumps. The model watches what is really stored and really served, by the one
clock that does not jump.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from canary_sdk.core.rollout.journal import Transition
from canary_sdk.core.rollout.state import Rollout, Status, transition
from canary_sdk.errors import CanaryError, StoreError
from canary_sdk.measure.arena import Arena
from canary_sdk.runtime.client import Canary
from canary_sdk.stores import codec
from canary_sdk.stores.memory import MemoryStore
from canary_sdk.stores.repository import DocumentRepository
from canary_sdk.stores.sqlite import SQLiteStore
from canary_sdk.testing import ManualClock
from tests.runtime.leading import FLAG, Bulk, Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from canary_sdk.ports import AuditRow, Change, Cut, FlagStore, JournalLine, Removed, Snapshot

TURN_S: Final = 1.0
INTERVAL_S: Final = 2.0
FRESH_S: Final = 4.0
GOOD: Final = Traffic(50, 100, 200)
SLOW: Final = Traffic(500, 900, 1500)
KINDS: Final = {"good": GOOD, "slow": SLOW}
HOSTS: Final = ("a", "b")
ENDS: Final = {Status.PROMOTED, Status.ABORTED, Status.PAUSED, Status.HELD}
PLAN: Final = {
    "interval": INTERVAL_S,
    "stages": [
        {"percent": 10, "bake": 6, "deadline": 20},
        {"percent": 50, "bake": 8, "approval": ["lead"]},
        {"percent": 100, "bake": 6},
    ],
    "watch": 10,
}
CONFIG: Final = {
    "flags": {FLAG: {"rollout": 0, "slos": ["p95 < 500ms"], "plan": PLAN}},
    "auto_rollback": {"rule": "consecutive", "interval": INTERVAL_S, "breaches": 2, "min_samples": 5},
}


@dataclass
class Link:
    """The way of one host to the store that all share: it breaks, and somebody else may come in between."""

    store: FlagStore
    stored: Callable[[Sequence[Change]], None]
    broken: bool = False
    deaf: int = 0
    """So many of the next commits are made, and their answers lost."""
    before_commit: Callable[[], None] | None = None

    def _reach(self) -> FlagStore:
        if self.broken:
            raise StoreError("the store is away")
        return self.store

    def version(self) -> int:
        """Return the store's version."""
        return self._reach().version()

    def load(self) -> Snapshot:
        """Return everything."""
        return self._reach().load()

    def commit(
        self,
        changes: Sequence[Change],
        *,
        actor: str,
        reason: str,
        at: float,
        journal: Sequence[JournalLine] = (),
    ) -> int:
        """Commit, after whoever comes in between; the answer may be lost."""
        intruder, self.before_commit = self.before_commit, None
        if intruder is not None:
            intruder()
        version = self._reach().commit(changes, actor=actor, reason=reason, at=at, journal=journal)
        self.stored(changes)
        if self.deaf:
            self.deaf -= 1
            raise StoreError("no answer came")
        return version

    def audit(
        self, *, kind: str | None = None, key: str | None = None, until: int | None = None, limit: int = 100
    ) -> tuple[AuditRow, ...]:
        """Return audit rows."""
        return self._reach().audit(kind=kind, key=key, until=until, limit=limit)

    def journal(self, key: str, *, after: int = 0, limit: int = 1_000) -> tuple[JournalLine, ...]:
        """Return lines of the journal."""
        return self._reach().journal(key, after=after, limit=limit)

    def compact(
        self, journal: Cut, audit: Cut, spared: Collection[tuple[str, str]] = (), *, limit: int = 1_000
    ) -> Removed:
        """Remove what may go."""
        return self._reach().compact(journal, audit, spared, limit=limit)

    def close(self) -> None:
        """Leave the store to the others."""


@dataclass
class Moment:
    """A stored state, and when it really was stored."""

    at: float
    state: Rollout


@dataclass
class World:
    """What really happened."""

    clock: ManualClock
    moments: list[Moment] = field(default_factory=list)
    served: list[tuple[float, float, str]] = field(default_factory=list)
    """From when to when the candidate got which traffic, on any host."""
    off: list[tuple[float, float]] = field(default_factory=list)
    """When the kill switch was held."""

    def note(self, changes: Sequence[Change]) -> None:
        """Remember a state that was stored, and hold it against the one before."""
        for change in changes:
            if change.kind == codec.ROLLOUT and change.body is not None:
                from canary_sdk.ports import Document

                state = codec.decode_rollout(Document(change.kind, change.key, change.body, 1))
                self.check(state)
                self.moments.append(Moment(self.clock.monotonic(), state))

    @property
    def state(self) -> Rollout:
        """Where it stands in the store."""
        return self.moments[-1].state if self.moments else Rollout(flag_key=FLAG)

    def check(self, after: Rollout) -> None:
        """What each step from one stored state to the next must keep."""
        before = self.state
        assert after.seq == before.seq + 1, "one after the other, each from the one before"
        assert after.reason
        is_order = after.ordered != before.ordered
        if before.status is Status.ABORTED:
            assert is_order, "what was aborted comes back on a person's word only"
        if after.attempt != before.attempt or after.status is Status.IDLE:
            return
        now = self.clock.monotonic()
        for stage in range(before.stage + 1, min(after.stage, 3) + 1):
            roles = {each.role for each in after.approvals if each.stage == stage}
            assert stage != 2 or "lead" in roles, "no approval is skipped"
        if after.stage == before.stage or is_order:
            return
        assert after.stage == before.stage + 1, "no stage is skipped, none comes back"
        if not before.stage:
            return
        entered = next(
            moment.at
            for moment in self.moments
            if (moment.state.stage, moment.state.attempt) == (before.stage, before.attempt)
        )
        assert now - entered >= before.bake_s - 1e-6, "no bake time is invented, whatever the clocks say"
        seen = [kind for begin, end, kind in self.served if end > now - FRESH_S - INTERVAL_S and end > entered]
        assert "good" in seen, "evidence is fresh, and of this stage"
        assert not any(begin <= now and end >= now for begin, end in self.off)


@dataclass
class Host:
    """A host, and the process that lives on it now."""

    name: str
    link: Link
    canary: Canary
    bulk: Bulk


class Shell(RuleBasedStateMachine):
    """Two hosts, an operator, and a world that does everything wrong."""

    store_of: Callable[[Path], FlagStore] = staticmethod(lambda _: MemoryStore())

    @initialize(deadline=st.sampled_from(["hold", "abort"]))
    def begin(self, deadline: str) -> None:
        """Declare the flag, and start its rollout."""
        self.folder = Path(tempfile.mkdtemp(prefix="canary-shell-"))
        self.clock = ManualClock()
        self.world = World(self.clock)
        self.store = self.store_of(self.folder)
        self.numbers = itertools.count(1)
        self.hosts: dict[str, Host] = {}
        self.operator = self.canary(self.link(), None)
        self.operator.apply(CONFIG)
        self.operator.update(FLAG, {"plan": PLAN | {"on_deadline": deadline}})
        for name in HOSTS:
            self.live(name)
        self.operator.rollouts.start(FLAG, actor="ana")

    def link(self) -> Link:
        """Return a way to the store."""
        return Link(self.store, self.world.note)

    def canary(self, link: Link, arena: Path | None) -> Canary:
        """Make a process of the application, or of an operator."""

        def open_arena() -> Arena:
            return Arena(arena, clock=self.clock)

        return Canary(
            DocumentRepository(link, "production"),
            environment="production",
            open_arena=open_arena,
            clock=self.clock,
            background=False,
        )

    def live(self, name: str) -> None:
        """Start a process on a host."""
        link = self.link()
        canary = self.canary(link, self.folder / f"{name}.arena")
        canary.flag(FLAG)
        self.hosts[name] = Host(name, link, canary, Bulk(canary))

    # --- time and traffic ---

    @rule(
        seconds=st.sampled_from([1.0, 2.0, 4.0, 8.0, 10.0]),
        kind=st.sampled_from(["good", "good", "good", "good", "slow", "none"]),
        where=st.sampled_from(["ab", "ab", "ab", "a", "b"]),
    )
    def serve(self, seconds: float, kind: str, where: str = "ab") -> None:
        """Serve on some hosts; the others stand still, as a process that gets no processor."""
        for _ in range(round(seconds / TURN_S)):
            now = self.clock.monotonic()
            hosts = [host for host in self.hosts.values() if host.name in where]
            for host in hosts:
                if kind in KINDS:
                    if self.share(host):
                        self.world.served.append((now, now + TURN_S, kind))
                    host.bulk.count(60, KINDS[kind], GOOD)
            self.clock.advance(TURN_S)
            for host in hosts:
                host.canary.tick()
                self.look(host)

    def share(self, host: Host) -> float:
        """Return what a host serves."""
        flag = host.canary.flag(FLAG)
        return flag.rollout if flag and host.canary.breaker(FLAG).is_serving else 0.0

    def look(self, host: Host) -> None:
        """Hold what a host serves against what was stored."""
        share = self.share(host)
        own = {2.0, 3.0} if any(moment.state.status is Status.IDLE for moment in self.world.moments) else set()
        assert share in {0.0, *own, *(moment.state.percent for moment in self.world.moments)}, "nobody serves more"
        if host.link.broken or host.link.deaf or share == 0.0 or self.world.state.status is Status.IDLE:
            return
        aborted = self.world.state.status is Status.ABORTED
        settled = self.clock.monotonic() - self.world.moments[-1].at > 2.5
        assert not (aborted and settled), "after an abort nobody is served"

    @rule(seconds=st.sampled_from([-86_400.0, -3_600.0, 3_600.0, 86_400.0]))
    def set_the_wall_clock(self, seconds: float) -> None:
        """Jump, as in a change to or from summer time, or by mistake."""
        self.clock.set_wall(self.clock.wall() + seconds)

    @rule(seconds=st.sampled_from([30.0, 7_200.0]))
    def sleep(self, seconds: float) -> None:
        """Stand still everywhere, as a machine that was suspended."""
        self.clock.advance(seconds)

    # --- processes and the store ---

    @rule(name=st.sampled_from(HOSTS))
    def kill(self, name: str) -> None:
        """Kill the process of a host, and start another; the kernel lets go of the lease for it."""
        host = self.hosts[name]
        host.canary._closed = True
        host.canary._arena.close()
        self.live(name)

    @rule(name=st.sampled_from(HOSTS))
    def lose_the_store(self, name: str) -> None:
        """Cut a host off."""
        self.hosts[name].link.broken = True

    @rule(name=st.sampled_from(HOSTS))
    def regain_the_store(self, name: str) -> None:
        """Let it reach the store again."""
        self.hosts[name].link.broken = False

    @rule(name=st.sampled_from(HOSTS), times=st.integers(1, 2))
    def lose_answers(self, name: str, times: int) -> None:
        """Make its next commits, and let no answer come."""
        self.hosts[name].link.deaf = times

    @rule(name=st.sampled_from(HOSTS), order=st.sampled_from(["pause", "resume", "approve", "advance", "abort"]))
    def come_between(self, name: str, order: str) -> None:
        """Order something between the host's next looking and its writing."""
        self.hosts[name].link.before_commit = lambda: self.order(order)

    # --- people ---

    @rule(
        order=st.sampled_from(
            ["pause", "resume", "resume", "approve", "approve", "advance", "promote", "abort", "restart", "restart"]
        )
    )
    def order(self, order: str) -> None:
        """Give an order; it is carried out or refused."""
        with suppress(CanaryError):
            if order == "approve":
                self.operator.rollouts.approve(FLAG, "lead", actor=f"bo {next(self.numbers)}")
            else:
                getattr(self.operator.rollouts, order)(FLAG, actor=f"ana {next(self.numbers)}")

    @rule()
    def reset(self) -> None:
        """Clear the breaker; what a trip has ended stays ended."""
        self.operator.tick()
        self.operator.reset(FLAG)

    @rule()
    def pull_and_let_go(self) -> None:
        """Hold the kill switch for a while, in which nobody bakes."""
        begin = self.clock.monotonic()
        self.operator.kill(FLAG, reason="look")
        self.serve(3.0, "good")
        self.operator.release(FLAG)
        self.world.off.append((begin + 1.5, self.clock.monotonic()))

    @rule(force=st.booleans())
    def edit(self, *, force: bool) -> None:
        """Edit its percentage: refused, or forced and dismissed; then start it again."""
        before, own = self.world.state, self.operator.flags()[FLAG].fields["rollout"]
        taken = True
        try:
            self.operator.update(FLAG, {"rollout": 3 if own == 2 else 2}, force=force)
        except CanaryError:
            taken = False
        assert taken is (force or before.status is Status.IDLE)
        with suppress(CanaryError):
            self.operator.rollouts.start(FLAG, actor=f"ana {next(self.numbers)}")

    # --- what holds in the end ---

    def look_at_the_journal(self) -> None:
        """It has every change of stage and status that was stored, and no other."""
        moves = [
            (after.state.seq, str(after.state.status), after.state.stage)
            for before, after in itertools.pairwise([Moment(0.0, Rollout(flag_key=FLAG)), *self.world.moments])
            if transition(before.state, after.state, 0.0)
        ]
        entries = self.operator._repository.journal(FLAG, limit=100_000)
        records = [each.record for each in entries if isinstance(each.record, Transition)]
        written = [(each.seq, each.after, each.stage) for each in records]
        assert written == moves

    def teardown(self) -> None:
        """Healed, with good traffic, it comes to an end that says why."""
        if not hasattr(self, "world"):
            return
        try:
            for host in self.hosts.values():
                host.link.broken, host.link.deaf, host.link.before_commit = False, 0, None
            for _ in range(12):
                self.serve(8.0, "good")
                if self.world.state.status in {Status.PROMOTED, Status.ABORTED, Status.PAUSED, Status.IDLE}:
                    break
            self.look_at_the_journal()
            assert self.world.state.status in ENDS or self.world.state.status is Status.IDLE
            assert self.world.state.reason
            for host in self.hosts.values():
                assert not host.canary.failures.counts.get("move"), host.canary.failures.counts
        finally:
            for host in self.hosts.values():
                host.canary._closed = True
                host.canary._arena.close()
            self.operator._closed = True
            self.store.close()
            shutil.rmtree(self.folder, ignore_errors=True)


QUICK: Final = settings(
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
Shell.TestCase.settings = QUICK
TestApplicationsInABadWorld = pytest.mark.timeout(120)(Shell.TestCase)


class ShellOnDisk(Shell):
    """The same, over a file."""

    store_of = staticmethod(lambda folder: SQLiteStore(folder / "canary.db"))


ShellOnDisk.TestCase.settings = settings(QUICK, max_examples=10)
TestApplicationsOverAFile = pytest.mark.timeout(120)(ShellOnDisk.TestCase)


class ShellForLong(Shell):
    """The same world, many more times."""


ShellForLong.TestCase.settings = settings(QUICK, max_examples=10_000, stateful_step_count=40)
TestApplicationsInABadWorldForLong = pytest.mark.long(pytest.mark.timeout(36_000)(ShellForLong.TestCase))
