"""What a repository has read once it does not read again, and what it reads is what the store holds."""

from __future__ import annotations

import pytest

from canary_sdk.ports import Change, Stamp
from canary_sdk.stores.memory import MemoryStore
from canary_sdk.stores.repository import DocumentRepository

STAMP = Stamp("somebody", "test", 0.0)


@pytest.fixture
def store() -> MemoryStore:
    """An empty store."""
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore) -> DocumentRepository:
    """What reads it, with two flags in it."""
    repository = DocumentRepository(store, "test")
    repository.apply({"flags": {"a": {"rollout": 10}, "b": {"rollout": 10}}}, STAMP, force=False)
    return repository


def test_what_is_as_it_was_is_the_same_object(repository: DocumentRepository) -> None:
    """A change of one flag gives a new one, and leaves the others."""
    before = repository.load().flags
    repository.apply({"flags": {"b": {"rollout": 20}}}, STAMP, force=False)
    after = repository.load().flags
    assert after["a"] is before["a"]
    assert (before["b"].rollout, after["b"].rollout) == (10, 20)


def test_another_document_of_the_same_revision_is_read(store: MemoryStore, repository: DocumentRepository) -> None:
    """A flag that was deleted and made anew between two readings begins at revision 1 again."""
    assert repository.load().flags["a"].rollout == 10
    body = next(each.body for each in store.load().documents if each.key == "a")
    for change in (Change("flag", "a", None), Change("flag", "a", body.replace('"rollout":10', '"rollout":30'))):
        store.commit([change], actor="", reason="", at=0.0)
    assert next(each.revision for each in store.load().documents if each.key == "a") == 1
    assert repository.load().flags["a"].rollout == 30


def test_nothing_is_kept_of_what_is_gone(store: MemoryStore, repository: DocumentRepository) -> None:
    """So that a repository does not grow with the changes that it has seen."""
    kept = []
    for rollout in (10, 20, 30):
        repository.apply({"flags": {"b": {"rollout": rollout}}}, STAMP, force=False)
        repository.load()
        kept.append(len(repository._decoded))
    assert kept == [len(store.load().documents)] * 3
