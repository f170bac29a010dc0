"""Watches the flags that have promises to keep: reads their arms, asks the judge, and lets the breakers decide.

What it decides reaches evaluations through the guard before anybody is told. Threads: the ticker's only, but for
`status`, which may be asked from any.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from canary_sdk.core import breaker as breakers
from canary_sdk.core.breaker import RollbackRule, State
from canary_sdk.core.events import HoldAdvised, HoldLifted, RolloutsMeet, UsersDiffer
from canary_sdk.core.flags.evaluation import Role
from canary_sdk.core.judge.decision import Action
from canary_sdk.core.judge.slo import limits_of
from canary_sdk.core.judge.tally import EMPTY
from canary_sdk.core.judge.verdict import Arms, judge
from canary_sdk.core.plan import Plan
from canary_sdk.core.rollout.grounds import Judgement, standing_of
from canary_sdk.core.rollout.journal import Weighed
from canary_sdk.core.rollout.release import release_of
from canary_sdk.core.rollout.state import Status
from canary_sdk.measure.window import Window, tally
from canary_sdk.runtime.fold import Folder
from canary_sdk.runtime.hearing import Calibration, Hearing, Occasion
from canary_sdk.runtime.matter import Matter
from canary_sdk.runtime.records import Records
from canary_sdk.runtime.status import FlagStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from canary_sdk.clock import Clock
    from canary_sdk.core.breaker import AutoRollback, Breaker, Decision
    from canary_sdk.core.events import Event
    from canary_sdk.core.flags.compiled import CompiledFlag
    from canary_sdk.core.flags.flag import Flag
    from canary_sdk.core.judge.decision import Decision as Ruling
    from canary_sdk.core.judge.slo import Cut, Of, Slo
    from canary_sdk.core.judge.tally import Tally
    from canary_sdk.core.judge.verdict import Verdict
    from canary_sdk.core.rollout.release import Release
    from canary_sdk.core.rollout.state import Rollout
    from canary_sdk.measure.arena import Arena
    from canary_sdk.measure.counters import Counters
    from canary_sdk.runtime.failures import Failures
    from canary_sdk.runtime.guard import Guard
    from canary_sdk.runtime.scope import Units

    Windows = Mapping[tuple[Role, str], Window]

SLICE_S: Final = 1.0
"""About how long one slice of a window is."""
SAVE_S: Final = 5.0
"""How often what the sequential judge knows is written down."""
SHOWN: Final = (0.5, 0.95, 0.99)
"""Quantiles that are always shown, whatever the SLOs ask for."""
ALL_ROLES: Final = tuple(Role)


class Look(NamedTuple):
    """What was counted and found in one interval that ended at `now` (monotonic), which was `at` by the wall clock.

    `total` is the whole traffic, None where the arms are all of it; `breaches` is how many followed each other by then.
    """

    now: float
    at: float
    candidate: Tally
    baseline: Tally | None
    total: Tally | None
    verdict: Verdict
    breaches: int
    weighed: Weighed | None


class Watch:
    """One flag under watch: a window of one interval for each of its arms, and what was found last."""

    def __init__(self, flag: Flag, policy: AutoRollback, hearing: Hearing | None = None) -> None:
        """Start watching; the first `slide` is where the first interval begins. `hearing` is the sequential judge's."""
        self.flag = flag
        self.verdict: Verdict | None = None
        self.hearing = hearing
        self.told: Action | None = None
        self._warned: int | None = None
        self._policy = policy
        kinds = tuple(dict.fromkeys(("unit", *(slo.counts for slo in flag.promises))))
        self._others = kinds[1:]
        self.cuts: dict[str, dict[str, Cut]] = {}
        for slo in flag.promises:
            if slo.cut:
                self.cuts.setdefault(slo.of, {})[slo.counts] = slo.cut
        self.limits = {(flag.key, of): limits_of(flag.promises, policy.tolerance, of) for of in kinds}
        self._quantiles = sorted({*SHOWN, *(slo.quantile for slo in flag.promises if slo.quantile)})
        self._slices = slices_of(policy)
        self._fresh = -1
        self._state = State.CLOSED
        self._judged_at_s: float | None = None
        self._is_sustained = False
        self.look: Look | None = None
        self._began: dict[tuple[Role, str], tuple[Counters, float]] = {}
        self._windows = {(role, of): Window(self._slices) for of in kinds for role in Role}

    def serves(self, flag: Flag, release: Release) -> bool:
        """Whether it can go on where the flag is another one now: whatever is promised, the same has to be counted."""
        is_counted = self.hearing is None or self.hearing.release.judged == release.judged
        return (self.flag.slos, self.flag.soft) == (flag.slos, flag.soft) and is_counted

    @property
    def is_due(self) -> bool:
        """Whether a whole interval has passed since the last decision."""
        return self._fresh >= self._slices

    @property
    def is_served(self) -> bool:
        """Whether anybody may have got the candidate in the last interval: by our percentage or by another tool's."""
        return self.flag.rollout > 0 or self._windows[Role.CANDIDATE, "unit"].tally().requests > 0

    def slide(self, folder: Folder, arena: Arena, now: float) -> None:
        """Read the arms and let the windows move on by one slice."""
        self._fresh += 1
        for (role, of), window in self._windows.items():
            window.push(arena.read(folder.arm(self.flag.key, role, of)), now)
        if not self._fresh:
            self._begin()

    def lead(self, flag: Flag, folder: Folder, arena: Arena, now: float) -> None:
        """Go on with the flag as it is served from now on."""
        if flag.rollout != self.flag.rollout:
            self._began = {key: (arena.read(folder.arm(flag.key, *key)), now) for key in self._windows}
        self.flag = flag

    def _begin(self) -> None:
        """Remember where an interval begins: at the last reading."""
        self._began = {key: window.reading for key, window in self._windows.items() if window.reading}

    def tally(self, *roles: Role) -> Tally:
        """Return what these arms did together in the last interval."""
        return self._tally(self._windows, roles)

    def _tally(self, windows: Windows, roles: Iterable[Role], of: Of = "unit") -> Tally:
        found = [windows[role, of] for role in roles if (role, of) in windows]
        limits = self.limits.get((self.flag.key, of), ())
        return tally(found, limits, self._quantiles)

    def follow(self, breaker: Breaker) -> bool:
        """Begin a new interval where the breaker has been closed: what was before says nothing of what is served now.

        That holds also for requests of before that a busy worker counts only now. Return whether it has just opened.
        """
        opened = breaker.state is State.OPEN and self._state is State.CLOSED
        if breaker.state is State.CLOSED and self._state is not State.CLOSED:
            self._fresh = -1
            if self.hearing is not None:
                self.hearing.begin_anew()
        self._state = breaker.state
        return opened

    def end_early(self, folder: Folder, arena: Arena, now: float, at: float) -> None:
        """Look at what was counted since the last interval, or since another share is served, as a trip has ended it.

        It decides nothing any more: it is for the journal.
        """
        windows = {key: Window(1) for key in self._began}
        for (role, of), window in windows.items():
            window.push(*self._began[role, of])
            window.push(arena.read(folder.arm(self.flag.key, role, of)), now)
        if self._tally(windows, ALL_ROLES).requests:
            self.look = self._looked(windows, self._judged(windows), 0, now, at)

    def decide(self, breaker: Breaker, now: float, at: float) -> Decision:
        """Judge the last interval and return what becomes of the breaker."""
        self._fresh = 0
        self._begin()
        if breaker.state is State.OPEN:
            return self._decide_open(breaker, now, at)
        self.verdict = self._judged(self._windows)
        after, events = breakers.observe(breaker, *self._classic(self.verdict), now, at)
        ended, more = breakers.end_probe(after, self._policy, now, at)
        self.look = self._looked(self._windows, self.verdict, after.breaches, now, at)
        self._judged_at_s, self._is_sustained = now, after.breaches >= self._policy.breaches
        return ended, events + more

    def _weighed(self, now: float) -> Weighed | None:
        """Return what the sequential judge says now, in the words of the journal: no sentence twice."""
        decision = self.hearing.heard(now).decision if self.hearing is not None and self.hearing.is_on else None
        if decision is None:
            return None
        last = self.look.weighed if self.look is not None else None
        repeats = last is not None and (last.action, last.stream) == (decision.action, decision.stream)
        sentence = "" if decision.action is Action.CONTINUE or repeats else decision.sentence
        return Weighed(decision.action, decision.stream, decision.log_e, sentence)

    def _classic(self, verdict: Verdict) -> tuple[Verdict, AutoRollback]:
        """Return what the classic rule has to decide on, and how: all that is not soft and that nobody else judges."""
        hard = verdict.without(self.flag.soft)
        if self._policy.rule is not RollbackRule.SEQUENTIAL:
            return hard, self._policy
        rest = hard.without(self._left_to_the_other)
        if self._heard and not rest.findings:
            return hard, self._policy
        return rest, replace(self._policy, rule=RollbackRule.CONSECUTIVE)

    @property
    def _left_to_the_other(self) -> tuple[Slo, ...]:
        """What the sequential judge alone decides on."""
        if self._policy.rule is not RollbackRule.SEQUENTIAL:
            return ()
        return tuple(slo for slo in self.flag.promises if slo.counts in self._heard)

    @property
    def _heard(self) -> tuple[str, ...]:
        """What the sequential judge judges of a release of the flag, by what `Slo.counts` calls it."""
        return self.hearing.kinds if self.hearing is not None and self.hearing.is_on else ()

    def hear(self, breaker: Breaker, folder: Folder, arena: Arena, now: float) -> Ruling | None:
        """Let the sequential judge take its turn; return what follows, None where nothing new does."""
        if self.hearing is None:
            return None
        release = self._on_trial(self.hearing.release, breaker)
        occasion = Occasion(release, self.verdict, partial(self._served, folder, arena))
        decision = self.hearing.turn(arena, now, occasion)
        if not self.hearing.is_on:
            self.told = None
        return decision

    def _on_trial(self, release: Release, breaker: Breaker) -> Release | None:
        """Return what of the release is served while the breaker stands so; None where nothing is."""
        if not breaker.is_serving:
            return None
        if breaker.state is State.CLOSED:
            return release
        return release.probed(self._policy.probe_percent or 0.0, self._policy.probe_lease_s)

    def _served(self, folder: Folder, arena: Arena) -> int:
        """Return how many requests all arms have counted."""
        return sum(arena.read(folder.arm(self.flag.key, role, "unit")).requests for role in ALL_ROLES)

    def react(self, guard: Guard, decision: Ruling, now: float, at: float) -> tuple[Event, ...]:
        """Do what follows from a decision, and return what to tell: a change of mind, not what was told before."""
        before, self.told = self.told, decision.action
        if decision.action is Action.ROLLBACK:
            if before is Action.ROLLBACK and not self._policy.acts:
                return ()
            ruled = partial(breakers.condemn, decision=decision, policy=self._policy, now=now, at=at)
            return guard.decide(self.flag.key, ruled)
        if decision.action is Action.HOLD and before is not Action.HOLD:
            return (HoldAdvised(flag_key=self.flag.key, at=at, decision=decision),)
        if decision.action is Action.CONTINUE and before is Action.HOLD:
            return (HoldLifted(flag_key=self.flag.key, at=at, decision=decision),)
        return ()

    def warn(self, at: float) -> tuple[Event, ...]:
        """Tell, once of those whom a salt draws, that the first to get the candidate differ from the others."""
        if self.hearing is None or not self.hearing.unlike or self._warned == self.hearing.release.seed:
            return ()
        self._warned = self.hearing.release.seed
        return (UsersDiffer(flag_key=self.flag.key, at=at, differences=self.hearing.unlike),)

    def judgement(self, now: float, stage: int) -> Judgement | None:
        """Return what was last judged of the candidate by whoever has a say; None if somebody has not judged yet.

        The worse of two counts; where they agree, the one that looked longer ago or back further.
        """
        found: list[Judgement | None] = []
        if self.hearing is not None and self.hearing.is_on:
            found.append(self.hearing.judgement(now, stage))
        left_out = self._left_to_the_other
        if not found or len(left_out) < len(self.flag.promises):
            found.append(self._classic_judgement(now, stage, left_out))
        known = [each for each in found if each is not None]
        if len(known) < len(found):
            return None
        return max(known, key=lambda each: (each.standing, each.age_s + each.seconds))

    def _classic_judgement(self, now: float, stage: int, left_out: Collection[Slo]) -> Judgement | None:
        if self.verdict is None or self._judged_at_s is None:
            return None
        own = self.verdict.without(left_out)
        return Judgement(
            standing=standing_of(own, self.flag.soft, in_part=bool(left_out)),
            stage=stage,
            seconds=own.seconds,
            age_s=now - self._judged_at_s,
            sentence=own.sentence,
            sustained=self._is_sustained,
        )

    def _decide_open(self, breaker: Breaker, now: float, at: float) -> Decision:
        """Look at the whole traffic: did taking the flag back help, and is it time for a probe?"""
        self._judged_at_s = None
        others = {of: Arms(self._tally(self._windows, ALL_ROLES, of)) for of in self._others}
        everybody = self.tally(*ALL_ROLES)
        self.verdict = self._judge(Arms(everybody), others, everybody)
        service = self.verdict.without(self.flag.soft)
        after, events = breakers.observe_service(breaker, service, self._policy, now, at)
        probing, more = breakers.start_probe(after, self._policy, now, at)
        return probing, events + more

    def _arms(self, windows: Windows, of: Of) -> Arms:
        baseline = self._tally(windows, [Role.BASELINE], of)
        return Arms(self._tally(windows, [Role.CANDIDATE], of), baseline if baseline.requests else None)

    def _judged(self, windows: Windows) -> Verdict:
        """Hold the arms against their promises."""
        others = {of: self._arms(windows, of) for of in self._others}
        return self._judge(self._arms(windows, "unit"), others, self._tally(windows, ALL_ROLES))

    def _judge(self, unit: Arms, others: Mapping[str, Arms], total: Tally) -> Verdict:
        return judge(
            self.flag.promises,
            unit,
            others=others,
            total=total,
            share=self.flag.rollout / 100,
            tolerance=self._policy.tolerance,
            min_samples=self._policy.min_samples,
        )

    def _looked(self, windows: Windows, verdict: Verdict, breaches: int, now: float, at: float) -> Look:
        """Return what is written down of an interval that ends now."""
        unit = self._arms(windows, "unit")
        total = self._tally(windows, ALL_ROLES) if self._tally(windows, [Role.APART]).requests else None
        return Look(now, at, unit.candidate, unit.baseline, total, verdict, breaches, self._weighed(now))


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
                old.lead(flag, self._folder, self._arena, now)
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
                watch.slide(self._folder, self._arena, now)
        self._watches = watches
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
        return self._resumed(Hearing(flag_key, release, policy, matters), known)

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
            self._follow(watch, guard.breaker(key), now, at)
            events += self._hear(key, watch, guard, now, at)
            self._follow(watch, guard.breaker(key), now, at)
            self._clock.pause(0)  # lets other threads in
            if watch.is_due and (watch.is_served or guard.breaker(key).guard_bits):
                events += guard.decide(key, partial(watch.decide, now=now, at=at))
                self._clock.pause(0)
            self._follow(watch, guard.breaker(key), now, at)  # a reset may come before the next look
        if now >= self._save_due:
            self.save()
        return events

    def _follow(self, watch: Watch, breaker: Breaker, now: float, at: float) -> None:
        """Let a watch know what became of the breaker; what a trip cuts short is looked at."""
        if watch.follow(breaker):
            watch.end_early(self._folder, self._arena, now, at)

    def _meetings(self, at: float) -> list[Event]:
        """Tell once which flags meet that are rolled out at the same time."""
        new = self._folder.met - self._told
        self._told |= new
        return [RolloutsMeet(flag_key=one, other=other, at=at) for one, other in sorted(new)]

    def _hear(self, flag_key: str, watch: Watch, guard: Guard, now: float, at: float) -> tuple[Event, ...]:
        """Let the sequential judge take its turn; where that fails, the classic rule judges the flag from now on."""
        try:
            decision = watch.hear(guard.breaker(flag_key), self._folder, self._arena, now)
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

    def judgement(self, flag_key: str, now: float, stage: int = 0) -> Judgement | None:
        """Return what this process last judged of a candidate, for a rollout that is in `stage`.

        None if it has not judged: no SLOs, not this host's turn, the breaker is open. `now` is monotonic.
        """
        watch = self._watches.get(flag_key)
        return None if watch is None else watch.judgement(now, stage)

    def look(self, flag_key: str) -> Look | None:
        """Return what this process last counted and found of a candidate; None if it has not judged it."""
        watch = self._watches.get(flag_key)
        return None if watch is None else watch.look

    def tally(self, flag_key: str, role: Role) -> Tally:
        """Return what an arm did in the last interval; nothing where the flag has no promises."""
        watch = self._watches.get(flag_key)
        return EMPTY if watch is None else watch.tally(role)

    def read(self, flag_key: str, role: Role) -> Counters:
        """Return what all processes of this host have counted of units of work on an arm."""
        return self._arena.read(self._folder.arm(flag_key, role, "unit"))

    def status(self, guard: Guard) -> dict[str, FlagStatus]:
        """Return every flag with its breaker, its last verdict and its arms in the last interval."""
        return {key: self._status(compiled.flag, guard.breaker(key)) for key, compiled in self._flags.items()}

    def _slide(self, now: float) -> None:
        if self._policy is None or now < self._slice_due:
            return
        slice_s = _slice_s(self._policy)
        on_time = self._slice_due + slice_s
        self._slice_due = on_time if on_time > now else now + slice_s
        for watch in self._watches.values():
            watch.slide(self._folder, self._arena, now)
            self._clock.pause(0)  # lets other threads in, as the folder does

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


def slices_of(policy: AutoRollback) -> int:
    """Return how often the arms are read in one interval: about once a second, at least once."""
    return max(1, round(policy.interval_s / SLICE_S))
