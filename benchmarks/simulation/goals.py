"""What the judge must reach, each goal beside what was measured. A row passes or misses; nothing is rounded up."""

from __future__ import annotations

import math
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from benchmarks.simulation import bounds
from benchmarks.simulation.cells import FAULTS, INCIDENTS, NOISES, PLANS
from benchmarks.simulation.users import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STAGES: Final = ("5 %", "25 %", "50 %", "95/5")

DELAYS: Final = {
    "G6": ("rehearsal", (4, 3, 3, 4.5), (7, 6, 6, 9)),
    "G7": ("latency x1.30", (23, 7, 6, 24), (40, 13, 11, 49)),
    "G8": ("errors 1.8 %", (110, 33, 30, 175), (175, 58, 55, 345)),
    "G9": ("errors 3.0 %", (50, 17, 15, 85), (82, 28, 27, 170)),
}
"""Mean delay in seconds, in each stage: with the fault there at the promotion, and with it beginning later."""

USERS_DELAYS: Final = {"5 %": 15, "25 %": 7, "5 %, 30 % awake": 35, "25 %, 30 % awake": 12}
"""Median delay of the rehearsal's fault in seconds."""


class Row(NamedTuple):
    """One line of the table."""

    goal: str
    what: str
    measured: str
    wanted: str
    passed: bool


def rows(results: Mapping[str, Any], slack: float = 1.0) -> Iterator[Row]:
    """Yield every goal that the results speak of. `slack` over 1 widens the limits, for small samples."""
    yield from _plans(results, slack)
    yield from _incidents(results, slack)
    yield from _ratios(results, slack)
    yield from _delays(results, slack)
    yield from _missed(results)
    yield from _noise(results, slack)
    yield from _split(results, slack)
    yield from _classic(results)
    yield from _users(results, slack)


def _allowed(runs: int, share: float, slack: float) -> int:
    """Return how many of `runs` may fail before a rate of `share` is doubted: mean plus three deviations."""
    return math.floor(runs * share + 3 * math.sqrt(runs * share)) if slack > 1 else math.ceil(2.3 * runs * share)


def _plans(results: Mapping[str, Any], slack: float) -> Iterator[Row]:
    for kind in PLANS:
        found = results[f"plan: {kind}"]
        wanted = _allowed(found["runs"], 0.01, slack)
        yield Row(
            "G1",
            f"false rollback, {kind}",
            f"{found['count']} of {found['runs']}",
            f"<= {wanted}",
            found["count"] <= wanted,
        )


def _incidents(results: Mapping[str, Any], slack: float) -> Iterator[Row]:
    keys = [f"incident: {kind}, {stage}" for kind in INCIDENTS for stage in range(3)]
    found = [results[key] for key in keys if key in results]
    runs, blamed, held = (sum(each[key] for each in found) for key in ("runs", "blamed", "held"))
    wanted = _allowed(runs, 0.0025, slack)
    yield Row("G2", "blamed for an incident of both arms", f"{blamed} of {runs}", f"<= {wanted}", blamed <= wanted)
    worst = max(each["blamed"] / each["runs"] for each in found)
    yield Row("G2", "the same, worst cell", f"{worst:.2%}", "", passed=True)
    yield Row("G2", "told as an incident: HOLD", f"{held} of {runs}", "", passed=True)


def _delay_cells(results: Mapping[str, Any]) -> Iterator[tuple[str, int, bool, list[float]]]:
    for stage in range(4):
        for late in (False, True):
            key = f"delays: {stage}, {'later' if late else 'at promotion'}"
            if key in results:
                for fault, delays in results[key].items():
                    yield fault, stage, late, delays


def _ratios(results: Mapping[str, Any], slack: float) -> Iterator[Row]:
    for goal, late, middle, most in (("G3", False, 1.4, 1.7), ("G4", True, 1.6, 2.0)):
        bound = bounds.later if late else bounds.at_promotion
        ratios = [
            (fmean(delays) / bound(stage, FAULTS[fault]), fault, stage)
            for fault, stage, is_late, delays in _delay_cells(results)
            if is_late == late and bound(stage, FAULTS[fault]) >= 5
        ]
        if ratios:
            name = "B2f" if late else "B1f"
            mid, (top, fault, stage) = median(ratio for ratio, _, _ in ratios), max(ratios)
            yield Row(goal, f"mean delay / {name}, median", f"{mid:.2f}", f"<= {middle}", mid <= middle * slack)
            what = f"the same, worst: {fault} at {STAGES[stage]}"
            yield Row(goal, what, f"{top:.2f}", f"<= {most}", top <= most * slack)
    spread = max(_p95(delays) / fmean(delays) for *_, delays in _delay_cells(results))
    yield Row("G5", "p95 delay / mean delay, worst", f"{spread:.2f}", "<= 2.2", spread <= 2.2 * slack)


def _p95(delays: list[float]) -> float:
    return sorted(delays)[math.ceil(0.95 * len(delays)) - 1]


