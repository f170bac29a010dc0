"""What a person orders of a rollout. Each order returns the new state and what to tell, or is refused with a reason.

The shell loads the state, calls, compares and sets, and tells, as in `advance`; a lost compare-and-set means that
the order was given to a state that is no more, so it is tried again on the new one, which may refuse it.

A person may do what the evidence does not do yet, and says so by name. No order skips an approval, none brings back
what was aborted except a restart, and a trip aborts whatever was ordered. With four eyes, whoever started it gives no
order that lets the candidate reach more people.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from canary_sdk.core.events import RolloutPaused, RolloutResumed, RolloutScheduled, StageApproved
from canary_sdk.core.rollout.state import Approval, Rollout, Status, aborted, entered, missing_roles, person
from canary_sdk.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from canary_sdk.core.events import Event
    from canary_sdk.core.plan import Plan
    from canary_sdk.core.rollout.state import By

Decision = tuple[Rollout, tuple["Event", ...]]
"""What an order returns: the new state, and the events to tell after it was stored."""

AT_ONCE: Final = 0.0
"""When a rollout begins that waits for no time: whoever's wall clock is behind must not wait for it."""

_NOT_DECLARED: Final[Mapping[str, Collection[str]]] = MappingProxyType({})
_UNDER_WAY: Final = (Status.RUNNING, Status.HELD, Status.PAUSED)

_ALLOWED: Final = {
    "start": (Status.IDLE,),
    "schedule": (Status.IDLE, Status.SCHEDULED),
    "pause": (Status.SCHEDULED, Status.RUNNING, Status.HELD),
    "resume": (Status.PAUSED, Status.HELD),
    "advance": _UNDER_WAY,
    "approve": (Status.SCHEDULED, *_UNDER_WAY),
    "promote": _UNDER_WAY,
    "abort": (Status.SCHEDULED, *_UNDER_WAY, Status.PROMOTED),
    "restart": (Status.ABORTED, Status.PROMOTED),
    "dismiss": (Status.SCHEDULED, Status.ABORTED, Status.PROMOTED),
}
"""The states in which an order makes sense."""


def start(plan: Plan, state: Rollout, by: By, trip: str = "") -> Decision:
    """Begin, at the time that the plan names or at once.

    Raises `Refused` unless it was never started, and while the breaker is open: `trip` says why it is.
    """
    _require("start", state)
    _require_closed("start", trip)
    return _scheduled(plan, state, by, plan.start_at or AT_ONCE)


def schedule(plan: Plan, state: Rollout, start_at: float, by: By, trip: str = "") -> Decision:
    """Begin at wall time `start_at`. Raises `Refused` once it has begun, and as `start`."""
    _require("schedule", state)
    _require_closed("schedule", trip)
    return _scheduled(plan, state, by, start_at)


def restart(plan: Plan, state: Rollout, by: By, trip: str = "") -> Decision:
    """Begin again from stage 0, with a new baseline and new approvals. Raises `Refused` before the end, and as `start`.

    What was aborted for a trip stays aborted until a person has reset the breaker.
    """
    _require("restart", state)
    _require_closed("restart", trip)
    return _scheduled(plan, state, by, plan.start_at or AT_ONCE)


def pause(state: Rollout, by: By) -> Decision:
    """Stay here until somebody resumes; what is served stays served and watched. Raises `Refused`."""
    _require("pause", state)
    told = RolloutPaused(flag_key=state.flag_key, at=by.at, stage=state.stage, reason=f"by {by}")
    return _ordered(state, by, status=Status.PAUSED, reason=f"paused by {by}"), (told,)


def resume(plan: Plan, state: Rollout, by: By) -> Decision:
    """Go on where it was paused, or after a hold: with the plan as it is now, and a new deadline. Raises `Refused`."""
    _require("resume", state)
    _require_same_stage(plan, state)
    going = _ordered(
        state,
        by,
        status=Status.RUNNING if state.stage else Status.SCHEDULED,
        reason=f"resumed by {by}",
        plan=plan.fingerprint,
        stages=plan.last,
        bake_s=plan.bake_s(state.stage),
        starved_s=0.0,
        overdue=False,
        told=(),
    )
    told = RolloutResumed(flag_key=state.flag_key, at=by.at, stage=state.stage, reason=f"by {by}")
    return going, (told,)


def approve(
    plan: Plan,
    state: Rollout,
    role: str,
    by: By,
    stage: int | None = None,
    roles: Mapping[str, Collection[str]] | None = _NOT_DECLARED,
) -> Decision:
    """Agree, for a role, that a stage may be entered: the next one unless named. Raises `Refused`.

    Where `roles` says who has which, only they may; where it is empty, whoever says so; where it is None, because it
    cannot be read, nobody. With four eyes nobody approves what he has started, nor one stage in two roles.
    """
    _require("approve", state)
    _require_plan(plan, state)
    wanted = state.stage + 1 if stage is None else stage
    _require_other(plan, state, by)
    if wanted <= state.stage or role not in plan.roles(wanted):
        asked = " and ".join(plan.roles(wanted)) if wanted > state.stage else ""
        later = [each for each in range(state.stage + 1, plan.last + 1) if role in missing_roles(plan, state, each)]
        elsewhere = f"; stage {later[0]} waits for that" if later else ""
        raise Refused(f"stage {wanted} does not wait for {role!r}; it needs {asked or 'no approval'}{elsewhere}")
    _require_role(role, by, roles)
    if role not in missing_roles(plan, state, wanted):
        raise Refused(f"stage {wanted} has been approved by {role!r} already")
    if plan.four_eyes and any(_is_same(each.by, by) for each in state.approvals if each.stage == wanted):
        raise Refused(f"{by.who} has approved stage {wanted} already, and with four eyes gives one approval")
    told = StageApproved(flag_key=state.flag_key, at=by.at, stage=wanted, role=role, by=str(by))
    return _ordered(state, by, approvals=(*state.approvals, Approval(wanted, role, by))), (told,)


