"""What the documentation shows is run as it stands, page by page, from top to bottom."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from canary_sdk import connect
from tests.needs import need

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS: Final = Path(__file__).parents[2] / "docs"
PORT: Final = "8000"
"""The port on every page; a free one takes its place."""


class Block(NamedTuple):
    """One block of code: its language, and the file that it is, if it is one."""

    language: str
    name: str
    code: str


def blocks(path: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    form = r"^```(?:\{code-block\} )?(\w+)\n(?::caption: (\S+)\n)?\n?(.*?)^```$"
    return [Block(*found) for found in re.findall(form, path.read_text(), re.DOTALL | re.MULTILINE)]


PAGES: Final = {path: blocks(path) for path in sorted(DOCS.glob("*.md"))}
TOML: Final = [(path, block.code) for path, found in PAGES.items() for block in found if block.language == "toml"]
SHOWN_ONLY: Final = {"contributing", "mutation", "performance"}
"""Pages whose commands are for a checkout of this repository, and take their time."""
RUN: Final = [
    path
    for path, found in PAGES.items()
    if path.stem not in SHOWN_ONLY and {block.language for block in found} & {"python", "sh"}
]


@pytest.mark.parametrize(("path", "block"), TOML, ids=[f"{path.stem} {index}" for index, (path, _) in enumerate(TOML)])
def test_every_configuration_is_accepted(path: Path, block: str) -> None:
    """Each TOML block can be applied, and the same again changes nothing."""
    with connect("memory:", background=False) as canary:
        version = canary.apply(tomllib.loads(block))
        assert version == 1, path
        assert canary.apply(tomllib.loads(block)) == version


class Page:
    """Runs the blocks of a page in a folder of its own; what one makes is there for the next."""

    def __init__(self, folder: Path, names: dict[str, Any]) -> None:
        self.folder = folder
        self.names = names
        self.processes: list[int] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def run(self, block: Block) -> None:
        """Write it if it is a file, else execute it."""
        code = block.code.replace(PORT, str(self.port))
        if block.name:
            (self.folder / block.name).write_text(code)
        elif block.language == "python":
            exec(compile(code, "page.py", "exec", dont_inherit=True), self.names)
        elif block.language == "sh":
            self.shell("\n".join(line for line in code.splitlines() if not line.startswith("pip install")))

    def shell(self, code: str) -> None:
        """Run it as a person would in a terminal; what runs on in the background is waited for until it listens."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        shell = subprocess.Popen(
            ["/bin/sh", "-ec", code],
            cwd=self.folder,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(DOCS.parent)},
            start_new_session=True,
        )
        self.processes.append(shell.pid)
        assert shell.wait() == 0, code
        while code.rstrip().endswith("&") and not listens(self.port):
            pass

    def end(self) -> None:
        """End what still runs."""
        for pid in self.processes:
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def listens(port: int) -> bool:
    """Tell whether somebody listens there."""
    with socket.socket() as client:
        client.settimeout(1.0)
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """A page that is about to be run, on which `canary` is what the text has always been talking of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CANARY_URL", raising=False)
    with connect("memory:", environment="test", background=False) as canary:
        page = Page(tmp_path, {"__name__": "page", "canary": canary})
        yield page
        page.end()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("path", RUN, ids=[path.stem for path in RUN])
def test_every_block_runs(path: Path, page: Page) -> None:
    """Python in one namespace, commands in one folder; a block with a caption is the file of that name."""
    need("click", "fastapi", "openfeature", "opentelemetry.sdk", "rich", "uvicorn")
    for block in PAGES[path]:
        page.run(block)
