"""The example applications do what their page says: real processes, servers and requests."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections import Counter
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from canary_sdk import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    Untested = Callable[[str, bool], None]

pytestmark = pytest.mark.timeout(120)  # a process imports a whole framework

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "docs" / "examples"
FLAGS: Final = {"flags": {"new-checkout": {"rollout": 50, "slos": ["p95 < 500ms", "errors < 1%"]}}}
USERS: Final = [f"user-{number}" for number in range(30)]


class Row(NamedTuple):
    """An example: where it is, what serves it, and a request with the template that its path has."""

    app: str
    server: str
    path: str
    route: str


ROWS: Final = {
    "fastapi": Row("fastapi_app:app", "uvicorn", "/checkout/7", "/checkout/{cart}"),
    "starlette": Row("starlette_app:app", "uvicorn", "/checkout/7", "/checkout/{cart:int}"),
    "flask": Row("flask_app:app", "waitress", "/checkout/7", "/checkout/<int:cart>"),
    "flask-template": Row("flask_app:app", "waitress", "/checkout/7?page=1", "/checkout/<int:cart>"),
    "django-wsgi": Row("django_app:application", "waitress", "/checkout/7", "checkout/<int:cart>"),
    "django-wsgi-async": Row("django_app:application", "waitress", "/async/7", "async/<int:cart>"),
    "django-asgi": Row("django_app:app", "uvicorn", "/checkout/7", "checkout/<int:cart>"),
    "django-asgi-async": Row("django_app:app", "uvicorn", "/async/7", "async/<int:cart>"),
    "django-template": Row("django_app:application", "waitress", "/page", "page"),
    "litestar": Row("litestar_app:app", "uvicorn", "/checkout/7", "/checkout/{cart}"),
    "aiohttp": Row("aiohttp_app:app", "aiohttp", "/checkout/7", "/checkout/{cart}"),
}
ELSEWHERE: Final = {"aiohttp", "celery", "litestar"}
"""What .ci/run installs for the stress tests."""


def cases() -> list[object]:
    """Return the rows, those whose framework comes later among the stress tests."""
    return [pytest.param(row, id=name, marks=[pytest.mark.stress] * (name in ELSEWHERE)) for name, row in ROWS.items()]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What an example finds: a store of its own."""
    path = os.pathsep.join(map(str, (EXAMPLES, ROOT)))
    return {**os.environ, "CANARY_URL": f"sqlite:///{tmp_path}/canary.db", "PYTHONPATH": path}


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    """What each user is to be served."""
    with connect("memory:", background=False) as canary:
        canary.apply(FLAGS)
        served = {user: "new" if canary.is_enabled("new-checkout", user) else "old" for user in USERS}
    assert set(served.values()) == {"new", "old"}
    return served


def need(framework: str, untested: Untested) -> None:
    """Say loudly what is not there."""
    if find_spec(framework) is None:
        untested(f"the example for {framework}, which is not installed", False)


@pytest.mark.parametrize("row", cases())
def test_users_are_served_and_measured(
    row: Row, environment: dict[str, str], expected: dict[str, str], untested: Untested
) -> None:
    """Each user gets the variant of their own, each request counts on its arm, under the template of its route."""
    need(row.app.partition("_")[0], untested)
    answers, units = served(row.app, row.server, environment, partial(get, row.path))
    assert answers == expected
    assert_measured(units, expected)
    assert {(unit["route"], unit["status"]) for unit in units} == {(row.route, 200)}


@pytest.mark.parametrize(("app", "server"), [("grpc_app:server", "grpc"), ("grpc_aio_app:serve", "grpc_aio")])
def test_grpc(app: str, server: str, environment: dict[str, str], expected: dict[str, str], untested: Untested) -> None:
    """Each user gets the variant of their own, each call counts on its arm, under its method."""
    need("grpc", untested)
    answers, units = served(app, server, environment, call)
    assert answers == expected
    assert_measured(units, expected)
    assert {unit["route"] for unit in units} == {"shop.Checkout/Pay"}


def served(
    app: str, server: str, environment: dict[str, str], ask: Callable[[int], dict[str, str]]
) -> tuple[dict[str, str], list[Any]]:
    """Serve an application to somebody who asks at a port; return the answers, and the units that were counted."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("serve.py")), app, server],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        answers = ask(int(process.stdout.readline()))
        told, _ = process.communicate("")
    return answers, [json.loads(line) for line in told.splitlines()]


def get(path: str, port: int) -> dict[str, str]:
    """Return what each user is answered over HTTP."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    answers = {}
    for user in USERS:
        connection.request("GET", path, headers={"X-User": user})
        response = connection.getresponse()
        text = response.read().decode()
        assert response.status == 200, text
        answers[user] = next(each for each in ("new", "old") if each in text)
    connection.close()
    return answers


CALL: Final = """
import grpc, json, sys
with grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}") as channel:
    pay = channel.unary_unary("/shop.Checkout/Pay")
    ask = lambda user: pay(b"", metadata=[("x-user", user)], timeout=60, wait_for_ready=True).decode()
    print(json.dumps({user: ask(user) for user in sys.argv[2:]}))
"""
"""A client in a process of its own: gRPC's threads do not go together with the forks of other tests."""


def call(port: int) -> dict[str, str]:
    """Return what each user is answered over gRPC."""
    asked = [sys.executable, "-c", CALL, str(port), *USERS]
    answers: dict[str, str] = json.loads(subprocess.run(asked, check=True, capture_output=True, text=True).stdout)
    return answers


def assert_measured(units: list[Any], expected: dict[str, str]) -> None:
    """Every user's answer was counted once, on its arm."""
    assert Counter(unit["arms"]["new-checkout"] for unit in units) == Counter(
        "candidate" if each == "new" else "baseline" for each in expected.values()
    )


def test_the_script(environment: dict[str, str], expected: dict[str, str]) -> None:
    """The script serves each user the variant of their own, and ends by itself."""
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / "script.py"), *USERS],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert dict(line.split() for line in ran.stdout.splitlines()) == expected


WORK: Final = """
import json, sys
from celery.contrib.testing.worker import start_worker
import celery_app
celery_app.app.conf.broker_transport_options = {"polling_interval": 0.01}
with start_worker(celery_app.app, perform_ping_check=False, pool="solo"):
    sent = {user: celery_app.charge.delay(user) for user in sys.argv[1:]}
    served = {user: result.get(timeout=60, interval=0.01) for user, result in sent.items()}
print(json.dumps(served))
"""


@pytest.mark.stress
def test_celery(environment: dict[str, str], expected: dict[str, str], untested: Untested) -> None:
    """A worker serves each job the variant of its user."""
    need("celery", untested)
    with connect(environment["CANARY_URL"], background=False) as canary:
        canary.apply(FLAGS)
    ran = subprocess.run(
        [sys.executable, "-c", WORK, *USERS], env=environment, check=True, capture_output=True, text=True
    )
    assert json.loads(ran.stdout.splitlines()[-1]) == expected
