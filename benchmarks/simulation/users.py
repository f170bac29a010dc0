"""Users, not requests: the library's own judge on drawn requests of users who differ, before and during a release.

Activity is Zipf(1.1), a user's latency has an effect of its own (normal, sd 0.5 in the logarithm), a user's errors a
rate of its own (gamma). An hour of baseline comes first, in which the strata, the bands and the noise are learnt; then
an hour of one stage. Every request is drawn; nothing about the users is told to the judge but their keys' hashes.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulation.traffic import ERRORS, HEALTHY, RATE, Fault, Floats, draw
from canary_sdk.core.judge.batch import Batch, Side
from canary_sdk.core.judge.calibration import Block, noise
from canary_sdk.core.judge.decision import Action, decide
from canary_sdk.core.judge.evalues import Pair
from canary_sdk.core.judge.sequential import Case, Stage, Terms, learn, open_case, start, weigh
from canary_sdk.core.judge.slo import parse_slo
from canary_sdk.core.judge.strata import MICRO_BANDS, STRATA, Pasts, known_errors, strata_map
from canary_sdk.core.judge.streams import Edges, Grant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Ints = NDArray[np.int64]

ALPHA_ZIPF: Final = 1.1
_MINUTE: Final = 60


@dataclass(frozen=True)
class Setting:
    """Who there is, and how the release is judged. Without `strata` every request counts, as it comes."""

    users: int = 2000
    percent: float = 5.0
    spread: float = 0.5
    awake: float = 1.0
    strata: bool = True
    warm_minutes: int = 60
    minutes: int = 60


@dataclass
class Users:
    """The users of one run, and the requests that they send."""

    rng: np.random.Generator
    setting: Setting

    def __post_init__(self) -> None:
        size = self.setting.users
        self.activity = np.arange(1, size + 1) ** -ALPHA_ZIPF
        self.effect = np.exp(self.rng.normal(0, self.setting.spread, size))
        self.errors = np.minimum(self.rng.gamma(0.5, ERRORS / 0.5, size), 0.5)
        self.candidate = self.rng.uniform(0, 100, size) < self.setting.percent
        self.band = self.rng.integers(0, MICRO_BANDS, size)

    def minute(self) -> tuple[Ints, Ints, Floats, Floats]:
        """Draw a minute: of each request its second, its user, its healthy latency, and a draw to decide on failure."""
        weights = self.activity * (self.rng.random(self.setting.users) < self.setting.awake)
        count = self.rng.poisson(RATE * _MINUTE)
        user = np.searchsorted(np.cumsum(weights) / weights.sum(), self.rng.random(count), side="right")
        second = np.sort(self.rng.integers(0, _MINUTE, count))
        return second, user, draw(self.rng, count) * self.effect[user], self.rng.random(count)


@dataclass
class Minute:
    """The counts of one minute: cells by second, arm and stratum; errors and units by second and arm."""

    cells: Ints
    errors: Ints
    units: Ints
    widths: tuple[int, ...]

    def batches(self, *, released: bool) -> Iterator[Batch]:
        """Yield the minute's batches; before the release everybody is on the baseline."""
        for cells, errors, units in zip(self.cells, self.errors, self.units, strict=True):
            mine, other = (Side(self._cut(cells[arm]), int(units[arm]), int(errors[arm])) for arm in (1, 0))
            if released:
                yield Batch(seconds=1.0, candidate=mine, baseline=other, requests=int(units.sum()))
            else:
                yield Batch(seconds=1.0, baseline=Side(self._cut(cells.sum(0)), int(units.sum()), int(errors.sum())))

    @property
    def block(self) -> Block:
        """The minute as a block of an A/A run."""
        return Block(self._cut(self.cells[:, 1].sum(0)), self._cut(self.cells[:, 0].sum(0)))

    def _cut(self, strata: Ints) -> tuple[tuple[int, ...], ...]:
        """Cut every stratum's row to its own number of cells."""
        return tuple(tuple(row[:width]) for row, width in zip(strata.tolist(), self.widths, strict=True))


