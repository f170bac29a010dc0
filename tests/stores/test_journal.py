"""Claims about how a rollout is stored: each state once, together with what is written down of it, and quietly."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import TYPE_CHECKING, Final

import pytest

from canary_sdk.core.judge.tally import Tally
from canary_sdk.core.plan import parse_plan
from canary_sdk.core.rollout.advance import advance, ruling
from canary_sdk.core.rollout.grounds import Evidence, Now
from canary_sdk.core.rollout.journal import Consent, Record
from canary_sdk.core.rollout.orders import pause, start
from canary_sdk.core.rollout.state import By, Rollout, Status, entered, transition
from canary_sdk.errors import StaleWrite, StoreError
from canary_sdk.ports import Change, JournalLine, Stamp
from canary_sdk.stores.memory import MemoryStore
from canary_sdk.stores.repository import DocumentRepository
from canary_sdk.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from pathlib import Path

    from canary_sdk.ports import FlagStore

AT: Final = 1_750_000_000.0
PLAN: Final = parse_plan({"stages": [{"percent": 5, "bake": "1h"}, {"percent": 100, "bake": "1h"}]})
ANA: Final = By("ana", AT)
STAMP: Final = Stamp("ana", "a try", AT)


def a_consent(why: str) -> Consent:
    """Return something to write down."""
    return Consent(flag_key="checkout", at=AT, attempt=1, stage=2, role="sre", who="ana", why=why)


@pytest.fixture
def store() -> MemoryStore:
    """Open an empty store."""
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore) -> DocumentRepository:
    """Speak for production."""
    return DocumentRepository(store, "production")


def begun(repository: DocumentRepository) -> Rollout:
    """Store a rollout that was just started."""
    state, _ = start(PLAN, Rollout(flag_key="checkout"), ANA)
    repository.save_rollout(state, STAMP)
    return state


def ticked(state: Rollout, at: float) -> tuple[Rollout, list[Record]]:
    """Return the next state, and what to write down of it."""
    step = advance(PLAN, state, Evidence(), Now(30.0, at))
    written = (transition(state, step.state, at), ruling(state, step, at))
    return step.state, [record for record in written if record]


def test_a_state_is_read_back_with_what_was_written_down(repository: DocumentRepository) -> None:
    """States come back from `load` and records from the journal, oldest first, as they went."""
    state = begun(repository)
    after, records = ticked(state, AT + 30)
    repository.save_rollout(after, STAMP, [*records, a_consent("looks good")])
    assert repository.load().rollouts == {"checkout": after}
    found = repository.journal("checkout")
    assert [entry.record for entry in found] == [*records, a_consent("looks good")]
    assert [(entry.at, entry.problem) for entry in found] == [(AT + 30, ""), (AT + 30, ""), (AT, "")]
    assert repository.journal("checkout", after=found[0].id, limit=1) == found[1:2]
    assert repository.journal("other") == ()


def test_a_journal_belongs_to_one_environment(store: MemoryStore, repository: DocumentRepository) -> None:
    """The same flag's rollouts elsewhere have their own states and their own journals."""
    staging = DocumentRepository(store, "staging")
    state = begun(repository)
    staging.save_rollout(state, STAMP, [a_consent("staging")])
    assert repository.journal("checkout") == ()
    assert [entry.record for entry in staging.journal("checkout")] == [a_consent("staging")]


def test_time_that_passes_is_stored_quietly(store: MemoryStore, repository: DocumentRepository) -> None:
    """A tick that only counts raises no version and leaves no audit row; what is decided or ordered does both."""
    state = begun(repository)
    running, _ = ticked(state, AT + 30)
    repository.save_rollout(running, STAMP)
    version, rows = store.version(), store.audit()
    for number in range(5):
        running, _ = ticked(running, AT + 60 + number)
        repository.save_rollout(running, STAMP, [a_consent(f"{number}")])
    assert (store.version(), store.audit()) == (version, rows)
    assert repository.load().rollouts == {"checkout": running}
    repository.save_rollout(pause(running, ANA)[0], STAMP)
    assert store.version() == version + 1
    assert store.audit(limit=1)[0].actor == "ana"


def test_a_hold_that_says_it_in_other_words_is_quiet(store: MemoryStore, repository: DocumentRepository) -> None:
    """A reason that names an age is another one at every tick, and tells nobody anything new."""
    state = begun(repository)
    version = store.version()
    repository.save_rollout(replace(state, seq=state.seq + 1, reason="31 s old"), STAMP)
    assert store.version() == version
    assert repository.load().rollouts["checkout"].reason == "31 s old"


@pytest.mark.parametrize("ahead", [-1, 0, 2])
def test_a_state_that_grew_from_another_is_refused(repository: DocumentRepository, ahead: int) -> None:
    """Of two writers one loses, with all that it wanted to write down."""
    state = begun(repository)
    with pytest.raises(StaleWrite, match=rf"checkout is at step 1, and not at {ahead}") as refused:
        repository.save_rollout(replace(state, seq=state.seq + ahead), STAMP, [a_consent("lost")])
    assert (refused.value.found, refused.value.expected) == (1, ahead)
    assert repository.load().rollouts == {"checkout": state}
    assert repository.journal("checkout") == ()


