"""The ring keeps the newest records, hands each out once, and counts the rest."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from canary_sdk.measure.ring import Ring


class RingModel(RuleBasedStateMachine):
    """A ring of three beside a list and a number."""

    def __init__(self) -> None:
        """Start both empty."""
        super().__init__()
        self.ring = Ring[int](3)
        self.left: deque[int] = deque()
        self.dropped = 0
        self.appended = 0

    @rule()
    def append(self) -> None:
        """Append the next number; the oldest gives way."""
        self.ring.append(self.appended)
        self.left.append(self.appended)
        self.appended += 1
        if len(self.left) > 3:
            self.left.popleft()
            self.dropped += 1

    @precondition(lambda self: self.appended)
    @rule(limit=st.integers(0, 5))
    def drain(self, limit: int) -> None:
        """Take some out, oldest first."""
        assert self.ring.drain(limit) == [self.left.popleft() for _ in range(min(limit, len(self.left)))]

    @invariant()
    def agrees(self) -> None:
        """Nothing is lost, nothing invented."""
        assert len(self.ring) == len(self.left)
        assert self.ring.dropped == self.dropped


TestRing = RingModel.TestCase


def test_append_is_bound_once() -> None:
    """The append of a ring can be taken from it and used without it."""
    ring = Ring[str](1)
    append = ring.append
    append("a")
    assert ring.append is append
    assert ring.drain(9) == ["a"]


def test_a_losing_overflow_counts_nothing() -> None:
    """A record that the ticker takes before the overflow does is drained, not dropped."""
    taken: list[object] = []

    class Greedy(deque[object]):
        """Is drained by somebody else between the check of its length and the pop."""

        def __len__(self) -> int:
            length = super().__len__()
            taken.extend(self.popleft() for _ in range(length))
            return length

    from canary_sdk.measure.ring import _appender, _dropper

    losses: deque[int] = deque()
    records = Greedy()
    append = _appender(records, 0, _dropper(records, losses))
    append("a")
    assert taken == ["a"]
    assert not losses


def test_drain_keeps_what_it_has_when_the_rest_is_gone() -> None:
    """A drain that finds fewer records than it counted returns those it found."""
    ring = Ring[int](5)

    class Optimist(deque[int]):
        """Believes to be longer than it is, as one does while a writer overflows."""

        def __len__(self) -> int:
            return 9

    ring.records = Optimist([1, 2])
    assert ring.drain(9) == [1, 2]


def test_a_ring_without_room_is_refused() -> None:
    """A capacity below one is a mistake of the caller."""
    with pytest.raises(ValueError, match="at least one record, not 0"):
        Ring[int](0)


def test_repr_shows_the_state() -> None:
    """What is in it, what fits, and what was lost."""
    ring = Ring[int](2)
    for number in range(5):
        ring.append(number)
    assert repr(ring) == "<Ring 2/2, dropped 3>"
