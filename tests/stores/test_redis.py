"""Claims about the keys in Redis: whose they are, how long they are kept, and what is said when they cannot be."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

import pytest

from canary_sdk.errors import StoreError
from canary_sdk.ports import Change, JournalLine
from tests.stores.places import RedisPlace

pytest.importorskip("redis")

from canary_sdk.stores import redis as module
from canary_sdk.stores.redis import RedisStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import Server

AT: Final = 1_750_000_000.0


@pytest.fixture
def place(redis_server: Server) -> Iterator[RedisPlace]:
    """A prefix of this test alone."""
    place = RedisPlace(redis_server)
    place.make()
    yield place
    place.remove()


@pytest.fixture
def store(place: RedisPlace) -> Iterator[RedisStore]:
    """A store at a place of its own."""
    with closing(RedisStore(place.url)) as opened:
        yield opened


def put(store: RedisStore, key: str, body: str) -> int:
    """Commit one document."""
    return store.commit([Change("flag", key, body)], actor="ada", reason="", at=AT)


def test_its_keys_are_few_and_never_expire(place: RedisPlace, store: RedisStore) -> None:
    """Reading makes no key; writing makes three, and a journal two, under the prefix, without an end."""

    def keys() -> list[str]:
        return sorted(key.decode().removeprefix(f"{place.prefix}:") for key in place.ask("KEYS", f"{place.prefix}*"))

    store.load()
    store.journal("x/a")
    assert keys() == []
    put(store, "a", "1")
    assert keys() == ["audit", "document", "store"]
    store.commit([], actor="ada", reason="", at=AT, journal=[JournalLine("x/a", AT, "1")])
    assert keys() == ["audit", "document", "journal", "journal:x/a", "store"]
    assert {place.ask("TTL", f"{place.prefix}:{key}") for key in keys()} == {-1}


def test_a_notice_that_is_not_renewed_goes(place: RedisPlace, store: RedisStore) -> None:
    """The server takes a notice away after ten minutes, and who has none is forgotten; its age is in seconds."""
    for author in ("ada", "beth"):
        store.put_up("x", author, "1")
    names = [f'{place.prefix}:notice:["x","{author}"]' for author in ("ada", "beth")]
    assert all(599_000 < place.ask("PTTL", name) <= 600_000 for name in names)
    place.ask("PEXPIRE", names[0], 300_000)
    place.ask("DEL", names[1])  # as at its end
    assert [(each.author, round(each.age_s, -1)) for each in store.notices("x")] == [("ada", 300)]
    assert place.ask("SMEMBERS", f'{place.prefix}:notice:["x"]') == {b"ada"}
    store.put_up("x", "ada", None)
    assert place.ask("KEYS", f"{place.prefix}:notice*") == []


def test_stores_of_two_prefixes_and_of_two_databases_are_strangers(place: RedisPlace, store: RedisStore) -> None:
    """Neither sees what the other holds."""
    put(store, "a", "1")
    others = [f"{place.url}-other", place.url.replace("/0?", "/1?")]
    for url in others:
        with closing(RedisStore(url)) as other:
            assert (other.version(), other.load().documents, other.audit()) == (0, (), ())


def test_the_audit_keeps_the_newest_rows(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest rows beyond the bound are forgotten, and ids go on counting."""
    monkeypatch.setattr(module, "MOST_AUDIT_ROWS", 5)
    monkeypatch.setattr(module, "AUDIT_PAGE", 2)
    for number in range(1, 9):
        put(store, "a", f"{number}")
    assert [(row.id, row.after) for row in store.audit()] == [(n, f"{n}") for n in (8, 7, 6, 5, 4)]
    assert [row.id for row in store.audit(until=6)] == [6, 5, 4]


def test_a_newer_store_is_refused(place: RedisPlace, store: RedisStore) -> None:
    """A store that a newer release wrote is refused, and left alone."""
    put(store, "a", "1")
    place.ask("HSET", f"{place.prefix}:store", "format", "9")
    with pytest.raises(StoreError, match="a newer release wrote this store: upgrade canary-rollout here"):
        put(store, "a", "2")
    assert place.ask("HVALS", f"{place.prefix}:document") == [b"1:1"]


@pytest.mark.parametrize("command", [("SET", "x"), ("HSET", "version", "x"), ("HSET", "format", "x")])
def test_somebody_elses_keys_are_named(place: RedisPlace, store: RedisStore, command: tuple[str, ...]) -> None:
    """Where another program uses the prefix, every use says so."""
    place.ask(command[0], f"{place.prefix}:store", *command[1:])
    for use in (store.version, store.load, store.audit, lambda: put(store, "a", "1")):
        with pytest.raises(StoreError, match=r"see that the keys under this prefix are ours|name another prefix"):
            use()


def test_a_commit_that_is_overtaken_begins_again(
    place: RedisPlace, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit between another's look and its write makes that one look again: both are there, one after the other."""
    put(store, "a", "1")
    read = store._read
    overtaken = False

    def slowly(*arguments: object) -> object:
        nonlocal overtaken
        found = read(*arguments)  # type: ignore[arg-type]
        if not overtaken:
            overtaken = True
            with closing(RedisStore(place.url)) as other:
                put(other, "b", "1")
        return found

    monkeypatch.setattr(store, "_read", slowly)
    assert put(store, "a", "2") == 3
    assert [(row.key, row.version) for row in store.audit()] == [("a", 3), ("b", 2), ("a", 1)]


def test_a_full_server_is_named_and_writes_nothing(place: RedisPlace, store: RedisStore) -> None:
    """When the server's memory is full, the message says so, and nothing is written by halves."""
    if not place.server.command:
        pytest.skip("this server is not ours to fill")
    put(store, "a", "1")
    before = store.load(), store.audit()
    place.ask("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StoreError, match="the server's memory is full; make room, nothing was written"):
            store.commit([Change("flag", "a", "2"), Change("flag", "b", "1")], actor="", reason="", at=AT)
    finally:
        place.ask("CONFIG", "SET", "maxmemory", "0")
    assert (store.load(), store.audit()) == before


def test_a_wrong_password_is_named(place: RedisPlace) -> None:
    """A password that the server does not take is named as such, and not shown."""
    url = place.url.replace("//", "//ada:hush@")
    with closing(RedisStore(url)) as store, pytest.raises(StoreError, match="correct user and password") as caught:
        store.version()
    assert "hush" not in str(caught.value)
