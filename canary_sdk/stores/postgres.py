"""A store in a PostgreSQL database, for all hosts that reach it. The only module that imports psycopg.

Tables, in the first schema of the connection's search path: `canary_store` (one row: the schema's and the store's
version), `canary_document` (kind, key -> body, revision), `canary_audit` (one row a real change), `canary_journal` (one
row a line), and `canary_notice` (topic, author -> body; not logged, so a crash of the server empties it). Commits lock
the one row of `canary_store` first, so they follow one another and each sees all before it; a commit is acknowledged
when the server has it on its disk, as far as the server's `synchronous_commit` says so.

Push: a commit that raises the version notifies the channel `canary_changed` inside its transaction. The connection that
reads listens there, and is asked whether its socket has something to say, without waiting. Whatever word is lost,
polling makes good.

A server that stands still holds nobody for long: the server ends a statement, and this side gives up a connection, that
says nothing for the timeout. What failed is not used again; the next use opens anew. A forked child never touches the
connections of its parent.

On failure every method raises `StoreError` with the server (without its password), what is wrong and what to do.
"""

from __future__ import annotations

import os
import re
import select
import threading
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, LiteralString, TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from canary_sdk.errors import StoreError
from canary_sdk.ports import NOTICE_S, AuditRow, Document, JournalLine, Notice, Removed, Snapshot, Stamp
from canary_sdk.stores.revision import applied

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterator, Sequence

    from canary_sdk.ports import Change, Cut

R = TypeVar("R")

