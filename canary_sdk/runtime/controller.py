"""Moves the rollouts of an environment on: the shell of `core.rollout.advance`, whose docstring lists its six steps.

One host moves a rollout: the `controller` that the stored state names, or whoever begins where it names none. Another
host takes over only when the stored state has stood still for longer than a tick may take: two that both ticked would
each find that the other had stored since, and nothing would ever bake. Within a host it is the process that holds the
lease. Any process may abort, and does as soon as it knows of a trip.

Where the store is away nothing is stored, so nothing moves: what was served stays served, as far as the guard lets it.

Threads: the ticker's only.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from canary_sdk.core.breaker import State
from canary_sdk.core.flags.evaluation import Role
from canary_sdk.core.judge.slo import limits_of
from canary_sdk.core.plan import Plan, Stage
from canary_sdk.core.rollout.advance import Action, advance, ruling
from canary_sdk.core.rollout.grounds import Evidence, Now
from canary_sdk.core.rollout.journal import Interval, Judged
from canary_sdk.core.rollout.setting import Setting
from canary_sdk.core.rollout.state import Mark, Status, transition
from canary_sdk.errors import StaleWrite
from canary_sdk.measure.window import Window, tally
from canary_sdk.ports import Stamp
from canary_sdk.runtime.watch import SHOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from canary_sdk.clock import Clock
    from canary_sdk.core.breaker import AutoRollback, Breaker
    from canary_sdk.core.events import Event
    from canary_sdk.core.flags.flag import Flag
    from canary_sdk.core.judge.tally import Tally
    from canary_sdk.core.rollout.advance import Step
    from canary_sdk.core.rollout.grounds import Judgement
    from canary_sdk.core.rollout.journal import Record
    from canary_sdk.core.rollout.state import Rollout
    from canary_sdk.measure.arena import Arena
    from canary_sdk.measure.counters import Counters
    from canary_sdk.ports import Repository, Stored
    from canary_sdk.runtime.guard import Guard
    from canary_sdk.runtime.monitor import Monitor

NEVER: Final = float("inf")
MOST_RECORDS: Final = 1_000
"""Records that wait to be stored; while the store is away, the oldest are dropped first."""
NO_PLAN: Final = Plan(stages=(Stage(100.0, 0.0),))
"""What is followed where the plan was taken away: it is another one than the rollout began with, so nothing moves."""


class Moved(NamedTuple):
    """A rollout as it is stored now, and what to tell; None where somebody else has stored since it was loaded."""

    state: Rollout | None
    events: tuple[Event, ...] = ()


def identify(arena: Arena) -> str:
    """Name this host among those that share a store: the processes that share an arena have one name."""
    return f"{socket.gethostname()}/{arena.identity or f'{os.getpid()}-{os.urandom(4).hex()}'}"


def trip_of(breaker: Breaker) -> str:
    """Say why the breaker is not closed; empty if it is."""
    return "" if breaker.state is State.CLOSED else breaker.reason or "the breaker is open"


@dataclass(slots=True)
class _Memory:
    """What this process remembers of one attempt of a rollout; after a restart all of it begins anew.

    `seq` was first seen at `seen_at`, `doubted` is one that was read again since; `due_at` is when to ask again.
    `was_off` says that nobody was served at some time since the last tick. `began` is the baseline's counters as they
    were first seen in stage 0. What was judged until `looked_at` stands in `records`, or did before they were stored.
    All times are monotonic.
    """

    looked_at: float
    mark: Mark | None = None
    seq: int = -1
    seen_at: float = 0.0
    doubted: int = -1
    due_at: float = 0.0
    was_off: bool = False
    began: tuple[Counters, float] | None = None
    records: list[Record] = field(default_factory=list)


class _Sight(NamedTuple):
    """What is known of one rollout in one turn."""

    flag: Flag
    state: Rollout
    breaker: Breaker
    policy: AutoRollback
    version: int
    monitor: Monitor
    now: float

    @property
    def plan(self) -> Plan:
        return self.flag.plan if isinstance(self.flag.plan, Plan) else NO_PLAN

    @property
    def trip(self) -> str:
        return trip_of(self.breaker)


class Controller:
    """The rollouts of an environment, as far as this process is the one to move them."""

    def __init__(self, repository: Repository, clock: Clock, name: str, actor: str) -> None:
        """Move nothing yet; `name` is this host's, `actor` stands in the history."""
        self._repository = repository
        self._clock = clock
        self._name = name
        self._actor = actor
        self._memories: dict[tuple[str, int], _Memory] = {}

    def tick(self, stored: Stored, monitor: Monitor, guard: Guard, leads: Callable[[], bool]) -> Iterator[Moved]:
        """Move what is due, each stored when it is yielded; `leads` tells whether this process speaks for its host.

        Raises `StoreError` where it cannot be stored: it is then as it was.
        """
        known, self._memories = self._memories, {}
        now = self._clock.monotonic()
        seen = []
        for key, state in stored.rollouts.items():
            if key in stored.flags and state.status is not Status.IDLE:
                attempt = key, state.attempt
                memory = self._memories[attempt] = known.get(attempt) or _Memory(looked_at=now)
                known_of_it = stored.flags[key], state, guard.breaker(key), stored.policy, stored.version
                sight = _Sight(*known_of_it, monitor, now)
                _notice(memory, sight)
                seen.append((memory, sight))
        for memory, sight in seen:
            yield from self._look(memory, sight, leads)

    def _look(self, memory: _Memory, sight: _Sight, leads: Callable[[], bool]) -> Iterator[Moved]:
        """Move a rollout when its time has come, on the host that moves it; after a trip, at once and anywhere."""
        is_due = not sight.state.is_settled and sight.now >= memory.due_at
        is_tripped = bool(sight.trip) and sight.state.status is not Status.ABORTED
        if not is_due and not is_tripped:
            return
        leads_here = leads()
        is_ours = leads_here and sight.state.controller in {"", self._name}
        if leads_here and not is_ours and sight.now - memory.seen_at >= _patience_s(sight.plan):
            if memory.doubted != sight.state.seq:  # ticks are stored quietly: it may have moved unheard
                memory.doubted = sight.state.seq
                yield Moved(None)
                return
            is_ours = True
        if not is_ours:
            # intervals are for whoever moves it to write, but for the one that ended with the trip that is found here
            del memory.records[: -2 if is_tripped else None]
        if is_ours or is_tripped:
            yield from self._move(memory, sight, is_ours=is_ours)

    def _move(self, memory: _Memory, sight: _Sight, *, is_ours: bool) -> Iterator[Moved]:
        """Ask what to do, and store it."""
        plan, before, at = sight.plan, sight.state, self._clock.wall()
        elapsed_s = memory.mark.elapsed_s(before, sight.now) if memory.mark else 0.0
        now = Now(elapsed_s, at, local_minutes(plan.zones, at))
        step = advance(plan, before, self._evidence(memory, sight), now, may_advance=is_ours)
        memory.due_at = NEVER if step.due_s is None else sight.now + step.due_s
        if step.state is before:
            return
        configured: list[Record] = []
        if is_ours:
            setting = Setting.of(sight.flag, sight.policy)
            if setting is not None and setting.fingerprint != before.setting:
                configured.append(setting.written(sight.flag.key, at, sight.version))
            fingerprint = setting.fingerprint if setting else before.setting
            step = replace(step, state=replace(step.state, controller=self._name, setting=fingerprint))
        told = filter(None, (transition(before, step.state, at), ruling(before, step, at)))
        stamp = Stamp(self._actor or self._name, _why(before, step), at)
        try:
            records = (*configured, *memory.records, *told)
            self._repository.save_rollout(step.state, stamp, records, parallel=plan.parallel)
        except StaleWrite:
            memory.due_at = sight.now
            yield Moved(None)
            return
        memory.mark = Mark(step.state.seq, self._clock.monotonic())
        memory.was_off = False
        memory.records.clear()
        yield Moved(step.state, step.events)

    def _evidence(self, memory: _Memory, sight: _Sight) -> Evidence:
        return Evidence(
            judgement=_judgement(sight),
            trip=sight.trip,
            killed=memory.was_off,
            baseline=_baseline(memory, sight),
            under_way=self._under_way(sight),
        )

    def _under_way(self, sight: _Sight) -> int:
        """Count the others, if that matters: as the store has them now, for they begin on other hosts too."""
        if sight.state.stage or sight.plan.parallel is None:
            return 0
        return self._repository.load().under_way(sight.flag.key)


