"""Watches the flags that have promises to keep: reads their arms, asks the judge, and lets the breakers decide.

What it decides reaches evaluations through the guard before anybody is told. Threads: the ticker's only, but for
`status`, which may be asked from any.
"""

from __future__ import annotations

import os
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.core.breaker import RollbackRule, State
from canary_sdk.core.events import RolloutsMeet
from canary_sdk.core.flags.evaluation import Role
from canary_sdk.core.judge.report import Report
from canary_sdk.core.judge.tally import EMPTY
from canary_sdk.core.plan import Plan
from canary_sdk.core.rollout.grounds import Standing
from canary_sdk.core.rollout.release import release_of
from canary_sdk.core.rollout.state import Status
from canary_sdk.runtime.fold import Folder
from canary_sdk.runtime.hearing import Calibration, Hearing
from canary_sdk.runtime.joint import Joint, arm_of
from canary_sdk.runtime.matter import Matter
from canary_sdk.runtime.records import Records
from canary_sdk.runtime.status import FlagStatus
from canary_sdk.runtime.watch import Watch, slices_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from canary_sdk.clock import Clock
    from canary_sdk.core.breaker import AutoRollback, Breaker
    from canary_sdk.core.events import Event
    from canary_sdk.core.flags.compiled import CompiledFlag
    from canary_sdk.core.flags.flag import Flag
    from canary_sdk.core.judge.slo import Of
    from canary_sdk.core.judge.tally import Tally
    from canary_sdk.core.rollout.grounds import Judgement
    from canary_sdk.core.rollout.release import Release
    from canary_sdk.core.rollout.state import Rollout
    from canary_sdk.measure.arena import Arena
    from canary_sdk.measure.counters import Counters
    from canary_sdk.runtime.failures import Failures
    from canary_sdk.runtime.guard import Guard
    from canary_sdk.runtime.scope import Units
    from canary_sdk.runtime.status import Hosts
    from canary_sdk.runtime.watch import Look

SAVE_S: Final = 5.0
"""How often what the sequential judge knows is written down."""


