"""Claims about the file: whose it is, who shares it, and what is left of it when things go wrong."""

from __future__ import annotations

import gc
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from canary_sdk.errors import StaleWrite, StoreError
from canary_sdk.ports import Change, JournalLine
from canary_sdk.stores import sqlite
from canary_sdk.stores.sqlite import APPLICATION_ID, MIGRATIONS, SQLiteStore
from tests.forks import exit_code, forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AT: Final = 1_750_000_000.0
SPINS: Final = 50_000_000
"""How often a test looks before it gives up waiting for another thread."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a file that is not there yet."""
    return tmp_path / "canary.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    """A store in a new file."""
    with closing(SQLiteStore(path)) as opened:
        yield opened


def put(store: SQLiteStore, key: str, body: str, expected: int | None = None) -> int:
    """Commit one document."""
    return store.commit([Change("flag", key, body, expected)], actor="ada", reason="", at=AT)


def bodies(store: SQLiteStore) -> dict[str, str]:
    """Return what is stored, by key."""
    return {document.key: document.body for document in store.load().documents}


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file as any other program would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as sql:
        yield sql


def refusal(act: Callable[[], object]) -> str:
    """Return the message with which the store refuses."""
    with pytest.raises(StoreError) as caught:
        act()
    assert not isinstance(caught.value, StaleWrite)
    return str(caught.value)


# --- the file ---


def test_constructing_opens_nothing(path: Path) -> None:
    """A store that is only made, shown and closed leaves no file."""
    store = SQLiteStore(path)
    assert repr(store) == f"<SQLiteStore {path}>"
    store.close()
    assert list(path.parent.iterdir()) == []


def test_the_file_says_what_it_is(store: SQLiteStore, path: Path) -> None:
    """A file that was used is in WAL mode, marked as ours, at the newest schema, and its tables are strict."""
    put(store, "a", "1")
    with raw(path) as sql:
        answers = [sql.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "application_id")]
        assert answers == ["wal", APPLICATION_ID]
        assert sql.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert sql.execute("SELECT count(*) FROM pragma_table_list WHERE strict AND schema = 'main'").fetchone() == (6,)


def test_commits_reach_the_disk(store: SQLiteStore) -> None:
    """Both connections flush before they acknowledge."""
    put(store, "a", "1")
    store.version()
    for connection in (store._reader, store._writer):
        with connection.use() as sql:
            assert sql.execute("PRAGMA synchronous").fetchone() == (2,)


def test_the_umask_decides_who_may_read(path: Path) -> None:
    """The file is made with the mode that the process's umask gives."""
    before = os.umask(0o027)
    try:
        with closing(SQLiteStore(path)) as store:
            put(store, "a", "1")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_relative_paths_stay_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is meant from where the store was made, wherever the process goes later."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with closing(SQLiteStore("canary.db")) as store:
        monkeypatch.chdir(tmp_path / "elsewhere")
        put(store, "a", "1")
    assert (tmp_path / "canary.db").exists()


def test_memory_is_no_file() -> None:
    """SQLite's own name for memory is refused, with what to use instead."""
    assert "use a MemoryStore" in refusal(lambda: SQLiteStore(":memory:"))


def test_paths_may_look_like_anything(tmp_path: Path) -> None:
    """A path with what URIs and SQL give a meaning to is a path."""
    path = tmp_path / "file:a b?mode=memory#'x'%20.db"
    with closing(SQLiteStore(path)) as store:
        put(store, "a", "1")
    assert path.exists()


def test_an_interrupted_migration_is_undone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails half-way leaves the file as it was, and the next one does it all."""
    monkeypatch.setattr(sqlite, "MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE more (x INTEGER)", "nonsense")))
    with closing(SQLiteStore(path)) as store:
        assert "nonsense" in refusal(store.version)
    monkeypatch.setattr(sqlite, "MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE more (x INTEGER)",)))
    with closing(SQLiteStore(path)) as store:
        assert store.version() == 0
    with raw(path) as sql:
        assert sql.execute("PRAGMA user_version").fetchone() == (len(sqlite.MIGRATIONS),)


def test_an_older_file_is_migrated_in_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of an older release keeps what it holds and gets only the migrations that it lacks."""
    with closing(SQLiteStore(path)) as store:
        put(store, "a", "1")
    later = (("CREATE TABLE one (x INTEGER)",), ("ALTER TABLE one RENAME TO two",))
    monkeypatch.setattr(sqlite, "MIGRATIONS", (*MIGRATIONS, *later))
    with closing(SQLiteStore(path)) as store:
        assert bodies(store) == {"a": "1"}
        with raw(path) as sql:
            assert sql.execute("SELECT count(*) FROM two").fetchone() == (0,)