def _why(before: Rollout, step: Step) -> str:
    """Say for the history why it moves: where a stage is entered, what speaks for that is the one before."""
    if step.action is Action.ADVANCE:
        return f"stage {before.stage} kept its promises" if before.stage else "it begins"
    return step.state.reason


def _patience_s(plan: Plan) -> float:
    """Return how long the stored state of another host's rollout may stand still: two ticks at least."""
    return max(plan.fresh, 2) * plan.interval_s


def _notice(memory: _Memory, sight: _Sight) -> None:
    """Remember what may be over by the next tick: that nobody was served, and what an interval's judgement was."""
    if memory.seq != sight.state.seq:
        memory.seq, memory.seen_at, memory.due_at = sight.state.seq, sight.now, _due_again(memory, sight)
    memory.was_off |= sight.breaker.killed or not sight.flag.enabled
    memory.records += _looked_at(memory, sight)
    del memory.records[:-MOST_RECORDS]


def _due_again(memory: _Memory, sight: _Sight) -> float:
    """Keep the time to look again where this process stored the state itself; else look at once."""
    own = memory.mark is not None and memory.mark.seq == sight.state.seq
    return memory.due_at if own else sight.now


def _judgement(sight: _Sight) -> Judgement | None:
    """Return what was last judged; where nothing is taken back by itself, a breach only holds."""
    judgement = sight.monitor.judgement(sight.flag.key, sight.now, sight.state.stage)
    return judgement if judgement is None or sight.policy.acts else replace(judgement, sustained=False)


