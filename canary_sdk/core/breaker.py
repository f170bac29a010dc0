"""Whether a flag may serve its candidate: one state machine a flag, as a value. It is told verdicts and never measures.

    CLOSED     the candidate is served to whoever is in the rollout
    OPEN       it is served to nobody: latched until a person resets it or, where that was asked for, a probe passes
    HALF_OPEN  it is served to the first `probe_percent` of the same buckets, and watched

The operator's kill switch stands beside the state: while it is held nobody is served, whatever the state becomes.

Every function returns the new breaker and the events to tell; the caller swaps first and tells afterwards. Two hands of
the clock are asked for: `now` is monotonic and everything that waits is measured with it, `at` is wall time and is only
shown. So a jump of the wall clock shortens nothing. A monotonic reading means nothing elsewhere, so it is not stored: a
process that takes a breaker over waits the full time anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from canary_sdk.core.events import (
    FlagKilled,
    FlagRecovered,
    FlagReleased,
    FlagReset,
    FlagTripped,
    IncidentSuspected,
    ProbeExpired,
    ProbeStarted,
    RecoveryOverdue,
    ServiceRecovered,
    TripWithheld,
    VerdictReached,
)
from canary_sdk.core.judge.slo import say_seconds
from canary_sdk.core.judge.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from canary_sdk.core.events import Event
    from canary_sdk.core.judge.decision import Decision as Ruling
    from canary_sdk.core.judge.verdict import Verdict

TRIPPED: Final = 1
KILLED: Final = 2
PROBING: Final = 4


class State(StrEnum):
    """Where the breaker stands."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


class RollbackRule(StrEnum):
    """Who may switch a flag off: the sequential judge, the classic rule of several breaches in a row, or either."""

    SEQUENTIAL = "sequential"
    CONSECUTIVE = "consecutive"
    BOTH = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoRollback:
    """When a flag is taken back by itself: the `[auto_rollback]` section.

    `rule` says who decides. Not `enabled`, or a `dry_run`: what would have been switched off is told, and stays on.
    `breaches` blaming breaches in a row trip by the classic rule, and as many passes in a row close a probe.
    `timeout_s` is how long service may take to recover after a trip. Without `probe_percent` nothing is ever probed;
    with it, `probe_after_s` after a trip. `holdback` is the percentage that stays on the baseline of every flag that
    has SLOs, however far it is rolled out, so that there is always somebody to compare with.
    """

    enabled: bool = True
    dry_run: bool = False
    rule: RollbackRule = RollbackRule.SEQUENTIAL
    holdback: float = 0.0
    interval_s: float = 30.0
    breaches: int = 3
    timeout_s: float = 120.0
    tolerance: float = 0.10
    min_samples: int = 50
    notify: tuple[str, ...] = ()
    probe_percent: float | None = None
    probe_after_s: float = 300.0

    @property
    def acts(self) -> bool:
        """Whether anything is switched off at all."""
        return self.enabled and not self.dry_run

    @property
    def probe_lease_s(self) -> float:
        """How long a probe may look for its answer: the time its passes take, and again as long as was waited."""
        return self.breaches * self.interval_s + self.probe_after_s


