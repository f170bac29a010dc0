"""The classic rule in the same simulation, as people write it by hand.

Every 30 s the window's quantiles and errors are held against their limits, and three breaches in a row roll back. There
is no minimum sample, and exactly as many over the limit as may be is a breach already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.simulation.release import ALLOWED, LIMITS_S, SHARES
from benchmarks.simulation.traffic import HEALTHY, RATE, Fault, Floats

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW_S: Final = 30
IN_A_ROW: Final = 3
_P50_S: Final = 0.2


def breaches(
    rng: np.random.Generator, runs: int, stage: int, fault: Fault, seconds: Floats | float, rate: float = RATE
) -> Floats:
    """Draw one window of every run, of which `seconds` were faulty, and return which of them breach any limit."""
    p95, p99 = LIMITS_S[stage]
    limits = np.array([_P50_S, p95, p99])
    faulty = np.broadcast_to(np.asarray(seconds, dtype=float), (runs,))
    cells, errors = np.zeros((runs, 4)), np.zeros(runs)
    for law, during in ((HEALTHY, WINDOW_S - faulty), (fault, faulty)):
        means = rate * SHARES[stage] * during[:, None] * law.cells(limits)
        drawn = rng.poisson(means)
        cells, errors = cells + drawn, errors + rng.binomial(drawn.sum(1), law.errors)
    total = cells.sum(1)
    over = np.stack([cells[:, cut:].sum(1) for cut in (1, 2, 3)], axis=1)
    breach = (over >= total[:, None] * (1 - np.array([0.5, 0.95, 0.99]))).any(1) | (errors >= total * ALLOWED[stage])
    return np.asarray(breach & (total > 0))


def rolled_back(seed: int, stage: int, checks: int, *, runs: int = 400) -> float:
    """Return how often a healthy candidate is rolled back within so many checks of a stage."""
    rng = np.random.default_rng(seed)
    ended = _first(runs, lambda _: breaches(rng, runs, stage, HEALTHY, 0.0), checks)
    return float(np.isfinite(ended).mean())


def delay(seed: int, stage: int, fault: Fault, *, runs: int = 400, checks: int = 240, rate: float = RATE) -> Floats:
    """Return the time to rollback, in s; the fault begins at a random moment of a window."""
    rng = np.random.default_rng(seed)
    first = rng.uniform(0, WINDOW_S, runs)
    ended = _first(
        runs, lambda check: breaches(rng, runs, stage, fault, first if check == 1 else float(WINDOW_S), rate), checks
    )
    return np.asarray((ended - 1) * WINDOW_S + first)


def _first(runs: int, check: Callable[[int], Floats], checks: int) -> Floats:
    """Return at which check each run has had enough breaches in a row; inf if never."""
    row, ended = np.zeros(runs), np.full(runs, np.inf)
    for number in range(1, checks + 1):
        row = np.where(check(number), row + 1, 0)
        ended = np.where((row >= IN_A_ROW) & np.isinf(ended), number, ended)
        if np.isfinite(ended).all():
            break
    return ended
