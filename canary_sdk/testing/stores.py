"""The conformance kit for stores: what every `FlagStore` promises, as tests that pytest runs over yours.

    class TestMyStore(DurableStoreConformance):
        @pytest.fixture
        def make_store(self, tmp_path):
            return lambda: MyStore(tmp_path / "store")

`make_store` returns a function that opens the same place at every call, empty at first. `StoreConformance` is for
stores that end with the process, `DurableStoreConformance` for all others; `BoardConformance` comes beside either for
one that has a board. Needs pytest; knows no store.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, Final

import pytest

from canary_sdk.errors import StaleWrite, StoreError
from canary_sdk.ports import AuditRow, Board, Change, Cut, Document, JournalLine, Removed, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from canary_sdk.ports import FlagStore

AT: Final = 1_750_000_000.25
"""A wall time with a fraction, exact in binary."""
PATIENCE_S: Final = 60.0
"""How long the concurrent tests wait before they give up."""


def put(key: str, body: str | None, expected: int | None = None) -> Change:
    """Return a change of a document of kind "flag"."""
    return Change("flag", key, body, expected)


def quietly(key: str, body: str | None, expected: int | None = None) -> Change:
    """Return a quiet change of a document of kind "flag"."""
    return Change("flag", key, body, expected, quiet=True)


def lines(key: str, *texts: str) -> list[JournalLine]:
    """Return lines for the journal of a key."""
    return [JournalLine(key, AT, text) for text in texts]


def commit(store: FlagStore, *changes: Change, at: float = AT, journal: Sequence[JournalLine] = ()) -> int:
    """Commit with an actor and a reason."""
    return store.commit(changes, actor="ada", reason="because", at=at, journal=journal)


def bodies(store: FlagStore) -> dict[str, str]:
    """Return what is stored, by key."""
    return {document.key: document.body for document in store.load().documents}


def texts(store: FlagStore, key: str) -> list[str]:
    """Return what is in the journal of a key."""
    return [line.text for line in store.journal(key)]


class StoreConformance:
    """What every store promises."""

    @pytest.fixture
    def make_store(self) -> Callable[[], FlagStore]:
        """Return a function that opens the place under test; override it."""
        raise NotImplementedError("override the fixture make_store")

    @pytest.fixture
    def store(self, make_store: Callable[[], FlagStore]) -> Iterator[FlagStore]:
        """Open an empty store, and close it afterwards."""
        store = make_store()
        yield store
        store.close()

    @pytest.fixture
    def _restless(self) -> Iterator[None]:
        """Let threads take turns far more often than they do by themselves."""
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        yield
        sys.setswitchinterval(interval)

    def test_new_store_is_empty(self, store: FlagStore) -> None:
        """A new store is at version 0, without documents, without audit rows."""
        assert (store.version(), store.load().documents, store.audit()) == (0, (), ())

    def test_commit_is_read_back(self, store: FlagStore) -> None:
        """What was committed is what is loaded, at revision 1, at the version that was returned."""
        version = commit(store, put("a", '{"x":1}'))
        snapshot = store.load()
        assert snapshot.documents == (Document("flag", "a", '{"x":1}', 1),)
        assert version == snapshot.version == store.version() > 0

    def test_kinds_are_apart(self, store: FlagStore) -> None:
        """Two kinds may use the same key."""
        commit(store, Change("flag", "a", "1"), Change("breaker", "a", "2"))
        assert {(each.kind, each.body) for each in store.load().documents} == {("flag", "1"), ("breaker", "2")}

    def test_revision_counts_changes_of_its_document(self, store: FlagStore) -> None:
        """A revision grows by one with every change of its document, and with no other."""
        commit(store, put("a", "1"), put("b", "1"))
        commit(store, put("a", "2"))
        commit(store, put("a", "3"))
        assert {each.key: each.revision for each in store.load().documents} == {"a": 3, "b": 1}

    def test_version_grows_with_every_commit(self, store: FlagStore) -> None:
        """The version grows with every commit that changes something, whatever it changes."""
        versions = [commit(store, change) for change in (put("a", "1"), put("b", "1"), put("a", "2"), put("b", None))]
        assert versions == sorted(set(versions))

    def test_commit_is_idempotent(self, store: FlagStore) -> None:
        """Committing what is already there changes no version, no revision, and leaves no audit row."""
        version = commit(store, put("a", "1"))
        before = store.load(), store.audit()
        assert commit(store, put("a", "1"), at=AT + 1) == version
        assert (store.load(), store.audit()) == before

    def test_nothing_to_commit(self, store: FlagStore) -> None:
        """Committing no change at all returns the present version."""
        assert commit(store) == 0
        version = commit(store, put("a", "1"))
        assert commit(store) == version

    def test_only_the_real_changes_of_a_commit_are_audited(self, store: FlagStore) -> None:
        """In a commit of several changes, those that change nothing leave no row and no new revision."""
        commit(store, put("a", "1"), put("b", "1"))
        commit(store, put("a", "1"), put("b", "2"))
        assert [(row.key, row.after) for row in store.audit()][:1] == [("b", "2")]
        assert len(store.audit()) == 3
        assert {each.key: each.revision for each in store.load().documents} == {"a": 1, "b": 2}

    def test_delete(self, store: FlagStore) -> None:
        """A deleted document is gone, the others stay, and it may be made again."""
        commit(store, put("a", "1"), put("b", "1"))
        commit(store, put("a", None))
        assert bodies(store) == {"b": "1"}
        commit(store, put("a", "2", expected=0))
        assert bodies(store) == {"a": "2", "b": "1"}

    def test_delete_what_is_not_there(self, store: FlagStore) -> None:
        """Deleting what is not there changes nothing."""
        version = commit(store, put("a", "1"))
        assert commit(store, put("b", None)) == version
        assert len(store.audit()) == 1

    @pytest.mark.parametrize("expected", [0, 1, 3])
    @pytest.mark.parametrize("body", ["2", "3", None])
    def test_stale_write_is_refused(self, store: FlagStore, expected: int, body: str | None) -> None:
        """A change that expects another revision is refused and writes nothing, even if it would change nothing."""
        commit(store, put("a", "1"))
        commit(store, put("a", "2"))
        before = store.load(), store.audit()
        with pytest.raises(StaleWrite, match="revision 2") as refused:
            commit(store, put("a", body, expected))
        assert (refused.value.found, refused.value.expected) == (2, expected)
        assert (store.load(), store.audit()) == before

    def test_stale_write_of_what_does_not_exist(self, store: FlagStore) -> None:
        """A change that expects a revision of a document that does not exist is refused."""
        with pytest.raises(StaleWrite):
            commit(store, put("a", "1", expected=1))
        assert store.load().documents == ()

    def test_expected_revision_is_accepted(self, store: FlagStore) -> None:
        """A change that expects the present revision is applied: 0 to make, the revision to change or delete."""
        commit(store, put("a", "1", expected=0))
        commit(store, put("a", "2", expected=1))
        assert bodies(store) == {"a": "2"}
        commit(store, put("a", None, expected=2))
        assert bodies(store) == {}

    def test_commit_is_atomic(self, store: FlagStore) -> None:
        """If one change of a commit is stale, no other is applied: not those before it, not those after it."""
        commit(store, put("a", "1"), put("b", "1"), put("c", "1"))
        before = store.load(), store.audit()
        with pytest.raises(StaleWrite):
            commit(store, put("a", "2"), put("b", "2", expected=7), put("c", None), put("d", "1"))
        assert (store.load(), store.audit(), store.version()) == (*before, before[0].version)

    def test_store_goes_on_after_a_stale_write(self, store: FlagStore) -> None:
        """A refused commit leaves nothing locked."""
        with pytest.raises(StaleWrite):
            commit(store, put("a", "1", expected=1))
        commit(store, put("a", "1", expected=0))
        assert bodies(store) == {"a": "1"}

    def test_changes_apply_in_order(self, store: FlagStore) -> None:
        """A commit may change a document twice; the second change sees the first."""
        commit(store, put("a", "1", expected=0), put("a", "2", expected=1))
        assert store.load().documents == (Document("flag", "a", "2", 2),)
        assert [(row.before, row.after) for row in store.audit()] == [("1", "2"), (None, "1")]

    def test_audit_tells_who_when_why_from_to(self, store: FlagStore) -> None:
        """Each real change leaves one row, newest first, with the version that it led to."""
        versions = [
            store.commit([change], actor=actor, reason=reason, at=AT + number)
            for number, (change, actor, reason) in enumerate(
                [(put("a", "1"), "ada", "new"), (put("a", "2"), "grace", ""), (put("a", None), "ada", "old")]
            )
        ]
        rows = store.audit()
        assert [row.id for row in rows] == sorted({row.id for row in rows}, reverse=True)
        assert rows == (
            AuditRow(rows[0].id, AT + 2, "ada", "old", "flag", "a", "2", None, versions[2], 0),
            AuditRow(rows[1].id, AT + 1, "grace", "", "flag", "a", "1", "2", versions[1], 2),
            AuditRow(rows[2].id, AT, "ada", "new", "flag", "a", None, "1", versions[0], 1),
        )

    def test_audit_is_filtered_and_limited(self, store: FlagStore) -> None:
        """Rows can be asked for by kind, by key, by both, and the newest few of them."""
        for number in range(3):
            commit(store, put("a", f"{number}"), put("b", f"{number}"), Change("breaker", "a", f"{number}"))
        assert {row.kind for row in store.audit(kind="breaker")} == {"breaker"}
        assert {(row.kind, row.key) for row in store.audit(key="a")} == {("flag", "a"), ("breaker", "a")}
        assert [row.after for row in store.audit(kind="flag", key="b", limit=2)] == ["2", "1"]
        assert store.audit(limit=0) == store.audit(key="nobody") == ()

    def test_audit_goes_on_where_it_was_left(self, store: FlagStore) -> None:
        """The rows up to an id are the newest that are not newer than it, whatever else is asked for."""
        for number in range(5):
            commit(store, put("a", f"{number}"), put("b", f"{number}"))
        rows = store.audit(key="a")
        assert store.audit(key="a", until=rows[2].id) == rows[2:]
        assert store.audit(key="a", until=rows[1].id, limit=2) == rows[1:3]
        assert store.audit(until=rows[4].id - 1) == ()

    def test_a_quiet_change_wakes_nobody(self, store: FlagStore) -> None:
        """A quiet change is read back and counts the revision up; version and audit stay as they were."""
        version = commit(store, put("a", "1"), put("b", "1"))
        before = store.audit()
        assert commit(store, quietly("a", "2", expected=1), quietly("c", "1", expected=0)) == version
        assert commit(store, quietly("b", None, expected=1)) == version
        assert store.load() == Snapshot(version, (Document("flag", "a", "2", 2), Document("flag", "c", "1", 1)))
        assert (store.version(), store.audit()) == (version, before)

    def test_a_quiet_change_is_compared_and_set(self, store: FlagStore) -> None:
        """A quiet change that expects another revision is refused, and so is any change that missed a quiet one."""
        commit(store, put("a", "1"))
        commit(store, quietly("a", "2"))
        for change in (quietly("a", "3", expected=1), put("a", "3", expected=1)):
            with pytest.raises(StaleWrite, match="revision 2"):
                commit(store, change)
        assert bodies(store) == {"a": "2"}

    def test_a_change_after_a_quiet_one_is_audited_whole(self, store: FlagStore) -> None:
        """In one commit and after it, what is not quiet leaves its row: from what was there, quietly or not."""
        version = commit(store, put("a", "1"))
        assert commit(store, quietly("a", "2"), put("a", "3")) == version + 1
        (row,) = store.audit(limit=1)
        assert (row.before, row.after, row.revision, row.version) == ("2", "3", 3, version + 1)

    def test_a_journal_is_read_back(self, store: FlagStore) -> None:
        """Lines come back oldest first, by key, with numbers that grow, whatever else was committed."""
        commit(store, put("a", "1"), journal=[*lines("x", "1", "2"), JournalLine("y", AT + 1, "3")])
        commit(store, journal=[JournalLine("x", AT + 2, "4")])
        found = store.journal("x")
        assert [(line.key, line.at, line.text) for line in found] == [
            ("x", AT, "1"),
            ("x", AT, "2"),
            ("x", AT + 2, "4"),
        ]
        assert [line.id for line in found] == sorted({line.id for line in found})
        assert found[0].id > 0
        assert [(line.at, line.text) for line in store.journal("y")] == [(AT + 1, "3")]
        assert store.journal("nobody") == ()

    def test_a_journal_raises_no_version(self, store: FlagStore) -> None:
        """Lines alone change neither version nor documents nor audit, also in a store that was empty."""
        assert commit(store, journal=lines("x", "1")) == 0
        version = commit(store, put("a", "1"))
        before = store.load(), store.audit()
        assert commit(store, put("a", "1"), journal=lines("x", "2")) == version
        assert (store.load(), store.audit()) == before
        assert texts(store, "x") == ["1", "2"]

    def test_a_journal_and_what_it_tells_of_are_one(self, store: FlagStore) -> None:
        """If a change of the commit is stale, no line is appended; else all are, however quiet the changes."""
        commit(store, put("a", "1"), journal=lines("x", "1"))
        for change in (put("a", "2", expected=7), quietly("a", "2", expected=7)):
            with pytest.raises(StaleWrite):
                commit(store, put("b", "1"), change, journal=lines("x", "2"))
        assert (texts(store, "x"), bodies(store)) == (["1"], {"a": "1"})
        commit(store, quietly("a", "2", expected=1), journal=lines("x", "3"))
        assert (texts(store, "x"), bodies(store)) == (["1", "3"], {"a": "2"})

    def test_a_journal_goes_on_where_it_was_left(self, store: FlagStore) -> None:
        """Pages that each begin after the last line of the one before are the whole journal, once."""
        for number in range(25):
            commit(store, journal=[*lines("x", f"{number}"), *lines("y", "-")])
        pages, after = [], 0
        while page := store.journal("x", after=after, limit=10):
            pages.append([line.text for line in page])
            after = page[-1].id
        assert [len(page) for page in pages] == [10, 10, 5]
        assert [text for page in pages for text in page] == [f"{number}" for number in range(25)]
        assert store.journal("x", limit=0) == ()

    def test_what_is_old_may_go(self, store: FlagStore) -> None:
        """Lines and rows that are older than a moment are removed; documents, revisions and version stay."""
        for number in range(4):
            commit(store, put("a", f"{number}"), at=AT + number, journal=[JournalLine("x", AT + number, f"{number}")])
        before = store.load()
        assert store.compact(Cut(before=AT + 2), Cut(before=AT + 1)) == Removed(2, 1)
        assert texts(store, "x") == ["2", "3"]
        assert [row.after for row in store.audit()] == ["3", "2", "1"]
        assert (store.load(), store.version()) == (before, before.version)
        assert store.compact(Cut(before=AT + 2), Cut(before=AT + 1)) == Removed(0, 0)

    def test_what_is_too_much_may_go(self, store: FlagStore) -> None:
        """Beyond the newest few, the lines of each key and the rows of all documents are removed."""
        for number in range(3):
            commit(store, put("a", f"{number}"), put("b", f"{number}"), journal=lines("x", f"{number}"))
        commit(store, journal=lines("y", "9"))
        assert store.compact(Cut(most=2), Cut(most=4)) == Removed(1, 2)
        assert (texts(store, "x"), texts(store, "y")) == (["1", "2"], ["9"])
        assert [(row.key, row.after) for row in store.audit()] == [("b", "2"), ("a", "2"), ("b", "1"), ("a", "1")]
        assert store.compact(Cut(most=0), Cut(most=0)) == Removed(3, 4)
        assert (store.journal("x"), store.audit()) == ((), ())

    def test_without_a_bound_everything_stays(self, store: FlagStore) -> None:
        """Nothing goes for its age or number where neither is bounded, and nothing of an empty store."""
        assert store.compact(Cut(), Cut()) == store.compact(Cut(before=AT, most=0), Cut(before=AT, most=0)) == Removed()
        commit(store, put("a", "1"), journal=lines("x", "1"))
        assert store.compact(Cut(), Cut()) == Removed(0, 0)
        assert (texts(store, "x"), len(store.audit())) == (["1"], 1)

    def test_what_is_spared_stays(self, store: FlagStore) -> None:
        """The audit rows of a spared document stay, and the journal of its key; whatever else may go goes."""
        for kind in ("flag", "rollout"):
            commit(store, Change(kind, "x", "1"), Change(kind, "y", "1"))
        commit(store, journal=[*lines("x", "1"), *lines("y", "1")])
        spared = [("rollout", "x"), ("rollout", "nobody")]
        assert store.compact(Cut(before=AT + 1), Cut(most=0), spared) == Removed(1, 3)
        assert (texts(store, "x"), texts(store, "y")) == (["1"], [])
        assert [(row.kind, row.key) for row in store.audit()] == [("rollout", "x")]

    def test_the_oldest_go_first_and_a_few_at_a_time(self, store: FlagStore) -> None:
        """No more than the limit goes at once, of all journals together; going on ends with all of it gone."""
        for number in range(5):
            commit(store, put("a", f"{number}"), journal=[*lines("x", f"{number}"), *lines("y", f"{number}")])
        everything = Cut(before=AT + 1), Cut(before=AT + 1)
        assert store.compact(*everything, limit=3) == Removed(3, 3)
        assert [row.after for row in store.audit()] == ["4", "3"]
        left = texts(store, "x"), texts(store, "y")
        assert sum(map(len, left)) == 7
        assert all(each == ["0", "1", "2", "3", "4"][-len(each) :] for each in left)
        assert [store.compact(*everything, limit=3) for _ in range(4)] == [(3, 2), (3, 0), (1, 0), (0, 0)]

    def test_numbers_go_on_after_everything_went(self, store: FlagStore) -> None:
        """What is written after all was removed is numbered on, so that a reader misses nothing."""
        commit(store, put("a", "1"), journal=lines("x", "1", "2"))
        last, row = store.journal("x")[-1].id, store.audit()[0].id
        store.compact(Cut(most=0), Cut(most=0))
        commit(store, put("a", "2"), journal=lines("x", "3"))
        assert [line.text for line in store.journal("x", after=last)] == ["3"]
        assert store.audit()[0].id > row

    @pytest.mark.parametrize(
        "text", ["", "a/b", "prüfung", "検証", "🐤🐤", 'it\'s "quoted"; -- x', "%_*?[]:", "a\tb\nc"]
    )
    def test_text_comes_back_as_it_went(self, store: FlagStore, text: str) -> None:
        """Keys, kinds, bodies, actors and reasons may be any text."""
        store.commit([Change(text, text, text)], actor=text, reason=text, at=AT, journal=lines(text, text))
        assert store.load().documents == (Document(text, text, text, 1),)
        assert [(line.key, line.at, line.text) for line in store.journal(text)] == [(text, AT, text)]
        row = store.audit(kind=text, key=text)[0]
        assert (row.actor, row.reason, row.kind, row.key, row.before, row.after) == (text, text, text, text, None, text)

    def test_keys_are_exact(self, store: FlagStore) -> None:
        """Keys that differ in case, in blanks at the end or in how an accent is composed are different."""
        keys = ["a", "A", "a ", "é", "e\u0301"]
        commit(store, *(put(key, f"{number}") for number, key in enumerate(keys)))
        assert bodies(store) == {key: f"{number}" for number, key in enumerate(keys)}

    def test_large_bodies(self, store: FlagStore) -> None:
        """A body of a few megabytes is kept whole."""
        body = '"' + "ü0123456789" * 300_000 + '"'
        commit(store, put("a", body))
        assert bodies(store) == {"a": body}

    def test_many_documents(self, store: FlagStore) -> None:
        """A thousand documents in one commit are one version."""
        commit(store, *(put(f"flag-{number}", f"{number}") for number in range(1_000)))
        assert bodies(store) == {f"flag-{number}": f"{number}" for number in range(1_000)}
        assert len({row.version for row in store.audit(limit=2_000)}) == 1

    def test_snapshot_is_a_value(self, store: FlagStore) -> None:
        """A snapshot that was taken does not change when the store does."""
        commit(store, put("a", "1"))
        snapshot = store.load()
        commit(store, put("a", "2"))
        assert snapshot.documents[0].body == "1"

    @pytest.mark.usefixtures("_restless")
    def test_concurrent_writers_lose_nothing(self, store: FlagStore) -> None:
        """Threads that count up one document by compare-and-set lose no count, and never get the same version."""
        together = Barrier(4)

        def count_up(_: int) -> list[int]:
            together.wait(PATIENCE_S)
            return [_increment(store, "counter") for _ in range(25)]

        with ThreadPoolExecutor(4) as pool:
            versions = [version for each in pool.map(count_up, range(4), timeout=PATIENCE_S) for version in each]
        assert bodies(store) == {"counter": "100"}
        assert len(set(versions)) == len(store.audit(limit=1_000)) == 100

    @pytest.mark.usefixtures("_restless")
    def test_of_those_that_expect_the_same_one_wins(self, store: FlagStore) -> None:
        """Commits of different documents that expect the same revision of one in common: one is made, whole."""
        together = Barrier(4)

        def take(number: int) -> bool:
            together.wait(PATIENCE_S)
            try:
                commit(store, put(f"own {number}", "1", expected=0), quietly("common", f"{number}", expected=0))
            except StaleWrite:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            won = [number for number, made in enumerate(pool.map(take, range(4), timeout=PATIENCE_S)) if made]
        assert len(won) == 1
        assert bodies(store) == {f"own {won[0]}": "1", "common": f"{won[0]}"}

    @pytest.mark.usefixtures("_restless")
    def test_concurrent_journals_lose_nothing(self, store: FlagStore) -> None:
        """Threads that count up one document quietly leave one line for each count, in its order."""
        together = Barrier(4)

        def count_up(_: int) -> None:
            together.wait(PATIENCE_S)
            for _ in range(15):
                _increment(store, "counter", quiet=True)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(count_up, range(4), timeout=PATIENCE_S))
        assert texts(store, "counter") == [f"{number}" for number in range(1, 61)]
        assert (bodies(store), store.version()) == ({"counter": "60"}, 0)

    @pytest.mark.usefixtures("_restless")
    def test_snapshot_is_consistent_under_concurrent_writers(self, store: FlagStore) -> None:
        """A reader sees both documents of a commit or neither, as of the snapshot's version, which never goes back."""

        def write(first: int) -> None:
            for number in range(first, first + 20):
                commit(store, put("left", f"{number}"), put("right", f"{number}"))

        def watch() -> list[tuple[int, str]]:
            seen = []
            while not all(writer.done() for writer in writers):
                snapshot = store.load()
                assert store.version() >= snapshot.version
                (body,) = {document.body for document in snapshot.documents}
                seen.append((snapshot.version, body))
            return seen

        commit(store, put("left", "0"), put("right", "0"))
        with ThreadPoolExecutor(3) as pool:
            writers = [pool.submit(write, 100), pool.submit(write, 200)]
            seen = pool.submit(watch).result(PATIENCE_S)
            for writer in writers:
                writer.result(PATIENCE_S)
        assert seen == sorted(seen, key=lambda pair: pair[0])
        assert set(seen) <= {(row.version, row.after) for row in store.audit(key="left", limit=100)}

    def test_close_is_idempotent(self, store: FlagStore) -> None:
        """A store may be closed twice, also before its first use; it refuses everything afterwards."""
        store.close()
        store.close()
        with pytest.raises(StoreError):
            store.version()


