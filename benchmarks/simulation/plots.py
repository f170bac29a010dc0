"""Draw the plots of docs/statistics.md from a small run of the simulation; the seeds are fixed.

python -m benchmarks.simulation.plots
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.simulation import naive
from benchmarks.simulation.cells import FAULTS
from benchmarks.simulation.release import LIMITS_S, SHARES, open_court, stage_traffic, terms, watch
from benchmarks.simulation.svg import Axis, Curve, drawn
from benchmarks.simulation.traffic import HEALTHY, RATE, Fault, Floats

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"

_BLUE: Final = "#3b82c4"
_ORANGE: Final = "#e07b28"
_GREEN: Final = "#3a9a5b"
_RED: Final = "#cc4444"

_FIVE, _QUARTER = 0, 1
"""The stages of 5 % and of 25 %."""


def delays() -> str:
    """Draw how long a fault stays undiscovered, for more and more traffic."""
    rates = (20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0)
    curves = []
    for number, (name, colour) in enumerate((("latency x1.30", _BLUE), ("errors 3.0 %", _ORANGE))):
        ours = [(rate, _delay(number, rate, FAULTS[name])) for rate in rates]
        classic = [
            (rate, float(naive.delay(20 + number, _QUARTER, FAULTS[name], runs=200, rate=rate).mean()))
            for rate in rates
        ]
        curves += [Curve(f"{name}: sequential", ours, colour), Curve(f"{name}: classic", classic, colour, dashed=True)]
    across = Axis("requests a second, of which 25 % get the candidate", _labelled(20, 80, 320, 1280), log=True)
    up = Axis("seconds until rollback", _labelled(1, 3, 10, 30, 100, 300, 1000), log=True)
    return drawn("Time until a fault is rolled back, by traffic", across, up, curves)


def _delay(number: int, rate: float, fault: Fault, runs: int = 30) -> float:
    rng = np.random.default_rng([12, number, int(rate)])
    court = open_court(rng, runs, terms(), rate=rate)
    court.start(_QUARTER)
    return float(watch(court, stage_traffic(court, rng, _QUARTER, rate), 3600, fault).mean())


def evidence() -> str:
    """Draw what the judge holds against a healthy release, and against one that turns bad, until it is rolled back."""
    seconds, onset_s = 900, 600
    healthy = _evidence(13, seconds, seconds, HEALTHY)
    bad = _evidence(14, seconds, onset_s, FAULTS["latency x1.15"])
    curves = [
        Curve("rolled back", [(0, 100), (seconds, 100)], _RED, dashed=True),
        Curve("15 % slower from 600 s", bad, _ORANGE),
        Curve("healthy", healthy, _GREEN),
    ]
    across = Axis("seconds in the stage of 25 %", _labelled(0, 150, 300, 450, 600, 750, 900))
    up = Axis("times as likely if it is worse", _powers(-4, 3), log=True)
    return drawn("Evidence against a healthy and against a bad release, second by second", across, up, curves)


def _evidence(seed: int, seconds: int, onset_s: int, fault: Fault) -> list[tuple[float, float]]:
    rng = np.random.default_rng(seed)
    court = open_court(rng, 1, terms())
    court.start(_QUARTER)
    traffic, points = stage_traffic(court, rng, _QUARTER), []
    for second in range(1, seconds + 1):
        ended = watch(court, traffic, 1, fault if second > onset_s else HEALTHY)
        points.append((float(second), math.exp(float(court.log_e[0]))))
        if np.isfinite(ended).any():
            break
    return [*points[::2], points[-1]]


def alarms() -> str:
    """Draw how many healthy candidates have been rolled back, by how often somebody looked."""
    looks, runs = 40, 250
    curves = [
        Curve("test at 1 %, repeated", _tested(looks, 2000), _BLUE),
        Curve("classic rule", _classic(looks, 2000), _ORANGE),
        Curve("sequential judge", _judged(looks, runs), _GREEN),
        Curve("1 %", [(0, 1), (looks, 1)], _RED, dashed=True),
    ]
    across = Axis("looks, one every 30 s, at 5 % of 125 requests a second", _labelled(0, 10, 20, 30, 40))
    up = Axis("% of healthy candidates rolled back", _labelled(0, 5, 10, 15, 20, 25))
    return drawn("False alarms by the number of looks", across, up, curves)


def _judged(looks: int, runs: int) -> list[tuple[float, float]]:
    rng = np.random.default_rng(15)
    court = open_court(rng, runs, terms())
    court.start(_FIVE)
    return _shares(watch(court, stage_traffic(court, rng, _FIVE), looks * naive.WINDOW_S, stop=False), looks)


def _classic(looks: int, runs: int) -> list[tuple[float, float]]:
    """Return the same of the classic rule: the fault that it is asked to find is none."""
    return _shares(naive.delay(16, _FIVE, HEALTHY, runs=runs, checks=looks), looks)


def _tested(looks: int, runs: int) -> list[tuple[float, float]]:
    """Return the same of two shares over the p95 limit, each time compared as if for the only time, one-sided."""
    rng, share = np.random.default_rng(17), float(1 - HEALTHY.below(np.array([LIMITS_S[_FIVE][0]]))[0])
    n, bad = [], []
    for part in (SHARES[_FIVE], 1 - SHARES[_FIVE]):
        mean = RATE * part * naive.WINDOW_S
        over, within = (np.cumsum(rng.poisson(mean * each, (runs, looks)), axis=1) for each in (share, 1 - share))
        n.append(over + within)
        bad.append(over)
    pooled = (bad[0] + bad[1]) / (n[0] + n[1])
    z = (bad[0] / n[0] - bad[1] / n[1]) / np.sqrt(pooled * (1 - pooled) * (1 / n[0] + 1 / n[1]))
    first = np.where((z > 2.326).any(axis=1), (z > 2.326).argmax(axis=1) + 1.0, np.inf)
    return _shares(first * naive.WINDOW_S, looks)


def _shares(ended: Floats, looks: int) -> list[tuple[float, float]]:
    return [(float(look), 100 * float((ended <= look * naive.WINDOW_S).mean())) for look in range(looks + 1)]


def _labelled(*values: float) -> tuple[tuple[float, str], ...]:
    return tuple((value, f"{value:g}") for value in values)


def _powers(low: int, high: int) -> tuple[tuple[float, str], ...]:
    return tuple((10.0**power, f"{10.0**power:g}") for power in range(low, high + 1))


PLOTS: Final = {"judge-delays.svg": delays, "judge-evidence.svg": evidence, "judge-alarms.svg": alarms}


def main(images: Path = IMAGES) -> None:
    """Draw all of them into a directory."""
    for name, draw in PLOTS.items():
        (images / name).write_text(draw())


if __name__ == "__main__":
    main()
