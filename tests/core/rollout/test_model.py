"""A rollout in a world that does everything wrong: what must hold in every history.

Two controllers load, decide and store at different moments, so that they lose against each other and against people.
They are killed and come back with another monotonic clock. The wall clock jumps. Judgements come late, or twice, or of
another stage. The model keeps what really happened beside it, by one clock that nobody in the world can read.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from canary_sdk.core.judge.tally import Tally
from canary_sdk.core.plan import parse_plan
from canary_sdk.core.rollout import orders
from canary_sdk.core.rollout.advance import Action, Step, advance
from canary_sdk.core.rollout.grounds import Evidence, Judgement, Now, Standing
from canary_sdk.core.rollout.state import By, Mark, Rollout, Status
from canary_sdk.errors import Refused

WALL: Final = 1_750_000_000.0
ENDS: Final = {Status.PROMOTED, Status.ABORTED, Status.PAUSED, Status.HELD}
PEOPLE: Final = ("ana", "bo", "cy")
STANDINGS: Final = st.sampled_from([Standing.GOOD] * 8 + list(Standing))
LENGTHS: Final = st.sampled_from([10.0, 30.0, 60.0, 90.0])


@dataclass
class Judged:
    """A judgement, and when it really began and ended."""

    standing: Standing
    stage: int
    began: float
    ended: float
    advanced: int = 0


@dataclass
class Controller:
    """A process: its monotonic clock begins anywhere, it remembers one mark, and it may be in the middle of a turn."""

    offset: float
    mark: Mark | None = None
    marked: float = 0.0
    loaded: Rollout | None = None
    step: Step | None = None
    used: Judged | None = None
    decided: float = 0.0


@dataclass
class Truth:
    """What really happened since the present stage was entered."""

    entered: float = 0.0
    baking_s: float = 0.0
    approvals: set[tuple[int, str]] = field(default_factory=set)
    aborted: bool = False


class RolloutMachine(RuleBasedStateMachine):
    """The engine, a store of JSON text with compare-and-set, two controllers, three people, and the truth."""

    @initialize(
        policy=st.sampled_from(["hold", "abort"]),
        four_eyes=st.booleans(),
        watch=st.sampled_from([0.0, 90.0]),
        fresh=st.integers(1, 3),
        warmup=st.sampled_from([1, 30, 30]),
    )
    def begin(self, policy: str, watch: float, fresh: int, warmup: int, *, four_eyes: bool) -> None:
        """Start a rollout of three stages, of which the second and the third have to be approved."""
        stages: list[dict[str, Any]] = [
            {"percent": 10, "bake": 60, "deadline": 120},
            {"percent": 50, "bake": 150, "approval": ["sre-lead"]},
            {"percent": 100, "bake": 90, "deadline": 300, "approval": ["sre-lead"]},
        ]
        options = {"warmup": warmup, "holdback": 5, "blackout": ["22:00-06:00 X"], "fresh": fresh, "parallel": 2}
        watched = {"watch": watch} if watch else {}
        self.plan = parse_plan({"stages": stages, "on_deadline": policy, "four_eyes": four_eyes} | options | watched)
        self.time, self.skew, self.minute, self.under_way = 0.0, 0.0, 720, 0
        self.trip, self.killed, self.killed_at = "", False, -1.0
        self.truth, self.judgements = Truth(), [Judged(Standing.UNKNOWN, 0, 0.0, 0.0)]
        self.controllers = [Controller(1000.0), Controller(-5.0)]
        started, _ = orders.start(self.plan, Rollout(flag_key="f"), By("ana", WALL))
        self.keep(started)

    # --- the store ---

    def keep(self, state: Rollout) -> None:
        """Write it as text, and read it as another process would."""
        self.stored = Rollout.from_dict(json.loads(json.dumps(state.to_dict())))

    def store(self, loaded: Rollout, state: Rollout) -> bool:
        """Compare and set."""
        current = self.stored
        if current.seq != loaded.seq:
            return False
        assert state.seq == loaded.seq + 1
        assert not self.truth.aborted or state.status in (Status.ABORTED, Status.SCHEDULED)
        if (state.stage, state.attempt) != (current.stage, current.attempt):
            self.truth.entered, self.truth.baking_s = self.time, 0.0
        self.keep(state)
        self.truth.aborted = state.status is Status.ABORTED
        return True

    # --- time ---

    @rule(seconds=st.sampled_from([1.0, 10.0, 30.0, 30.0, 45.0, 90.0, 7200.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass; what is served meanwhile is what is stored."""
        if self.stored.status in (Status.RUNNING, Status.HELD) and not self.killed:
            self.truth.baking_s += seconds
        self.time += seconds
        if self.killed:
            self.killed_at = self.time

    @rule(seconds=st.sampled_from([-86400.0, -3600.0, 3600.0, 86400.0]))
    def set_the_wall_clock(self, seconds: float) -> None:
        """Jump, as in a change to or from summer time, or by mistake."""
        self.skew += seconds

    @rule(minute=st.sampled_from([720, 720, 720, 1400, None]))
    def look_at_the_calendar(self, minute: int | None) -> None:
        """Enter or leave the blackout, or lose the time zone data."""
        self.minute = -1 if minute is None else minute

    # --- what is known ---

    @rule(standing=STANDINGS, seconds=LENGTHS, behind=st.sampled_from([0, 0, 0, 1]))
    def judge(self, standing: Standing, seconds: float, behind: int = 0) -> None:
        """Finish an interval; a judge may be behind, and hold it against the stage before."""
        self.judgements.append(Judged(standing, self.stored.stage - behind, self.time - seconds, self.time))

    @rule(tripped=st.sampled_from([True, False, False, False, False]))
    def trip_or_reset(self, *, tripped: bool) -> None:
        """Open the breaker, or have it reset by a person."""
        self.trip = "breach 3 in a row" if tripped else ""

    @rule()
    def pull_or_let_go(self) -> None:
        """Use the kill switch."""
        self.killed = not self.killed
        self.killed_at = self.time

    @rule(others=st.sampled_from([0, 1, 1, 2]))
    def begin_others(self, others: int) -> None:
        """Have other rollouts under way."""
        self.under_way = others

    # --- controllers ---

    @rule(
        which=st.integers(0, 1),
        late=st.sampled_from([0, 0, 0, 0, 1, 2]),
        may_advance=st.sampled_from([True, True, False]),
    )
    def decide(self, which: int, late: int, *, may_advance: bool) -> None:
        """Load, and decide on the last judgement, or on an older one; store nothing yet."""
        controller = self.controllers[which]
        controller.loaded = state = self.stored
        monotonic_s = self.time + controller.offset
        elapsed_s = controller.mark.elapsed_s(state, monotonic_s) if controller.mark else 0.0
        used = self.judgements[max(-1 - late, -len(self.judgements))]
        judgement = Judgement(
            standing=used.standing, stage=used.stage, seconds=used.ended - used.began, age_s=self.time - used.ended
        )
        evidence = Evidence(
            judgement=judgement,
            trip=self.trip,
            killed=self.killed or self.killed_at > controller.marked,
            baseline=Tally(requests=9),
            under_way=self.under_way,
        )
        local = {"X": self.minute} if self.minute >= 0 else {}
        now = Now(elapsed_s, WALL + self.time + self.skew, local)
        controller.step = advance(self.plan, state, evidence, now, may_advance=may_advance)
        controller.used, controller.decided = used, self.time
        if self.trip and state.status not in (Status.IDLE, Status.ABORTED):
            assert controller.step.action is Action.ABORT
        if used.standing is Standing.HARD and self.is_fresh(state, used) and not state.is_settled:
            assert controller.step.action is Action.ABORT
        if not may_advance:
            assert controller.step.action in (Action.HOLD, Action.ABORT)
        if controller.step.action in (Action.ADVANCE, Action.PROMOTE):
            self.look_at_an_advance(state, controller.step, used)

    def is_fresh(self, state: Rollout, used: Judged) -> bool:
        """Tell whether a judgement speaks of this stage and of now, by the state's own count of what was watched."""
        warm_s = min(state.stage_s, self.time - self.truth.entered) - self.plan.warmup_s
        age_s = self.time - used.ended
        return used.stage == state.stage and age_s <= self.plan.fresh_s and self.time - used.began <= warm_s

    def look_at_an_advance(self, state: Rollout, step: Step, used: Judged) -> None:
        """Hold it against what really happened."""
        assert step.state.stage == state.stage + 1
        assert self.minute == 720, "never in a blackout, nor where nobody knows"
        assert not self.trip
        assert not self.killed
        for role in self.plan.roles(step.state.stage):
            assert (step.state.stage, role) in self.truth.approvals
        if not state.stage:
            assert self.under_way < 2
        elif state.seq == self.stored.seq:
            assert used.standing is Standing.GOOD
            assert used.stage == state.stage
            assert used.began >= self.truth.entered + self.plan.warmup_s
            assert self.time - used.ended <= self.plan.fresh_s
            assert self.truth.baking_s >= self.plan.bake_s(state.stage)

    @rule(which=st.integers(0, 1))
    def commit(self, which: int) -> None:
        """Store what was decided, if nobody else has stored since."""
        controller = self.controllers[which]
        if controller.step is None or controller.loaded is None or controller.step.state is controller.loaded:
            return
        step, controller.step = controller.step, None
        if self.store(controller.loaded, step.state):
            controller.mark = Mark(step.state.seq, self.time + controller.offset)
            controller.marked = self.time
            if step.action in (Action.ADVANCE, Action.PROMOTE) and controller.loaded.stage and controller.used:
                controller.used.advanced += 1
                assert controller.used.advanced == 1, "one judgement advances once"

    @rule(
        which=st.integers(0, 1),
        quiet=st.integers(0, 6),
        seconds=st.sampled_from([10.0, 30.0, 60.0, 90.0]),
        standing=st.none() | STANDINGS,
        length=LENGTHS,
        late=st.sampled_from([0, 0, 1]),
        helped=st.sampled_from([*PEOPLE, *PEOPLE, None]),
    )
    def take_turns(
        self,
        *,
        which: int,
        quiet: int,
        seconds: float,
        standing: Standing | None,
        length: float,
        late: int,
        helped: str | None,
    ) -> None:
        """Take some turns in peace, mostly after somebody helped, and one more later, with or without news."""
        if helped:
            self.carry_on(helped)
        for _ in range(quiet):
            self.turn(which, 30.0, Standing.GOOD, 30.0, 0)
        self.turn(which, seconds, standing, length, late)

    def turn(self, which: int, seconds: float, standing: Standing | None, length: float, late: int) -> None:
        """Wait, judge if there is news, decide and store."""
        self.wait(seconds)
        if standing is not None:
            self.judge(standing, length)
        self.decide(which, late, may_advance=True)
        self.commit(which)

    @rule(which=st.integers(0, 1), offset=st.floats(-1e6, 1e6))
    def kill(self, which: int, offset: float) -> None:
        """Kill a controller in whatever it does; another takes its place and knows nothing."""
        self.controllers[which] = Controller(offset)

    # --- people ---

    @rule(
        order=st.sampled_from(["pause", "resume", "advance", "promote", "abort", "restart"]),
        who=st.sampled_from(PEOPLE),
    )
    def order(self, order: str, who: str) -> None:
        """Give an order; it is carried out or refused."""
        state, by = self.stored, By(who, WALL + self.time + self.skew)
        with suppress(Refused):
            match order:
                case "pause":
                    after, _ = orders.pause(state, by)
                case "abort":
                    after, _ = orders.abort(state, by)
                case "resume":
                    after, _ = orders.resume(self.plan, state, by)
                case "advance":
                    after, _ = orders.advance_now(self.plan, state, by)
                case "promote":
                    after, _ = orders.promote(self.plan, state, by)
                case _:
                    after, _ = orders.restart(self.plan, state, by)
            if after.percent > state.percent:
                self.look_at_an_order(state, after, who)
            assert self.store(state, after)
            if order == "restart":
                self.truth.approvals = set()

    @rule(who=st.sampled_from(PEOPLE))
    def carry_on(self, who: str) -> None:
        """Do what lets it go on."""
        self.trip, self.killed, self.minute, self.under_way = "", False, 720, 0
        self.order("restart", who)
        self.order("resume", who)
        self.approve(who, None)

    def look_at_an_order(self, state: Rollout, after: Rollout, who: str) -> None:
        """Approvals and the second pair of eyes are needed for what people order, too."""
        for stage in range(state.stage + 1, after.stage + 1):
            assert all((stage, role) in self.truth.approvals for role in self.plan.roles(stage))
        assert not self.plan.four_eyes or state.started is None or who != state.started.who

    @rule(who=st.sampled_from(PEOPLE), stage=st.sampled_from([None, 2, 2, 3]))
    def approve(self, who: str, stage: int | None) -> None:
        """Agree to a stage."""
        state = self.stored
        with suppress(Refused):
            after, _ = orders.approve(self.plan, state, "sre-lead", By(who, WALL + self.time), stage=stage)
            assert not self.plan.four_eyes or (state.started is not None and who != state.started.who)
            assert self.store(state, after)
            self.truth.approvals.add((after.approvals[-1].stage, "sre-lead"))

    # --- what always holds ---

    @invariant()
    def no_bake_time_is_invented(self) -> None:
        """What counts as baked was really served, and the stage serves what its plan says, or nobody."""
        state = self.stored
        assert state.baked_s <= self.truth.baking_s + 1e-6
        assert state.stage_s <= self.time - self.truth.entered + 1e-6
        assert state.percent == (0.0 if state.status is Status.ABORTED else self.plan.percent(state.stage))
        assert state.reason

    @invariant()
    def nothing_else_would_advance(self) -> None:
        """From where it stands, with all else in order, no bad, stale or foreign news and no short bake would do."""
        state = self.stored
        if not state.stage or state.is_settled:
            return
        baked = replace(state, baked_s=state.bake_s, stage_s=1e6)
        good = Judgement(standing=Standing.GOOD, stage=state.stage, seconds=30.0)
        bad = [replace(good, standing=standing) for standing in Standing if standing is not Standing.GOOD]
        late = [
            replace(good, age_s=self.plan.fresh_s + 1),
            replace(good, stage=state.stage - 1),
            replace(good, seconds=1e6),
        ]
        cases = [(baked, news) for news in (*bad, *late, None)]
        cases += [(replace(baked, baked_s=state.bake_s - 1), good), (replace(baked, status=Status.PAUSED), good)]
        for before, news in cases:
            step = advance(self.plan, before, Evidence(judgement=news), Now(0.0, WALL, {"X": 720}))
            assert step.action in (Action.HOLD, Action.ABORT)

    def teardown(self) -> None:
        """Left alone, with time and no news, it comes to an end that says why; a trip it does not survive."""
        if not hasattr(self, "stored"):
            return
        self.kill(0, 0.0)
        self.skew = 1e9  # whatever was scheduled is due
        tripped = self.trip and self.stored.status is not Status.ABORTED
        for _ in range(40):
            self.wait(30.0)
            self.decide(0, 0, may_advance=True)
            self.commit(0)
            self.no_bake_time_is_invented()
        assert self.stored.status in ENDS
        assert self.stored.reason
        assert not tripped or (self.stored.status, self.stored.percent) == (Status.ABORTED, 0.0)


RolloutMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)

TestRolloutInABadWorld = pytest.mark.timeout(120)(RolloutMachine.TestCase)


class RolloutMachineForLong(RolloutMachine):
    """The same world, many more times."""


RolloutMachineForLong.TestCase.settings = settings(max_examples=10_000, stateful_step_count=40, deadline=None)

TestRolloutInABadWorldForLong = pytest.mark.long(pytest.mark.timeout(3600)(RolloutMachineForLong.TestCase))