CHANNEL: Final = "canary_changed"
TIMEOUT_S: Final = 1.0
IDLE_MS: Final = 5_000
"""How long a writer that stands still in the middle of a commit may keep others waiting."""
MIGRATION_LOCK: Final = 0x434E5259
"""`CNRY`: the advisory lock under which tables are made and changed."""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE canary_store (
            one BOOLEAN PRIMARY KEY DEFAULT true CHECK (one),
            schema INTEGER NOT NULL, version BIGINT NOT NULL, audited BIGINT NOT NULL
        )
        """,
        "INSERT INTO canary_store (schema, version, audited) VALUES (0, 0, 0)",
        """
        CREATE TABLE canary_document (
            kind TEXT COLLATE "C" NOT NULL, key TEXT COLLATE "C" NOT NULL, body TEXT NOT NULL, revision BIGINT NOT NULL,
            PRIMARY KEY (kind, key)
        )
        """,
        """
        CREATE TABLE canary_audit (
            id BIGINT PRIMARY KEY,
            at DOUBLE PRECISION NOT NULL, actor TEXT NOT NULL, reason TEXT NOT NULL,
            kind TEXT COLLATE "C" NOT NULL, key TEXT COLLATE "C" NOT NULL, before TEXT, after TEXT,
            version BIGINT NOT NULL, revision BIGINT NOT NULL
        )
        """,
        "CREATE INDEX canary_audit_of_document ON canary_audit (kind, key, id)",
    ),
    (
        """
        CREATE TABLE canary_journal (
            id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            key TEXT COLLATE "C" NOT NULL, at DOUBLE PRECISION NOT NULL, text TEXT NOT NULL
        )
        """,
        "CREATE INDEX canary_journal_of_key ON canary_journal (key, id)",
    ),
    (
        """
        CREATE UNLOGGED TABLE canary_notice (
            topic TEXT COLLATE "C" NOT NULL, author TEXT COLLATE "C" NOT NULL, body TEXT NOT NULL,
            at TIMESTAMP WITH TIME ZONE NOT NULL, PRIMARY KEY (topic, author)
        )
        """,
    ),
)
"""What leads from each schema version to the next. A row is never changed once it was released."""

_ADVICE: Final[tuple[tuple[type[psycopg.Error], str], ...]] = (
    (errors.UndefinedTable, "the tables have gone; restore a backup, or restart to begin with empty ones"),
    (errors.InsufficientPrivilege, "this user needs CREATE on the schema once, then to read and write its own tables"),
    (errors.InvalidSchemaName, "no schema of the search path exists; make one, or name another in the URL"),
    (errors.ReadOnlySqlTransaction, "this server only reads; name the primary"),
    (errors.QueryCanceled, "somebody held the store for the whole timeout, or the server is overloaded; try again"),
    (errors.IdleInTransactionSessionTimeout, "this process stood still in the middle of it; nothing was written"),
    (errors.DiskFull, "make room on the server's disk; nothing was written"),
    (errors.DataError, "this text cannot be stored in PostgreSQL"),
    (
        errors.ConnectionTimeout,
        (
            "see whether the server runs, is overloaded or cut off; it is tried again by itself, but look at the "
            "history before you repeat a change"
        ),
    ),
    (
        errors.OperationalError,
        (
            "see that the server runs and can be reached, and that host, port, user, password and database in the URL "
            "are right; it is tried again by itself, but look at the history before you repeat a change"
        ),
    ),
    (psycopg.Error, "look at the server's log"),
)
"""What to do, by the first kind of error that fits."""


class PostgresStore:
    """Implements `ports.FlagStore`, `ports.Pushing` and `ports.Board` in the database at a `postgresql://` URL.

    Constructing opens nothing. Threads: any. Reading and writing have a connection and a lock each, held around SQL
    only, so whoever polls never waits for an operator. The second is opened by the first commit.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Name the database; `timeout_s` is how long the server may say nothing. Raises `StoreError`."""
        self._database = _Database(url, timeout_s)
        self._reader = _Line(self._database, listens=True)
        self._writer = _Line(self._database, listens=False)

    @property
    def name(self) -> str:
        """Where the store is, without the password."""
        return self._database.name

    def __repr__(self) -> str:
        """Show where it is."""
        return f"<PostgresStore {self.name}>"

    def version(self) -> int:
        """Return the version that `load` would return. Cost: one round trip."""
        with self._reader.use() as sql:
            self._reader.was_told = False
            seen = self._database.seen
            return int(self._database.checked(seen, _first(sql, "SELECT version FROM canary_store"))[0])

    def has_news(self) -> bool:
        """Return whether the server has said anything since; Cost: one look at a socket."""
        return self._reader.has_news()

    def load(self) -> Snapshot:
        """Return every document at one version: one statement sees one state."""
        with self._reader.use() as sql:
            seen = self._database.seen
            rows = sql.execute(
                "SELECT store.version, kind, key, body, revision"
                " FROM canary_store AS store LEFT JOIN canary_document ON true ORDER BY kind, key"
            ).fetchall()
            version = self._database.checked(seen, rows[0] if rows else None)[0]
            return Snapshot(version, tuple(Document(*row[1:]) for row in rows if row[1] is not None))

    def commit(
        self,
        changes: Sequence[Change],
        *,
        actor: str,
        reason: str,
        at: float,
        journal: Sequence[JournalLine] = (),
    ) -> int:
        """Apply all changes and append the lines, or nothing. Raises `StaleWrite`. Cost: a few round trips."""
        with self._writer.use() as sql, sql.transaction():
            seen = self._database.seen
            now = _first(sql, "SELECT version, audited FROM canary_store FOR UPDATE")
            version, audited = map(int, self._database.checked(seen, now))
            stamp = Stamp(actor, reason, at)
            written, rows = applied(_documents(sql, changes), changes, stamp, version=version, rows=audited)
            if written or journal:
                _write(sql, written)
                _append(sql, journal)
            if not rows:
                return version
            _audit(sql, rows)
            sql.execute("UPDATE canary_store SET version = %s, audited = %s", (version + 1, rows[-1].id))
            sql.execute("SELECT pg_notify(%s, %s)", (CHANNEL, str(version + 1)))
        return version + 1

    def audit(
        self, *, kind: str | None = None, key: str | None = None, until: int | None = None, limit: int = 100
    ) -> tuple[AuditRow, ...]:
        """Return the newest audit rows first, of those whose id is at most `until`."""
        with self._reader.use() as sql:
            rows = sql.execute(
                "SELECT id, at, actor, reason, kind, key, before, after, version, revision FROM canary_audit"
                " WHERE kind = coalesce(%(kind)s::text, kind) AND key = coalesce(%(key)s::text, key)"
                " AND id <= coalesce(%(until)s::bigint, id) ORDER BY id DESC LIMIT %(limit)s",
                {"kind": kind, "key": key, "until": until, "limit": max(limit, 0)},
            )
            return tuple(AuditRow(*row) for row in rows)

    def journal(self, key: str, *, after: int = 0, limit: int = 1_000) -> tuple[JournalLine, ...]:
        """Return the oldest lines of a key first, of those whose id is more than `after`."""
        with self._reader.use() as sql:
            rows = sql.execute(
                "SELECT key, at, text, id FROM canary_journal WHERE key = %s AND id > %s ORDER BY id LIMIT %s",
                (key, after, max(limit, 0)),
            )
            return tuple(JournalLine(*row) for row in rows)

    def compact(
        self, journal: Cut, audit: Cut, spared: Collection[tuple[str, str]] = (), *, limit: int = 1_000
    ) -> Removed:
        """Remove what may go, the oldest first. Cost: two round trips for each key of the journal, and two more."""
        with self._writer.use() as sql:
            keys = {key for _, key in spared}
            lines = 0
            for key in _keys(sql):
                if key not in keys and lines < limit:
                    wanted: dict[str, Any] = {
                        "key": key,
                        "before": journal.before,
                        "most": journal.most,
                        "limit": limit - lines,
                    }
                    lines += sql.execute(_OLD_LINES, wanted).rowcount
            places = {"kinds": [kind for kind, _ in spared], "keys": [key for _, key in spared]}
            wanted = {"before": audit.before, "most": audit.most, "limit": limit, **places}
            return Removed(lines, sql.execute(_OLD_ROWS, wanted).rowcount)

    def put_up(self, topic: str, author: str, body: str | None) -> None:
        """Put up a notice in the place of the author's last one on the topic; None takes that down.

        It waits for no commit, and no commit waits for it. Cost: two round trips.
        """
        notice = {"topic": topic, "author": author, "body": body, "most": NOTICE_S}
        with self._writer.use() as sql:
            sql.execute(_PUT_UP if body is not None else _TAKE_DOWN, notice)
            sql.execute(_OLD_NOTICES, notice)

    def notices(self, topic: str) -> tuple[Notice, ...]:
        """Return the notices on a topic, in the order of their authors. Cost: one round trip."""
        with self._reader.use() as sql:
            rows = sql.execute(_NOTICES, (topic, NOTICE_S))
            return tuple(Notice(author, body, max(age_s, 0.0)) for author, body, age_s in rows)

    def close(self) -> None:
        """Close both connections; idempotent. Using the store afterwards raises `StoreError`."""
        self._reader.close()
        self._writer.close()


_PUT_UP: Final = """
    INSERT INTO canary_notice (topic, author, body, at) VALUES (%(topic)s, %(author)s, %(body)s, clock_timestamp())
    ON CONFLICT (topic, author) DO UPDATE SET body = excluded.body, at = excluded.at
