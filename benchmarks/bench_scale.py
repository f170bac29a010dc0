"""What do 1,000 hosts with 10,000 flags and 100 running rollouts ask of each other's store, and what of each host?

Two hosts really run, on one store, by a clock that is turned by hand: one moves all the rollouts, the other follows, as
all others would. Both serve users on the flags that are rolled out, all of which are judged. What a host asks of the
store is counted, and that of the follower multiplied by all the others; a table of so many flags is built by each. What
a rollout writes into its journal is counted where it is alone, because that takes longer.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from benchmarks.race import publish_figures
from canary_sdk.measure.arena import Arena
from canary_sdk.runtime.client import Canary
from canary_sdk.stores.memory import MemoryStore
from canary_sdk.stores.repository import DocumentRepository
from canary_sdk.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from canary_sdk.ports import AuditRow, Change, Cut, JournalLine, Notice, Removed, Snapshot

HOSTS = 1_000
FLAGS = 10_000
ROLLOUTS = 100
WARM_S = 15
MEASURED_S = 30
JOURNAL_S = 600
REQUESTS = 20  # a host and tick
MET = 5
TICK_S = 0.1
STAGES = [
    {"percent": 5, "bake": "1h", "slos": ["p95 < 500ms", "errors < 1%"]},
    {"percent": 25, "bake": "2h", "slos": ["p95 < 500ms", "errors < 1%"]},
    {"percent": 100, "bake": "24h", "slos": ["p95 < 500ms", "errors < 1%"]},
]


class Counted:
    """One host's way to a store that several share, which counts what is asked and what is written."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.asked = Counter[str]()

    def version(self) -> int:
        """Count a look at the version."""
        self.asked["versions"] += 1
        return self.store.version()

    def load(self) -> Snapshot:
        """Count a reading of all documents."""
        self.asked["loads"] += 1
        snapshot = self.store.load()
        self.asked["bytes read"] += sum(len(document.body) for document in snapshot.documents)
        return snapshot

    def commit(
        self, changes: Sequence[Change], *, actor: str, reason: str, at: float, journal: Sequence[JournalLine] = ()
    ) -> int:
        """Count what is written."""
        self.asked["commits"] += 1
        self.asked["bytes written"] += sum(len(change.body or "") for change in changes)
        self.asked["lines"] += len(journal)
        self.asked["bytes of journal"] += sum(len(line.text) for line in journal)
        return self.store.commit(changes, actor=actor, reason=reason, at=at, journal=journal)

    def audit(
        self, *, kind: str | None = None, key: str | None = None, until: int | None = None, limit: int = 100
    ) -> tuple[AuditRow, ...]:
        """Pass it on."""
        return self.store.audit(kind=kind, key=key, until=until, limit=limit)

    def journal(self, key: str, *, after: int = 0, limit: int = 1_000) -> tuple[JournalLine, ...]:
        """Pass it on."""
        return self.store.journal(key, after=after, limit=limit)

    def compact(
        self, journal: Cut, audit: Cut, spared: Collection[tuple[str, str]] = (), *, limit: int = 1_000
    ) -> Removed:
        """Pass it on."""
        return self.store.compact(journal, audit, spared, limit=limit)

    def put_up(self, topic: str, author: str, body: str | None) -> None:
        """Count a notice."""
        self.asked["notices"] += 1
        self.asked["bytes written"] += len(body or "")
        self.store.put_up(topic, author, body)

    def notices(self, topic: str) -> tuple[Notice, ...]:
        """Count a look at the notices of all hosts."""
        self.asked["looks at notices"] += 1
        return self.store.notices(topic)

    def close(self) -> None:
        """Leave the store to the other host."""


