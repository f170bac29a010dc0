"""What is learnt of users and baseline before a release, while everybody gets the baseline. It judges nobody.

First users are sorted: how slow each micro-band is. Then there is a map of strata, and two things are measured with
it: how the baseline is in each, and how much noise those bring who will get the candidate (see `strata` and
`calibration`). The edges of the cells are laid anew as the baseline becomes known. Where a release begins before there
was time for a map, users are taken to be alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.core.judge.batch import Batch, Side
from canary_sdk.core.judge.calibration import BLOCK_S, Block, noise
from canary_sdk.core.judge.evalues import Pair
from canary_sdk.core.judge.sequential import Case, learn, open_case, start
from canary_sdk.core.judge.slo import say_ratio, say_seconds
from canary_sdk.core.judge.strata import MICRO_BANDS, STRATA, known_errors
from canary_sdk.core.judge.streams import Grant, LatencyQuestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from canary_sdk.core.judge.sequential import Terms

    Blocks = Mapping[str, Block]

SORTING_S: Final = 900.0
"""How long users are sorted before the map is made."""
SETTLED_S: Final = (10.0, 60.0, 300.0)
"""When edges are laid anew; after the last of them, noise is measured."""
FEWEST: Final = 10
"""From fewer blocks no noise is told."""
MOST: Final = 60
"""The last so many blocks are kept."""
_MUCH: Final = 1.5
"""Who is bad so many times as often as the others is told of."""
_UNCERTAIN: Final = 4.0
"""A bound on how much more somebody fails that is beyond this, and not beyond chance, says that too little is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """What is known so far.

    `strata` is the map, empty before there is one; `seconds` is how long the baseline was seen since, or until, it was
    made. `minute` are the counts of the present block: of the first to get the candidate, of the rest, and how long.
    `noise` is what was found, also before a restart, of those who will be the first; `bound` the most that it can be
    for whoever is, as far as so many blocks can tell: that is to be kept for releases of which nothing is learnt.
    """

    case: Case
    strata: bytes = b""
    seconds: float = 0.0
    blocks: tuple[Blocks, ...] = ()
    minute: tuple[Side, Side, float] = (Side(), Side(), 0.0)
    noise: Mapping[str, float] = field(default_factory=dict)
    bound: Mapping[str, float] = field(default_factory=dict)

    @property
    def can_be_sorted(self) -> bool:
        """Whether enough was seen to make the map."""
        return not self.strata and self.seconds >= SORTING_S

    @property
    def assumes(self) -> str:
        """What a comparison has to take for granted; nothing, if users were sorted and their noise was measured."""
        if not self.strata:
            seen = f"only {say_seconds(self.seconds)} of them" if self.seconds else "nothing of them"
            return f"users are assumed to be alike, as {seen} was seen before the release"
        if not self.noise:
            return "users are compared with their like; how much noise they bring was not measured before the release"
        return ""

    def to_dict(self) -> dict[str, object]:
        """Return what is stored, as JSON types; of the blocks, only what they have shown."""
        return {
            "case": self.case.to_dict(),
            "strata": "".join(map(str, self.strata)),
            "seconds": self.seconds,
            "noise": dict(self.noise),
            "bound": dict(self.bound),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], terms: Terms) -> Learning:
        """Read what was stored, to be judged by these terms. Raises: KeyError, TypeError, ValueError."""
        case, strata = Case.from_dict(data["case"], terms), strata_of(data["strata"])
        if len(case.edges) != (STRATA if strata else 1):
            raise ValueError(f"{len(case.edges)} strata have edges, and the map is of {len(strata)} micro-bands")
        return cls(case=case, strata=strata, seconds=data["seconds"], noise=data["noise"], bound=data["bound"])


def strata_of(found: str) -> bytes:
    """Read a map of strata. Raises: ValueError for what is none."""
    strata = bytes(map(int, found))
    if len(strata) not in (0, MICRO_BANDS) or max(strata, default=0) >= STRATA:
        raise ValueError(f"a map of {len(strata)} micro-bands was found, expected {MICRO_BANDS} and {STRATA} strata")
    return strata


def begin(
    terms: Terms,
    strata: bytes = b"",
    noise: Mapping[str, float] | None = None,
    bound: Mapping[str, float] | None = None,
) -> Learning:
    """Begin to learn, with the map that there is and the noise that is known."""
    case = open_case(terms, STRATA if strata else 1)
    return Learning(case=case, strata=strata, noise=noise or {}, bound=bound or {})


def sort(learning: Learning, strata: bytes) -> Learning:
    """Go on with a map."""
    return begin(learning.case.terms, strata)


