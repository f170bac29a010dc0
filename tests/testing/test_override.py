"""Claims about forcing answers: what is forced, where it holds, and that nothing else notices."""

from __future__ import annotations

import asyncio
import contextvars
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from canary_sdk import CanaryError, Reason
from canary_sdk.core.flags.evaluation import Role
from canary_sdk.errors import UnknownFlag
from canary_sdk.integrations.asgi import CanaryMiddleware
from canary_sdk.testing import override

if TYPE_CHECKING:
    from collections.abc import Callable

    from canary_sdk import Canary

FLAGS = {
    "new-checkout": {},
    "old-way": {"default": True, "candidate": False},
    "page": {"type": "integer", "default": 20, "candidate": 50},
    "button": {
        "type": "string",
        "default": "grey",
        "variants": {"red": {"value": "#f00"}, "blue": {"value": "#00f"}},
    },
    "with_underscores": {},
}


@pytest.fixture(autouse=True)
def _flags(canary: Canary) -> None:
    """Declare one flag of each kind, all of them off."""
    canary.apply({"flags": FLAGS})


@pytest.mark.parametrize(
    ("flag_key", "wanted", "value"),
    [
        ("new-checkout", True, True),
        ("new-checkout", "on", True),
        ("new-checkout", False, False),
        ("old-way", True, True),
        ("old-way", False, False),
        ("page", True, 50),
        ("page", False, 20),
        ("page", "candidate", 50),
        ("button", "blue", "#00f"),
        ("button", False, "grey"),
    ],
)
def test_what_is_wanted_is_answered(canary: Canary, flag_key: str, wanted: bool | str, value: object) -> None:
    """A bool is on or off, or candidate or baseline; a text is a variant; nobody needs a targeting key."""
    before = canary.evaluate(flag_key, "somebody")
    with override(canary, {flag_key: wanted}):
        told = canary.evaluate(flag_key, explain=True)
        assert (told.value, told.reason, told.role) == (value, Reason.OVERRIDE, Role.APART)
        assert "somebody forced it" in str(told.explanation)
        assert canary.evaluate_all()[flag_key] == told
    assert canary.evaluate(flag_key, "somebody") == before


def test_it_goes_before_everything(canary: Canary) -> None:
    """A kill, an answer that the unit of work was given, and another tool's answer give way; afterwards they hold."""
    canary.kill("new-checkout", reason="test")
    with canary.scope("job", key="somebody"):
        assert not canary.is_enabled("new-checkout")
        with override(canary, {"new-checkout": True}):
            assert canary.is_enabled("new-checkout")
            settled = canary.settled("new-checkout")
            assert settled is not None
            assert settled.enabled
        assert not canary.is_enabled("new-checkout")


def test_it_is_no_exposure(canary: Canary) -> None:
    """Nothing is measured of a flag whose answer was forced."""
    with override(canary, {"new-checkout": True}), canary.scope("job", key="somebody") as unit:
        assert canary.is_enabled("new-checkout")
    assert unit is not None
    assert not unit.marks


def test_the_inner_one_wins(canary: Canary) -> None:
    """Nested overrides add up, the inner one wins, and each ends with its own block."""
    with override(canary, {"new-checkout": True, "button": "red"}):
        with override(canary, {"button": "blue"}):
            assert canary.value("button", default="") == "#00f"
            assert canary.is_enabled("new-checkout")
        assert canary.value("button", default="") == "#f00"


def test_underscores_stand_for_dashes(canary: Canary) -> None:
    """A keyword names the flag with dashes, unless there is one with underscores."""
    with override(canary, new_checkout=True, with_underscores=True):
        assert canary.is_enabled("new-checkout")
        assert canary.is_enabled("with_underscores")


def test_it_decorates_functions(canary: Canary) -> None:
    """A decorated function sees what is forced while it runs, from any thread, again and again."""

    @override(canary, {"new-checkout": True})
    def forced(depth: int = 0) -> list[bool]:
        return [canary.is_enabled("new-checkout"), *(forced(depth - 1) if depth else [])]

    assert forced(2) == [True, True, True]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(forced, [0, 1])) == [[True], [True, True]]
    assert not canary.is_enabled("new-checkout")
    assert forced.__name__ == "forced"


async def test_it_decorates_coroutine_functions(canary: Canary) -> None:
    """A decorated coroutine function sees it while it is awaited, also side by side; `async with` does the same."""
    both = asyncio.Barrier(2)

    @override(canary, {"new-checkout": True})
    async def forced(turns: int) -> bool:
        await both.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        return canary.is_enabled("new-checkout")

    async def around(turns: int) -> tuple[bool, bool]:
        return await forced(turns), canary.is_enabled("new-checkout")

    assert list(await asyncio.gather(around(0), around(5))) == [(True, False), (True, False)]
    async with override(canary, {"new-checkout": True}):
        assert await asyncio.to_thread(canary.is_enabled, "new-checkout")
    assert not canary.is_enabled("new-checkout")


