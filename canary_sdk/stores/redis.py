"""A store in a Redis or Valkey database, for all hosts that reach it. The only module that imports redis.

Keys, under a prefix (`canary`, or `?prefix=` of the URL): `canary:store` (a hash: format, version, newest audit row,
newest line), `canary:document` (a hash: [kind, key] -> revision and body), `canary:audit` (a stream of the newest audit
rows; the oldest beyond `MOST_AUDIT_ROWS` are forgotten), `canary:journal` (a set of all that a journal is kept of), and
`canary:journal:…` (a stream of lines for each of them). Notices are `canary:notice:[topic,author]`, which expire, and
`canary:notice:[topic]` (a set of the authors). A commit watches the first and writes all of them in one MULTI,
or begins again if anybody was faster.

Durability is the server's. An acknowledged commit is in its memory; whether it outlives a crash depends on `appendonly`
and `appendfsync`, and a failover loses what the replica had not got yet. No other key expires, but a server that may
evict (`maxmemory-policy allkeys-*`) can take them. Flags that must not be lost belong in PostgreSQL. One server, or one
address that leads to the present primary: the keys are not made for a cluster.

Push: a commit that raises the version publishes on the channel `canary:changed`. Whoever asks for news gets a
connection that subscribes to it and is looked at without waiting. Whatever word is lost, polling makes good.

A server that stands still holds nobody for longer than the timeout, and nothing is tried twice. A forked child never
touches the connections of its parent. On failure every method raises `StoreError` with the server (without its
password), what is wrong and what to do.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from canary_sdk.errors import StoreError
from canary_sdk.ports import NOTICE_S, AuditRow, Document, JournalLine, Notice, Removed, Snapshot, Stamp
from canary_sdk.stores.revision import applied

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from redis.client import Pipeline, PubSub

    from canary_sdk.ports import Change, Cut

FORMAT: Final = 1
"""The newest format that is read, and the one that is written."""
PREFIX: Final = "canary"
TIMEOUT_S: Final = 1.0
MOST_AUDIT_ROWS: Final = 10_000
"""The server's memory is bounded: the oldest rows beyond this are forgotten."""
ATTEMPTS: Final = 1_000
"""How often a commit begins again; each time, another one got through."""
_NOTICE_MS: Final = round(NOTICE_S * 1_000)
AUDIT_PAGE: Final = 500
"""How many audit rows are fetched at once."""

_ADVICE: Final[tuple[tuple[type[exceptions.RedisError], str], ...]] = (
    (exceptions.AuthenticationError, "correct user and password in the URL"),
    (exceptions.NoPermissionError, "this user needs to read, write, watch and publish under the prefix"),
    (exceptions.ReadOnlyError, "this server only reads; name the primary"),
    (exceptions.OutOfMemoryError, "the server's memory is full; make room, nothing was written"),
    (exceptions.BusyLoadingError, "the server is starting; it is tried again by itself"),
    (
        exceptions.TimeoutError,
        (
            "see whether the server runs, is overloaded or cut off; it is tried again by itself, but look at the "
            "history before you repeat a change"
        ),
    ),
    (
        exceptions.ConnectionError,
        (
            "see that the server runs and can be reached, and that the URL is right; it is tried again by itself, but "
            "look at the history before you repeat a change"
        ),
    ),
    (exceptions.RedisError, "see that the keys under this prefix are ours alone, and look at the server's log"),
)
"""What to do, by the first kind of error that fits."""


class _State(NamedTuple):
    """What `canary:store` holds."""

    version: int
    audited: int
    journalled: int


