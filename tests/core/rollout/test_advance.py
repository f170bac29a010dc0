"""Claims about when a rollout goes on, when it stays, and when it ends."""

from __future__ import annotations

import json
import time
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from canary_sdk.core.events import (
    RolloutAborted,
    RolloutHeld,
    RolloutOverdue,
    RolloutPromoted,
    Severity,
    StageStarted,
    WatchEnded,
)
from canary_sdk.core.judge.slo import parse_slo
from canary_sdk.core.judge.tally import Tally
from canary_sdk.core.judge.verdict import Finding, Outcome, Verdict
from canary_sdk.core.plan import Plan, parse_plan
from canary_sdk.core.rollout import orders
from canary_sdk.core.rollout.advance import Action, Step, advance, ruling
from canary_sdk.core.rollout.grounds import Evidence, Judgement, Now, Standing, standing_of
from canary_sdk.core.rollout.state import By, Cause, Mark, Rollout, Status, transition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from canary_sdk.core.events import Event

WALL: Final = 1_750_000_000.0
ANA: Final = By("ana", WALL, "release 4.2")
BO: Final = By("bo", WALL, "looks good")
COUNTED: Final = Tally(requests=9000, errors=9, seconds=600.0, over={0.5: 300}, quantiles={0.95: 0.41})


def a_plan(**others: Any) -> Plan:
    """Make a plan of two stages, 10 % for ten minutes and 100 % for twenty, unless told otherwise."""
    stages = [{"percent": 10, "bake": "10m"}, {"percent": 100, "bake": "20m"}]
    return parse_plan({"stages": stages} | others)


