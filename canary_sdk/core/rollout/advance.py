"""What a rollout does next: hold, advance, promote or abort. One pure function that is asked again and again.

The shell that asks it does the following once an interval, and again after `Step.due_s`:

1. Load the rollout's state, and its version in the store.
2. Put together the `Evidence`: the latest judgement of the stage's SLOs, with its age by the monotonic clock of the
   process that judged; whether the breaker has tripped or the kill switch is held; in stage 0, what was counted of the
   baseline; how many other rollouts are under way.
3. Put together `Now`: `elapsed_s` from its own `Mark` of this rollout (0 without one), the wall time, and the minute of
   the local week in each of `plan.zones`, by the time zone data of the machine.
4. Call `advance`, with `may_advance` only where it holds the lease of rollouts. Anybody may abort.
5. Where `step.state` is another one than was loaded: compare and set. Lost: drop the step, and begin again at 1.
6. Won: remember `Mark(step.state.seq, monotonic reading taken now)`, swap what is served (`state.percent`), journal
   `transition` and `ruling`, and only then tell the events.

Why no bake time is ever shortened: it is the sum of `elapsed_s`, each of which lies between two states that the same
process stored one after the other, by its monotonic clock. These stretches do not overlap, a restart or a change of
controller begins with none, and one that is longer than a fresh judgement may be old counts only that much, because
nobody looked meanwhile. Wall time decides nothing but a scheduled start and the blackout windows.

Why nothing is skipped: one call leaves one stage at most, and the judgement that it leaves it on must have begun after
that stage's warm-up. A stage that has just been entered has been watched for no time at all, so no judgement that
exists by then can be good for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from canary_sdk.core.events import RolloutHeld, RolloutOverdue, WatchEnded
from canary_sdk.core.judge.slo import say_seconds
from canary_sdk.core.rollout.grounds import Standing
from canary_sdk.core.rollout.journal import Ruling, is_news
from canary_sdk.core.rollout.state import Cause, Status, aborted, entered, missing_roles

if TYPE_CHECKING:
    from canary_sdk.core.events import Event
    from canary_sdk.core.plan import Plan
    from canary_sdk.core.rollout.grounds import Evidence, Now
    from canary_sdk.core.rollout.state import Rollout


# --- what it answers ---


class Action(StrEnum):
    """What a rollout does."""

    HOLD = "HOLD"
    ADVANCE = "ADVANCE"
    PROMOTE = "PROMOTE"
    ABORT = "ABORT"


@dataclass(frozen=True, slots=True)
class Step:
    """One answer: what to do, the state to store, when to ask again, and what to tell once the state is stored.

    `due_s` is in seconds from now; None where nothing more happens by itself. After a HOLD the state may be the one
    that was passed in; then there is nothing to store.
    """

    action: Action
    state: Rollout
    due_s: float | None = None
    events: tuple[Event, ...] = ()


def ruling(before: Rollout, step: Step, at: float) -> Ruling | None:
    """Return the journal's record of an answer, or None if it only repeats the one before, be it with other figures."""
    after = step.state
    if step.action is Action.HOLD and before.status is after.status and not is_news(before.reason, after.reason):
        return None
    return Ruling(
        flag_key=after.flag_key,
        at=at,
        seq=after.seq,
        action=step.action,
        stage=after.stage,
        baked_s=after.baked_s,
        reason=after.reason,
    )


# --- the function ---


class _Turn(NamedTuple):
    """What one answer is made of; `credit_s` is the time that counts as watched."""

    plan: Plan
    state: Rollout
    evidence: Evidence
    now: Now
    credit_s: float = 0.0


def advance(plan: Plan, state: Rollout, evidence: Evidence, now: Now, *, may_advance: bool = True) -> Step:
    """Return what the rollout does next.

    The worst comes first: a trip aborts in any state that is not final, and so does a fresh breach of a hard SLO, for
    which the candidate is to blame. Who may not advance only aborts. Cost: some ten microseconds.
    """
    if state.status in (Status.IDLE, Status.ABORTED) or (state.is_settled and not evidence.trip):
        return Step(Action.HOLD, state)
    turn = _watched(_Turn(plan, state, evidence, now))
    if harm := evidence.trip or _harm(turn):
        return _aborted(turn, harm)
    if not may_advance:
        return Step(Action.HOLD, state, _due_s(plan, state))
    return _REACTIONS[state.status](turn)


def _watched(turn: _Turn) -> _Turn:
    """Add the time that was watched since the last tick: none while nobody is served, nor beyond what is fresh."""
    plan, state, evidence, now, _ = turn
    credit_s = 0.0 if evidence.killed else min(max(0.0, now.elapsed_s), plan.fresh_s)
    bakes = state.status in (Status.RUNNING, Status.HELD)
    after = replace(
        state,
        seq=state.seq + 1,
        stage_s=state.stage_s + credit_s,
        baked_s=state.baked_s + (credit_s if bakes else 0.0),
        ticked_at=now.at,
    )
    return turn._replace(state=after, credit_s=credit_s)