def test_older_audit_rows_get_their_revisions(path: Path) -> None:
    """The rows of a file that did not keep revisions get those that its documents had; a deletion starts anew."""
    changes = [("a", "1"), ("a", "2"), ("b", "1"), ("a", None), ("a", "3"), ("a", "4")]
    with closing(SQLiteStore(path)) as store:
        for key, body in changes:
            store.commit([Change("flag", key, body)], actor="", reason="", at=AT)
        rows = store.audit()
    with raw(path) as sql:
        sql.execute("ALTER TABLE audit DROP COLUMN revision")
        sql.execute("DROP TABLE journal")
        sql.execute("DROP TABLE journal_key")
        sql.execute("DROP TABLE notice")
        sql.execute("PRAGMA user_version = 1")
    with closing(SQLiteStore(path)) as store:
        assert store.audit() == rows
    assert [row.revision for row in reversed(rows)] == [1, 2, 1, 0, 1, 2]


def test_an_older_file_gets_a_journal_and_a_board(path: Path) -> None:
    """A file that knew neither keeps what it holds, and both can be kept in it."""
    with closing(SQLiteStore(path)) as store:
        put(store, "a", "1")
        before = store.load(), store.audit()
    with raw(path) as sql:
        sql.execute("DROP TABLE journal")
        sql.execute("DROP TABLE journal_key")
        sql.execute("DROP TABLE notice")
        sql.execute("PRAGMA user_version = 2")
    with closing(SQLiteStore(path)) as store:
        store.commit([], actor="", reason="", at=AT, journal=[JournalLine("x", AT, "1")])
        assert (store.load(), store.audit()) == before
        store.put_up("x", "ada", "2")
        assert [line.text for line in store.journal("x")] == ["1"]
        assert [each.body for each in store.notices("x")] == ["2"]


def test_a_notice_that_is_not_renewed_goes(store: SQLiteStore, path: Path) -> None:
    """What is older than ten minutes is not shown, and is removed with the next notice; its age is in seconds."""
    for author in ("ada", "beth", "cy"):
        store.put_up("x", author, "1")
    with raw(path) as sql:
        sql.execute("UPDATE notice SET at = at - 300 WHERE author = 'ada'")
        sql.execute("UPDATE notice SET at = at - 601 WHERE author = 'beth'")
        sql.execute("UPDATE notice SET at = at + 601 WHERE author = 'cy'")  # the machine's clock was set back
    ages = {each.author: each.age_s for each in store.notices("x")}
    assert (round(ages["ada"], -1), ages["cy"], set(ages)) == (300, 0, {"ada", "cy"})
    store.put_up("y", "ada", "1")
    with raw(path) as sql:
        assert sql.execute("SELECT count(*) FROM notice").fetchone() == (3,)


# --- what an operator is told ---


def test_another_programs_database_is_refused(path: Path) -> None:
    """A database with tables, or with another program's mark, is refused and left as it was."""
    for statement in ("CREATE TABLE theirs (x)", "PRAGMA application_id = 7", "PRAGMA user_version = 1"):
        path.unlink(missing_ok=True)
        with raw(path) as sql:
            sql.execute(statement)
        before = path.read_bytes()
        with closing(SQLiteStore(path)) as store:
            assert refusal(store.load) == f"{path}: this database belongs to another program; name another file"
        assert path.read_bytes() == before


def test_a_newer_file_is_refused(store: SQLiteStore, path: Path) -> None:
    """A file that a newer release has migrated is refused with both schema versions."""
    put(store, "a", "1")
    store.close()
    with raw(path) as sql:
        sql.execute("PRAGMA user_version = 9")
    with closing(SQLiteStore(path)) as other:
        message = refusal(other.version)
    assert message == (
        f"{path}: a newer release wrote this file (schema 9, this one knows {len(MIGRATIONS)}): "
        "upgrade canary-rollout here"
    )


def test_another_kind_of_file_is_refused(path: Path) -> None:
    """A file that is no database is refused and left as it was."""
    path.write_text("[flags.a]\nrollout = 5\n" * 100)
    before = path.read_bytes()
    with closing(SQLiteStore(path)) as store:
        assert refusal(store.load) == (
            f"{path}: file is not a database; this is no SQLite database; name another file, or move this one away"
        )
    assert path.read_bytes() == before


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """Where the folder is missing, the message says that it must exist."""
    path = tmp_path / "no" / "canary.db"
    with closing(SQLiteStore(path)) as store:
        assert refusal(store.version) == (
            f"{path}: unable to open database file; "
            "its folder must exist, and this user must be allowed to read and write there"
        )


