"""Whole rollouts on made-up traffic, by the pure functions of the core: 31 hours in seconds, and the report of them.

    python -m benchmarks.rollout                        four stages, 31 hours, the default judge; the report as Markdown
    python -m benchmarks.rollout --tolerance 0          the same without tolerance: the fourth stage is a breach
    python -m benchmarks.rollout --rule consecutive     as the consecutive rule decides
    python -m benchmarks.rollout --plan production      five stages, 50 hours, two approvals

Every request is drawn: its time from a curve through a median, a 95th and a 99th percentile, both arms from the same.
The loop does what the runtime's shell does once an interval, with the time as a number; what it stores and writes down
goes through the store and the journal, and the report is made of the journal alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from canary_sdk.core.breaker import AutoRollback, Breaker, RollbackRule, State, observe
from canary_sdk.core.judge.batch import Batch, Side
from canary_sdk.core.judge.decision import Action, decide
from canary_sdk.core.judge.sequential import Stage, Terms, learn, open_case, weigh
from canary_sdk.core.judge.sequential import start as start_case
from canary_sdk.core.judge.slo import limits_of
from canary_sdk.core.judge.tally import EMPTY, Tally
from canary_sdk.core.judge.verdict import Arms, judge
from canary_sdk.core.plan import parse_plan
from canary_sdk.core.rollout.advance import advance, ruling
from canary_sdk.core.rollout.grounds import Evidence, Judgement, Now, Standing, standing_of
from canary_sdk.core.rollout.journal import Configuration, Consent, Interval, Judged, Weighed
from canary_sdk.core.rollout.orders import approve, start
from canary_sdk.core.rollout.setting import Setting
from canary_sdk.core.rollout.state import By, Rollout, Status, transition
from canary_sdk.evidence.report import to_html, to_markdown
from canary_sdk.evidence.rollout import record_of
from canary_sdk.ports import Stamp
from canary_sdk.stores.memory import MemoryStore
from canary_sdk.stores.repository import DocumentRepository

if TYPE_CHECKING:
    from collections.abc import Sequence

    from canary_sdk.core.judge.sequential import Case
    from canary_sdk.core.plan import Plan
    from canary_sdk.core.rollout.journal import Record
    from canary_sdk.ports import JournalEntry, Repository

Floats = NDArray[np.float64]

KEY: Final = "new-checkout"
WALL: Final = 1_750_000_000.0
NORMAL: Final = NormalDist()
SHOWN: Final = (0.5, 0.95, 0.99)
FAR: Final = 8.0
"""So many deviations beyond the median and the 99th percentile nobody comes."""
PILOT: Final = 50_000
"""So many intervals are drawn to find the traffic of given averages."""
SCORES: Final = np.linspace(-FAR, FAR, 20_001)
SHARES: Final = np.array([NORMAL.cdf(score) for score in SCORES])
LEARNT_S: Final = 600
"""So long the baseline is looked at before the first stage."""


@dataclass(frozen=True)
class Traffic:
    """How requests fare, on both arms: seconds at the median, at p95 and at p99, and how many fail.

    The logarithm of the time is a straight line between these, by normal scores.
    """

    p50: float
    p95: float
    p99: float
    errors: float

    @classmethod
    def averaging(cls, p50: float, p95: float, p99: float, errors: float, requests: float) -> Traffic:
        """Return traffic whose quantiles over intervals of so many requests are these on average.

        The quantile of a few requests lies, on average, a little beside that of all.
        """
        rng = np.random.default_rng(0)
        drawn = np.array([_quantiles(rng, q, round(requests)) for q in SHOWN])
        found = cls(p50, p95, p99, errors)
        for _ in range(4):
            m50, m95, m99 = found.at(drawn).mean(axis=1).tolist()
            found = cls(found.p50 * p50 / m50, found.p95 * p95 / m95, found.p99 * p99 / m99, errors)
        return found

    @property
    def _line(self) -> tuple[Floats, Floats]:
        """Return the corners of the line, two of them far outside."""
        scores, times = np.array([NORMAL.inv_cdf(q) for q in SHOWN]), np.log([self.p50, self.p95, self.p99])
        slopes = np.diff(times) / np.diff(scores)
        ends = times[0] - FAR * slopes[0], times[-1] + FAR * slopes[-1]
        return np.array([scores[0] - FAR, *scores, scores[-1] + FAR]), np.array([ends[0], *times, ends[1]])

    def at(self, shares: Floats) -> Floats:
        """Return the times that these shares of requests do not exceed."""
        return np.exp(np.interp(np.interp(shares, SHARES, SCORES), *self._line))

    def within(self, times_s: Sequence[float]) -> list[float]:
        """Return the shares of requests that take at most so long."""
        scores, times = self._line
        return [NORMAL.cdf(score) for score in np.interp(np.log(times_s), times, scores)]


def _quantiles(rng: np.random.Generator, q: float, count: int) -> Floats:
    """Draw the quantile of so many uniform numbers, many times: between two neighbours in their order."""
    rank, part = int((count - 1) * q) + 1, (count - 1) * q % 1
    lower = rng.beta(rank, count + 1 - rank, PILOT)
    return lower + part * (1 - lower) * rng.beta(1, count - rank, PILOT)


class Arm:
    """What one arm did in an interval: the ranks of its requests' times, in order, and how many failed."""

    def __init__(self, rng: np.random.Generator, traffic: Traffic, requests: float, seconds: float) -> None:
        """Draw every request."""
        self.traffic = traffic
        self.seconds = seconds
        self.count = int(rng.poisson(requests))
        self.ranks = np.sort(rng.random(self.count))
        self.errors = int(rng.binomial(self.count, traffic.errors))

    def _within(self, times_s: Sequence[float]) -> list[int]:
        found: list[int] = np.searchsorted(self.ranks, self.traffic.within(times_s), side="right").tolist()
        return found

    def tally(self, limits: Sequence[float]) -> Tally:
        """Count it as the runtime does."""
        over = {limit: self.count - within for limit, within in zip(limits, self._within(limits), strict=True)}
        times = self.traffic.at(np.quantile(self.ranks, SHOWN)).tolist() if self.count else ()
        return Tally(self.count, self.errors, 0, self.seconds, over, dict(zip(SHOWN, times, strict=False)))

    def side(self, edges: Sequence[float]) -> Side:
        """Count it as the sequential judge asks for it."""
        cuts = [0, *self._within(edges), self.count]
        return Side((tuple(after - before for before, after in pairwise(cuts)),), self.count, self.errors)