def _harm(turn: _Turn) -> str:
    """Say which fresh judgement blames the candidate, if one does."""
    judgement = turn.evidence.judgement
    if judgement is None or judgement.standing is not Standing.HARD or not judgement.sustained or _doubt(turn):
        return ""
    return judgement.sentence or "the candidate breaks a promise"


def _doubt(turn: _Turn) -> str:
    """Say why the judgement at hand says nothing of this stage now, if it does not."""
    plan, state, evidence, _, _ = turn
    judgement = evidence.judgement
    if judgement is None:
        return "nothing was judged"
    if judgement.stage != state.stage:
        return f"what was judged was stage {judgement.stage}"
    if not 0 <= judgement.age_s <= plan.fresh_s:
        return (
            f"the last judgement is {say_seconds(abs(judgement.age_s))} old, at most {say_seconds(plan.fresh_s)} may be"
        )
    if not judgement.age_s + judgement.seconds <= state.stage_s - plan.warmup_s:
        return "what was judged began before the stage was warm"
    return ""


def _is_other(plan: Plan, state: Rollout) -> bool:
    return plan.fingerprint != state.plan


# --- what each status does ---


def _wait(turn: _Turn) -> Step:
    """SCHEDULED: begin when the time has come, and not end again when the wall clock is set back."""
    if turn.now.at < turn.state.start_at:
        return _held(turn, Status.SCHEDULED, "waiting for its time")
    return _run(turn._replace(state=replace(turn.state, status=Status.RUNNING)))


def _run(turn: _Turn) -> Step:
    """RUNNING, HELD: leave the stage when it has baked and no gate is closed, else say which."""
    state = turn.state
    is_baked = state.baked_s >= state.bake_s
    closed = _closed(turn, _ALWAYS)
    if is_baked and Cause.PLAN not in closed:
        closed |= _closed(turn, _AFTER_BAKE)
    if not is_baked and not closed:
        return _held(turn, Status.RUNNING, "baking" if state.stage else "measuring the baseline")
    if closed:
        return _wait_at(turn, closed, starved=is_baked and closed.keys() <= _WAITS)
    return _leave(turn)


def _watch(turn: _Turn) -> Step:
    """PROMOTED: tell once when the watch is over."""
    state = turn.state
    told = (WatchEnded(flag_key=state.flag_key, at=turn.now.at, after_s=state.stage_s),) if state.is_settled else ()
    return Step(Action.HOLD, state, _due_s(turn.plan, state), told)


def _stay(turn: _Turn) -> Step:
    """PAUSED: a person has it."""
    return Step(Action.HOLD, turn.state, _due_s(turn.plan, turn.state))


_REACTIONS: Final[Mapping[Status, Callable[[_Turn], Step]]] = {
    Status.SCHEDULED: _wait,
    Status.RUNNING: _run,
    Status.HELD: _run,
    Status.PAUSED: _stay,
    Status.PROMOTED: _watch,
    # IDLE and ABORTED have no row: only a person leaves them
}


def _held(turn: _Turn, status: Status, reason: str, told: tuple[Event, ...] = ()) -> Step:
    state = replace(turn.state, status=status, reason=reason)
    return Step(Action.HOLD, state, _due_s(turn.plan, state), told)


def _wait_at(turn: _Turn, closed: Mapping[Cause, str], *, starved: bool) -> Step:
    """Hold, count how long evidence has been missing, and tell of each cause once a stage."""
    waiting = replace(turn.state, starved_s=turn.state.starved_s + turn.credit_s if starved else 0.0)
    reason = "; ".join(closed.values())
    if _is_overdue(turn.plan, waiting):
        return _overdue(turn._replace(state=waiting), reason)
    new = tuple(cause for cause in closed if cause not in waiting.told)
    told = (RolloutHeld(flag_key=waiting.flag_key, at=turn.now.at, stage=waiting.stage, reason=reason),) if new else ()
    return _held(turn._replace(state=replace(waiting, told=waiting.told + new)), Status.HELD, reason, told)


def _is_overdue(plan: Plan, state: Rollout) -> bool:
    """Tell whether the wait for evidence has just become longer than the plan allows."""
    if not 0 < state.stage <= plan.last or state.overdue or _is_other(plan, state):
        return False
    deadline_s = plan.stages[state.stage - 1].deadline_s
    return deadline_s is not None and state.starved_s >= deadline_s


