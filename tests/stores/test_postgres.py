"""Claims about the tables in PostgreSQL: whose they are, how they come to be, and what is said when they cannot be."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Final

import pytest

from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.errors import StoreError
from canary_sdk.ports import Change, JournalLine
from tests.stores.places import PostgresPlace

pytest.importorskip("psycopg")

from canary_sdk.stores import postgres
from canary_sdk.stores.postgres import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from canary_sdk.stores.postgres import PostgresStore
    from tests.servers import Server
    from tests.stores.places import RemoteStore

AT: Final = 1_750_000_000.0


@pytest.fixture
def place(postgres_server: Server) -> Iterator[PostgresPlace]:
    """A schema of this test alone."""
    place = PostgresPlace(postgres_server)
    place.make()
    yield place
    place.remove()


@pytest.fixture
def store(place: PostgresPlace) -> Iterator[PostgresStore]:
    """A store at a place of its own."""
    with closing(postgres.PostgresStore(place.url)) as opened:
        yield opened


def put(store: RemoteStore, key: str, body: str) -> int:
    """Commit one document."""
    return store.commit([Change("flag", key, body)], actor="ada", reason="", at=AT)


def tables(place: PostgresPlace) -> list[str]:
    """Return the names of the tables in the schema."""
    rows = place.ask(f"SELECT tablename FROM pg_tables WHERE schemaname = '{place.name}' ORDER BY tablename")
    return [name for (name,) in rows]


def test_constructing_opens_nothing(place: PostgresPlace) -> None:
    """A store that is only made, shown and closed makes no table and no connection."""
    store = place.open()
    assert repr(store).startswith("<PostgresStore postgresql://")
    store.close()
    assert tables(place) == []


def test_its_tables_are_five(place: PostgresPlace, store: PostgresStore) -> None:
    """The first use makes the tables in the first schema of the search path, at the newest schema version."""
    assert store.version() == 0
    assert tables(place) == ["canary_audit", "canary_document", "canary_journal", "canary_notice", "canary_store"]
    assert place.ask("SELECT schema, version, audited FROM canary_store") == [(len(MIGRATIONS), 0, 0)]


def test_reading_takes_one_connection_and_writing_a_second(place: PostgresPlace, store: PostgresStore) -> None:
    """A process that only reads holds one connection, one that wrote holds two, and none after closing."""
    counting = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{place.name}'"
    for _ in range(3):
        store.version()
        store.load()
        store.audit()
    assert place.ask(counting) == [(1,)]
    put(store, "a", "1")
    put(store, "a", "2")
    assert place.ask(counting) == [(2,)]
    store.close()
    for _ in range(1_000):
        if place.ask(counting) == [(0,)]:
            return
        SYSTEM_CLOCK.pause(0.01)
    pytest.fail("a connection was left behind")


def test_an_interrupted_migration_is_undone(place: PostgresPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails half-way leaves everything as it was, and the next one does it all."""
    with closing(place.open()) as store:
        put(store, "a", "1")
    more = "CREATE TABLE canary_more (x INTEGER)"
    monkeypatch.setattr(postgres, "MIGRATIONS", (*MIGRATIONS, (more, "nonsense")))
    with closing(place.open()) as store, pytest.raises(StoreError, match="nonsense"):
        store.version()
    assert "canary_more" not in tables(place)
    monkeypatch.setattr(postgres, "MIGRATIONS", (*MIGRATIONS, (more,)))
    with closing(place.open()) as store:
        assert store.load().documents[0].body == "1"
    assert "canary_more" in tables(place)


def test_older_tables_get_a_journal_and_a_board(place: PostgresPlace) -> None:
    """Tables that knew neither keep what they hold, and both can be kept beside them."""
    with closing(place.open()) as store:
        put(store, "a", "1")
        before = store.load(), store.audit()
    place.ask("DROP TABLE canary_journal, canary_notice")
    place.ask("UPDATE canary_store SET schema = 1")
    with closing(place.open()) as store:
        store.commit([], actor="", reason="", at=AT, journal=[JournalLine("x", AT, "1")])
        assert (store.load(), store.audit()) == before
        store.put_up("x", "ada", "2")
        assert [line.text for line in store.journal("x")] == ["1"]
        assert [each.body for each in store.notices("x")] == ["2"]


def test_a_notice_that_is_not_renewed_goes(place: PostgresPlace, store: PostgresStore) -> None:
    """What is older than ten minutes is not shown, and is removed with the next notice; its age is in seconds."""
    for author in ("ada", "beth", "cy"):
        store.put_up("x", author, "1")
    place.ask("UPDATE canary_notice SET at = at - interval '300 s' WHERE author = 'ada'")
    place.ask("UPDATE canary_notice SET at = at - interval '601 s' WHERE author = 'beth'")
    place.ask("UPDATE canary_notice SET at = at + interval '601 s' WHERE author = 'cy'")  # the clock was set back
    ages = {each.author: each.age_s for each in store.notices("x")}
    assert (round(ages["ada"], -1), ages["cy"], set(ages)) == (300, 0, {"ada", "cy"})
    store.put_up("y", "ada", "1")
    assert place.ask("SELECT count(*) FROM canary_notice") == [(3,)]