def test_a_damaged_file_is_named(path: Path) -> None:
    """A file whose pages were overwritten is refused with what to do."""
    with closing(SQLiteStore(path)) as store:
        for number in range(200):
            put(store, f"flag-{number}", "x" * 500)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    with closing(SQLiteStore(path)) as store:
        message = refusal(store.load)
    assert message == (
        f"{path}: database disk image is malformed; "
        "the file is damaged; restore a backup, or move it away and apply the configuration again"
    )


def test_a_lost_row_is_named(store: SQLiteStore, path: Path) -> None:
    """A file whose version was deleted by hand is refused, not read as new."""
    put(store, "a", "1")
    with raw(path) as sql:
        sql.execute("DELETE FROM store")
    for act in (store.version, store.load, lambda: put(store, "a", "2")):
        assert refusal(act) == (
            f"{path}: the table `store` has lost its row; check the file with `PRAGMA integrity_check`"
        )


def test_a_full_disk_is_named_and_writes_nothing(store: SQLiteStore, path: Path) -> None:
    """When there is no more room, the message says so, nothing is written by halves, and the store goes on."""
    put(store, "a", "1")
    with store._writer.use() as sql:
        pages = sql.execute("PRAGMA page_count").fetchone()[0]
        sql.execute(f"PRAGMA max_page_count = {pages + 5}")
    before = store.load(), store.audit()
    message = refusal(
        lambda: store.commit(
            [Change("flag", "b", "1"), Change("flag", "c", "x" * 100_000)], actor="ada", reason="", at=AT
        )
    )
    assert message == f"{path}: database or disk is full; make room on the disk; nothing was written"
    assert (store.load(), store.audit()) == before
    put(store, "b", "1")


def test_a_locked_file_is_named_after_the_timeout(path: Path) -> None:
    """A writer waits for its timeout, then says that somebody holds the file; readers do not wait at all."""
    with closing(SQLiteStore(path, timeout_s=0.05)) as store, raw(path) as holder:
        put(store, "a", "1")
        holder.execute("BEGIN IMMEDIATE")
        assert refusal(lambda: put(store, "a", "2")) == (
            f"{path}: database is locked; "
            "somebody held it for the whole timeout; end the backup or the shell that does, and try again"
        )
        assert bodies(store) == {"a": "1"}
        holder.execute("ROLLBACK")
        put(store, "a", "2")


def test_half_a_character_is_refused(store: SQLiteStore) -> None:
    """Text that cannot be encoded is refused by its own error, and the store goes on."""
    assert "holds half a character" in refusal(lambda: put(store, "a", "\ud800"))
    put(store, "a", "1")


@contextmanager
def as_nobody() -> Iterator[None]:
    """Give up root's right to write everywhere, if this is root."""
    if os.geteuid():
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may look into."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
        Path(name).chmod(0o755)


def test_a_folder_that_may_not_be_written_is_named(public: Path) -> None:
    """In a folder that is read-only for this user, the message says what must be writable."""
    path = public / "canary.db"
    public.chmod(0o555)
    with as_nobody(), closing(SQLiteStore(path)) as store:
        assert refusal(store.version) == (
            f"{path}: unable to open database file; "
            "its folder must exist, and this user must be allowed to read and write there"
        )


def test_a_file_that_may_not_be_written_is_named(public: Path) -> None:
    """A file that is read-only for this user refuses a commit, and says what must be writable."""
    path = public / "canary.db"
    with closing(SQLiteStore(path)) as store:
        put(store, "a", "1")
    path.chmod(0o444)
    public.chmod(0o555)
    with as_nobody(), closing(SQLiteStore(path)) as store:
        message = refusal(lambda: put(store, "a", "2"))
    assert re.search(r"make the file and its folder writable for this user|must be allowed to read and write", message)


def test_a_file_that_may_be_written_again_is_written(public: Path) -> None:
    """Who was refused because a file could only be read is not refused for ever: a commit succeeds once it may be."""
    path = public / "canary.db"
    with closing(SQLiteStore(path)) as store:
        put(store, "a", "1")
    public.chmod(0o777)
    path.chmod(0o444)
    with closing(SQLiteStore(path)) as store:
        with as_nobody():
            store.version()
            assert "readonly" in refusal(lambda: put(store, "a", "2"))
        for each in public.iterdir():  # SQLite gives what it keeps beside the file the mode of the file
            each.chmod(0o666)
        with as_nobody():
            store.version()
            put(store, "a", "2")
            assert [each.body for each in store.load().documents] == ["2"]


