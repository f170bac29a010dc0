"""Claims about how it is stored who has which role: as declared, and where it cannot be read nobody has any."""

from __future__ import annotations

from typing import Final

import pytest

from canary_sdk.errors import ConfigError
from canary_sdk.ports import Change, Stamp
from canary_sdk.stores.memory import MemoryStore
from canary_sdk.stores.repository import DocumentRepository

STAMP: Final = Stamp("ana", "", 1_750_000_000.0)
ROLES: Final = {"sre-lead": ["ana", "bo"], "product-owner": ["cy"]}


@pytest.fixture
def store() -> MemoryStore:
    """Open an empty store."""
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore) -> DocumentRepository:
    """Speak for production."""
    return DocumentRepository(store, "production")


def test_the_section_comes_back_as_it_was_declared(store: MemoryStore, repository: DocumentRepository) -> None:
    """For every environment; it is exported, its history is told, and applying it again changes nothing."""
    assert repository.load().roles == {}
    repository.apply({"roles": ROLES}, STAMP, force=False)
    assert repository.load().roles == DocumentRepository(store, "staging").load().roles == ROLES
    data = repository.export(None)
    assert data["roles"] == ROLES
    version = repository.version()
    assert repository.apply(data, STAMP, force=False) == version
    assert [(row.kind, row.name) for row in repository.history(None, 1)] == [("roles", "roles")]


def test_who_leaves_the_file_leaves_the_role(repository: DocumentRepository) -> None:
    """And a role that is not declared any more is gone, whoever had it."""
    repository.apply({"roles": ROLES}, STAMP, force=False)
    repository.apply({"roles": {"sre-lead": ["bo"]}}, STAMP, force=False)
    assert repository.load().roles == {"sre-lead": ["bo"]}


def test_what_cannot_be_read_gives_nobody_a_role(store: MemoryStore, repository: DocumentRepository) -> None:
    """That is not the same as nothing declared, where anybody may say so."""
    repository.apply({"roles": ROLES}, STAMP, force=False)
    store.commit([Change("roles", "default", "?")], actor="", reason="", at=0.0)
    stored = repository.load()
    assert stored.roles is None
    assert "roles default" in stored.damaged


def test_mistakes_are_named(repository: DocumentRepository) -> None:
    """A role is a list of names, each of them once, none of them empty."""
    with pytest.raises(ConfigError) as refused:
        repository.apply({"roles": {"a": "ana", "b": ["bo", "bo"], "c": [" "], " ": []}}, STAMP, force=False)
    assert [str(problem) for problem in refused.value.problems] == [
        "roles.a: found 'ana', expected a list of people's names",
        "roles.b.1: found 'bo' again, expected it once",
        "roles.c.0: found an empty string, expected some text; leave it out to do without",
        "roles. : found an empty string, expected some text; leave it out to do without",
    ]
