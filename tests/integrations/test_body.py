"""What stands for a WSGI body behaves like the application's own, whatever is done with it."""

from __future__ import annotations

import copy
import io
import weakref
from collections import UserList
from types import GeneratorType
from typing import TYPE_CHECKING, Any

import pytest
from werkzeug.wsgi import ClosingIterator

from canary_sdk.integrations.wsgi import CanaryMiddleware
from canary_sdk.runtime.scope import FAILED, UNDECIDED
from tests.integrations.driver import measured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from canary_sdk import Canary


class Response:
    """A body that is a response, as Django's is, with all that a class may have."""

    def __init__(self) -> None:
        self.headers = {"length": "3"}
        self._body = b"private"

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"one"])

    def __bytes__(self) -> bytes:
        return b"length: 3\r\n\r\none"

    def __getitem__(self, name: str) -> str:
        return self.headers[name]

    def __setitem__(self, name: str, value: str) -> None:
        self.headers[name] = value

    def __contains__(self, name: object) -> bool:
        return name in self.headers

    def __bool__(self) -> bool:
        return False

    def __call__(self, *chunks: bytes, end: bytes) -> bytes:
        """Join."""
        return b"".join(chunks) + end

    def __enter__(self) -> bytes:
        return self._body

    def __exit__(self, *_: object) -> None:
        self.headers.clear()

    async def __aiter__(self) -> Any:  # an async generator function
        yield b"one"


class Slotted:
    """A body with one attribute and no dictionary."""

    __slots__ = ("code",)

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"one", b"two"])


class Failing:
    """An iterator that fails once, and goes on."""

    def __init__(self) -> None:
        self.steps: list[bytes | Exception] = [b"one", KeyError(), b"three"]

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self.steps:
            raise StopIteration
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


def generator() -> Iterator[bytes]:
    """Make a generator."""
    yield b"one"
    yield b"two"


BODIES: dict[str, Callable[[], Any]] = {
    "generator": generator,
    "iterator": lambda: iter([b"one", b"two"]),
    "map": lambda: map(bytes, [[1], [2]]),
    "sequence": lambda: UserList([b"one", b"two"]),
    "bytes": lambda: b"one",
    "dict": lambda: {b"one": 1},
    "file": lambda: io.BytesIO(b"one\ntwo"),
    "werkzeug": lambda: ClosingIterator([b"one", b"two"], [print]),
    "response": Response,
    "slotted": Slotted,
    "failing": Failing,
}
QUESTIONS: dict[str, Callable[[Any], object]] = {
    "class": lambda body: body.__class__,
    "protocols": lambda body: {name for name in dir(body.__class__) if hasattr(body, name)},
    "dir": dir,
    "next": next,
    "next twice": lambda body: (next(body), next(body)),
    "next, then the rest": lambda body: (next(body), list(body)),
    "list": list,
    "bytes": bytes,
    "len": len,
    "bool": bool,
    "reversed": lambda body: list(reversed(body)),
    "first": lambda body: body[0],
    "header": lambda body: body["length"],
    "contains": lambda body: ("length" in body, b"one" in body),
    "equals": lambda body: (body == [b"one", b"two"], body != b"one", body == body),  # noqa: PLR0124 - that is asked
    "call": lambda body: body(b"a", b"b", end=b"c"),
    "name": lambda body: body.__name__,
    "private": lambda body: body._body,
    "missing": lambda body: body.nothing_of_the_kind,
    "async": lambda body: type(aiter(body)),
    "send": lambda body: body.send(None),
    "read": lambda body: body.read(2),
    "copy": lambda body: list(copy.copy(body)),
}


def served(canary: Canary, body: object) -> Any:
    """Return what the server gets in the place of a body."""

    def app(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return body

    return CanaryMiddleware(app, canary=canary)({}, lambda *_: print)


def answer(question: Callable[[Any], object], body: object) -> object:
    """Ask, and return the answer, or the kind of failure and its message."""
    try:
        return question(body)
    except Exception as error:  # noqa: BLE001 - it is an answer
        return type(error), str(error).replace("'_io.", "'")  # a class written in C may be called by its module


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
@pytest.mark.parametrize("make", BODIES.values(), ids=BODIES)
def test_it_answers_as_the_body_does(
    canary: Canary, make: Callable[[], Any], question: Callable[[Any], object]
) -> None:
    """The same answer, or the same failure in the same words."""
    assert answer(question, served(canary, make())) == answer(question, make())


@pytest.mark.parametrize("make", BODIES.values(), ids=BODIES)
def test_it_stands_for_the_very_body(canary: Canary, make: Callable[[], Any]) -> None:
    """It equals it, has its hash and its text, and is an instance of its class."""
    body = make()
    ours = served(canary, body)
    assert ours is not body
    assert ours == body
    assert (repr(ours), str(ours)) == (repr(body), str(body))
    assert isinstance(ours, type(body))
    assert answer(hash, ours) == answer(hash, body)
    assert weakref.ref(ours)() is ours


@pytest.mark.parametrize("kind", [Response, Slotted])
def test_what_is_set_is_set_on_the_body(canary: Canary, kind: type[Any]) -> None:
    """Attributes and items; what we keep of it is no attribute of the body, and it is closed all the same."""
    body = kind()
    ours = served(canary, body)
    ours.code = 404
    assert body.code == ours.code == 404
    del ours.code
    assert not hasattr(body, "code")
    if isinstance(body, Response):
        ours["type"] = "text"
        assert body.headers == {"length": "3", "type": "text"}
        with ours as inner:
            assert inner == b"private"
        assert not body.headers
    ours.close()
    assert not hasattr(body, "_canary_token")
    assert measured(canary).ended


def test_chunks_that_are_asked_for_one_by_one_are_measured(canary: Canary) -> None:
    """The first starts the response, a second makes it a stream, and its end is no failure."""
    ours = served(canary, generator())
    (unit,) = canary.units.ring.drain(2)
    assert isinstance(ours, GeneratorType)
    assert next(ours) == b"one"
    assert (bool(unit.responded), unit.streamed) == (True, False)
    assert (next(ours), next(ours, None), unit.streamed, unit.ended) == (b"two", None, True, 0.0)
    ours.close()
    assert (bool(unit.ended), unit.outcome) == (True, UNDECIDED)


def test_a_failure_between_chunks_that_are_asked_for_is_one(canary: Canary) -> None:
    """The request has failed, and whoever goes on gets the rest."""
    ours = served(canary, Failing())
    assert next(ours) == b"one"
    with pytest.raises(KeyError):
        next(ours)
    assert next(ours) == b"three"
    assert measured(canary).outcome == FAILED


def test_a_class_is_looked_at_once(canary: Canary) -> None:
    """A thousand bodies of one class make no thousand classes."""
    kinds: set[type] = {type(served(canary, Response())) for _ in range(1000)}
    assert len(kinds) == 1


def broken(*_: object) -> Any:
    """Fail, as a part of ours might."""
    raise RuntimeError("ours")


def test_a_failure_of_ours_between_chunks_changes_nothing(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither at the first chunk, nor where the application fails as well."""
    monkeypatch.setattr(CanaryMiddleware, "respond", broken)
    monkeypatch.setattr(CanaryMiddleware, "close", broken)
    ours: Iterable[bytes] = served(canary, Failing())
    assert answer(next, ours) == b"one"
    assert answer(next, ours) == (KeyError, "")
    assert list(ours) == [b"three"]
