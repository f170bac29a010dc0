"""One process at a time holds the lease, and its death passes it on."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from canary_sdk.measure.arena import Arena
from canary_sdk.measure.lease import Lease

HOLDER = """
import sys
from canary_sdk.measure.lease import Lease
lease = Lease(sys.argv[1])
print(lease.take(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the lease's file is."""
    return str(tmp_path / "a.arena.lease")


def test_one_holds_it_until_it_lets_go(path: str) -> None:
    """The second gets it when the first lets go, and not before; asking again changes nothing."""
    first, second = Lease(path), Lease(path)
    assert (first.take(), second.take(), first.take()) == (True, False, True)
    first.let_go()
    assert second.take()
    assert not first.take()
    second.let_go()


def test_the_death_of_its_holder_passes_it_on(path: str) -> None:
    """A process that is killed without a chance to say goodbye holds nothing any more."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        lease = Lease(path)
        assert not lease.take()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert lease.take()
        lease.let_go()


def test_a_file_that_was_taken_away_is_no_lease(path: str) -> None:
    """Two processes never both hold it because one still locks a file that is gone."""
    first, second = Lease(path), Lease(path)
    assert first.take()
    Path(path).unlink()
    assert second.take()
    assert not first.take()
    second.let_go()


def test_without_a_file_it_is_always_held() -> None:
    """A private arena has nobody to share with."""
    assert Lease(None).take()
    assert Arena().lease.take()


def test_every_arena_of_a_file_wants_the_same_lease(path: str) -> None:
    """It lies beside the arena; an arena that has no file, though one was asked for, needs none."""
    first, second = (Arena(path.removesuffix(".lease")) for _ in range(2))
    assert first.lease.path == second.lease.path == path
    assert (first.lease.take(), second.lease.take()) == (True, False)
    first.close()
    assert second.lease.take()
    second.close()
    assert Arena(path + "/nowhere").lease.path is None


def test_a_file_that_cannot_be_had_leaves_nobody_without_a_judge(tmp_path: Path) -> None:
    """Two judges that find the same do less harm than none."""
    assert Lease(str(tmp_path / "missing" / "a.lease")).take()


def test_its_file_is_for_this_user_alone_and_where_it_seems_to_be(path: str) -> None:
    """Nobody else can keep it locked, and whoever may write to a shared directory cannot lead us elsewhere."""
    target = Path(path + ".target")
    Path(path).symlink_to(target)
    assert Lease(path).take()
    assert not target.exists()
    Path(path).unlink()
    lease = Lease(path)
    assert lease.take()
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    lease.let_go()


def test_whoever_was_alone_takes_its_file_along(path: str) -> None:
    """Nothing is left of a command that counted nothing."""
    arena = Arena(path.removesuffix(".lease"))
    assert arena.heartbeat()
    assert arena.lease.take()
    arena.close()
    assert not Path(path).exists()
