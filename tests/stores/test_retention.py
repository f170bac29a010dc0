"""Claims about what is removed in time: as configured, from old on, and never of a rollout that is under way."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from canary_sdk.core.breaker import Breaker
from canary_sdk.core.plan import parse_plan
from canary_sdk.core.rollout.journal import Consent
from canary_sdk.core.rollout.orders import abort, start
from canary_sdk.core.rollout.state import By, Rollout
from canary_sdk.errors import ConfigError, StoreError
from canary_sdk.ports import Change, Removed, Stamp
from canary_sdk.stores.memory import MemoryStore
from canary_sdk.stores.repository import DocumentRepository

AT: Final = 1_750_000_000.0
DAY: Final = 86_400.0
PLAN: Final = parse_plan({"stages": [{"percent": 100, "bake": "1h"}]})
STAMP: Final = Stamp("ana", "", AT)


@pytest.fixture
def store() -> MemoryStore:
    """Open an empty store."""
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore) -> DocumentRepository:
    """Speak for production."""
    return DocumentRepository(store, "production")


def started(repository: DocumentRepository, flag_key: str) -> Rollout:
    """Start a rollout, of which one line is written down."""
    state, _ = start(PLAN, Rollout(flag_key=flag_key), By("ana", AT))
    line = Consent(flag_key=flag_key, at=AT, attempt=1, stage=1, role="sre", who="ana")
    repository.save_rollout(state, STAMP, [line])
    return state


def keep(repository: DocumentRepository, **fields: object) -> None:
    """Declare for how long things are kept."""
    repository.apply({"retention": fields}, STAMP, force=False)


def all_of(repository: DocumentRepository, at: float) -> Removed:
    """Remove all that may go."""
    lines = rows = 0
    while any(gone := repository.compact(at, 1)):
        lines, rows = lines + gone.journal, rows + gone.audit
    return Removed(lines, rows)


def test_what_nobody_configured_is_kept_for_90_days(store: MemoryStore, repository: DocumentRepository) -> None:
    """By default the lines of a rollout that has ended go after 90 days, and the history of changes stays."""
    repository.save_rollout(abort(started(repository, "checkout"), By("ana", AT))[0], STAMP)
    rows = store.audit()
    assert all_of(repository, AT + 90 * DAY) == Removed(0, 0)
    assert all_of(repository, AT + 90 * DAY + 1) == Removed(1, 0)
    assert repository.journal("checkout") == ()
    assert store.audit() == rows


def test_what_is_configured_holds(store: MemoryStore, repository: DocumentRepository) -> None:
    """Ages and numbers are those of the section; forever is forever."""
    ended = abort(started(repository, "checkout"), By("ana", AT))[0]
    repository.save_rollout(ended, replace(STAMP, at=AT + DAY))
    keep(repository, journal="forever", audit="1d")
    assert all_of(repository, AT + 2 * DAY) == Removed(0, 2)
    keep(repository, journal_lines=1, audit_rows=1)
    for seq in range(1, 4):
        line = Consent(flag_key="checkout", at=AT, attempt=1, stage=1, role="sre", who=f"{seq}")
        repository.save_rollout(replace(ended, seq=ended.seq + seq), STAMP, [line])
    assert all_of(repository, AT) == Removed(3, len(store.audit()))
    assert [entry.record.who for entry in repository.journal("checkout") if isinstance(entry.record, Consent)] == ["3"]


def test_nothing_goes_while_a_rollout_is_under_way(store: MemoryStore, repository: DocumentRepository) -> None:
    """Its journal, its history, that of its breaker and its flag stay, in every environment, until it has ended."""
    elsewhere = DocumentRepository(store, "staging")
    repository.apply({"flags": {"checkout": {}, "other": {}}}, STAMP, force=False)
    keep(repository, journal_lines=1, journal="1s", audit_rows=1, audit="1s")
    states = {each: started(each, "checkout") for each in (repository, elsewhere)}
    repository.save_breakers({"checkout": Breaker("checkout"), "other": Breaker("other")}, STAMP)
    assert all_of(repository, AT + 90 * DAY) == Removed(0, 3)
    assert {(row.kind, row.key) for row in store.audit()} == {
        ("flag", "checkout"),
        ("rollout", "production/checkout"),
        ("rollout", "staging/checkout"),
        ("breaker", "production/checkout"),
    }
    assert len(repository.journal("checkout")) == len(elsewhere.journal("checkout")) == 1
    repository.save_rollout(abort(states[repository], By("ana", AT))[0], STAMP)
    assert all_of(repository, AT + 90 * DAY) == Removed(1, 3)
    assert [(row.kind, row.key) for row in store.audit()] == [("rollout", "staging/checkout"), ("flag", "checkout")]


def test_a_rollout_that_cannot_be_read_is_spared(store: MemoryStore, repository: DocumentRepository) -> None:
    """Nobody knows whether it is under way."""
    started(repository, "checkout")
    store.commit([Change("rollout", "production/checkout", "?")], actor="", reason="", at=AT)
    assert all_of(repository, AT + 900 * DAY) == Removed(0, 0)


def test_a_retention_that_cannot_be_read_removes_nothing(store: MemoryStore, repository: DocumentRepository) -> None:
    """What was to be kept is not known, and the default is no answer to that."""
    repository.save_rollout(abort(started(repository, "checkout"), By("ana", AT))[0], STAMP)
    store.commit([Change("retention", "default", "?")], actor="", reason="", at=AT)
    with pytest.raises(StoreError, match="retention default"):
        repository.compact(AT + 900 * DAY, 1)
    assert len(repository.journal("checkout")) == 1


def test_the_section_comes_back_as_it_was_declared(repository: DocumentRepository) -> None:
    """It is exported, its history is told, and applying it again changes nothing."""
    keep(repository, journal="30d", audit="forever", audit_rows=100)
    data = repository.export(None)
    assert data["retention"] == {"journal": 30 * DAY, "audit": "forever", "audit_rows": 100}
    version = repository.version()
    assert repository.apply(data, STAMP, force=False) == version
    assert [(row.kind, row.name) for row in repository.history(None, 1)] == [("retention", "retention")]


def test_mistakes_are_named(repository: DocumentRepository) -> None:
    """Every mistake of the section is told with its key, what was found and what was expected."""
    with pytest.raises(ConfigError) as refused:
        keep(repository, journal="90 days", journal_lines=0, audit=-1, audit_row=5)
    assert [str(problem) for problem in refused.value.problems] == [
        "retention.journal: found '90 days', expected a duration of at most a year such as '90d', or 'forever'",
        "retention.journal_lines: found 0, expected 1 or more",
        "retention.audit: found -1, expected a duration of at most a year such as '90d', or 'forever'",
        (
            "retention.audit_row: unknown key, expected audit, audit_rows, journal or journal_lines; "
            "did you mean 'audit_rows'?"
        ),
    ]
