"""Writes down what happens during a drill, and when: what the library tells, the witness sees and the drill does.

Threads: `handle` is called by the library's background; everything else by the drill's own thread.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from canary_sdk.core.events import FlagEvent, FlagTripped, ServiceRecovered, Severity, VerdictReached
from canary_sdk.rehearsal.result import Decision, Kind, Moment, Times

if TYPE_CHECKING:
    from canary_sdk.clock import Clock
    from canary_sdk.core.events import Event
    from canary_sdk.rehearsal.witness import FaultMiddleware


class Journal:
    """An event sink with a memory, for one flag."""

    def __init__(self, flag_key: str, witness: FaultMiddleware, clock: Clock) -> None:
        """Begin now."""
        self.moments: list[Moment] = []
        self.decisions: list[Decision] = []
        self.times = Times(began=clock.monotonic())
        self._flag_key = flag_key
        self._witness = witness
        self._clock = clock
        self._told: deque[tuple[float, Event]] = deque()

    def handle(self, event: Event) -> None:
        """Take an event from the library, with the moment it was told."""
        if isinstance(event, FlagEvent) and event.flag_key == self._flag_key:
            self._told.append((self._clock.monotonic(), event))

    def begin(self) -> None:
        """Count seconds from now on."""
        self.times.began = self._clock.monotonic()

    def note(self, kind: Kind, sentence: str, at: float | None = None) -> None:
        """Write down a moment: now, or at a monotonic second."""
        moment = self._clock.monotonic() if at is None else at
        self.moments.append(Moment(moment - self.times.began, kind, sentence))
        self.moments.sort(key=lambda each: each.at)

    def listen(self) -> None:
        """Write down what was seen and told since the last time."""
        strike = self._witness.first_strike
        if strike is not None and self.times.first_strike is None:
            self.times.first_strike = strike
            self.note(Kind.FAULT, "the first bad request", at=strike)
        while self._told:
            self._take(*self._told.popleft())

    def _take(self, at: float, event: Event) -> None:
        match event:
            case VerdictReached():
                self.decisions.append(Decision(at - self.times.began, event))
            case FlagTripped():
                self.times.tripped = self.times.tripped or at
                self.note(Kind.TRIP, event.sentence, at=at)
            case ServiceRecovered():
                self.note(Kind.RECOVERY, event.sentence, at=at)
            case _:
                self.note(Kind.STEP if event.severity is Severity.INFO else Kind.TROUBLE, event.sentence, at=at)
