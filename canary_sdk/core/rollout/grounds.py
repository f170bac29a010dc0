"""What a rollout is moved on: what was judged, when, and what else is known at one tick. Values; they move nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from canary_sdk.core.judge.decision import Action
from canary_sdk.core.judge.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from canary_sdk.core.judge.decision import Decision
    from canary_sdk.core.judge.slo import Slo
    from canary_sdk.core.judge.tally import Tally
    from canary_sdk.core.judge.verdict import Finding, Verdict


class Standing(IntEnum):
    """What a judgement means to a rollout, ordered so that the worst is `max`. Only GOOD lets it go on."""

    GOOD = 0
    UNKNOWN = 1
    SOFT = 2
    SHARED = 3
    HARD = 4


def standing_of(verdict: Verdict, soft: Collection[Slo] = (), *, in_part: bool = False) -> Standing:
    """Tell what a verdict means where a breach of `soft` SLOs only holds; acceptable is good enough.

    Where only soft SLOs were looked at, nothing is known of the promises that count, unless the verdict is `in_part`:
    then somebody else looks at the others.
    """
    standings = [_standing(finding, soft) for finding in verdict.findings]
    if not in_part and all(finding.slo in soft for finding in verdict.findings):
        standings.append(Standing.UNKNOWN)
    return max(standings)


def _standing(finding: Finding, soft: Collection[Slo]) -> Standing:
    match finding.outcome:
        case Outcome.PASS | Outcome.ACCEPTABLE:
            return Standing.GOOD
        case Outcome.INCONCLUSIVE:
            return Standing.UNKNOWN
        case Outcome.BREACH:
            guilty = Standing.SOFT if finding.slo in soft else Standing.HARD
            return guilty if finding.blames else Standing.SHARED


def standing_after(decision: Decision, *, is_known: bool) -> Standing:
    """Tell what a decision of the sequential judge means.

    That nothing speaks against the candidate is good only if there were data: the judge says the same without any.
    """
    match decision.action:
        case Action.ROLLBACK:
            return Standing.HARD
        case Action.HOLD:
            return Standing.SOFT if decision.is_soft else Standing.SHARED
        case Action.CONTINUE:
            return Standing.GOOD if is_known else Standing.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What was last judged of the candidate, by whichever rule.

    It speaks of `seconds` that ended `age_s` ago, of `stage` and that stage's SLOs. A rule that wants several breaches
    in a row says that one is not `sustained` until they have come: such a breach holds, and does not abort.
    """

    standing: Standing
    stage: int
    seconds: float
    age_s: float = 0.0
    sentence: str = ""
    sustained: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known at one tick.

    `trip` is why the breaker is open, if it is. `killed` says that the kill switch is held or the flag disabled, or was
    since the last tick: nobody was served then, so no bake time has passed.
    `baseline` is asked for in stage 0 only; `under_way` is how many other rollouts are past it.
    """

    judgement: Judgement | None = None
    trip: str = ""
    killed: bool = False
    baseline: Tally | None = None
    under_way: int = 0


@dataclass(frozen=True, slots=True)
class Now:
    """How long this controller has watched the very state it asks about (`Mark.elapsed_s`), and what the clocks say.

    `at` is wall time in seconds, `local` the minute of the local week (Monday 00:00 is 0) by time zone.
    """

    elapsed_s: float
    at: float
    local: Mapping[str, int] = field(default_factory=dict)