def _delays(results: Mapping[str, Any], slack: float) -> Iterator[Row]:
    found = {(fault, stage, late): delays for fault, stage, late, delays in _delay_cells(results)}
    for goal, (fault, first, later) in DELAYS.items():
        for late, limits in ((False, first), (True, later)):
            for stage, limit in enumerate(limits):
                if (fault, stage, late) in found:
                    mean = fmean(found[fault, stage, late])
                    what = f"{fault} at {STAGES[stage]}, {'beginning later' if late else 'at the promotion'}"
                    yield Row(goal, what, f"{mean:.1f} s", f"<= {limit} s", mean <= limit * slack)


def _missed(results: Mapping[str, Any]) -> Iterator[Row]:
    cells = [delays for *_, delays in _delay_cells(results)]
    cells += [delays for key in ("shapes", "thin") for delays in results.get(key, {}).values()]
    missed = sum(math.isinf(delay) for delays in cells for delay in delays)
    yield Row("G10", f"faults missed within 2 h, of {sum(map(len, cells))}", str(missed), "0", missed == 0)
    for key, where in (("shapes", "5 %"), ("thin", "1 candidate request a second")):
        for fault, delays in results.get(key, {}).items():
            yield Row("G10", f"{fault} at {where}", f"{fmean(delays):.1f} s", "", passed=True)


def _noise(results: Mapping[str, Any], slack: float) -> Iterator[Row]:
    for number, kind in enumerate(NOISES):
        for when, what in (("calibrated", "after an A/A run"), ("not calibrated", "without one")):
            found = results.get(f"noise: {kind}, {when}")
            if found:
                wanted, has_goal = _allowed(found["runs"], 0.01, slack), number == 0 and when == "calibrated"
                yield Row(
                    "G11",
                    f"private {kind}, {what}",
                    f"{found['count']} of {found['runs']}",
                    f"<= {wanted}" if has_goal else "",
                    found["count"] <= wanted or not has_goal,
                )


def _split(results: Mapping[str, Any], slack: float) -> Iterator[Row]:
    delays, healthy = results["split: 6 for 5"], results["split: 5 for 5"]
    mean, false = fmean(delays), sum(map(math.isfinite, healthy))
    yield Row("G12", "a split of 6 % for 5 %", f"{mean:.0f} s", "<= 90 s", mean <= 90 * slack)
    yield Row("G12", "a split as intended, distrusted", f"{false} of {len(healthy)}", "<= 4", false <= 4)


def _classic(results: Mapping[str, Any]) -> Iterator[Row]:
    found = results["classic"]
    yield Row("G16", "classic rule: healthy plan rolled back", f"{found['healthy plan']:.4f}", "", passed=True)
    yield Row("G16", "classic rule: in the first hour", f"{found['first hour']:.3f}", "", passed=True)
    yield Row("G16", "classic rule: rehearsal, mean", f"{found['rehearsal']:.0f} s", "", passed=True)
    for name, delays in found.get("later", {}).items():
        told = " / ".join(f"{delay:.0f}" for delay in delays)
        yield Row("G16", f"classic rule: {name} at 5 / 25 / 50 %", f"{told} s", "", passed=True)
    yield Row("G16", "classic rule: fastest of all", f"{found['fastest']:.0f} s", "", passed=True)
    yield Row("G16", "classic rule: incident blamed", f"{found['incident']:.3f}", "", passed=True)


def _users(results: Mapping[str, Any], slack: float) -> Iterator[Row]:
    for name in SETTINGS:
        for what, share in (("healthy", 0.01), ("latency x2 on both arms", 0.005), ("+800 ms on both arms", 0.005)):
            found = results.get(f"users: {name}: {what}")
            if found:
                blamed, wanted = sum(map(math.isfinite, found)), _allowed(len(found), share, slack)
                yield Row("G17", f"{what} at {name}", f"{blamed} of {len(found)}", f"<= {wanted}", blamed <= wanted)
        found = results.get(f"users: {name}: rehearsal")
        if found:
            mid, limit = median(found), USERS_DELAYS[name]
            passed = mid <= limit * slack and all(map(math.isfinite, found))
            yield Row("G17", f"rehearsal at {name}, median; none missed", f"{mid:.0f} s", f"<= {limit} s", passed)
    for name, found in sorted(results.items()):
        if name.startswith("users: requests, "):
            blamed = sum(map(math.isfinite, found))
            yield Row("G17", name.removeprefix("users: "), f"{blamed} of {len(found)}", "", passed=True)


def table(found: list[Row]) -> str:
    """Write the rows as a table; what has no limit is told for comparison."""
    wide = max(len(row.what) for row in found)
    lines = [f"{'':4}  {'':{wide}}  {'measured':>12}  {'goal':>10}"]
    for row in found:
        mark = ("PASS" if row.passed else "MISS") if row.wanted else ""
        lines.append(f"{row.goal:4}  {row.what:{wide}}  {row.measured:>12}  {row.wanted:>10}  {mark}".rstrip())
    return "\n".join(lines)
