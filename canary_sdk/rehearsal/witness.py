"""Stands between `CanaryMiddleware` and an application: strikes the candidate's requests, and sees every answer itself.

What it sees does not pass through the library's own measurement, so that a report can hold one against the other. It
never touches a request that did not meet the candidate, and it knows nothing of the application.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.rehearsal.fault import FaultKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from typing import Any

    from canary_sdk.clock import Clock
    from canary_sdk.rehearsal.fault import Fault
    from canary_sdk.runtime.scope import Unit

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

BROKEN_BODY: Final = b"injected by a rehearsal"
BROKEN_START: Final = {
    "type": "http.response.start",
    "status": 500,
    "headers": [(b"content-type", b"text/plain"), (b"content-length", str(len(BROKEN_BODY)).encode())],
}


@dataclass(frozen=True, slots=True)
class Sighting:
    """One answered request that met the flag. Times are monotonic seconds."""

    is_candidate: bool
    started: float
    ended: float
    status: int

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.started

    @property
    def is_error(self) -> bool:
        """Whether the server failed."""
        return self.status >= 500


class FaultMiddleware:
    """Pure ASGI; install it inside `CanaryMiddleware` and outside the application.

    Assign `fault` to switch a fault on, None to switch it off. `strikes` counts what was struck, `first_strike` is when
    (monotonic seconds); `last_candidate` is when the last request began that was given the candidate. Threads: `fault`
    may be assigned from any thread, what was seen may be read from any. Memory: about 150 bytes an answer.
    """

    def __init__(
        self, app: App, *, flag_key: str, current_unit: Callable[[], Unit | None], clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """Wrap `app`; no fault is on."""
        self.app = app
        self.fault: Fault | None = None
        self.strikes = 0
        self.first_strike: float | None = None
        self.last_candidate: float | None = None
        self._flag_key = flag_key
        self._current_unit = current_unit
        self._now = clock.monotonic
        self._met = 0
        self._sightings: list[Sighting] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        unit = self._current_unit() if scope["type"] == "http" else None
        if unit is None:
            return await self.app(scope, receive, send)
        return await self.app(scope, receive, _Answer(self, unit, send))

    def seen(self) -> list[Sighting]:
        """Return every answer that met the flag, so far."""
        return self._sightings.copy()

    def fault_for(self, unit: Unit) -> Fault | None:
        """Look at a request about to be answered: return the fault if it is on and this is one that it strikes."""
        if not unit.met_candidate(self._flag_key):
            return None
        self.last_candidate = max(unit.started, self.last_candidate or unit.started)
        fault = self.fault
        if fault is None:
            return None
        number, self._met = self._met, self._met + 1
        if not fault.strikes(number):
            return None
        self.strikes += 1
        if self.first_strike is None:
            self.first_strike = self._now()
        return fault

    def see(self, unit: Unit, status: int) -> None:
        """Note an answer that is complete."""
        if self._flag_key in unit.marks:
            is_candidate = unit.met_candidate(self._flag_key)
            self._sightings.append(Sighting(is_candidate, unit.started, self._now(), status))


class _Answer:
    """The `send` of one request."""

    __slots__ = ("_broken", "_send", "_status", "_unit", "_witness")

    def __init__(self, witness: FaultMiddleware, unit: Unit, send: Send) -> None:
        self._witness = witness
        self._unit = unit
        self._send = send
        self._status = 0
        self._broken = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._start(message)
            return
        is_last = message["type"] == "http.response.pathsend" or not message.get("more_body", False)
        if not self._broken:
            await self._send(message)
        elif is_last:
            await self._send({"type": "http.response.body", "body": BROKEN_BODY})
        if is_last:
            self._witness.see(self._unit, self._status)

    async def _start(self, message: Message) -> None:
        """Strike here, because by now the application has evaluated the flag, if it ever does."""
        fault = self._witness.fault_for(self._unit)
        if fault is not None and fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if fault is not None and fault.kind is FaultKind.ERRORS:
            self._broken = True
            message = BROKEN_START
        self._status = message["status"]
        await self._send(message)
