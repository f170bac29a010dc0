"""What of a flag is on trial: the stages of its release, and which of them runs. Values; they start nothing.

A release follows a plan, whose stages are known beforehand, or people set the percentage by hand. Then nobody knows
how many stages there will be, so the promise is divided among all that may come, the first the most: stage 1, 2, 3, …
may use up 1/2, 1/6, 1/12, … of it, 1/(n(n+1)), which add up to 1. A percentage that stands for longer than a day begins
another such stage, so that a fault that begins later is still looked for.

A probe of a breaker that is half open is a release of its own, by hand; so is what another tool gives to users whom it
chooses, for as long as it does.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from canary_sdk.core.flags.bucketing import seed_of
from canary_sdk.core.flags.flag import held_back
from canary_sdk.core.flags.schemes import Bucketing
from canary_sdk.core.judge.cells import MOST_EDGES, QUANTILES
from canary_sdk.core.judge.sequential import Stage, Terms
from canary_sdk.core.judge.slo import Metric
from canary_sdk.core.judge.streams import Grant
from canary_sdk.core.plan import Plan
from canary_sdk.core.rollout.state import Status, led_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from canary_sdk.core.breaker import AutoRollback
    from canary_sdk.core.flags.flag import Flag
    from canary_sdk.core.judge.slo import Slo
    from canary_sdk.core.rollout.state import Rollout

    GrantOf = Callable[[float | None], Grant]
    """What is granted to the candidates of a percentage."""

UNIT: Final = "unit"
"""The kind that is units of work."""
BY_HAND_S: Final = 86_400.0
"""How long a percentage that was set by hand is one stage."""
LEAST_PLANNED_S: Final = 7 * 86_400.0
"""For so long at least a planned stage may be held, whatever its plan hopes for."""
FIRST: Final = 5.0
"""The percentage whose users are looked at before a release that nobody has planned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The release of one flag. `running` is the index of the stage that is served; None while nobody is.

    `seed` says who will be the candidates, if `is_ours`; else another tool's way does. `soft` are the names of the
    streams that can only hold. `attempt` counts how often a plan was begun. `noise` is what an operator kept.
    """

    seed: int
    stages: tuple[Stage, ...]
    soft: frozenset[str] = frozenset()
    running: int | None = None
    is_planned: bool = False
    attempt: int = 0
    noise: Mapping[str, float] = field(default_factory=dict)
    is_ours: bool = True
    is_probe: bool = False

    @property
    def percent(self) -> float | None:
        """What is served now; None if another tool knows."""
        return 0.0 if self.running is None else self.stages[self.running].percent

    @property
    def first(self) -> float:
        """The percentage whose users are the first to get the candidate, as far as that is known."""
        return (self.stages[0].percent if self.is_planned else None) or FIRST

    @property
    def judged(self) -> tuple[str, ...]:
        """What has to be counted for the sequential judge, each kind by what `Slo.counts` calls it, units first.

        A kind with more latency limits than there is room for is left out; so is what only the service promises.
        """
        kinds: dict[str, set[float]] = {}
        for slo in (slo for stage in self.stages for slo in stage.promises):
            kinds.setdefault(slo.counts, set()).update({slo.limit} if slo.metric is Metric.LATENCY else ())
        found = [kind for kind, limits in kinds.items() if len(limits) <= MOST_EDGES - len(QUANTILES)]
        return tuple(sorted(found, key=lambda kind: kind != UNIT))

    @property
    def identity(self) -> tuple[object, ...]:
        """What two releases have in common if evidence about the one is evidence about the other."""
        if self.is_planned:
            return self.seed, self.is_ours, self.soft, self.stages, self.attempt
        return self.seed, self.is_ours, self.soft, self.stages[0].slos, self.is_probe

    def probed(self, percent: float, longest_s: float) -> Release:
        """Return what is on trial while the breaker is half open, and a percentage of all buckets may be let in."""
        stage = self.stages[self.running or 0]
        share = None if self.running is None else min(percent, stage.percent or 0.0)
        stages = (replace(stage, percent=share, longest_s=longest_s),)
        return replace(self, stages=stages, running=0, is_planned=False, is_probe=True)

    def given_elsewhere(self) -> Release:
        """Return what is on trial while another tool gives the candidate to users whom it chooses."""
        stages = (replace(self.stages[0], percent=None, longest_s=BY_HAND_S),)
        return replace(self, stages=stages, running=0, is_planned=False, is_ours=False)


def release_of(flag: Flag, rollout: Rollout | None = None, holdback: float = 0.0) -> Release:
    """Return what is on trial of a flag.

    Where a rollout follows its plan that is the flag as declared, of which `holdback` percent stay on the baseline in
    any case; else it is the flag as it is served.
    """
    plan = flag.plan
    make = partial(
        Release, seed=seed_of(flag.salt or flag.key), noise=flag.noise, is_ours=flag.bucketing is Bucketing.CANARY
    )
    if rollout is None or rollout.status is Status.IDLE or not isinstance(plan, Plan):
        slos, soft = _sorted_out([flag])
        stage = Stage(percent=flag.rollout, longest_s=BY_HAND_S, slos=slos[0])
        return make(stages=(stage,), soft=soft, running=0 if flag.rollout > 0 else None)
    served = [
        held_back(led_by(flag, replace(rollout, stage=stage, percent=plan.percent(stage))), holdback)
        for stage in range(1, plan.last + 2)
    ]
    slos, soft = _sorted_out(served)
    lengths = [*(each.bake_s + (each.deadline_s or 0.0) for each in plan.stages), plan.watch_s]
    stages = tuple(
        Stage(percent=each.rollout, longest_s=max(length, LEAST_PLANNED_S), slos=kept)
        for each, length, kept in zip(served, lengths, slos, strict=True)
    )
    serves = rollout.stage > 0 and rollout.percent > 0
    running = min(rollout.stage, len(stages)) - 1 if serves else None
    return make(stages=stages, soft=soft, running=running, is_planned=True, attempt=rollout.attempt)


def terms_of(
    release: Release,
    policy: AutoRollback,
    grant_of: GrantOf = lambda _: Grant(),
    *,
    kind: str = UNIT,
    noise: Mapping[str, float] | None = None,
    number: int = 1,
) -> Terms:
    """Return by what one kind is judged. Of a release by hand it is the stage of that `number`, counted from 1.

    `noise` is what was learnt; where an operator had more measured, that counts.
    """
    found = noise or {}
    stages = tuple(
        replace(stage, slos=tuple(slo for slo in stage.slos if slo.counts == kind), grant=grant_of(stage.percent))
        for stage in release.stages
    )
    return Terms(
        stages=stages,
        tolerance=policy.tolerance,
        soft=release.soft,
        noise={name: max(found.get(name, 0.0), release.noise.get(name, 0.0)) for name in {**found, **release.noise}},
        shares=() if release.is_planned else (1 / (number * (number + 1)),),
    )


def _sorted_out(served: Iterable[Flag]) -> tuple[list[tuple[Slo, ...]], frozenset[str]]:
    """Return what is judged in each stage, one SLO a stream, and the names of those that can only hold.

    Where one measure has a hard and a soft SLO, in whichever stages, the hard one is judged; of two, the stricter.
    """
    stages = [(_strictest(flag.slos), _strictest(flag.soft)) for flag in served]
    names = {slo.name for hard, _ in stages for slo in hard}
    kept = [(*hard, *(slo for slo in soft if slo.name not in names)) for hard, soft in stages]
    return kept, frozenset(slo.name for _, soft in stages for slo in soft if slo.name not in names)


def _strictest(slos: Iterable[Slo]) -> Iterable[Slo]:
    """Return one SLO for each measure, and of an indicator one for each of its two sides."""
    found: dict[tuple[str, bool], Slo] = {}
    for slo in slos:
        key = slo.name, slo.cut is not None and slo.cut.below
        if key not in found or _is_stricter(slo, found[key]):
            found[key] = slo
    return found.values()


def _is_stricter(slo: Slo, old: Slo) -> bool:
    if slo.cut is None or old.cut is None or slo.cut == old.cut:
        return slo.limit > old.limit if slo.metric is Metric.THROUGHPUT else slo.limit < old.limit
    return slo.cut.value > old.cut.value if slo.cut.below else slo.cut.value < old.cut.value
