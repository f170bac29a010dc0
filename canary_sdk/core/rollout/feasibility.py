"""What can be known of a plan before it starts: who can approve it, what its traffic can show. Nothing is measured."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final

from canary_sdk.core.breaker import RollbackRule
from canary_sdk.core.judge.slo import Metric, say_number, say_rate, say_seconds
from canary_sdk.core.reading import hint
from canary_sdk.core.rollout.state import person
from canary_sdk.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from canary_sdk.core.breaker import AutoRollback
    from canary_sdk.core.flags.flag import Flag
    from canary_sdk.core.judge.slo import Slo
    from canary_sdk.core.plan import Plan, Stage

FALSE_ALARM: Final = 0.01
"""How often a healthy candidate may be blamed, over a whole rollout."""

ODDS: Final = 2.0
"""How much worse a candidate is that a stage must be able to tell: odds of a bad request that are doubled."""


def samples_needed(slo: Slo) -> float:
    """Return how many requests it takes at least to tell a promise that is kept from one that is badly broken.

    A quantile SLO is a promise about a share of bad requests: p95 allows p0 = 0.05, `errors < 1%` allows 0.01. Let the
    candidate have p1, of which the odds are doubled: p1 = 2 p0 / (1 - p0 + 2 p0). One request brings on average
    KL(p1, p0) = p1 ln(p1/p0) + (1 - p1) ln((1-p1)/(1-p0)) nats of evidence, and ln(1/alpha) are needed, so no
    sequential test that errs with probability alpha at most decides with fewer than ln(1/alpha) / KL requests on
    average (Wald 1945; Lorden 1971 for a fault that begins late). What a real judge needs lies above: this says what
    cannot be done, never what can. p99 takes some 1,220, p95 some 270, p50 some 80; throughput, the service's, none.
    """
    if slo.metric is Metric.THROUGHPUT:
        return 0.0
    kept = slo.limit if slo.quantile is None else 1 - slo.quantile
    broken = ODDS * kept / (1 - kept + ODDS * kept)
    divergence = broken * math.log(broken / kept) + (1 - broken) * math.log((1 - broken) / (1 - kept))
    return -math.log(FALSE_ALARM) / divergence


def expected_samples(plan: Plan, rate: float) -> tuple[float, ...]:
    """Return how many requests the candidate gets in each stage after its warm-up, at `rate` requests a second."""
    return tuple(
        rate * plan.percent(number) / 100 * (stage.bake_s - plan.warmup_s)
        for number, stage in enumerate(plan.stages, start=1)
    )


def check_rollout(
    flag: Flag,
    plan: Plan,
    policy: AutoRollback,
    *,
    rate: float | None = None,
    roles: Mapping[str, Collection[str]] | None = None,
    zones: Collection[str] | None = None,
    starter: str = "",
) -> tuple[Problem, ...]:
    """Return what will not work in the rollout of a flag, before it starts; as `check_plan`, and of the flag itself."""
    in_a_row = 0 if policy.rule is RollbackRule.SEQUENTIAL else policy.min_samples
    plan_problems = check_plan(
        plan, rate=rate, slos=flag.slos, roles=roles, zones=zones, starter=starter, min_samples=in_a_row
    )
    few = _too_few(plan, rate, policy.min_samples) if rate and policy.rule is RollbackRule.SEQUENTIAL else ()
    return (*_about_flag(flag, plan, policy), *plan_problems, *few)


def _too_few(plan: Plan, rate: float, min_samples: int) -> Iterator[Problem]:
    """Name the stages in which the sequential judge would have heard of too few requests to let them be left."""
    for index, expected in enumerate(expected_samples(plan, rate)):
        if expected < min_samples:
            yield Problem(
                ("stages", str(index), "bake"),
                f"at {_requests(rate)} the candidate gets {expected:.0f} requests in this stage, "
                f"and {min_samples} are needed before it is left",
            )


def _about_flag(flag: Flag, plan: Plan, policy: AutoRollback) -> Iterator[Problem]:
    """Name what keeps every stage from its evidence: nobody is served, nothing is promised, or looked at too seldom."""
    if not flag.enabled:
        yield Problem(("enabled",), "found false: nobody would be served, and so nothing be shown")
    for number in range(1, plan.last + 1):
        if not plan.slos(number) and not [slo for slo in flag.slos if slo not in plan.soft(number)]:
            message = "found neither here nor in the flag an SLO that is not soft: nothing would ever be judged"
            yield Problem(("stages", str(number - 1), "slos"), message)
    if policy.rule is not RollbackRule.SEQUENTIAL and plan.fresh_s < policy.interval_s:
        yield Problem(
            ("interval",),
            f"found a judgement to be {plan.fresh_s:g} s old at most, and there is one every {policy.interval_s:g} s: "
            "most would be too old",
        )


def check_plan(
    plan: Plan,
    *,
    rate: float | None = None,
    slos: tuple[Slo, ...] = (),
    roles: Mapping[str, Collection[str]] | None = None,
    zones: Collection[str] | None = None,
    starter: str = "",
    min_samples: int = 0,
) -> tuple[Problem, ...]:
    """Return what will not work, before it starts; each at the path where the plan says so.

    `rate` is the expected traffic of the flag in requests a second, `slos` the flag's own promises, `roles` the people
    who have each role, `zones` the time zones that the machine knows, `starter` who has started it, if anybody has, and
    `min_samples` what a judge that looks at one interval alone asks of it. What is None is not known and not checked.
    """
    found = [*_about_roles(plan, roles, starter), *_about_zones(plan, zones)]
    if rate is not None:
        found += _about_traffic(plan, rate, slos, min_samples)
    return tuple(found)


def _about_roles(plan: Plan, roles: Mapping[str, Collection[str]] | None, starter: str) -> Iterator[Problem]:
    """Name roles that nobody has, and those that too few people share to give all their approvals."""
    if roles is None:
        return
    silent = {person(starter)} if plan.four_eyes and starter else set()
    for index, stage in enumerate(plan.stages):
        place = ("stages", str(index), "approval")
        holders = [frozenset(map(person, roles.get(role, ()))) - silent for role in stage.approval]
        for at, role in enumerate(stage.approval):
            if not roles.get(role):
                known = sorted(name for name, holders in roles.items() if holders)
                yield Problem((*place, str(at)), f"found {role!r}, which nobody has{hint(role, known)}")
            elif not holders[at]:
                message = f"found {role!r}, which only {starter} has, who started it and so may not agree"
                yield Problem((*place, str(at)), message)
        if plan.four_eyes and all(holders) and not _can_all_agree(holders):
            message = f"found {len(stage.approval)} roles that overlap: too few people have them, one each is needed"
            yield Problem(place, message)


def _can_all_agree(holders: Sequence[Collection[str]]) -> bool:
    """Tell whether each role can speak through another person: by augmenting paths (Kuhn 1955)."""
    speaks: dict[str, int] = {}

    def seat(role: int, asked: set[str]) -> bool:
        """Find somebody for a role, if need be by finding somebody else for theirs."""
        for who in holders[role]:
            if who not in asked:
                asked.add(who)
                if who not in speaks or seat(speaks[who], asked):
                    speaks[who] = role
                    return True
        return False

    return all(seat(role, set()) for role in range(len(holders)))


def _about_zones(plan: Plan, zones: Collection[str] | None) -> Iterator[Problem]:
    for index, window in enumerate(plan.blackout):
        if zones is not None and window.zone not in zones:
            near = hint(window.zone, list(zones))
            yield Problem(("blackout", str(index)), f"found the time zone {window.zone!r}, which is not known{near}")


def _about_traffic(plan: Plan, rate: float, slos: tuple[Slo, ...], min_samples: int) -> Iterator[Problem]:
    """Name the promises that the expected traffic can never decide."""
    for index, (stage, expected) in enumerate(zip(plan.stages, expected_samples(plan, rate), strict=True)):
        place = ("stages", str(index), "bake")
        yield from map(partial(Problem, place), _undecidable((stage.slos or slos) + stage.soft, stage, rate, expected))
        in_one = rate * plan.percent(index + 1) / 100 * plan.interval_s
        if in_one < min_samples:
            yield Problem(
                ("stages", str(index), "percent"),
                f"at {_requests(rate)} the candidate gets {say_number(in_one)} requests in an interval of "
                f"{plan.interval_s:g} s, and {min_samples} are needed: every verdict would be INCONCLUSIVE",
            )


def _undecidable(slos: tuple[Slo, ...], stage: Stage, rate: float, expected: float) -> Iterator[str]:
    for slo in slos:
        if slo.metric is Metric.THROUGHPUT and rate < slo.limit:
            yield f"at {_requests(rate)} this stage cannot keep throughput > {say_rate(slo.limit)}"
        elif slo.of == "unit" and expected < (needed := samples_needed(slo)):
            yield (
                f"at {_requests(rate)} this stage cannot show {slo.name} in {_time(stage.bake_s)}: "
                f"it gets {expected:.0f} requests, and at least {math.ceil(needed)} are needed"
            )


def _time(seconds: float) -> str:
    return f"{say_number(seconds / 60)} minutes" if seconds > 60 else say_seconds(seconds)


def _requests(rate: float) -> str:
    return f"{say_number(rate)} req/s"
