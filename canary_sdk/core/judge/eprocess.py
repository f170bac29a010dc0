"""Evidence that may be looked at after every batch: e-values accumulated over when a fault began and how large it is.

For each size of effect that is considered, one number: S, the sum over all batches at which a fault may have begun of
(weight of that batch) times (product of the e-values since). A fault that begins late is so not diluted by the healthy
past. Weights add up to at most 1, so E[S] <= 1 while the hypothesis holds, and with Ville's inequality

    P(S ever reaches 1 / alpha) <= alpha

for any schedule of looking. Averages of such numbers (over sizes, over streams) keep the property, however dependent
they are. After Shin, Ramdas and Rinaldo, e-detectors (2022).

Pure values: nothing is measured or decided here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import exp, fsum, log, log1p
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NOTHING: Final = -1e300
"""The logarithm of no evidence at all: finite, and lost in any sum."""

ENOUGH: Final = 20.0
"""More evidence than this, in nats, is not kept, so that it also falls again soon after its cause has gone."""

_RISE_S: Final = 10.0
"""A start within this many seconds of a promotion counts as near to it: weights fall as 1 / (elapsed + this)."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Where the weight of a rollout's possible starts lies; `horizons_s` is the longest each stage may be held.

    Half of a stage's share lies on the promotion to it, half log-uniformly in it. The shares add up to 1 at most; all
    stages have the same if none are given.
    """

    horizons_s: tuple[float, ...]
    shares: tuple[float, ...] = ()

    def weight(self, stage: int, begin_s: float, end_s: float) -> float:
        """Return the weight of a batch that lasts from `begin_s` to `end_s` after the promotion to `stage`.

        Beyond the stage's horizon it is 0: no fault that begins later is looked for, older ones still are.
        """
        horizon_s = self.horizons_s[stage]
        begin_s, end_s = min(begin_s, horizon_s), min(end_s, horizon_s)
        within = log((end_s + _RISE_S) / (begin_s + _RISE_S)) / log((horizon_s + _RISE_S) / _RISE_S)
        at_promotion = 1.0 if begin_s == 0 else 0.0
        share = self.shares[stage] if self.shares else 1 / len(self.horizons_s)
        return share * (at_promotion + within) / 2


@dataclass(frozen=True, slots=True)
class Evidence:
    """ln S of every size of effect that is considered; the evidence is their average."""

    logs: tuple[float, ...]

    @classmethod
    def none(cls, sizes: int) -> Evidence:
        """Start without evidence."""
        return cls((NOTHING,) * sizes)

    @property
    def log_e(self) -> float:
        """The evidence, in nats."""
        return log_mean(self.logs)

    def grown(self, weight: float, steps: Iterable[float], *, eta: float = 1.0, cap: float = math.inf) -> Evidence:
        """Add one batch: let it be a possible start, with `weight`, and then bet on it.

        `steps` are the log e-values of the batch, one a size. `eta` (at most 1) tempers them, and no single batch is
        worth more than `cap` nats; neither makes an e-value greater in expectation.
        """
        start = log(weight) if weight > 0 else NOTHING
        logs = []
        for old, step in zip(self.logs, steps, strict=True):
            high, low = (old, start) if old > start else (start, old)
            bet = eta * step
            total = high + log1p(exp(low - high)) + (bet if bet < cap else cap)  # noqa: FURB136 - this is the hot path
            logs.append(total if total < ENOUGH else ENOUGH)  # noqa: FURB136
        return Evidence(tuple(logs))


def log_mean(logs: Sequence[float]) -> float:
    """Return the logarithm of the average; NOTHING if there is nothing to average."""
    if not logs:
        return NOTHING
    top = max(logs)
    return top + log(fsum([exp(each - top) for each in logs]) / len(logs))