@dataclass
class Release:
    """One rollout, from its start to its end, stored as it goes.

    `traffic` is that of stage 0, 1, 2, …; `approvals` are given as soon as their stage is the next one. In an interval
    that is `lost` no process was there.
    """

    setting: Setting
    traffic: Sequence[Traffic]
    repository: Repository
    rate: float = 125.0
    seed: int = 1
    approvals: Sequence[tuple[int, str, str]] = ()
    lost: frozenset[int] = frozenset()
    state: Rollout = field(default_factory=lambda: Rollout(flag_key=KEY))
    now: float = WALL
    intervals: int = 0

    def run(self) -> Rollout:
        """Run it to its end."""
        self.rng = np.random.default_rng(self.seed)
        self.breaker = Breaker(KEY)
        self.case = self._learnt()
        self.baseline = self._baseline()
        by = By("ana", self.now, "ready")
        after, _ = start(self.setting.plan, self.state, by)
        configured = Configuration(flag_key=KEY, at=self.now, version=7, fields=self.setting.to_fields(), who="ana")
        self._store(after, [configured])
        while not self.state.is_settled:
            self._tick()
        return self.state

    # --- one interval ---

    def _tick(self) -> None:
        plan, policy = self.setting.plan, self.setting.policy
        self.now += policy.interval_s
        self.intervals += 1
        if self.intervals in self.lost:
            return
        self._consent()
        records: list[Record] = []
        judgement = self._judged(records) if 0 < self.state.stage <= plan.last else None
        trip = "" if self.breaker.state is State.CLOSED else self.breaker.reason
        evidence = Evidence(judgement=judgement, trip=trip, baseline=self.baseline)
        step = advance(plan, self.state, evidence, Now(policy.interval_s, self.now))
        told = ruling(self.state, step, self.now)
        if step.state.stage != self.state.stage and step.state.stage <= plan.last:
            self.case = start_case(self.case, step.state.stage - 1)
        self._store(step.state, [*records, *([told] if told else [])])

    def _judged(self, records: list[Record]) -> Judgement:
        policy, state = self.setting.policy, self.state
        hard, soft = self.setting.hard_in(state.stage), self.setting.soft_in(state.stage)
        share, seconds = state.percent / 100, policy.interval_s
        traffic = self.traffic[state.stage]
        mine = Arm(self.rng, traffic, self.rate * seconds * share, seconds)
        other = Arm(self.rng, traffic, self.rate * seconds * (1 - share), seconds) if share < 1 else None
        limits = limits_of((*hard, *soft), policy.tolerance)
        arms = Arms(mine.tally(limits), other.tally(limits) if other else None)
        verdict = judge(
            (*hard, *soft),
            arms,
            total=arms.candidate + (arms.baseline or EMPTY),
            share=share,
            tolerance=policy.tolerance,
            min_samples=policy.min_samples,
        )
        self.breaker, _ = observe(self.breaker, verdict.without(soft), policy, self.now, self.now)
        weighed, sequential = self._weigh(mine, other)
        names: dict[str, Any] = {"flag_key": KEY, "at": self.now, "attempt": state.attempt, "stage": state.stage}
        records.append(Interval(**names, candidate=arms.candidate, baseline=arms.baseline))
        records.append(Judged(**names, verdict=verdict, breaches=self.breaker.breaches, weighed=weighed))
        if policy.rule is RollbackRule.SEQUENTIAL:
            return sequential
        sustained = self.breaker.breaches >= policy.breaches
        return replace(sequential, standing=standing_of(verdict, soft), sentence=verdict.sentence, sustained=sustained)

    # --- the sequential judge ---

    def _learnt(self) -> Case:
        plan, policy = self.setting.plan, self.setting.policy
        stages = tuple(
            Stage(percent=plan.percent(number), longest_s=plan.bake_s(number), slos=self.setting.hard_in(number))
            for number in range(1, plan.last + 1)
        )
        case = open_case(Terms(stages=stages, tolerance=policy.tolerance))
        for _ in range(round(LEARNT_S / policy.interval_s)):
            arm = Arm(self.rng, self.traffic[0], self.rate * policy.interval_s, policy.interval_s)
            case = learn(case, Batch(seconds=policy.interval_s, baseline=arm.side(case.edges[0])))
        return start_case(case, 0)

    def _baseline(self) -> Tally:
        """Return what was counted of the baseline before the first stage."""
        rng, requests = np.random.default_rng(self.seed), self.rate * LEARNT_S
        limits = limits_of(self.setting.hard_in(1), self.setting.policy.tolerance)
        return Arm(rng, self.traffic[0], requests, LEARNT_S).tally(limits)

    def _weigh(self, mine: Arm, other: Arm | None) -> tuple[Weighed, Judgement]:
        baseline = other.side(self.case.edges[0]) if other else Side()
        served = mine.count + (other.count if other else 0)
        candidate = mine.side(self.case.candidate_edges[0])
        batch = Batch(seconds=mine.seconds, candidate=candidate, baseline=baseline, requests=served)
        self.case = weigh(self.case, batch)
        found = decide(self.case)
        says = "" if found.action is Action.CONTINUE else found.sentence
        judgement = Judgement(
            standing=_STANDINGS[found.action], stage=self.state.stage, seconds=mine.seconds, sentence=found.sentence
        )
        return Weighed(found.action, found.stream, found.log_e, says), judgement

    # --- storing ---

    def _consent(self) -> None:
        plan = self.setting.plan
        for stage, role, who in self.approvals:
            given = {(each.stage, each.role) for each in self.state.approvals}
            if stage == self.state.stage + 1 and (stage, role) not in given:
                by = By(who, self.now, "looks good")
                after, _ = approve(plan, self.state, role, by)
                attempt = after.attempt
                self._store(
                    after,
                    [Consent(flag_key=KEY, at=self.now, attempt=attempt, stage=stage, role=role, who=who, why=by.why)],
                )

    def _store(self, after: Rollout, records: Sequence[Record]) -> None:
        changed = transition(self.state, after, self.now)
        told = [changed] if changed else []
        # an order writes its change of state first, a tick after what it was judged by
        ordered = after.ordered != self.state.ordered
        lines = [*told, *records] if ordered else [*records[:-1], *told, *records[-1:]]
        self.repository.save_rollout(after, Stamp("simulation", after.reason, self.now), lines)
        self.state = after


