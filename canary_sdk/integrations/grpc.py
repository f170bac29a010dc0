"""gRPC: an interceptor for each of its kinds of server, over the same unit of work. The only module that imports it.

    grpc.server(pool, interceptors=[CanaryInterceptor(canary=canary)])
    grpc.aio.server(interceptors=[AsyncCanaryInterceptor(canary=canary)])

A call is named by its method, and timed until its handler is through; where the answer is a stream, until its first
message. An error is what OpenTelemetry's conventions take for one on the server's side: a code that says that the
server failed. A client that left or gave up waiting is none.
"""

from __future__ import annotations

from contextlib import aclosing
from functools import partial, wraps
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final

import grpc
import wrapt
from grpc import StatusCode

from canary_sdk.integrations.ending import UNMEASURED, judged
from canary_sdk.integrations.routes import Names
from canary_sdk.runtime.scope import ABORTED, FAILED, GOOD, outcome_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextvars import Token
    from typing import Self

    from canary_sdk.integrations.ending import IsError
    from canary_sdk.runtime.client import Canary
    from canary_sdk.runtime.scope import Unit

    Behavior = Callable[[Any, Any], Any]

SERVER_ERRORS: Final = frozenset(
    {
        StatusCode.UNKNOWN,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.UNIMPLEMENTED,
        StatusCode.INTERNAL,
        StatusCode.UNAVAILABLE,
        StatusCode.DATA_LOSS,
    }
)
"""https://opentelemetry.io/docs/specs/semconv/rpc/grpc: the codes with which a server's span has failed."""
CODES: Final = {code.value[0]: code for code in StatusCode}
KINDS: Final = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}
"""By whether the request and the response are streams: where a handler keeps its function, and what makes one."""


class CanaryInterceptor(grpc.ServerInterceptor):  # type: ignore[misc,unused-ignore]
    """Measure every call of a `grpc.server`.

    `key(call)` may return the call's targeting key, from its `invocation_metadata`; it is asked only when an evaluation
    brings none. `is_error(code, exception)` may say what counts as an error, by the number of the status code. It
    belongs first among the interceptors. Installed twice, a call counts once. Threads: the server's.
    """

    def __init__(
        self, *, canary: Canary, key: Callable[[Any], str | None] | None = None, is_error: IsError | None = None
    ) -> None:
        """Measure for `canary`."""
        self._measuring = _Measuring(canary, key, is_error)

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        """Return the handler of a call, measured."""
        return self._measuring.handler(continuation(handler_call_details), handler_call_details)


class AsyncCanaryInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc,unused-ignore]
    """Measure every call of a `grpc.aio.server`; the arguments are those of `CanaryInterceptor`."""

    def __init__(
        self, *, canary: Canary, key: Callable[[Any], str | None] | None = None, is_error: IsError | None = None
    ) -> None:
        """Measure for `canary`."""
        self._measuring = _Measuring(canary, key, is_error)

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Return the handler of a call, measured."""
        return self._measuring.handler(await continuation(handler_call_details), handler_call_details)


class _Measuring:
    """Puts calls around handlers."""

    def __init__(self, canary: Canary, key: Callable[[Any], str | None] | None, is_error: IsError | None) -> None:
        self.units = canary.units
        self.failures = canary.failures
        self.key = key
        self.is_error = is_error
        self.names = Names()

    def handler(self, handler: Any, details: Any) -> Any:
        """Return a handler that does as this one does; the very same where there is none, or it cannot be measured."""
        if handler is None:
            return None
        try:
            kind, make = KINDS[bool(handler.request_streaming), bool(handler.response_streaming)]
            behavior = getattr(handler, kind)
            if getattr(behavior, "experimental_non_blocking", False):
                return handler  # it answers by a call of its own, some time
            measured = _measured(behavior, partial(_Call, self, details), streams=handler.response_streaming)
            return make(measured, handler.request_deserializer, handler.response_serializer)
        except Exception as error:  # noqa: BLE001 - ours never reaches the host
            self.failures.note(("intercepting a call", error, UNMEASURED))
            return handler


def _measured(behavior: Behavior, call: Callable[[Any], _Call], *, streams: bool) -> Behavior:
    """Return a function of the same kind, by which gRPC tells how to call it."""

    async def answer_async(request: Any, context: Any) -> Any:
        with call(context) as opened:
            return await behavior(request, _Writing(context, opened) if streams else context)

    async def stream_async(request: Any, context: Any) -> AsyncIterator[Any]:
        with call(context) as opened:
            async with aclosing(behavior(request, context)) as responses:
                async for response in responses:
                    opened.begin()
                    yield response

    def answer(request: Any, context: Any) -> Any:
        with call(context):
            return behavior(request, context)

    def stream(request: Any, context: Any) -> Iterator[Any]:
        with call(context) as opened:
            for response in behavior(request, context):
                opened.begin()
                yield response

    if iscoroutinefunction(behavior):
        return wraps(behavior)(answer_async)
    if isasyncgenfunction(behavior):
        return wraps(behavior)(stream_async)
    return wraps(behavior)(stream if streams else answer)


class _Writing(wrapt.ObjectProxy):  # type: ignore[type-arg]
    """The context of a coroutine that writes its stream itself."""

    def __init__(self, context: Any, opened: _Call) -> None:
        super().__init__(context)
        self._self_opened = opened

    async def write(self, message: Any) -> None:
        """Write a message."""
        self._self_opened.begin()
        await self.__wrapped__.write(message)


class _Call:
    """One call: opens its unit and ends it. Nothing of it reaches the application."""

    def __init__(self, measuring: _Measuring, details: Any, context: Any) -> None:
        self._measuring = measuring
        self._details = details
        self._context = context
        self._unit: Unit | None = None
        self._token: Token[Unit | None] | None = None

    def __enter__(self) -> Self:
        measuring, details, units = self._measuring, self._details, self._measuring.units
        try:
            current = units.current()
            if current is None or not current.in_request:  # else it is being measured already
                unit = units.open(None if measuring.key is None else partial(measuring.key, details))
                unit.in_request = True
                unit.route = measuring.names.label(details.method.lstrip("/"))
                self._token = units.enter(unit)
                self._unit = unit
        except Exception as error:  # noqa: BLE001 - ours never reaches the host
            measuring.failures.note(("opening a call", error, UNMEASURED))
        return self

    def begin(self) -> None:
        """Note that the first message of a stream is there."""
        unit = self._unit
        if unit is not None and not unit.streamed:
            unit.responded, unit.streamed = self._measuring.units.now(), True

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        unit, token, measuring = self._unit, self._token, self._measuring
        if unit is None or token is None:
            return
        try:
            ended, outcome = measuring.units.now(), ABORTED
            try:
                outcome = self._outcome(error)
            finally:
                unit.finish(ended, outcome)
                unit.subject = None
                unit.in_request = False
                measuring.units.leave(token)
        except Exception as failure:  # noqa: BLE001 - ours never reaches the host
            measuring.failures.note(("closing a call", failure, UNMEASURED))

    def _outcome(self, error: BaseException | None) -> int:
        """Judge by the code that the client is answered, or whether there is no client any more."""
        code = self._code(error)
        if outcome_of(error) == ABORTED or code is StatusCode.CANCELLED or self._is_gone():
            return ABORTED
        outcome = FAILED if code in SERVER_ERRORS else GOOD
        return judged(self._measuring.is_error, self._measuring.failures, code.value[0], error, outcome)

    def _code(self, error: BaseException | None) -> StatusCode:
        """Return what was set, a member or a number; gRPC itself calls an exception without a code unknown.

        asyncio's server does not tell it where the handler is a plain function.
        """
        told = self._context.code() if hasattr(self._context, "code") else None
        code: StatusCode | None = CODES.get(told) if isinstance(told, int) else told
        if code is None or code is StatusCode.OK:
            return StatusCode.OK if error is None else StatusCode.UNKNOWN
        return code

    def _is_gone(self) -> bool:
        """Whether a sync server has heard that the client left; asyncio's cancels the handler."""
        is_active = getattr(self._context, "is_active", None)
        return is_active is not None and not is_active()
