"""The release that is simulated: its stages and promises, and a run of it over many seeds at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.simulation.court import Court
from benchmarks.simulation.traffic import ERRORS, HEALTHY, RATE, Fault, Floats, Noise, Switching, below
from canary_sdk.core.judge.cells import QUANTILES
from canary_sdk.core.judge.sequential import Stage, Terms
from canary_sdk.core.judge.slo import parse_slo
from canary_sdk.core.judge.streams import Grant

if TYPE_CHECKING:
    from collections.abc import Callable

SHARES: Final = (0.05, 0.25, 0.50, 0.95)
"""The candidate's share of traffic in each stage; 5 % is held back in the last."""

HORIZONS_S: Final = (3600.0, 7200.0, 14400.0, 86400.0)
LIMITS_S: Final = ((0.500, 1.0), (0.500, 1.0), (0.450, 1.0), (0.400, 1.0))
ALLOWED: Final = (0.01, 0.01, 0.008, 0.005)

_LEARNT_S: Final = 433.0
"""What half-life 300 s keeps of an hour of warm-up."""


def terms(*, tolerance: float = 0.0, grant: Grant | None = None, stages: int = 4) -> Terms:
    """Return what is promised in the four stages, judged with this tolerance."""
    made = tuple(
        Stage(
            percent=share * 100,
            longest_s=horizon_s,
            slos=tuple(map(parse_slo, (f"p95 < {p95}s", f"p99 < {p99}s", f"errors < {errors * 100}%"))),
            grant=grant or Grant(),
        )
        for share, horizon_s, (p95, p99), errors in zip(SHARES, HORIZONS_S, LIMITS_S, ALLOWED, strict=True)
    )
    return Terms(stages=made[:stages], tolerance=tolerance)


def edges(asked: Terms) -> Floats:
    """Return edges at the true quantiles of the baseline and at every limit."""
    grid = np.exp(np.linspace(math.log(0.005), math.log(20), 20001))
    quantiles = np.interp(QUANTILES, below(grid), grid)
    kept = [each for each in quantiles if all(abs(math.log(each / limit)) > 0.01 for limit in asked.limits_s)]
    return np.array(sorted([*kept, *asked.limits_s]))


@dataclass
class Traffic:
    """Two arms with `candidate` and `baseline` requests a second; what happens to both, and what to one."""

    rng: np.random.Generator
    runs: int
    edges: tuple[Floats, Floats]
    rates: tuple[float, float]
    candidate: Fault = HEALTHY
    baseline: Fault = HEALTHY
    shared: Noise | None = None
    private: Noise | Switching | None = None

    def batch(self, seconds: float = 1.0) -> tuple[Floats, Floats, Floats, Floats]:
        """Draw what one batch counts: cells of the candidate and of the baseline, errors of both."""
        both = self.shared.step(self.rng, seconds) if self.shared else 1.0
        alone = both * self.private.step(self.rng, seconds) if self.private else both
        mine = self._cells(self.candidate, 0, alone, seconds)
        other = self._cells(self.baseline, 1, both, seconds)
        return mine, other, self._failed(mine, self.candidate.errors), self._failed(other, self.baseline.errors)

    def _cells(self, fault: Fault, arm: int, pace: Floats | float, seconds: float) -> Floats:
        means = self.rates[arm] * seconds * np.atleast_2d(fault.cells(self.edges[arm], pace))
        return np.asarray(self.rng.poisson(np.broadcast_to(means, (self.runs, means.shape[1]))), dtype=float)

    def _failed(self, cells: Floats, share: float) -> Floats:
        return np.asarray(self.rng.binomial(cells.sum(1).astype(int), share), dtype=float)


def open_court(rng: np.random.Generator, runs: int, asked: Terms, *, rate: float = RATE, grain: float = 0.0) -> Court:
    """Open `runs` cases after a warm-up on the baseline."""
    cuts = edges(asked)
    past = rng.poisson(rate * _LEARNT_S * np.tile(Fault(grain=grain).cells(cuts), (runs, 1))).astype(float)
    units = past.sum(1)
    return Court(asked, cuts, past, rng.binomial(units.astype(int), ERRORS).astype(float), units)


def stage_traffic(court: Court, rng: np.random.Generator, stage: int, rate: float = RATE, **what: object) -> Traffic:
    """Split the traffic as a stage does."""
    share = SHARES[stage]
    both = (court.candidate_edges, court.edges)
    return Traffic(rng, len(court.past), both, (rate * share, rate * (1 - share)), **what)  # type: ignore[arg-type]


def watch(
    court: Court, traffic: Traffic, seconds: int, fault: Fault | Callable[[int], Fault] = HEALTHY, *, stop: bool = True
) -> Floats:
    """Judge so many one-second batches; return the second at which each run was rolled back, inf if it was not."""
    needed = -math.log(court.terms.alpha)
    ended = np.full(traffic.runs, np.inf)
    for second in range(1, seconds + 1):
        traffic.candidate = fault if isinstance(fault, Fault) else fault(second)
        court.weigh(*traffic.batch())
        ended = np.where((court.log_e >= needed) & np.isinf(ended), second, ended)
        if stop and not np.isinf(ended).any():
            break
    return ended
