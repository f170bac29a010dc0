"""Claims about gRPC's servers, over real sockets: what is measured, how it is judged, and what clients notice of it."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

pytest.importorskip("grpc")

from canary_sdk.runtime.scope import ABORTED, FAILED, GOOD

pytestmark = pytest.mark.timeout(120)  # a process imports gRPC, and has a client call everything

CALLS: Final = Path(__file__).with_name("grpc_calls.py")


@cache
def told(server: str, how: str = "measured") -> Any:
    """Return what a server's clients got, and what was measured."""
    ran = subprocess.run(
        [sys.executable, str(CALLS), server, how], cwd=CALLS.parents[2], capture_output=True, text=True, check=True
    )
    return json.loads(ran.stdout.splitlines()[-1])


def units(server: str, how: str = "measured") -> dict[str, dict[str, Any]]:
    """Return what was measured, by method."""
    return {unit["route"].removeprefix("shop.Checkout/"): unit for unit in told(server, how)["units"]}


@pytest.fixture(params=["sync", "aio"])
def server(request: pytest.FixtureRequest) -> str:
    """Each kind of server."""
    kind: str = request.param
    return kind


@pytest.mark.parametrize("how", ["measured", "twice"])
def test_clients_get_what_they_get_without(server: str, how: str) -> None:
    """Every message, status code and sentence, of good calls and bad ones, of one message and of streams."""
    assert told(server, how)["answers"] == told(server, "bare")["answers"]
    assert told(server, how)["answers"]["plain"] == ["on", "OK"]
    assert told(server, how)["answers"]["torn"][:2] == ["some", "UNKNOWN"]
    assert told(server, how)["failures"] == {}


@pytest.mark.parametrize("how", ["measured", "twice"])
def test_every_call_is_one_unit_under_its_method(server: str, how: str) -> None:
    """Also one that opens a scope, fails, or is left by its client; but no method that there is not."""
    routes = sorted(unit["route"] for unit in told(server, how)["units"])
    called = [*told(server, how)["answers"], "hanging", "flowing"]
    assert routes == sorted(f"shop.Checkout/{name}" for name in called if name != "unheard")
    assert all(unit["is_over"] for unit in told(server, how)["units"])


@pytest.mark.parametrize("method", ["plain", "scoped", "streamed", "written", "gathered", "echoed"])
def test_a_call_counts_on_the_arm_that_it_met(server: str, method: str) -> None:
    """For the user whom its metadata names, whatever kind of call it is."""
    assert units(server)[method]["arms"] == {"checkout": ["candidate", "user-1"]}


@pytest.mark.parametrize(
    ("method", "outcome"),
    [
        ("plain", GOOD),
        ("missing", GOOD),
        ("excused", GOOD),
        ("streamed", GOOD),
        ("gathered", GOOD),
        ("broken", FAILED),
        ("overloaded", FAILED),
        ("marked", FAILED),
        ("torn", FAILED),
        ("hanging", ABORTED),
        ("flowing", ABORTED),
    ],
)
def test_the_status_code_decides(server: str, method: str, outcome: int) -> None:
    """Codes that blame the server are errors, those that blame the client are none; who left has seen neither."""
    assert units(server)[method]["outcome"] == outcome


def test_a_call_is_timed_to_its_answer_and_a_stream_to_its_first_message(server: str) -> None:
    """Whether a generator yields its messages or a coroutine writes them."""
    plain = units(server)["plain"]
    assert (plain["lasted"], plain["streamed"]) == (2, False)
    for method in ("streamed", "written"):
        stream = units(server)[method]
        assert (stream["began"], stream["lasted"], stream["streamed"]) == (2, 12, True)
