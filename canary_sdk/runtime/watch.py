"""One flag under watch: the windows of its arms, what was found last, and what becomes of its breaker.

It reads no arena by itself: who has it slide says where the counters are. Threads: the ticker's only, but for `tally`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from canary_sdk.core import breaker as breakers
from canary_sdk.core.breaker import RollbackRule, State
from canary_sdk.core.events import HoldAdvised, HoldLifted, UsersDiffer
from canary_sdk.core.flags.evaluation import Role
from canary_sdk.core.judge.decision import Action
from canary_sdk.core.judge.slo import limits_of
from canary_sdk.core.judge.verdict import Arms, judge
from canary_sdk.core.rollout.grounds import Judgement, standing_of
from canary_sdk.core.rollout.journal import Weighed
from canary_sdk.measure.counters import Counters
from canary_sdk.measure.window import Window, tally
from canary_sdk.runtime.hearing import Occasion
from canary_sdk.runtime.status import ALONE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from canary_sdk.core.breaker import AutoRollback, Breaker, Decision
    from canary_sdk.core.events import Event
    from canary_sdk.core.flags.flag import Flag
    from canary_sdk.core.judge.decision import Decision as Ruling
    from canary_sdk.core.judge.slo import Cut, Of, Slo
    from canary_sdk.core.judge.tally import Tally
    from canary_sdk.core.judge.verdict import Verdict
    from canary_sdk.core.rollout.release import Release
    from canary_sdk.measure.arena import Arena
    from canary_sdk.runtime.guard import Guard
    from canary_sdk.runtime.hearing import Hearing
    from canary_sdk.runtime.opinion import Opinion
    from canary_sdk.runtime.status import Hosts

    Read = Callable[[Role, Of], Counters]
    """Reads what was counted of an arm so far."""
    Windows = Mapping[tuple[Role, str], Window]

SLICE_S: Final = 1.0
"""About how long one slice of a window is."""
SHOWN: Final = (0.5, 0.95, 0.99)
"""Quantiles that are always shown, whatever the SLOs ask for."""
ALL_ROLES: Final = tuple(Role)


class Look(NamedTuple):
    """What was counted and found in one interval that ended at `now` (monotonic), which was `at` by the wall clock.

    `total` is the whole traffic, None where the arms are all of it; `breaches` is how many followed each other by then.
    `hosts` are those whose traffic it was, where it was that of several.
    """

    now: float
    at: float
    candidate: Tally
    baseline: Tally | None
    total: Tally | None
    verdict: Verdict
    breaches: int
    weighed: Weighed | None
    hosts: Hosts = ALONE


class Watch:
    """One flag under watch: a window of one interval for each of its arms, and what was found last."""

    def __init__(
        self, flag: Flag, policy: AutoRollback, hearing: Hearing | None = None, opinion: Opinion | None = None
    ) -> None:
        """Start watching; the first `slide` is where the first interval begins.

        `hearing` is the sequential judge's; `opinion` is what is asked in its place where it takes its turns elsewhere.
        """
        self.flag = flag
        self.verdict: Verdict | None = None
        self.hearing = hearing
        self.hosts = ALONE
        self._elsewhere = opinion
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

    @property
    def arms(self) -> Iterable[tuple[Role, Of]]:
        """What is counted: by role, units and whatever else is promised of."""
        return self._windows.keys()

    def last(self, role: Role, of: Of) -> Counters:
        """Return what was read of an arm last."""
        reading = self._windows[role, of].reading
        return reading[0] if reading else Counters()

    @property
    def _opinion(self) -> Opinion | None:
        return self._elsewhere or self.hearing

    def slide(self, read: Read, now: float) -> None:
        """Read the arms and let the windows move on by one slice."""
        self._fresh += 1
        for (role, of), window in self._windows.items():
            window.push(read(role, of), now)
        if not self._fresh:
            self._begin()

    def lead(self, flag: Flag, read: Read, now: float) -> None:
        """Go on with the flag as it is served from now on."""
        if flag.rollout != self.flag.rollout:
            self._began = {key: (read(*key), now) for key in self._windows}
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

    def end_early(self, read: Read, now: float, at: float) -> None:
        """Look at what was counted since the last interval, or since another share is served, as a trip has ended it.

        It decides nothing any more: it is for the journal.
        """
        windows = {key: Window(1) for key in self._began}
        for (role, of), window in windows.items():
            window.push(*self._began[role, of])
            window.push(read(role, of), now)
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
        decision = self._opinion.heard(now).decision if self._opinion is not None and self._opinion.is_on else None
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
        return self._opinion.kinds if self._opinion is not None and self._opinion.is_on else ()

    def hear(self, breaker: Breaker, read: Read, arena: Arena, now: float) -> Ruling | None:
        """Let the sequential judge take its turn; return what follows, None where nothing new does."""
        if self.hearing is None:
            return None
        release = self._on_trial(self.hearing.release, breaker)
        occasion = Occasion(release, self.verdict, partial(_served, read))
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
        if self._opinion is not None and self._opinion.is_on:
            found.append(self._opinion.judgement(now, stage))
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
        weighed = self._weighed(now)
        return Look(now, at, unit.candidate, unit.baseline, total, verdict, breaches, weighed, self.hosts)


def _served(read: Read) -> int:
    """Return how many requests all arms have counted."""
    return sum(read(role, "unit").requests for role in ALL_ROLES)


def slices_of(policy: AutoRollback) -> int:
    """Return how often the arms are read in one interval: about once a second, at least once."""
    return max(1, round(policy.interval_s / SLICE_S))