# --- files that come and go ---


def test_a_file_that_has_gone_is_not_replaced_by_an_empty_one(store: SQLiteStore, path: Path) -> None:
    """When the file disappears, every use says so until it is back; nobody is served an empty store in its place."""
    put(store, "a", "1")
    away = path.with_suffix(".away")
    with closing(SQLiteStore(path)) as reader:
        reader.version()
        for name in ("", "-wal", "-shm"):
            Path(f"{path}{name}").rename(f"{away}{name}")
        for act in (store.version, store.load, store.audit, lambda: put(store, "b", "1"), reader.load):
            assert refusal(act) == (f"{path}: the file has gone; bring it back, or restart to begin with an empty one")
        assert not path.exists()
        for name in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{away}{name}").rename(f"{path}{name}")
        assert bodies(store) == bodies(reader) == {"a": "1"}


def test_a_file_in_the_place_of_the_open_one_is_refused(store: SQLiteStore, path: Path) -> None:
    """When another file is put in the place of the open one, the two are not mixed: every use says what to do."""
    put(store, "a", "1")
    backup = path.with_suffix(".backup")
    with closing(SQLiteStore(backup)) as other:
        put(other, "b", "2")
    backup.replace(path)
    for act in (store.version, lambda: put(store, "c", "3")):
        assert refusal(act) == (
            f"{path}: another file was put in the place of the open one; stop every process that uses it, "
            "remove the -wal and -shm files beside it, and start again"
        )


def test_a_backup_that_is_restored_in_place_is_read(store: SQLiteStore, path: Path) -> None:
    """A backup that SQLite itself copies into the open file is what is read and written from then on."""
    put(store, "a", "1")
    with raw(path) as live, raw(path.with_suffix(".backup")) as backup:
        live.backup(backup)
        put(store, "a", "2")
        put(store, "b", "2")
        backup.backup(live)
    assert (store.version(), bodies(store)) == (1, {"a": "1"})
    assert put(store, "c", "3") == 2


# --- threads ---


def test_a_reader_does_not_wait_for_a_waiting_writer(store: SQLiteStore, path: Path) -> None:
    """While a commit of one thread waits for another process, other threads of the same store read on."""
    put(store, "a", "1")
    with raw(path) as holder, ThreadPoolExecutor(1) as pool:
        holder.execute("BEGIN IMMEDIATE")
        commit = pool.submit(put, store, "a", "2")
        assert any(store._writer._lock.locked() for _ in range(SPINS))
        assert (store.version(), bodies(store)) == (1, {"a": "1"})
        assert not commit.done()
        holder.execute("ROLLBACK")
        assert commit.result(10) == 2


# --- processes ---

COUNTING: Final = """
import sys
from canary_sdk.errors import StaleWrite
from canary_sdk.ports import Change
from canary_sdk.stores.sqlite import SQLiteStore
store = SQLiteStore(sys.argv[1])
for _ in range(int(sys.argv[2])):
    while True:
        old = next((each for each in store.load().documents if each.key == "counter"), None)
        body, revision = (str(int(old.body) + 1), old.revision) if old else ("1", 0)
        try:
            store.commit([Change("flag", "counter", body, revision)], actor="", reason="", at=0.0)
        except StaleWrite:
            continue
        break
store.close()
"""


