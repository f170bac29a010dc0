"""The demo as a person runs it: a process of its own, real traffic, an exit code, a report, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from canary_sdk.clock import SYSTEM_CLOCK
from tests.needs import need

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.timeout(90)
need("click", "h11", "rich", "starlette", "uvicorn")

SHORT = ("--baseline", "2", "--stage", "2")
"""Just long enough for every phase."""
COMMAND = (sys.executable, "-c", "from canary_sdk.apps.cli import main; main()", "demo")


def start(out: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a demo without a terminal."""
    words = [*COMMAND, "--out", str(out), *SHORT, *arguments]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(out: Path, *arguments: str) -> tuple[int, str, str]:
    """Run a demo to its end."""
    process = start(out, *arguments)
    told, errors = process.communicate()
    return process.returncode, told, errors


def wait_for(what: Callable[[], object]) -> None:
    """Look until it is so, for ten seconds at most."""
    deadline = SYSTEM_CLOCK.monotonic() + 10
    while not what():
        assert SYSTEM_CLOCK.monotonic() < deadline
        SYSTEM_CLOCK.pause(0.02)


def children_of(pid: int) -> list[int]:
    """Return the processes that this one has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it is more than a name."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def underway(out: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start a demo and wait until its traffic flows; yield it and the load driver's pid."""
    process = start(out, *arguments)
    try:
        assert process.stdout is not None
        told = ""
        while "baseline:" not in told:
            told = process.stdout.readline()
            assert told, process.communicate()[1]
        (driver,) = children_of(process.pid)
        yield process, driver
    finally:
        process.kill()
        process.communicate()


class Run:
    """A finished demo: exit code, what it said, and where it wrote."""

    def __init__(self, process: subprocess.Popen[str], out: Path) -> None:
        """Wait for it."""
        self.told, self.errors = process.communicate()
        self.code = process.returncode
        self.out = out

    def report(self) -> dict[str, object]:
        """Return the report for machines."""
        content: dict[str, object] = json.loads((self.out / "report.json").read_text(encoding="utf-8"))
        return content


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A demo with the fault, and one without, side by side."""
    folder = tmp_path_factory.mktemp("demo")
    started = {
        "fault": start(folder / "fault", "--record", str(folder / "fault.svg")),
        "healthy": start(folder / "healthy", "--no-fault"),
    }
    return {name: Run(process, folder / name) for name, process in started.items()}


def test_the_flag_goes_off_by_itself(runs: dict[str, Run]) -> None:
    """Exit code 0, and the report has the trip, its time, and the recovery of the clients."""
    run = runs["fault"]
    assert (run.code, run.errors) == (0, ""), run.told
    report = run.report()
    assert report["conclusion"] == "PASSED"
    durations = report["durations"]
    assert isinstance(durations, dict)
    assert durations["from the first bad request to the flag being off"] <= 5
    stages = report["stages"]
    assert isinstance(stages, list)
    p99 = {stage["name"]: stage["seen"]["clients"]["quantiles"]["p99"] for stage in stages}
    assert p99["baseline"] < 0.6 < p99["fault"]


def test_a_healthy_release_is_left_alone(runs: dict[str, Run]) -> None:
    """Exit code 0, all stages up to everybody, and no trip."""
    run = runs["healthy"]
    assert (run.code, run.errors) == (0, ""), run.told
    report = run.report()
    stages, timeline = report["stages"], report["timeline"]
    assert isinstance(stages, list)
    assert isinstance(timeline, list)
    assert [stage["name"] for stage in stages] == ["baseline", "5 %", "25 %", "100 %"]
    assert "trip" not in {moment["kind"] for moment in timeline}


def test_without_a_terminal_it_writes_plain_lines(runs: dict[str, Run]) -> None:
    """No control codes, one line a moment, and where the report is."""
    told = runs["fault"].told
    assert "\x1b" not in told
    assert "\r" not in told
    assert re.search(r"^ +\d+\.\d s  trip +new-checkout was switched off", told, re.MULTILINE)
    assert "report.md" in told


def test_the_report_for_people_tells_the_same(runs: dict[str, Run]) -> None:
    """The Markdown has the conclusion, the stages and the decisions."""
    markdown = (runs["fault"].out / "report.md").read_text(encoding="utf-8")
    assert "**PASSED**" in markdown
    assert "| recovery |" in markdown
    assert "| trip |" in markdown


def test_the_picture_asks_no_other_host(runs: dict[str, Run]) -> None:
    """The SVG shows the moment of the trip, and fetches nothing from anywhere."""
    picture = (runs["fault"].out.parent / "fault.svg").read_text(encoding="utf-8")
    assert "OPEN" in picture
    assert "switched" in picture
    assert "@font-face" not in picture
    links = set(re.findall(r"https?://[^\"'/)<]+", picture))
    assert links <= {"http://www.w3.org", *(link for link in links if link.startswith("http://127.0.0.1:"))}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_running(tmp_path: Path, how: signal.Signals) -> None:
    """Exit code 130; the load driver and the port are gone when it has ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with underway(tmp_path, "--port", str(port)) as (process, driver):
        process.send_signal(how)
        _, errors = process.communicate(timeout=15)
        assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert not is_running(driver)
    with socket.socket() as again:
        assert again.connect_ex(("127.0.0.1", port)) != 0


def test_a_killed_demo_leaves_nothing_and_hinders_nobody(tmp_path: Path) -> None:
    """Its load driver notices that it is alone; the next run in the folder says so and starts afresh."""
    with underway(tmp_path) as (process, driver):
        process.kill()
        wait_for(lambda: not is_running(driver))
    again = start(tmp_path)
    assert again.stdout is not None
    lines = [again.stdout.readline() for _ in range(2)]
    again.send_signal(signal.SIGINT)
    again.communicate()
    assert "interrupted" in "".join(lines)


def test_one_demo_a_folder(tmp_path: Path) -> None:
    """A second one in the same folder is told to wait or to go elsewhere."""
    with underway(tmp_path):
        code, _, errors = run(tmp_path)
    assert code == 2
    assert "a demo is running" in errors


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    """Exit code 2 and the way out."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, _, errors = run(tmp_path, "--port", port)
    assert code == 2
    assert f"port {port}" in errors
    assert "--port" in errors


def unwritable(folder: Path) -> Path:
    """Return a folder that cannot be written; for root, who may write anywhere, one that cannot be made."""
    folder.chmod(0o555)
    return Path("/proc/demo") if os.access(folder, os.W_OK) else folder


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """Exit code 2, before anything was started."""
    code, told, errors = run(unwritable(tmp_path))
    assert (code, told) == (2, "")
    assert "cannot write" in errors
    assert "--out" in errors


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    """A database that no demo has made is not replaced."""
    precious = tmp_path / "demo.db"
    precious.write_text("precious", encoding="utf-8")
    code, _, errors = run(tmp_path)
    assert code == 2
    assert "not from a demo" in errors
    assert precious.read_text(encoding="utf-8") == "precious"
