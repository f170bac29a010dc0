"""A rollout as all hosts together see it, on the host that moves it: their sums, judged by the same rules as its own.

What the interval rule needs are the arms' counters, which add up over hosts as they do over processes. The sequential
judge of each host has put its questions to its own batches; what they said is added up, and weighed here as one batch
is (see `core.judge.sequential.hear`). The host's own judge goes on beside this, and neither knows of the other.

Threads: the ticker's only, but for `hosts`, which may be read from any.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from canary_sdk.core import breaker as breakers
from canary_sdk.core.breaker import Breaker
from canary_sdk.core.events import FlagTripped, IncidentSuspected, VerdictReached
from canary_sdk.core.judge.decision import decide
from canary_sdk.core.judge.report import plus
from canary_sdk.core.judge.sequential import Answers, evidence_of, hear, joined, with_evidence
from canary_sdk.measure.counters import Counters
from canary_sdk.runtime.opinion import Opinion, Seen
from canary_sdk.runtime.status import Hosts
from canary_sdk.runtime.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from canary_sdk.core.breaker import AutoRollback
    from canary_sdk.core.events import Event
    from canary_sdk.core.flags.evaluation import Role
    from canary_sdk.core.judge.decision import Decision
    from canary_sdk.core.judge.report import Report, Sums
    from canary_sdk.core.judge.sequential import Case
    from canary_sdk.core.judge.slo import Of
    from canary_sdk.runtime.guard import Guard
    from canary_sdk.runtime.hearing import Hearing
    from canary_sdk.runtime.opinion import Part


def arm_of(role: Role, of: Of) -> str:
    """Name the sums of an arm."""
    return f"{role} {of}"


class JointMatter:
    """What all hosts have said of one kind, by the terms of this host's own judge."""

    def __init__(self, kind: str) -> None:
        """Know nothing yet."""
        self.kind = kind
        self.case: Case | None = None
        self.seen = Seen()

    def follow(self, local: Case | None, noise: Mapping[str, float]) -> None:
        """Take over terms, stage and the baseline's past of the local judge as they are now."""
        if local is None or self.case is None or self.case.stage != local.stage:
            self.seen = Seen()
        self.case = None if local is None else joined(local, self.case, noise)

    def hear(self, sums: Sums, seconds: float, now: float) -> None:
        """Weigh what was said of the last seconds."""
        if self.case is not None:
            said = Answers.from_sums(sums, self.kind, self.case.asked)
            self.case = hear(self.case, said, seconds)
            self.seen.see(now, said.units[0], candidate=said.has_candidate, baseline=said.units[1] > 0)

    def resume(self, heard: Mapping[str, Any]) -> None:
        """Go on from what another host has heard. Raises: KeyError, TypeError, ValueError."""
        if self.case is not None:
            self.case, self.seen = with_evidence(self.case, heard), Seen(int(heard["units"]))

    @property
    def evidence(self) -> dict[str, object] | None:
        """What another host needs to go on."""
        return None if self.case is None else {**evidence_of(self.case), "units": self.seen.units}


class JointHearing(Opinion):
    """The sequential judge of what all hosts have said of one rollout. It lays no edges and learns nothing."""

    def __init__(self, local: Hearing) -> None:
        """Judge by the terms of this host's own judge, and know nothing yet."""
        super().__init__(local.policy)
        self.local = local
        self._matters = [JointMatter(kind) for kind in local.kinds]
        self._identity: tuple[object, ...] = ()

    @property
    def parts(self) -> Sequence[Part]:
        """What it is made of."""
        return self._matters

    @property
    def assumes(self) -> str:
        """What the comparison has to take for granted: as on this host."""
        return self.local.assumes

    def begin(self, now: float, heard: Mapping[str, Any]) -> None:
        """Begin now, with the evidence that another host has put up. Raises: KeyError, TypeError, ValueError."""
        self._last_s = now
        self._follow({})
        for matter in self._matters:
            if matter.kind in heard:
                matter.resume(heard[matter.kind])

    def turn(self, sums: Sums, noise: Mapping[str, float], hosts: int, now: float) -> Decision | None:
        """Weigh what was said since the last time; return what follows, None where there is nothing to weigh."""
        self._follow(noise)
        last_s, self._last_s = self._last_s, now
        if not self.is_on or not last_s < now:
            return None
        for matter in self._matters:
            matter.hear(sums, now - last_s, now)
        cases = [each.case for each in self._matters if each.case is not None]
        found = decide(*cases, self_test=self.local.tests)
        self._decision = replace(found, assumes=self.assumes if cases[0].now.compares else "", hosts=hosts)
        return self._decision

    @property
    def evidence(self) -> dict[str, object] | None:
        """What another host needs to go on."""
        return {each.kind: each.evidence for each in self._matters if each.evidence is not None} or None

    def _follow(self, noise: Mapping[str, float]) -> None:
        """Judge by what the local judge goes by now; of another release nothing is known."""
        identity, kinds = self.local.release.identity, self.local.kinds
        if (self._identity, self.kinds) != (identity, kinds) or not self.local.is_on:
            self._matters, self._decision = [JointMatter(kind) for kind in kinds], None
        self._identity = identity
        for matter, local in zip(self._matters, self.local.parts, strict=True):
            matter.follow(local.case, noise)


