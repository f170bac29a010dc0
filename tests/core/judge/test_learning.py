"""What is learnt before a release: edges, strata and noise, each in its time, and what is granted on their strength."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from canary_sdk.core.judge.batch import Batch, Side
from canary_sdk.core.judge.calibration import BLOCK_S, Block, noise
from canary_sdk.core.judge.evalues import Pair
from canary_sdk.core.judge.learning import (
    FEWEST,
    SETTLED_S,
    SORTING_S,
    Learning,
    begin,
    granted,
    sort,
    strata_of,
    take,
    unlike,
)
from canary_sdk.core.judge.sequential import Stage, Terms
from canary_sdk.core.judge.slo import parse_slo
from canary_sdk.core.judge.strata import MICRO_BANDS, STRATA
from canary_sdk.core.judge.streams import Grant

if TYPE_CHECKING:
    from canary_sdk.core.judge.streams import Edges

TERMS = Terms(stages=(Stage(percent=5, longest_s=3600, slos=tuple(map(parse_slo, ("p95 < 1s", "errors < 1%")))),))
MAP = bytes(band % STRATA for band in range(MICRO_BANDS))


def side(draw: np.random.Generator, units: int, edges: Edges, slow: float = 1.0) -> Side:
    """Count units of lognormal latency, in all strata alike."""
    cells = tuple(
        tuple(
            np.bincount(np.searchsorted(each, draw.lognormal(-2, 0.5, units) * slow), minlength=len(each) + 1).tolist()
        )
        for each in edges
    )
    return Side(cells, units * len(edges), 0)


def learnt(learning: Learning, seconds: float, *, private: float = 0.0, units: int = 20) -> Learning:
    """Learn in steps of 10 s; the pace of the future candidates wanders by `private`."""
    draw = np.random.default_rng(1)
    for _ in range(round(seconds / 10)):
        slow = float(np.exp(draw.normal(0, private)))
        mine = side(draw, units, learning.case.trial_edges, slow)
        learning = take(
            learning, Batch(seconds=10.0, candidate=mine, baseline=side(draw, 4 * units, learning.case.edges))
        )
    return learning


def test_users_can_be_sorted_once_enough_was_seen() -> None:
    """Not before, not again once there is a map, and seconds in which nobody came do not count."""
    learning = learnt(begin(TERMS), SORTING_S - 10)
    assert not learning.can_be_sorted
    assert not take(learning, Batch(seconds=1e6)).can_be_sorted
    assert learnt(learning, 10).can_be_sorted
    assert not learnt(sort(learning, MAP), SORTING_S).can_be_sorted


def test_edges_are_laid_anew_as_the_baseline_becomes_known() -> None:
    """At the marks and not between them; the limit stays one of them."""
    learning, changes = begin(TERMS), []
    for step in range(1, 60):
        before = learning.case.edges
        learning = learnt(learning, 10)
        if learning.case.edges != before:
            changes.append(step * 10.0)
        assert all(1.0 in edges for edges in learning.case.edges)
    assert changes == list(SETTLED_S)


def test_noise_is_measured_with_a_map_and_enough_blocks() -> None:
    """None for arms that differ by chance alone, much for one that wanders on its own."""
    long = SETTLED_S[-1] + 60 * FEWEST
    assert not learnt(begin(TERMS), long).noise
    assert not learnt(sort(begin(TERMS), MAP), long - 60).noise
    calm, restless = (learnt(sort(begin(TERMS), MAP), long, private=private).noise for private in (0.0, 0.3))
    assert calm.keys() == {"shape", "p95", "errors"}
    assert restless["shape"] > 10 * calm["shape"] + 0.1


def test_a_block_is_what_each_stream_would_have_seen() -> None:
    """Both sides of a minute, added up: all cells, those up to and over the limit, and who failed; then the next."""
    learning = learnt(sort(begin(TERMS), MAP), SETTLED_S[-1])
    edges = learning.case.edges
    mine, rest = (
        Side(tuple(tuple(range(first, first + len(each) + 1)) for each in edges), units, 3)
        for first, units in ((1, 90), (5, 400))
    )
    for _ in range(2):
        assert learning.blocks == ()
        learning = take(learning, Batch(seconds=BLOCK_S / 2, candidate=mine, baseline=rest))
    one, other = mine + mine, rest + rest

    def halves(side: Side) -> tuple[tuple[int, int], ...]:
        cuts = [each.index(1.0) + 1 for each in edges]
        return tuple((sum(cells[:cut]), sum(cells[cut:])) for cells, cut in zip(side.cells, cuts, strict=True))

    assert learning.blocks == (
        {
            "errors": Block(((174, 6),), ((794, 6),), BLOCK_S),
            "shape": Block(one.cells, other.cells, BLOCK_S),
            "p95": Block(halves(one), halves(other), BLOCK_S),
        },
    )
    assert learning.minute == (Side(), Side(), 0.0)


def test_what_was_seen_of_the_baseline_is_added_up() -> None:
    """Batch by batch, also between the marks; noise that is known is kept until more is."""
    batch = Batch(seconds=1.0, baseline=side(np.random.default_rng(1), 50, begin(TERMS).case.edges))
    once = take(begin(TERMS, noise={"p95": 0.1}), batch)
    twice = take(once, batch)
    assert twice.case.past.units > once.case.past.units == 50
    assert twice.noise == {"p95": 0.1}
    assert (begin(TERMS).noise, len(begin(TERMS).case.edges), len(begin(TERMS, MAP).case.edges)) == ({}, 1, STRATA)


def test_noise_is_that_of_the_blocks() -> None:
    """Failures are counts of a share that is known, and all else is not."""
    learning = learnt(sort(begin(TERMS), MAP), SETTLED_S[-1] + 60 * FEWEST, private=0.3)
    assert learning.noise == {
        name: noise([each[name] for each in learning.blocks], known=name == "errors")
        for name in ("errors", "shape", "p95")
    }


def test_what_is_kept_of_a_measurement_is_what_it_may_have_missed() -> None:
    """It is never less than what was found, and of chance alone the less the longer it was measured."""
    short, long = (learnt(sort(begin(TERMS), MAP), SETTLED_S[-1] + 60 * blocks) for blocks in (FEWEST, 4 * FEWEST))
    restless = learnt(sort(begin(TERMS), MAP), SETTLED_S[-1] + 60 * FEWEST, private=0.3)
    for learning in (short, long, restless):
        assert all(learning.bound[name] >= noise for name, noise in learning.noise.items())
    assert short.bound["shape"] > 2 * long.bound["shape"] > 0
    assert restless.bound["shape"] > 2 * restless.noise["shape"]


def test_what_is_taken_for_granted_is_said() -> None:
    """Alike users without a map, noise that nobody measured, and in the end nothing."""
    assert "nothing of them was seen" in begin(TERMS).assumes
    assert "only 50 s of them was seen" in learnt(begin(TERMS), 50).assumes
    sorted_ = sort(begin(TERMS), MAP)
    assert "was not measured" in sorted_.assumes
    assert learnt(sorted_, SETTLED_S[-1] + 60 * FEWEST).assumes == ""


def test_it_is_read_as_it_was_written() -> None:
    """As JSON: the case, the map and the noise; what belongs to other terms or is damaged is refused."""
    learning = learnt(sort(begin(TERMS), MAP), SETTLED_S[-1] + 60 * FEWEST)
    stored = json.loads(json.dumps(learning.to_dict()))
    read = Learning.from_dict(stored, TERMS)
    assert (read.case, read.strata, read.noise, read.bound, read.seconds) == (
        learning.case,
        learning.strata,
        learning.noise,
        learning.bound,
        learning.seconds,
    )
    for damaged in ({"strata": ""}, {"strata": str(STRATA) * MICRO_BANDS}, {"strata": "0"}, {"strata": 5}):
        with pytest.raises((TypeError, ValueError)):
            Learning.from_dict({**stored, **damaged}, TERMS)
    alike = json.loads(json.dumps(begin(TERMS).to_dict()))
    assert Learning.from_dict(alike, TERMS) == begin(TERMS)
    with pytest.raises(ValueError, match=f"1 strata have edges, and the map is of {MICRO_BANDS} micro-bands"):
        Learning.from_dict({**alike, "strata": stored["strata"]}, TERMS)
    with pytest.raises(ValueError, match=f"a map of 1 micro-bands was found, expected {MICRO_BANDS} and {STRATA} str"):
        strata_of("0")


@pytest.mark.parametrize(
    ("future", "rest", "is_granted"),
    [
        (Pair(0, 0), Pair(10, 10_000), False),
        (Pair(0, 100), Pair(10, 10_000), False),
        (Pair(10, 10_000), Pair(100, 100_000), True),
        (Pair(500, 10_000), Pair(100, 100_000), True),
        (Pair(0, 100_000), Pair(100, 10_000), False),
    ],
)
def test_nobody_is_granted_what_is_not_known(future: Pair, rest: Pair, is_granted: bool) -> None:
    """A bound on how much more somebody fails is granted where it is narrow, or the difference is beyond chance."""
    assert (granted(future, rest) != Grant()) is is_granted


def test_who_is_first_and_unlike_the_rest_is_told_of() -> None:
    """Beyond chance and by half as much again; not what chance alone makes, and not who is better."""
    learning = begin(TERMS)
    usual = Pair(100, 10_000)
    assert unlike(learning, Pair(30, 1_000), usual) == ("errors: 3 % of what is theirs is bad, 1 % of the others'",)
    for future in (Pair(12, 1_000), Pair(2, 100), Pair(0, 1_000), Pair(0, 0)):
        assert unlike(learning, future, usual) == ()
    few = Pair(0, 9)  # of nine none was bad, so that it is about one in twenty
    exact = {(12, 100): True, (12, 104): False, (100, 1_300): True, (100, 1_400): False}
    for (bad, total), is_told in exact.items():
        assert bool(unlike(learning, Pair(bad, total), few)) is is_told
    assert unlike(learning, Pair(75, 200), Pair(0, 1)) == ()  # by exactly half as much again
    over = Block(one=((700, 300),), other=((9_500, 500),))
    (told,) = unlike(replace(learning, blocks=({"p95": over, "shape": over},)), usual, usual)
    assert told.startswith("p95: 30 %")