class BoardConformance:
    """What a store promises as well that is a `Board`: to be inherited beside `StoreConformance`."""

    def test_a_notice_is_read_back(self, store: FlagStore) -> None:
        """What was put up on a topic is up there, by author, a moment old, and on no other topic."""
        board = _board(store)
        board.put_up("x", "beth", "2")
        board.put_up("x", "ada", "1")
        board.put_up("y", "ada", "3")
        assert [(each.author, each.body) for each in board.notices("x")] == [("ada", "1"), ("beth", "2")]
        assert [(each.author, each.body) for each in board.notices("y")] == [("ada", "3")]
        assert all(0 <= each.age_s < PATIENCE_S for each in board.notices("x"))
        assert board.notices("z") == ()

    def test_a_notice_takes_the_place_of_the_last_one(self, store: FlagStore) -> None:
        """Of each author the newest is up, and none that was taken down; to take down nothing is no mistake."""
        board = _board(store)
        board.put_up("x", "ada", "1")
        board.put_up("x", "ada", "2")
        board.put_up("x", "beth", "1")
        board.put_up("x", "beth", None)
        board.put_up("x", "cy", None)
        assert [(each.author, each.body) for each in board.notices("x")] == [("ada", "2")]

    def test_a_notice_is_no_document(self, store: FlagStore) -> None:
        """Version, documents, audit and journals do not know of it, also in a store that was empty."""
        version = commit(store, put("a", "1"), journal=lines("x", "1"))
        before = store.load(), store.audit(), store.journal("x")
        _board(store).put_up("x", "ada", "1")
        assert (store.load(), store.audit(), store.journal("x")) == before
        assert store.version() == version

    @pytest.mark.parametrize("text", ["", "a/b", "prüfung", "🐤🐤", 'it\'s "quoted"; -- x', "%_*?[]:", "a\tb\nc"])
    def test_a_notice_is_any_text(self, store: FlagStore, text: str) -> None:
        """Topics, authors and bodies may be any text."""
        _board(store).put_up(text, text, text)
        assert [(each.author, each.body) for each in _board(store).notices(text)] == [(text, text)]

    @pytest.mark.usefixtures("_restless")
    def test_notices_do_not_get_in_each_others_way(self, store: FlagStore) -> None:
        """Authors who put up their notices at the same time lose none, while others commit."""
        board = _board(store)

        def work(number: int) -> None:
            for turn in range(10):
                board.put_up("x", f"{number}", f"{turn}")
                _increment(store, "counter")

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(work, range(3), timeout=PATIENCE_S))
        assert [(each.author, each.body) for each in board.notices("x")] == [(f"{number}", "9") for number in range(3)]
        assert bodies(store) == {"counter": "30"}


