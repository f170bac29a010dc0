"""What follows from a case, in one sentence and in numbers: continue, hold or roll back. It changes nothing.

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
from typing import TYPE_CHECKING

from canary_sdk.core.judge.eprocess import ENOUGH, log_mean
from canary_sdk.core.judge.evalues import Pair, log_split
from canary_sdk.core.judge.sequential import Stream
from canary_sdk.core.judge.slo import say_number, say_ratio, say_seconds
from canary_sdk.core.judge.streams import SHAPE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from canary_sdk.core.judge.sequential import Case
    from canary_sdk.core.judge.verdict import Verdict


class Action(StrEnum):
    """What follows from the evidence."""

    CONTINUE = "CONTINUE"
    HOLD = "HOLD"
    ROLLBACK = "ROLLBACK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What follows, and from what.

    `stream` is the one that speaks loudest for it, `log_e` the evidence that decided and `needed` what it takes, both
    in nats. `candidate` and `baseline` are the arms' counts since `seconds` ago, when the evidence began to rise, and
    `counted` says of what. `then` is what the evidence speaks for; `why` takes the place of all this where it is not
    about two arms. `is_soft` says that it is about a soft SLO, `assumes` what the comparison had to take for granted.
    """

    action: Action
    stream: str
    log_e: float
    needed: float
    candidate: Pair
    baseline: Pair
    seconds: float
    limit: str
    counted: str = ""
    then: str = ""
    why: str = ""
    classic: str = ""
    is_soft: bool = False
    assumes: str = ""

    @property
    def sentence(self) -> str:
        """The decision in one sentence, with its numbers."""
        classic = f"the classic rule says {self.classic}" if self.classic else ""
        return "; ".join(filter(None, (self.why or self._comparison, self.assumes, classic)))

    @property
    def _comparison(self) -> str:
        """What was counted on both arms, and how strongly it speaks."""
        before = "nothing speaks against the candidate: " if self.action is Action.CONTINUE else ""
        counts = f"{_share(self.candidate)} of the candidate's requests, {_share(self.baseline)} of the baseline's"
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


def decide(case: Case, *, self_test: Case | None = None, classic: Verdict | None = None) -> Decision:
    """Say what follows from the evidence so far: the first row of the table that holds.

    `classic` is what the interval rule says of the same time; it is only quoted. May be called at any time.
    """
    rows = (_blamed, _exceeded, _split, _tested(self_test), _softly, _incident, _starved)
    found = next((decision for row in rows if (decision := row(case)) is not None), None) or _nothing(case)
    return replace(found, classic=f"{classic.outcome.name} ({classic.sentence})" if classic else "")


def _blamed(case: Case) -> Decision | None:
    return _compared(case, Action.ROLLBACK, soft=False)


def _softly(case: Case) -> Decision | None:
    found = _compared(case, Action.HOLD, soft=True)
    return None if found is None else replace(found, is_soft=True)


def _compared(case: Case, action: Action, *, soft: bool) -> Decision | None:
    """Find whether the comparison says worse, in the average of the hard or of the soft streams."""
    streams = {name: each for name, each in case.relative.items() if case.terms.is_soft(name) is soft}
    return _found(case, action, streams, "if the candidate is worse than the baseline")


def _exceeded(case: Case) -> Decision | None:
    """Without a baseline, the hard limits decide alone."""
    if case.now.compares:
        return None
    streams = {name: each for name, each in case.absolute.items() if not case.terms.is_soft(name)}
    then = "if the limit is exceeded; nobody is left on the baseline to compare with"
    return _found(case, Action.ROLLBACK, streams, then)


def _incident(case: Case) -> Decision | None:
    """Tell of a limit that is exceeded, and for which nobody is blamed."""
    then = "if the limit is exceeded; the comparison does not blame the candidate"
    return _found(case, Action.HOLD, case.absolute, then)


def _found(case: Case, action: Action, streams: Mapping[str, Stream], then: str) -> Decision | None:
    """Say that the average of these streams suffices, if it does."""
    needed = -math.log(case.terms.alpha)
    log_e = log_mean([each.log_e for each in streams.values()])
    return _loudest(case, action, streams, (log_e, needed), then) if log_e >= needed else None


