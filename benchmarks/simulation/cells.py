"""The cells of the experiment: each one question, asked of many runs with a seed of its own. Figures in, figures out.

A cell returns plain numbers, so that it can be kept as JSON and need not be asked again.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.simulation import naive
from benchmarks.simulation.release import (
    HORIZONS_S,
    LIMITS_S,
    SHARES,
    Traffic,
    open_court,
    stage_traffic,
    terms,
    watch,
)
from benchmarks.simulation.traffic import ERRORS, HEALTHY, RATE, Fault, Floats, Noise, Switching
from canary_sdk.core.judge.calibration import Block, noise
from canary_sdk.core.judge.evalues import log_split
from canary_sdk.core.judge.streams import Grant

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.simulation.court import Court

FAULTS: Final = {
    "rehearsal": Fault(extra=0.8, share=0.5),
    "latency x1.15": Fault(factor=1.15),
    "latency x1.30": Fault(factor=1.30),
    "latency x1.60": Fault(factor=1.60),
    "errors 1.8 %": Fault(errors=0.018),
    "errors 3.0 %": Fault(errors=0.03),
    "tail +2 s on 2 %": Fault(extra=2.0, share=0.02),
}
"""Faults that are there from one moment on, for the whole of the candidate."""

SHAPES: Final[dict[str, Fault | Callable[[int], Fault]]] = {
    "hang of 10 %": Fault(extra=3600.0, share=0.1),
    "x2 for a tenth of requests": Fault(extra=0.3, share=0.1),
    "ramp to x1.6 in 2 min": lambda second: Fault(factor=1 + 0.6 * min(second / 120, 1)),
    "flapping x1.6, 5 s on, 5 s off": lambda second: Fault(factor=1.6 if second % 10 < 5 else 1.0),
    "x1.3 and errors 1 %": Fault(factor=1.3, errors=0.01),
}
"""Faults of other shapes: no bound is computed for them, but they must be found."""

INCIDENTS: Final[dict[str, Callable[[int], Fault]]] = {
    "latency x2": lambda _: Fault(factor=2),
    "+800 ms on half": lambda _: Fault(extra=0.8, share=0.5),
    "errors 5 %": lambda _: Fault(errors=0.05),
    "errors 30 %": lambda _: Fault(errors=0.30),
    "x3 with errors 10 %": lambda _: Fault(factor=3, errors=0.10),
    "ramp to x3": lambda second: Fault(factor=1 + 2 * min(second / 600, 1)),
    "flapping x2 every 5 s": lambda second: Fault(factor=2 if second % 10 < 5 else 1),
}
"""What hits both arms for ten minutes."""

MARGIN: Final = Grant(ratio=1.2, extra=0.001)


def delays(stage: int, onset_s: int, runs: int, *, shapes: bool = False) -> dict[str, list[float]]:
    """Return the seconds from onset to rollback for every fault, after so many healthy seconds of a stage."""
    rng = np.random.default_rng([1, stage, onset_s])
    court = open_court(rng, runs, terms())
    court.start(stage)
    early = watch(court, stage_traffic(court, rng, stage), onset_s, stop=False)
    found = {}
    for number, (name, fault) in enumerate((SHAPES if shapes else FAULTS).items()):
        court_then = copy.deepcopy(court)
        traffic = stage_traffic(court_then, np.random.default_rng([2, stage, onset_s, number]), stage)
        found[name] = watch(court_then, traffic, 7200, fault)[np.isinf(early)].tolist()
    return found


def thin_delays(runs: int) -> dict[str, list[float]]:
    """Return the same at 1 candidate request a second of 20."""
    found = {}
    for number, (name, fault) in enumerate(FAULTS.items()):
        rng = np.random.default_rng([3, number])
        court = open_court(rng, runs, terms(), rate=20.0)
        court.start(0)
        found[name] = watch(court, stage_traffic(court, rng, 0, 20.0), 7200, fault).tolist()
    return found


PLANS: Final = {
    "healthy": {},
    "at the margin": {"factor": 1.1, "errors": 1.2 * ERRORS + 0.001},
    "ties of 100 ms": {"grain": 0.1},
    "shared AR(1) rho .4 tau 30 s": {},
    "1 candidate request a second": {},
}


def plan(kind: str, runs: int, compressed: int) -> dict[str, int]:
    """Return how many of `runs` whole plans of a candidate that is no worse are rolled back."""
    rng = np.random.default_rng([4, list(PLANS).index(kind)])
    fault = replace(HEALTHY, **PLANS[kind])
    rate = 20.0 if kind.startswith("1 ") else RATE
    margin = kind == "at the margin"
    asked = terms(tolerance=0.1 if margin else 0.0, grant=MARGIN if margin else None)
    asked = replace(
        asked, stages=tuple(replace(stage, longest_s=stage.longest_s / compressed) for stage in asked.stages)
    )
    court = open_court(rng, runs, asked, rate=rate, grain=fault.grain)
    shared = Noise.started(rng, runs, 0.4, 30.0) if "AR(1)" in kind else None
    ended = np.full(runs, np.inf)
    for stage, horizon_s in enumerate(HORIZONS_S):
        court.start(stage)
        traffic = stage_traffic(court, rng, stage, rate, shared=shared, baseline=Fault(grain=fault.grain))
        ended = np.minimum(ended, watch(court, traffic, int(horizon_s / compressed), fault, stop=False))
    return {"runs": runs, "count": int(np.isfinite(ended).sum())}


def incident(kind: str, stage: int, runs: int) -> dict[str, int]:
    """Return how many candidates are blamed for ten minutes that hit both arms, and how many are held."""
    rng = np.random.default_rng([5, list(INCIDENTS).index(kind), stage])
    court = open_court(rng, runs, terms())
    court.start(stage)
    blamed = watch(court, traffic := stage_traffic(court, rng, stage), 300, stop=False)
    held = np.zeros(runs, dtype=bool)
    for second in range(1, 601):
        traffic.baseline = INCIDENTS[kind](second)
        blamed = np.minimum(blamed, watch(court, traffic, 1, traffic.baseline, stop=False))
        held |= court.log_e_absolute >= -math.log(court.terms.alpha)
    traffic.baseline = HEALTHY
    blamed = np.minimum(blamed, watch(court, traffic, 120, stop=False))
    return {"runs": runs, "blamed": int(np.isfinite(blamed).sum()), "held": int(held.sum())}


NOISES: Final[dict[str, Callable[[np.random.Generator, int], Noise | Switching]]] = {
    "AR(1) rho .1 tau 10 s": lambda rng, runs: Noise.started(rng, runs, 0.10, 10.0),
    "AR(1) rho .1 tau 30 s": lambda rng, runs: Noise.started(rng, runs, 0.10, 30.0),
    "10 % to and fro in 20 s": lambda rng, runs: Switching.started(rng, runs, 1.10, 20.0),
}
"""What may wander in the latency of the candidate alone."""


def private_noise(runs: int, compressed: int, *, calibrated: bool, kind: str) -> dict[str, int]:
    """Return how many healthy candidates with private noise are rolled back in stages 1 to 3."""
    number = list(NOISES).index(kind)
    rng = np.random.default_rng([6, calibrated, number] if number else [6, calibrated])
    asked = terms(stages=3)
    court = open_court(rng, runs, asked)
    if calibrated:
        court.noise = _calibrated(court, rng, runs, kind)
    ended = np.full(runs, np.inf)
    wander = NOISES[kind](rng, runs)
    for stage, horizon_s in enumerate(HORIZONS_S[:3]):
        court.start(stage)
        traffic = stage_traffic(court, rng, stage, private=wander)
        ended = np.minimum(ended, watch(court, traffic, int(horizon_s / compressed), stop=False))
    return {"runs": runs, "count": int(np.isfinite(ended).sum())}


def _calibrated(court: Court, rng: np.random.Generator, runs: int, kind: str) -> dict[str, Floats]:
    """Run both arms on the same code, half and half, for 30 minutes, and measure the noise of each run."""
    wander = NOISES[kind](rng, runs)
    traffic = Traffic(rng, runs, (court.edges, court.edges), (RATE / 2, RATE / 2), private=wander)
    names = zip(("p95", "p99"), LIMITS_S[0], strict=True)
    cuts = {name: int(np.searchsorted(court.edges, limit)) + 1 for name, limit in names}
    blocks = []
    for _ in range(30):
        drawn = zip(*(traffic.batch() for _ in range(60)), strict=True)
        blocks.append([np.sum(each, axis=0).astype(int) for each in drawn])
    found = [_noise_of([[arm[run].tolist() for arm in block] for block in blocks], cuts) for run in range(runs)]
    return {name: np.array([each[name] for each in found]) for name in found[0]}


def _noise_of(blocks: list[Any], cuts: dict[str, int]) -> dict[str, float]:
    """Measure one run's noise as the library does: in the shape, over each limit, and in the errors."""
    seen = {"shape": [Block((tuple(one),), (tuple(other),)) for one, other, _, _ in blocks]}
    for name, cut in cuts.items():
        seen[name] = [Block(_halves(one, cut), _halves(other, cut)) for one, other, _, _ in blocks]
    seen["errors"] = [
        Block(((sum(one) - bad, bad),), ((sum(other) - others_bad, others_bad),))
        for one, other, bad, others_bad in blocks
    ]
    return {name: noise(each, alike=True) for name, each in seen.items()}


