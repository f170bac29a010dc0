"""Made-up traffic: the law of latencies, the noise around it, the faults, and the counts that follow from them.

Latency is piecewise linear, in its logarithm, in the normal score, through p50 145 ms, p95 385 ms and p99 720 ms.
Arrivals are Poisson, so the counts of the cells of a batch are independent Poisson counts: drawing them is exact, and
no single request need be drawn. Every array's first axis is the run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RATE: Final = 125.0
"""Requests a second of the whole service."""

ERRORS: Final = 0.0025
"""The share of requests that fail while all is well."""

_SCORES: Final = np.array([-4.0, 0.0, 1.6449, 2.3263, 4.5])
_SLOPES: Final = (math.log(385 / 145) / 1.6449, math.log(720 / 385) / (2.3263 - 1.6449))
_LOGS: Final = np.array(
    [
        math.log(0.145) - 4 * _SLOPES[0],
        math.log(0.145),
        math.log(0.385),
        math.log(0.720),
        math.log(0.720) + (4.5 - 2.3263) * _SLOPES[1],
    ]
)
_GRID: Final = np.linspace(-8.0, 8.0, 16001)
_NORMAL: Final = np.array([0.5 * math.erfc(-z / math.sqrt(2)) for z in _GRID])


def below(seconds: Floats) -> Floats:
    """Return the share of healthy requests that take at most this long."""
    logs = np.log(np.maximum(seconds, 1e-12))
    inside = np.interp(logs, _LOGS, _SCORES)
    low = _SCORES[0] + (logs - _LOGS[0]) / _SLOPES[0]
    high = _SCORES[-1] + (logs - _LOGS[-1]) / _SLOPES[1]
    scores = np.where(logs < _LOGS[0], low, np.where(logs > _LOGS[-1], high, inside))
    return np.asarray(np.interp(scores, _GRID, _NORMAL))


def draw(rng: np.random.Generator, size: int) -> Floats:
    """Draw healthy latencies, in seconds."""
    scores = rng.standard_normal(size)
    inside = np.interp(scores, _SCORES, _LOGS)
    return np.asarray(np.exp(np.where(scores > _SCORES[-1], _LOGS[-1] + (scores - _SCORES[-1]) * _SLOPES[1], inside)))


@dataclass(frozen=True)
class Fault:
    """What is wrong with an arm: slower by `factor`, `share` of its requests by `extra` s more, failing at `errors`.

    A hang is an `extra` that no edge reaches. `grain` rounds latencies up to multiples of so many seconds.
    """

    factor: float = 1.0
    extra: float = 0.0
    share: float = 0.0
    errors: float = ERRORS
    grain: float = 0.0

    def below(self, edges: Floats, pace: Floats | float = 1.0) -> Floats:
        """Return the share of requests that take at most each edge, where everything is slower by `pace`."""
        reached = np.floor(edges / self.grain + 1e-9) * self.grain if self.grain else edges
        slowed = self.factor * pace
        plain = below(reached / slowed)
        if not self.share:
            return plain
        return (1 - self.share) * plain + self.share * below((reached - self.extra) / slowed)

    def cells(self, edges: Floats, pace: Floats | float = 1.0) -> Floats:
        """Return the share of requests in each cell."""
        cdf = self.below(edges, pace)
        first, last = np.zeros((*cdf.shape[:-1], 1)), np.ones((*cdf.shape[:-1], 1))
        return np.maximum(np.diff(np.concatenate([first, cdf, last], axis=-1), axis=-1), 0.0)


HEALTHY: Final = Fault()


@dataclass
class Noise:
    """A slow wander, AR(1), of the logarithm of latency; `spread` is its standard deviation, `tau` its memory in s."""

    spread: float
    tau: float
    now: Floats

    @classmethod
    def started(cls, rng: np.random.Generator, runs: int, spread: float, tau: float) -> Noise:
        """Begin in the stationary state."""
        return cls(spread, tau, rng.standard_normal((runs, 1)) * spread)

    def step(self, rng: np.random.Generator, seconds: float = 1.0) -> Floats:
        """Wander on, and return by how much everything is slower now."""
        kept = math.exp(-seconds / self.tau)
        self.now = kept * self.now + math.sqrt(1 - kept**2) * self.spread * rng.standard_normal(self.now.shape)
        return np.asarray(np.exp(self.now))


@dataclass
class Switching:
    """Slower by `factor`, or quicker by it, changing over every `dwell` s on average."""

    factor: float
    dwell: float
    is_slow: NDArray[np.bool_]

    @classmethod
    def started(cls, rng: np.random.Generator, runs: int, factor: float, dwell: float) -> Switching:
        """Begin with either."""
        return cls(factor, dwell, rng.random((runs, 1)) < 0.5)

    def step(self, rng: np.random.Generator, seconds: float = 1.0) -> Floats:
        """Perhaps change over, and return by how much everything is slower now."""
        self.is_slow = self.is_slow ^ (rng.random(self.is_slow.shape) < seconds / self.dwell)
        return np.where(self.is_slow, self.factor, 1 / self.factor)
