"""What the package asks of the outside: a store of versioned documents, and somebody to tell.

A `FlagStore` keeps JSON documents by kind and key and knows nothing of flags: that is what a backend implements. A
`Repository` speaks of flags and breakers: that is what the runtime asks for, implemented once over any backend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from canary_sdk.core.breaker import AutoRollback, Breaker
    from canary_sdk.core.events import Event
    from canary_sdk.core.flags import Flag


@dataclass(frozen=True, slots=True)
class Document:
    """One stored document. `revision` starts at 1 and grows by one with every change of this document."""

    kind: str
    key: str
    body: str
    revision: int


@dataclass(frozen=True, slots=True)
class Change:
    """One wanted change; `body` None deletes.

    `expected` is the revision that must be current: 0 for "must not exist", None for "whatever is there".
    """

    kind: str
    key: str
    body: str | None
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All documents at one version of the store."""

    version: int
    documents: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One change that really happened: who, when (wall seconds), why, from, to; `version` is the store's after it."""

    id: int
    at: float
    actor: str
    reason: str
    kind: str
    key: str
    before: str | None
    after: str | None
    version: int


class FlagStore(Protocol):
    """Where flags and breakers persist. Threads: every method may be called from any thread; none on a request path.

    Every method raises `StoreError` when the store cannot be reached or answers wrongly.
    """

    def version(self) -> int:
        """Return the version that `load` would return; cheap, for polling. 0 when nothing was ever written."""

    def load(self) -> Snapshot:
        """Return every document at one version."""

    def commit(self, changes: Sequence[Change], *, actor: str, reason: str, at: float) -> int:
        """Apply all changes or none, write one audit row a real change, and return the version afterwards.

        A change whose body equals the stored one writes nothing. Raises `StaleWrite` when an `expected` does not hold.
        """

    def audit(self, *, kind: str | None = None, key: str | None = None, limit: int = 100) -> tuple[AuditRow, ...]:
        """Return the newest audit rows first."""

    def close(self) -> None:
        """Release what is held; idempotent."""


class EventSink(Protocol):
    """Somebody who is told. Called by the background thread, one event at a time, never while a lock is held."""

    def handle(self, event: Event) -> None:
        """Take the event; what is raised here is counted and logged, and stops nothing."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store holds for one environment, in the words of the domain.

    `damaged` names documents that could not be read, with the reason: whoever had a good one before keeps it.
    """

    version: int
    flags: Mapping[str, Flag]
    policy: AutoRollback
    breakers: Mapping[str, Breaker]
    damaged: Mapping[str, str]


class Repository(Protocol):
    """The store as the runtime sees it: flags, policy and breakers of one environment. Threads: any; all do I/O.

    Every method raises `StoreError` when the store cannot be reached or answers wrongly.
    """

    def version(self) -> int:
        """Return the store's version; cheap, for polling."""

    def load(self) -> Stored:
        """Return everything at one version."""

    def apply(self, config: Mapping[str, object] | PathLike[str] | str, *, actor: str, reason: str, at: float) -> int:
        """Declare flags and policy from a TOML file's path or a dictionary; all or nothing.

        Raises `ConfigError` with every mistake found.
        """

    def save_breakers(self, breakers: Mapping[str, Breaker], *, actor: str, reason: str, at: float) -> int:
        """Store the state of breakers and return the version afterwards."""

    def audit(self, flag_key: str | None, limit: int) -> tuple[AuditRow, ...]:
        """Return the newest audit rows, of one flag or of all."""

    def close(self) -> None:
        """Release what is held; idempotent."""
