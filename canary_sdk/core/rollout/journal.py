"""What is written down of a rollout, as values: enough to make its report again from nothing else. Each is one line.

    kind            tag  what it is
    Interval        i    what was counted on both arms
    Judged          j    the verdict on that, with every finding, and what the sequential judge made of it
    Ruling          r    what was decided, and on how much bake time
    Transition      t    one status or stage became another
    Consent         a    somebody approved
    Configuration   c    what was configured from then on

A line is a list of JSON types: the tag, then the fields in the order in which they stand here, without flag and time,
which whoever keeps it keeps beside it. Fields are only ever added at the end: what an older release did not write is
read as its default, and what a newer one adds is passed over, as are kinds that are not known. Counts and limits are
exact, times are to the millisecond, figures for people have four digits. A finding that passed is its name alone, and a
reason that repeats the finding before is 0.

It writes nothing: whoever keeps the journal turns the list into text, one a line, and decides how long to keep it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from canary_sdk.core.judge.slo import parse_slo
from canary_sdk.core.judge.tally import EMPTY, Tally, figure, tidy
from canary_sdk.core.judge.verdict import Finding, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of the journal: of one flag, at a wall time in seconds."""

    tag: ClassVar[str]

    flag_key: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval(Record):
    """What was counted in one interval of a stage; `total` is the whole traffic, where the arms are not all of it.

    `hosts` is how many were counted together, `stale` how many others had told nothing lately.
    """

    tag: ClassVar[str] = "i"

    attempt: int
    stage: int
    candidate: Tally = EMPTY
    baseline: Tally | None = None
    total: Tally | None = None
    hosts: int = 1
    stale: int = 0


class Weighed(NamedTuple):
    """What the sequential judge said at the end of an interval: what follows, and from how much evidence, in nats.

    `stream` speaks loudest for it. The sentence is kept where something other than going on begins to follow.
    """

    action: str
    stream: str
    log_e: float
    sentence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged(Record):
    """What was found in one interval; `breaches` is how many blaming breaches had then followed each other.

    The verdict is the interval's own, by its counts alone; `weighed` is None where no sequential judge was heard.
    """

    tag: ClassVar[str] = "j"

    attempt: int
    stage: int
    verdict: Verdict
    breaches: int = 0
    weighed: Weighed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling(Record):
    """What the rollout did at a tick that was unlike the one before; `seq` is the state that came of it."""

    tag: ClassVar[str] = "r"

    seq: int
    action: str
    stage: int
    baked_s: float
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition(Record):
    """One status or stage became another, by itself or on somebody's word.

    `baseline` is what was counted while everybody had the baseline, where stage 1 is entered.
    """

    tag: ClassVar[str] = "t"

    seq: int
    attempt: int
    before: str
    after: str
    stage: int
    percent: float
    who: str = ""
    reason: str = ""
    baseline: Tally | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent(Record):
    """Somebody agreed, for a role, that a stage may be entered."""

    tag: ClassVar[str] = "a"

    attempt: int
    stage: int
    role: str
    who: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration(Record):
    """What was configured from then on, as plain fields, at this version of the store."""

    tag: ClassVar[str] = "c"

    version: int
    fields: Mapping[str, Any] = field(default_factory=dict)
    who: str = ""


def is_news(before: str, after: str) -> bool:
    """Tell whether a reason says something else than another, beside other figures."""
    return _FIGURE.sub("#", before) != _FIGURE.sub("#", after)


_FIGURE: Final = re.compile(r"[0-9][0-9.,]*(?: ?(?:ms|min|s|h|%|/s)(?![a-z]))?")

_KINDS: Final[Mapping[str, type[Record]]] = {
    kind.tag: kind for kind in (Interval, Judged, Ruling, Transition, Consent, Configuration)
}
_BESIDE: Final = ("flag_key", "at")
_NAMES: Final = {
    tag: tuple(each.name for each in fields(kind) if each.name not in _BESIDE) for tag, kind in _KINDS.items()
}


def encode(record: Record) -> list[object]:
    """Return the line of a record, without its flag and its time, as JSON types. Cost: a few microseconds."""
    return [record.tag, *(_plain(getattr(record, name)) for name in _NAMES[record.tag])]


def decode(line: Sequence[Any], flag_key: str, at: float) -> Record | None:
    """Return the record of a line and of what was kept beside it, None for a kind that is not known.

    Raises:
        ValueError, TypeError, LookupError: for what no release has written.
    """
    tag, *found = line
    kind = _KINDS.get(tag)
    if kind is None:
        return None
    named = zip(_NAMES[tag], found, strict=False)
    return kind(
        flag_key=flag_key, at=at, **{name: _READ[name](value) if name in _READ else value for name, value in named}
    )


_NIL: Final = -1000.0
"""So little evidence is as good as none."""


def _plain(value: Any) -> object:
    if isinstance(value, Tally):
        return value.to_list()
    if isinstance(value, Weighed):
        return [value.action, value.stream, figure(max(value.log_e, _NIL)), *filter(None, [value.sentence])]
    if isinstance(value, Verdict):
        return [tidy(round(value.seconds, 6)), _findings(value.findings)]
    return tidy(round(value, 3)) if isinstance(value, float) else value


def _findings(findings: Sequence[Finding]) -> list[list[object]]:
    """Write findings without what goes without saying: all of a pass but its name, and a reason that repeats itself.

    What passed was counted in units of work, whose figures are the interval's; others stand nowhere else.
    """
    lines, last = [], ""
    for finding in findings:
        line: list[object] = [finding.slo.text, finding.outcome.value]
        passed = finding.outcome is Outcome.PASS
        if not passed or finding.slo.of != "unit":
            line += _numbers(finding)
        if not passed:
            line += [int(finding.shared), 0 if finding.why == last else finding.why]
            last = finding.why
        lines.append(line)
    return lines


def _numbers(finding: Finding) -> list[object]:
    figures = [None if each is None else figure(each) for each in (finding.candidate, finding.baseline)]
    return [*figures, finding.samples, finding.baseline_samples, finding.bad]


def _read_findings(lines: Sequence[Sequence[Any]]) -> tuple[Finding, ...]:
    findings, last = [], ""
    for line in lines:
        finding = _read_finding(line, last)
        last = finding.why or last
        findings.append(finding)
    return tuple(findings)


def _read_finding(line: Sequence[Any], last: str) -> Finding:
    text, outcome, *rest = line
    candidate, baseline, samples, baseline_samples, bad, shared, why = (*rest, *_PASSED[len(rest) :])[: len(_PASSED)]
    return Finding(
        slo=parse_slo(text),
        outcome=Outcome(outcome),
        candidate=candidate,
        baseline=baseline,
        samples=samples,
        baseline_samples=baseline_samples,
        bad=bad,
        shared=bool(shared),
        why=last if why == 0 else why,
    )


_PASSED: Final = (None, None, 0, 0, None, 0, "")
"""What is not written of a pass."""


def _read_verdict(found: Sequence[Any]) -> Verdict:
    seconds, findings = found
    return Verdict(_read_findings(findings), float(seconds))


def _read_tally(found: Sequence[Any] | None) -> Tally | None:
    return None if found is None else Tally.from_list(found)


_READ: Final[Mapping[str, Any]] = {
    "candidate": _read_tally,
    "baseline": _read_tally,
    "total": _read_tally,
    "verdict": _read_verdict,
    "weighed": lambda found: None if found is None else Weighed(*found),
}