"""
_TAKE_DOWN: Final = "DELETE FROM canary_notice WHERE topic = %(topic)s AND author = %(author)s"
_OLD_NOTICES: Final = "DELETE FROM canary_notice WHERE extract(epoch FROM clock_timestamp() - at) > %(most)s"
_NOTICES: Final = """
    SELECT author, body, age_s FROM (
        SELECT *, extract(epoch FROM clock_timestamp() - at)::float8 AS age_s FROM canary_notice
    ) AS notice WHERE topic = %s AND age_s <= %s ORDER BY author
"""

_OLD_LINES: Final = """
    DELETE FROM canary_journal WHERE id IN (
        SELECT id FROM canary_journal WHERE key = %(key)s AND (at < %(before)s::float8 OR id <= (
            SELECT id FROM canary_journal WHERE key = %(key)s AND %(most)s::bigint IS NOT NULL
            ORDER BY id DESC LIMIT 1 OFFSET %(most)s::bigint
        )) ORDER BY id LIMIT %(limit)s
    )
"""
_OLD_ROWS: Final = """
    DELETE FROM canary_audit WHERE id IN (
        SELECT id FROM canary_audit WHERE (kind, key) NOT IN (SELECT * FROM unnest(%(kinds)s::text[], %(keys)s::text[]))
        AND (at < %(before)s::float8 OR id <= (
            SELECT id FROM canary_audit WHERE %(most)s::bigint IS NOT NULL
            ORDER BY id DESC LIMIT 1 OFFSET %(most)s::bigint
        )) ORDER BY id LIMIT %(limit)s
    )
