"""A store that lives and ends with the process: for tests, for trying things, for one process that wants no file."""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

from canary_sdk.errors import StoreError
from canary_sdk.ports import Snapshot, Stamp
from canary_sdk.stores.revision import applied

if TYPE_CHECKING:
    from collections.abc import Sequence

    from canary_sdk.ports import AuditRow, Change

MOST_AUDIT_ROWS: Final = 10_000
"""Memory is bounded: the oldest rows beyond this are forgotten."""


class MemoryStore:
    """Implements `ports.FlagStore`. Threads: any; `version` and `load` never wait. A forked child has its own copy."""

    def __init__(self) -> None:
        """Begin empty."""
        self._snapshot = Snapshot(0, ())
        self._audit: deque[AuditRow] = deque(maxlen=MOST_AUDIT_ROWS)
        self._rows = 0
        self._closed = False
        self._lock = threading.Lock()

    def version(self) -> int:
        """Return the version that `load` would return."""
        return self.load().version

    def load(self) -> Snapshot:
        """Return every document at one version."""
        if self._closed:
            raise StoreError("this memory store is closed")
        return self._snapshot

    def commit(self, changes: Sequence[Change], *, actor: str, reason: str, at: float) -> int:
        """Apply all changes or none. Raises `StaleWrite`."""
        with self._lock:
            before = self.load()
            documents = {(document.kind, document.key): document for document in before.documents}
            stamp = Stamp(actor, reason, at)
            written, rows = applied(documents, changes, stamp, version=before.version, rows=self._rows)
            if rows:
                self._audit.extend(rows)
                self._rows += len(rows)
                after = (documents | written).values()
                self._snapshot = Snapshot(before.version + 1, tuple(document for document in after if document))
            return self._snapshot.version

    def audit(
        self, *, kind: str | None = None, key: str | None = None, until: int | None = None, limit: int = 100
    ) -> tuple[AuditRow, ...]:
        """Return the newest audit rows first, of those whose id is at most `until`."""
        with self._lock:
            self.load()
            latest = self._rows if until is None else until
            wanted = (
                row
                for row in reversed(self._audit)
                if row.id <= latest and kind in {None, row.kind} and key in {None, row.key}
            )
            return tuple(islice(wanted, max(limit, 0)))

    def close(self) -> None:
        """Refuse everything from now on; idempotent."""
        self._closed = True
