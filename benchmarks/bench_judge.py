"""What does judging a second cost, with four streams, in one stratum and in eight, beside tallying its 125 requests?"""

from __future__ import annotations

import math

import numpy as np

from benchmarks.race import publish, race
from canary_sdk.core.judge.batch import Batch, Side
from canary_sdk.core.judge.cells import cell_of
from canary_sdk.core.judge.decision import decide
from canary_sdk.core.judge.sequential import Case, Stage, Terms, learn, open_case, start, weigh
from canary_sdk.core.judge.slo import parse_slo

TALLY = "tally a second: bisect and add, for each of 125 requests"

STATEMENTS = {
    TALLY: "for latency in latencies: cells[cell_of(latency, edges)] += 1",
    "weigh a second, one stratum": "weigh(one, second_of_one)",
    "decide, one stratum": "decide(one)",
    "weigh a second, eight strata": "weigh(eight, second_of_eight)",
    "decide, eight strata": "decide(eight)",
}

_RNG = np.random.default_rng(1)


def side(rate: float, edges: tuple[tuple[float, ...], ...]) -> Side:
    """Count a second of one arm, at so many requests a second."""
    units = int(rate)
    latencies, strata = _RNG.lognormal(math.log(0.145), 0.55, units), _RNG.integers(0, len(edges), units)
    cells = tuple(
        tuple(np.bincount(np.searchsorted(cuts, latencies[strata == number]), minlength=len(cuts) + 1).tolist())
        for number, cuts in enumerate(edges)
    )
    return Side(cells, units, 1)


def case_of(strata: int) -> tuple[Case, Batch]:
    """Return a case in its first stage, 5 % of 125 requests a second, and a second of it."""
    slos = tuple(map(parse_slo, ("p95 < 500ms", "p99 < 1s", "errors < 1%")))
    case = open_case(Terms(stages=(Stage(percent=5, longest_s=3600, slos=slos),)), strata)
    for _ in range(300):
        case = learn(case, Batch(seconds=1.0, baseline=side(125, case.edges)))
    case = start(case, 0)
    mine, other = side(6, case.candidate_edges), side(119, case.edges)
    return case, Batch(seconds=1.0, candidate=mine, baseline=other, requests=125, newcomers=(1, 19))


def main() -> None:
    """Race the statements."""
    one, second_of_one = case_of(1)
    eight, second_of_eight = case_of(8)
    names = {
        "cells": [0] * 20,
        "cell_of": cell_of,
        "latencies": _RNG.lognormal(math.log(0.145), 0.55, 125).tolist(),
        "edges": one.edges[0],
        "weigh": weigh,
        "decide": decide,
        "one": one,
        "second_of_one": second_of_one,
        "eight": eight,
        "second_of_eight": second_of_eight,
    }
    results = race(STATEMENTS, names, loops=5)  # a round so short that a busy machine leaves some of them alone
    publish(__doc__ or "", results, baseline=TALLY)


if __name__ == "__main__":
    main()
