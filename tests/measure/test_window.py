"""A window tells exactly what its slices hold: no more, no less, and over how long."""

from __future__ import annotations

import sys
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from canary_sdk.core.judge.tally import Tally
from canary_sdk.measure.arena import Arena
from canary_sdk.measure.counters import ABORTED, BINS, CELLS, ERRORS, OVER, REQUESTS, Counters, nanoseconds
from canary_sdk.measure.sketch import bin_of, value_of
from canary_sdk.measure.window import Window, tally

LIMITS = (0.2, 0.5)
LIMITS_NS = (*map(nanoseconds, LIMITS), *[0] * 14)
DURATIONS = (0.1, 0.3, 0.6)


class Source:
    """An arm without an arena: what was counted, as readings."""

    def __init__(self) -> None:
        """Begin somewhere: counters are never new when a window first sees them."""
        self.cells = [1_000] * CELLS

    def finish(self, duration: float, *, error: bool = False) -> None:
        """Count a request."""
        self.cells[REQUESTS] += 1
        self.cells[ERRORS] += error
        self.cells[BINS + bin_of(duration)] += 1
        for cell, limit in enumerate(LIMITS):
            self.cells[OVER + cell] += duration > limit

    def read(self) -> Counters:
        """Return a reading."""
        return Counters(tuple(self.cells), LIMITS_NS)


class WindowModel(RuleBasedStateMachine):
    """A window of four slices beside a list of everything that ever happened."""

    def __init__(self) -> None:
        """Push one reading to compare with."""
        super().__init__()
        self.source = Source()
        self.window = Window(4)
        self.now = 100.0
        self.window.push(self.source.read(), self.now)
        self.pending: list[tuple[float, bool]] = []
        self.seen: list[tuple[float, float, list[tuple[float, bool]]]] = []

    @rule(duration=st.sampled_from(DURATIONS), error=st.booleans())
    def finish(self, duration: float, error: bool) -> None:
        """A request finishes."""
        self.source.finish(duration, error=error)
        self.pending.append((duration, error))

    @rule(later=st.sampled_from((0.25, 0.75, 1.0, 1.25, 2.5, 7.0)))
    def push(self, later: float) -> None:
        """The ticker comes by, about once a second, sometimes late."""
        self.seen.append((self.now, self.now + later, self.pending))
        self.pending, self.now = [], self.now + later
        self.window.push(self.source.read(), self.now)

    @invariant()
    def agrees(self) -> None:
        """It has exactly the requests of the last four stretches, and their length."""
        told = self.window.tally(LIMITS, (0.5,))
        last = self.seen[-4:]
        requests = [request for _, _, requests in last for request in requests]
        assert told.requests == len(requests)
        assert told.errors == sum(error for _, error in requests)
        assert told.over == {limit: sum(duration > limit for duration, _ in requests) for limit in LIMITS}
        assert told.seconds == (self.now - last[0][0] if last else 0.0)
        if requests:
            middle = sorted(duration for duration, _ in requests)[(len(requests) - 1) // 2]
            assert told.quantiles == {0.5: value_of(bin_of(middle))}


TestWindow = WindowModel.TestCase
TestWindow.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def busy_window() -> tuple[Window, Source]:
    """Three seconds with one request each."""
    window, source = Window(10), Source()
    for second in range(4):
        window.push(source.read(), 100.0 + second)
        source.finish(DURATIONS[second % 3])
    return window, source


def test_the_first_reading_is_only_compared_with() -> None:
    """What was counted before the window began is not in it."""
    window = Window(10)
    window.push(Source().read(), 100.0)
    assert window.tally(LIMITS, (0.5,)) == Tally(over=dict.fromkeys(LIMITS, 0))
    assert Window(10).tally(LIMITS, (0.5,)) == Tally()


def test_every_second_counts() -> None:
    """Requests, limits, quantiles and length."""
    window, _ = busy_window()
    assert window.tally(LIMITS) == Tally(requests=3, seconds=3.0, over={0.2: 2, 0.5: 1})


def test_a_limit_that_the_arm_does_not_have_is_not_told() -> None:
    """Nothing is known about it, which is not the same as none."""
    window, _ = busy_window()
    assert window.tally((0.2, 0.9)).over == {0.2: 2}


def test_a_new_limit_begins_the_window_again() -> None:
    """What was counted without the limit cannot be held against it."""
    window, source = busy_window()
    more = (*LIMITS_NS[:2], nanoseconds(0.9), *LIMITS_NS[3:])
    window.push(Counters(tuple(source.cells), more), 104.0)
    assert window.tally((0.2, 0.9)) == Tally(over={0.2: 0, 0.9: 0})


def test_counters_that_begin_anew_begin_the_window_again() -> None:
    """After another arena was opened nothing is negative, and nothing is counted twice."""
    window, _ = busy_window()
    window.push(Counters(limits_ns=LIMITS_NS), 104.0)
    assert window.tally(LIMITS) == Tally(over=dict.fromkeys(LIMITS, 0))


def test_the_shortest_requests_are_told() -> None:
    """The first bin is as good as any."""
    window, source = busy_window()
    source.finish(0.0)
    window.push(source.read(), 104.0)
    assert window.bins()[0] == 1


@pytest.mark.parametrize("slices", [1, 10])
@pytest.mark.parametrize("later", [ERRORS, OVER + 1])
def test_what_happens_to_a_request_later_is_never_more_than_the_requests(later: int, slices: int) -> None:
    """A request that was counted while it was open, and fails or crosses a limit in another slice, counts in both."""
    window, source = Window(slices), Source()
    window.push(source.read(), 100.0)
    source.cells[REQUESTS] += 1
    window.push(source.read(), 101.0)
    source.cells[later] += 1
    window.push(source.read(), 102.0)
    assert window.tally(LIMITS).requests == 1


def test_aborted_requests_are_apart() -> None:
    """They are told, and are no requests."""
    window, source = busy_window()
    source.cells[ABORTED] += 2
    window.push(source.read(), 104.0)
    assert (window.tally().requests, window.tally().aborted) == (4, 2)


def test_arms_are_joined() -> None:
    """Several arms of the same time: their requests added, their sketches merged, their seconds the same."""
    windows = [busy_window()[0] for _ in range(3)]
    joined = tally(windows, LIMITS, (0.5,))
    assert (joined.requests, joined.seconds, joined.over) == (9, 3.0, {0.2: 6, 0.5: 3})
    assert joined.quantiles == windows[0].tally(LIMITS, (0.5,)).quantiles
    assert tally([]) == Tally()


def test_an_idle_arm_costs_next_to_nothing() -> None:
    """Slices in which nothing happened share their emptiness."""
    arena = Arena()
    arm = arena.arm("a", LIMITS)
    window = Window(3_600)
    for second in range(3_601):
        window.push(arena.read(arm), float(second))
    assert window.tally().seconds == 3_600.0
    assert len({id(held.cells) for held in window._held}) == 1


def test_a_busy_slice_is_small() -> None:
    """A slice in which thirty cells changed takes less than a kilobyte."""
    window, source = Window(10), Source()
    window.push(source.read(), 100.0)
    for cell in range(30):
        source.cells[BINS + cell] += 1
    window.push(source.read(), 101.0)
    held = window._held[0]
    assert sum(map(sys.getsizeof, (held, held.since_s, held.cells, held.deltas))) < 1_000
    assert isinstance(window._total, Counter)