class Joint:
    """One flag's rollout, as far as hosts are heard.

    `hosts` are the names of those that are heard, this one among them, and of those that are stale.
    """

    def __init__(self, attempt: int, local: Watch, policy: AutoRollback) -> None:
        """Begin with the next report of each host."""
        self.attempt = attempt
        self.hosts = Hosts()
        self.policy = policy
        self._last: dict[str, Report] = {}
        self._sums: Sums = {}
        self._read: dict[tuple[Role, Of], Counters] = {}
        self._breaker = Breaker(local.flag.key)
        self._hearing = JointHearing(local.hearing) if local.hearing else None
        self._follow(local)

    @property
    def is_on(self) -> bool:
        """Whether any other host is, or was lately, heard."""
        return len(self.hosts.heard) + len(self.hosts.stale) > 1

    @property
    def evidence(self) -> dict[str, object] | None:
        """What another host needs to go on."""
        return self._hearing.evidence if self._hearing else None

    def begin(self, now: float, heard: Mapping[str, Any]) -> None:
        """Begin, with the evidence that another host has put up, if any. Raises: KeyError, TypeError, ValueError."""
        if self._hearing is not None:
            self._hearing.begin(now, heard)

    def follow(self, local: Watch, now: float) -> None:
        """Judge by what is promised now, of the flag as it is served now."""
        if local is not self._local:
            self._follow(local)
        elif self._hearing is not None and local.hearing is not None:
            self._hearing.local = local.hearing
        self.watch.lead(local.flag, self._counters, now)

    def _follow(self, local: Watch) -> None:
        self._local = local
        if local.hearing is None:
            self._hearing = None
        elif self._hearing is not None:
            self._hearing.local = local.hearing
        self.watch = Watch(local.flag, self.policy, opinion=self._hearing)

    def take(
        self, reports: Mapping[str, Report], hosts: Hosts, guard: Guard, now: float, at: float
    ) -> tuple[Event, ...]:
        """Take in what has come since the last reports; return what is to be told of what follows."""
        new: Sums = {}
        for author, report in reports.items():
            new = plus(new, report.since(self._last.get(author)))
        self._last, self.hosts = {**self._last, **reports}, hosts
        self.watch.hosts = hosts
        self._sums, self._read = plus(self._sums, new), {}
        if self._hearing is None:
            return ()
        noise: dict[str, float] = {}
        for report in reports.values():
            noise = {name: max(noise.get(name, 0), report.noise.get(name, 0)) for name in {*noise, *report.noise}}
        decision = self._hearing.turn(new, noise, len(hosts.heard), now)
        told = self.watch.react(guard, decision, now, at) if decision is not None else ()
        if any(isinstance(event, FlagTripped) for event in told):
            self.end_early(now, at)
        return told

    def end_early(self, now: float, at: float) -> None:
        """Look at what a trip has cut short."""
        self.watch.end_early(self._counters, now, at)

    def slide(self, now: float) -> None:
        """Let the windows move on by one slice of what is known by now."""
        self.watch.slide(self._counters, now)

    def _counters(self, role: Role, of: Of) -> Counters:
        found = self._read.get((role, of))
        if found is None:
            limits_ns = self._local.last(role, of).limits_ns
            found = self._read[role, of] = Counters.from_sums(self._sums.get(arm_of(role, of), {}), limits_ns)
        return found

    def judge(self, guard: Guard, now: float, at: float) -> tuple[Event, ...]:
        """Judge the interval that has ended, if one has, by the interval rule; its breaches are counted apart."""
        if not self.watch.is_due or not self.watch.is_served:
            return ()
        self._breaker, events = self.watch.decide(self._breaker, now, at)
        flag_key = self._breaker.flag_key
        told: list[Event] = []
        for event in events:
            if isinstance(event, FlagTripped):
                event = replace(event, reason=f"{len(self.hosts.heard)} hosts together: {event.reason}")  # noqa: PLW2901
                told += guard.decide(flag_key, partial(breakers.trip, told=event, now=now))
            elif not isinstance(event, VerdictReached | IncidentSuspected):
                told.append(event)
            elif isinstance(event, IncidentSuspected) and not guard.breaker(flag_key).incident:
                told.append(event)  # none of the hosts has seen it by itself, or else this one has told it
        return tuple(told)