def _halves(cells: list[int], cut: int) -> tuple[tuple[int, int]]:
    return ((sum(cells[:cut]), sum(cells[cut:])),)


def split(true: float, asked: float, seconds: int, every_s: int, runs: int) -> list[float]:
    """Return after how many seconds a split is distrusted; inf if not within `seconds`."""
    rng = np.random.default_rng([7, int(true * 1000), int(asked * 1000)])
    needed = -math.log(0.001)
    ended = []
    for _ in range(runs):
        mine = np.cumsum(rng.poisson(RATE * true * every_s, seconds // every_s))
        other = np.cumsum(rng.poisson(RATE * (1 - true) * every_s, seconds // every_s))
        pairs = zip(mine.tolist(), other.tolist(), strict=True)
        found = (n for n, pair in enumerate(pairs, 1) if log_split(pair, (asked, 1 - asked)) >= needed)
        first = next(found, math.inf)
        ended.append(first * every_s)
    return ended


def classic(runs: int) -> dict[str, Any]:
    """Return what the classic rule does: false rollbacks of a healthy plan, its delays, its blame in an incident."""
    healthy = 1.0
    for stage, horizon_s in enumerate(HORIZONS_S):
        healthy *= 1 - naive.rolled_back(8, stage, int(horizon_s / naive.WINDOW_S), runs=runs)
    found = [naive.delay(9, stage, FAULTS["rehearsal"], runs=runs) for stage in range(len(SHARES))]
    blamed = [
        float((naive.delay(10, stage, kind(600), runs=runs, checks=20) <= 600).mean())
        for stage in range(3)
        for kind in INCIDENTS.values()
    ]
    first_hour = naive.rolled_back(8, 0, 120, runs=runs)
    return {
        "healthy plan": 1 - healthy,
        "first hour": first_hour,
        "rehearsal": float(np.mean(found)),
        "fastest": float(np.min(found)),
        "incident": float(np.mean(blamed)),
        "later": {
            name: [float(naive.delay(9, stage, FAULTS[name], runs=runs).mean()) for stage in range(3)]
            for name in ("latency x1.30", "errors 1.8 %")
        },
    }
