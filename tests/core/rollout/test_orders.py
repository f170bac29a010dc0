"""Claims about what a person may order of a rollout, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest

from canary_sdk.core.events import (
    RolloutAborted,
    RolloutPaused,
    RolloutPromoted,
    RolloutResumed,
    RolloutScheduled,
    StageApproved,
    StageStarted,
)
from canary_sdk.core.flags.flag import Flag
from canary_sdk.core.judge.slo import parse_slo
from canary_sdk.core.judge.tally import Tally
from canary_sdk.core.plan import Plan, parse_plan
from canary_sdk.core.rollout import orders
from canary_sdk.core.rollout.advance import Action, advance
from canary_sdk.core.rollout.grounds import Evidence, Judgement, Now, Standing
from canary_sdk.core.rollout.state import Approval, By, Cause, Rollout, Status, led_by
from canary_sdk.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from canary_sdk.core.rollout.orders import Decision

WALL: Final = 1_750_000_000.0
ANA: Final = By("ana", WALL, "release 4.2")
BO: Final = By("bo", WALL + 5, "looks good")


def a_plan(**others: Any) -> Plan:
    """Make a plan of three stages, of which the second and the third have to be approved."""
    stages = [
        {"percent": 5, "bake": "10m"},
        {"percent": 25, "bake": "20m", "approval": ["sre-lead"]},
        {"percent": 100, "bake": "30m", "approval": ["sre-lead", "owner"]},
    ]
    return parse_plan({"stages": stages} | others)


PLAN: Final = a_plan()
FOUR_EYES: Final = a_plan(four_eyes=True)
FREE: Final = parse_plan({"stages": [{"percent": 5, "bake": "10m"}, {"percent": 100, "bake": "20m"}]})
IDLE: Final = Rollout(flag_key="new-checkout")


def a_running(plan: Plan = PLAN) -> Rollout:
    """Return a rollout that ana has started and that is in its first stage."""
    state, _ = orders.start(plan, IDLE, ANA)
    return advance(plan, state, Evidence(baseline=Tally(requests=9)), Now(0.0, WALL)).state


ORDERS: Final[dict[str, Callable[[Rollout], Decision]]] = {
    "start": lambda state: orders.start(FREE, state, BO),
    "schedule": lambda state: orders.schedule(FREE, state, WALL + 9, BO),
    "pause": lambda state: orders.pause(state, BO),
    "resume": lambda state: orders.resume(FREE, state, BO),
    "advance": lambda state: orders.advance_now(FREE, state, BO),
    "promote": lambda state: orders.promote(FREE, state, BO),
    "abort": lambda state: orders.abort(state, BO),
    "restart": lambda state: orders.restart(FREE, state, BO),
}

TABLE: Final = {
    #                 start  schedule pause resume advance promote abort restart
    Status.IDLE: ("SCHEDULED", "SCHEDULED", "", "", "", "", "", ""),
    Status.SCHEDULED: ("", "SCHEDULED", "PAUSED", "", "", "", "ABORTED", ""),
    Status.RUNNING: ("", "", "PAUSED", "", "RUNNING", "PROMOTED", "ABORTED", ""),
    Status.HELD: ("", "", "PAUSED", "RUNNING", "RUNNING", "PROMOTED", "ABORTED", ""),
    Status.PAUSED: ("", "", "", "RUNNING", "RUNNING", "PROMOTED", "ABORTED", ""),
    Status.PROMOTED: ("", "", "", "", "", "", "ABORTED", "SCHEDULED"),
    Status.ABORTED: ("", "", "", "", "", "", "", "SCHEDULED"),
}


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("order", ORDERS)
def test_each_order_leads_from_each_state_exactly_there(status: Status, order: str) -> None:
    """Where an order makes sense it leads to one state; elsewhere it is refused, with the state and those it needs."""
    state = IDLE if status is Status.IDLE else replace(a_running(FREE), status=status)
    expected = TABLE[status][list(ORDERS).index(order)]
    if expected:
        after, events = ORDERS[order](state)
        assert (after.status, after.seq, after.ordered) == (expected, state.seq + 1, BO)
        assert len(events) == 1
    else:
        with pytest.raises(Refused, match=f"{order} is refused: new-checkout is {status}, it would have to be"):
            ORDERS[order](state)


def test_what_was_ordered_is_told_with_who_and_why() -> None:
    """Every order is an event that names the person and the reason."""
    running = a_running(FREE)
    told = [
        orders.start(FREE, IDLE, ANA)[1],
        orders.pause(running, BO)[1],
        orders.resume(FREE, orders.pause(running, BO)[0], BO)[1],
        orders.advance_now(FREE, running, BO)[1],
        orders.promote(FREE, running, BO)[1],
        orders.abort(running, BO)[1],
        orders.approve(PLAN, a_running(), "sre-lead", BO)[1],
    ]
    assert [(type(event), event.sentence) for (event,) in told] == [
        (RolloutScheduled, "new-checkout: a rollout was started by ana: release 4.2"),
        (RolloutPaused, "new-checkout was paused in stage 1 by bo: looks good"),
        (RolloutResumed, "new-checkout goes on in stage 1, by bo: looks good"),
        (StageStarted, "new-checkout is served to 100 % now: stage 2 of 2, by bo: looks good"),
        (RolloutPromoted, "new-checkout was promoted, by bo: looks good; it is served to everybody"),
        (RolloutAborted, "new-checkout was aborted in stage 1 at 5 %: aborted by bo: looks good"),
        (StageApproved, "new-checkout: stage 2 was approved for sre-lead by bo: looks good"),
    ]
    assert [(event.flag_key, event.at) for (event,) in told] == [("new-checkout", by.at) for by in (ANA, *[BO] * 6)]  # type: ignore[attr-defined]


def test_an_order_changes_what_it_is_about_and_no_more() -> None:
    """A pause the status; a resumption begins the wait anew, by the plan as it is now; an abort takes it all back."""
    longer = parse_plan(
        {"stages": [{"percent": 5, "bake": "15m"}, *({"percent": each, "bake": "20m"} for each in (50, 100))]}
    )
    running = replace(a_running(FREE), starved_s=9.0, overdue=True, told=(Cause.EVIDENCE,))
    ordered = replace(running, seq=running.seq + 1, ordered=BO)
    paused = replace(ordered, status=Status.PAUSED, reason="paused by bo: looks good")
    assert orders.pause(running, BO)[0] == paused
    assert orders.resume(longer, paused, BO)[0] == replace(
        paused,
        seq=paused.seq + 1,
        status=Status.RUNNING,
        reason="resumed by bo: looks good",
        plan=longer.fingerprint,
        stages=3,
        bake_s=900.0,
        starved_s=0.0,
        overdue=False,
        told=(),
    )
    assert orders.abort(running, BO)[0] == replace(
        ordered, status=Status.ABORTED, reason="aborted by bo: looks good", percent=0.0, entered_at=BO.at
    )
    assert orders.promote(FREE, running, BO)[0].stage == FREE.last + 1
    assert orders.restart(FREE, replace(running, status=Status.ABORTED), BO)[0] == Rollout(
        flag_key="new-checkout",
        seq=running.seq + 1,
        attempt=running.attempt + 1,
        status=Status.SCHEDULED,
        reason="waiting for an application that serves it",
        stages=FREE.last,
        plan=FREE.fingerprint,
        start_at=orders.AT_ONCE,
        entered_at=BO.at,
        ticked_at=running.ticked_at,
        started=BO,
        ordered=BO,
    )


def test_a_refusal_says_what_would_be_possible() -> None:
    """The states in which an order makes sense, what a stage waits for, and what to do about a changed plan."""
    running = a_running()
    for order, said in {
        partial(orders.resume, PLAN, running, BO): "resume is refused: new-checkout is RUNNING, "
        "it would have to be PAUSED or HELD",
        partial(orders.approve, PLAN, running, "cto", BO, 3): "stage 3 does not wait for 'cto'; "
        "it needs sre-lead and owner",
        partial(orders.approve, PLAN, replace(running, stage=2), "sre-lead", BO, 2): "stage 2 does not wait for "
        "'sre-lead'; it needs no approval; stage 3 waits for that",
        partial(orders.approve, FREE, running, "cto", BO): "the plan has been changed since; "
        "resume with the new one first",
    }.items():
        with pytest.raises(Refused) as caught:
            order()
        assert str(caught.value) == said


def test_only_what_is_still_to_come_needs_approval() -> None:
    """Not the stage that is served, nor those before it; and the last stage may be resumed."""
    served = replace(
        a_running(), stage=2, percent=25.0, approvals=tuple(Approval(3, role, BO) for role in PLAN.roles(3))
    )
    assert orders.advance_now(PLAN, served, BO)[0].stage == 3
    last = replace(served, stage=3, percent=100.0, status=Status.PAUSED)
    assert orders.resume(PLAN, last, BO)[0].status is Status.RUNNING


def test_it_begins_when_the_plan_says_or_at_once() -> None:
    """The plan's own time comes first; without one, and where that is past, it begins at once."""
    later = a_plan(start=WALL + 3600)
    state, (told,) = orders.start(PLAN, IDLE, ANA)
    assert isinstance(told, RolloutScheduled)
    assert (state.start_at, told.start_at) == (0.0, WALL), "whoever's wall clock is behind does not wait for it"
    assert orders.start(later, IDLE, ANA)[0].start_at == WALL + 3600
    aborted, _ = orders.abort(a_running(), BO)
    state, (told,) = orders.restart(later, aborted, By("ana", WALL + 7200))
    assert isinstance(told, RolloutScheduled)
    assert (state.start_at, told.start_at) == (WALL + 3600, WALL + 7200)
    assert orders.restart(later, aborted, By("ana", WALL + 60))[0].start_at == WALL + 3600