class Host:
    """One process, alone on its host."""

    def __init__(self, store: MemoryStore, clock: ManualClock, number: int) -> None:
        self.store = Counted(store)
        self.clock = clock
        self.users = random.Random(number)
        self.ticks: list[float] = []
        self.canary = Canary(
            DocumentRepository(self.store, "production"),
            environment="production",
            open_arena=lambda: Arena(clock=clock),
            clock=clock,
            background=False,
        )

    def serve(self, flags: list[str]) -> None:
        """Serve what comes between two ticks, a tenth of a second of work each."""
        users = self.users
        for _ in range(REQUESTS):
            with self.canary.scope("request", key=f"user-{users.randrange(100_000)}") as unit:
                for flag in users.sample(flags, MET):
                    self.canary.is_enabled(flag)
                assert unit
                unit.started -= users.lognormvariate(-2.5, 0.5)

    def tick(self) -> None:
        """Do the background's work, and note what it took the processor."""
        begun = time.thread_time()
        self.canary.tick()
        self.ticks.append(time.thread_time() - begun)

    def begin(self) -> None:
        """Count from here on."""
        self.ticks.clear()
        self.store.asked.clear()


def a_second(name: str, host: Host, hosts: int) -> dict[str, dict[str, float]]:
    """Return what one second of so many such hosts is."""
    asked = host.store.asked

    def rate(*names: str) -> float:
        return hosts * sum(asked[each] for each in names) / MEASURED_S

    return {
        name: {
            "processor of a host, ms/s": 1e3 * sum(host.ticks) / MEASURED_S,
            "longest tick, ms": 1e3 * max(host.ticks),
            "versions read/s": rate("versions"),
            "commits/s": rate("commits"),
            "notices put up/s": rate("notices"),
            "looks at notices/s": rate("looks at notices"),
            "MB written/s": rate("bytes written", "bytes of journal") / 1e6,
        }
    }


def run(hosts: list[Host], clock: ManualClock, flags: list[str], seconds: float) -> None:
    """Let them serve and tick for so long."""
    for _ in range(round(seconds / TICK_S)):
        for host in hosts:
            host.serve(flags)
        clock.advance(TICK_S)
        for host in hosts:
            host.tick()


def journal() -> dict[str, float]:
    """Return what one rollout writes down in an hour."""
    clock = ManualClock()
    host = Host(MemoryStore(), clock, 1)
    host.canary.apply({"flags": {"flag": {"plan": {"stages": STAGES}}}})
    host.canary.rollouts.start("flag")
    run([host], clock, ["flag"] * MET, JOURNAL_S)
    asked, hours = host.store.asked, JOURNAL_S / 3_600
    return {"lines an hour": asked["lines"] / hours, "kB an hour": asked["bytes of journal"] / hours / 1e3}


def main() -> None:
    """Let both run, and multiply."""
    rolled = [f"flag-{number}" for number in range(ROLLOUTS)]
    config: dict[str, Any] = {
        "plans": {"slow": {"stages": STAGES}},
        "flags": {
            f"flag-{number}": {"rollout": 25, **({"plan": "slow", "rollout": 0} if number < ROLLOUTS else {})}
            for number in range(FLAGS)
        },
    }
    store, clock = MemoryStore(), ManualClock()
    leader, follower = (Host(store, clock, number) for number in range(2))
    leader.canary.apply(config)
    for flag in rolled:
        leader.canary.rollouts.start(flag)
    run([leader, follower], clock, rolled, WARM_S)
    for host in (leader, follower):
        host.begin()
    run([leader, follower], clock, rolled, MEASURED_S)
    for host in (leader, follower):
        status = host.canary.status()
        assert not status.failures, status.failures
        assert len(status.rollouts) == ROLLOUTS
    figures = a_second("the host that moves all rollouts", leader, 1)
    figures |= a_second(f"{HOSTS - 1} that follow, together", follower, HOSTS - 1)
    publish_figures(f"Scale: {HOSTS:,} hosts, {FLAGS:,} flags, {ROLLOUTS} rollouts", figures)

    leader.canary.update("flag-5000", {"rollout": 30})
    clock.advance(1.1)
    for host in (leader, follower):
        host.begin()
        host.tick()
    size = sum(len(document.body) for document in store.load().documents)
    change = {"ms of a host's processor": follower.ticks[0] * 1e3, "MB read by a host": size / 1e6}
    publish_figures("Scale: a change of one flag", {f"{FLAGS:,} flags": change})
    publish_figures("Scale: the journal of a rollout", {"one host": journal()})


if __name__ == "__main__":
    main()
