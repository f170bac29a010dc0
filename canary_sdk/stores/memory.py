"""A store that lives and ends with the process: for tests, for trying things, for one process that wants no file."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Final

from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.errors import StoreError
from canary_sdk.ports import NOTICE_S, JournalLine, Notice, Removed, Snapshot, Stamp
from canary_sdk.stores.revision import applied

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from canary_sdk.clock import Clock
    from canary_sdk.ports import AuditRow, Change, Cut

MOST_AUDIT_ROWS: Final = 10_000
MOST_JOURNAL_LINES: Final = 50_000
"""Memory is bounded: the oldest beyond these are forgotten."""


class MemoryStore:
    """Implements `ports.FlagStore` and `ports.Board`. Threads: any; `version` and `load` never wait.

    A forked child has its own copy.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        """Begin empty; `clock` says how old notices are."""
        self._snapshot = Snapshot(0, ())
        self._audit: deque[AuditRow] = deque(maxlen=MOST_AUDIT_ROWS)
        self._rows = 0
        self._journal: deque[JournalLine] = deque(maxlen=MOST_JOURNAL_LINES)
        self._lines = 0
        self._clock = clock
        self._notices: dict[tuple[str, str], tuple[str, float]] = {}
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

    def commit(
        self,
        changes: Sequence[Change],
        *,
        actor: str,
        reason: str,
        at: float,
        journal: Sequence[JournalLine] = (),
    ) -> int:
        """Apply all changes and append the lines, or nothing. Raises `StaleWrite`."""
        with self._lock:
            before = self.load()
            documents = {(document.kind, document.key): document for document in before.documents}
            stamp = Stamp(actor, reason, at)
            written, rows = applied(documents, changes, stamp, version=before.version, rows=self._rows)
            if written:
                after = (documents | written).values()
                version = before.version + bool(rows)
                self._snapshot = Snapshot(version, tuple(document for document in after if document))
            self._audit.extend(rows)
            self._rows += len(rows)
            self._journal.extend(replace(line, id=self._lines + number) for number, line in enumerate(journal, 1))
            self._lines += len(journal)
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

    def journal(self, key: str, *, after: int = 0, limit: int = 1_000) -> tuple[JournalLine, ...]:
        """Return the oldest lines of a key first, of those whose id is more than `after`."""
        with self._lock:
            self.load()
            return tuple(islice((each for each in self._journal if each.key == key and each.id > after), max(limit, 0)))

    def compact(
        self, journal: Cut, audit: Cut, spared: Collection[tuple[str, str]] = (), *, limit: int = 1_000
    ) -> Removed:
        """Remove what may go, the oldest first."""
        with self._lock:
            self.load()
            keys, places = {key for _, key in spared}, Counter[str]()
            lines, rows = [], []
            for line in reversed(self._journal):
                places[line.key] += 1
                if line.key not in keys and journal.takes(line.at, places[line.key]):
                    lines.append(line.id)
            for place, row in enumerate(reversed(self._audit), 1):
                if (row.kind, row.key) not in spared and audit.takes(row.at, place):
                    rows.append(row.id)
            gone = set(lines[::-1][:limit]), set(rows[::-1][:limit])
            self._journal = deque((each for each in self._journal if each.id not in gone[0]), MOST_JOURNAL_LINES)
            self._audit = deque((each for each in self._audit if each.id not in gone[1]), MOST_AUDIT_ROWS)
            return Removed(*map(len, gone))

    def put_up(self, topic: str, author: str, body: str | None) -> None:
        """Put up a notice in the place of the author's last one on the topic; None takes that down."""
        with self._lock:
            self.load()
            now = self._clock.monotonic()
            kept = {place: notice for place, notice in self._notices.items() if now - notice[1] <= NOTICE_S}
            kept.pop((topic, author), None)
            self._notices = kept if body is None else {**kept, (topic, author): (body, now)}

    def notices(self, topic: str) -> tuple[Notice, ...]:
        """Return the notices on a topic, in the order of their authors."""
        self.load()
        now = self._clock.monotonic()
        found = sorted((author, *notice) for (about, author), notice in self._notices.items() if about == topic)
        return tuple(Notice(author, body, now - at) for author, body, at in found if now - at <= NOTICE_S)

    def close(self) -> None:
        """Refuse everything from now on; idempotent."""
        self._closed = True
