"""A store in one SQLite file, for all processes of one host. The only module that imports sqlite3.

Tables: `store` (one row: the version), `document` (kind, key -> body, revision), `audit` (one row a real change),
`journal` (one row a line), `journal_key` (the keys of its lines) and `notice` (topic, author -> body). They are written
in WAL mode, in immediate transactions that reach the disk before a commit is acknowledged, and are versioned by `PRAGMA
user_version`. `PRAGMA application_id` marks the file as ours; any other database is refused. A new file gets the mode
that the umask gives it, as do the `-wal` and `-shm` files beside it: whoever may write them owns the flags.

Nothing crosses a fork. SQLite notes for each process which locks it holds on a file, and a forked child inherits the
note without the locks: a connection that the child opens would hold none in truth, and what it commits would be lost as
soon as the parent closes its own. So every connection is closed before a fork and opened again at the next use.

On failure every method raises `StoreError` with the path, what is wrong and what to do; nothing is written by halves.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from canary_sdk.errors import StoreError
from canary_sdk.ports import NOTICE_S, AuditRow, Document, JournalLine, Notice, Removed, Snapshot
from canary_sdk.stores.revision import successor

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from canary_sdk.ports import Change, Cut

APPLICATION_ID: Final = 0x434E5259
"""`CNRY`, in the header of the file."""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE store (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL) STRICT",
        "INSERT INTO store (id, version) VALUES (1, 0)",
        """
        CREATE TABLE document (
            kind TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, revision INTEGER NOT NULL,
            PRIMARY KEY (kind, key)
        ) STRICT
        """,
        """
        CREATE TABLE audit (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            at REAL NOT NULL, actor TEXT NOT NULL, reason TEXT NOT NULL,
            kind TEXT NOT NULL, key TEXT NOT NULL, before TEXT, after TEXT,
            version INTEGER NOT NULL
        ) STRICT
        """,
        "CREATE INDEX audit_of_document ON audit (kind, key, id)",
    ),
    (
        "ALTER TABLE audit ADD COLUMN revision INTEGER NOT NULL DEFAULT 0",
        """
        UPDATE audit SET revision = (
            SELECT count(*) FROM audit AS row WHERE row.kind = audit.kind AND row.key = audit.key
            AND row.id <= audit.id AND row.id >= (
                SELECT max(id) FROM audit AS made WHERE made.kind = audit.kind AND made.key = audit.key
                AND made.id <= audit.id AND made.before IS NULL
            )
        ) WHERE after IS NOT NULL
        """,
    ),
    (
        "CREATE TABLE journal_key (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE) STRICT",
        """
        CREATE TABLE journal (
            id INTEGER PRIMARY KEY AUTOINCREMENT, key_id INTEGER NOT NULL, at REAL NOT NULL, text TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX journal_of_key ON journal (key_id)",
    ),
    (
        """
        CREATE TABLE notice (
            topic TEXT NOT NULL, author TEXT NOT NULL, body TEXT NOT NULL, at REAL NOT NULL,
            PRIMARY KEY (topic, author)
        ) STRICT
        """,
    ),
)
"""What leads from each schema version to the next. A row is never changed once it was released."""

OLDEST_SQLITE: Final = (3, 37, 0)
"""The first with STRICT tables."""

_ADVICE: Final = {
    sqlite3.SQLITE_BUSY: "somebody held it for the whole timeout; end the backup or the shell that does, and try again",
    sqlite3.SQLITE_READONLY: "make the file and its folder writable for this user",
    sqlite3.SQLITE_PERM: "make the file and its folder writable for this user",
    sqlite3.SQLITE_CANTOPEN: "its folder must exist, and this user must be allowed to read and write there",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore a backup, or move it away and apply the configuration again",
    sqlite3.SQLITE_NOTADB: "this is no SQLite database; name another file, or move this one away",
    sqlite3.SQLITE_FULL: "make room on the disk; nothing was written",
    sqlite3.SQLITE_IOERR: "the disk failed; look at the system's log, and check the file before going on",
}
"""What to do, by SQLite's primary result code."""