class Monitor:
    """Folds, slides and judges for one process."""

    def __init__(self, units: Units, arena: Arena, clock: Clock, failures: Failures) -> None:
        """Watch nothing yet. `failures` is told where the sequential judge fails."""
        self._failures = failures
        self._records = Records(None if arena.private_reason else arena.path)
        self._save_due = 0.0
        self._known: dict[str, Any] = {}
        self._arena = arena
        self._clock = clock
        self._units = units
        self._folder = Folder(units, arena, clock, failures.note)
        self._flags: Mapping[str, CompiledFlag] = {}
        self._watches: dict[str, Watch] = {}
        self._joints: dict[str, Joint] = {}
        self._run = os.urandom(8).hex()
        self._policy: AutoRollback | None = None
        self._slice_due = 0.0
        self._told: set[tuple[str, str]] = set()
        self.leads = False
        """Whether this process judged for its host the last time."""

    @property
    def open_units(self) -> int:
        """Units of work that are open and under watch."""
        return self._folder.open_units

    @property
    def dropped(self) -> int:
        """Units and calls that were never counted."""
        return self._folder.dropped

    @property
    def lag_s(self) -> float:
        """How long the next slice of the windows is overdue: it grows while the background stands still."""
        return max(self._clock.monotonic() - self._slice_due, 0.0) if self._watches else 0.0

    def watch(
        self,
        flags: Mapping[str, CompiledFlag],
        policy: AutoRollback,
        declared: Mapping[str, Flag] = MappingProxyType({}),
        rollouts: Mapping[str, Rollout] = MappingProxyType({}),
    ) -> None:
        """Watch these flags from now on. Windows are kept where neither promises nor policy changed.

        `rollouts` are those that there are, and `declared` the flags as they are without them.
        """
        now = self._clock.monotonic()
        kept = self._watches if policy == self._policy else {}
        watches: dict[str, Watch] = {}
        for key, compiled in flags.items():
            flag, old = compiled.flag, kept.get(key)
            release = _release(flag, declared.get(key), rollouts.get(key), policy)
            if old is not None and old.serves(flag, release):
                old.lead(flag, partial(self._counters, key), now)
                if old.hearing is not None:
                    old.hearing.release = release
                watches[key] = old
            elif flag.promises:
                watches[key] = Watch(flag, policy, self._hearing(key, release, policy))
        if policy != self._policy:
            self._policy = policy
            self._slice_due = now + _slice_s(policy)
        self._flags = flags
        self._folder.hold_against({name: limits for watch in watches.values() for name, limits in watch.limits.items()})
        self._folder.cut({key: watch.cuts for key, watch in watches.items()})
        self._units.indicators = frozenset(name for watch in watches.values() for name in watch.cuts)
        for key, watch in watches.items():
            if watch is not kept.get(key):
                watch.slide(partial(self._counters, key), now)
        self._watches = watches
        self._joints = {key: joint for key, joint in self._joints.items() if key in watches and policy == joint.policy}
        for key, joint in self._joints.items():
            joint.follow(watches[key], now)
        self._folder.count_for(
            {key: {of.kind: of.trial for of in each.hearing.matters} for key, each in watches.items() if each.hearing}
        )
        self._folder.lead(frozenset(key for key, state in rollouts.items() if state.is_under_way and key in flags))
        self._told &= self._folder.met

    def _hearing(self, flag_key: str, release: Release, policy: AutoRollback) -> Hearing | None:
        """Bring a flag before the sequential judge, if it is to judge and can; what was known of the flag is kept."""
        matters = self._matters(flag_key, release, policy)
        if not matters:
            return None
        old = self._watches.get(flag_key)
        known = (
            old.hearing.to_dict() if old is not None and old.hearing is not None else self._known.pop(flag_key, None)
        )
        hearing = self._resumed(Hearing(flag_key, release, policy, matters), known)
        if old is not None and old.hearing is not None:
            hearing.said = old.hearing.said
        return hearing

    def _matters(self, flag_key: str, release: Release, policy: AutoRollback) -> list[Matter]:
        """Return what the sequential judge is to judge of a flag, as far as there is room to count it."""
        if policy.rule is RollbackRule.CONSECUTIVE:
            return []
        trials = {kind: self._arena.trial(f"{flag_key}/{kind}") for kind in release.judged}
        return [Matter(kind, trial, release, policy) for kind, trial in trials.items() if trial is not None]

    def _anew(self, hearing: Hearing) -> Hearing:
        """Return a hearing of the same flag that knows nothing yet."""
        matters = self._matters(hearing.flag_key, hearing.release, hearing.policy)
        return Hearing(hearing.flag_key, hearing.release, hearing.policy, matters)

    def _resumed(self, hearing: Hearing, known: dict[str, Any] | None) -> Hearing:
        """Let a hearing that has not begun go on with what is known, if it can."""
        if known is None:
            return hearing
        try:
            hearing.resume(known)
        except (KeyError, TypeError, ValueError) as error:
            place, hint = f"reading what the judge knew of {hearing.flag_key}", "The judge begins anew"
            self._failures.note((place, repr(error), hint))
            return self._anew(hearing)
        return hearing

    def fold(self) -> None:
        """Count what has finished since the last time."""
        self._folder.fold()

    def judge(self, guard: Guard) -> list[Event]:
        """Slide the windows and judge what is due, if this process is the one that judges for its host.

        Whoever has only just become that may not have read yet of what was decided before: such a flag waits. The guard
        is set before this returns; the events are to be told.
        """
        now, at = self._clock.monotonic(), self._clock.wall()
        self._slide(now)
        events: list[Event] = []
        led, self.leads = self.leads, self._arena.lease.take()
        if not self.leads:
            return events
        if not led:
            self._take_over()
        events += self._meetings(at)
        for key, watch in self._watches.items():
            if guard.is_in_doubt(key):
                continue
            self._follow(key, watch, guard.breaker(key), now, at)
            events += self._hear(key, watch, guard, now, at)
            self._follow(key, watch, guard.breaker(key), now, at)
            self._clock.pause(0)  # lets other threads in
            if watch.is_due and (watch.is_served or guard.breaker(key).guard_bits):
                events += guard.decide(key, partial(watch.decide, now=now, at=at))
                self._clock.pause(0)
            self._follow(key, watch, guard.breaker(key), now, at)  # a reset may come before the next look
        for key, joint in self._joints.items():
            if guard.breaker(key).state is State.CLOSED and not guard.is_in_doubt(key):
                events += joint.judge(guard, now, at)
        if now >= self._save_due:
            self.save()
        return events

    def _follow(self, flag_key: str, watch: Watch, breaker: Breaker, now: float, at: float) -> None:
        """Let a watch know what became of the breaker; what a trip cuts short is looked at."""
        if watch.follow(breaker):
            watch.end_early(partial(self._counters, flag_key), now, at)
            if (joint := self._joints.get(flag_key)) is not None:
                joint.end_early(now, at)

    def _meetings(self, at: float) -> list[Event]:
        """Tell once which flags meet that are rolled out at the same time."""
        new = self._folder.met - self._told
        self._told |= new
        return [RolloutsMeet(flag_key=one, other=other, at=at) for one, other in sorted(new)]

    def _hear(self, flag_key: str, watch: Watch, guard: Guard, now: float, at: float) -> tuple[Event, ...]:
        """Let the sequential judge take its turn; where that fails, the classic rule judges the flag from now on."""
        try:
            decision = watch.hear(guard.breaker(flag_key), partial(self._counters, flag_key), self._arena, now)
            return watch.warn(at) if decision is None else watch.react(guard, decision, now, at)
        except Exception as error:  # noqa: BLE001 - somebody has to judge
            watch.hearing = None
            hint = "The classic rule judges the flag until the next start; please report this with its traceback"
            self._failures.note((f"judging {flag_key}", error, hint))
            return ()

    def save(self) -> None:
        """Write down what the sequential judge knows, for whoever goes on, if this process judges."""
        self._save_due = self._clock.monotonic() + SAVE_S
        hearings = {key: each.hearing for key, each in self._watches.items() if each.hearing}
        if not self.leads or not hearings:
            return
        try:
            self._records.write({key: hearing.to_dict() for key, hearing in hearings.items()})
        except OSError as error:
            hint = "It judges on; after a restart it begins anew"
            self._failures.note(("writing down what the judge knows", error, hint))

    def calibration(self, flag_key: str) -> Calibration | None:
        """Return what was learnt of a flag's arms, by this process or by whoever judges; None if nothing was.

        Raises: OSError, ValueError, KeyError or TypeError where what is written down is damaged.
        """
        watch = self._watches.get(flag_key)
        if self.leads and watch is not None and watch.hearing is not None:
            return Calibration.from_dict(watch.hearing.to_dict())
        found = self._records.read().get(flag_key)
        return None if found is None else Calibration.from_dict(found)

    def _take_over(self) -> None:
        """Go on where whoever judged before has left off; what is known of flags that will come is kept for them."""
        try:
            self._known = self._records.read()
        except (OSError, ValueError) as error:
            self._failures.note(("reading what the judge knew", error, "It was left aside; the judge begins anew"))
            return
        for key, watch in self._watches.items():
            if (old := watch.hearing) is not None and key in self._known:
                watch.hearing = self._resumed(self._anew(old), self._known.pop(key))
                watch.hearing.said = old.said

    def judgement(self, flag_key: str, now: float, stage: int = 0) -> Judgement | None:
        """Return what this process last judged of a candidate, for a rollout that is in `stage`.

        That is of all hosts that are heard together, unless this one has to take the candidate back by itself. None if
        it has not judged: no SLOs, not this host's turn, the breaker is open. `now` is monotonic.
        """
        watch = self._watches.get(flag_key)
        own = None if watch is None else watch.judgement(now, stage)
        joint = self._heard_together(flag_key)
        if joint is None or (own is not None and own.standing is Standing.HARD):
            return own
        return joint.watch.judgement(now, stage)

    def look(self, flag_key: str) -> Look | None:
        """Return what this process last counted and found of a candidate, of all hosts; None if it has not judged."""
        joint = self._heard_together(flag_key)
        watch = joint.watch if joint is not None else self._watches.get(flag_key)
        return None if watch is None else watch.look

    def tally(self, flag_key: str, role: Role) -> Tally:
        """Return what an arm did in the last interval; nothing where the flag has no promises."""
        watch = self._watches.get(flag_key)
        return EMPTY if watch is None else watch.tally(role)

    def read(self, flag_key: str, role: Role) -> Counters:
        """Return what all processes of this host have counted of units of work on an arm."""
        return self._counters(flag_key, role, "unit")

    def _counters(self, flag_key: str, role: Role, of: Of) -> Counters:
        return self._arena.read(self._folder.arm(flag_key, role, of))

    def status(self, guard: Guard) -> dict[str, FlagStatus]:
        """Return every flag with its breaker, its last verdict and its arms in the last interval."""
        return {key: self._status(compiled.flag, guard.breaker(key)) for key, compiled in self._flags.items()}

    # --- with other hosts --------------------------------------------------------------------------------------------

    def report(self, flag_key: str, rollout: Rollout) -> Report | None:
        """Return what this host has counted and weighed of a rollout by now; None where nothing is promised."""
        watch = self._watches.get(flag_key)
        if watch is None:
            return None
        sums: dict[str, dict[str, float]] = dict(watch.hearing.said) if watch.hearing else {}
        for role, of in watch.arms:
            if any((found := watch.last(role, of).to_sums()).values()):
                sums[arm_of(role, of)] = dict(found)
        cases = [each.case for each in watch.hearing.parts if each.case] if watch.hearing else []
        noise = {name: found for case in cases for name, found in case.terms.noise.items()}
        joint = self._joints.get(flag_key)
        heard = joint.evidence if joint is not None else None
        return Report(run=self._run, attempt=rollout.attempt, stage=rollout.stage, sums=sums, noise=noise, heard=heard)

    def joint(self, flag_key: str, attempt: int) -> Joint:
        """Return a rollout as all hosts together see it; it begins here if it has not."""
        joint, watch = self._joints.get(flag_key), self._watches[flag_key]
        if joint is None or joint.attempt != attempt:
            assert self._policy
            joint = self._joints[flag_key] = Joint(attempt, watch, self._policy)
        joint.follow(watch, self._clock.monotonic())
        return joint

    def part(self, flag_keys: Collection[str]) -> None:
        """Judge these no more together with other hosts."""
        for key in flag_keys:
            self._joints.pop(key, None)

    def hosts(self) -> dict[str, Hosts]:
        """Return whose traffic is judged together here, by flag."""
        return {key: joint.hosts for key, joint in dict(self._joints).items() if joint.is_on}

    def _heard_together(self, flag_key: str) -> Joint | None:
        joint = self._joints.get(flag_key)
        return joint if joint is not None and joint.is_on else None

    def _slide(self, now: float) -> None:
        if self._policy is None or now < self._slice_due:
            return
        slice_s = _slice_s(self._policy)
        on_time = self._slice_due + slice_s
        self._slice_due = on_time if on_time > now else now + slice_s
        for key, watch in self._watches.items():
            watch.slide(partial(self._counters, key), now)
            self._clock.pause(0)  # lets other threads in, as the folder does
        for joint in self._joints.values():
            joint.slide(now)

    def _status(self, flag: Flag, breaker: Breaker) -> FlagStatus:
        watch = self._watches.get(flag.key)
        if watch is None:
            return FlagStatus(flag, breaker, None, EMPTY, EMPTY, EMPTY)
        heard = watch.hearing.heard(self._clock.monotonic()) if watch.hearing and self.leads else None
        candidate, baseline, apart = (watch.tally(role) for role in (Role.CANDIDATE, Role.BASELINE, Role.APART))
        return FlagStatus(flag, breaker, watch.verdict, candidate, baseline, apart, heard)


def _release(flag: Flag, declared: Flag | None, rollout: Rollout | None, policy: AutoRollback) -> Release:
    """Return what is on trial of a flag that is served as it is, led by a rollout if there is one."""
    is_led = rollout is not None and rollout.status is not Status.IDLE and isinstance(flag.plan, Plan)
    return release_of(declared, rollout, policy.holdback) if is_led and declared is not None else release_of(flag)


def _slice_s(policy: AutoRollback) -> float:
    return policy.interval_s / slices_of(policy)