def _board(store: FlagStore) -> Board:
    assert isinstance(store, Board)
    return store


class DurableStoreConformance(StoreConformance):
    """What a store promises as well that outlives its process."""

    def test_reopening_keeps_everything(self, make_store: Callable[[], FlagStore]) -> None:
        """Documents, revisions, version, audit rows and journals are the same after closing and opening again."""
        first = make_store()
        commit(first, put("a", "1"), put("b", "1"), journal=lines("x", "1"))
        commit(first, put("a", "2"), put("b", None), quietly("c", "1"), journal=lines("x", "2"))
        before = first.load(), first.audit(), first.journal("x")
        first.close()
        second = make_store()
        assert (second.load(), second.audit(), second.journal("x")) == before
        commit(second, journal=lines("x", "3"))
        assert texts(second, "x") == ["1", "2", "3"]
        second.close()

    def test_stores_see_each_other(self, make_store: Callable[[], FlagStore], store: FlagStore) -> None:
        """What one store commits, another of the same place sees at once, in version and content."""
        other = make_store()
        assert other.version() == 0
        version = commit(store, put("a", "1"))
        assert (other.version(), bodies(other)) == (version, {"a": "1"})
        other.close()

    def test_stores_compare_and_set_against_each_other(
        self, make_store: Callable[[], FlagStore], store: FlagStore
    ) -> None:
        """Two stores of the same place that count up one document by compare-and-set lose no count."""
        other = make_store()

        def count_up(mine: FlagStore) -> None:
            for _ in range(10):
                _increment(mine, "counter")

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(count_up, [store, other], timeout=PATIENCE_S))
        assert bodies(store) == bodies(other) == {"counter": "20"}
        other.close()


def _increment(store: FlagStore, key: str, *, quiet: bool = False) -> int:
    """Count up a document by compare-and-set, as often as it takes, and put the count into its journal."""
    while True:
        old = next((document for document in store.load().documents if document.key == key), None)
        count = f"{int(old.body) + 1 if old else 1}"
        change = Change("flag", key, count, old.revision if old else 0, quiet)
        try:
            return commit(store, change, journal=lines(key, count))
        except StaleWrite:
            continue
