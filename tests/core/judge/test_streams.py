"""Claims about the questions of a stage: whatever they ask, the bets on their answers are fair, counted out exactly."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Final

import pytest

from canary_sdk.core.judge.batch import Batch, Side
from canary_sdk.core.judge.eprocess import Evidence, Schedule
from canary_sdk.core.judge.evalues import Pair
from canary_sdk.core.judge.slo import parse_slo
from canary_sdk.core.judge.streams import ERRORS, SHAPE, SIZES, Grant, Past, absolute_steps, promised, questions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from canary_sdk.core.judge.slo import Slo

FAIR: Final = 1 + 1e-9
LIMITS_S: Final = (0.5, 1.0)
SLOS: Final = tuple(map(parse_slo, ("p95 < 500ms", "p99 < 1s", "errors < 1%")))
STRATA: Final = ((1, 2), (2, 1))
"""How many units the candidate and the baseline have in each stratum."""

PASTS: Final = (((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)), ((90.0, 5.0, 1.0), (3.0, 40.0, 600.0)))
LAWS: Final = (
    ((0.7, 0.2, 0.1), (0.1, 0.3, 0.6)),
    ((0.98, 0.02, 0.0), (0.5, 0.0, 0.5)),
    ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
)
"""What is likely for both arms, in each stratum."""


def ways(total: int, law: Sequence[float]) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Yield how likely each way is to put `total` units into cells."""
    if len(law) == 1:
        yield law[0] ** total, (total,)
        return
    for first in range(total + 1):
        for likely, rest in ways(total - first, law[1:]):
            yield likely * math.comb(total, first) * law[0] ** first, (first, *rest)


def sides(sizes: Sequence[int], laws: Sequence[Sequence[float]]) -> list[tuple[float, Side]]:
    """Return every side that this many units in each stratum can make, with how likely it is."""
    found = []
    for strata in product(*(list(ways(size, law)) for size, law in zip(sizes, laws, strict=True))):
        cells = tuple(cells for _, cells in strata)
        found.append((math.prod(likely for likely, _ in strata), Side(cells, sum(sizes))))
    return found


@pytest.mark.parametrize("past", PASTS)
@pytest.mark.parametrize("laws", LAWS)
def test_every_question_about_latency_is_a_fair_bet(
    laws: tuple[tuple[float, ...], ...], past: tuple[tuple[float, ...], ...]
) -> None:
    """Over every batch of two strata, each with a law of its own for both arms, no stream expects more than 1."""
    asked = questions(Past(past), (LIMITS_S, LIMITS_S), SLOS, Grant())
    means = {name: [0.0] * SIZES for name in (SHAPE, "p95", "p99")}
    for (one, mine), (two, other) in product(*(sides(sizes, laws) for sizes in zip(*STRATA, strict=True))):
        for name, sums in means.items():
            steps = asked[name].answered(Batch(seconds=1.0, candidate=mine, baseline=other)).steps
            means[name] = [s + one * two * math.exp(step) for s, step in zip(sums, steps, strict=True)]
    assert all(mean <= FAIR for sums in means.values() for mean in sums), means


KNOWN: Final = ((1 - 0.03) / (1 - 0.02), 0.03 / 0.02)
GRANTS: Final[dict[str, tuple[Grant, Callable[[float], float]]]] = {
    "nothing": (Grant(), lambda pb: pb),
    "known": (Grant(known=KNOWN), lambda pb: pb * KNOWN[1] if pb == 0.02 else pb),
    "a margin": (Grant(ratio=1.2, extra=0.01), lambda pb: 1.2 * pb + 0.01),
    "a margin of what is known": (Grant(ratio=1.2, extra=0.01, known=KNOWN), lambda pb: 1.8 * pb + 0.01),
}
"""What may be granted, and up to which rate of the candidate that must be fair for a rate of the baseline."""


