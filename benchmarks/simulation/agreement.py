"""The fast judge and the library's are one: the same batches give the same evidence, to nine digits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.simulation.cells import MARGIN
from benchmarks.simulation.release import open_court, stage_traffic, terms
from benchmarks.simulation.traffic import Fault, Floats
from canary_sdk.core.judge.batch import Batch, Side
from canary_sdk.core.judge.eprocess import log_mean
from canary_sdk.core.judge.sequential import Case, Terms, asked_anew, open_case, weigh
from canary_sdk.core.judge.streams import Grant, Past

_BATCHES = 150


def agree() -> None:
    """Judge the same traffic both ways, healthy and then not, with a margin of errors and without.

    Raises:
        AssertionError: the two differ.
    """
    for seed, grant in enumerate((None, MARGIN)):
        _agree(seed, grant)


def _agree(seed: int, grant: Grant | None) -> None:
    rng = np.random.default_rng(seed)
    asked = replace(terms(tolerance=0.1, grant=grant), noise={"shape": 0.02, "p95": 0.01})
    court = open_court(rng, 3, asked)
    court.start(1)
    traffic = stage_traffic(court, rng, 1)
    cases = [_case(court.edges, court.past[run], court.failed[run], court.units[run], asked) for run in range(3)]
    for second in range(_BATCHES):
        traffic.candidate = Fault(factor=1.15 if second > _BATCHES / 2 else 1.0, errors=0.01)
        drawn = traffic.batch()
        court.weigh(*drawn)
        cases = [weigh(case, _batch(drawn, run)) for run, case in enumerate(cases)]
    for run, case in enumerate(cases):
        for ours, theirs in ((case.relative, court.log_e), (case.absolute, court.log_e_absolute)):
            log_e = log_mean([stream.log_e for stream in ours.values()])
            assert abs(log_e - theirs[run]) < 1e-9 * max(1.0, abs(log_e)), (seed, run, log_e, theirs[run])


def _case(edges: Floats, past: Floats, failed: float, units: float, asked: Terms) -> Case:
    """Open a case of the library with the same past and the same edges."""
    known = Past((tuple(past.tolist()),), float(failed), float(units))
    return asked_anew(replace(open_case(asked), edges=(tuple(edges.tolist()),), past=known, stage=1))


def _batch(drawn: tuple[Floats, Floats, Floats, Floats], run: int) -> Batch:
    candidate, baseline, kc, kb = drawn
    mine, other = (
        Side((tuple(cells[run].astype(int).tolist()),), int(cells[run].sum()), int(errors[run]))
        for cells, errors in ((candidate, kc), (baseline, kb))
    )
    return Batch(seconds=1.0, candidate=mine, baseline=other)
