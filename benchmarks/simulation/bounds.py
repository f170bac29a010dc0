"""How fast any judge could be: information a second, and the delays that follow from it.

B1f = ln(16 / alpha) / I shares alpha between four stages and four SLOs; B2f solves D = ln(16 U / (D alpha)) / I, where
the moment is unknown too, in a stage of U seconds. I is the information of the best single SLO's indicator, over both
arms; all latencies together hold more, so a judge of shapes may stay below these.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from benchmarks.simulation.release import HORIZONS_S, LIMITS_S, SHARES
from benchmarks.simulation.traffic import HEALTHY, RATE, Fault

PLACES: Final = 16
_P50_S: Final = 0.2


def information(stage: int, fault: Fault, rate: float = RATE) -> float:
    """Return nats a second."""
    limits = np.array([_P50_S, *LIMITS_S[stage]])
    usual, faulty = 1 - HEALTHY.below(limits), 1 - fault.below(limits)
    pairs = [*zip(faulty, usual, strict=True), (fault.errors, HEALTHY.errors)]
    lc, lb = rate * SHARES[stage], rate * (1 - SHARES[stage])
    return max(_two_sample(lc, float(pc), lb, float(pb)) for pc, pb in pairs)


def at_promotion(stage: int, fault: Fault, alpha: float = 0.01, rate: float = RATE) -> float:
    """Return B1f, in seconds."""
    return math.log(PLACES / alpha) / information(stage, fault, rate)


def later(stage: int, fault: Fault, alpha: float = 0.01, rate: float = RATE) -> float:
    """Return B2f, in seconds."""
    nats, delay = information(stage, fault, rate), 1.0
    for _ in range(100):
        delay = math.log(PLACES * HORIZONS_S[stage] / (delay * alpha)) / nats
    return delay


def _two_sample(lc: float, pc: float, lb: float, pb: float) -> float:
    pooled = (lc * pc + lb * pb) / (lc + lb)
    return lc * _divergence(pc, pooled) + lb * _divergence(pb, pooled)


def _divergence(p: float, q: float) -> float:
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