def take(learning: Learning, batch: Batch) -> Learning:
    """Take in a batch in which the candidate's side is those who will be the first to get it."""
    if not batch.baseline.units:
        return learning
    case, seconds = learn(learning.case, replace(batch, candidate=Side())), learning.seconds + batch.seconds
    if any(learning.seconds < mark <= seconds for mark in SETTLED_S):
        return replace(learning, case=start(case, 0), seconds=seconds)
    after = replace(learning, case=case, seconds=seconds)
    return _measured(after, batch) if learning.strata and seconds > SETTLED_S[-1] else after


def _measured(learning: Learning, batch: Batch) -> Learning:
    """Add to the present block; close it when it is long enough."""
    one, other, seconds = learning.minute
    minute = one + batch.candidate, other + batch.baseline, seconds + batch.seconds
    if minute[2] < BLOCK_S:
        return replace(learning, minute=minute)
    blocks = (*learning.blocks, _blocks(learning.case, *minute))[-MOST:]
    after = replace(learning, blocks=blocks, minute=(Side(), Side(), 0.0))
    if len(blocks) < FEWEST:
        return after
    found = _noise(blocks, learning.case.terms)
    return replace(after, noise=found, bound=_bound(blocks, found))


def _blocks(case: Case, one: Side, other: Side, seconds: float) -> Blocks:
    """Return what each stream would have seen."""
    found = {name: Block(_outcomes(one), _outcomes(other), seconds) for name in case.terms.rates}
    for name, question in case.asked.items():
        if isinstance(question, LatencyQuestion):
            mine, rest = (each.cells if question.whole else _halves(each, question.cuts) for each in (one, other))
            found[name] = Block(mine, rest, seconds)
    return found


def _outcomes(side: Side) -> tuple[tuple[int, int]]:
    return ((side.units - side.errors, side.errors),)


def _halves(side: Side, cuts: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    return tuple((sum(cells[:cut]), sum(cells[cut:])) for cells, cut in zip(side.cells, cuts, strict=True))


def _noise(blocks: tuple[Blocks, ...], terms: Terms) -> dict[str, float]:
    """Measure what the first to get the candidate bring; how much more they fail anyway is granted to them."""
    return {name: noise(each, known=name in terms.rates) for name, each in _by_stream(blocks).items()}


def _bound(blocks: tuple[Blocks, ...], found: Mapping[str, float]) -> dict[str, float]:
    """Take the same blocks for an A/A run, whose upper bound holds for other users too.

    How far the arms wander is what counts in it: between them lies half of the tolerance, which is no noise.
    """
    by_stream = _by_stream(blocks)
    return {name: max(noise(each, known=True, alike=True), found[name]) for name, each in by_stream.items()}


def _by_stream(blocks: tuple[Blocks, ...]) -> dict[str, list[Block]]:
    names = dict.fromkeys(name for each in blocks for name in each)
    return {name: [each[name] for each in blocks if name in each] for name in names}


def unlike(learning: Learning, future: Pair, rest: Pair) -> tuple[str, ...]:
    """Say in what the first to get the candidate differ for the worse from the rest, before they get it.

    `future` and `rest` are how they failed, or how many of their values were bad. Told is what is beyond chance and
    half as much again as usual; the comparison allows for it as far as it can, and is the weaker for it.
    """
    terms = learning.case.terms
    pairs = dict.fromkeys(terms.rates, (future, rest))
    for name, blocks in _by_stream(learning.blocks).items():
        if name not in (*terms.rates, *terms.shapes):
            pairs[name] = (_over(block.one for block in blocks), _over(block.other for block in blocks))
    return tuple(
        f"{name}: {_share(mine)} of what is theirs is bad, {_share(other)} of the others'"
        for name, (mine, other) in pairs.items()
        if mine.total and other.total and _is_worse(mine, other)
    )


def _share(pair: Pair) -> str:
    return say_ratio(pair.bad / pair.total)


def _over(sides: Iterable[tuple[tuple[int, ...], ...]]) -> Pair:
    """Add up how many are in the last cells, and in all."""
    cells = [stratum for side in sides for stratum in side]
    return Pair(sum(stratum[-1] for stratum in cells), sum(map(sum, cells)))


def _is_worse(mine: Pair, other: Pair) -> bool:
    return mine.bad > _MUCH * _usual(other) * mine.total and _is_beyond_chance(mine, other)


def granted(future: Pair, rest: Pair) -> Grant:
    """Return what is granted to those who will get the candidate, from how they and the rest failed before it."""
    known = known_errors(future, rest)
    if known is None or (known[1] > _UNCERTAIN and not _is_beyond_chance(future, rest)):
        return Grant()
    return Grant(known=known)


def _is_beyond_chance(future: Pair, rest: Pair) -> bool:
    return future.bad - 2 * math.sqrt(future.bad) > _usual(rest) * future.total


def _usual(rest: Pair) -> float:
    """Return about how often others are bad; half a one, where nobody was."""
    return (rest.bad + 0.5) / (rest.total + 1)
