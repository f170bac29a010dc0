"""An arm stores in such an order that whoever reads between two stores sees nothing impossible."""

from __future__ import annotations

from typing import SupportsIndex, cast

from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.measure.arm import Arm
from canary_sdk.measure.counters import (
    ABORTED,
    BINS,
    CELLS,
    EARLY,
    ERRORS,
    LATENCY_NS,
    OVER,
    REQUESTS,
    RESPONSE_START_NS,
    STREAMS,
    WRITES,
    nanoseconds,
)
from canary_sdk.measure.sketch import bin_of

LIMITS_NS = (*map(nanoseconds, (0.5, 0.2)), *[0] * 14)


class Watched(list[int]):
    """A block that is read after every single store, as a process that is killed there would leave it."""

    def __setitem__(self, cell: SupportsIndex | slice, value: object) -> None:
        assert isinstance(cell, int)
        assert isinstance(value, int)
        assert value > self[cell]
        super().__setitem__(cell, value)
        assert self[REQUESTS] >= max(sum(self[BINS:OVER]), self[ERRORS], *self[OVER:REQUESTS])


def watched() -> tuple[Arm, Watched]:
    """Return an arm that counts in a watched block."""
    block = Watched([0] * CELLS)
    arm = Arm("a", None, lambda _: cast("memoryview", block))
    arm.hold_against(LIMITS_NS)
    return arm, block


@given(st.lists(st.tuples(st.floats(1e-4, 2.0), st.floats(0, 1), st.booleans(), st.booleans())))
def test_every_moment_is_possible(requests: list[tuple[float, float, bool, bool]]) -> None:
    """After each store there are no more errors, samples in bins or requests over a limit than there are requests."""
    arm, block = watched()
    for duration, seen_at, error, stream in requests:
        counted = arm.overdue(duration * seen_at)
        before = block[WRITES]
        arm.finish(duration, bin_of(duration), counted, error=error, stream=stream, response_start_s=duration / 2)
        assert block[WRITES] == before + 1
    assert block[REQUESTS] == sum(block[BINS:OVER]) == len(requests)


def test_an_aborted_request_is_nothing_else() -> None:
    """Neither a request nor an error."""
    arm, block = watched()
    arm.abort()
    assert (block[ABORTED], block[WRITES], sum(block)) == (1, 1, 2)
    arm.abort()
    assert (block[ABORTED], block[WRITES], sum(block)) == (2, 2, 4)


def test_an_open_request_is_overdue_past_the_limit_and_not_at_it() -> None:
    """At the limit it is nothing yet; past it, it is counted as early once, and each crossing is one write."""
    arm, block = watched()
    assert arm.overdue(0.2) == sum(block) == 0
    counted = arm.overdue(0.3)
    assert (block[REQUESTS], block[EARLY], block[WRITES]) == (1, 1, 1)
    arm.overdue(0.6, counted)
    assert (block[REQUESTS], block[EARLY], block[WRITES]) == (1, 1, 2)


def test_a_request_is_plain_unless_something_else_is_said() -> None:
    """No error, no stream, and nothing known of the start of its response."""
    block = [0] * CELLS
    Arm("a", None, lambda _: cast("memoryview", block)).finish(0.125, bin_of(0.125))
    assert (block[ERRORS], block[STREAMS], block[RESPONSE_START_NS], block[LATENCY_NS]) == (0, 0, 0, 125_000_000)


def test_without_limits_nothing_is_overdue() -> None:
    """An arm that promises nothing counts no open request, and needs no block for it."""
    arm = Arm("a", None, lambda _: memoryview(b""))
    assert arm.overdue(1e9) == 0
    assert repr(arm) == "<Arm a, untouched, limits ()>"