def test_whoever_is_overtaken_while_writing_is_refused(store: MemoryStore, repository: DocumentRepository) -> None:
    """Also what somebody else stores between the look and the write is never overwritten."""
    state = begun(repository)
    mine, theirs = replace(state, seq=state.seq + 1, reason="mine"), replace(state, seq=state.seq + 1, reason="theirs")
    load = store.load

    def overtaken() -> object:
        snapshot = load()
        store.load = load  # type: ignore[method-assign]
        repository.save_rollout(theirs, STAMP)
        return snapshot

    store.load = overtaken  # type: ignore[method-assign, assignment]
    with pytest.raises(StaleWrite):
        repository.save_rollout(mine, STAMP, [a_consent("lost")])
    assert repository.load().rollouts == {"checkout": theirs}
    assert repository.journal("checkout") == ()


def test_what_cannot_be_read_is_named(store: MemoryStore, repository: DocumentRepository) -> None:
    """A damaged line and one of a newer release keep their places, each with what is wrong, and hide no other."""
    state = begun(repository)
    repository.save_rollout(replace(state, seq=state.seq + 1), STAMP, [a_consent("before")])
    texts = ('["i"', '["i",1,1,"?"]', "[]", "7", '["z",1]')
    lines = [JournalLine("production/checkout", AT + 1, text) for text in texts]
    store.commit([], actor="", reason="", at=AT, journal=lines)
    repository.save_rollout(replace(state, seq=state.seq + 2), STAMP, [a_consent("after")])
    first, *bad, newer, last = repository.journal("checkout")
    assert (first.record, last.record) == (a_consent("before"), a_consent("after"))
    assert [(entry.record, entry.at) for entry in (*bad, newer)] == [(None, AT + 1)] * 5
    assert all(entry.problem.startswith("it is damaged: ") for entry in bad)
    assert newer.problem == "a newer release wrote it: upgrade canary-rollout here"


def test_a_damaged_state_is_not_overwritten(store: MemoryStore, repository: DocumentRepository) -> None:
    """Nobody knows what a state grew from that cannot be read, so nothing is stored over it."""
    begun(repository)
    store.commit([Change("rollout", "production/checkout", "{}")], actor="", reason="", at=AT)
    with pytest.raises(StoreError, match="damaged"):
        repository.save_rollout(Rollout(flag_key="checkout", seq=1), STAMP)


def test_a_tick_is_one_however_precise_the_state_it_grew_from(
    store: MemoryStore, repository: DocumentRepository
) -> None:
    """What is stored has shorter figures than what a process keeps: that is no change, and leaves no audit row."""
    baseline = Tally(3, 0, 0, 30.0, {}, {0.5: 0.149261317, 0.95: 0.3971234})
    state = replace(begun(repository), baseline=baseline)
    state = replace(state, seq=state.seq + 1)
    repository.save_rollout(state, STAMP)
    rows, version = store.audit(), repository.version()
    for seq in range(state.seq + 1, state.seq + 4):
        repository.save_rollout(replace(state, seq=seq, baked_s=seq), STAMP)
    assert (store.audit(), repository.version()) == (rows, version)


# --- how many at the same time ---

FLAGS: Final = ("a", "b", "c", "d")


def beginning(repository: DocumentRepository) -> dict[str, Rollout]:
    """Store rollouts that were started; return them as they are in stage 1."""
    repository.apply({"flags": {key: {} for key in FLAGS}}, STAMP, force=False)
    begun = {}
    for key in FLAGS:
        state, _ = start(PLAN, Rollout(flag_key=key), ANA)
        repository.save_rollout(state, STAMP)
        begun[key] = replace(entered(PLAN, state, 1, AT)[0], seq=state.seq + 1)
    return begun


def test_no_more_begin_than_there_is_room_for(repository: DocumentRepository) -> None:
    """The one too many is overtaken, as long as no other is through; who has begun goes on."""
    states = beginning(repository)
    for key in ("a", "b"):
        repository.save_rollout(states[key], STAMP, parallel=2)
    with pytest.raises(StaleWrite, match="2 other rollouts are under way by now, at most 2 may be"):
        repository.save_rollout(states["c"], STAMP, parallel=2)
    repository.save_rollout(replace(states["a"], seq=states["a"].seq + 1, stage=2), STAMP, parallel=2)
    repository.save_rollout(replace(states["b"], seq=states["b"].seq + 1, status=Status.PROMOTED), STAMP, parallel=2)
    repository.save_rollout(states["c"], STAMP, parallel=2)
    assert repository.load().under_way(besides="") == 2


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_of_those_that_begin_at_once_one_does(tmp_path: Path, kind: str) -> None:
    """Each from its own process's store and in its own thread: whoever has not seen the other is overtaken."""
    shared = MemoryStore()
    stores: list[FlagStore] = [shared if kind == "memory" else SQLiteStore(tmp_path / "canary.db") for _ in FLAGS]
    repositories = [DocumentRepository(each, "production") for each in stores]
    states = beginning(repositories[0])
    together = Barrier(len(FLAGS))

    def begin(repository: DocumentRepository, key: str) -> bool:
        together.wait(10)
        try:
            repository.save_rollout(states[key], STAMP, parallel=1)
        except StaleWrite:
            return False
        return True

    with ThreadPoolExecutor(len(FLAGS)) as pool:
        won = list(pool.map(begin, repositories, FLAGS, timeout=10))
    assert won.count(True) == repositories[0].load().under_way(besides="") == 1
    for each in stores:
        each.close()