def test_a_restart_forgets_everything_but_its_number() -> None:
    """Nothing of the attempt before counts: no approval, no baseline, no bake time; the sequence number goes on."""
    approved, _ = orders.approve(PLAN, a_running(), "sre-lead", BO)
    aborted, _ = orders.abort(approved, BO)
    again, _ = orders.restart(PLAN, aborted, BO)
    assert (again.attempt, again.seq, again.stage, again.percent) == (2, aborted.seq + 1, 0, 0.0)
    assert (again.approvals, again.baseline, again.baked_s, again.started) == ((), None, 0.0, BO)
    promoted, _ = orders.promote(FREE, a_running(FREE), BO)
    assert orders.restart(FREE, promoted, BO)[0].percent == 0.0


# --- pausing ---


def test_a_pause_stops_the_bake_and_serves_on() -> None:
    """Paused, the share stays as it is, no time bakes, and resumed it goes on with what it had."""
    state = a_running(FREE)
    for _ in range(5):
        state = advance(FREE, state, Evidence(), Now(30.0, WALL)).state
    state, _ = orders.pause(state, ANA)
    for _ in range(100):
        state = advance(FREE, state, Evidence(), Now(30.0, WALL)).state
    assert (state.status, state.percent, state.baked_s) == (Status.PAUSED, 5.0, 150.0)
    assert state.reason == "paused by ana: release 4.2"
    state, _ = orders.resume(FREE, state, BO)
    assert (state.status, state.baked_s) == (Status.RUNNING, 150.0)
    good = Evidence(judgement=Judgement(standing=Standing.GOOD, stage=1, seconds=30.0))
    assert advance(FREE, state, good, Now(30.0, WALL)).action is Action.HOLD