"""
"""Without `before`, or without `most`, the comparison is with NULL, and takes nothing."""


def _keys(sql: _Connection) -> Iterator[str]:
    """Return the keys of the journal, one after the other: to ask for all at once would be to read all of it."""
    query = "SELECT min(key) FROM canary_journal WHERE %(last)s::text IS NULL OR key > %(last)s::text"
    last: str | None = None
    while (found := sql.execute(query, {"last": last}).fetchone()) and found[0] is not None:
        last = found[0]
        yield last


def _first(sql: _Connection, query: LiteralString) -> tuple[Any, ...] | None:
    return sql.execute(query).fetchone()


def _documents(sql: _Connection, changes: Sequence[Change]) -> dict[tuple[str, str], Document]:
    """Read the documents that the changes are about."""
    rows = sql.execute(
        "SELECT kind, key, body, revision FROM canary_document"
        " WHERE (kind, key) IN (SELECT * FROM unnest(%s::text[], %s::text[]))",
        ([change.kind for change in changes], [change.key for change in changes]),
    )
    return {(row[0], row[1]): Document(*row) for row in rows}


def _write(sql: _Connection, written: dict[tuple[str, str], Document | None]) -> None:
    kept = [(each.kind, each.key, each.body, each.revision) for each in written.values() if each]
    gone = [place for place, each in written.items() if each is None]
    with sql.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO canary_document (kind, key, body, revision) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body, revision = excluded.revision",
            kept,
        )
        cursor.executemany("DELETE FROM canary_document WHERE kind = %s AND key = %s", gone)


def _append(sql: _Connection, journal: Sequence[JournalLine]) -> None:
    with sql.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO canary_journal (key, at, text) VALUES (%s, %s, %s)",
            [(line.key, line.at, line.text) for line in journal],
        )


def _audit(sql: _Connection, rows: Sequence[AuditRow]) -> None:
    with sql.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO canary_audit (id, at, actor, reason, kind, key, before, after, version, revision)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    row.id,
                    row.at,
                    row.actor,
                    row.reason,
                    row.kind,
                    row.key,
                    row.before,
                    row.after,
                    row.version,
                    row.revision,
                )
                for row in rows
            ],
        )


# --- connections that do not wait for ever ---

_LOOK_S: Final = 0.1
"""How often a wait is looked at."""


class _Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that gives up, and closes itself, once the server has said nothing for `patience_s`."""

    patience_s = TIMEOUT_S

    def wait(self, gen: Generator[Any, Any, R], interval: float = _LOOK_S, timeout: float | None = None) -> R:  # noqa: ARG002
        """Wait for the server, but not for ever: every wait of a connection that is open passes through here."""
        try:
            return super().wait(_impatient(gen, self.patience_s), _LOOK_S)
        except errors.ConnectionTimeout:
            self.close()
            raise

    @classmethod
    def _connect_gen(cls, *arguments: Any, **options: Any) -> Generator[Any, Any, _Connection]:
        """Connect in the same way; psycopg itself knows no timeout below two seconds here."""
        return _impatient(super()._connect_gen(*arguments, **options), cls.patience_s)


def _impatient(steps: Generator[Any, Any, R], patience_s: float) -> Generator[Any, Any, R]:
    """Pass on what is waited for and what came, and give up once nothing came for `patience_s`."""
    silent = 0
    try:
        wanted = next(steps)
        while silent * _LOOK_S < patience_s:
            ready = yield wanted
            silent = 0 if ready else silent + 1
            wanted = steps.send(ready)
    except StopIteration as end:
        result: R = end.value
        return result
    raise errors.ConnectionTimeout(f"the server said nothing for {patience_s:g} s")