@dataclass(frozen=True, slots=True)
class Breaker:
    """The breaker of one flag.

    `breaches` and `passes` count blaming breaches, and passes of a probe, that followed each other. `incident` says
    that the last conclusive verdict was a breach of both arms. `recovered` and `overdue` say whether service has
    recovered since the trip, and whether the lack of it was told. `tripped_at` and `killed_at` are wall seconds, for
    people. `since` is when this process first saw the present state, in monotonic seconds: not stored, and not part
    of equality.
    """

    flag_key: str
    state: State = State.CLOSED
    killed: bool = False
    breaches: int = 0
    passes: int = 0
    incident: bool = False
    reason: str = ""
    tripped_at: float | None = None
    recovered: bool = False
    overdue: bool = False
    kill_reason: str = ""
    killed_at: float | None = None
    since: float | None = field(default=None, compare=False)

    @property
    def is_serving(self) -> bool:
        """Whether anybody may be served the candidate."""
        return self.state is not State.OPEN and not self.killed

    @property
    def guard_bits(self) -> int:
        """What every evaluation looks at: 0 may serve; bits TRIPPED and KILLED serve nobody; PROBING by threshold."""
        bits = {State.CLOSED: 0, State.OPEN: TRIPPED, State.HALF_OPEN: PROBING}[self.state]
        return bits | KILLED if self.killed else bits

    def describe(self, at: float) -> str:
        """Return the state in one line, at wall time `at`."""
        words = f"{self.flag_key} {self.state}"
        if self.state is State.CLOSED and self.breaches:
            words += f", {self.breaches} {'breach' if self.breaches == 1 else 'breaches'} in a row"
        if self.incident:
            words += ", incident suspected"
        if self.state is not State.CLOSED:
            words += f", tripped{_told_since(at, self.tripped_at, self.reason)}"
        return words + (f", KILLED{_told_since(at, self.killed_at, self.kill_reason)}" if self.killed else "")

    def to_dict(self) -> dict[str, object]:
        """Return what is stored, as JSON types."""
        return {name: getattr(self, name) for name in _STORED}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Breaker:
        """Read what was stored; keys that are not known are left alone. Raises ValueError for an unknown state."""
        known = {name: data[name] for name in _STORED if name in data}
        return cls(**{**known, "state": State(data.get("state", State.CLOSED))})


_STORED: Final = tuple(each.name for each in fields(Breaker) if each.name != "since")


def _told_since(at: float, then: float | None, reason: str) -> str:
    """Say how long ago, and why, as far as it is known."""
    ago = "" if then is None else f" {say_seconds(max(at - then, 0.0))} ago"
    return ago + (f" ({reason})" if reason else "")


Decision = tuple[Breaker, tuple["Event", ...]]
"""What a decision returns: the new state, and the events to tell after the swap."""


# --- what a person does ---


def kill(breaker: Breaker, reason: str, at: float) -> Decision:
    """Hold the flag off until it is released, in whatever state its breaker is. Idempotent."""
    if breaker.killed:
        return breaker, ()
    killed = replace(breaker, killed=True, kill_reason=reason, killed_at=at)
    return killed, (FlagKilled(flag_key=breaker.flag_key, at=at, reason=reason),)


def release(breaker: Breaker, at: float) -> Decision:
    """Let go of the kill switch; a breaker that had tripped, or trips meanwhile, stays so. Idempotent."""
    if not breaker.killed:
        return breaker, ()
    released = replace(breaker, killed=False, kill_reason="", killed_at=None)
    return released, (FlagReleased(flag_key=breaker.flag_key, at=at),)


def reset(breaker: Breaker, at: float) -> Decision:
    """Close the breaker and forget what it counted; the kill switch stays as it is. Told only if it was not closed."""
    events = () if breaker.state is State.CLOSED else (FlagReset(flag_key=breaker.flag_key, at=at),)
    return _closed(breaker), events


# --- what the verdicts do ---


class Sign(StrEnum):
    """What a verdict means to a breaker."""

    GOOD = "GOOD"
    UNKNOWN = "UNKNOWN"
    SHARED = "SHARED"
    BLAMING = "BLAMING"


def sign_of(verdict: Verdict) -> Sign:
    """Tell what a verdict means: acceptable is good enough, and a breach that blames nobody is shared."""
    match verdict.outcome:
        case Outcome.PASS | Outcome.ACCEPTABLE:
            return Sign.GOOD
        case Outcome.INCONCLUSIVE:
            return Sign.UNKNOWN
        case Outcome.BREACH:
            return Sign.BLAMING if verdict.blames else Sign.SHARED


class _Occasion(NamedTuple):
    """What a decision is made on."""

    verdict: Verdict
    policy: AutoRollback
    now: float
    at: float


def observe(breaker: Breaker, verdict: Verdict, policy: AutoRollback, now: float, at: float) -> Decision:
    """Take in the verdict on one interval of the candidate. An open breaker is latched: to it nothing is told."""
    reaction = _REACTIONS.get((breaker.state, sign_of(verdict)))
    if reaction is None:
        return breaker, ()
    after, events = reaction(breaker, _Occasion(verdict, policy, now, at))
    reached = VerdictReached(flag_key=breaker.flag_key, at=at, verdict=verdict, breaches=after.breaches)
    return after, (reached, *events)


