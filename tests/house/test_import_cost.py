"""What importing the package costs the application that does it, seen in a fresh interpreter."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from canary_sdk import connect
from tests.needs import need

ROOT = Path(__file__).parents[2]

# Not `inspect`: the standard library's own `dataclasses` brings it.
HEAVY = {
    "asyncio",
    "click",
    "importlib.metadata",
    "logging",
    "openfeature",
    "opentelemetry",
    "psycopg",
    "redis",
    "rich",
    "sqlite3",
    "starlette",
    "textual",
    "uvicorn",
    "wrapt",
}

# What is imported with the package, and with a middleware. Whatever else serves comes with `connect`.
NAMES = {"", ".clock", ".compose", ".core", ".core.flags", ".core.flags.evaluation", ".errors"}
MIDDLEWARE = {".integrations", ".integrations.ending", ".integrations.routes", ".measure", ".measure.ring"}
MIDDLEWARE |= {".runtime", ".runtime.scope"}
OURS = {
    "canary_sdk": NAMES,
    "canary_sdk.integrations.asgi": {*NAMES, *MIDDLEWARE, ".integrations.asgi"},
    "canary_sdk.integrations.wsgi": {*NAMES, *MIDDLEWARE, ".integrations.body", ".integrations.wsgi"},
}

FIRST_REQUEST = """
import canary_sdk
canary = canary_sdk.connect({url!r}, background=False)
before = set(sys.modules)
with canary.scope("job", key="user-42"):
    assert canary.is_enabled("checkout")
"""

WATCH = """
import _thread, json, sys, threading
before, opened, started = set(sys.modules), [], []

def hook(event, arguments):
    if event == "open" and not str(arguments[0]).endswith((".py", ".pyc", ".so")):
        opened.append(str(arguments[0]))
    if event in ("subprocess.Popen", "os.fork", "os.posix_spawn", "socket.__new__"):
        started.append(event)

sys.addaudithook(hook)
{act}
print(json.dumps([sorted(set(sys.modules) - before), opened, started + ["thread"] * _thread._count()]))
"""


class Footprint(NamedTuple):
    """What a piece of code left behind in a fresh interpreter."""

    loaded: list[str]
    opened: list[str]
    started: list[str]


def footprint(act: str) -> Footprint:
    """Run `act` in a fresh interpreter, without site-packages' own start-up code, and watch it."""
    path = [entry for entry in [str(ROOT), *sys.path] if entry]
    script = f"import sys; sys.path[:] = {path!r}\n{WATCH.replace('{act}', act)}"
    done = subprocess.run([sys.executable, "-B", "-I", "-S", "-c", script], capture_output=True, text=True, check=True)
    return Footprint(*json.loads(done.stdout))


@pytest.fixture(scope="module", params=OURS)
def imported(request: pytest.FixtureRequest) -> Footprint:
    """Import the package or a middleware, and do nothing with it."""
    return footprint(f"import {request.param}")


@pytest.mark.parametrize("name", OURS)
def test_it_loads_so_much_of_ours(name: str) -> None:
    """What serves is not imported with the package, nor with a middleware."""
    loaded = {each for each in footprint(f"import {name}").loaded if each.partition(".")[0] == "canary_sdk"}
    assert loaded == {f"canary_sdk{each}" for each in OURS[name]}


def test_the_first_request_does_not_import(tmp_path: Path) -> None:
    """Whoever connects has imported what wakes the process, answers, and measures."""
    url = f"sqlite:///{tmp_path}/canary.db"
    with connect(url, background=False) as canary:
        canary.apply({"flags": {"checkout": {"rollout": 100}}})
    assert footprint(FIRST_REQUEST.format(url=url)).loaded == []


def test_it_loads_nothing_heavy(imported: Footprint) -> None:
    """Importing the package loads no driver, no framework and none of the slow parts of the standard library."""
    assert "canary_sdk" in imported.loaded
    assert HEAVY.isdisjoint(imported.loaded), sorted(HEAVY.intersection(imported.loaded))


def test_it_opens_no_file(imported: Footprint) -> None:
    """Importing the package opens nothing but modules."""
    assert imported.opened == []


def test_it_starts_nothing(imported: Footprint) -> None:
    """Importing the package starts no thread and no process, and makes no socket."""
    assert imported.started == []


def test_openfeature_is_asked_for_and_starts_nothing_of_ours() -> None:
    """Whoever imports our providers gets OpenFeature, with its pool of threads, none of which is started."""
    need("openfeature")
    found = footprint("import canary_sdk.integrations.openfeature")
    assert "openfeature" in found.loaded
    assert found.started == []


@pytest.mark.parametrize(
    ("act", "seen"),
    [
        ("import sqlite3", "sqlite3"),
        ("open('/dev/null').close()", "/dev/null"),
        ("threading.Thread(target=threading.Event().wait, daemon=True).start()", "thread"),
        ("import socket; socket.socket().close()", "socket.__new__"),
    ],
)
def test_the_watch_sees(act: str, seen: str) -> None:
    """The watch that the other tests rely on sees a module, a file, a thread and a socket."""
    assert seen in itertools.chain.from_iterable(footprint(act))
