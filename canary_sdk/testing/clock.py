"""A clock that moves when a test says so."""

from __future__ import annotations


class ManualClock:
    """A `Clock` whose hands only move by `advance` (both) or `set_wall` (the wall alone, as an operator's hand would).

    Units: seconds. Threads: one writer; readers may be anywhere.
    """

    def __init__(self, monotonic: float = 1_000.0, wall: float = 1_750_000_000.0) -> None:
        """Start both hands somewhere."""
        self._monotonic = monotonic
        self._wall = wall

    def monotonic(self) -> float:
        """Return the hand that never goes back."""
        return self._monotonic

    def wall(self) -> float:
        """Return the wall clock's hand."""
        return self._wall

    def pause(self, seconds: float) -> None:
        """Let that much time pass at once."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move both hands forward."""
        self._monotonic += seconds
        self._wall += seconds

    def set_wall(self, at: float) -> None:
        """Make the wall clock jump; the monotonic hand stays."""
        self._wall = at
