"""Claims about who may serve its candidate, beside what the breakers themselves promise."""

from __future__ import annotations

from dataclasses import replace

from canary_sdk.core.breaker import KILLED, TRIPPED, Breaker, State
from canary_sdk.runtime.guard import DOUBT_S, UNSAVED, UNTOLD, Guard


def test_taking_over_what_is_known_restarts_no_wait() -> None:
    """Reading the store again, because another flag was changed, leaves a tripped breaker waiting since its trip."""
    view = memoryview(bytearray(8))
    guard = Guard(view, {"new-checkout": 1}.__getitem__)
    tripped = Breaker("new-checkout", State.OPEN, tripped_at=1_750_000_000.0, since=1000.0)
    guard.decide("new-checkout", lambda _: (tripped, ()))
    guard.saved(guard.unsaved, 1)
    guard.adopt({"new-checkout": Breaker.from_dict(tripped.to_dict())}, 2)
    assert guard.breaker("new-checkout").since == 1000.0
    assert view[1] == tripped.guard_bits
    guard.adopt({"new-checkout": Breaker("new-checkout")}, 3)
    assert (guard.breaker("new-checkout").state, view[1]) == (State.CLOSED, 0)


def test_taking_over_what_is_known_forgets_no_breach() -> None:
    """Breaches in a row are counted here and not stored: reading the store again must not begin the count anew."""
    guard = Guard(memoryview(bytearray(2)), lambda _: 1)
    closed = Breaker("f")
    guard.decide("f", lambda old: (replace(old, breaches=2), ()))
    guard.adopt({"f": closed}, 1)
    assert guard.breaker("f").breaches == 2
    guard.adopt({"f": replace(closed, killed=True)}, 2)
    assert guard.breaker("f") == replace(closed, killed=True)


def test_what_another_process_holds_back_is_not_let_go_by_a_judgement() -> None:
    """A judge that has not heard yet of a kill elsewhere judges on, and the flag stays off."""
    view = memoryview(bytearray(8))
    guard = Guard(view, {"new-checkout": 1}.__getitem__)
    view[1] = 2
    guard.decide("new-checkout", lambda old: (replace(old, breaches=1), ()))
    guard.move(view, {"new-checkout": 1}.__getitem__)
    guard.adopt({"new-checkout": Breaker("new-checkout")}, 1)
    assert view[1] == 2


def test_an_interval_is_not_worth_a_write() -> None:
    """Counts of breaches change every interval and are not stored; a trip is."""
    guard = Guard(memoryview(bytearray(8)), {"new-checkout": 1}.__getitem__)
    guard.decide("new-checkout", lambda old: (replace(old, breaches=2, incident=True, since=5.0), ()))
    assert not guard.unsaved
    guard.decide("new-checkout", lambda old: (replace(old, state=State.OPEN), ()))
    assert guard.unsaved.keys() == {"new-checkout"}


def test_a_byte_without_a_reason_follows_its_breaker_after_a_while() -> None:
    """What another process set a moment ago is left alone; what nobody explains for five seconds is put right."""
    view = memoryview(bytearray(8))
    guard = Guard(view, {"new-checkout": 1}.__getitem__)
    view[1] = 1
    guard.reconcile(["new-checkout"], 100.0)
    guard.reconcile(["new-checkout"], 104.9)
    assert view[1] == 1
    guard.reconcile(["new-checkout"], 105.0)
    assert view[1] == 0


def test_a_doubt_that_was_cleared_begins_anew() -> None:
    """Two short disagreements are not one long one."""
    view = memoryview(bytearray(8))
    guard = Guard(view, {"new-checkout": 1}.__getitem__)
    for now, byte in ((100.0, 1), (103.0, 0), (104.0, 1), (106.0, 1)):
        view[1] = byte
        guard.reconcile(["new-checkout"], now)
    assert view[1] == 1


def test_a_flag_without_a_slot_is_guarded_all_the_same() -> None:
    """Where the arena has no room, the byte is this process's own."""
    guard = Guard(memoryview(bytearray(8)), lambda _: 0)
    byte, other = guard.byte_of("new-checkout"), guard.byte_of("search")
    guard.decide("new-checkout", lambda old: (replace(old, killed=True), ()))
    assert (byte[()], other[()]) == (KILLED | UNSAVED, 0)


def two_guards() -> tuple[memoryview, Guard, Guard]:
    """Return the byte of a flag and the guards of two workers that share it."""
    view = memoryview(bytearray(2))
    slots = {"new-checkout": 1}.__getitem__
    return view[1:], Guard(view, slots), Guard(view, slots)


def opened(breaker: Breaker) -> tuple[Breaker, tuple[()]]:
    """Trip."""
    return replace(breaker, state=State.OPEN, reason="too many errors"), ()


def test_an_older_state_of_the_store_lets_go_of_no_newer_trip() -> None:
    """A worker that reads that a trip was cleared, while another has just tripped again, leaves the flag off."""
    byte, first, second = two_guards()
    second.adopt({"new-checkout": Breaker("new-checkout", State.OPEN)}, 1)
    first.decide("new-checkout", opened)
    second.adopt({"new-checkout": Breaker("new-checkout")}, 2)
    assert byte[0] == TRIPPED | UNSAVED
    first.saved(first.unsaved, 3)
    assert byte[0] == TRIPPED
    second.adopt(first.breakers, 3)
    assert (byte[0], second.breaker("new-checkout").reason) == (TRIPPED, "too many errors")


def test_what_nobody_could_save_is_taken_over() -> None:
    """The store was never told of a trip, and who decided is silent: another worker keeps it and will save it."""
    byte, first, second = two_guards()
    first.decide("new-checkout", opened)
    first.decide("new-checkout", lambda old: (replace(old, killed=True), ()))
    for now in (100.0, 100.0 + DOUBT_S):
        second.reconcile(["new-checkout"], now)
    taken = second.unsaved["new-checkout"]
    assert (taken.state, taken.reason, taken.killed, taken.kill_reason) == (State.OPEN, UNTOLD, True, UNTOLD)
    second.saved(second.unsaved, 1)
    assert (byte[0], dict(second.unsaved)) == (TRIPPED | KILLED, {})