@pytest.mark.parametrize("grant", GRANTS)
@pytest.mark.parametrize("failed", [(0.0, 0.0), (5.0, 250.0), (90.0, 100.0)])
def test_every_question_about_errors_is_a_fair_bet(grant: str, failed: tuple[float, float]) -> None:
    """With whatever is granted, up to that the bet is fair, whatever was known of the baseline's errors."""
    given, most = GRANTS[grant]
    question = questions(Past(((),), *failed), ((),), SLOS[2:], given)[ERRORS]
    for (nc, nb), pb, part in product(((1, 4), (3, 3), (5, 1)), (0.0, 1e-9, 0.02, 0.3, 0.9), (1.0, 0.5)):
        pc = min(most(pb), 1.0) * part
        means = [0.0] * SIZES
        for (one, kc), (two, kb) in product(ways(nc, (1 - pc, pc)), ways(nb, (1 - pb, pb))):
            batch = Batch(seconds=1.0, candidate=Side((), nc, kc[1]), baseline=Side((), nb, kb[1]))
            steps = question.answered(batch).steps
            means = [s + one * two * math.exp(step) for s, step in zip(means, steps, strict=True)]
        assert all(mean <= FAIR for mean in means), (nc, nb, pb, pc, means)


@pytest.mark.parametrize("slo", SLOS, ids=lambda slo: slo.name)
def test_every_limit_is_a_fair_bet(slo: Slo) -> None:
    """Where no more are bad than the SLO allows, holding the candidate to it expects at most 1."""
    allowed = promised(slo)
    assert 0 < allowed < 0.051
    for n, part in product(range(1, 7), (1.0, 0.5, 0.0)):
        p = allowed * part
        means = [0.0] * SIZES
        for likely, (_, bad) in ways(n, (1 - p, p)):
            steps = absolute_steps(Pair(bad, n), allowed)
            means = [s + likely * math.exp(step) for s, step in zip(means, steps, strict=True)]
        assert all(mean <= FAIR for mean in means), (n, p, means)


def pairs(name: str, batch: Batch) -> tuple[Pair, Pair]:
    """Return what a question counts."""
    answer = questions(Past(PASTS[1]), (LIMITS_S, LIMITS_S), SLOS, Grant())[name].answered(batch)
    return answer.candidate, answer.baseline


def test_it_is_counted_who_was_over_the_limit() -> None:
    """Of both arms, over all strata, those are bad who are over the SLO's limit or failed, compared or not."""
    mine, other = Side(((3, 2, 1), (0, 0, 4)), 10, 2), Side(((30, 0, 0), (0, 9, 1)), 40, 1)
    both = Batch(seconds=1.0, candidate=mine, baseline=other)
    assert pairs("p95", both) == ((7, 10), (10, 40))
    assert pairs("p99", both) == ((5, 10), (1, 40))
    assert pairs("errors", both) == ((2, 10), (1, 40))
    assert pairs("p95", Batch(seconds=1.0, candidate=mine)) == ((7, 10), (0, 0))
    assert pairs("p95", Batch(seconds=1.0)) == ((0, 0), (0, 0))


@pytest.mark.parametrize(("eta", "cap"), [(1.0, math.inf), (1.0, 0.3), (0.4, 4.0)])
def test_looking_at_every_batch_is_a_fair_bet(eta: float, cap: float) -> None:
    """Over all courses of four batches, what has been won at any of them is expected to be at most what was staked.

    That holds of the least favourable moment to stop too: of all strategies, that which knows the courses' odds.
    """
    question = questions(Past(((),), 1.0, 10.0), ((),), SLOS[2:], Grant())[ERRORS]
    law, schedule, batches = (0.8, 0.2), Schedule((4.0,)), 4
    outcomes = []
    for (one, kc), (two, kb) in product(ways(1, law), ways(2, law)):
        batch = Batch(seconds=1.0, candidate=Side((), 1, kc[1]), baseline=Side((), 2, kb[1]))
        outcomes.append((one * two, question.answered(batch).steps))

    def best(evidence: Evidence, second: int) -> float:
        """Return the most that stopping now or later is expected to bring, less the stakes that are still to come."""
        stakes_to_come = sum(schedule.weight(0, each, each + 1) for each in range(second, batches))
        now = math.exp(evidence.log_e) + stakes_to_come
        if second == batches:
            return now
        weight = schedule.weight(0, second, second + 1)
        later = sum(
            likely * best(evidence.grown(weight, steps, eta=eta, cap=cap), second + 1) for likely, steps in outcomes
        )
        return max(now, later)

    assert best(Evidence.none(SIZES), 0) <= FAIR
