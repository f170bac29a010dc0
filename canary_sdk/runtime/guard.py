"""Who may serve its candidate: the breakers, and the byte a flag that every evaluation looks at.

The bytes live in the arena, so that every worker of the host sees a change at its next evaluation, with no message
sent. A decision swaps the state and sets the byte first; telling and saving come afterwards and are somebody else's
work. Until it is saved the byte says so: no other worker lets go of what it cannot know the reason of, and one of them
saves it, should the one that decided not live to.

Threads: any thread may decide; a lock is held for the swap only, never across I/O or anybody's code.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from canary_sdk.core.breaker import KILLED, TRIPPED, Breaker, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from canary_sdk.core.breaker import Decision
    from canary_sdk.core.events import Event


DOUBT_S: Final = 5.0
"""How long a guard byte may say something else than the breaker: several times as long as a poll takes."""
UNSAVED: Final = 8
"""In the byte of a flag that is held back: the store has not been told yet."""
UNTOLD: Final = "another worker of this host held it back, and could not tell the store why"
"""The reason of what this process knows by the byte alone."""


class Guard:
    """The breakers of one process and their guard bytes."""

    def __init__(self, view: memoryview, slot_of: Callable[[str], int]) -> None:
        """Guard the flags whose byte in `view` is at `slot_of(flag_key)`; one without a slot gets a byte here."""
        self._view = view
        self._slot_of = slot_of
        self._private: dict[str, memoryview] = {}
        self._breakers: dict[str, Breaker] = {}
        self._unsaved: dict[str, Breaker] = {}
        self._saved_at: dict[str, int] = {}
        self._stored: dict[str, Breaker] = {}
        self._doubts: dict[str, float] = {}
        self._lock = threading.Lock()

    def move(self, view: memoryview, slot_of: Callable[[str], int]) -> None:
        """Guard in another arena from now on: what is off stays off."""
        with self._lock:
            self._view, self._slot_of = view, slot_of
            for flag_key, breaker in self._breakers.items():
                self._set(flag_key, breaker)

    def byte_of(self, flag_key: str) -> memoryview:
        """Return the flag's byte, as a view of no dimension (`guard[()]`); for whoever will read it often."""
        slot = self._slot_of(flag_key)
        byte = self._view[slot : slot + 1] if slot else self._private.setdefault(flag_key, memoryview(bytearray(1)))
        return byte.cast("B", ())

    @property
    def breakers(self) -> Mapping[str, Breaker]:
        """All breakers that were ever touched, as of now."""
        return MappingProxyType(dict(self._breakers))

    @property
    def unsaved(self) -> Mapping[str, Breaker]:
        """Breakers whose newest state is not in the store yet."""
        return MappingProxyType(dict(self._unsaved))

    @property
    def stored(self) -> Mapping[str, Breaker]:
        """What the store was last known to hold: the states that the unsaved ones have grown from."""
        return MappingProxyType(dict(self._stored))

    def breaker(self, flag_key: str) -> Breaker:
        """Return the breaker of a flag; a flag that was never judged has a closed one."""
        return self._breakers.get(flag_key) or Breaker(flag_key)

    def is_in_doubt(self, flag_key: str) -> bool:
        """Whether another worker has changed the flag's byte for a reason that this process has not read of yet."""
        return self.byte_of(flag_key)[()] & ~UNSAVED != self.breaker(flag_key).guard_bits

    def decide(self, flag_key: str, decision: Callable[[Breaker], Decision]) -> tuple[Event, ...]:
        """Swap the breaker for what `decision` makes of it, set the byte, and return the events to tell."""
        with self._lock:
            before = self.breaker(flag_key)
            after, events = decision(before)
            if _lasting(after) != _lasting(before):
                self._unsaved[flag_key] = after
            self._set(flag_key, after)
        return events

    def adopt(self, stored: Mapping[str, Breaker], version: int) -> None:
        """Take over what the store says at `version`, except where this process or the byte knows better."""
        with self._lock:
            for flag_key, breaker in stored.items():
                if flag_key not in self._unsaved and self._saved_at.get(flag_key, 0) <= version:
                    self._stored[flag_key] = breaker
                    known = self.breaker(flag_key)  # it also knows what was counted here, and since when this one waits
                    self._set(flag_key, known if _lasting(known) == _lasting(breaker) else breaker)

    def saved(self, breakers: Mapping[str, Breaker], version: int) -> None:
        """Note that these states are in the store since `version`."""
        with self._lock:
            for flag_key, breaker in breakers.items():
                self._saved_at[flag_key] = version
                self._stored[flag_key] = breaker
                if self._unsaved.get(flag_key) is breaker:
                    self._settle(flag_key)

    def reconcile(self, flag_keys: Iterable[str], now: float) -> None:
        """Settle the bytes that have disagreed with their breakers for `DOUBT_S` (monotonic `now`).

        To be called while the store is read: a byte that changed a moment ago was set by another process, whose reason
        will come through the store. What stays without a reason is taken over if the store was never told of it; else
        it was left behind by somebody whose store is gone, and follows the breaker.
        """
        with self._lock:
            doubts, self._doubts = self._doubts, {}
            for flag_key in flag_keys:
                guard = self.byte_of(flag_key)
                byte = guard[()]
                if byte == self._byte(flag_key):
                    continue
                since = self._doubts[flag_key] = doubts.get(flag_key, now)
                if now - since < DOUBT_S:
                    continue
                if byte & UNSAVED and self.is_in_doubt(flag_key):
                    self._breakers[flag_key] = self._unsaved[flag_key] = _held(self.breaker(flag_key), byte)
                guard[()] = self._byte(flag_key)

    def _set(self, flag_key: str, breaker: Breaker) -> None:
        """Swap the breaker. What was not known to be held back is not let go: another process may have held it."""
        bits, known = breaker.guard_bits, self.breaker(flag_key).guard_bits
        self._breakers[flag_key] = breaker
        guard = self.byte_of(flag_key)
        is_of_another = guard[()] & UNSAVED and flag_key not in self._unsaved
        if (bits or known) and not is_of_another:
            guard[()] = self._byte(flag_key)

    def _settle(self, flag_key: str) -> None:
        """Note that the store knows; a byte that says something else by now is another's."""
        guard = self.byte_of(flag_key)
        was = self._byte(flag_key)
        del self._unsaved[flag_key]
        if guard[()] == was:
            guard[()] = self._byte(flag_key)

    def _byte(self, flag_key: str) -> int:
        """Return what the byte should be, by what this process knows."""
        bits = self.breaker(flag_key).guard_bits
        return bits | UNSAVED if flag_key in self._unsaved and bits & (TRIPPED | KILLED) else bits


def _held(breaker: Breaker, byte: int) -> Breaker:
    """Return a breaker that is held back as the byte says, for a reason that is not known."""
    if byte & TRIPPED:
        breaker = replace(breaker, state=State.OPEN, reason=UNTOLD, recovered=False, overdue=False, since=None)
    return replace(breaker, killed=True, kill_reason=UNTOLD) if byte & KILLED and not breaker.killed else breaker


def _lasting(breaker: Breaker) -> Breaker:
    """Return what of a breaker is worth storing: its counts are an interval's news, and no restart misses them."""
    return replace(breaker, breaches=0, passes=0, incident=False, since=None)
