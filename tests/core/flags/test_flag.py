"""Claims about a flag as a value."""

from __future__ import annotations

from dataclasses import replace

import pytest

from canary_sdk.core.flags.flag import Flag, held_back
from canary_sdk.core.judge.slo import parse_slo

PROMISE = (parse_slo("p95 < 1s"),)


@pytest.mark.parametrize(
    ("rollout", "holdback", "served"),
    [(100.0, 5.0, 95.0), (95.001, 5.0, 95.0), (95.0, 5.0, 95.0), (5.0, 5.0, 5.0), (100.0, 99.999, 0.001)],
)
@pytest.mark.parametrize("promises", [{"slos": PROMISE}, {"soft": PROMISE}], ids=["hard", "soft"])
def test_some_are_held_back_of_a_flag_that_promises_something(
    promises: dict[str, tuple[object, ...]], rollout: float, holdback: float, served: float
) -> None:
    """It is served to no more than the rest, and else as it is, to the last decimal."""
    flag = Flag("f", rollout=rollout, **promises)  # type: ignore[arg-type]
    held = held_back(flag, holdback)
    assert held == replace(flag, rollout=served)
    assert (held is flag) is (served == rollout)


def test_nobody_is_held_back_where_nothing_is_promised() -> None:
    """Nobody would compare them with anybody."""
    flag = Flag("f", rollout=100.0)
    assert held_back(flag, 5.0) is flag