def _keep(breaker: Breaker, _: _Occasion) -> Decision:
    """Not knowing neither counts nor clears."""
    return breaker, ()


def _clear(breaker: Breaker, _: _Occasion) -> Decision:
    return replace(breaker, breaches=0, incident=False), ()


def _suspect(breaker: Breaker, occasion: _Occasion) -> Decision:
    """Tell of an incident once, when it begins; what was counted stays."""
    if breaker.incident:
        return breaker, ()
    suspected = IncidentSuspected(flag_key=breaker.flag_key, at=occasion.at, verdict=occasion.verdict)
    return replace(breaker, incident=True), (suspected,)


def _count(breaker: Breaker, occasion: _Occasion) -> Decision:
    """Count a blaming breach; the last of `policy.breaches` trips, or in a dry run is told, once a row.

    Where the sequential judge decides alone, they are counted for people to see.
    """
    counted = replace(breaker, breaches=breaker.breaches + 1, incident=False)
    if counted.breaches < occasion.policy.breaches or occasion.policy.rule is RollbackRule.SEQUENTIAL:
        return counted, ()
    reason = f"breach {counted.breaches} in a row: {occasion.verdict.sentence}"
    if occasion.policy.acts:
        return _trip(counted, reason, occasion)
    if breaker.breaches >= occasion.policy.breaches:
        return counted, ()
    withheld = TripWithheld(flag_key=breaker.flag_key, at=occasion.at, reason=reason, verdict=occasion.verdict)
    return counted, (withheld,)


def _fail(breaker: Breaker, occasion: _Occasion) -> Decision:
    """One breach fails a probe, in a dry run too: the trip that it came from was real.

    Where the sequential judge decides alone, the passes in a row begin anew, and `condemn` fails a probe.
    """
    failed = replace(breaker, breaches=breaker.breaches + 1, passes=0, incident=False)
    if occasion.policy.rule is RollbackRule.SEQUENTIAL:
        return failed, ()
    return _trip(failed, f"the probe failed: {occasion.verdict.sentence}", occasion)


def _pass(breaker: Breaker, occasion: _Occasion) -> Decision:
    """Count a pass of a probe; the last of `policy.breaches` in a row closes the breaker."""
    passed = replace(breaker, passes=breaker.passes + 1, incident=False)
    if passed.passes < occasion.policy.breaches:
        return passed, ()
    recovered = FlagRecovered(flag_key=breaker.flag_key, at=occasion.at, verdict=occasion.verdict)
    return _closed(breaker), (recovered,)


def _trip(breaker: Breaker, reason: str, occasion: _Occasion) -> Decision:
    told = FlagTripped(flag_key=breaker.flag_key, at=occasion.at, reason=reason, verdict=occasion.verdict)
    return _opened(breaker, occasion.now, told)


def _opened(breaker: Breaker, now: float, told: FlagTripped) -> Decision:
    tripped = replace(
        breaker,
        state=State.OPEN,
        passes=0,
        reason=told.reason,
        tripped_at=told.at,
        recovered=False,
        overdue=False,
        since=now,
    )
    return tripped, (told,)


def _closed(breaker: Breaker) -> Breaker:
    """Return it as new; only the kill switch is kept."""
    return Breaker(
        breaker.flag_key, killed=breaker.killed, kill_reason=breaker.kill_reason, killed_at=breaker.killed_at
    )


_REACTIONS: Final[dict[tuple[State, Sign], Callable[[Breaker, _Occasion], Decision]]] = {
    (State.CLOSED, Sign.GOOD): _clear,  # the count starts again
    (State.CLOSED, Sign.UNKNOWN): _keep,
    (State.CLOSED, Sign.SHARED): _suspect,  # neither counted nor cleared
    (State.CLOSED, Sign.BLAMING): _count,  # the last in a row: to OPEN
    (State.HALF_OPEN, Sign.GOOD): _pass,  # the last in a row: to CLOSED
    (State.HALF_OPEN, Sign.UNKNOWN): _keep,
    (State.HALF_OPEN, Sign.SHARED): _suspect,
    (State.HALF_OPEN, Sign.BLAMING): _fail,  # at once, unless the sequential judge decides: to OPEN
    # OPEN has no row: no verdict leaves it
}