class World:
    """A shell as plain as can be: one controller, a store of JSON text, and traffic of which the script says how it is.

    Evidence is whatever `judge` returns, asked anew at every tick; by default the last interval was good.
    """

    def __init__(self, plan: Plan, *, started: bool = True) -> None:
        """Order the rollout, unless it is not to be."""
        self.plan = plan
        self.monotonic_s = 500.0
        self.at = WALL
        self.local: dict[str, int] = {}
        self.mark: Mark | None = None
        self.others: dict[str, Any] = {}
        self.judge: Callable[[Rollout], Judgement | None] = good
        self.told: list[Event] = []
        self.actions: list[Action] = []
        self.state = Rollout(flag_key="new-checkout")
        if started:
            self.order(orders.start(plan, self.state, ANA))

    def order(self, decision: orders.Decision) -> None:
        """Store what a person has ordered."""
        self.state = decision[0]
        self.told += decision[1]

    def restart(self) -> None:
        """Kill the controller; another process finds the state as JSON text, with another monotonic clock."""
        self.mark = None
        self.monotonic_s = 3.0
        self.state = Rollout.from_dict(json.loads(json.dumps(self.state.to_dict())))

    def tick(self, **options: Any) -> Step:
        """Take one turn, at this moment."""
        elapsed_s = self.mark.elapsed_s(self.state, self.monotonic_s) if self.mark else 0.0
        evidence = Evidence(**({"judgement": self.judge(self.state)} | self.others))
        step = advance(self.plan, self.state, evidence, Now(elapsed_s, self.at, self.local), **options)
        self.check(step)
        if step.state is not self.state:
            self.mark = Mark(step.state.seq, self.monotonic_s)
        self.state = step.state
        self.told += step.events
        self.actions.append(step.action)
        return step

    def check(self, step: Step) -> None:
        """Whatever a turn says is whole: an action, when to come back, and events of this rollout and this moment."""
        assert isinstance(step.action, Action)
        assert step.due_s is None or 0 < step.due_s <= self.plan.interval_s
        assert (step.due_s is None) == step.state.is_settled
        for event in step.events:
            assert (event.flag_key, event.at) == (self.state.flag_key, self.at)  # type: ignore[attr-defined]
            assert None not in [getattr(event, each.name) for each in fields(event)]

    def wait(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.monotonic_s += seconds
        self.at += seconds

    def run(self, seconds: float, every: float = 30.0) -> World:
        """Tick now and once an interval from then on."""
        self.tick()
        for _ in range(round(seconds / every)):
            self.wait(every)
            self.tick()
        return self

    def kinds(self) -> list[type[Event]]:
        """Return what sort of things were told."""
        return [type(event) for event in self.told]


def judged(standing: Standing, **others: Any) -> Callable[[Rollout], Judgement]:
    """Return a judge who has just finished an interval of 30 s, and always finds the same."""
    return lambda state: Judgement(**({"standing": standing, "stage": state.stage, "seconds": 30.0} | others))


good: Final = judged(Standing.GOOD)
silent: Final[Callable[[Rollout], None]] = lambda _: None  # noqa: E731 - a judge like the others


def a_baked(plan: Plan | None = None, judge: Any = good) -> World:
    """Return a world whose first stage has baked, except for the last tick."""
    world = World(plan or a_plan())
    world.run(570)
    world.judge = judge
    world.wait(30)
    return world


# --- the way up ---

CLASSIC: Final = parse_plan(
    {
        "stages": [
            {"percent": 5, "bake": "60m", "slos": ["p95 < 500ms", "errors < 1%"]},
            {"percent": 25, "bake": "120m", "slos": ["p95 < 500ms", "errors < 1%"], "approval": ["sre-lead"]},
            {"percent": 50, "bake": "240m", "slos": ["p95 < 450ms", "errors < 0.8%"]},
            {"percent": 100, "bake": "1440m", "slos": ["p95 < 400ms", "errors < 0.5%"]},
        ]
    }
)
PRODUCTION: Final = parse_plan(
    {
        "stages": [
            {"percent": 2, "bake": "2h"},
            {"percent": 10, "bake": "4h"},
            {"percent": 30, "bake": "8h", "approval": ["sre-lead"]},
            {"percent": 60, "bake": "12h"},
            {"percent": 100, "bake": "24h", "approval": ["owner"]},
        ],
        "four_eyes": True,
        "warmup": "1m",
        "baseline": "10m",
        "holdback": 5,
    }
)


@pytest.mark.parametrize(
    ("plan", "hours", "served"),
    [(CLASSIC, 31, [5, 25, 50, 100, 100]), (PRODUCTION, 50 + 1 / 6, [2, 10, 30, 60, 95, 100])],
    ids=["classic", "production"],
)
def test_a_whole_plan_is_completed_in_simulated_time(plan: Plan, hours: float, served: list[float]) -> None:
    """With every interval good and every approval given, a plan takes exactly its bake times, and a moment of ours."""
    world = World(plan)
    world.others = {"baseline": COUNTED}
    began, percents = time.process_time(), []
    while not world.state.is_settled:
        before, step = world.state, world.tick()
        if step.action in (Action.ADVANCE, Action.PROMOTE):
            assert step.state.stage == before.stage + 1
            percents.append(step.state.percent)
            for role in plan.roles(step.state.stage + 1):
                world.order(orders.approve(plan, world.state, role, BO))
        world.wait(step.due_s or 0.0)
    assert world.state.describe(world.at).startswith("new-checkout PROMOTED 0 ms ago: all")
    assert percents == served
    assert hours * 3600 <= world.at - WALL <= hours * 3600 + 30 * len(plan.stages)
    assert time.process_time() - began < 5


def test_each_stage_is_told_once() -> None:
    """People hear of each stage as it begins and of the promotion, and of nothing between."""
    world = World(a_plan()).run(1800)
    assert [event.sentence for event in world.told[1:]] == [
        "new-checkout is served to 10 % now: stage 1 of 2",
        "new-checkout is served to 100 % now: stage 2 of 2",
        "new-checkout was promoted, all 2 stages kept their promises; it is served to everybody",
    ]


def test_the_next_look_is_due_when_the_bake_ends() -> None:
    """Between looks lies an interval, or what is left of the bake time; after the end nothing is due."""
    world = World(a_plan(interval="45s"))
    due: list[float] = []
    while (step := world.tick()).due_s is not None and len(due) < 100:
        due.append(step.due_s)
        world.wait(step.due_s)
    assert due == [45.0] * 13 + [15.0] + [45.0] * 26 + [30.0]
    assert world.state.status is Status.PROMOTED


def test_the_baseline_is_kept_as_it_was_before_stage_1() -> None:
    """What was counted before anybody had the candidate goes with the state, through JSON too, and never changes."""
    world = World(a_plan(baseline="5m"))
    world.run(270)
    assert (world.state.stage, world.state.status, world.state.reason) == (0, Status.RUNNING, "measuring the baseline")
    world.wait(30)
    assert world.tick().state.reason == "nothing was counted of the baseline"
    world.others = {"baseline": COUNTED}
    assert world.tick().state.stage == 1
    world.others = {"baseline": Tally(requests=1)}
    world.run(60)
    world.restart()
    assert world.state.baseline == COUNTED


def test_everybody_is_served_after_the_holdback_only() -> None:
    """The last stage leaves its part on the baseline, the promotion does not."""
    world = World(a_plan(holdback=5)).run(600)
    assert (world.state.stage, world.state.percent) == (2, 95.0)
    assert world.run(1200).state.percent == 100.0


# --- evidence ---

NO_ADVANCE: Final = [
    (silent, "nothing was judged"),
    (judged(Standing.UNKNOWN, sentence="p95 is INCONCLUSIVE: no data"), "p95 is INCONCLUSIVE: no data"),
    (judged(Standing.UNKNOWN), "the last judgement is inconclusive"),
    (judged(Standing.GOOD, age_s=61.0), "the last judgement is 61 s old, at most 60 s may be"),
    (judged(Standing.GOOD, age_s=-1.0), "the last judgement is 1 s old"),
    (judged(Standing.GOOD, age_s=float("nan")), "the last judgement is"),
    (judged(Standing.GOOD, stage=0), "what was judged was stage 0"),
    (judged(Standing.GOOD, seconds=601.0), "what was judged began before the stage was warm"),
    (judged(Standing.HARD, sustained=False), "a promise is broken, not often enough in a row yet"),
    (judged(Standing.SHARED), "both arms break a promise"),
    (judged(Standing.SOFT), "a soft SLO is broken"),
]


@pytest.mark.parametrize(("judge", "reason"), NO_ADVANCE)
def test_only_fresh_good_evidence_of_this_stage_advances(judge: Any, reason: str) -> None:
    """A stage that has baked is held for whatever else there is, and the reason says what."""
    world = a_baked(judge=judge)
    step = world.tick()
    assert (step.action, step.state.status, step.state.stage) == (Action.HOLD, Status.HELD, 1)
    assert reason in step.state.reason
    world.judge = good
    assert world.tick().action is Action.ADVANCE


def test_evidence_must_have_begun_after_the_warm_up() -> None:
    """The first judgement that counts is the first whose interval begins when the warm-up is over."""
    plan = parse_plan({"stages": [{"percent": 100, "bake": "61s"}], "warmup": "60s"})
    world = World(plan)
    world.run(89, every=1)
    assert (world.state.status, world.state.reason) == (Status.HELD, "what was judged began before the stage was warm")
    world.wait(1)
    assert world.tick().action is Action.PROMOTE


def test_one_judgement_never_advances_twice() -> None:
    """What was good for one stage began before the next one, and so says nothing of it."""
    plan = parse_plan({"stages": [{"percent": 10, "bake": "1s"}, {"percent": 100, "bake": "1s"}], "fresh": 20})
    world = World(plan)
    world.run(30, every=1)
    assert world.state.stage == 2
    for _ in range(40):
        world.wait(1)
        world.judge = judged(Standing.GOOD, age_s=world.at - WALL - 30)  # the one that ended at second 30
        assert world.tick().action is Action.HOLD


def test_acceptable_is_good_and_the_worst_finding_wins() -> None:
    """A verdict stands as its worst finding does; a hard breach of the candidate's own is the worst of all."""
    hard, soft = parse_slo("p95 < 500ms"), parse_slo("p50 < 100ms")

    def standing(*outcomes: Outcome, shared: bool = False) -> Standing:
        findings = [
            Finding(slo=slo, outcome=found, shared=shared) for slo, found in zip((hard, soft), outcomes, strict=False)
        ]
        return standing_of(Verdict(tuple(findings), 30.0), soft=(soft,))

    assert standing(Outcome.ACCEPTABLE, Outcome.PASS) is Standing.GOOD
    assert standing(Outcome.PASS, Outcome.INCONCLUSIVE) is Standing.UNKNOWN
    assert standing(Outcome.PASS, Outcome.BREACH) is Standing.SOFT
    assert standing(Outcome.BREACH, Outcome.BREACH, shared=True) is Standing.SHARED
    assert standing(Outcome.BREACH, Outcome.INCONCLUSIVE) is Standing.HARD
    assert standing() is Standing.UNKNOWN
    assert standing_of(Verdict((Finding(slo=soft, outcome=Outcome.PASS),), 30.0), soft=(soft,)) is Standing.UNKNOWN


# --- harm ---


@pytest.mark.parametrize("status", [Status.SCHEDULED, Status.RUNNING, Status.HELD, Status.PAUSED, Status.PROMOTED])
def test_a_trip_aborts_in_every_state(status: Status) -> None:
    """Whatever the rollout is doing, once the breaker is open it serves nobody, and stays so until a restart."""
    world = a_baked(a_plan(watch="1h"))
    world.state = replace(world.state, status=status)
    world.others = {"trip": "breach 3 in a row"}
    step = world.tick()
    assert (step.action, step.state.status, step.state.percent) == (Action.ABORT, Status.ABORTED, 0.0)
    assert (step.state.reason, step.due_s) == ("breach 3 in a row", None)
    world.run(60)
    world.others = {}
    assert world.run(3600).state == step.state
    assert world.kinds().count(RolloutAborted) == 1


def test_a_trip_aborts_what_was_promoted_long_ago() -> None:
    """Even after the watch, a rollout that is asked about a tripped flag does not claim to be promoted."""
    world = World(a_plan()).run(2000)
    assert world.state.is_settled
    world.others = {"trip": "breach"}
    step = world.tick()
    assert step.action is Action.ABORT
    assert [event.sentence for event in step.events] == ["new-checkout was aborted after its promotion: breach"]


def test_a_hard_breach_aborts_while_it_bakes_or_waits_or_is_watched() -> None:
    """A fresh breach of the candidate's own ends the rollout, with the sentence that says why."""
    breach = judged(Standing.HARD, sentence="p95 812 ms against a limit of 500 ms")
    for seconds, pause in ((60, False), (60, True), (1830, False)):
        world = World(a_plan(watch="1h")).run(seconds)
        if pause:
            world.order(orders.pause(world.state, ANA))
        world.judge = breach
        assert world.run(30).actions[-1:] == [Action.HOLD]  # aborted at the first of the two ticks
        assert world.state.reason == "p95 812 ms against a limit of 500 ms"
        assert world.state.status is Status.ABORTED


@pytest.mark.parametrize("late", [{"age_s": 61.0}, {"stage": 0}, {"seconds": 100.0}])
def test_a_stale_breach_does_not_abort(late: dict[str, Any]) -> None:
    """A breach of another stage or another time says nothing of what is served now."""
    world = World(a_plan()).run(60)
    world.judge = judged(Standing.HARD, **late)
    assert world.tick().action is Action.HOLD


def test_a_soft_breach_holds_at_once_and_lets_go() -> None:
    """It is HELD while the breach lasts, goes on baking, and is told of once in the stage."""
    world = World(a_plan()).run(60)
    for _ in range(3):
        world.judge = judged(Standing.SOFT, sentence="p50 120 ms")
        assert world.run(30).state.describe(world.at).endswith("of 10 min: p50 120 ms")
        world.judge = good
        assert world.run(30).state.status is Status.RUNNING
    assert world.kinds().count(RolloutHeld) == 1
    assert world.state.baked_s == 240


def test_who_may_not_advance_may_abort() -> None:
    """Without the lease a baked stage is left alone and nothing is counted, but a trip aborts."""
    world = a_baked()
    before = world.state
    assert world.tick(may_advance=False).state is before
    world.others = {"trip": "breach"}
    assert world.tick(may_advance=False).action is Action.ABORT


def test_nothing_is_served_or_baked_under_the_kill_switch() -> None:
    """While the kill switch is held the rollout is HELD, and none of that time counts."""
    world = World(a_plan()).run(300)
    world.others = {"killed": True}
    world.run(3600)
    assert (world.state.status, world.state.reason, world.state.baked_s) == (
        Status.HELD,
        "nobody was served: the kill switch was held, or the flag is disabled",
        300,
    )
    world.others = {}
    assert world.run(270).state.stage == 1
    world.wait(30)
    assert world.tick().action is Action.ADVANCE


# --- time ---


@pytest.mark.parametrize("jump", [-86400.0, -3600.0, 3600.0, 86400.0, 1e9])
def test_a_jump_of_the_wall_clock_changes_no_bake(jump: float) -> None:
    """Set forward or back while it bakes, the wall clock neither shortens nor lengthens a stage."""
    world = World(a_plan()).run(300)
    world.at += jump
    assert world.run(270).state.stage == 1
    world.wait(30)
    assert world.tick().action is Action.ADVANCE


def test_a_restart_neither_loses_nor_invents_bake_time() -> None:
    """Dead for a week, a rollout has baked as long as it had, and goes on from there with the next tick."""
    world = World(a_plan()).run(300)
    world.wait(7 * 86400)
    world.restart()
    assert world.tick().state.baked_s == 300
    world.wait(30)
    assert world.tick().state.baked_s == 330
    assert world.run(240).state.stage == 1
    world.wait(30)
    assert world.tick().action is Action.ADVANCE


def test_a_stalled_controller_counts_no_more_than_is_fresh() -> None:
    """Ticks that were missed are folded into one as long as a judgement could be fresh; beyond that nobody looked."""
    world = World(a_plan()).run(60)
    world.wait(59)
    assert world.tick().state.baked_s == 119
    world.wait(7200)
    assert world.tick().state.baked_s == 179


def test_two_controllers_do_not_count_twice() -> None:
    """Whoever finds that another has stored since has watched nothing; so time is counted once, or not at all."""
    plan, one, other = a_plan(), None, None
    state, _ = orders.start(plan, Rollout(flag_key="f"), ANA)
    state = advance(plan, state, Evidence(), Now(0.0, WALL)).state
    for second in range(0, 600, 10):
        state = advance(plan, state, Evidence(), Now(one.elapsed_s(state, second) if one else 0.0, WALL)).state
        one = Mark(state.seq, second)
        if second % 20 == 0:
            state = advance(plan, state, Evidence(), Now(other.elapsed_s(state, second) if other else 0.0, WALL)).state
            other = Mark(state.seq, second)
    assert state.baked_s == 290  # of 590: every second stretch was nobody's


def test_negative_or_missing_time_is_no_time() -> None:
    """A monotonic clock that is compared with another one's reading gives nonsense, which counts as nothing."""
    plan = a_plan()
    world = World(plan).run(60)
    for nonsense in (-1e9, float("nan")):
        step = advance(plan, world.state, Evidence(), Now(nonsense, WALL))
        assert step.state.baked_s == 60


# --- gates ---


def test_an_approval_is_waited_for_and_never_skipped() -> None:
    """The stage that names a role is entered after that role agreed, however long that takes."""
    stages = [{"percent": 10, "bake": "10m"}, {"percent": 100, "bake": "20m", "approval": ["sre-lead", "owner"]}]
    world = World(parse_plan({"stages": stages})).run(86400)
    assert world.state.reason == "stage 2 needs approval by sre-lead and owner"
    world.order(orders.approve(world.plan, world.state, "sre-lead", BO))
    assert world.tick().state.reason == "stage 2 needs approval by owner"
    world.order(orders.approve(world.plan, world.state, "owner", BO))
    assert world.tick().action is Action.ADVANCE
    assert world.kinds().count(RolloutHeld) == 1


def test_a_blackout_holds_what_would_advance_and_nothing_else() -> None:
    """In the window it bakes, is judged and may abort; it advances with the first tick after it."""
    world = World(a_plan(blackout=["Fri 16:00-Mon 08:00 Europe/Berlin"]))
    world.local = {"Europe/Berlin": 480}  # Monday, 08:00
    assert world.run(60).state.stage == 1
    world.local = {"Europe/Berlin": 479}
    world.run(3600)
    assert (world.state.stage, world.state.reason) == (1, "blackout Fri 16:00-Mon 08:00 Europe/Berlin")
    world.local = {"Europe/Berlin": 480}
    assert world.tick().action is Action.ADVANCE
    world.local = {"Europe/Berlin": 479}
    world.run(60)
    world.judge = judged(Standing.HARD)
    assert world.tick().action is Action.ABORT


def test_a_blackout_whose_clock_is_not_known_holds() -> None:
    """Where the shell does not say what time it is there, nothing advances."""
    world = World(a_plan(blackout=["22:00-06:00 Europe/Berlin"])).run(3600)
    assert (world.state.status, world.state.stage) == (Status.HELD, 0)
    assert world.state.reason == "blackout 22:00-06:00 Europe/Berlin"


def test_it_begins_at_its_time_and_not_again() -> None:
    """Scheduled, it waits for the wall clock; begun, it does not wait again when the clock is set back."""
    world = World(a_plan(baseline="1m"), started=False)
    world.others = {"baseline": COUNTED}
    world.order(orders.schedule(world.plan, world.state, WALL + 3600, ANA))
    world.run(3570)
    assert world.state.describe(world.at) == "new-checkout SCHEDULED, starts in 30 s: waiting for its time"
    world.wait(30)
    assert world.tick().state.status is Status.RUNNING
    world.at -= 7200
    assert world.run(60).state.stage == 1


def test_only_so_many_rollouts_are_under_way() -> None:
    """One that would be too many waits before its first stage; one that is in a stage is never stopped by others."""
    world = World(a_plan(parallel=2))
    world.others = {"under_way": 2}
    assert world.run(60).state.reason == "2 other rollouts are under way, at most 2 may be"
    assert world.state.status is Status.HELD
    world.others = {"under_way": 1}
    assert world.tick().state.stage == 1
    world.others = {"under_way": 5}
    assert world.run(600).state.stage == 2


def test_a_changed_plan_is_not_followed_unasked() -> None:
    """When the configuration changes under way, the rollout is held until a person resumes with the new plan."""
    world = World(a_plan()).run(60)
    world.plan = a_plan(watch="1h")
    assert world.tick().state.reason == "the plan has been changed; resume to go on with the new one"
    world.order(orders.resume(world.plan, world.state, BO))
    assert world.tick().state.status is Status.RUNNING
    assert world.state.baked_s == 60


def test_all_reasons_are_given() -> None:
    """If several things are missing, people read all of them at once."""
    stages = [{"percent": 10, "bake": "10m"}, {"percent": 100, "bake": "20m", "approval": ["owner"]}]
    world = a_baked(parse_plan({"stages": stages}), silent)
    assert world.tick().state.reason == "nothing was judged; stage 2 needs approval by owner"
    assert world.state.told == (Cause.EVIDENCE, Cause.APPROVAL)


# --- deadlines ---


def overdue(policy: str) -> World:
    """Return a world whose first stage never gets its evidence."""
    stages = [{"percent": 10, "bake": "10m", "deadline": "1h"}, {"percent": 100, "bake": "20m"}]
    world = World(parse_plan({"stages": stages, "on_deadline": policy}))
    world.judge = silent
    return world


def test_a_deadline_leaves_it_to_a_person() -> None:
    """An hour after the bake time without evidence it is latched: told once, and no evidence opens it but a person."""
    world = overdue("hold").run(600 + 3540)
    assert RolloutOverdue not in world.kinds()
    world.run(600)
    assert world.kinds().count(RolloutOverdue) == 1
    assert world.told[-1].severity is Severity.CRITICAL
    world.judge = good
    assert world.run(600).state.reason == "its deadline has passed; a person has to decide"
    world.order(orders.resume(world.plan, world.state, BO))
    assert world.tick().action is Action.ADVANCE


def test_a_deadline_aborts_where_the_plan_says_so() -> None:
    """The reason says how long was waited, and for what."""
    world = overdue("abort").run(600 + 3700)
    assert world.state.status is Status.ABORTED
    assert world.state.reason == "no evidence in 60 min after the bake time: nothing was judged"


def test_a_deadline_does_not_count_what_people_take() -> None:
    """Waiting for an approval, or for evidence that comes in time, is not held against the stage."""
    stages = [{"percent": 10, "bake": "10m", "deadline": "10m"}, {"percent": 100, "bake": "20m", "approval": ["owner"]}]
    world = World(parse_plan({"stages": stages, "on_deadline": "abort"})).run(86400)
    assert world.state.status is Status.HELD
    world.judge = silent
    assert world.run(86400).state.status is Status.HELD


# --- after the promotion ---


def test_it_is_watched_after_the_promotion() -> None:
    """For as long as the plan says a breach takes it back; then that is over, and told."""
    world = World(a_plan(watch="10m")).run(1800)
    assert (world.state.status, world.state.is_settled, world.told[-1].severity) == (
        Status.PROMOTED,
        False,
        Severity.INFO,
    )
    assert world.run(600).kinds()[-2:] == [RolloutPromoted, WatchEnded]
    assert world.tick().due_s is None
    assert world.kinds().count(WatchEnded) == 1


def test_silence_after_the_promotion_is_no_reason_to_take_it_back() -> None:
    """What is not known can only hold, and there is nothing left to hold."""
    world = World(a_plan(watch="10m")).run(1800)
    world.judge = silent
    assert world.run(600).state.status is Status.PROMOTED


def test_nothing_happens_to_what_was_never_started() -> None:
    """An idle rollout is left as it is, whatever is known."""
    world = World(a_plan(), started=False)
    world.others = {"trip": "breach"}
    step = world.tick()
    assert (step.action, step.due_s, step.state.seq) == (Action.HOLD, None, 0)
    assert world.state.describe(WALL) == "new-checkout IDLE"


# --- the state as a value ---


def every_state() -> Iterable[Rollout]:
    """Return states from all over a rollout's life."""
    world = World(PRODUCTION)
    world.others = {"baseline": COUNTED}
    yield Rollout(flag_key="new-checkout")
    yield world.state
    for _ in range(4):
        yield world.run(7200).state
    world.order(orders.approve(PRODUCTION, world.state, "sre-lead", BO))
    yield world.state
    world.order(orders.pause(world.state, ANA))
    yield world.state
    world.order(orders.abort(world.state, BO))
    yield world.state


def test_every_state_is_read_as_it_was_written() -> None:
    """Through JSON nothing is lost, what a newer release adds is passed over, and what is missing is as new."""
    statuses = set()
    for state in every_state():
        text = json.dumps(state.to_dict() | {"of a newer release": 1})
        assert Rollout.from_dict(json.loads(text)) == state
        statuses.add(state.status)
    assert statuses == {Status.IDLE, Status.SCHEDULED, Status.RUNNING, Status.HELD, Status.PAUSED, Status.ABORTED}
    assert Rollout.from_dict({"flag_key": "f"}) == Rollout(flag_key="f")


@pytest.mark.parametrize(
    "damage",
    [{"status": "FLYING"}, {"seq": "7"}, {"baked_s": None}, {"flag_key": 3}, {"approvals": [{}]}, {"baseline": [1]}],
)
def test_a_damaged_state_is_refused(damage: dict[str, Any]) -> None:
    """What no release has written is an error, never a guess."""
    with pytest.raises((LookupError, TypeError, ValueError)):
        Rollout.from_dict(Rollout(flag_key="f").to_dict() | damage)


def test_every_change_counts() -> None:
    """Each tick and each order gives the state a number that is one higher, by which a second writer is found out."""
    states = [state.seq for state in every_state()]
    assert states == sorted(set(states))
    world = World(a_plan())
    before = world.state.seq
    assert world.tick().state.seq == before + 1


def test_a_transition_is_recorded_and_a_tick_is_not() -> None:
    """The journal gets a line where the status or the stage changed, with who and why, and one for a new answer."""
    world = World(a_plan()).run(60)
    before, step = world.state, world.tick()
    assert transition(before, step.state, WALL) is None
    assert ruling(before, step, WALL) is None
    other = replace(step.state, reason=f"{step.state.reason} for 61 s")
    assert ruling(other, replace(step, state=replace(other, reason=f"{step.state.reason} for 1.2 h")), WALL) is None
    world.others = {"killed": True}
    held = ruling(before, world.tick(), WALL)
    assert held is not None
    assert (held.action, held.baked_s, held.reason) == (
        "HOLD",
        60.0,
        "nobody was served: the kill switch was held, or the flag is disabled",
    )
    world.order(orders.pause(before, BO))
    found = transition(before, world.state, WALL)
    assert found is not None
    assert (found.before, found.after, found.who, found.reason) == (
        "RUNNING",
        "PAUSED",
        "bo",
        "paused by bo: looks good",
    )


def test_it_says_where_it_stands_in_one_line() -> None:
    """Stage, share and bake time while it runs, and the reason wherever it stands still."""
    world = World(a_plan()).run(90)
    assert world.state.describe(world.at) == "new-checkout RUNNING, stage 1 of 2 at 10 %, baked 90 s of 10 min: baking"
    world.others = {"trip": "breach 3 in a row"}
    world.tick()
    assert world.state.describe(world.at + 60) == "new-checkout ABORTED 60 s ago: breach 3 in a row"
    assert StageStarted in world.kinds()