@dataclass
class Release:
    """One run: learn, start, weigh until something follows."""

    users: Users
    strata: bytes = bytes(MICRO_BANDS)

    @property
    def setting(self) -> Setting:
        """What is simulated."""
        return self.users.setting

    def run(self, fault: Fault, shared: Fault, onset_s: int) -> float:
        """Return when the candidate was rolled back, in seconds after the onset; inf if it was not."""
        case = self.learnt()
        second = 0
        for _ in range(self.setting.minutes):
            drawn = self.users.minute()
            hit = second + drawn[0] >= onset_s
            minute = self.counted(case, drawn, fault=fault, shared=shared, hit=hit)
            for batch in minute.batches(released=True):
                case, second = weigh(case, batch), second + 1
                if decide(case).action is Action.ROLLBACK:
                    return float(second - onset_s)
        return math.inf

    def learnt(self) -> Case:
        """Learn from the baseline: strata in the first half, bands and noise in the second."""
        half = self.setting.warm_minutes // 2
        if self.setting.strata:
            pasts = Pasts()
            for _ in range(half):
                _, user, latency, _ = self.users.minute()
                band = self.users.band[user]
                pasts.counts = _added(pasts.counts, np.bincount(band, minlength=MICRO_BANDS))
                pasts.sums = _added(pasts.sums, np.bincount(band, np.log(latency), MICRO_BANDS))
            self.strata = strata_map(pasts)
        case = open_case(_terms(self.setting, {}, Grant()), STRATA if self.setting.strata else 1)
        case = self._warmed(case, 5, [])
        case = start(case, 0)
        minutes: list[Minute] = []
        case = self._warmed(case, half, minutes)
        if not self.setting.strata:
            return start(case, 0)
        return start(replace(case, terms=_terms(self.setting, _noise(case, minutes), _grant(minutes))), 0)

    def _warmed(self, case: Case, count: int, kept: list[Minute]) -> Case:
        for _ in range(count):
            drawn = self.users.minute()
            minute = self.counted(case, drawn, edges=case.edges)
            kept.append(self.counted(case, drawn, edges=case.trial_edges))
            for batch in minute.batches(released=False):
                case = learn(case, batch)
        return case

    def counted(
        self,
        case: Case,
        drawn: tuple[Ints, Ints, Floats, Floats],
        *,
        fault: Fault = HEALTHY,
        shared: Fault = HEALTHY,
        hit: NDArray[np.bool_] | None = None,
        edges: Edges | None = None,
    ) -> Minute:
        """Count a minute as the tally does, with what is wrong with the candidate and with both arms."""
        second, user, latency, chance = drawn
        arm = self.users.candidate[user].astype(int)
        faulty = np.zeros(len(user), dtype=bool) if hit is None else hit
        errors = self.users.errors[user].copy()
        for cause, on in ((shared, faulty), (fault, faulty & (arm == 1))):
            struck = on & (self.users.rng.random(len(user)) < cause.share)
            latency = np.where(on, latency * cause.factor, latency) + struck * cause.extra
            errors = np.where(on, errors + cause.errors - ERRORS, errors)
        failed = chance < errors
        kept = np.arange(len(user))
        if self.setting.strata:
            _, kept = np.unique(second * self.setting.users + user, return_index=True)
        stratum = np.frombuffer(self.strata, dtype=np.uint8)[self.users.band[user]].astype(int)
        mine = edges or case.candidate_edges
        return _tallied(case, second[kept], arm[kept], stratum[kept], latency[kept], failed[kept], mine)


def _tallied(
    case: Case, second: Ints, arm: Ints, stratum: Ints, latency: Floats, failed: NDArray[np.bool_], mine: Edges
) -> Minute:
    width = max(map(len, case.edges)) + 1
    cell = np.zeros(len(second), dtype=int)
    for side, strata in enumerate((case.edges, mine)):
        for number, edges in enumerate(strata):
            which = (stratum == number) & (arm == side)
            cell[which] = np.searchsorted(np.array(edges), latency[which])
    number = len(case.edges)
    flat = ((second * 2 + arm) * number + stratum) * width + cell
    cells = np.bincount(flat, minlength=_MINUTE * 2 * number * width).reshape(_MINUTE, 2, number, width)
    pairs = second * 2 + arm
    units = np.bincount(pairs, minlength=_MINUTE * 2).reshape(_MINUTE, 2)
    errors = np.bincount(pairs, failed, _MINUTE * 2).astype(int).reshape(_MINUTE, 2)
    return Minute(cells, errors, units, tuple(len(edges) + 1 for edges in case.edges))