def test_what_was_paused_before_it_began_waits_for_its_time_again() -> None:
    """A scheduled rollout that is paused and resumed keeps its time."""
    scheduled, _ = orders.schedule(PLAN, IDLE, WALL + 3600, ANA)
    resumed, _ = orders.resume(PLAN, orders.pause(scheduled, BO)[0], BO)
    assert (resumed.status, resumed.start_at) == (Status.SCHEDULED, WALL + 3600)


def test_resuming_takes_over_a_changed_plan_where_that_is_safe() -> None:
    """A new plan that serves the same share in this stage is adopted with its times; another one needs a restart."""
    paused, _ = orders.pause(a_running(FREE), ANA)
    longer = parse_plan({"stages": [{"percent": 5, "bake": "90m"}, {"percent": 100, "bake": "20m"}]})
    resumed, _ = orders.resume(longer, paused, BO)
    assert (resumed.bake_s, resumed.plan) == (5400.0, longer.fingerprint)
    other = parse_plan({"stages": [{"percent": 10, "bake": "90m"}, {"percent": 100, "bake": "20m"}]})
    with pytest.raises(Refused, match="it has no stage 1 at 5 %; abort, and restart"):
        orders.resume(other, paused, BO)
    shorter = parse_plan({"stages": [{"percent": 100, "bake": "20m"}]})
    with pytest.raises(Refused, match="it has no stage 2 at 100 %"):
        orders.resume(shorter, orders.pause(orders.advance_now(FREE, paused, BO)[0], BO)[0], BO)