def advance_now(plan: Plan, state: Rollout, by: By) -> Decision:
    """Leave this stage on a person's word, without its bake time and evidence; after the last one, promote.

    Raises `Refused`: approvals are not skipped.
    """
    return _moved("advance", plan, state, state.stage + 1, by)


def promote(plan: Plan, state: Rollout, by: By) -> Decision:
    """Serve everybody on a person's word. Raises `Refused`: the approvals of all stages between are not skipped."""
    return _moved("promote", plan, state, plan.last + 1, by)


def abort(state: Rollout, by: By) -> Decision:
    """Serve nobody; final until a restart. Raises `Refused` where there is nothing to abort."""
    _require("abort", state)
    after, told = aborted(state, by.at, f"aborted by {by}")
    return _ordered(after, by), (told,)


def dismiss(state: Rollout, by: By) -> Decision:
    """Forget the rollout: the flag's own percentage counts again. Raises `Refused` while it is under way."""
    _require("dismiss", state)
    return dismissed(state, by), ()


def dismissed(state: Rollout, by: By) -> Rollout:
    """Return it as it is before a start, whatever it was doing; what tells it from earlier attempts is kept."""
    return Rollout(
        flag_key=state.flag_key,
        seq=state.seq + 1,
        attempt=state.attempt,
        reason=f"dismissed by {by}",
        entered_at=by.at,
        ticked_at=state.ticked_at,
        ordered=by,
    )


# --- the mechanics ---


def _require(order: str, state: Rollout) -> None:
    if state.status not in _ALLOWED[order]:
        states = " or ".join(_ALLOWED[order])
        again = "; restart begins it again" if order == "start" and state.status in _ALLOWED["restart"] else ""
        raise Refused(f"{order} is refused: {state.flag_key} is {state.status}, it would have to be {states}{again}")


def _require_closed(order: str, trip: str) -> None:
    if trip:
        raise Refused(f"{order} is refused: the breaker is open ({trip}); mend that, and reset it first")


def _require_plan(plan: Plan, state: Rollout) -> None:
    if plan.fingerprint != state.plan:
        raise Refused("the plan has been changed since; resume with the new one first")


def _require_same_stage(plan: Plan, state: Rollout) -> None:
    """A changed plan may be adopted where it serves, in this stage, what is being served."""
    if state.stage > plan.last or plan.percent(state.stage) != state.percent:
        raise Refused(
            f"the plan has been changed: it has no stage {state.stage} at {state.percent:g} %; abort, and restart"
        )


def _require_other(plan: Plan, state: Rollout, by: By) -> None:
    if plan.four_eyes and (state.started is None or _is_same(state.started, by)):
        raise Refused(f"{by.who} has started it, and with four eyes somebody else has to agree")


def _require_role(role: str, by: By, roles: Mapping[str, Collection[str]] | None) -> None:
    if roles is None:
        raise Refused(f"it cannot be read who has the role {role!r}: mend [roles], and apply it again")
    holders = roles.get(role, ())
    if roles and person(by.who) not in map(person, holders):
        who = " and ".join(holders) or "nobody"
        raise Refused(f"{by.who} does not have the role {role!r}; {who} {'have' if len(holders) > 1 else 'has'} it")


def _is_same(one: By, other: By) -> bool:
    return person(one.who) == person(other.who)


def _ordered(state: Rollout, by: By, **changes: object) -> Rollout:
    return replace(state, seq=state.seq + 1, ordered=by, **changes)  # type: ignore[arg-type] # as the callers name them


def _scheduled(plan: Plan, state: Rollout, by: By, start_at: float) -> Decision:
    """Return it as new, save for what tells it from earlier attempts."""
    fresh = Rollout(
        flag_key=state.flag_key,
        seq=state.seq + 1,
        attempt=state.attempt + (state.status is not Status.SCHEDULED),
        status=Status.SCHEDULED,
        reason="waiting for its time" if start_at > by.at else "waiting for an application that serves it",
        stages=plan.last,
        plan=plan.fingerprint,
        bake_s=plan.bake_s(0),
        start_at=start_at,
        entered_at=by.at,
        ticked_at=state.ticked_at,
        started=by,
        ordered=by,
    )
    told = RolloutScheduled(flag_key=state.flag_key, at=by.at, start_at=max(start_at, by.at), by=str(by))
    return fresh, (told,)


def _moved(order: str, plan: Plan, state: Rollout, stage: int, by: By) -> Decision:
    """Enter a later stage on a person's word."""
    _require(order, state)
    _require_plan(plan, state)
    _require_other(plan, state, by)
    for each in range(state.stage + 1, stage + 1):
        if missing := missing_roles(plan, state, each):
            raise Refused(f"{order} is refused: stage {each} needs approval by {' and '.join(missing)}")
    after, told = entered(plan, state, stage, by.at, by)
    return _ordered(after, by), (told,)
