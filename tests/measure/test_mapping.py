"""The file under the arena is opened with suspicion, and never cut short under anybody's feet."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path

import pytest

from canary_sdk.measure import layout, mapping
from canary_sdk.measure.arena import Arena
from canary_sdk.measure.mapping import default_path
from canary_sdk.testing import ManualClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an arena may be made."""
    return tmp_path / "a.arena"


def whole(created_ns: int = 1) -> bytes:
    """Return the bytes of a header as it should be."""
    return layout.header(created_ns)


def other_format() -> bytes:
    """Return a header of a later version, right in itself."""
    import struct
    import zlib

    words = bytearray(whole()[:-8])
    words[8] = layout.FORMAT + 1
    return bytes(words) + struct.pack("=Q", zlib.crc32(words))


DAMAGE = {
    "random bytes": random.Random(1).randbytes(layout.FRONT_BYTES),
    "one byte": b"\0",
    "cut off": whole() + bytes(1000),
    "header only": whole(),
    "text": b"not an arena\n",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_replaced(path: Path, name: str) -> None:
    """Whatever is in it, a new and empty arena takes its place and works."""
    path.write_bytes(DAMAGE[name])
    path.chmod(0o600)
    arena = Arena(path)
    arm = arena.arm("a")
    arm.finish(0.1, 500)
    assert not arena.private_reason
    assert arena.read(arm).requests == 1
    assert arena.names() == ["a"]
    arena.close()


@pytest.mark.parametrize("header", [other_format(), whole()[:-1] + b"\xff", b"\0" * 80, random.Random(2).randbytes(80)])
def test_a_wrong_header_replaces_the_file_and_spares_those_who_have_it_mapped(path: Path, header: bytes) -> None:
    """The old file lives on, uncut, for whoever still uses it; the next process gets a new one."""
    old = Arena(path)
    count_before = old.arm("a")
    count_before.finish(0.1, 500)
    with path.open("r+b") as file:
        file.write(header)
    new = Arena(path)
    assert not new.private_reason
    assert new.read(new.arm("a")).requests == 0
    count_before.finish(0.1, 500)
    assert old.read(count_before).requests == 2
    assert not old.heartbeat()
    old.close()
    new.close()


def test_whoever_has_a_damaged_file_leaves_it(path: Path) -> None:
    """Somebody wrote into it: at the next heartbeat each process goes on in a new one."""
    arena = Arena(path)
    assert arena.heartbeat()
    with path.open("r+b") as file:
        file.write(random.Random(7).randbytes(80))
    assert not arena.heartbeat()
    new = Arena(path)
    assert new.heartbeat()
    arena.close()
    new.close()


def test_a_whole_file_is_kept(path: Path) -> None:
    """A second process changes nothing in the header, and joins."""
    first = Arena(path)
    before = path.stat()
    second = Arena(path)
    assert (first.private_reason, second.private_reason) == ("", "")
    assert os.path.samestat(path.stat(), before)
    assert path.stat().st_size == layout.FILE_BYTES
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first.close()
    second.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_file_of_somebody_else_is_refused_and_left_alone(path: Path) -> None:
    """Nothing is read from it, written to it or removed."""
    path.write_bytes(b"theirs")
    path.chmod(0o600)
    os.chown(path, 65_534, 65_534)
    arena = Arena(path)
    assert "belongs to user 65534" in arena.private_reason
    assert path.read_bytes() == b"theirs"


@pytest.mark.parametrize("mode", [0o640, 0o606, 0o660])
def test_a_file_that_is_open_to_others_is_refused(path: Path, mode: int) -> None:
    """Nobody else may be able to write counters, or to hold a flag back."""
    path.touch()
    path.chmod(mode)
    assert f"{path} is open to others: mode {mode:o}" in Arena(path).private_reason


def test_the_header_says_when_it_was_made(path: Path) -> None:
    """In nanoseconds of the wall clock."""
    arena = Arena(path, clock=ManualClock(wall=1_750_000_000.5))
    with path.open("rb") as file:
        assert file.read(80) == whole(1_750_000_000_500_000_000)
    arena.close()


def test_a_second_name_of_the_file_is_refused(path: Path) -> None:
    """A hard link may lead to a file that somebody meant to keep."""
    path.write_bytes(b"precious")
    path.chmod(0o600)
    os.link(path, path.with_suffix(".link"))
    assert "2 links" in Arena(path).private_reason
    assert path.read_bytes() == b"precious"


def test_a_symbolic_link_is_not_followed(path: Path) -> None:
    """Whoever may write to a shared directory cannot lead us elsewhere."""
    target = path.with_suffix(".target")
    target.write_bytes(b"precious")
    path.symlink_to(target)
    assert Arena(path).private_reason
    assert target.read_bytes() == b"precious"
    target.unlink()
    assert Arena(path).private_reason
    assert not target.exists()
    path.unlink()
    arena = Arena(path)
    path.rename(target)
    path.symlink_to(target)
    assert not arena.heartbeat()
    arena.close()


@pytest.mark.parametrize("kind", ["directory", "pipe", "missing directory", "null byte"])
def test_what_is_no_file_is_refused(path: Path, kind: str) -> None:
    """The reason is told and the arena is private; nothing is raised and nothing waits."""
    wanted = str(path)
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
    else:
        wanted = str(path / "nowhere") if kind == "missing directory" else wanted + "\0"
    arena = Arena(wanted)
    assert arena.private_reason
    assert kind != "pipe" or arena.private_reason == f"{path} is not a regular file"
    assert arena.guard[0] == 0


def test_a_platform_without_file_locks_stays_private(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sharing without a lock is not tried."""
    monkeypatch.setattr(mapping, "fcntl", None)
    assert Arena(path).private_reason == "this platform has no file locks"
    assert not path.exists()


def test_a_platform_without_fallocate_writes_zeros(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are really allocated there too, and what is counted already is left as it is."""
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    first = Arena(path)
    arm = first.arm("a")
    before = path.stat().st_blocks
    assert before * 512 >= layout.FRONT_BYTES
    arm.finish(0.1, 500)
    assert path.stat().st_blocks > before
    second = Arena(path)
    second.arm("a").finish(0.1, 500)
    assert first.read(arm).requests == 2
    first.close()
    second.close()


def test_the_file_is_named_after_what_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Format, store, environment and user make the name; who logs in to the store does not, and does not show.

    The name is pinned: processes that run two versions of the library meet in one arena, unless its format changes.
    """
    monkeypatch.setenv("CANARY_ARENA_DIR", "/somewhere")
    monkeypatch.setattr(os, "getuid", lambda: 1_000)
    name = default_path("postgresql://me:secret@db/canary", "production")
    assert name == default_path("postgresql://you:other@db/canary", "production")
    assert name != default_path("postgresql://me:secret@db/canary", "staging")
    assert name != default_path("postgresql://me:secret@db2/canary", "production")
    assert name == "/somewhere/canary-1000-08482fbab4963dad.arena"


def test_the_directory_is_shared_memory_or_the_one_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that is shared is preferred where it can be written to."""
    monkeypatch.delenv("CANARY_ARENA_DIR", raising=False)
    monkeypatch.setattr(mapping, "SHARED_MEMORY", str(tmp_path))
    assert Path(default_path("memory:", "test")).parent == tmp_path
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        assert Path(default_path("memory:", "test")).parent == Path("/tmp")
    monkeypatch.setattr(mapping, "SHARED_MEMORY", str(tmp_path / "missing"))
    assert Path(default_path("memory:", "test")).parent == Path("/tmp")