class SQLiteStore:
    """Implements `ports.FlagStore` and `ports.Board` in the file at `path`.

    Constructing opens nothing. Threads: any. Reading and writing have a connection and a lock each, held around SQL
    only, so a reader never waits for a writer that waits.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout_s: float = 5.0) -> None:
        """Name the file, relative to the present working directory; `timeout_s` is how long to wait for others."""
        if os.fspath(path) == ":memory:":
            raise StoreError(":memory: is no file, and its connections would not see each other; use a MemoryStore")
        self._file = _File(Path(path).absolute(), timeout_s)
        self._reader = _Connection(self._file)
        self._writer = _Connection(self._file)

    def __repr__(self) -> str:
        """Show the path."""
        return f"<SQLiteStore {self._file.path}>"

    def version(self) -> int:
        """Return the version that `load` would return. Cost: one row, some microseconds once the file is open."""
        with self._reader.use() as sql:
            return _version(sql)

    def load(self) -> Snapshot:
        """Return every document at one version."""
        with self._reader.use() as sql, _transaction(sql, "DEFERRED"):
            rows = sql.execute("SELECT kind, key, body, revision FROM document ORDER BY kind, key")
            return Snapshot(_version(sql), tuple(Document(*row) for row in rows))

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
        with self._writer.use() as sql, _transaction(sql, "IMMEDIATE"):
            version = _version(sql)
            audited = sum(_write(sql, change, (at, actor, reason), version + 1) for change in changes)
            _append(sql, journal)
            if not audited:
                return version
            sql.execute("UPDATE store SET version = ?", (version + 1,))
            return version + 1

    def audit(
        self, *, kind: str | None = None, key: str | None = None, until: int | None = None, limit: int = 100
    ) -> tuple[AuditRow, ...]:
        """Return the newest audit rows first, of those whose id is at most `until`."""
        with self._reader.use() as sql:
            rows = sql.execute(
                "SELECT id, at, actor, reason, kind, key, before, after, version, revision FROM audit"
                " WHERE kind = coalesce(:kind, kind) AND key = coalesce(:key, key) AND id <= coalesce(:until, id)"
                " ORDER BY id DESC LIMIT :limit",
                {"kind": kind, "key": key, "until": until, "limit": max(limit, 0)},
            )
            return tuple(AuditRow(*row) for row in rows)

    def journal(self, key: str, *, after: int = 0, limit: int = 1_000) -> tuple[JournalLine, ...]:
        """Return the oldest lines of a key first, of those whose id is more than `after`."""
        with self._reader.use() as sql:
            rows = sql.execute(
                "SELECT :key, at, text, id FROM journal"
                " WHERE key_id = (SELECT id FROM journal_key WHERE key = :key) AND id > :after"
                " ORDER BY id LIMIT :limit",
                {"key": key, "after": after, "limit": max(limit, 0)},
            )
            return tuple(JournalLine(*row) for row in rows)

    def compact(
        self, journal: Cut, audit: Cut, spared: Collection[tuple[str, str]] = (), *, limit: int = 1_000
    ) -> Removed:
        """Remove what may go, the oldest first. The file keeps its size; what is written next uses the room."""
        with self._writer.use() as sql, _transaction(sql, "IMMEDIATE"):
            keys = {key for _, key in spared}
            lines = 0
            for key_id, key in sql.execute("SELECT id, key FROM journal_key ORDER BY id").fetchall():
                if key not in keys:
                    wanted = {"key_id": key_id, "before": journal.before, "most": journal.most, "limit": limit - lines}
                    lines += sql.execute(_OLD_LINES, wanted).rowcount
            sql.execute("CREATE TEMP TABLE IF NOT EXISTS spared (kind TEXT NOT NULL, key TEXT NOT NULL)")
            sql.execute("DELETE FROM spared")
            sql.executemany("INSERT INTO spared VALUES (?, ?)", spared)
            wanted = {"before": audit.before, "most": audit.most, "limit": limit}
            return Removed(lines, sql.execute(_OLD_ROWS, wanted).rowcount)

    def put_up(self, topic: str, author: str, body: str | None) -> None:
        """Put up a notice in the place of the author's last one on the topic; None takes that down."""
        with self._writer.use() as sql, _transaction(sql, "IMMEDIATE"):
            sql.execute(
                "DELETE FROM notice WHERE (topic, author) = (?, ?) OR julianday('now') * 86400 - at > ?",
                (topic, author, NOTICE_S),
            )
            if body is not None:
                sql.execute("INSERT INTO notice VALUES (?, ?, ?, julianday('now') * 86400)", (topic, author, body))

    def notices(self, topic: str) -> tuple[Notice, ...]:
        """Return the notices on a topic, in the order of their authors."""
        with self._reader.use() as sql:
            rows = sql.execute(
                "SELECT author, body, age_s FROM (SELECT *, julianday('now') * 86400 - at AS age_s FROM notice)"
                " WHERE topic = ? AND age_s <= ? ORDER BY author",
                (topic, NOTICE_S),
            )
            return tuple(Notice(author, body, max(age_s, 0.0)) for author, body, age_s in rows)

    def close(self) -> None:
        """Close the file; idempotent. Using the store afterwards raises `StoreError`."""
        self._reader.close()
        self._writer.close()