class _Database:
    """Which database is meant, how to reach it, and the newest version that was seen there."""

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = _parts(url)
        self._url = url
        self._secrets = [parts[key] for key in ("password", "sslpassword") if parts.get(key)]
        self._options = (
            f"{parts.get('options') or ''} -c statement_timeout={max(1, int(timeout_s * 900))}"
            f" -c idle_in_transaction_session_timeout={IDLE_MS}"
        )
        user, port = (
            (f"{parts['user']}@" if parts.get("user") else ""),
            (f":{parts['port']}" if "port" in parts else ""),
        )
        self.name = f"postgresql://{user}{parts.get('host') or ''}{port}/{parts.get('dbname') or ''}"

        class Connection(_Connection):
            patience_s = timeout_s

        self._connect = Connection.connect
        self.seen = 0

    def connect(self) -> _Connection:
        """Open a connection to tables that are up to date."""
        sql: _Connection = self._connect(
            self._url,
            autocommit=True,
            prepare_threshold=None,  # what lives between transactions does not pass a pooler
            options=self._options,
            connect_timeout=2,
            client_encoding="utf8",
            fallback_application_name="canary",
        )
        try:
            self._prepare(sql)
        except BaseException:
            sql.close()
            raise
        return sql

    def checked(self, seen: int, row: tuple[Any, ...] | None) -> tuple[Any, ...]:
        """Return a row that begins with the version, unless the store was emptied since `seen` was seen."""
        if row is None or (row[0] == 0 and seen):
            raise StoreError(
                f"{self.name}: the store has lost what it held; restore a backup, or restart to begin with an empty one"
            )
        self.seen = row[0]
        return row

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what psycopg raises into what an operator can act on."""
        try:
            yield
        except psycopg.Error as error:
            said, advice = str(error), next(advice for kind, advice in _ADVICE if isinstance(error, kind))
            for secret in self._secrets:
                said = said.replace(secret, "***")
            raise StoreError(f"{self.name}: {' '.join(said.split())}; {advice}") from error
        except UnicodeEncodeError as error:
            raise StoreError(f"{self.name}: {error.object!r} holds half a character and cannot be stored") from error

    # --- the schema ---

    def _prepare(self, sql: _Connection) -> None:
        """Bring the tables up to date; processes that start together wait for the one that does it."""
        if self._schema(sql) == len(MIGRATIONS):
            return
        sql.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        with sql.transaction():  # begun under the lock, or it would not see tables that were made while it waited
            for statements in MIGRATIONS[self._schema(sql) :]:
                for statement in statements:
                    sql.execute(statement)
            sql.execute("UPDATE canary_store SET schema = %s", (len(MIGRATIONS),))
        sql.execute("SELECT pg_advisory_unlock(%s)", (MIGRATION_LOCK,))

    def _schema(self, sql: _Connection) -> int:
        """Return the schema version of the tables that are there, 0 without any."""
        if sql.execute("SELECT to_regclass('canary_store')").fetchone() == (None,):
            if self.seen:
                raise errors.UndefinedTable("the table canary_store is no longer there")
            return 0
        (schema,) = sql.execute("SELECT schema FROM canary_store").fetchone() or (0,)
        if schema > len(MIGRATIONS):
            raise StoreError(
                f"{self.name}: a newer release wrote these tables (schema {schema}, this one knows {len(MIGRATIONS)}): "
                "upgrade canary-rollout here"
            )
        return int(schema)


def _parts(url: str) -> dict[str, str]:
    """Read a URL. What is special in a password shifts the border of all parts, so such a URL is not shown again."""
    with suppress(psycopg.Error):
        parts = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
        if re.fullmatch(r"[0-9,]*", parts.get("port", "")) and "@" not in parts.get("dbname", "") + parts.get(
            "host", ""
        ):
            return parts
    raise StoreError(
        "this PostgreSQL URL cannot be read; expected postgresql://user:password@host:port/database, "
        "with what is special in the password written as %40 for @, %2F for /, %23 for #"
    )


class _Line:
    """One connection, opened at first use, after a failure and after a fork; its lock admits one thread at a time."""

    def __init__(self, database: _Database, *, listens: bool) -> None:
        self._database = database
        self._listens = listens
        self._lock = threading.Lock()
        self._sql: _Connection | None = None
        self._closed = False
        self.was_told = False
        _LINES.add(self)

    @contextmanager
    def use(self) -> Iterator[_Connection]:
        """Lend the connection. Raises `StoreError`, also for whatever psycopg raises inside."""
        with self._lock, self._database.explained():
            if self._closed:
                raise StoreError(f"{self._database.name}: this store is closed")
            try:
                yield self._opened()
            except psycopg.Error:
                self._let_go()
                raise

    def has_news(self) -> bool:
        """Return whether there is anything to hear, be it the end of the connection; never waits."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            return self._sql is not None and (self.was_told or _speaks(self._sql))
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close for good."""
        with self._lock:
            self._closed = True
            self._let_go()

    def abandon(self) -> None:
        """In a forked child: begin anew and never touch what is the parent's."""
        if self._sql is not None:
            _INHERITED.append(self._sql)
            self._sql = None
        self._lock = threading.Lock()

    def _opened(self) -> _Connection:
        if self._sql is not None and _has_ended(self._sql):
            self._let_go()  # the server has restarted, or somebody has cut the connection: no reason to fail
        if self._sql is None:
            self._sql = self._database.connect()
            if self._listens:
                self._sql.add_notify_handler(self._hear)
                self._sql.execute(f"LISTEN {CHANNEL}")
        return self._sql

    def _hear(self, _: object) -> None:
        self.was_told = True

    def _let_go(self) -> None:
        if self._sql is not None:
            self._sql.close()
            self._sql = None


def _speaks(sql: _Connection) -> bool:
    """Return whether something came that was not read yet; True as well where the connection is gone."""
    if sql.closed:
        return True
    if not hasattr(select, "poll"):
        return bool(select.select([sql.fileno()], [], [], 0)[0])
    look = select.poll()
    look.register(sql.fileno(), select.POLLIN)
    return bool(look.poll(0))


def _has_ended(sql: _Connection) -> bool:
    """Take in what came; return whether it was the end. Notifications among it are handed out by the next statement."""
    try:
        while not sql.closed and _speaks(sql):
            sql.pgconn.consume_input()
    except psycopg.Error:
        return True
    return sql.closed


# --- around a fork ---

_LINES: weakref.WeakSet[_Line] = weakref.WeakSet()
_INHERITED: list[_Connection] = []
"""Connections of a parent process. Kept so that nobody closes them: that would be said on the parent's socket."""


def _after_fork_in_child() -> None:
    for line in list(_LINES):
        line.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
