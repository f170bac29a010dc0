"""The sequential judge on many runs at once: the library's formulas over numpy arrays, the first axis being the run.

It exists for speed alone. `agrees` holds it against the library, batch by batch, and every simulation starts with that.
It knows one stratum, the comparison, and the absolute limits; nothing else of the library is needed to time faults.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from canary_sdk.core.judge.calibration import temper
from canary_sdk.core.judge.slo import Metric
from canary_sdk.core.judge.streams import ERRORS, ODDS, SHAPE, SHIFTS, promised

if TYPE_CHECKING:
    from benchmarks.simulation.traffic import Floats
    from canary_sdk.core.judge.sequential import Terms

_SHIFTS: Final = np.array(SHIFTS)
_ODDS: Final = np.array(ODDS)
_NOTHING: Final = -1e300


@dataclass
class Court:
    """`runs` cases of the same terms, in the same stage, with the same edges."""

    terms: Terms
    edges: Floats
    past: Floats
    failed: Floats
    units: Floats
    stage: int = 0
    age_s: float = 0.0
    judged_s: float = 0.0
    relative: dict[str, Floats] = field(default_factory=dict)
    absolute: dict[str, Floats] = field(default_factory=dict)
    noise: dict[str, Floats] = field(default_factory=dict)
    _tilts: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)
    _asked_at_s: float = 0.0

    def __post_init__(self) -> None:
        runs = len(self.past)
        self.relative = {name: np.full((runs, len(ODDS)), _NOTHING) for name in self.terms.names}
        self.absolute = {name: np.full((runs, len(ODDS)), _NOTHING) for name in self.terms.names if name != SHAPE}
        self.noise = {name: np.full(runs, found) for name, found in self.terms.noise.items()}
        self.ask()

    @property
    def candidate_edges(self) -> Floats:
        """The edges by which the candidate is counted."""
        return self.edges * (1 + self.terms.tolerance)

    def start(self, stage: int) -> None:
        """Begin a stage, with the edges as they are."""
        self.stage, self.age_s, self.judged_s, self._asked_at_s = stage, 0.0, 0.0, 0.0
        self.ask()

    def ask(self) -> None:
        """Sharpen the bets by what was learnt."""
        self._asked_at_s = self.age_s
        self._tilts = {SHAPE: _shape_tilts(self.past), ERRORS: _odds_tilts(_rate(self.failed, self.units))}
        for name, cut in self._cuts().items():
            self._tilts[name] = _odds_tilts(_rate(self.past[:, cut:].sum(1), self.past.sum(1)))

    def weigh(self, candidate: Floats, baseline: Floats, kc: Floats, kb: Floats, *, seconds: float = 1.0) -> None:
        """Take one batch of every run: cells of both arms, and errors of both."""
        began, self.age_s = self.age_s, self.age_s + seconds
        if began < self.terms.skip_s:
            return
        weight = self.terms.schedule.weight(self.stage, self.judged_s, self.judged_s + seconds)
        self.judged_s += seconds
        nc, nb = candidate.sum(1), baseline.sum(1)
        self._compare(candidate, baseline, (kc, nc), (kb, nb), weight, seconds)
        self._hold_to_limits(candidate, (kc, nc), weight)
        kept = 0.5 ** (seconds / self.terms.half_life_s)
        self.past = self.past * kept + baseline
        self.failed, self.units = self.failed * kept + kb, self.units * kept + nb
        if self.age_s - self._asked_at_s >= 60.0:
            self.ask()

    @property
    def log_e(self) -> Floats:
        """What the comparison says of each run, in nats."""
        return _log_mean([_log_mean_of(logs) for logs in self.relative.values()])

    @property
    def log_e_absolute(self) -> Floats:
        """What the limits say of each run, in nats."""
        return _log_mean([_log_mean_of(logs) for logs in self.absolute.values()])

    def _cuts(self) -> dict[str, int]:
        slos = self.terms.stages[self.stage].promises
        return {
            slo.name: int(np.searchsorted(self.edges, slo.limit)) + 1 for slo in slos if slo.metric is Metric.LATENCY
        }

    def _compare(
        self,
        candidate: Floats,
        baseline: Floats,
        mine: tuple[Floats, Floats],
        other: tuple[Floats, Floats],
        weight: float,
        seconds: float,
    ) -> None:
        (kc, nc), (kb, nb) = mine, other
        total = np.maximum(nc + nb, 1)
        rate = np.where((nc > 0) & (nb > 0), nc * nb / total, 0.0) / seconds
        steps = {SHAPE: _steps(candidate, baseline, *self._tilts[SHAPE])}
        for name, cut in self._cuts().items():
            steps[name] = _steps(_halves(candidate, cut), _halves(baseline, cut), *self._tilts[name])
        steps[ERRORS] = self._error_steps(kc, nc, kb, nb)
        for name, step in steps.items():
            eta = np.asarray(temper(self.noise.get(name, 0.0), rate))  # type: ignore[arg-type]  # holds of arrays too
            self.relative[name] = self._grown(self.relative[name], weight, eta[:, None] * step)

    def _error_steps(self, kc: Floats, nc: Floats, kb: Floats, nb: Floats) -> Floats:
        grant = self.terms.stages[self.stage].grant
        if not grant.is_margin:
            return _steps(np.stack([nc - kc, kc], 1), np.stack([nb - kb, kb], 1), *self._tilts[ERRORS])
        nc, nb, kc, kb = nc[:, None], nb[:, None], kc[:, None], kb[:, None]
        tilted = (grant.ratio * nc + nb) / np.maximum(grant.ratio * _ODDS * nc + nb, 1e-300)
        d = kc * np.log(_ODDS * tilted) + kb * np.log(tilted) - nc * grant.extra * (_ODDS * tilted - 1)
        return np.asarray(np.where((nc > 0) & (nb > 0), d, 0.0))

    def _hold_to_limits(self, candidate: Floats, errors: tuple[Floats, Floats], weight: float) -> None:
        cuts = self._cuts()
        for slo in self.terms.stages[self.stage].promises:
            if slo.name in cuts:
                bad, count = candidate[:, cuts[slo.name] :].sum(1), candidate.sum(1)
                share = promised(slo)
            else:
                (bad, count), share = errors, slo.limit * (1 + self.terms.tolerance)
            step = bad[:, None] * np.log(_ODDS) - count[:, None] * np.log1p((_ODDS - 1) * share)
            self.absolute[slo.name] = self._grown(self.absolute[slo.name], weight, step)

    def _grown(self, logs: Floats, weight: float, steps: Floats) -> Floats:
        start = math.log(weight) if weight > 0 else _NOTHING
        grown = np.logaddexp(logs, start) + np.minimum(steps, self.terms.cap)
        return np.asarray(np.clip(grown, _NOTHING, 20.0))


def _rate(bad: Floats, count: Floats) -> Floats:
    return (bad + 0.5) / (count + 1)


def _halves(cells: Floats, cut: int) -> Floats:
    return np.stack([cells[:, :cut].sum(1), cells[:, cut:].sum(1)], axis=1)


def _shape_tilts(past: Floats) -> tuple[Floats, Floats]:
    shares = (past + 0.5) / (past + 0.5).sum(1, keepdims=True)
    ranks = np.clip(np.cumsum(shares, axis=1) - shares / 2, 1e-9, 1 - 1e-9)
    raw = np.exp(_SHIFTS[:, None] * (np.log(ranks / (1 - ranks)) / 1.702)[:, None, :])
    ratios = raw / (raw * shares[:, None, :]).sum(2, keepdims=True)
    return np.log(ratios), ratios - 1


def _odds_tilts(share: Floats) -> tuple[Floats, Floats]:
    scale = 1 + (_ODDS - 1) * np.clip(share, 1e-9, 1 - 1e-9)[:, None]
    ratios = np.stack([1 / scale, _ODDS / scale], axis=2)
    return np.log(ratios), ratios - 1


def _steps(candidate: Floats, baseline: Floats, logs: Floats, excess: Floats) -> Floats:
    nc, nb = candidate.sum(1), baseline.sum(1)
    rho = (nc / np.maximum(nc + nb, 1))[:, None, None]
    both = (candidate + baseline)[:, None, :]
    d = (candidate[:, None, :] * logs - both * np.log1p(rho * excess)).sum(2)
    return np.where(((nc > 0) & (nb > 0))[:, None], d, 0.0)


def _log_mean_of(logs: Floats) -> Floats:
    return np.asarray(np.logaddexp.reduce(logs, axis=1) - math.log(logs.shape[1]))


def _log_mean(each: list[Floats]) -> Floats:
    return _log_mean_of(np.stack(each, axis=1))
