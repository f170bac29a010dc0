"""Calls a real gRPC server in every way, and tells what its clients got and what was measured.

A process of its own, because gRPC's threads do not go together with the forks of other tests.

    python grpc_calls.py sync|aio bare|measured|twice
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import grpc

from canary_sdk import connect
from canary_sdk.integrations.grpc import AsyncCanaryInterceptor, CanaryInterceptor
from canary_sdk.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SERVICE: Final = "shop.Checkout"
KINDS: Final = {
    "streamed": "unary_stream",
    "written": "unary_stream",
    "torn": "unary_stream",
    "listed": "unary_stream",
    "gathered": "stream_unary",
    "echoed": "stream_stream",
}
"""By what handler a method is served, where that is not from one message to one message."""
LEFT: Final = ("hanging", "flowing")
"""The methods whose clients leave."""

clock = ManualClock()
canary = connect("memory:", environment="test", clock=clock, background=False)
canary.apply({"flags": {"checkout": {"rollout": 100}}})
entered = threading.Event()


class Methods:
    """The methods, as a sync server has them."""

    def plain(self, request: bytes, context: Any) -> bytes:
        """Take two seconds."""
        clock.advance(2)
        return b"on" if canary.is_enabled("checkout") else b"off"

    def scoped(self, request: bytes, context: Any) -> bytes:
        """Do a part of the work in a scope."""
        with canary.scope("part"):
            return self.plain(request, context)

    def broken(self, request: bytes, context: Any) -> bytes:
        """Fail."""
        raise ZeroDivisionError

    def missing(self, request: bytes, context: Any) -> bytes:
        """Find nothing, which is the client's mistake."""
        context.abort(grpc.StatusCode.NOT_FOUND, "no such cart")
        raise AssertionError

    def overloaded(self, request: bytes, context: Any) -> bytes:
        """Be unable to serve."""
        context.abort(grpc.StatusCode.UNAVAILABLE, "come back later")
        raise AssertionError

    def marked(self, request: bytes, context: Any) -> bytes:
        """Return, with a code that says that it is no good."""
        context.set_code(grpc.StatusCode.INTERNAL)
        return b""

    def excused(self, request: bytes, context: Any) -> bytes:
        """Raise, with a code that says that it was the client's mistake."""
        context.set_code(grpc.StatusCode.INVALID_ARGUMENT)
        raise ValueError

    def hanging(self, request: bytes, context: Any) -> bytes:
        """Wait until the client has left."""
        gone = threading.Event()
        context.add_callback(gone.set)
        entered.set()
        gone.wait(60)
        return b""

    def streamed(self, request: bytes, context: Any) -> Iterator[bytes]:
        """Begin after two seconds, and end after ten more."""
        clock.advance(2)
        yield self.answer()
        clock.advance(10)
        yield b"more"

    written = streamed

    def torn(self, request: bytes, context: Any) -> Iterator[bytes]:
        """Fail in the middle."""
        yield b"some"
        raise ZeroDivisionError

    def listed(self, request: bytes, context: Any) -> Any:
        """Return something that can be iterated."""
        return iter([b"one", b"two"])

    def flowing(self, request: bytes, context: Any) -> Iterator[bytes]:
        """Go on until the client has left."""
        while True:
            yield b"more"

    def gathered(self, requests: Iterator[bytes], context: Any) -> bytes:
        """Answer many messages with one."""
        return b",".join([*requests, self.answer()])

    def echoed(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Answer each message."""
        yield from requests
        yield self.answer()

    @staticmethod
    def answer() -> bytes:
        """Meet the flag."""
        return b"on" if canary.is_enabled("checkout") else b"off"


class AsyncMethods(Methods):
    """The methods, as asyncio's server has them."""

    async def plain(self, request: bytes, context: Any) -> bytes:  # type: ignore[override]
        """Do as the sync one does."""
        clock.advance(2)
        return self.answer()

    async def scoped(self, request: bytes, context: Any) -> bytes:  # type: ignore[override]
        """Do as the sync one does."""
        with canary.scope("part"):
            return await self.plain(request, context)

    async def broken(self, request: bytes, context: Any) -> bytes:  # type: ignore[override]
        """Do as the sync one does."""
        raise ZeroDivisionError

    async def missing(self, request: bytes, context: Any) -> bytes:  # type: ignore[override]
        """Do as the sync one does."""
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such cart")
        raise AssertionError

    async def overloaded(self, request: bytes, context: Any) -> bytes:  # type: ignore[override]
        """Do as the sync one does."""
        await context.abort(grpc.StatusCode.UNAVAILABLE, "come back later")
        raise AssertionError

    async def marked(self, request: bytes, context: Any) -> bytes:  # type: ignore[override]
        """Do as the sync one does."""
        return super().marked(request, context)

    async def excused(self, request: bytes, context: Any) -> bytes:  # type: ignore[override]
        """Do as the sync one does."""
        return super().excused(request, context)

    async def hanging(self, request: bytes, context: Any) -> bytes:  # type: ignore[override]
        """Do as the sync one does."""
        entered.set()
        await asyncio.Event().wait()
        return b""

    async def streamed(self, request: bytes, context: Any) -> AsyncIterator[bytes]:  # type: ignore[override]
        """Do as the sync one does."""
        for each in super().streamed(request, context):
            yield each

    async def written(self, request: bytes, context: Any) -> None:  # type: ignore[override]
        """Do as the sync one does."""
        for each in super().streamed(request, context):
            await context.write(each)

    async def torn(self, request: bytes, context: Any) -> AsyncIterator[bytes]:  # type: ignore[override]
        """Do as the sync one does."""
        yield b"some"
        raise ZeroDivisionError

    async def flowing(self, request: bytes, context: Any) -> AsyncIterator[bytes]:  # type: ignore[override]
        """Do as the sync one does."""
        while True:
            yield b"more"

    async def gathered(self, requests: AsyncIterator[bytes], context: Any) -> bytes:  # type: ignore[override]
        """Do as the sync one does."""
        return b",".join([*[each async for each in requests], self.answer()])

    async def echoed(  # type: ignore[override]
        self, requests: AsyncIterator[bytes], context: Any
    ) -> AsyncIterator[bytes]:
        """Do as the sync one does."""
        async for each in requests:
            yield each
        yield self.answer()


def handlers(methods: Methods) -> dict[str, Any]:
    """Return gRPC's handlers of the methods."""
    kinds = {**KINDS, "flowing": "unary_stream"}
    names = [name for name, each in vars(Methods).items() if callable(each) and name != "answer"]
    return {
        name: getattr(grpc, f"{kinds.get(name, 'unary_unary')}_rpc_method_handler")(getattr(methods, name))
        for name in names
        if not name.startswith("_")
    }


def call(channel: grpc.Channel, name: str) -> list[str]:
    """Call one method, and return the messages, the code and what was said of it."""
    kind = KINDS.get(name, "unary_unary")
    request: Any = iter([b"1", b"2"]) if kind.startswith("stream") else b"?"
    metadata = [("x-user", "user-1")]
    messages: list[bytes] = []
    try:
        answer = getattr(channel, kind)(f"/{SERVICE}/{name}")(request, metadata=metadata, timeout=60)
        for message in answer if kind.endswith("stream") else [answer]:
            messages.append(message)  # noqa: PERF402 - what comes before an error counts
    except grpc.RpcError as error:
        return [*map(bytes.decode, messages), error.code().name, error.details()]
    return [*map(bytes.decode, messages), "OK"]


def leave(channel: grpc.Channel) -> None:
    """Call the methods that do not end, and go away."""
    waiting = channel.unary_unary(f"/{SERVICE}/hanging").future(b"?", timeout=60)
    entered.wait(60)
    waiting.cancel()
    flow = channel.unary_stream(f"/{SERVICE}/flowing")(b"?", timeout=60)
    next(flow)
    flow.cancel()


def talk(port: int) -> dict[str, list[str]]:
    """Be the clients."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        names = [name for name in [*handlers(Methods()), "unheard"] if name not in LEFT]
        answers = {name: call(channel, name) for name in names}
        leave(channel)
    return answers


def user_of(details: Any) -> str | None:
    """Return whom a call is for."""
    found: str | None = dict(details.invocation_metadata).get("x-user")
    return found


def serve(interceptors: int) -> dict[str, list[str]]:
    """Serve by threads."""
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, interceptors=[CanaryInterceptor(canary=canary, key=user_of)] * interceptors)
        server.add_registered_method_handlers(SERVICE, handlers(Methods()))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        answers = talk(port)
        server.stop(60).wait()
    return answers


async def serve_async(interceptors: int) -> dict[str, list[str]]:
    """Serve by asyncio."""
    server = grpc.aio.server(interceptors=[AsyncCanaryInterceptor(canary=canary, key=user_of)] * interceptors)
    server.add_registered_method_handlers(SERVICE, handlers(AsyncMethods()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    answers = await asyncio.to_thread(talk, port)
    await server.stop(60)
    return answers


def main(server: str, how: str) -> None:
    """Tell."""
    interceptors = {"bare": 0, "measured": 1, "twice": 2}[how]
    answers = serve(interceptors) if server == "sync" else asyncio.run(serve_async(interceptors))
    units = [
        {
            "route": unit.route,
            "outcome": unit.outcome,
            "lasted": unit.ended - unit.started,
            "began": unit.responded and unit.responded - unit.started,
            "streamed": unit.streamed,
            "arms": {key: [str(mark.role), user] for key, (mark, user) in unit.marks.items()},
            "is_over": unit.is_over,
        }
        for unit in canary.units.ring.drain(100)
    ]
    print(  # noqa: T201 - told to the test
        json.dumps({"answers": answers, "units": units, "failures": dict(canary.status().failures)})
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