# --- approvals ---


def test_an_approval_is_kept_with_who_when_and_why() -> None:
    """It names the next stage unless another is named, and stays for the attempt."""
    state, _ = orders.approve(PLAN, a_running(), "sre-lead", BO)
    state, _ = orders.approve(PLAN, state, "owner", ANA, stage=3)
    assert state.approvals == (Approval(2, "sre-lead", BO), Approval(3, "owner", ANA))


@pytest.mark.parametrize(
    ("role", "stage", "message"),
    [
        ("owner", None, "stage 2 does not wait for 'owner'; it needs sre-lead"),
        ("sre-lead", 1, "stage 1 does not wait for 'sre-lead'; it needs no approval"),
        ("sre-lead", 4, "stage 4 does not wait for 'sre-lead'; it needs no approval"),
        ("sre-lead", -1, "stage -1 does not wait"),
    ],
)
def test_an_approval_that_nobody_waits_for_is_refused(role: str, stage: int | None, message: str) -> None:
    """A role that the stage does not name, and a stage that is over or does not exist."""
    with pytest.raises(Refused, match=message):
        orders.approve(PLAN, a_running(), role, BO, stage=stage)


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"sre-lead": ["ana"]}, "bo does not have the role 'sre-lead'; ana has it"),
        ({"sre-lead": ["ana", "cy"]}, "bo does not have the role 'sre-lead'; ana and cy have it"),
        ({"owner": ["bo"]}, "bo does not have the role 'sre-lead'; nobody has it"),
        (None, "it cannot be read who has the role 'sre-lead'"),
    ],
)
def test_a_role_is_for_those_who_have_it(roles: dict[str, list[str]] | None, message: str) -> None:
    """Where it is declared who has which; nothing is approved then, nor where that cannot be read."""
    with pytest.raises(Refused, match=message):
        orders.approve(PLAN, a_running(), "sre-lead", BO, roles=roles)


@pytest.mark.parametrize("roles", [{}, {"sre-lead": ["ana", " BO"]}])
def test_whoever_has_the_role_may_approve(roles: dict[str, list[str]]) -> None:
    """However the name is written; where nothing is declared, whoever says so."""
    state, _ = orders.approve(PLAN, a_running(), "sre-lead", BO, roles=roles)
    assert state.approvals == (Approval(2, "sre-lead", BO),)


