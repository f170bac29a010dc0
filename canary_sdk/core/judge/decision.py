"""What follows from a case, in one sentence and in numbers: continue, hold or roll back. It changes nothing.

Where units of work, calls and indicators have promises to keep, each kind is a case of its own, and all of them are
decided on together: what counts is the average of all their streams.

What follows from the evidence is a table, first row that holds:

    the comparison says worse, in a hard SLO                        ROLLBACK
    nobody is left to compare with, and a limit is exceeded         ROLLBACK   by the frozen baseline, a weaker promise
    the split between the arms is not what was asked for            HOLD       the comparison is not to be trusted
    a part of the baseline looks worse than the rest of it          HOLD       the comparison is not to be trusted
    the comparison says worse, in a soft SLO                        HOLD
    the candidate exceeds a limit, the comparison does not blame    HOLD       an incident, or a limit that is too tight
    the whole service serves less than it must                      HOLD       never the candidate's blame
    else                                                            CONTINUE
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from canary_sdk.core.judge.eprocess import ENOUGH, log_mean
from canary_sdk.core.judge.evalues import Pair, log_split
from canary_sdk.core.judge.sequential import Stream
from canary_sdk.core.judge.slo import Metric, say_number, say_ratio, say_seconds
from canary_sdk.core.judge.streams import is_shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from canary_sdk.core.judge.sequential import Case
    from canary_sdk.core.judge.slo import Slo
    from canary_sdk.core.judge.verdict import Verdict


WORSE: Final = "if the candidate is worse than the baseline"


class Action(StrEnum):
    """What follows from the evidence."""

    CONTINUE = "CONTINUE"
    HOLD = "HOLD"
    ROLLBACK = "ROLLBACK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What follows, and from what.

    `stream` is the one that speaks loudest for it, `log_e` the evidence that decided and `needed` what it takes, both
    in nats. `candidate` and `baseline` are the arms' counts since `seconds` ago, when the evidence began to rise, of
    `things`, and `counted` says which of them. `then` is what the evidence speaks for; `why` takes the place of all
    this where it is not about two arms. `is_soft` says that it is about a soft SLO, `assumes` what the comparison had
    to take for granted, `hosts` how many were heard.
    """

    action: Action
    stream: str
    log_e: float
    needed: float
    candidate: Pair
    baseline: Pair
    seconds: float
    limit: str
    things: str = "requests"
    counted: str = ""
    then: str = ""
    why: str = ""
    classic: str = ""
    is_soft: bool = False
    assumes: str = ""
    hosts: int = 1

    @property
    def sentence(self) -> str:
        """The decision in one sentence, with its numbers."""
        classic = f"the classic rule says {self.classic}" if self.classic else ""
        together = f"added up over {self.hosts} hosts" if self.hosts > 1 else ""
        return "; ".join(filter(None, (self.why or self._comparison, together, self.assumes, classic)))

    @property
    def _comparison(self) -> str:
        """What was counted on both arms, and how strongly it speaks."""
        before = "nothing speaks against the candidate: " if self.action is Action.CONTINUE else ""
        counts = f"{_share(self.candidate)} of the candidate's {self.things}, {_share(self.baseline)} of the baseline's"
        strength = f"{_odds(self.log_e, self.needed)} as likely {self.then}"
        return f"{before}{self.stream}: {counts} {self.counted}, in {say_seconds(self.seconds)}; this is {strength}"

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON types, for reports and the journal."""
        return {
            "action": self.action.value,
            "stream": self.stream,
            "log_e": self.log_e,
            "needed": self.needed,
            "candidate": list(self.candidate),
            "baseline": list(self.baseline),
            "seconds": self.seconds,
            "limit": self.limit,
            "sentence": self.sentence,
        }


class Said(NamedTuple):
    """What one stream of a case says."""

    case: Case
    name: str
    stream: Stream


def decide(*cases: Case, self_test: Sequence[Case] = (), classic: Verdict | None = None) -> Decision:
    """Say what follows from the evidence so far: the first row of the table that holds.

    The first of the cases is asked about users and traffic, all of them about their streams. `self_test` are the same
    cases with a part of the baseline as the candidate. `classic` is what the interval rule says of the same time; it is
    only quoted. May be called at any time. Cost: about 20 us, and 5 us more for each further case.
    """
    first = cases[0]
    hard, soft = _relative(cases, soft=False), _relative(cases, soft=True)
    absolute = _absolute(cases)
    found = (
        _worse(hard)
        or (None if first.now.compares else _exceeded(absolute))
        or _split(first)
        or _tested(self_test)
        or _softly(soft)
        or _incident(absolute)
        or _starved(first)
        or _nothing(first, (hard or soft) if first.now.compares else (_hard(absolute) or absolute))
    )
    return replace(found, classic=f"{classic.outcome.name} ({classic.sentence})") if classic else found


def _relative(cases: Iterable[Case], *, soft: bool) -> list[Said]:
    """Return what the comparisons say, in hard or in soft streams."""
    return [
        Said(case, *each) for case in cases for each in case.relative.items() if case.terms.is_soft(each[0]) is soft
    ]


def _absolute(cases: Iterable[Case]) -> list[Said]:
    """Return what the limits say."""
    return [Said(case, *each) for case in cases for each in case.absolute.items()]


def _hard(said: Sequence[Said]) -> list[Said]:
    return [each for each in said if not each.case.terms.is_soft(each.name)]


def _worse(hard: Sequence[Said]) -> Decision | None:
    return _found(Action.ROLLBACK, hard, WORSE)


def _softly(soft: Sequence[Said]) -> Decision | None:
    found = _found(Action.HOLD, soft, WORSE)
    return None if found is None else replace(found, is_soft=True)


def _exceeded(absolute: Sequence[Said]) -> Decision | None:
    """Without a baseline, the hard limits decide alone."""
    then = "if the limit is exceeded; nobody is left on the baseline to compare with"
    return _found(Action.ROLLBACK, _hard(absolute), then)


def _incident(absolute: Sequence[Said]) -> Decision | None:
    """Tell of a limit that is exceeded, and for which nobody is blamed."""
    then = "if the limit is exceeded; the comparison does not blame the candidate"
    return _found(Action.HOLD, absolute, then)


def _found(action: Action, said: Sequence[Said], then: str) -> Decision | None:
    """Say that the average of these streams suffices, if it does."""
    log_e = log_mean([each.stream.log_e for each in said])
    return _loudest(action, said, log_e, then) if said and log_e >= _needed(said[0].case) else None


def _nothing(first: Case, said: Sequence[Said]) -> Decision:
    """Nothing speaks loud enough; say what speaks loudest."""
    if not said:
        why = "there is nothing to judge: no SLOs"
        return _decision(Action.CONTINUE, Said(first, "", Stream()), (0.0, _needed(first)), why=why)
    return _loudest(Action.CONTINUE, said, log_mean([each.stream.log_e for each in said]), "if it is worse")


def _loudest(action: Action, said: Sequence[Said], log_e: float, then: str) -> Decision:
    loudest = max(said, key=lambda each: each.stream.log_e)
    return _decision(action, loudest, (log_e, _needed(loudest.case)), then=then)


def _needed(case: Case) -> float:
    return -math.log(case.terms.alpha)


def _split(case: Case) -> Decision | None:
    """Distrust the comparison where the arms are not drawn as asked for."""
    mine, other = case.newcomers
    share, needed = (case.now.percent or 0.0) / 100, -math.log(case.terms.split_alpha)
    log_e = log_split(case.newcomers, (share, 1 - share)) if 0 < share < 1 else 0.0
    if log_e < needed:
        return None
    why = (
        f"{_share(Pair(mine, mine + other))} of the users were given the candidate, {say_ratio(share)} were to; "
        f"this is {_odds(log_e, needed)} as likely if something loses or moves users, so that the comparison is not to "
        f"be trusted"
    )
    found = Stream(candidate=Pair(mine, mine + other), seconds=case.judged_s)
    return _decision(Action.HOLD, Said(case, "split", found), (log_e, needed), why=why)


def _tested(self_test: Sequence[Case]) -> Decision | None:
    """Distrust the comparison where it also finds fault with a part of the baseline."""
    alarm = _worse(_relative(self_test, soft=False))
    if alarm is None:
        return None
    why = f"a part of the baseline looks worse than its rest, the comparison is not to be trusted: {alarm.sentence}"
    return replace(alarm, action=Action.HOLD, why=why)


def _starved(case: Case) -> Decision | None:
    """Tell that the whole service serves too little."""
    floor, slo, needed = case.floor, case.now.floor, _needed(case)
    if slo is None or floor.log_e < needed:
        return None
    why = (
        f"the whole service served {floor.candidate.total} requests in {say_seconds(floor.seconds)}, {slo.text} is "
        f"promised; this is {_odds(floor.log_e, needed)} as likely if the promise is broken"
    )
    return _decision(Action.HOLD, Said(case, slo.name, floor), (floor.log_e, needed), why=why)


def _decision(action: Action, said: Said, strength: tuple[float, float], *, then: str = "", why: str = "") -> Decision:
    case, name, stream = said
    slos = case.now.slos
    slo = next((each for each in slos if each.name == name), None)
    return Decision(
        action=action,
        stream=name,
        log_e=strength[0],
        needed=strength[1],
        candidate=stream.candidate,
        baseline=stream.baseline,
        seconds=stream.seconds,
        limit=slo.text if slo else "",
        things=_THINGS.get(slos[0].of, "values") if slos else "requests",
        counted="" if why else _counted(case, name, slo),
        then=then,
        why=why,
    )


_THINGS: Final = {"unit": "requests", "call": "calls"}


def _counted(case: Case, name: str, slo: Slo | None) -> str:
    """Say which of them were counted."""
    margin = f" (plus {say_ratio(case.terms.tolerance)} for the candidate)" if case.terms.tolerance else ""
    if is_shape(name):
        return f"were slower than the baseline's usual median{margin}"
    if slo is None or slo.metric is Metric.ERRORS:
        return "failed"
    if slo.bad:
        return f"were {slo.bad}"
    return f"took over {say_seconds(slo.limit)}{margin}"


def _share(pair: Pair) -> str:
    return f"{pair.bad} of {pair.total} ({say_ratio(pair.bad / pair.total)})" if pair.total else "none"


def _odds(log_e: float, needed: float) -> str:
    least = "at least " if log_e > ENOUGH - 4 else ""
    return f"{least}{say_number(math.exp(min(log_e, ENOUGH)))} times (limit {say_number(math.exp(needed))})"
