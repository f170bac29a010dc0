"""Whatever of ours fails, the host's requests go on: every function on their path is made to raise in turn.

The functions are found by running the scenario once and looking at what was called, so a new one is included by itself.
A function called by the host directly is a door: it contains what is behind it and cannot contain itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import dis
import inspect
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

pytest.importorskip("re2")

import canary_sdk
from canary_sdk import EvaluationContext, connect
from canary_sdk.integrations import asgi, wsgi
from canary_sdk.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from types import CodeType, FrameType

    from canary_sdk import Canary

HOME = str(Path(canary_sdk.__file__).parent)
SWISS = {"all": [{"attribute": "country", "in": ["CH"]}, {"not": {"attribute": "version", "version": "< 2.0.0"}}]}
CONFIG: dict[str, Any] = {
    "flags": {
        "checkout": {
            "rollout": 50,
            "slos": ["p95 < 500ms", "call.p95 < 100ms", "throughput > 1/s"],
            "prerequisites": [{"flag": "basket", "variant": "on"}],
            "targets": {"on": ["vip"]},
            "rules": [{"name": "the Swiss", "if": {"any": [{"segment": "swiss"}]}, "serve": "rollout", "rollout": 99}],
        },
        "basket": {"rollout": 100},
        "page": {"type": "integer", "default": 20, "candidate": 50, "rollout": 100},
        "colour": {
            "type": "string",
            "default": "grey",
            "rollout": 60,
            "variants": {"blue": {"value": "b"}, "green": {"value": "g", "weight": 2}},
            "rules": [
                {"if": {"attribute": "joined", "date": "after 2026-01-01"}, "serve": "blue"},
                {"if": {"attribute": "targeting_key", "matches": "^v"}, "serve": "default"},
            ],
        },
    },
    "segments": {"swiss": {"if": SWISS}},
    "auto_rollback": {"interval": "1s", "breaches": 1, "min_samples": 1},
}
SUBJECT = EvaluationContext("u", {"country": "CH", "version": "2.1.0", "joined": "2025-06-01"})

ROOMS = {"stores/memory", "stores/codec", "telemetry/log", "core/judge/verdict", "core/breaker", "core/dates"}
ROOMS |= {f"runtime/{room}" for room in ("table", "fold", "scope", "guard", "monitor", "feature/calls")}
ROOMS |= {f"measure/{room}" for room in ("ring", "arena", "window")}
ROOMS |= {f"core/flags/{room}" for room in ("compiled", "conditions", "operators", "variants", "explain", "bucketing")}
HARMLESS = {"RESUME", "LOAD_FAST", "LOAD_FAST_LOAD_FAST", "LOAD_CONST", "BUILD_LIST", "BUILD_TUPLE", "STORE_ATTR"}
HARMLESS |= {"RETURN_VALUE", "RETURN_CONST", "COPY_FREE_VARS", "POP_TOP", "NOP"}


class Injected(Exception):
    """What a function of ours is made to raise."""


def is_ours(code: CodeType) -> bool:
    """Whether a function belongs to the package."""
    return code.co_filename.startswith(HOME)


@contextmanager
def traced(on_call: Callable[[FrameType], None]) -> Iterator[None]:
    """Show every call of ours by ours to `on_call`, which may raise in its place."""

    def trace(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and is_ours(frame.f_code) and frame.f_back is not None and is_ours(frame.f_back.f_code):
            on_call(frame)

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)


class Subject(NamedTuple):
    """Somebody who has a key."""

    id: str


async def fallback(user: Subject) -> AsyncIterator[str]:
    """Stream what everybody had before."""
    yield user.id
    yield user.id


class Host:
    """An application as its users see it: it works, whether it is given the old or the new."""

    def __init__(self, canary: Canary) -> None:
        """Install everything once, as at start-up."""
        self.canary = canary
        self.asgi = asgi.CanaryMiddleware(self.app, canary=canary, key=lambda scope: str(scope["user"]))
        self.wsgi = wsgi.CanaryMiddleware(self.wsgi_app, canary=canary)

        @canary.feature("checkout", fallback=lambda user: f"served {user}", key="user")
        def plain(user: str) -> str:
            return f"served {user}"

        @canary.feature("checkout", fallback=lambda user: f"served {user}", key="user")
        async def awaited(user: str) -> str:
            await asyncio.sleep(0)
            return f"served {user}"

        @canary.feature("checkout", key="user", expected=(KeyError,))
        def failing(user: str) -> str:
            raise KeyError(user)

        @canary.feature("checkout", fallback=lambda user: iter([user, user]), key="user")
        def generated(user: str) -> Iterator[str]:
            yield user
            yield user

        @canary.feature("checkout", fallback=fallback, key="user.id")
        async def streamed(user: Subject) -> AsyncIterator[str]:
            yield user.id
            await asyncio.sleep(0)
            yield user.id

        self.plain, self.awaited, self.failing = plain, awaited, failing
        self.generated, self.streamed = generated, streamed

    async def app(self, scope: Any, _receive: Any, send: Any) -> None:
        """Answer an ASGI request, in two pieces."""
        is_new = self.canary.is_enabled("checkout", scope["user"])
        assert is_new == self.canary.is_enabled("checkout", scope["user"])
        await self.awaited(scope["user"])
        assert [item async for item in self.streamed(Subject(scope["user"]))] == [scope["user"]] * 2
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"served ", "more_body": True})
        await send({"type": "http.response.body", "body": scope["user"].encode()})

    def wsgi_app(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a WSGI request."""
        start_response("200 OK", [])
        self.canary.evaluate("checkout", EvaluationContext(environ["user"]))
        return (piece for piece in (b"served ", environ["user"].encode()))

    # --- what its users do ---

    def ask_asgi(self) -> str:
        """Send an ASGI request."""
        sent: list[bytes] = []

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))

        async def receive() -> Any:
            return {"type": "http.request"}

        coroutine = self.asgi({"type": "http", "user": "u"}, receive, send)
        with contextlib.suppress(StopIteration):
            while True:
                coroutine.send(None)
        return b"".join(sent).decode()

    def ask_wsgi(self) -> str:
        """Send a WSGI request."""
        body = self.wsgi({"user": "u"}, lambda *_: print)
        text = b"".join(body).decode()
        close = getattr(body, "close", None)
        if close is not None:
            close()
        return text

    def ask_features(self) -> str:
        """Call what is decorated, in a scope and outside."""
        with self.canary.scope("job", key="u"):
            first = self.plain("u")
        assert list(self.generated("u")) == ["u", "u"]
        with contextlib.suppress(KeyError):
            assert self.failing("u") is None
        return first if first == self.plain("u") else "changed"

    def ask_values(self) -> str:
        """Look at typed and unknown flags."""
        assert self.canary.value("page", "u", default=10) in {10, 20, 50}
        assert self.canary.value("colour", SUBJECT, default="grey") in {"grey", "b", "g"}
        assert self.canary.value("unknown", default="none") == "none"
        for flag_key in ("checkout", "colour", "unknown"):
            assert self.canary.evaluate(flag_key, SUBJECT, explain=True).flag_key == flag_key
        assert self.canary.evaluate_all(SUBJECT).keys() <= CONFIG["flags"].keys()
        assert self.canary.is_enabled("unknown") is False
        assert isinstance(self.canary.is_enabled("checkout", 42), bool)  # type: ignore[arg-type]
        return "served u"

    def background(self) -> str:
        """Let the background have its turn."""
        self.canary.tick()
        return "served u"