def test_an_approval_is_given_once() -> None:
    """The second is refused, so that nobody believes to have changed who approved."""
    state, _ = orders.approve(PLAN, a_running(), "sre-lead", BO)
    with pytest.raises(Refused, match="approved by 'sre-lead' already"):
        orders.approve(PLAN, state, "sre-lead", ANA)


@pytest.mark.parametrize("name", ["ana", " Ana", "ANA "])
def test_four_eyes_are_two_people(name: str) -> None:
    """Whoever started it, however the name is written, neither approves nor moves it on; somebody else may."""
    state = a_running(FOUR_EYES)
    ana = By(name, WALL)
    for order in (
        partial(orders.approve, FOUR_EYES, state, "sre-lead", ana),
        partial(orders.advance_now, FOUR_EYES, state, ana),
        partial(orders.promote, FOUR_EYES, state, ana),
    ):
        with pytest.raises(Refused, match="has started it, and with four eyes somebody else has to agree"):
            order()
    state, _ = orders.approve(FOUR_EYES, state, "sre-lead", BO)
    assert orders.advance_now(FOUR_EYES, state, BO)[0].stage == 2
    assert orders.abort(state, ana)[0].status is Status.ABORTED
    with pytest.raises(Refused, match="has started it"):
        orders.approve(FOUR_EYES, replace(state, started=ana), "sre-lead", ANA, stage=3)


def test_with_four_eyes_nobody_speaks_in_two_roles() -> None:
    """Two roles of one stage need two people; without four eyes one person may have both."""
    for plan, is_refused in ((FOUR_EYES, True), (PLAN, False)):
        state, _ = orders.approve(plan, a_running(plan), "sre-lead", BO, stage=3)
        if is_refused:
            with pytest.raises(Refused, match="bo has approved stage 3 already"):
                orders.approve(plan, state, "owner", BO, stage=3)
        else:
            orders.approve(plan, state, "owner", BO, stage=3)


def test_no_order_skips_an_approval() -> None:
    """Advancing and promoting by hand are refused until every stage that is entered or passed has its approvals."""
    state = a_running()
    with pytest.raises(Refused, match="advance is refused: stage 2 needs approval by sre-lead"):
        orders.advance_now(PLAN, state, BO)
    state, _ = orders.approve(PLAN, state, "sre-lead", BO)
    assert orders.advance_now(PLAN, state, BO)[0].percent == 25.0
    with pytest.raises(Refused, match="promote is refused: stage 3 needs approval by sre-lead and owner"):
        orders.promote(PLAN, state, BO)
    state, _ = orders.approve(PLAN, state, "sre-lead", BO, stage=3)
    state, _ = orders.approve(PLAN, state, "owner", ANA, stage=3)
    assert orders.promote(PLAN, state, BO)[0].status is Status.PROMOTED


def test_orders_are_refused_while_the_plan_is_another() -> None:
    """Nobody approves or moves on a plan that is not the one being followed."""
    state = a_running()
    for order in (
        partial(orders.approve, FOUR_EYES, state, "sre-lead", BO),
        partial(orders.advance_now, FOUR_EYES, state, BO),
        partial(orders.promote, FOUR_EYES, state, BO),
    ):
        with pytest.raises(Refused, match="the plan has been changed since"):
            order()


def test_after_the_last_stage_advancing_promotes() -> None:
    """Leaving the last stage by hand is the promotion, and the watch begins."""
    state, _ = orders.advance_now(FREE, a_running(FREE), BO)
    state, (told,) = orders.advance_now(FREE, state, BO)
    assert (state.status, state.percent, state.reason) == (Status.PROMOTED, 100.0, "by bo: looks good")
    assert isinstance(told, RolloutPromoted)


# --- dismissing ---


