"""Claims about when a flag is taken back, and that it stays so."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from canary_sdk.core.breaker import (
    KILLED,
    PROBING,
    TRIPPED,
    AutoRollback,
    Breaker,
    Decision,
    RollbackRule,
    Sign,
    State,
    condemn,
    end_probe,
    kill,
    observe,
    observe_service,
    release,
    reset,
    sign_of,
    start_probe,
)
from canary_sdk.core.events import (
    FlagKilled,
    FlagRecovered,
    FlagReleased,
    FlagReset,
    FlagTripped,
    IncidentSuspected,
    ProbeExpired,
    ProbeStarted,
    RecoveryOverdue,
    ServiceRecovered,
    TripWithheld,
    VerdictReached,
)
from canary_sdk.core.judge.decision import Action
from canary_sdk.core.judge.decision import Decision as Ruling
from canary_sdk.core.judge.evalues import Pair
from canary_sdk.core.judge.slo import parse_slo
from canary_sdk.core.judge.verdict import Finding, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from canary_sdk.core.events import Event

WALL: Final = 1_750_000_000.0
POLICY: Final = AutoRollback(rule=RollbackRule.CONSECUTIVE)
PROBE: Final = replace(POLICY, probe_percent=1.0)
CLOSED: Final = Breaker("new-checkout")


def a_verdict(outcome: Outcome, *, shared: bool = False) -> Verdict:
    """Make a verdict of one finding."""
    finding = Finding(slo=parse_slo("p95 < 500ms"), outcome=outcome, candidate=0.812, samples=188, shared=shared)
    return Verdict((finding,), 30.0)


PASS: Final = a_verdict(Outcome.PASS)
ACCEPTABLE: Final = a_verdict(Outcome.ACCEPTABLE)
INCONCLUSIVE: Final = a_verdict(Outcome.INCONCLUSIVE)
BREACH: Final = a_verdict(Outcome.BREACH)
SHARED: Final = a_verdict(Outcome.BREACH, shared=True)
VERDICTS: Final = (PASS, ACCEPTABLE, INCONCLUSIVE, BREACH, SHARED)


def observed(breaker: Breaker, *verdicts: Verdict, policy: AutoRollback = POLICY) -> tuple[Breaker, list[Event]]:
    """Show verdicts to a breaker, one every 30 s from second 0 on, and collect what it tells beside the verdicts."""
    told: list[Event] = []
    for turn, verdict in enumerate(verdicts):
        breaker, events = observe(breaker, verdict, policy, now=30.0 * turn, at=WALL + 30.0 * turn)
        told += [event for event in events if not isinstance(event, VerdictReached)]
    return breaker, told


def kinds(events: Iterable[Event]) -> list[type[Event]]:
    """Return what sort of events these are."""
    return [type(event) for event in events]


OPEN: Final = observe(replace(CLOSED, breaches=2), BREACH, POLICY, now=0.0, at=WALL)[0]
HALF_OPEN: Final = start_probe(OPEN, PROBE, now=300.0, at=WALL + 300)[0]


def a_ruling() -> Ruling:
    """Make a decision of the sequential judge that takes the candidate back."""
    return Ruling(
        action=Action.ROLLBACK,
        stream="p95",
        log_e=5.0,
        needed=4.6,
        candidate=Pair(20, 40),
        baseline=Pair(2, 400),
        seconds=3.0,
        limit="p95 < 500ms",
    )


def test_the_sequential_judge_trips_at_once() -> None:
    """Closed or half open, whatever was counted; the reason is its sentence, and an open breaker is latched."""
    ruling = a_ruling()
    for before, reason in ((CLOSED, ruling.sentence), (HALF_OPEN, f"the probe failed: {ruling.sentence}")):
        after, (told,) = condemn(before, ruling, POLICY, now=7.0, at=WALL)
        assert (after.state, after.reason, after.tripped_at) == (State.OPEN, reason, WALL)
        assert told == FlagTripped(flag_key="new-checkout", at=WALL, reason=reason, decision=ruling)
    assert condemn(OPEN, ruling, POLICY, now=7.0, at=WALL) == (OPEN, ())


@pytest.mark.parametrize("quiet", [AutoRollback(enabled=False), AutoRollback(dry_run=True)])
def test_a_dry_run_of_the_sequential_judge_only_tells(quiet: AutoRollback) -> None:
    """Nothing is switched off, and what would have been is told with the decision."""
    ruling = a_ruling()
    after, (told,) = condemn(CLOSED, ruling, quiet, now=7.0, at=WALL)
    assert after == CLOSED
    assert told == TripWithheld(flag_key="new-checkout", at=WALL, reason=ruling.sentence, decision=ruling)
    assert condemn(HALF_OPEN, ruling, quiet, now=7.0, at=WALL)[0].state is State.OPEN


def test_breaches_in_a_row_trip_only_where_the_rule_says_so() -> None:
    """With the sequential rule they are counted and shown; with both rules either may trip."""
    for who, state in (
        (RollbackRule.SEQUENTIAL, State.CLOSED),
        (RollbackRule.CONSECUTIVE, State.OPEN),
        (RollbackRule.BOTH, State.OPEN),
    ):
        after, _ = observed(CLOSED, BREACH, BREACH, BREACH, policy=AutoRollback(rule=who))
        assert (after.state, after.breaches) == (state, 3)


# --- the table: from, verdict, how many in a row, to ---

ROWS: Final = [
    (CLOSED, PASS, 9, State.CLOSED),
    (CLOSED, ACCEPTABLE, 9, State.CLOSED),
    (CLOSED, INCONCLUSIVE, 9, State.CLOSED),
    (CLOSED, SHARED, 9, State.CLOSED),
    (CLOSED, BREACH, 2, State.CLOSED),
    (CLOSED, BREACH, 3, State.OPEN),
    (OPEN, PASS, 9, State.OPEN),
    (OPEN, ACCEPTABLE, 9, State.OPEN),
    (OPEN, INCONCLUSIVE, 9, State.OPEN),
    (OPEN, SHARED, 9, State.OPEN),
    (OPEN, BREACH, 9, State.OPEN),
    (HALF_OPEN, PASS, 2, State.HALF_OPEN),
    (HALF_OPEN, PASS, 3, State.CLOSED),
    (HALF_OPEN, ACCEPTABLE, 3, State.CLOSED),
    (HALF_OPEN, INCONCLUSIVE, 9, State.HALF_OPEN),
    (HALF_OPEN, SHARED, 9, State.HALF_OPEN),
    (HALF_OPEN, BREACH, 1, State.OPEN),
]


@pytest.mark.parametrize(("before", "verdict", "times", "after"), ROWS)
def test_the_table_of_transitions(before: Breaker, verdict: Verdict, times: int, after: State) -> None:
    """From each state, so many verdicts of one kind in a row lead exactly there."""
    assert observed(before, *[verdict] * times)[0].state is after


def test_the_table_is_complete() -> None:
    """Every state has a row for everything that a verdict can mean."""
    assert {(row[0].state, sign_of(row[1])) for row in ROWS} == {(state, sign) for state in State for sign in Sign}


# --- counting ---


@pytest.mark.parametrize("breaches", [1, 2, 3, 7])
def test_it_trips_at_exactly_the_number_that_was_asked_for(breaches: int) -> None:
    """With n breaches asked for, n - 1 leave it closed and the nth opens it, with one event that says why."""
    policy = replace(POLICY, breaches=breaches)
    closed, silence = observed(CLOSED, *[BREACH] * (breaches - 1), policy=policy)
    tripped, told = observed(CLOSED, *[BREACH] * breaches, policy=policy)
    assert (closed.state, silence, tripped.state) == (State.CLOSED, [], State.OPEN)
    assert told == [
        FlagTripped(flag_key="new-checkout", at=tripped.tripped_at or 0, reason=tripped.reason, verdict=BREACH)
    ]
    assert tripped.reason == f"breach {breaches} in a row: {BREACH.sentence}"


@pytest.mark.parametrize("good", [PASS, ACCEPTABLE])
def test_a_pass_starts_the_count_again(good: Verdict) -> None:
    """Breaches count in a row: two, a pass and two more do not trip, and acceptable is good enough."""
    assert observed(CLOSED, BREACH, BREACH, good, BREACH, BREACH)[0].breaches == 2


@pytest.mark.parametrize("unhelpful", [INCONCLUSIVE, SHARED])
def test_what_says_nothing_of_the_candidate_neither_counts_nor_clears(unhelpful: Verdict) -> None:
    """A quiet minute or an incident between breaches does not acquit, and any number of them does not condemn."""
    assert observed(CLOSED, BREACH, BREACH, *[unhelpful] * 5)[0].breaches == 2
    assert observed(CLOSED, BREACH, unhelpful, BREACH, unhelpful, BREACH)[0].state is State.OPEN


def test_each_verdict_is_told_with_the_count() -> None:
    """Whoever keeps a journal hears of every interval, and how many breaches have now followed each other."""
    reached = []
    breaker = CLOSED
    for verdict in (BREACH, PASS, BREACH, BREACH, BREACH):
        breaker, events = observe(breaker, verdict, POLICY, now=0.0, at=WALL)
        reached += [(event.verdict, event.breaches) for event in events if isinstance(event, VerdictReached)]
    assert reached == [(BREACH, 1), (PASS, 0), (BREACH, 1), (BREACH, 2), (BREACH, 3)]


def test_an_open_breaker_hears_nothing() -> None:
    """While nobody is served there is no candidate to judge, and nothing to tell about it."""
    for verdict in VERDICTS:
        assert observe(OPEN, verdict, POLICY, now=1e9, at=WALL) == (OPEN, ())


# --- incidents ---


def test_an_incident_is_told_when_it_begins() -> None:
    """Of ten intervals in which both arms breach, the first is told; after it was over, the next one is told again."""
    assert kinds(observed(CLOSED, *[SHARED] * 10)[1]) == [IncidentSuspected]
    assert kinds(observed(CLOSED, SHARED, INCONCLUSIVE, SHARED)[1]) == [IncidentSuspected]
    assert kinds(observed(CLOSED, SHARED, PASS, SHARED)[1]) == [IncidentSuspected] * 2
    assert kinds(observed(CLOSED, SHARED, BREACH, SHARED)[1]) == [IncidentSuspected] * 2


# --- dry run ---


def test_a_dry_run_says_what_it_would_have_done() -> None:
    """Not enabled, it never trips, and tells once a row of breaches that it would have."""
    policy = replace(POLICY, enabled=False)
    breaker, told = observed(CLOSED, *[BREACH] * 10, PASS, *[BREACH] * 4, policy=policy)
    assert breaker.state is State.CLOSED
    assert kinds(told) == [TripWithheld, TripWithheld]
    assert told[0].sentence == (
        f"new-checkout would have been switched off, were this no dry run: breach 3 in a row: {BREACH.sentence}"
    )


def test_enabling_it_acts_on_the_next_breach() -> None:
    """What was counted in a dry run is not forgotten when it becomes serious."""
    warned, _ = observed(CLOSED, *[BREACH] * 5, policy=replace(POLICY, enabled=False))
    assert observed(warned, BREACH)[0].state is State.OPEN


def test_a_dry_run_ends_a_failing_probe_and_begins_none() -> None:
    """The trip before a probe was real, so a failing probe falls back to it; no probe begins by itself."""
    dry = replace(PROBE, enabled=False)
    assert observed(HALF_OPEN, BREACH, policy=dry)[0].state is State.OPEN
    assert start_probe(OPEN, dry, now=1e6, at=WALL) == (OPEN, ())


# --- what a person does ---


def test_the_kill_switch_stands_beside_the_state() -> None:
    """Killed, a flag is served to nobody in any state; it may trip meanwhile, and released it is what it has become."""
    killed, told = kill(CLOSED, "on call", WALL)
    assert told == (FlagKilled(flag_key="new-checkout", at=WALL, reason="on call"),)
    tripped, _ = observed(killed, *[BREACH] * 3)
    assert (tripped.state, tripped.killed) == (State.OPEN, True)
    closed, _ = reset(tripped, WALL)
    assert (closed.state, closed.killed, closed.kill_reason) == (State.CLOSED, True, "on call")
    released, told = release(tripped, WALL)
    assert (released.state, released.killed) == (State.OPEN, False)
    assert told == (FlagReleased(flag_key="new-checkout", at=WALL),)
    assert release(killed, WALL)[0] == CLOSED


def test_pulling_twice_tells_once() -> None:
    """Kill, release and reset change nothing, and tell nothing, where there is nothing to change."""
    killed, _ = kill(CLOSED, "first", WALL)
    assert kill(killed, "second", WALL + 1) == (killed, ())
    assert release(CLOSED, WALL) == (CLOSED, ())
    assert reset(CLOSED, WALL) == (CLOSED, ())


@pytest.mark.parametrize("breaker", [OPEN, HALF_OPEN], ids=["open", "half open"])
def test_a_reset_forgets_everything(breaker: Breaker) -> None:
    """After a reset the flag is as new: it takes the full number of breaches to trip it again."""
    assert reset(breaker, WALL) == (CLOSED, (FlagReset(flag_key="new-checkout", at=WALL),))
    assert reset(replace(CLOSED, breaches=2, incident=True), WALL) == (CLOSED, ())


# --- probes ---


def test_a_probe_has_to_be_asked_for() -> None:
    """Without a percentage for probes an open breaker stays open for ever."""
    assert start_probe(OPEN, POLICY, now=1e9, at=WALL) == (OPEN, ())


def test_a_probe_begins_when_it_is_due_and_not_before() -> None:
    """Five minutes after the trip, to the second; not while killed, and only from OPEN."""
    assert start_probe(OPEN, PROBE, now=299.9, at=WALL) == (OPEN, ())
    probing, told = start_probe(OPEN, PROBE, now=300.0, at=WALL)
    assert probing.state is State.HALF_OPEN
    assert told == (ProbeStarted(flag_key="new-checkout", at=WALL, percent=1.0),)
    killed, _ = kill(OPEN, "", WALL)
    for held in (killed, CLOSED, HALF_OPEN):
        assert start_probe(held, PROBE, now=1e9, at=WALL) == (held, ())


def test_a_passed_probe_closes() -> None:
    """So many passes in a row as breaches trip close the breaker, as new; what says nothing does not break the row."""
    closed, told = observed(HALF_OPEN, PASS, INCONCLUSIVE, ACCEPTABLE, SHARED, PASS, policy=PROBE)
    assert closed == CLOSED
    assert kinds(told) == [IncidentSuspected, FlagRecovered]


def test_one_breach_fails_a_probe_and_the_wait_begins_anew() -> None:
    """A failing probe is a trip at once, whatever passed before, and the next probe waits its full time."""
    failed, told = observed(replace(HALF_OPEN, passes=2), BREACH, policy=PROBE)
    assert (failed.state, failed.passes, kinds(told)) == (State.OPEN, 0, [FlagTripped])
    assert failed.reason == f"the probe failed: {BREACH.sentence}"
    assert start_probe(failed, PROBE, now=299.0, at=WALL)[0].state is State.OPEN
    assert start_probe(failed, PROBE, now=300.0, at=WALL)[0].passes == 0


def test_by_the_sequential_rule_a_breach_only_begins_the_passes_of_a_probe_anew() -> None:
    """Who fails a probe is the judge; a probe passes by intervals in a row that kept their promises."""
    policy = replace(PROBE, rule=RollbackRule.SEQUENTIAL)
    breached, _ = observed(replace(HALF_OPEN, passes=2), BREACH, policy=policy)
    assert (breached.state, breached.passes) == (State.HALF_OPEN, 0)


def test_a_probe_without_an_answer_is_taken_back() -> None:
    """When its lease is over, a probe that nobody could judge ends, and the next one waits its full time."""
    over = 300.0 + PROBE.probe_lease_s
    assert PROBE.probe_lease_s == 3 * 30.0 + 300.0
    assert end_probe(HALF_OPEN, PROBE, now=over - 0.1, at=WALL) == (HALF_OPEN, ())
    ended, told = end_probe(replace(HALF_OPEN, passes=2), PROBE, now=over, at=WALL)
    assert (ended.state, ended.passes, ended.reason) == (State.OPEN, 0, OPEN.reason)
    assert told == (ProbeExpired(flag_key="new-checkout", at=WALL, after_s=PROBE.probe_lease_s),)
    assert start_probe(ended, PROBE, now=over + 299, at=WALL)[0].state is State.OPEN
    for other in (CLOSED, OPEN):
        assert end_probe(other, PROBE, now=1e9, at=WALL) == (other, ())


# --- after a trip ---


def service(*turns: tuple[float, Verdict], breaker: Breaker = OPEN) -> tuple[Breaker, list[Event]]:
    """Show verdicts on the whole traffic at monotonic seconds after the trip."""
    told: list[Event] = []
    for now, verdict in turns:
        breaker, events = observe_service(breaker, verdict, POLICY, now=now, at=WALL + now)
        told += events
    return breaker, told


def test_recovery_is_told_once() -> None:
    """The first good verdict on the live traffic after the trip is told with its time; later ones are not."""
    _, told = service((30.0, BREACH), (60.0, INCONCLUSIVE), (90.0, ACCEPTABLE), (120.0, PASS), (500.0, BREACH))
    assert told == [ServiceRecovered(flag_key="new-checkout", at=WALL + 90, after_s=90.0, verdict=ACCEPTABLE)]


def test_recovery_is_overdue_once_and_may_still_come() -> None:
    """When the timeout is over it is told once that the rollback did not help; a recovery afterwards is told too."""
    _, told = service((119.9, BREACH), (120.0, BREACH), (150.0, BREACH), (180.0, PASS))
    assert kinds(told) == [RecoveryOverdue, ServiceRecovered]
    assert told[0].at == WALL + 120


def test_an_interval_from_before_the_trip_is_no_recovery() -> None:
    """A good verdict on 30 s of which some lie before the trip says nothing about life after it."""
    assert service((29.9, PASS))[1] == []
    assert kinds(service((30.0, PASS))[1]) == [ServiceRecovered]


@pytest.mark.parametrize("breaker", [CLOSED, HALF_OPEN])
def test_only_after_a_trip_is_there_anything_to_recover_from(breaker: Breaker) -> None:
    """In any other state a verdict on the whole traffic changes nothing."""
    assert service((1e6, PASS), (1e6, BREACH), breaker=breaker) == (breaker, [])


def test_the_next_trip_waits_for_its_own_recovery() -> None:
    """What was told of one trip is not held against the next."""
    recovered, _ = service((120.0, BREACH), (150.0, PASS))
    again, _ = observed(start_probe(recovered, PROBE, now=300.0, at=WALL)[0], BREACH, policy=PROBE)
    assert (again.recovered, again.overdue) == (False, False)


# --- clocks and storage ---


@pytest.mark.parametrize("jump", [-1e9, -3600.0, 3600.0, 1e9])
def test_a_jump_of_the_wall_clock_changes_no_decision(jump: float) -> None:
    """Whatever the wall clock says, the same decisions are taken at the same monotonic seconds."""
    for now in (0.0, 119.0, 120.0, 299.0, 300.0, 700.0):
        for decide in (start_probe, end_probe):
            for breaker in (OPEN, HALF_OPEN):
                straight, jumped = (decide(breaker, PROBE, now, WALL + now + by) for by in (0.0, jump))
                assert straight[0] == jumped[0]
        straight, jumped = (observe_service(OPEN, BREACH, POLICY, now, WALL + now + by) for by in (0.0, jump))
        assert straight[0] == jumped[0]


@pytest.mark.parametrize("breaker", [CLOSED, OPEN, HALF_OPEN, kill(OPEN, "on call", WALL)[0]])
def test_a_breaker_survives_storage(breaker: Breaker) -> None:
    """Stored as JSON and read again it is equal, and whatever a newer version adds to it is left alone."""
    body = json.loads(json.dumps(breaker.to_dict(), allow_nan=False))
    assert Breaker.from_dict(body) == Breaker.from_dict({**body, "mood": "good"}) == breaker
    assert Breaker.from_dict({"flag_key": "new-checkout"}) == CLOSED


def test_an_unknown_state_is_refused() -> None:
    """A state that this version does not know is not guessed at."""
    with pytest.raises(ValueError, match="MELTED"):
        Breaker.from_dict({"flag_key": "new-checkout", "state": "MELTED"})


def test_whoever_takes_over_waits_the_full_time_anew() -> None:
    """A monotonic reading of another process means nothing here, so no wait is ever shortened by a restart."""
    stored = Breaker.from_dict(OPEN.to_dict())
    taken, told = start_probe(stored, PROBE, now=1e6, at=WALL)
    assert (taken.state, told) == (State.OPEN, ())
    assert start_probe(taken, PROBE, now=1e6 + 299, at=WALL)[0].state is State.OPEN
    assert start_probe(taken, PROBE, now=1e6 + 300, at=WALL)[0].state is State.HALF_OPEN
    watched, told = observe_service(stored, BREACH, POLICY, now=1e6, at=WALL)
    assert told == ()
    assert kinds(observe_service(watched, BREACH, POLICY, now=1e6 + 120, at=WALL)[1]) == [RecoveryOverdue]
    probing = Breaker.from_dict(HALF_OPEN.to_dict())
    assert end_probe(probing, PROBE, now=1e6, at=WALL)[0].state is State.HALF_OPEN


# --- for the guard and for people ---


@pytest.mark.parametrize(
    ("breaker", "bits", "serving"), [(CLOSED, 0, True), (OPEN, TRIPPED, False), (HALF_OPEN, PROBING, True)]
)
def test_the_guard_bits_say_who_is_served(breaker: Breaker, bits: int, serving: bool) -> None:
    """0 serves, 1 is tripped, 4 is probed; 2 is added while killed, and then nobody is served."""
    assert (breaker.guard_bits, breaker.is_serving) == (bits, serving)
    killed, _ = kill(breaker, "", WALL)
    assert (killed.guard_bits, killed.is_serving) == (bits | KILLED, False)
    assert (TRIPPED, KILLED, PROBING) == (1, 2, 4)


@pytest.mark.parametrize(
    ("breaker", "line"),
    [
        (CLOSED, "new-checkout CLOSED"),
        (replace(CLOSED, breaches=1), "new-checkout CLOSED, 1 breach in a row"),
        (replace(CLOSED, breaches=2, incident=True), "new-checkout CLOSED, 2 breaches in a row, incident suspected"),
        (replace(OPEN, reason="p95 812 ms"), "new-checkout OPEN, tripped 12 s ago (p95 812 ms)"),
        (replace(OPEN, reason="", tripped_at=WALL + 99), "new-checkout OPEN, tripped 0 ms ago"),
        (replace(HALF_OPEN, reason=""), "new-checkout HALF_OPEN, tripped 12 s ago"),
        (Breaker("old", State.OPEN), "old OPEN, tripped"),
        (kill(CLOSED, "on call", WALL)[0], "new-checkout CLOSED, KILLED 12 s ago (on call)"),
    ],
)
def test_a_breaker_describes_itself_in_one_line(breaker: Breaker, line: str) -> None:
    """State, count, how long ago and why; a wall clock that jumped back never shows a negative time."""
    assert breaker.describe(WALL + 12) == line


# --- against a naive model ---


# --- what is told ---

AT: Final = WALL + 7
DRY: Final = replace(POLICY, enabled=False)
SUSPECTED: Final = replace(HALF_OPEN, incident=True, passes=1)
TOLD: Final = [
    (lambda: kill(CLOSED, "why", AT), FlagKilled(flag_key="new-checkout", at=AT, reason="why")),
    (lambda: release(replace(CLOSED, killed=True), AT), FlagReleased(flag_key="new-checkout", at=AT)),
    (lambda: reset(OPEN, AT), FlagReset(flag_key="new-checkout", at=AT)),
    (lambda: observe(CLOSED, SHARED, POLICY, 0, AT), IncidentSuspected(flag_key="new-checkout", at=AT, verdict=SHARED)),
    (
        lambda: observe(replace(CLOSED, breaches=2), BREACH, POLICY, 0, AT),
        FlagTripped(flag_key="new-checkout", at=AT, reason=f"breach 3 in a row: {BREACH.sentence}", verdict=BREACH),
    ),
    (
        lambda: observe(replace(CLOSED, breaches=2), BREACH, DRY, 0, AT),
        TripWithheld(flag_key="new-checkout", at=AT, reason=f"breach 3 in a row: {BREACH.sentence}", verdict=BREACH),
    ),
    (
        lambda: observe(HALF_OPEN, BREACH, PROBE, 0, AT),
        FlagTripped(flag_key="new-checkout", at=AT, reason=f"the probe failed: {BREACH.sentence}", verdict=BREACH),
    ),
    (
        lambda: observe(replace(HALF_OPEN, passes=2), PASS, PROBE, 0, AT),
        FlagRecovered(flag_key="new-checkout", at=AT, verdict=PASS),
    ),
    (
        lambda: observe_service(OPEN, PASS, POLICY, 31.0, AT),
        ServiceRecovered(flag_key="new-checkout", at=AT, after_s=31.0, verdict=PASS),
    ),
    (
        lambda: observe_service(OPEN, BREACH, POLICY, 120.0, AT),
        RecoveryOverdue(flag_key="new-checkout", at=AT, after_s=120.0, verdict=BREACH),
    ),
    (lambda: start_probe(OPEN, PROBE, 300.0, AT), ProbeStarted(flag_key="new-checkout", at=AT, percent=1.0)),
    (lambda: end_probe(HALF_OPEN, PROBE, 690.0, AT), ProbeExpired(flag_key="new-checkout", at=AT, after_s=390.0)),
]


@pytest.mark.parametrize(("decide", "event"), TOLD)
def test_what_is_told_says_of_which_flag_when_and_on_what(decide: Callable[[], Decision], event: Event) -> None:
    """The last event of a decision is complete: somebody who reads nothing else knows what happened."""
    assert decide()[1][-1] == event


def test_a_change_of_state_is_whole() -> None:
    """It keeps what stays, forgets what is over, and remembers since when this process has seen it."""
    held = replace(OPEN, killed=True, kill_reason="why", killed_at=AT)
    assert kill(OPEN, "why", AT)[0] == held
    assert reset(held, AT + 1)[0] == replace(CLOSED, killed=True, kill_reason="why", killed_at=AT)
    assert observe(replace(CLOSED, breaches=2), BREACH, POLICY, 5.0, AT)[0].since == 5.0
    probing = start_probe(replace(OPEN, breaches=3, passes=1, incident=True), PROBE, 300.0, AT)[0]
    assert (probing.breaches, probing.passes, probing.incident, probing.since) == (0, 0, False, 300.0)
    assert end_probe(HALF_OPEN, PROBE, 690.0, AT)[0].since == 690.0
    assert end_probe(replace(HALF_OPEN, since=None), PROBE, 5.0, AT)[0].since == 5.0
    for verdict in (PASS, BREACH):
        assert observe(replace(CLOSED, incident=True), verdict, POLICY, 0, AT)[0].incident is False


def test_a_verdict_is_told_with_the_count_that_it_made() -> None:
    """Also the one that fails a probe."""
    failed, events = observe(HALF_OPEN, BREACH, PROBE, 0, AT)
    assert events[0] == VerdictReached(flag_key="new-checkout", at=AT, verdict=BREACH, breaches=1)
    assert (failed.breaches, failed.passes) == (1, 0)


@pytest.mark.parametrize("verdict", [PASS, BREACH])
def test_an_answer_to_a_probe_ends_an_incident(verdict: Verdict) -> None:
    """What is suspected is suspected until something is known."""
    assert observe(SUSPECTED, verdict, PROBE, 0, AT)[0].incident is False


class BreakerMachine(RuleBasedStateMachine):
    """A breaker beside the plainest thing that could keep the same promises: a list of what was seen."""

    def __init__(self) -> None:
        """Start closed, with a policy that probes."""
        super().__init__()
        self.policy = AutoRollback(rule=RollbackRule.CONSECUTIVE, breaches=3, probe_percent=1.0, probe_after_s=300.0)
        self.breaker = CLOSED
        self.now = 0.0
        self.state = "closed"
        self.held = False
        self.row: list[str] = []
        self.entered = 0.0
        self.told: tuple[Event, ...] = ()

    def take(self, decision: Decision) -> None:
        """Swap first; what is told is looked at afterwards."""
        self.breaker, self.told = decision

    def enter(self, state: str) -> None:
        """Move the model."""
        self.state, self.row, self.entered = state, [], self.now

    @rule(seconds=st.sampled_from([0.0, 1.0, 30.0, 120.0, 299.0, 300.0, 390.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    @rule(verdict=st.sampled_from(VERDICTS), jump=st.floats(-1e9, 1e9))
    def see(self, verdict: Verdict, jump: float) -> None:
        """Judge one interval, with a wall clock that says anything."""
        self.take(observe(self.breaker, verdict, self.policy, self.now, WALL + jump))
        if verdict in (PASS, ACCEPTABLE):
            self.row.append("good")
        elif verdict is BREACH:
            self.row.append("breach")
        tripped = (self.state == "closed" and self.row[-3:] == ["breach"] * 3) or (
            self.state == "half open" and self.row[-1:] == ["breach"]
        )
        closed = self.state == "half open" and self.row == ["good"] * 3
        if tripped or closed:
            self.enter("open" if tripped else "closed")
        assert (FlagTripped in kinds(self.told)) is tripped
        assert (FlagRecovered in kinds(self.told)) is closed
        if verdict is INCONCLUSIVE:
            assert kinds(self.told) in ([], [VerdictReached])

    @rule(verdict=st.sampled_from(VERDICTS), jump=st.floats(-1e9, 1e9))
    def see_service(self, verdict: Verdict, jump: float) -> None:
        """Judge the whole traffic: it may be told, and never moves anything."""
        self.take(observe_service(self.breaker, verdict, self.policy, self.now, WALL + jump))
        assert not self.told or self.state == "open"

    @rule(jump=st.floats(-1e9, 1e9))
    def tick(self, jump: float) -> None:
        """Begin and end probes when they are due."""
        self.take(end_probe(self.breaker, self.policy, self.now, WALL + jump))
        if self.state == "half open" and self.now - self.entered >= 390:
            self.enter("open")
        self.take(start_probe(self.breaker, self.policy, self.now, WALL + jump))
        if self.state == "open" and not self.held and self.now - self.entered >= 300:
            self.enter("half open")

    @rule()
    def pull(self) -> None:
        """Pull the kill switch."""
        self.take(kill(self.breaker, "", WALL))
        self.held = True

    @rule()
    def let_go(self) -> None:
        """Let go of the kill switch."""
        self.take(release(self.breaker, WALL))
        self.held = False

    @rule()
    @precondition(lambda self: self.state != "closed")
    def clear(self) -> None:
        """Reset by hand."""
        self.take(reset(self.breaker, WALL))
        self.enter("closed")

    @rule()
    def store(self) -> None:
        """Write it down and read it again in this process, which keeps its own hand of the clock."""
        self.breaker = replace(Breaker.from_dict(self.breaker.to_dict()), since=self.breaker.since)

    @invariant()
    def agrees(self) -> None:
        """The state is the model's, so it leaves OPEN only by reset or a probe that was due."""
        assert self.breaker.state is State[self.state.upper().replace(" ", "_")]
        assert self.breaker.killed is self.held

    @invariant()
    def serves_nobody_when_off(self) -> None:
        """Open or killed, the candidate is served to nobody, and the guard says so."""
        off = self.state == "open" or self.held
        assert self.breaker.is_serving is not off
        assert bool(self.breaker.guard_bits & (TRIPPED | KILLED)) is off


BreakerMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)

TestBreakerAgainstTheModel = BreakerMachine.TestCase