class RedisStore:
    """Implements `ports.FlagStore`, `Pushing` and `Board` in the database at a `redis://` or `rediss://` URL.

    Constructing opens nothing. Threads: any, each with a connection of its own while it speaks.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Name the database; `timeout_s` is how long the server may say nothing. Raises `StoreError`."""
        self._redis, prefix = _client(url, timeout_s)
        self._store, self._documents, self._audit = f"{prefix}:store", f"{prefix}:document", f"{prefix}:audit"
        self._journal, self._notice = f"{prefix}:journal", f"{prefix}:notice"
        self._channel = f"{prefix}:changed"
        self._ear = _Ear(self._redis, self._channel)
        place = self._redis.connection_pool.connection_kwargs
        host, port = place.get("host", "localhost"), place.get("port", 6379)
        self.name = f"{url.partition(':')[0]}://{host}:{port}/{place.get('db', 0)} {prefix}"
        self._password = str(place.get("password") or "")
        self._seen = 0
        self._closed = False

    def __repr__(self) -> str:
        """Show where it is."""
        return f"<RedisStore {self.name}>"

    def version(self) -> int:
        """Return the version that `load` would return. Cost: one round trip."""
        with self._explained():
            state = self._checked(self._seen, self._redis.hgetall(self._store))
        self._ear.answers = True
        return state.version

    def has_news(self) -> bool:
        """Return whether word of a change came. Cost: one look at a socket, and now and then a connection."""
        return not self._closed and self._ear.has_heard()

    def load(self) -> Snapshot:
        """Return every document at one version."""
        with self._explained(), self._redis.pipeline() as pipe:
            seen = self._seen
            pipe.hgetall(self._store)
            pipe.hgetall(self._documents)
            found, documents = pipe.execute()
            version = self._checked(seen, found).version
            return Snapshot(version, tuple(_document(*each) for each in sorted(documents.items())))

    def commit(
        self,
        changes: Sequence[Change],
        *,
        actor: str,
        reason: str,
        at: float,
        journal: Sequence[JournalLine] = (),
    ) -> int:
        """Apply all changes and append the lines, or nothing. Raises `StaleWrite`.

        Cost: three round trips, more where others write as well.
        """
        stamp = Stamp(actor, reason, at)
        with self._explained(), self._redis.pipeline() as pipe:
            for _ in range(ATTEMPTS):
                with suppress(exceptions.WatchError):
                    return self._attempt(pipe, changes, journal, stamp)
        raise StoreError(f"{self.name}: {ATTEMPTS} times somebody else was faster; try again")

    def audit(
        self, *, kind: str | None = None, key: str | None = None, until: int | None = None, limit: int = 100
    ) -> tuple[AuditRow, ...]:
        """Return the newest audit rows first, of those whose id is at most `until`. Cost: reads until it has found."""
        with self._explained():
            self._checked(self._seen, self._redis.hgetall(self._store))
            wanted = (row for row in self._rows(until) if kind in {None, row.kind} and key in {None, row.key})
            return tuple(islice(wanted, max(limit, 0)))

    def journal(self, key: str, *, after: int = 0, limit: int = 1_000) -> tuple[JournalLine, ...]:
        """Return the oldest lines of a key first, of those whose id is more than `after`. Cost: two round trips."""
        with self._explained():
            self._checked(self._seen, self._redis.hgetall(self._store))
            if limit < 1:
                return ()
            found: Any = self._redis.xrange(self._lines_of(key), f"({max(after, 0)}-0", "+", count=limit)
            return tuple(_line(key, *each) for each in found)

    def compact(
        self, journal: Cut, audit: Cut, spared: Collection[tuple[str, str]] = (), *, limit: int = 1_000
    ) -> Removed:
        """Remove what may go, the oldest first. Cost: reads all audit rows, and of each journal as much as goes."""
        with self._explained():
            self._checked(self._seen, self._redis.hgetall(self._store))
            keys, lines = {key for _, key in spared}, 0
            for key in sorted(map(str, self._redis.smembers(self._journal))):
                if key not in keys and lines < limit:
                    lines += self._forget(key, journal, limit - lines)
            rows = [
                f"{row.id}-0"
                for place, row in enumerate(self._rows(None), 1)
                if (row.kind, row.key) not in spared and audit.takes(row.at, place)
            ][::-1][:limit]
            return Removed(lines, int(self._redis.xdel(self._audit, *rows)) if rows else 0)

    def put_up(self, topic: str, author: str, body: str | None) -> None:
        """Put up a notice in the place of the author's last one on the topic; None takes that down."""
        authors, place = self._places(topic, author)
        with self._explained(), self._redis.pipeline() as pipe:
            if body is None:
                pipe.delete(place)
                pipe.srem(authors, author)
            else:
                pipe.set(place, body, px=_NOTICE_MS)
                pipe.sadd(authors, author)
                pipe.pexpire(authors, 2 * _NOTICE_MS)
            pipe.execute()

    def notices(self, topic: str) -> tuple[Notice, ...]:
        """Return the notices on a topic, in the order of their authors; how long one has yet to live tells its age."""
        with self._explained(), self._redis.pipeline() as pipe:
            place = self._places(topic)[0]
            authors = sorted(map(str, self._redis.smembers(place)))
            for author in authors:
                pipe.get(self._places(topic, author)[1])
                pipe.pttl(self._places(topic, author)[1])
            found = pipe.execute()
            notices = list(zip(authors, found[::2], found[1::2], strict=True))
            if gone := [author for author, body, _ in notices if body is None]:
                self._redis.srem(place, *gone)  # who puts up another one is there again
            return tuple(
                Notice(author, body, max(_NOTICE_MS - left_ms, 0) / 1_000)
                for author, body, left_ms in notices
                if body is not None
            )

    def close(self) -> None:
        """Close all connections; idempotent. Using the store afterwards raises `StoreError`."""
        self._closed = True
        self._ear.close()
        self._redis.close()

    # --- inside ---

    def _forget(self, key: str, cut: Cut, limit: int) -> int:
        """Remove lines of one journal, from the oldest on."""
        name = self._lines_of(key)
        length = int(self._redis.xlen(name))
        found: Any = self._redis.xrange(name, count=limit)
        ids = [place for number, (place, fields) in enumerate(found) if cut.takes(float(fields["at"]), length - number)]
        return int(self._redis.xdel(name, *ids)) if ids else 0

    def _attempt(self, pipe: Pipeline, changes: Sequence[Change], journal: Sequence[JournalLine], stamp: Stamp) -> int:
        """Read, decide and write, unless somebody writes in between: then raise WatchError."""
        pipe.watch(self._store)  # type: ignore[no-untyped-call]
        state = self._checked(self._seen, pipe.hgetall(self._store))
        documents = self._read(pipe, changes)
        written, rows = applied(documents, changes, stamp, version=state.version, rows=state.audited)
        pipe.multi()
        for (kind, key), document in written.items():
            field = _text([kind, key])
            if document:
                pipe.hset(self._documents, field, f"{document.revision}:{document.body}")
            else:
                pipe.hdel(self._documents, field)
        for row in rows:
            pipe.xadd(
                self._audit, {"row": _text(_columns(row))}, id=f"{row.id}-0", maxlen=MOST_AUDIT_ROWS, approximate=False
            )
        for number, line in enumerate(journal, state.journalled + 1):
            pipe.sadd(self._journal, line.key)
            pipe.xadd(self._lines_of(line.key), {"at": repr(line.at), "text": line.text}, id=f"{number}-0")
        if rows:
            pipe.publish(self._channel, str(state.version + 1))
        if written or journal:  # also what raises no version: it is by this key that others find themselves overtaken
            after = _State(state.version + bool(rows), state.audited + len(rows), state.journalled + len(journal))
            for name, value in {"format": FORMAT, **after._asdict()}.items():
                pipe.hset(self._store, name, str(value))
        pipe.hget(self._store, "version")
        return int(pipe.execute()[-1] or 0)

    def _places(self, topic: str, author: str = "") -> tuple[str, str]:
        """Return where the authors of a topic stand, and the notice of one."""
        return f"{self._notice}:{_text([topic])}", f"{self._notice}:{_text([topic, author])}"

    def _lines_of(self, key: str) -> str:
        return f"{self._journal}:{key}"

    def _read(self, pipe: Pipeline, changes: Sequence[Change]) -> dict[tuple[str, str], Document]:
        """Read the documents that the changes are about."""
        fields = list(dict.fromkeys(_text([change.kind, change.key]) for change in changes))
        bodies: Any = pipe.hmget(self._documents, fields) if fields else []
        found = (_document(field, body) for field, body in zip(fields, bodies, strict=True) if body is not None)
        return {(document.kind, document.key): document for document in found}

    def _rows(self, until: int | None) -> Iterator[AuditRow]:
        """Read the audit rows, newest first, a page at a time; ids do not move when others write."""
        newest = "+" if until is None else f"{max(until, 0)}-0"
        while True:
            page: Any = self._redis.xrevrange(self._audit, newest, "-", count=AUDIT_PAGE)
            for _, fields in page:
                yield AuditRow(*json.loads(fields["row"]))
            if len(page) < AUDIT_PAGE:
                return
            newest = f"({page[-1][0]}"

    def _checked(self, seen: int, found: Any) -> _State:
        """Return what the store holds, unless a newer release wrote it or it was emptied since `seen` was seen."""
        if int(found.get("format", FORMAT)) > FORMAT:
            raise StoreError(f"{self.name}: a newer release wrote this store: upgrade canary-rollout here")
        state = _State(*(int(found.get(name, 0)) for name in _State._fields))
        if state.version == 0 and seen:
            raise StoreError(
                f"{self.name}: the store has lost what it held; restore it and see that the server saves its data, "
                "or restart to begin with an empty one"
            )
        self._seen = state.version
        return state

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what redis raises into what an operator can act on."""
        if self._closed:
            raise StoreError(f"{self.name}: this store is closed")
        try:
            yield
        except exceptions.RedisError as error:
            self._ear.answers = False
            advice = next(advice for kind, advice in _ADVICE if isinstance(error, kind))
            said = str(error).replace(self._password, "***") if self._password else str(error)
            raise StoreError(f"{self.name}: {said}; {advice}") from error
        except UnicodeEncodeError as error:
            raise StoreError(f"{self.name}: {error.object!r} holds half a character and cannot be stored") from error
        except (ValueError, TypeError) as error:
            raise StoreError(f"{self.name}: what is stored cannot be read ({error}); name another prefix") from error


# --- what is stored ---


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _document(field: str, value: str) -> Document:
    kind, key = json.loads(field)
    revision, _, body = value.partition(":")
    return Document(kind, key, body, int(revision))


def _line(key: str, place: str, fields: dict[str, str]) -> JournalLine:
    return JournalLine(key, float(fields["at"]), fields["text"], int(place.partition("-")[0]))


def _columns(row: AuditRow) -> list[object]:
    return [row.id, row.at, row.actor, row.reason, row.kind, row.key, row.before, row.after, row.version, row.revision]


# --- connections ---


def _client(url: str, timeout_s: float) -> tuple[redis.Redis, str]:
    """Return a client of the database at `url`, and our own part of it: the prefix."""
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        prefix = query.pop("prefix", PREFIX)
        client = redis.Redis.from_url(
            urlunsplit(parts._replace(query=urlencode(query))),
            decode_responses=True,
            protocol=2,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),  # a commit that was not answered may have been made
        )
    except (ValueError, TypeError):  # its message may hold a part of the password
        raise StoreError(
            "this Redis URL cannot be read; expected redis://user:password@host:port/0, "
            "with what is special in the password written as %40 for @, %2F for /, %23 for #"
        ) from None
    return client, prefix


class _Ear:
    """One subscription, in the process that opened it. Threads: one at a time; `answers` is set by any."""

    def __init__(self, client: redis.Redis, channel: str) -> None:
        self._redis = client
        self._channel = channel
        self._pubsub: PubSub | None = None
        self._pid = 0
        self.answers = False
        """Whether the server answered the last time: nothing is opened, and no news expected, of one that is away."""

    def has_heard(self) -> bool:
        """Return whether word came; True as well when it may have been missed."""
        if self._pid != os.getpid():
            self._abandon()
        try:
            if self._pubsub is None:
                return self.answers and self._open()
            return _drained(self._pubsub)
        except (exceptions.RedisError, OSError):
            self.close()
            missed, self.answers = self.answers, False
            return missed

    def close(self) -> None:
        """Let go of the connection."""
        pubsub, self._pubsub = self._pubsub, None
        if pubsub is not None and self._pid == os.getpid():
            pubsub.close()

    def _open(self) -> bool:
        self._pubsub = self._redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._pubsub.subscribe(self._channel)
        return True

    def _abandon(self) -> None:
        """In a forked child: begin anew and never touch what is the parent's."""
        if self._pubsub is not None:
            _INHERITED.append(self._pubsub)
            self._pubsub = None
        self._pid = os.getpid()


def _drained(pubsub: PubSub) -> bool:
    """Take in all messages; return whether there was any."""
    heard = False
    while pubsub.get_message(timeout=0) is not None:
        heard = True
    return heard


_INHERITED: list[PubSub] = []
"""Subscriptions of a parent process. Kept so that nobody closes them."""