STEPS = (Host.ask_values, Host.ask_asgi, Host.ask_wsgi, Host.ask_features, Host.background)


def play(on_call: Callable[[FrameType], None]) -> list[str]:
    """Play the whole scenario from a cold start, with time passing; a trace that raised is set again for each step."""
    clock = ManualClock()
    canary = connect("memory:", clock=clock, background=False)
    canary.apply(CONFIG)
    host = Host(canary)
    answers = []
    for _ in range(3):
        for step in STEPS:
            with traced(on_call):
                answers.append(step(host))
            clock.advance(0.6)
    with traced(on_call):
        canary.close()
    return answers


def called() -> list[CodeType]:
    """Return every function of ours that ours call on the way, and that can fail."""
    seen: dict[CodeType, None] = {}
    play(lambda _: None)  # what is imported on use is imported now
    play(lambda frame: seen.setdefault(frame.f_code))
    return [code for code in seen if can_fail(code)]


def can_fail(code: CodeType) -> bool:
    """Whether it does more than hand on or keep what it was given; a class body that an import runs is no function."""
    does = {step.opname for step in dis.get_instructions(code)}
    return bool(code.co_flags & inspect.CO_OPTIMIZED) and not does <= HARMLESS


def name_of(code: CodeType) -> str:
    """Name a function, and the line of one that has no name."""
    line = f":{code.co_firstlineno}" if code.co_name.startswith("<") else ""
    return f"{Path(code.co_filename).stem}{line} {code.co_qualname}"


FUNCTIONS = called()


def test_the_scenario_reaches_what_it_is_about() -> None:
    """Store, table, judge, ring, clock, telemetry, codec and context are all on the way."""
    reached = {Path(code.co_filename).relative_to(HOME).as_posix() for code in FUNCTIONS}
    assert {f"{room}.py" for room in ROOMS} <= reached
    assert len(FUNCTIONS) > 150


@pytest.mark.parametrize("code", FUNCTIONS, ids=name_of)
def test_no_failure_of_ours_reaches_a_request(code: CodeType) -> None:
    """With this function raising whenever it is called, every request is served as if we were not there."""
    hits = 0

    def fail(frame: FrameType) -> None:
        nonlocal hits
        if frame.f_code is code:
            hits += 1
            raise Injected(code.co_qualname)

    assert set(play(fail)) == {"served u"}
    assert hits
