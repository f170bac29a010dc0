"""One interval held against its SLOs, with a reason for every verdict. It remembers nothing and switches nothing off.

A quantile SLO is a promise about a share of requests: `p95 < 500ms` says that at most 5 % take longer than 500 ms. So
exact counts decide, in integers, and no estimate of a quantile does: with n requests of which k took strictly longer,
the promise is kept when k <= n (1 - q). That is the same as saying that the empirical quantile (the smallest time that
at least q n requests did not exceed) is not over the limit. Exactly at the limit, of a time or of a count, keeps it.

Two guards against small numbers: below `min_samples` an arm is not judged, and one bad request alone is never a breach,
even where a single one is more than the limit allows (p99 of 60 requests).

Blame needs a comparison: when the baseline arm, with enough samples, breaches the same SLO in the same interval, the
finding is shared and does not blame the candidate, however much worse it looks; the size of a difference is not judged
here. Throughput is the whole service's and never blames.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from canary_sdk.core.judge.slo import Metric, say_rate, say_ratio, say_seconds, tolerated
from canary_sdk.core.judge.tally import EMPTY, Tally

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from canary_sdk.core.judge.slo import Slo


class Outcome(IntEnum):
    """What was found, ordered so that the worst is `max`.

    ACCEPTABLE is over the limit but within the tolerance. INCONCLUSIVE ranks above it, because not knowing must never
    pass for health.
    """

    PASS = 0
    ACCEPTABLE = 1
    INCONCLUSIVE = 2
    BREACH = 3


@dataclass(frozen=True, slots=True)
class Arms:
    """What was counted on both arms in the same interval; `baseline` is None when nobody is left on it."""

    candidate: Tally = EMPTY
    baseline: Tally | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One SLO held against one interval.

    `candidate` and `baseline` are the arms' figures in the SLO's own unit (seconds, a ratio, a second), None when they
    are not known; a throughput is the whole service's. `bad` is the exact count that decided. `shared` says that the
    candidate is not to blame for this breach.
    """

    slo: Slo
    outcome: Outcome
    candidate: float | None = None
    baseline: float | None = None
    samples: int = 0
    baseline_samples: int = 0
    bad: int | None = None
    shared: bool = False
    why: str = ""

    @property
    def limit(self) -> float:
        """The SLO's limit: seconds, a ratio, or a second."""
        return self.slo.limit

    @property
    def blames(self) -> bool:
        """Whether this is a breach of the candidate's own."""
        return self.outcome is Outcome.BREACH and not self.shared

    @property
    def load(self) -> float:
        """The figure as a multiple of its limit, to tell the worst of several: over 1 is worse than promised."""
        if self.candidate is None:
            return 0.0
        if self.slo.metric is Metric.THROUGHPUT:
            return self.limit / self.candidate if self.candidate else 0.0
        return self.candidate / self.limit

    def sentence(self, seconds: float) -> str:
        """Say it with its numbers; `seconds` is the length of the interval."""
        if self.candidate is None or self.outcome is Outcome.INCONCLUSIVE or self._figure_belies_count:
            return f"{self.slo.name} is {self.outcome.name}: {self.why} ({say_seconds(seconds)})"
        return (
            f"{self.slo.name} {self.slo.say(self.candidate)} against a limit of {self.slo.say(self.limit)} "
            f"({self._against}, {self.samples} {_noun(self.slo)} in {say_seconds(seconds)})"
        )

    @property
    def _figure_belies_count(self) -> bool:
        """Whether the latency shown, of finished requests, would hide what those that still hang have decided."""
        return (
            self.slo.quantile is not None
            and self.candidate is not None
            and (self.outcome is Outcome.BREACH) != (self.candidate > self.limit)
            and self.outcome is not Outcome.ACCEPTABLE
        )

    @property
    def _against(self) -> str:
        if self.slo.metric is Metric.THROUGHPUT:
            return "whole service"
        return "no baseline" if self.baseline is None else f"baseline {self.slo.say(self.baseline)}"

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON types, for reports and the journal."""
        return {
            "slo": self.slo.text,
            "outcome": self.outcome.name,
            "candidate": self.candidate,
            "baseline": self.baseline,
            "limit": self.limit,
            "samples": self.samples,
            "baseline_samples": self.baseline_samples,
            "bad": self.bad,
            "shared": self.shared,
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """All findings of one interval of `seconds`. The worst outcome wins; without an SLO nothing is known."""

    findings: tuple[Finding, ...]
    seconds: float

    @property
    def outcome(self) -> Outcome:
        """The worst of the findings."""
        return max((finding.outcome for finding in self.findings), default=Outcome.INCONCLUSIVE)

    def without(self, soft: Collection[Slo]) -> Verdict:
        """Return what is left when these SLOs decide nothing."""
        return Verdict(tuple(each for each in self.findings if each.slo not in soft), self.seconds) if soft else self

    @property
    def blames(self) -> bool:
        """Whether the candidate is to blame: at least one breach is its own."""
        return any(finding.blames for finding in self.findings)

    @property
    def worst(self) -> Finding | None:
        """The finding to show if only one can be: a breach of the candidate's own first, then by how far it is over."""
        return max(self.findings, key=lambda finding: (finding.outcome, finding.blames, finding.load), default=None)

    @property
    def sentence(self) -> str:
        """The worst finding with its numbers, in people's units."""
        return self.worst.sentence(self.seconds) if self.worst else "nothing to judge: the flag has no SLOs"

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON types, for reports and the journal."""
        return {
            "outcome": self.outcome.name,
            "blames": self.blames,
            "seconds": self.seconds,
            "sentence": self.sentence,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def judge(
    slos: Iterable[Slo],
    unit: Arms,
    *,
    others: Mapping[str, Arms] = MappingProxyType({}),
    total: Tally,
    share: float,
    tolerance: float,
    min_samples: int,
) -> Verdict:
    """Hold one interval against `slos`.

    `unit` counts units of work, `others` what else is promised of, by `Slo.counts`: decorated calls, and the values of
    indicators, the bad ones as errors. `total` is all traffic of the flag, on which throughput
    is judged; `share` (0 to 1) is the candidate's part of it. `tolerance` is 0.1 for 10 %. To judge the service after a
    trip, pass the whole traffic as candidate, and no baseline.
    """
    bar = _Bar(tolerance, min_samples)
    arms = {"unit": unit, **others}
    findings = tuple(
        _find_throughput(slo, total, unit.candidate, share, tolerance)
        if slo.metric is Metric.THROUGHPUT
        else _find(slo, arms.get(slo.counts, Arms()), bar)
        for slo in slos
    )
    return Verdict(findings, total.seconds)


@dataclass(frozen=True, slots=True)
class _Bar:
    """How strictly it is judged."""

    tolerance: float
    min_samples: int


@dataclass(frozen=True, slots=True)
class _Reading:
    """One arm held against one SLO."""

    outcome: Outcome
    why: str
    bad: int | None = None


def _find(slo: Slo, arms: Arms, bar: _Bar) -> Finding:
    """Read the candidate, and the baseline in the same way, to tell whether the candidate is alone with its breach."""
    baseline = arms.baseline or EMPTY
    mine, other = _read(slo, arms.candidate, bar), _read(slo, baseline, bar)
    breached = mine.outcome is Outcome.BREACH
    shared = breached and other.outcome is Outcome.BREACH
    return Finding(
        slo=slo,
        outcome=mine.outcome,
        candidate=_figure(slo, arms.candidate),
        baseline=_figure(slo, baseline),
        samples=arms.candidate.requests,
        baseline_samples=baseline.requests,
        bad=mine.bad,
        shared=shared,
        why=mine.why + (_comparison(other, shared=shared) if breached else ""),
    )


def _comparison(baseline: _Reading, *, shared: bool) -> str:
    """Say what the baseline arm adds to a breach."""
    if shared:
        return f"; the baseline breaches as well: {baseline.why}"
    if baseline.outcome is Outcome.INCONCLUSIVE:
        return f"; there was no comparison, on the baseline: {baseline.why}"
    return f"; not so the baseline: {baseline.why}"


_PARTS: Final = 100_000
"""Quantiles have three decimals of a percent, so that the share beyond one is a whole number of these parts."""


def _read(slo: Slo, tally: Tally, bar: _Bar) -> _Reading:
    """Hold one arm against a latency or error SLO."""
    if not tally.requests:
        return _Reading(Outcome.INCONCLUSIVE, "no data")
    if tally.requests < bar.min_samples:
        why = f"{tally.requests} {_noun(slo)}, at least {bar.min_samples} are needed"
        return _Reading(Outcome.INCONCLUSIVE, why)
    if slo.quantile is None:
        return _read_errors(slo, tally, bar)
    return _read_latency(slo, slo.quantile, tally, bar)


def _read_errors(slo: Slo, tally: Tally, bar: _Bar) -> _Reading:
    loose = tolerated(slo.limit, bar.tolerance)
    outcome = _outcome(
        within=tally.error_rate <= slo.limit,
        tolerable=tally.error_rate <= loose,
        alone=tally.errors == 1,
    )
    what, may = ("were bad", "may be") if slo.cut else ("failed", "may")
    why = f"{tally.errors} of {tally.requests} {_noun(slo)} {what}, {say_ratio(slo.limit)} {may}"
    return _Reading(outcome, why, tally.errors)


def _noun(slo: Slo) -> str:
    """Say what is counted."""
    return "values" if slo.cut else "requests"


def _read_latency(slo: Slo, quantile: float, tally: Tally, bar: _Bar) -> _Reading:
    bad = tally.over.get(slo.limit)
    worse = tally.over.get(tolerated(slo.limit, bar.tolerance))
    if bad is None or worse is None:  # the limit has just been changed
        return _Reading(Outcome.INCONCLUSIVE, f"requests over {say_seconds(slo.limit)} were not counted yet")
    room = tally.requests * (_PARTS - round(quantile * _PARTS))
    outcome = _outcome(within=bad * _PARTS <= room, tolerable=worse * _PARTS <= room, alone=worse == 1)
    why = f"{bad} of {tally.requests} requests took over {say_seconds(slo.limit)}, {room // _PARTS} may"
    return _Reading(outcome, why, bad)


def _outcome(*, within: bool, tolerable: bool, alone: bool) -> Outcome:
    if within:
        return Outcome.PASS
    if tolerable:
        return Outcome.ACCEPTABLE
    return Outcome.INCONCLUSIVE if alone else Outcome.BREACH


def _figure(slo: Slo, tally: Tally) -> float | None:
    """Return the arm's figure for people, if there is one."""
    if not tally.requests:
        return None
    return tally.error_rate if slo.quantile is None else tally.quantiles.get(slo.quantile)


def _find_throughput(slo: Slo, total: Tally, candidate: Tally, share: float, tolerance: float) -> Finding:
    """Hold the whole service against a throughput floor; never the candidate's blame. No traffic is no data."""
    if not total.requests or not total.seconds:
        return Finding(slo=slo, outcome=Outcome.INCONCLUSIVE, why="no data")
    kept = total.rate >= slo.limit
    outcome = _outcome(within=kept, tolerable=total.rate >= tolerated(slo.limit, -tolerance), alone=False)
    return Finding(
        slo=slo,
        outcome=outcome,
        candidate=total.rate,
        samples=total.requests,
        shared=outcome is Outcome.BREACH,
        why=(
            f"the whole service serves {say_rate(total.rate)}; the candidate arm serves {say_rate(candidate.rate)} of "
            f"it, and its share ({say_ratio(share)}) of the limit is {say_rate(slo.limit * share)}"
        ),
    )
