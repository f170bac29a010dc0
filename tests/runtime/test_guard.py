"""Claims about who may serve its candidate, beside what the breakers themselves promise."""

from __future__ import annotations

from canary_sdk.core.breaker import Breaker, State
from canary_sdk.runtime.guard import Guard


def test_taking_over_what_is_known_restarts_no_wait() -> None:
    """Reading the store again, because another flag was changed, leaves a tripped breaker waiting since its trip."""
    guard = Guard(memoryview(bytearray(8)), {"new-checkout": 1}.__getitem__)
    tripped = Breaker("new-checkout", State.OPEN, tripped_at=1_750_000_000.0, since=1000.0)
    guard.decide("new-checkout", lambda _: (tripped, ()))
    guard.saved(guard.unsaved, 1)
    guard.adopt({"new-checkout": Breaker.from_dict(tripped.to_dict())}, 2)
    assert guard.breaker("new-checkout").since == 1000.0
    assert guard.view[1] == tripped.guard_bits
    guard.adopt({"new-checkout": Breaker("new-checkout")}, 3)
    assert (guard.breaker("new-checkout").state, guard.view[1]) == (State.CLOSED, 0)