_OLD_LINES: Final = """
    DELETE FROM journal WHERE id IN (
        SELECT id FROM journal WHERE key_id = :key_id AND (at < :before OR id <= (
            SELECT id FROM journal WHERE key_id = :key_id AND :most IS NOT NULL
            ORDER BY id DESC LIMIT 1 OFFSET coalesce(:most, 0)
        )) ORDER BY id LIMIT :limit
    )
"""
_OLD_ROWS: Final = """
    DELETE FROM audit WHERE id IN (
        SELECT id FROM audit WHERE (kind, key) NOT IN (SELECT kind, key FROM spared) AND (at < :before OR id <= (
            SELECT id FROM audit WHERE :most IS NOT NULL ORDER BY id DESC LIMIT 1 OFFSET coalesce(:most, 0)
        )) ORDER BY id LIMIT :limit
    )
"""
"""Without `before`, or without `most`, the comparison is with NULL, and takes nothing."""


def _version(sql: sqlite3.Connection) -> int:
    row = sql.execute("SELECT version FROM store").fetchone()
    if row is None:
        raise sqlite3.DatabaseError("the table `store` has lost its row")
    return int(row[0])


def _write(sql: sqlite3.Connection, change: Change, who: tuple[float, str, str], version: int) -> bool:
    """Apply one change and audit it; tell whether it left an audit row."""
    place = change.kind, change.key
    row = sql.execute("SELECT body, revision FROM document WHERE kind = ? AND key = ?", place).fetchone()
    old = Document(*place, *row) if row else None
    new = successor(old, change)
    if new is old:
        return False
    if new:
        sql.execute("REPLACE INTO document (kind, key, body, revision) VALUES (?, ?, ?, ?)", _columns(new))
    else:
        sql.execute("DELETE FROM document WHERE kind = ? AND key = ?", place)
    if change.quiet:
        return False
    sql.execute(
        "INSERT INTO audit (at, actor, reason, kind, key, before, after, version, revision)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*who, *place, old and old.body, new and new.body, version, new.revision if new else 0),
    )
    return True


def _append(sql: sqlite3.Connection, journal: Sequence[JournalLine]) -> None:
    """Append lines. Each key is kept once: it would be a fifth of the file."""
    sql.executemany("INSERT OR IGNORE INTO journal_key (key) VALUES (?)", {(line.key,) for line in journal})
    sql.executemany(
        "INSERT INTO journal (key_id, at, text) SELECT id, ?, ? FROM journal_key WHERE key = ?",
        [(line.at, line.text, line.key) for line in journal],
    )


def _columns(document: Document) -> tuple[str, str, str, int]:
    return document.kind, document.key, document.body, document.revision


@contextmanager
def _transaction(sql: sqlite3.Connection, kind: str) -> Iterator[None]:
    """Commit what is done inside, or undo it."""
    sql.execute(f"BEGIN {kind}")
    try:
        yield
        sql.execute("COMMIT")
    finally:
        if sql.in_transaction:
            sql.execute("ROLLBACK")


