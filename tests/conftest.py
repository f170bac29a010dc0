"""What every test may ask for."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, NoReturn

import pytest
from hypothesis import HealthCheck, Phase, settings

from canary_sdk import connect
from canary_sdk.testing import ManualClock
from tests import servers
from tests.stores.places import PLACES

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from contextlib import AbstractContextManager

    from canary_sdk import Canary
    from tests.servers import Server
    from tests.stores.places import Place

# A busy machine is slow, and no test claims otherwise.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "mutants",  # one failure is enough, and need not be the smallest
    settings.get_profile("any machine"),
    max_examples=20,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _arenas_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is left in this machine's shared memory."""
    monkeypatch.setenv("CANARY_ARENA_DIR", str(tmp_path_factory.mktemp("arena")))


@pytest.fixture
def clock() -> ManualClock:
    """A clock that moves when the test says so."""
    return ManualClock()


@pytest.fixture
def canary(clock: ManualClock) -> Iterator[Canary]:
    """A Canary in memory that does nothing by itself: the test calls `tick`."""
    with connect("memory:", environment="test", clock=clock, background=False) as client:
        yield client


# --- real servers, started once and only if a test asks for them ---

_MISSING: Final[set[str]] = set()
OURS: Final = {"benchmarks", "canary_sdk", "tests"}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A PostgreSQL server."""
    yield from _lent(servers.postgres, "psycopg")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    """A server that speaks Redis."""
    yield from _lent(servers.redis, "redis")


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A place for a store on each kind of server, empty and of this test alone."""
    place = PLACES[request.param](request.getfixturevalue(f"{request.param}_server"))
    place.make()
    yield place
    place.remove()


@pytest.fixture
def untested() -> Callable[[str, bool], NoReturn]:
    """Skip the test and say so below the summary; in CI fail, unless it `may_be_missing` there."""

    def say(what: str, may_be_missing: bool) -> NoReturn:
        if os.environ.get("CI") == "true" and not may_be_missing:
            pytest.fail(what)
        _MISSING.add(what)
        pytest.skip(what)

    return say


def _lent(server: Callable[[], AbstractContextManager[Server]], driver: str) -> Iterator[Server]:
    """Lend a server; where it or its driver is missing, skip and say so below the summary, but in CI fail."""
    try:
        servers.folder_of(driver)
        with server() as lent:
            yield lent
    except servers.Unavailable as missing:
        if os.environ.get("CI") == "true":
            raise
        _MISSING.add(f"{missing} (or name a running server in {servers.PG_VARIABLE} or {servers.REDIS_VARIABLE})")
        pytest.skip(str(missing))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Pass over the tests of what is optional and not installed, loudly; in CI they fail."""
    report = yield
    call: pytest.CallInfo[object] = report.__dict__["call"]
    missing = call.excinfo and _missing(call.excinfo.value)
    if missing:
        _pass_over(report, str(collector.path), missing)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Pass over a test of what is optional and not installed in the same way."""
    report = yield
    missing = call.excinfo and _missing(call.excinfo.value)
    if missing:
        _pass_over(report, str(item.path), missing)
    return report


def _missing(error: BaseException | None) -> str:
    """Return which package of somebody else's an error, or what has led to it, misses; empty if none."""
    while error is not None:
        name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
        if name and name not in OURS and name not in sys.modules and find_spec(name) is None:
            return name
        error = error.__cause__ or error.__context__
    return ""


def _pass_over(report: pytest.CollectReport | pytest.TestReport, path: str, missing: str) -> None:
    if os.environ.get("CI") != "true":
        report.outcome = "skipped"
        report.longrepr = (path, 0, f"Skipped: {missing} is not installed")
        _MISSING.add(f"what needs {missing}, which is not installed")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what could not be tested."""
    for missing in sorted(_MISSING):
        terminalreporter.write_line(f"NOT TESTED: {missing}", red=True, bold=True)