def _overdue(turn: _Turn, reason: str) -> Step:
    """End a wait that never got its evidence, as the plan says: abort, or leave it to a person."""
    state = turn.state
    if turn.plan.abort_on_deadline:
        return _aborted(turn, f"no evidence in {say_seconds(state.starved_s)} after the bake time: {reason}")
    told = RolloutOverdue(
        flag_key=state.flag_key, at=turn.now.at, stage=state.stage, waited_s=state.starved_s, reason=reason
    )
    latched = turn._replace(state=replace(state, overdue=True, told=(*state.told, Cause.DEADLINE)))
    return _held(latched, Status.HELD, f"{_deadline(latched)}; {reason}", (told,))


def _leave(turn: _Turn) -> Step:
    """Enter the next stage, or promote; what was counted before stage 1 is kept from here on."""
    plan, state, evidence, now, _ = turn
    kept = state if state.stage else replace(state, baseline=evidence.baseline)
    after, told = entered(plan, kept, state.stage + 1, now.at)
    action = Action.PROMOTE if after.status is Status.PROMOTED else Action.ADVANCE
    return Step(action, after, _due_s(plan, after), (told,))


def _aborted(turn: _Turn, reason: str) -> Step:
    after, told = aborted(turn.state, turn.now.at, reason)
    return Step(Action.ABORT, after, None, (told,))


def _due_s(plan: Plan, state: Rollout) -> float | None:
    """Return when to look again: at the end of the bake time, and once an interval, because only that counts."""
    if state.is_settled:
        return None
    left = state.bake_s - state.baked_s
    return min(plan.interval_s, max(left, _SOON_S)) if state.status is Status.RUNNING and left > 0 else plan.interval_s


_SOON_S: Final = 0.001


# --- the gates: what must be open before a stage is left. Each says why it is closed, or nothing ---


def _plan(turn: _Turn) -> str:
    return "the plan has been changed; resume to go on with the new one" if _is_other(turn.plan, turn.state) else ""


def _killed(turn: _Turn) -> str:
    return "nobody was served: the kill switch was held, or the flag is disabled" if turn.evidence.killed else ""


def _deadline(turn: _Turn) -> str:
    return "its deadline has passed; a person has to decide" if turn.state.overdue else ""


def _breach(turn: _Turn) -> str:
    """Name a fresh breach that does not abort."""
    judgement = turn.evidence.judgement
    if judgement is None or judgement.standing < Standing.SOFT or _doubt(turn):
        return ""
    return judgement.sentence or _BREACHES[judgement.standing]


_BREACHES: Final = {
    Standing.SOFT: "a soft SLO is broken",
    Standing.SHARED: "both arms break a promise",
    Standing.HARD: "a promise is broken, not often enough in a row yet",
}


def _evidence(turn: _Turn) -> str:
    """Ask for a fresh judgement that is good; in stage 0, for a baseline where the plan measures one."""
    plan, state, evidence, _, _ = turn
    if not state.stage:
        missing = plan.baseline_s and not (evidence.baseline and evidence.baseline.requests)
        return "nothing was counted of the baseline" if missing else ""
    if evidence.judgement and evidence.judgement.standing is Standing.UNKNOWN:
        return evidence.judgement.sentence or "the last judgement is inconclusive"
    return _doubt(turn)


def _approval(turn: _Turn) -> str:
    missing = missing_roles(turn.plan, turn.state, turn.state.stage + 1)
    return f"stage {turn.state.stage + 1} needs approval by {' and '.join(missing)}" if missing else ""


def _blackout(turn: _Turn) -> str:
    windows = [window.text for window in turn.plan.blackout if window.holds(turn.now.local)]
    return f"blackout {', '.join(windows)}" if windows else ""


def _parallel(turn: _Turn) -> str:
    most, others = turn.plan.parallel, turn.evidence.under_way
    if turn.state.stage or most is None or others < most:
        return ""
    return f"{others} other {'rollout is' if others == 1 else 'rollouts are'} under way, at most {most} may be"


_Gates = Mapping[Cause, Callable[[_Turn], str]]

_ALWAYS: Final[_Gates] = {
    Cause.PLAN: _plan,  # what is being followed is not what is written any more
    Cause.KILLED: _killed,  # nobody is served, so nothing can be shown
    Cause.DEADLINE: _deadline,  # latched: more evidence does not open it
    Cause.BREACH: _breach,  # soft, shared, or not sustained yet
}
_AFTER_BAKE: Final[_Gates] = {
    Cause.EVIDENCE: _evidence,  # fresh, of this stage, after its warm-up, and conclusive
    Cause.APPROVAL: _approval,  # of every role that the next stage names
    Cause.BLACKOUT: _blackout,  # in force, or not known to be over
    Cause.PARALLEL: _parallel,  # only before stage 1
}
_WAITS: Final = frozenset({Cause.EVIDENCE, Cause.BREACH})
"""What a deadline limits, while nothing else is missing: people and calendars take the time they take."""


def _closed(turn: _Turn, gates: _Gates) -> dict[Cause, str]:
    return {cause: why for cause, gate in gates.items() if (why := gate(turn))}
