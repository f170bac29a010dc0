"""What is written down of a rollout, as values: enough to make its report again from nothing else. Each is one line.

    kind            tag  what it is
    Interval        i    what was counted on both arms
    Judged          j    the verdict on that, with every finding
    Ruling          r    what was decided, and on how much bake time
    Transition      t    one status or stage became another
    Consent         a    somebody approved
    Configuration   c    what was configured from then on

A line is a list of JSON types: the tag, then the fields in the order in which they stand here. Fields are only ever
added at the end: what an older release did not write is read as its default, and what a newer one adds is passed over,
as are kinds that are not known. Counts and limits are exact, times are to the millisecond, figures for people have six
digits.

It writes nothing: whoever keeps the journal turns the list into text, one a line, and decides how long to keep it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Final

from canary_sdk.core.judge import Finding, Outcome, Verdict
from canary_sdk.core.slo import parse_slo
from canary_sdk.core.tally import EMPTY, Tally

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
    """What was counted in one interval of a stage; `total` is the whole traffic, where the arms are not all of it."""

    tag: ClassVar[str] = "i"

    attempt: int
    stage: int
    candidate: Tally = EMPTY
    baseline: Tally | None = None
    total: Tally | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged(Record):
    """What was found in one interval; `breaches` is how many blaming breaches had then followed each other."""

    tag: ClassVar[str] = "j"

    attempt: int
    stage: int
    verdict: Verdict
    breaches: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling(Record):
    """What the rollout did at one tick, in the words of its actions; `seq` is the state that came of it."""

    tag: ClassVar[str] = "r"

    seq: int
    action: str
    stage: int
    baked_s: float
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition(Record):
    """One status or stage became another, by itself or on somebody's word."""

    tag: ClassVar[str] = "t"

    seq: int
    attempt: int
    before: str
    after: str
    stage: int
    percent: float
    who: str = ""
    reason: str = ""


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


_KINDS: Final[Mapping[str, type[Record]]] = {
    kind.tag: kind for kind in (Interval, Judged, Ruling, Transition, Consent, Configuration)
}
_NAMES: Final = {tag: tuple(each.name for each in fields(kind)) for tag, kind in _KINDS.items()}


def encode(record: Record) -> list[object]:
    """Return the line of a record, as JSON types. Cost: a few microseconds."""
    return [record.tag, *(_plain(getattr(record, name)) for name in _NAMES[record.tag])]


def decode(line: Sequence[Any]) -> Record | None:
    """Return the record of a line, None for a kind that is not known.

    Raises:
        ValueError, TypeError, LookupError: for what no release has written.
    """
    tag, *found = line
    kind = _KINDS.get(tag)
    if kind is None:
        return None
    named = zip(_NAMES[tag], found, strict=False)
    return kind(**{name: _READ[name](value) if name in _READ else value for name, value in named})


def _plain(value: Any) -> object:
    if isinstance(value, Tally):
        return value.to_list()
    if isinstance(value, Verdict):
        return [round(value.seconds, 6), [_finding(each) for each in value.findings]]
    return round(value, 3) if isinstance(value, float) else value


def _finding(finding: Finding) -> list[object]:
    """Write a finding without what its numbers say by themselves: the reason of a pass."""
    numbers: list[object] = [
        finding.slo.text,
        finding.outcome.value,
        _figure(finding.candidate),
        _figure(finding.baseline),
        finding.samples,
        finding.baseline_samples,
        finding.bad,
        int(finding.shared),
    ]
    return numbers if finding.outcome is Outcome.PASS else [*numbers, finding.why]


def _figure(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _read_finding(found: Sequence[Any]) -> Finding:
    text, outcome, candidate, baseline, samples, baseline_samples, bad, shared, *why = found
    return Finding(
        slo=parse_slo(text),
        outcome=Outcome(outcome),
        candidate=candidate,
        baseline=baseline,
        samples=samples,
        baseline_samples=baseline_samples,
        bad=bad,
        shared=bool(shared),
        why=why[0] if why else "",
    )


def _read_verdict(found: Sequence[Any]) -> Verdict:
    seconds, findings = found
    return Verdict(tuple(map(_read_finding, findings)), seconds)


def _read_tally(found: Sequence[Any] | None) -> Tally | None:
    return None if found is None else Tally.from_list(found)


_READ: Final[Mapping[str, Any]] = {
    "candidate": _read_tally,
    "baseline": _read_tally,
    "total": _read_tally,
    "verdict": _read_verdict,
}