def condemn(breaker: Breaker, decision: Ruling, policy: AutoRollback, now: float, at: float) -> Decision:
    """Take in that the sequential judge takes the candidate back: trip, whatever was counted; in a dry run, tell.

    A probe fails in a dry run too.
    """
    if breaker.state is State.OPEN:
        return breaker, ()
    is_probe = breaker.state is State.HALF_OPEN
    if policy.acts or is_probe:
        reason = f"{'the probe failed: ' if is_probe else ''}{decision.sentence}"
        told = FlagTripped(flag_key=breaker.flag_key, at=at, reason=reason, decision=decision)
        return _opened(breaker, now, told)
    withheld = TripWithheld(flag_key=breaker.flag_key, at=at, reason=decision.sentence, decision=decision)
    return breaker, (withheld,)


def trip(breaker: Breaker, told: FlagTripped, now: float) -> Decision:
    """Take in a trip that was decided on more than this breaker has counted."""
    return (breaker, ()) if breaker.state is State.OPEN else _opened(breaker, now, told)


# --- after a trip ---


def observe_service(breaker: Breaker, verdict: Verdict, policy: AutoRollback, now: float, at: float) -> Decision:
    """Take in a verdict on the whole traffic while the breaker is open: has taking the flag back helped?

    Recovery is told once, and once that it is overdue. An interval that began before the trip says nothing about life
    after it and is passed over. `after_s` counts from when this process first saw the trip.
    """
    if breaker.state is not State.OPEN or breaker.recovered:
        return breaker, ()
    seen = _seen(breaker, now)
    after_s = _waited(seen, now)
    if sign_of(verdict) is Sign.GOOD and verdict.seconds <= after_s:
        recovered = ServiceRecovered(flag_key=breaker.flag_key, at=at, after_s=after_s, verdict=verdict)
        return replace(seen, recovered=True), (recovered,)
    if after_s >= policy.timeout_s and not breaker.overdue:
        overdue = RecoveryOverdue(flag_key=breaker.flag_key, at=at, after_s=after_s, verdict=verdict)
        return replace(seen, overdue=True), (overdue,)
    return seen, ()


def start_probe(breaker: Breaker, policy: AutoRollback, now: float, at: float) -> Decision:
    """Begin a probe when one was asked for and has become due; never while the kill switch is held, or in a dry run."""
    percent = policy.probe_percent
    if percent is None or not policy.acts or breaker.state is not State.OPEN or breaker.killed:
        return breaker, ()
    seen = _seen(breaker, now)
    if _waited(seen, now) < policy.probe_after_s:
        return seen, ()
    probing = replace(seen, state=State.HALF_OPEN, breaches=0, passes=0, incident=False, since=now)
    return probing, (ProbeStarted(flag_key=breaker.flag_key, at=at, percent=percent),)


def end_probe(breaker: Breaker, policy: AutoRollback, now: float, at: float) -> Decision:
    """Open again when a probe has found no answer within its lease, so that nobody is served unjudged for long."""
    if breaker.state is not State.HALF_OPEN:
        return breaker, ()
    seen = _seen(breaker, now)
    after_s = _waited(seen, now)
    if after_s < policy.probe_lease_s:
        return seen, ()
    opened = replace(seen, state=State.OPEN, passes=0, since=now)
    return opened, (ProbeExpired(flag_key=breaker.flag_key, at=at, after_s=after_s),)


def _seen(breaker: Breaker, now: float) -> Breaker:
    """Start waiting now if this process has taken the breaker over from elsewhere."""
    return replace(breaker, since=now) if breaker.since is None else breaker


def _waited(breaker: Breaker, now: float) -> float:
    return now - (now if breaker.since is None else breaker.since)