def _baseline(memory: _Memory, sight: _Sight) -> Tally | None:
    """Return what the baseline arm did since stage 0 was first seen here, while everybody was on it.

    A plan that takes no time to measure it has what was seen in the last interval before the start.
    """
    if sight.state.stage:
        return None
    reading = sight.monitor.read(sight.flag.key, Role.BASELINE), sight.now
    is_waiting = sight.state.status is Status.SCHEDULED and not sight.state.baked_s
    if memory.began is None or is_waiting:
        memory.began = reading
    window = Window(1)
    window.push(*memory.began)
    window.push(*reading)
    found = tally([window], limits_of(sight.flag.promises, 0.0), SHOWN)
    if not found.seconds:
        memory.began = reading  # the counters began anew meanwhile, or just now
    if not sight.plan.baseline_s and not found.requests:
        found = sight.monitor.tally(sight.flag.key, Role.BASELINE)
    return found if found.requests else None


def _looked_at(memory: _Memory, sight: _Sight) -> Iterable[Record]:
    """Return the records of an interval that was judged since the last turn."""
    look = sight.monitor.look(sight.flag.key)
    if look is None or look.now <= memory.looked_at:
        return
    memory.looked_at = look.now
    names: dict[str, Any] = {
        "flag_key": sight.flag.key,
        "at": look.at,
        "attempt": sight.state.attempt,
        "stage": sight.state.stage,
    }
    yield Interval(
        **names,
        candidate=look.candidate,
        baseline=look.baseline,
        total=look.total,
        hosts=max(len(look.hosts.heard), 1),
        stale=len(look.hosts.stale),
    )
    yield Judged(**names, verdict=look.verdict, breaches=look.breaches, weighed=look.weighed)


def local_minutes(zones: Iterable[str], at: float) -> dict[str, int]:
    """Return the minute of the local week in each of these time zones; one that this machine does not know is left out.

    Cost: nothing without zones; the data of a zone is read once a process.
    """
    minutes = {}
    for zone in zones:
        from datetime import datetime
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            local = datetime.fromtimestamp(at, ZoneInfo(zone))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
        minutes[zone] = local.weekday() * 1440 + local.hour * 60 + local.minute
    return minutes
