"""The questions that one batch is asked, and the bets on their answers. It remembers the baseline, and decides nothing.

    shape      is the candidate's latency, as a whole, higher than the baseline's?
    p95, p99   is the share of requests over the limit of this SLO higher? One stream for each latency SLO.
    errors     is the share of requests that failed higher?
    cache_hit  is the share of this indicator's values that are bad higher?

Of decorated calls there are the same: `call.shape`, `call.p95`, `call.errors`. Each compares the arms within the batch;
how the baseline usually is (`Past`) only makes the bets sharp. Every question is put for six sizes of effect at once. A
question about cells is a projection of an arm on cells, the best first, and a tilt for each stratum and size; strata
add up, since all of them are bets of the same moment.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import add
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from canary_sdk.core.judge.cells import over, quantile_edges, rebinned
from canary_sdk.core.judge.evalues import (
    Pair,
    Tilt,
    log_absolute,
    log_margin,
    log_shape,
    odds_tilt,
    rank_scores,
    shape_tilt,
)
from canary_sdk.core.judge.slo import Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from canary_sdk.core.judge.batch import Batch, Side
    from canary_sdk.core.judge.slo import Slo

SHAPE: Final = "shape"
ERRORS: Final = "errors"

SHIFTS: Final = (0.1, 0.2, 0.35, 0.6, 1.0, 1.6)
"""Sizes of a change of shape, in standard deviations of the logarithm of latency, nearly."""

ODDS: Final = (1.3, 1.7, 2.4, 4.0, 9.0, 25.0)
"""Sizes of a change of a rate: by how much its odds rise."""

SIZES: Final = len(ODDS)

Steps = Sequence[float]
"""The log e-value of one batch for each size of effect."""

Edges = tuple[tuple[float, ...], ...]
"""The edges of each stratum's latency cells."""


@dataclass(frozen=True, slots=True)
class Past:
    """What was counted of the baseline, the older the less: `cells` by stratum, `failed` and `units`."""

    cells: tuple[tuple[float, ...], ...]
    failed: float = 0.0
    units: float = 0.0

    @classmethod
    def none(cls, edges: Edges) -> Past:
        """Know nothing yet."""
        return cls(tuple((0.0,) * (len(each) + 1) for each in edges))

    def grown(self, side: Side, kept: float) -> Past:
        """Forget all but the share `kept`, and add what was counted of the baseline."""
        cells = tuple(
            tuple([count * kept + added for count, added in zip(old, new, strict=True)])
            for old, new in zip(self.cells, side.cells, strict=True)
        )
        return Past(cells, self.failed * kept + side.errors, self.units * kept + side.units)

    def recut(self, edges: Edges, limits_s: Sequence[float]) -> tuple[Past, Edges]:
        """Lay the edges at this past's own quantiles and at `limits_s`, and spread the counts over them."""
        new = tuple(quantile_edges(c, e, limits_s) for c, e in zip(self.cells, edges, strict=True))
        cells = tuple(rebinned(c, old, e) for c, old, e in zip(self.cells, edges, new, strict=True))
        return Past(cells, self.failed, self.units), new

    def share_over(self, edges: Edges, limit_s: float) -> float:
        """Return the share of requests over a limit, in all strata."""
        count = math.fsum(map(math.fsum, self.cells))
        return _rate(math.fsum(map(over, self.cells, edges, repeat(limit_s))), count)

    @property
    def share_failed(self) -> float:
        """The share of requests that failed."""
        return _rate(self.failed, self.units)

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON types."""
        return {"cells": self.cells, "failed": self.failed, "units": self.units}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Past:
        """Read what was stored."""
        return cls(tuple(map(tuple, data["cells"])), data["failed"], data["units"])


def _rate(bad: float, count: float) -> float:
    """Estimate a share from counts of the past; never 0, and a half where nothing is known."""
    return (bad + 0.5) / (count + 1)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a candidate may do worse before it counts as worse.

    `ratio` and `extra` are the margin of errors: pc <= ratio pb + extra. `known` are the ratios of (good, bad) that the
    users of this stage had to the others before the release, while everybody was on the baseline.
    """

    ratio: float = 1.0
    extra: float = 0.0
    known: tuple[float, float] | None = None

    @property
    def is_margin(self) -> bool:
        """Whether errors have a margin of their own."""
        return self.ratio > 1 or self.extra > 0


class Answer(NamedTuple):
    """What one batch says to a question: the log e-value for every size of effect, and how many were bad, by arm."""

    steps: Steps
    candidate: Pair
    baseline: Pair