def test_two_processes_write_at_the_same_time(path: Path) -> None:
    """Two processes that make the file and count up by compare-and-set at the same time lose no count."""
    command = [sys.executable, "-W", "error", "-c", COUNTING, str(path), "50"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writers = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    complaints = [writer.communicate(timeout=60)[1] for writer in writers]
    assert [(writer.returncode, said) for writer, said in zip(writers, complaints, strict=True)] == [(0, ""), (0, "")]
    with closing(SQLiteStore(path)) as store:
        assert bodies(store) == {"counter": "100"}
        assert len(store.audit(limit=1_000)) == store.version() == 100


def test_processes_that_make_the_file_at_the_same_time(path: Path) -> None:
    """Children that all find no file make it together, and every commit is there."""
    gate, go = os.pipe()

    def begin(number: int) -> None:
        os.read(gate, 1)
        with closing(SQLiteStore(path)) as store:
            put(store, f"flag-{number}", "1")

    children = [forked(lambda number=number: begin(number)) for number in range(6)]  # type: ignore[misc]
    os.write(go, b"." * 6)
    assert [exit_code(pid) for pid in children] == [0] * 6
    os.close(gate)
    os.close(go)
    with closing(SQLiteStore(path)) as store:
        assert len(bodies(store)) == store.version() == 6
    with raw(path) as sql:
        assert sql.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_killed_writers_lose_nothing_they_acknowledged(path: Path) -> None:
    """After 25 writers were killed in the middle of writing, every acknowledged commit is there, whole and audited."""
    acknowledged = 0
    for round_ in range(25):
        ear, mouth = os.pipe()

        def write(first: int = acknowledged, mouth: int = mouth) -> None:
            store = SQLiteStore(path)
            for number in range(first + 1, first + 10_000):
                changes = [Change("flag", key, f"{number}") for key in ("left", "right")]
                store.commit(changes, actor="", reason=f"{number}", at=AT)
                os.write(mouth, b".")

        pid = forked(write)
        os.close(mouth)
        for _ in range(round_ % 5 + 1):
            acknowledged += len(os.read(ear, 1))
        for _ in range(round_ * 997):  # a little later in the next commit each time
            pass
        os.kill(pid, signal.SIGKILL)
        assert exit_code(pid) == -signal.SIGKILL
        while more := os.read(ear, 100):
            acknowledged += len(more)
        os.close(ear)
        with closing(SQLiteStore(path)) as store:
            found = bodies(store)
            assert found["left"] == found["right"]
            assert acknowledged <= int(found["left"]) <= acknowledged + 1
            assert len(store.audit(limit=100_000)) == 2 * store.version()
            acknowledged = int(found["left"])
    with raw(path) as sql:
        assert sql.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# --- forks ---


def test_child_and_parent_both_go_on_after_a_fork(store: SQLiteStore, path: Path) -> None:
    """A store that was in use is used on by parent and child, and nothing of either is lost when the other closes.

    This is what a connection that crosses the fork gets wrong: the child's commit is acknowledged, and lost.
    """
    put(store, "before", "1")
    store.version()
    heard, told = os.pipe()
    closed, close = os.pipe()

    def child() -> None:
        put(store, "child", "1")
        os.write(told, b".")
        os.read(closed, 1)
        put(store, "child", "2")

    pid = forked(child)
    os.read(heard, 1)
    put(store, "parent", "1")
    store.close()
    os.write(close, b".")
    assert exit_code(pid) == 0
    for end in (heard, told, closed, close):
        os.close(end)
    with closing(SQLiteStore(path)) as other:
        assert bodies(other) == {"before": "1", "child": "2", "parent": "1"}


def test_nothing_is_open_across_a_fork(store: SQLiteStore) -> None:
    """A child inherits no connection, and the parent opens its own again at the next use."""
    put(store, "a", "1")
    store.version()
    assert (store._reader._sql is None, store._writer._sql is None) == (False, False)

    def child() -> None:
        assert store._reader._sql is store._writer._sql is None
        assert store.version() == 1

    assert exit_code(forked(child)) == 0
    assert store._reader._sql is store._writer._sql is None
    assert store.version() == 1


def test_a_fork_waits_for_a_commit_under_way(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forking while another thread commits without a pause harms neither side."""
    monkeypatch.setattr(sqlite, "PAUSE_S", 10.0)
    stop = threading.Event()

    def commit_on() -> int:
        number = 0
        while not stop.is_set():
            number += 1
            put(store, "thread", f"{number}")
        return number

    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(commit_on)
        children = [forked(lambda n=n: put(store, f"child-{n}", "1")) for n in range(5)]  # type: ignore[misc]
        stop.set()  # SQLite promises no turn to a child that waits for somebody who never pauses
        codes = [exit_code(pid) for pid in children]
        last = thread.result(30)
    assert codes == [0] * 5
    assert bodies(store) == {"thread": f"{last}"} | {f"child-{number}": "1" for number in range(5)}


def test_a_fork_does_not_wait_forever(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a use does not end, the fork goes ahead; the child begins anew and never touches the parent's connection."""
    monkeypatch.setattr(sqlite, "PAUSE_S", 0.01)
    put(store, "a", "1")
    inside, leave = threading.Event(), threading.Event()

    def linger() -> int:
        with store._reader.use() as sql:
            inside.set()
            leave.wait(30)
            return int(sql.execute("SELECT version FROM store").fetchone()[0])

    def child() -> None:
        assert len(sqlite._INHERITED) == 1
        assert store.version() == 1

    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(linger)
        assert inside.wait(30)
        code = exit_code(forked(child))
        leave.set()
        assert (thread.result(30), code) == (1, 0)
    assert store.version() == 1


def test_a_store_that_nobody_closed_is_closed_without_a_word(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Whoever happens to run the garbage collector is not told of somebody else's database."""
    SQLiteStore(tmp_path / "canary.db").load()
    gc.collect()
    assert not recwarn.list