def test_a_notice_waits_for_no_commit(place: PostgresPlace, store: PostgresStore) -> None:
    """While somebody stands still in the middle of a commit, notices are put up and read."""
    import psycopg

    put(store, "a", "1")
    with psycopg.connect(place.url) as other:
        other.execute("SELECT version FROM canary_store FOR UPDATE")
        store.put_up("x", "ada", "1")
        assert [each.body for each in store.notices("x")] == ["1"]


def test_newer_tables_are_refused(place: PostgresPlace) -> None:
    """Tables that a newer release has migrated are refused with both schema versions, and left alone."""
    with closing(place.open()) as store:
        put(store, "a", "1")
    place.ask("UPDATE canary_store SET schema = 9")
    with closing(place.open()) as store, pytest.raises(StoreError) as caught:
        put(store, "a", "2")
    said = (
        f"a newer release wrote these tables (schema 9, this one knows {len(MIGRATIONS)}): upgrade canary-rollout here"
    )
    assert said in str(caught.value)
    assert place.ask("SELECT body FROM canary_document") == [("1",)]


def test_whoever_holds_the_store_is_waited_for_and_then_named(place: PostgresPlace) -> None:
    """A commit waits for another transaction that holds the store, at most its timeout; readers do not wait."""
    import psycopg

    with closing(place.open(timeout_s=0.5)) as store, psycopg.connect(place.url) as holder:
        put(store, "a", "1")
        holder.execute("SELECT * FROM canary_store FOR UPDATE")
        with pytest.raises(StoreError, match="somebody held the store for the whole timeout"):
            put(store, "a", "2")
        assert (store.version(), store.load().documents[0].body) == (1, "1")
        holder.rollback()
        assert put(store, "a", "2") == 2


def test_a_commit_sees_all_before_it(place: PostgresPlace) -> None:
    """A commit that meets another one under way waits for it first, and counts on from what that one wrote."""
    import psycopg

    waiting = f"SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = '{place.name}'"
    with (
        closing(place.open(timeout_s=10.0)) as store,
        psycopg.connect(place.url) as holder,
        ThreadPoolExecutor(1) as pool,
    ):
        put(store, "a", "1")
        holder.execute("UPDATE canary_store SET version = 2")
        commit = pool.submit(put, store, "a", "2")
        while not place.ask(waiting):
            SYSTEM_CLOCK.pause(0.01)
        holder.commit()
        assert commit.result(10) == 3


def test_a_server_that_only_reads_is_named(place: PostgresPlace, store: PostgresStore) -> None:
    """Where nothing can be written, the message says to name the primary, and nothing is written."""
    put(store, "a", "1")
    with store._writer.use() as sql:
        sql.execute("SET default_transaction_read_only = on")
    with pytest.raises(StoreError, match=r"this server only reads; name the primary"):
        put(store, "a", "2")
    assert put(store, "a", "2") == 2  # on a connection that was opened anew


def test_a_user_without_rights_is_told_which(place: PostgresPlace) -> None:
    """A user who may not make tables is told what it needs."""
    role = f"{place.name}_reader"
    place.ask(f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA {place.name} TO {role}")
    url = place.url.replace("options=", f"options=-crole%3D{role}%20")
    with closing(postgres.PostgresStore(url)) as store, pytest.raises(StoreError) as caught:
        store.version()
    place.ask(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert "this user needs CREATE on the schema once" in str(caught.value)
    assert tables(place) == []


def test_what_postgresql_cannot_hold_is_refused(place: PostgresPlace, store: PostgresStore) -> None:
    """A NUL character is refused by its own error, and the store goes on."""
    with pytest.raises(StoreError, match="this text cannot be stored in PostgreSQL"):
        put(store, "a", "x\0y")
    assert put(store, "a", "1") == 1


def test_a_commit_costs_a_few_round_trips(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand documents take no more waits for the server than a handful would, within a factor."""
    waits = 0
    wait = postgres._Connection.wait

    def counted(self: object, *arguments: object, **options: object) -> object:
        nonlocal waits
        waits += 1
        return wait(self, *arguments, **options)  # type: ignore[arg-type]

    put(store, "warm", "1")
    monkeypatch.setattr(postgres._Connection, "wait", counted)
    store.commit([Change("flag", f"{n}", "1") for n in range(1_000)], actor="", reason="", at=AT)
    assert waits < 30


def test_a_url_may_leave_out_what_is_usual() -> None:
    """Everything but the scheme may be left to the environment and to libpq's defaults; the name shows what is said."""
    for url, name in [
        ("postgresql://", "postgresql:///"),
        ("postgresql:///flags", "postgresql:///flags"),
        ("postgresql://ada:hush@db:5433,db2:5434/flags", "postgresql://ada@db,db2:5433,5434/flags"),
        ("postgresql:///flags?host=/run/pg&password=hush", "postgresql:///run/pg/flags"),
    ]:
        assert postgres.PostgresStore(url).name == name
        assert not re.search("hush", repr(postgres.PostgresStore(url)))