def test_dismissed_it_is_as_never_started() -> None:
    """Nothing is left but what tells it from earlier attempts, and it can be started again as another one."""
    aborted, _ = orders.abort(a_running(), BO)
    idle, told = orders.dismiss(aborted, ANA)
    assert told == ()
    assert idle == Rollout(
        flag_key=aborted.flag_key,
        seq=aborted.seq + 1,
        attempt=1,
        reason="dismissed by ana: release 4.2",
        entered_at=ANA.at,
        ticked_at=aborted.ticked_at,
        ordered=ANA,
    )
    assert (idle.status, idle.stage, idle.percent, idle.plan, idle.approvals) == (Status.IDLE, 0, 0.0, "", ())
    assert orders.start(PLAN, idle, BO)[0].attempt == 2


@pytest.mark.parametrize("status", [Status.IDLE, Status.RUNNING, Status.HELD, Status.PAUSED])
def test_what_is_under_way_is_not_dismissed(status: Status) -> None:
    """It has to be aborted first, or the candidate would be served to whoever the flag's own percentage names."""
    with pytest.raises(Refused, match="dismiss is refused"):
        orders.dismiss(replace(a_running(), status=status), ANA)


@pytest.mark.parametrize(
    ("name", "order", "state"),
    [
        ("start", lambda state, trip: orders.start(PLAN, state, ANA, trip), IDLE),
        ("schedule", lambda state, trip: orders.schedule(PLAN, state, WALL + 60, ANA, trip), IDLE),
        ("restart", lambda state, trip: orders.restart(PLAN, state, ANA, trip), replace(IDLE, status=Status.ABORTED)),
    ],
)
def test_nothing_begins_while_the_breaker_is_open(
    name: str, order: Callable[[Rollout, str], Decision], state: Rollout
) -> None:
    """It is refused with the reason of the trip, and carried out without one."""
    with pytest.raises(Refused, match=rf"^{name} is refused: the breaker is open \(p95 901 ms\)"):
        order(state, "p95 901 ms")
    assert order(state, "")[0].status is Status.SCHEDULED


# --- how a flag is served meanwhile ---

FAST, SLOW, FEW = (parse_slo(text) for text in ("p95 < 100ms", "p95 < 900ms", "errors < 1%"))


def led(stage: int, status: Status = Status.RUNNING, **stages: Any) -> Flag:
    """Return a flag of 7 %, with promises of its own, as its rollout leads it; `stages` changes the first of two."""
    plan = replace(FREE, stages=(replace(FREE.stages[0], **stages), FREE.stages[1]))
    flag = Flag("f", rollout=7.0, slos=(SLOW, FEW), soft=(FAST,), plan=plan)
    return led_by(flag, Rollout(flag_key="f", status=status, stage=stage, percent=plan.percent(stage)))


def test_a_rollout_says_how_its_flag_is_served() -> None:
    """The percentage is the stage's; so are the promises that it names, and the flag's own where it names none."""
    assert (led(1).rollout, led(1).slos, led(1).soft) == (5.0, (SLOW, FEW), (FAST,))
    assert (led(2).rollout, led(0).rollout, led(3).rollout) == (100.0, 0.0, 100.0)
    assert (led(1, slos=(FAST,)).slos, led(1, slos=(FAST,)).soft) == ((FAST,), ())
    assert (led(1, soft=(FEW,)).slos, led(1, soft=(FEW,)).soft) == ((SLOW,), (FEW,))
    assert (led(0, slos=(FAST,)).slos, led(2, slos=(FAST,)).slos) == ((SLOW, FEW), (SLOW, FEW))


def test_without_a_rollout_the_flag_is_its_own() -> None:
    """Never started, or dismissed; and one whose plan was taken away keeps its percentage and its own promises."""
    flag = Flag("f", rollout=7.0, slos=(SLOW,))
    assert led_by(flag, None) is flag
    assert led_by(flag, Rollout(flag_key="f")) is flag
    planless = led_by(flag, Rollout(flag_key="f", status=Status.RUNNING, stage=2, percent=25.0))
    assert (planless.rollout, planless.slos) == (25.0, (SLOW,))