_STANDINGS: Final = {Action.CONTINUE: Standing.GOOD, Action.HOLD: Standing.SHARED, Action.ROLLBACK: Standing.HARD}


# --- the plans ---


def a_plan(*stages: tuple[float, float, tuple[str, ...], tuple[str, ...]], scale: float = 1.0) -> Plan:
    """Return a plan of stages: percent, minutes, SLOs, roles that approve. `scale` shortens all of it."""
    return parse_plan(
        {
            "stages": [
                {"percent": percent, "bake": minutes * 60 * scale, "slos": list(slos), "approval": list(roles)}
                for percent, minutes, slos, roles in stages
            ]
        }
    )


def classic(policy: AutoRollback, repository: Repository, *, scale: float = 1.0, seed: int = 1) -> Release:
    """Return four stages, 5, 25, 50 and 100 %, for 1, 2, 4 and 24 hours, whose traffic slows down as it goes."""
    rate, floor = 125.0, "throughput > 50/s"
    promises = (
        ("500ms", "1000ms", "1%"),
        ("500ms", "1000ms", "1%"),
        ("450ms", "900ms", "0.8%"),
        ("400ms", "800ms", "0.5%"),
    )
    slos = [(f"p95 < {p95}", f"p99 < {p99}", f"errors < {errors}", floor) for p95, p99, errors in promises]
    shape = ((5.0, 60.0), (25.0, 120.0), (50.0, 240.0), (100.0, 1440.0))
    plan = a_plan(*((*each, slo, ()) for each, slo in zip(shape, slos, strict=True)), scale=scale)
    averages = (
        (0.149, 0.397, 0.740, 0.0032),
        (0.152, 0.402, 0.758, 0.0035),
        (0.157, 0.416, 0.790, 0.0039),
        (0.1648, 0.4335, 0.821, 0.00404),
    )
    counted = [rate * policy.interval_s * percent / 100 for percent, _ in shape]
    traffic = [Traffic.averaging(*each, count) for each, count in zip(averages, counted, strict=True)]
    return Release(Setting(plan, (), (), policy), [traffic[0], *traffic], repository, rate=rate, seed=seed)


