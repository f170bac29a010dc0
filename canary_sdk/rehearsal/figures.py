"""Counts and exact quantiles out of raw times, for what a rehearsal sees itself. It holds no sketch and no window."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from canary_sdk.core.judge.slo import limits_of
from canary_sdk.core.judge.tally import Tally
from canary_sdk.core.judge.verdict import Arms, Outcome, judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from canary_sdk.core.judge.slo import Slo

QUANTILES: Final = (0.5, 0.95, 0.99)
FEWEST: Final = 20
"""Below this many requests nothing is said about limits."""


def quantile(ordered: Sequence[float], q: float) -> float | None:
    """Return the smallest value that at least `q` of the ordered values do not exceed; None when there are none."""
    return ordered[math.ceil(len(ordered) * q) - 1] if ordered else None


def tally_of(times: Iterable[float], *, errors: int, seconds: float, slos: Sequence[Slo] = ()) -> Tally:
    """Count finished requests in `seconds` of time, exactly, over the limits of `slos` too; `times` are in seconds."""
    ordered = sorted(times)
    return Tally(
        requests=len(ordered),
        errors=errors,
        seconds=seconds,
        over={limit: len(ordered) - bisect_right(ordered, limit) for limit in limits_of(slos, 0.0)},
        quantiles={q: figure for q in QUANTILES if (figure := quantile(ordered, q)) is not None},
    )


def keeps(tally: Tally, slos: Sequence[Slo]) -> bool | None:
    """Whether this traffic keeps its promises; None when there is too little of it to say."""
    if tally.requests < FEWEST:
        return None
    verdict = judge(
        slos, Arms(tally), others={"call": Arms(tally)}, total=tally, share=1.0, tolerance=0.0, min_samples=FEWEST
    )
    return verdict.outcome is not Outcome.BREACH
