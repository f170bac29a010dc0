"""The README's snippets work as they stand, on real servers."""

from __future__ import annotations

import re
import threading
import tomllib
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from waitress.server import create_server  # type: ignore[import-untyped]

from canary_sdk.core.config.configuration import parse_declaration
from canary_sdk.core.flags.evaluation import Role
from canary_sdk.rehearsal.server import Serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from canary_sdk import Canary

README = (Path(__file__).parents[2] / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
WEB = [snippet for snippet in SNIPPETS if "apply" in snippet]
REQUESTS = 300


def run(snippet: str, names: dict[str, Any]) -> dict[str, Any]:
    """Execute a snippet as a module would be."""
    exec(compile(snippet, "README.md", "exec", dont_inherit=True), names)
    return names


@contextmanager
def served(app: Any) -> Iterator[int]:
    """Serve an ASGI application with uvicorn, a WSGI one with waitress; give the port."""
    if not hasattr(app, "wsgi_app"):
        with Serving(app) as server:
            yield int(server.url.rpartition(":")[2])
        return
    sockets: dict[int, Any] = {}
    waitress: Any = create_server(app, host="127.0.0.1", port=0, map=sockets)
    thread = threading.Thread(target=waitress.run)
    thread.start()
    try:
        yield waitress.effective_port
    finally:
        waitress.task_dispatcher.shutdown()
        waitress.trigger.pull_trigger(lambda: [each.close() for each in list(sockets.values())])  # in its own thread
        thread.join()


@pytest.mark.parametrize("snippet", WEB, ids=["fastapi", "flask"])
def test_the_web_snippets_serve_and_measure_both_variants(
    snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is under fifteen lines, serves the new checkout to some, and knows every request's arm."""
    assert len(snippet.splitlines()) < 15
    monkeypatch.chdir(tmp_path)
    names = run(snippet, {"__name__": "shop"})
    canary: Canary = names["canary"]
    answers = []
    with served(names["app"]) as port:
        connection = HTTPConnection("127.0.0.1", port)
        for number in range(REQUESTS):
            connection.request("GET", f"/checkout/user-{number}")
            answers.append(connection.getresponse().read().decode())
        connection.close()
    new = sum("new" in answer for answer in answers)
    assert 0 < new < REQUESTS / 10
    canary.close()
    folder, arena = canary._monitor._folder, canary._arena
    arms = [folder.arm("new-checkout", role, "unit") for role in (Role.CANDIDATE, Role.BASELINE)]
    assert [arena.read(arm).requests for arm in arms] == [new, REQUESTS - new]


def test_the_configuration_is_valid() -> None:
    """What the README declares is accepted."""
    (toml,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    declaration = parse_declaration(tomllib.loads(toml))
    assert declaration.flags["new-checkout"].for_environment("staging").rollout == 100
    assert declaration.auto_rollback is not None


def test_the_controls_exist(canary: Canary) -> None:
    """The 3 a.m. block runs as it stands."""
    canary.apply({"flags": {"new-checkout": {"rollout": 5}}})
    (controls,) = [snippet for snippet in SNIPPETS if "kill" in snippet]
    run(controls, {"canary": canary})
    assert not canary.status().flags["new-checkout"].breaker.killed