def _added(old: array[float], new: NDArray[Any]) -> array[float]:
    return array("d", (np.array(old) + new).tolist())


def _terms(setting: Setting, found: dict[str, float], grant: Grant) -> Terms:
    slos = tuple(map(parse_slo, ("p95 < 2s", "p99 < 4s", "errors < 1%")))
    first = Stage(percent=setting.percent, longest_s=3600.0, slos=slos, grant=grant)
    others = (Stage(percent=99, longest_s=7200.0, slos=slos),) * 3
    return Terms(stages=(first, *others), tolerance=0.10, noise=found)


def _noise(case: Case, minutes: list[Minute]) -> dict[str, float]:
    """Measure the noise of every stream on the future arms."""
    blocks = [minute.block for minute in minutes]
    found = {"shape": noise(blocks)}
    for name in ("p95", "p99"):
        cuts = case.asked[name].cuts  # type: ignore[union-attr]
        found[name] = noise([Block(_halves(block.one, cuts), _halves(block.other, cuts)) for block in blocks])
    errors = [Block(_outcomes(minute, 1), _outcomes(minute, 0)) for minute in minutes]
    return {**found, "errors": noise(errors, known=True)}


def _outcomes(minute: Minute, arm: int) -> tuple[tuple[int, int]]:
    bad = int(minute.errors[:, arm].sum())
    return ((int(minute.units[:, arm].sum()) - bad, bad),)


def _halves(cells: tuple[tuple[int, ...], ...], cuts: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    return tuple((sum(row[:cut]), sum(row[cut:])) for row, cut in zip(cells, cuts, strict=True))


def _grant(minutes: list[Minute]) -> Grant:
    errors, units = sum(m.errors.sum(0) for m in minutes), sum(m.units.sum(0) for m in minutes)
    mine, other = (Pair(int(errors[arm]), int(units[arm])) for arm in (1, 0))
    return Grant(known=known_errors(mine, other))


SETTINGS: Final = {
    "5 %": Setting(),
    "25 %": Setting(users=20_000, percent=25.0),
    "5 %, 30 % awake": Setting(awake=0.3),
    "25 %, 30 % awake": Setting(users=20_000, percent=25.0, awake=0.3),
}
"""Who there is: 2,000 users of whom 5 % get the candidate, or 20,000 and 25 %; awake at all times, or drawn anew each
minute."""

_REHEARSAL: Final = Fault(extra=0.8, share=0.5)
_HAPPENINGS: Final = {
    "healthy": (HEALTHY, HEALTHY),
    "latency x2 on both arms": (HEALTHY, Fault(factor=2.0)),
    "+800 ms on both arms": (HEALTHY, _REHEARSAL),
    "rehearsal": (_REHEARSAL, HEALTHY),
}


def releases(setting: dict[str, Any], what: str, first: int, runs: int) -> list[float]:
    """Return for each seed when the candidate was rolled back, in seconds after the onset; inf if it was not."""
    fault, shared = _HAPPENINGS[what]
    return [
        Release(Users(np.random.default_rng([11, seed]), Setting(**setting))).run(fault, shared, onset_s=300)
        for seed in range(first, first + runs)
    ]


def experiment(runs: int, *, full: bool) -> dict[str, tuple[Callable[..., list[float]], dict[str, Any]]]:
    """Return the cells of the goal about users: `runs` releases a setting that must be left alone, and fewer faults."""
    made = {}
    for name, setting in SETTINGS.items():
        for what in _HAPPENINGS if full else ("rehearsal",):
            minutes = 60 if what == "healthy" else 15
            count = max(runs // 6, 3) if what == "rehearsal" else runs
            made[f"users: {name}: {what}"] = (
                releases,
                {"setting": asdict(replace(setting, minutes=minutes)), "what": what, "first": 0, "runs": count},
            )
    if full:
        for name in ("5 %", "25 %"):
            plain = asdict(replace(SETTINGS[name], strata=False))
            made[f"users: requests, not users: healthy at {name}"] = (
                releases,
                {"setting": plain, "what": "healthy", "first": 0, "runs": 30},
            )
    return made