@dataclass(slots=True)
class _File:
    """The file that both connections of a store mean: always the one that was opened first.

    Should it go away, nobody is served an empty one in its place. Should another be put in its place, that one is not
    opened either: what stands in the old `-wal` beside it would be read into it.
    """

    path: Path
    timeout_s: float
    first: tuple[int, int] | None = None
    opened_anew: int = 0
    """How often both connections were to be opened anew: what SQLite has opened to be read only stays so, also where
    the file can be written again, and as long as one of them is open so is the other."""

    def check(self) -> None:
        """Raise `StoreError` if another file, or none, is at the path now."""
        if self.first is None or self.first == (found := self._found()):
            return
        if found is None:
            raise StoreError(f"{self.path}: the file has gone; bring it back, or restart to begin with an empty one")
        raise StoreError(
            f"{self.path}: another file was put in the place of the open one; stop every process that uses it, "
            "remove the -wal and -shm files beside it, and start again"
        )

    def opened(self) -> None:
        """Remember which file it is."""
        self.first = self._found()

    def _found(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


class _Connection:
    """One connection, opened at first use and again after a fork; its lock admits one thread at a time."""

    def __init__(self, file: _File) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._sql: sqlite3.Connection | None = None
        self._opened_at = 0
        self._closed = False
        _CONNECTIONS.add(self)

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection. Raises `StoreError`, also for whatever SQLite raises inside."""
        with self._lock, _explained(self._file.path):
            if self._closed:
                raise StoreError(f"{self._file.path}: this store is closed")
            try:
                yield self._opened()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY:
                    self._file.opened_anew += 1
                    self._let_go()
                raise

    def close(self) -> None:
        """Close for good."""
        with self._lock, _explained(self._file.path):
            self._closed = True
            self._let_go()

    def _opened(self) -> sqlite3.Connection:
        self._file.check()
        if self._opened_at != self._file.opened_anew:
            self._let_go()
        if self._sql is None:
            self._opened_at = self._file.opened_anew
            self._sql = _open(self._file)
            self._file.opened()
        return self._sql

    def _let_go(self) -> None:
        if self._sql is not None:
            self._sql.close()
            self._sql = None

    def __del__(self) -> None:
        """Close what nobody closed, without a warning to whoever runs the garbage collector."""
        with suppress(sqlite3.Error):
            self._let_go()

    # --- around a fork ---

    def pause(self) -> bool:
        """Close until `resume`; False if whoever uses it does not come to an end in time."""
        if not self._lock.acquire(timeout=PAUSE_S):
            return False
        with suppress(sqlite3.Error):
            self._let_go()
        return True

    def resume(self) -> None:
        """Let it be opened again."""
        self._lock.release()

    def abandon(self) -> None:
        """In a child that was forked in the middle of a use: begin anew and never touch what the parent is using."""
        if self._sql is not None:
            _INHERITED.append(self._sql)
            self._sql = None
        self._lock = threading.Lock()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into what an operator can act on."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        raise StoreError(
            f"{path}: {error}; {_ADVICE.get(code, 'check the file with `PRAGMA integrity_check`')}"
        ) from error
    except UnicodeEncodeError as error:
        raise StoreError(f"{path}: {error.object!r} holds half a character and cannot be stored") from error


# --- the schema ---


def _open(file: _File) -> sqlite3.Connection:
    """Open the file, and make it if it is not there."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StoreError(f"{file.path}: this Python has SQLite {sqlite3.sqlite_version}, expected 3.37 or later")
    sql = sqlite3.connect(file.path, timeout=file.timeout_s, isolation_level=None, check_same_thread=False)
    try:
        _prepare(sql, file.path)
    except BaseException:
        sql.close()
        raise
    return sql


def _prepare(sql: sqlite3.Connection, path: Path) -> None:
    """Check whose file it is, bring its schema up to date, put it into WAL mode."""
    sql.execute("PRAGMA synchronous = FULL")
    with _transaction(sql, "DEFERRED"):  # one look: another process may be making the schema right now
        schema = _schema(sql, path)
    if schema < len(MIGRATIONS):
        with _transaction(sql, "IMMEDIATE"):
            _migrate(sql, _schema(sql, path))
    if sql.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        _write_ahead(sql)


def _schema(sql: sqlite3.Connection, path: Path) -> int:
    """Return the schema version of a file that is ours or empty."""
    (owner,) = sql.execute("PRAGMA application_id").fetchone()
    (schema,) = sql.execute("PRAGMA user_version").fetchone()
    (tables,) = sql.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if owner != APPLICATION_ID and (owner or schema or tables):
        raise StoreError(f"{path}: this database belongs to another program; name another file")
    if schema > len(MIGRATIONS):
        raise StoreError(
            f"{path}: a newer release wrote this file (schema {schema}, this one knows {len(MIGRATIONS)}): "
            "upgrade canary-rollout here"
        )
    return int(schema)


def _migrate(sql: sqlite3.Connection, schema: int) -> None:
    for statements in MIGRATIONS[schema:]:
        for statement in statements:
            sql.execute(statement)
    sql.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    sql.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _write_ahead(sql: sqlite3.Connection) -> None:
    """Switch to WAL. SQLite does not wait for others here; while they are busy, whoever opens the file next does it."""
    try:
        sql.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise


# --- around a fork ---

PAUSE_S: Final = 1.0
"""How long a fork waits for a use that is under way; SQL takes milliseconds unless another process holds the file."""

_CONNECTIONS: weakref.WeakSet[_Connection] = weakref.WeakSet()
_PAUSED: dict[int, list[_Connection]] = {}
"""What each forking thread has closed and must let be opened again."""
_INHERITED: list[sqlite3.Connection] = []
"""Connections of a parent process. Kept so that nobody closes them: closing is a use."""


def _before_fork() -> None:
    _PAUSED[threading.get_ident()] = [connection for connection in list(_CONNECTIONS) if connection.pause()]


def _after_fork_in_parent() -> None:
    for connection in _PAUSED.pop(threading.get_ident(), ()):
        connection.resume()


def _after_fork_in_child() -> None:
    _PAUSED.clear()
    for connection in list(_CONNECTIONS):
        connection.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