def production(policy: AutoRollback, repository: Repository, *, scale: float = 1.0, seed: int = 1) -> Release:
    """Return five stages, 2, 10, 30, 60 and 100 %, for 2, 4, 8, 12 and 24 hours, two of which ask for an approval."""
    slos = ("p95 < 500ms", "p99 < 1000ms", "errors < 1%")
    shape = (
        (2.0, 120.0, ()),
        (10.0, 240.0, ()),
        (30.0, 480.0, ("sre-lead",)),
        (60.0, 720.0, ()),
        (100.0, 1440.0, ("product-owner",)),
    )
    plan = a_plan(*((percent, minutes, slos, roles) for percent, minutes, roles in shape), scale=scale)
    given = ((3, "sre-lead", "grace"), (5, "product-owner", "edsger"))
    steady = [Traffic(0.149, 0.397, 0.740, 0.0032)] * (len(shape) + 1)
    return Release(Setting(plan, (), (), policy), steady, repository, rate=40.0, seed=seed, approvals=given)


PLANS: Final = {"classic": classic, "production": production}


def journal_of(repository: Repository) -> list[JournalEntry]:
    """Read all that was written down."""
    entries: list[JournalEntry] = []
    while page := repository.journal(KEY, after=entries[-1].id if entries else 0):
        entries += page
    return entries


def main() -> int:
    """Run one rollout and print its report; return 0 if it was promoted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollout", description=__doc__)
    parser.add_argument("--plan", choices=PLANS, default="classic")
    parser.add_argument("--tolerance", type=float, default=10.0, metavar="PERCENT")
    parser.add_argument("--rule", type=RollbackRule, choices=list(RollbackRule), default=RollbackRule.SEQUENTIAL)
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--html", type=Path, help="write the report as a page as well")
    asked = parser.parse_args()
    repository = DocumentRepository(MemoryStore(), "simulation")
    policy = AutoRollback(tolerance=asked.tolerance / 100, rule=asked.rule)
    release = PLANS[asked.plan](policy, repository, seed=asked.seed)
    began = time.perf_counter()
    state = release.run()
    hours = (release.now - WALL) / 3600
    print(f"{hours:.1f} hours in {time.perf_counter() - began:.1f} s: {state.describe(release.now)}", file=sys.stderr)
    record = record_of(journal_of(repository), KEY, "simulation")
    print(to_markdown(record))
    if asked.html:
        asked.html.write_text(to_html(record), encoding="utf-8")
    return 0 if state.status is Status.PROMOTED else 1


if __name__ == "__main__":
    sys.exit(main())
