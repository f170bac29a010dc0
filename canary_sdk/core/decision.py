"""What follows from a case, in one sentence and in numbers: watch, hold or roll back. It changes nothing.

What follows from the evidence is a table, first row that holds:

    the comparison says worse, in a hard SLO                        ROLLBACK
    nobody is left to compare with, and a limit is exceeded         ROLLBACK   by the frozen baseline, a weaker promise
    the split between the arms is not what was asked for            HOLD       the comparison is not to be trusted
    a part of the baseline looks worse than the rest of it          HOLD       the comparison is not to be trusted
    the candidate exceeds a limit, the comparison does not blame    HOLD       an incident, or a limit that is too tight
    the comparison says worse, in a soft SLO                        HOLD
    the whole service serves less than it must                      HOLD       never the candidate's blame
    else                                                            WATCH
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from canary_sdk.core.eprocess import ENOUGH, log_mean
from canary_sdk.core.evalues import Pair, log_split
from canary_sdk.core.sequential import Stream
from canary_sdk.core.slo import say_number, say_ratio, say_seconds
from canary_sdk.core.streams import SHAPE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from canary_sdk.core.judge import Verdict
    from canary_sdk.core.sequential import Case


class Action(StrEnum):
    """What follows from the evidence."""

    WATCH = "WATCH"
    HOLD = "HOLD"
    ROLLBACK = "ROLLBACK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What follows, and from what.

    `stream` is the one that speaks loudest for it, `log_e` the evidence that decided and `needed` what it takes, both
    in nats. `candidate` and `baseline` are the arms' counts since `seconds` ago, when the evidence began to rise.
    """

    action: Action
    stream: str
    log_e: float
    needed: float
    candidate: Pair
    baseline: Pair
    seconds: float
    limit: str
    why: str
    classic: str = ""

    @property
    def sentence(self) -> str:
        """The decision in one sentence, with its numbers."""
        return self.why + (f"; the classic rule says {self.classic}" if self.classic else "")

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
    rows = (_blamed, _exceeded, _split, _tested(self_test), _incident, _softly, _starved)
    found = next((decision for row in rows if (decision := row(case)) is not None), None) or _nothing(case)
    return replace(found, classic=f"{classic.outcome.name} ({classic.sentence})" if classic else "")


def _blamed(case: Case) -> Decision | None:
    return _comparison(case, Action.ROLLBACK, [name for name in case.relative if not case.terms.is_soft(name)])


def _softly(case: Case) -> Decision | None:
    return _comparison(case, Action.HOLD, [name for name in case.relative if case.terms.is_soft(name)])


def _comparison(case: Case, action: Action, names: list[str]) -> Decision | None:
    """Find whether the comparison says worse, in the average of these streams."""
    streams = {name: case.relative[name] for name in names}
    return _found(case, action, streams, "if the candidate is worse than the baseline")


def _exceeded(case: Case) -> Decision | None:
    """Without a baseline, the limits decide alone."""
    return None if case.now.compares else _limits(case, Action.ROLLBACK, "; nobody is left on the baseline to compare")


def _incident(case: Case) -> Decision | None:
    """Beside a baseline, an exceeded limit that the comparison does not explain is nobody's."""
    return _limits(case, Action.HOLD, "; the comparison does not blame the candidate") if case.now.compares else None


def _limits(case: Case, action: Action, but: str) -> Decision | None:
    hard = {name: each for name, each in case.absolute.items() if action is Action.HOLD or not case.terms.is_soft(name)}
    return _found(case, action, hard, "if the limit is exceeded", but)


def _found(case: Case, action: Action, streams: Mapping[str, Stream], if_so: str, but: str = "") -> Decision | None:
    log_e, needed = log_mean([each.log_e for each in streams.values()]), -math.log(case.terms.alpha)
    if log_e < needed:
        return None
    name = max(streams, key=lambda each: streams[each].log_e)
    stream = streams[name]
    why = f"{_told(case, name, stream)}; this is {_odds(log_e, needed)} as likely {if_so}{but}"
    return _decision(case, action, name, stream, log_e, needed, why)


def _split(case: Case) -> Decision | None:
    """Distrust the comparison where the arms are not drawn as asked for."""
    log_e, needed = _log_split(case), -math.log(case.terms.split_alpha)
    if log_e < needed:
        return None
    mine, other = case.newcomers
    found = Stream(candidate=Pair(mine, mine + other), seconds=case.judged_s)
    why = (
        f"{mine} of {mine + other} users were given the candidate ({say_ratio(mine / (mine + other))}), "
        f"{say_number(case.now.percent)} % were to; this is {_odds(log_e, needed)} as likely if something loses or "
        f"moves users, so that the comparison is not to be trusted"
    )
    return _decision(case, Action.HOLD, "split", found, log_e, needed, why)


def _log_split(case: Case) -> float:
    share = case.now.percent / 100
    return log_split(case.newcomers, (share, 1 - share)) if 0 < share < 1 else 0.0


def _tested(self_test: Case | None) -> Callable[[Case], Decision | None]:
    """Distrust the comparison where it also finds fault with a part of the baseline."""

    def row(_: Case) -> Decision | None:
        alarm = None if self_test is None else _blamed(self_test)
        if alarm is None:
            return None
        why = f"a part of the baseline looks worse than its rest, the comparison is not to be trusted: {alarm.why}"
        return replace(alarm, action=Action.HOLD, why=why)

    return row


def _starved(case: Case) -> Decision | None:
    log_e, needed = case.floor.log_e, -math.log(case.terms.alpha)
    slo = case.now.floor
    if slo is None or log_e < needed:
        return None
    served = case.floor.candidate.total
    why = (
        f"the whole service served {served} requests in {say_seconds(case.floor.seconds)}, {slo.text} is promised; "
        f"this is {_odds(log_e, needed)} as likely if the promise is broken"
    )
    return _decision(case, Action.HOLD, "throughput", case.floor, log_e, needed, why)


def _nothing(case: Case) -> Decision:
    """Nothing speaks loud enough; say what speaks loudest."""
    streams = case.relative if case.now.compares else case.absolute
    hard = {name: each for name, each in streams.items() if not case.terms.is_soft(name)} or streams
    needed = -math.log(case.terms.alpha)
    if not hard:
        return _decision(case, Action.WATCH, "", Stream(), 0.0, needed, "there is nothing to judge: no SLOs")
    log_e = log_mean([each.log_e for each in hard.values()])
    name = max(hard, key=lambda each: hard[each].log_e)
    stream = hard[name]
    why = (
        f"nothing speaks against the candidate: {_told(case, name, stream)} ({_odds(log_e, needed)} as likely if worse)"
    )
    return _decision(case, Action.WATCH, name, stream, log_e, needed, why)


def _decision(case: Case, action: Action, name: str, stream: Stream, log_e: float, needed: float, why: str) -> Decision:
    return Decision(
        action=action,
        stream=name,
        log_e=log_e,
        needed=needed,
        candidate=stream.candidate,
        baseline=stream.baseline,
        seconds=stream.seconds,
        limit=_limit_of(case, name),
        why=why,
    )


def _limit_of(case: Case, name: str) -> str:
    return next((slo.text for slo in case.now.slos if slo.name == name), "")


def _told(case: Case, name: str, stream: Stream) -> str:
    """Say what was counted on both arms."""
    counts = f"{_share(stream.candidate)} of the candidate's requests, {_share(stream.baseline)} of the baseline's"
    return f"{name}: {counts} {_bad(case, name)}, in {say_seconds(stream.seconds)}"


def _bad(case: Case, name: str) -> str:
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
