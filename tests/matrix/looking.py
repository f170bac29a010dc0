"""Who looks on from outside a server: its operator, and a reader of the arena that its workers share."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from canary_sdk import connect
from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.core.breaker import State
from canary_sdk.measure import segment
from canary_sdk.measure.arena import _OF_ARMS, Arena
from canary_sdk.measure.mapping import default_path
from canary_sdk.measure.segment import PID
from canary_sdk.ports import Action
from tests.matrix.hosts import READY_S, Hosted, Load

if TYPE_CHECKING:
    from collections.abc import Callable

    from canary_sdk import Canary
    from canary_sdk.measure.arm import Arm

CONFIG: Final = {
    "flags": {"checkout": {"rollout": 50, "slos": ["errors < 1%"]}},
    "auto_rollback": {"interval": "1s", "breaches": 1, "min_samples": 20},
}


def eventually(
    act: Callable[[], object], what: Callable[[], object], within_s: float = READY_S, every_s: float = 0.02
) -> None:
    """Wait until it is so."""
    deadline = SYSTEM_CLOCK.monotonic() + within_s
    while not act():
        if SYSTEM_CLOCK.monotonic() > deadline:
            raise AssertionError(what())
        SYSTEM_CLOCK.pause(every_s)


class Onlooker:
    """Somebody outside the server: its operator, and a reader of the arena that its workers share."""

    def __init__(self, folder: Path, url: str = "") -> None:
        """Declare the flag in a store of its own, or in the one at `url`."""
        self.url = url or f"sqlite:///{folder}/canary.db"
        self.operator: Canary = connect(self.url, background=False)
        self.operator.apply(CONFIG)
        identity = url or f"sqlite:{os.path.realpath(folder)}/canary.db"
        self.arena = Arena(default_path(identity, "production"))
        assert self.arena.heartbeat()
        self.slot = self.arena.flag_slot("checkout")

    @property
    def arms(self) -> list[Arm]:
        """The arms of the flag."""
        return [self.arena.arm(f"checkout/{role}/unit") for role in ("candidate", "baseline", "apart")]

    @property
    def counted(self) -> int:
        """How many requests all workers have counted together."""
        assert self.arena.heartbeat()
        return sum(self.arena.read(arm).requests + self.arena.read(arm).aborted for arm in self.arms)

    @property
    def counting(self) -> int:
        """In how many segments something was counted."""
        return max(len(self.arena._views(_OF_ARMS, arm.index, arm.private)) for arm in self.arms)

    @property
    def is_off(self) -> bool:
        """Whether the guard byte holds the flag back."""
        return bool(self.arena.guard[self.slot])

    @property
    def owners(self) -> list[int]:
        """The processes that hold a segment, alive or dead, but this one."""
        pids = [head[PID] for head in segment._heads(self.arena._words)]
        return [pid for pid in pids if pid and pid != os.getpid()]

    @property
    def judge(self) -> int:
        """The process that holds the lease; 0 if none does at this moment."""
        with suppress(FileNotFoundError):
            inode = str(Path(self.arena.lease.path or "").stat().st_ino)
            for line in Path("/proc/locks").read_text().splitlines():
                words = line.split()
                if words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
                    return int(words[4])
        return 0

    @property
    def trips(self) -> int:
        """How often the flag has tripped."""
        return sum(row.action is Action.TRIPPED for row in self.operator.history("checkout"))

    @property
    def story(self) -> list[str]:
        """What was written down, newest first, for whoever has to find out why."""
        rows = self.operator.history("checkout")
        return [f"{row.id} {row.at:.3f} {row.action} by {row.actor}: {row.reason} {row.differences}" for row in rows]

    def close(self) -> None:
        """Let go."""
        self.operator.close()
        self.arena.close()

    def renew(self) -> None:
        """Look into the arena that there is now."""
        path = self.arena.path
        self.arena.close()
        self.arena = Arena(path)
        assert self.arena.heartbeat()
        self.slot = self.arena.flag_slot("checkout")

    def trip(self, hosted: Hosted) -> float:
        """Let the candidate fail under load until it is off; return when, after the decision, it was last served.

        In seconds, by the workers' clocks: from just before the judge sets the guard byte to the answer of whichever
        worker was last to serve the candidate, while 200 more requests are answered. Then the flag is on again.
        """
        off: list[int] = []

        def is_over(seen: Load) -> bool:
            off.append(seen.answers.total()) if self.is_off else None
            return bool(off) and seen.answers.total() - off[0] >= 200

        seen = hosted.load(is_over, ("/broken",))

        def is_told() -> bool:
            self.operator.tick()
            return self.operator.breaker("checkout").state is State.OPEN

        eventually(is_told, lambda: hosted.words)
        decided_at = self.operator.breaker("checkout").tripped_at or 0.0
        self.operator.reset("checkout")
        eventually(lambda: hosted.load(_forty).candidates, lambda: hosted.words)
        return max(seen.last_candidate_at - decided_at, 0.0)


def _forty(seen: Load) -> bool:
    return seen.answers.total() >= 40