@dataclass(frozen=True, slots=True)
class LatencyQuestion:
    """A comparison of latency cells, stratum by stratum.

    `cuts` are the first cell, in each stratum, that is over the limit, or over the baseline's median. If `whole`, the
    cells are compared as they are, else only within and over.
    """

    tilts: tuple[tuple[Tilt, ...], ...]
    cuts: tuple[int, ...]
    whole: bool = False

    def answered(self, batch: Batch) -> Answer:
        """Put the question. A stratum without a candidate says nothing; counted is who was over the cut."""
        steps, kc, nc, kb, nb = [0.0] * SIZES, 0, 0, 0, 0
        nobody = ((),) * len(self.cuts)
        strata = zip(batch.candidate.cells or nobody, batch.baseline.cells or nobody, strict=True)
        for (candidate, baseline), tilts, cut in zip(strata, self.tilts, self.cuts, strict=True):
            count, others, others_bad = sum(candidate), sum(baseline), sum(baseline[cut:])
            kb, nb = kb + others_bad, nb + others
            if not count:
                continue
            bad = sum(candidate[cut:])
            kc, nc = kc + bad, nc + count
            if self.whole:
                bets = log_shape(candidate, baseline, tilts)
            else:
                bets = log_shape((count - bad, bad), (others - others_bad, others_bad), tilts)
            steps = list(map(add, steps, bets))
        return Answer(steps, Pair(kc, nc), Pair(kb, nb))


@dataclass(frozen=True, slots=True)
class ErrorQuestion:
    """A comparison of the shares that failed, with what is granted to the candidate."""

    tilts: tuple[Tilt, ...]
    grant: Grant

    def answered(self, batch: Batch) -> Answer:
        """Put the question; counted is who failed."""
        mine, other = batch.candidate.failed, batch.baseline.failed
        return Answer(self._steps(mine, other), mine, other)

    def _steps(self, mine: Pair, other: Pair) -> Steps:
        if not self.grant.is_margin:
            good = (mine.total - mine.bad, mine.bad), (other.total - other.bad, other.bad)
            return log_shape(*good, self.tilts)
        ratio = self.grant.ratio * (self.grant.known[1] if self.grant.known else 1.0)
        return log_margin(mine, other, ratio, self.grant.extra, ODDS)


Question = LatencyQuestion | ErrorQuestion


def questions(past: Past, edges: Edges, slos: Iterable[Slo], grant: Grant) -> dict[str, Question]:
    """Make the questions of a stage, sharpened by the past.

    Cost: about 0.5 ms a stratum; so once a minute, not once a batch.
    """
    asked: dict[str, Question] = {}
    for slo in slos:
        if slo.metric is Metric.LATENCY:
            asked.setdefault(shape_of(slo), _shape_question(past))
            asked[slo.name] = _limit_question(past, edges, slo.limit)
        elif is_rate(slo):
            asked[slo.name] = ErrorQuestion(_odds_tilts(past.share_failed, grant.known), grant)
    return asked


def shape_of(slo: Slo) -> str:
    """Return the stream of the whole latency of which this SLO promises something: `shape`, `call.shape`."""
    return SHAPE if slo.of == "unit" else f"{slo.of}.{SHAPE}"


def is_shape(name: str) -> bool:
    """Whether a stream of that name is about the whole latency."""
    return name.rpartition(".")[2] == SHAPE


def is_rate(slo: Slo) -> bool:
    """Whether it promises a share of what fails: of errors, or of an indicator's bad values."""
    return slo.metric in (Metric.ERRORS, Metric.INDICATOR)


def _shape_question(past: Past) -> LatencyQuestion:
    tilts = tuple(tuple(shape_tilt(cells, shift) for shift in SHIFTS) for cells in past.cells)
    cuts = tuple(bisect_left(rank_scores(cells), 0.0) for cells in past.cells)
    return LatencyQuestion(tilts, cuts, whole=True)


def _limit_question(past: Past, edges: Edges, limit_s: float) -> LatencyQuestion:
    rates = (_rate(over(c, e, limit_s), math.fsum(c)) for c, e in zip(past.cells, edges, strict=True))
    cuts = tuple(each.index(limit_s) + 1 for each in edges)
    return LatencyQuestion(tuple(_odds_tilts(rate) for rate in rates), cuts)


def _odds_tilts(share: float, known: tuple[float, float] | None = None) -> tuple[Tilt, ...]:
    return tuple(odds_tilt(share, odds, known) for odds in ODDS)


def promised(slo: Slo) -> float:
    """Return the share that an SLO of latency, errors or an indicator allows to be bad."""
    return slo.limit if slo.quantile is None else 1 - slo.quantile


def absolute_steps(found: Pair, share: float) -> Steps:
    """Ask whether more than `share` are bad, whatever the other arm does; for every size of effect."""
    return log_absolute(found.bad, found.total, share, ODDS)