async def test_tasks_do_not_meet(canary: Canary) -> None:
    """Tasks that run side by side each see their own; those that they start inherit it."""
    both = asyncio.Barrier(2)

    async def ask(wanted: str) -> tuple[object, object]:
        with override(canary, {"button": wanted}):
            await both.wait()
            inherited = asyncio.create_task(asyncio.to_thread(canary.value, "button", default=""))
            return canary.value("button", default=""), await inherited

    assert list(await asyncio.gather(ask("red"), ask("blue"))) == [("#f00", "#f00"), ("#00f", "#00f")]


def test_threads_do_not_meet(canary: Canary) -> None:
    """Threads that run side by side each see their own."""
    both = Barrier(2, timeout=10)

    def ask(wanted: str) -> str:
        with override(canary, {"button": wanted}):
            both.wait()
            return canary.value("button", default="")

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, ["red", "blue"])) == ["#f00", "#00f"]


def test_it_survives_a_change(canary: Canary) -> None:
    """What is forced stays forced when the flags are loaded anew."""
    with override(canary, {"new-checkout": True}):
        canary.update("new-checkout", {"rollout": 1})
        assert canary.is_enabled("new-checkout", "somebody")


def test_it_may_end_elsewhere(canary: Canary) -> None:
    """Ended in a context that only inherited it, it raises nothing and leaves that context as it is."""
    forced = override(canary, {"new-checkout": True})
    with forced:
        elsewhere = contextvars.copy_context()
        elsewhere.run(forced.__exit__, None, None, None)
        forced.__enter__()
    assert canary.is_enabled("new-checkout")


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        ({"button": True}, "button: found true, expected 'baseline', 'blue' or 'red'"),
        ({"button": "bleu"}, "button: found 'bleu', expected 'baseline', 'blue' or 'red'; did you mean 'blue'"),
        ({"new-checkout": "candidate"}, "new-checkout: found 'candidate', expected 'off' or 'on'"),
        ({"page": 50}, "page: found 50, expected 'baseline' or 'candidate'"),
    ],
)
def test_what_a_flag_does_not_have_is_refused(canary: Canary, wanted: dict[str, str], complaint: str) -> None:
    """A variant that is not there is refused with what was found and expected; nothing is forced."""
    with pytest.raises(CanaryError, match=complaint), override(canary, {"new-checkout": True, **wanted}):
        pass
    assert not canary.is_enabled("new-checkout")


def test_a_flag_that_is_not_there_is_refused(canary: Canary) -> None:
    """A test of a flag that is misspelt would test nothing."""
    with pytest.raises(UnknownFlag, match="no flag 'new-chekout'"), override(canary, new_chekout=True):
        pass


def test_what_it_cannot_decorate_is_refused(canary: Canary) -> None:
    """A class and a generator function are refused at decoration."""

    def items() -> object:
        yield

    for each in (Role, items):
        with pytest.raises(CanaryError, match="use it inside"):
            override(canary, {})(each)


def test_flasks_test_client_inherits_it(canary: Canary) -> None:
    """What a test forces holds in the view that its client calls."""
    from flask import Flask

    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: str(canary.is_enabled("new-checkout")))
    with override(canary, new_checkout=True):
        assert app.test_client().get("/").text == "True"
    assert app.test_client().get("/").text == "False"


@pytest.mark.stress  # .ci/run installs what the client needs for these
def test_starlettes_test_client_inherits_it(canary: Canary, untested: Callable[[str, bool], None]) -> None:
    """It holds in sync and async views, which run in other threads, also where the client was entered before."""
    if find_spec("httpx") is None:
        untested("Starlette's test client, because httpx is not installed", False)
    from fastapi import FastAPI

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which client it would rather have
        from starlette.testclient import TestClient
    app = FastAPI()
    app.add_middleware(CanaryMiddleware, canary=canary)

    @app.get("/sync")
    def sync_view() -> bool:
        return canary.is_enabled("new-checkout")

    @app.get("/async")
    async def async_view() -> bool:
        return canary.is_enabled("new-checkout")

    with TestClient(app) as client:
        with override(canary, new_checkout=True):
            assert [client.get(path).json() for path in ("/sync", "/async")] == [True, True]
        assert [client.get(path).json() for path in ("/sync", "/async")] == [False, False]