def _nothing(case: Case) -> Decision:
    """Nothing speaks loud enough; say what speaks loudest."""
    streams = case.relative if case.now.compares else case.absolute
    hard = {name: each for name, each in streams.items() if not case.terms.is_soft(name)} or streams
    needed = -math.log(case.terms.alpha)
    if not hard:
        return _decision(case, Action.CONTINUE, "", Stream(), (0.0, needed), why="there is nothing to judge: no SLOs")
    log_e = log_mean([each.log_e for each in hard.values()])
    return _loudest(case, Action.CONTINUE, hard, (log_e, needed), "if it is worse")


def _loudest(
    case: Case, action: Action, streams: Mapping[str, Stream], strength: tuple[float, float], then: str
) -> Decision:
    name = max(streams, key=lambda each: streams[each].log_e)
    return _decision(case, action, name, streams[name], strength, counted=_counted(case, name), then=then)


def _split(case: Case) -> Decision | None:
    """Distrust the comparison where the arms are not drawn as asked for."""
    mine, other = case.newcomers
    share, needed = case.now.percent / 100, -math.log(case.terms.split_alpha)
    log_e = log_split(case.newcomers, (share, 1 - share)) if 0 < share < 1 else 0.0
    if log_e < needed:
        return None
    why = (
        f"{_share(Pair(mine, mine + other))} of the users were given the candidate, {say_ratio(share)} were to; "
        f"this is {_odds(log_e, needed)} as likely if something loses or moves users, so that the comparison is not to "
        f"be trusted"
    )
    found = Stream(candidate=Pair(mine, mine + other), seconds=case.judged_s)
    return _decision(case, Action.HOLD, "split", found, (log_e, needed), why=why)


def _tested(self_test: Case | None) -> Callable[[Case], Decision | None]:
    """Distrust the comparison where it also finds fault with a part of the baseline."""

    def row(_: Case) -> Decision | None:
        alarm = None if self_test is None else _blamed(self_test)
        if alarm is None:
            return None
        why = f"a part of the baseline looks worse than its rest, the comparison is not to be trusted: {alarm.sentence}"
        return replace(alarm, action=Action.HOLD, why=why)

    return row


def _starved(case: Case) -> Decision | None:
    """Tell that the whole service serves too little."""
    floor, slo, needed = case.floor, case.now.floor, -math.log(case.terms.alpha)
    if slo is None or floor.log_e < needed:
        return None
    why = (
        f"the whole service served {floor.candidate.total} requests in {say_seconds(floor.seconds)}, {slo.text} is "
        f"promised; this is {_odds(floor.log_e, needed)} as likely if the promise is broken"
    )
    return _decision(case, Action.HOLD, slo.name, floor, (floor.log_e, needed), why=why)


def _decision(  # noqa: PLR0913 (what a decision is made of)
    case: Case,
    action: Action,
    name: str,
    stream: Stream,
    strength: tuple[float, float],
    *,
    counted: str = "",
    then: str = "",
    why: str = "",
) -> Decision:
    return Decision(
        action=action,
        stream=name,
        log_e=strength[0],
        needed=strength[1],
        candidate=stream.candidate,
        baseline=stream.baseline,
        seconds=stream.seconds,
        limit=next((slo.text for slo in case.now.slos if slo.name == name), ""),
        counted=counted,
        then=then,
        why=why,
    )


def _counted(case: Case, name: str) -> str:
    """Say what was counted."""
    margin = f" (plus {say_ratio(case.terms.tolerance)} for the candidate)" if case.terms.tolerance else ""
    if name == SHAPE:
        return f"were slower than the baseline's usual median{margin}"
    slo = next((each for each in case.now.slos if each.name == name), None)
    if slo is None or slo.quantile is None:
        return "failed"
    return f"took over {say_seconds(slo.limit)}{margin}"


def _share(pair: Pair) -> str:
    return f"{pair.bad} of {pair.total} ({say_ratio(pair.bad / pair.total)})" if pair.total else "none"


def _odds(log_e: float, needed: float) -> str:
    least = "at least " if log_e > ENOUGH - 4 else ""
    return f"{least}{say_number(math.exp(min(log_e, ENOUGH)))} times (limit {say_number(math.exp(needed))})"
