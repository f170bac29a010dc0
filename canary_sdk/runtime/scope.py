"""The unit of work: what latency and outcome belong to, and which flags it met.

A unit is the HTTP request if one is open, else a `scope`, else the decorated call itself. Its marks tell by flag key
which evaluation it met first, and for which targeting key: that one is pinned, so one unit never sees two variants.
It goes into the ring when it *opens*, so that one that hangs can be seen hanging; it is only read, never written, by
others.

Threads: `Units.open` and the context variable may be used from any thread or task; a unit is written by the work it
describes. Tasks and threads that inherit the context share the unit.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Protocol, TypeVar, cast

from canary_sdk.errors import CanaryError
from canary_sdk.measure.ring import Ring

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextvars import Token

    from canary_sdk.clock import Clock
    from canary_sdk.core.flags.evaluation import Evaluation
    from canary_sdk.ports import Ended
    from canary_sdk.runtime.failures import Failures

    Call = tuple["Unit | None", Evaluation, float, int]
    """A decorated call that has ended: in which unit, what it was answered, how many seconds it took, how it ended."""
    Value = tuple["Unit", int, str, object]
    """A value that was reported: in which unit, after how many of its marks, of which indicator."""
    Subject = str | Callable[[], str | None] | None

P = ParamSpec("P")
R = TypeVar("R")

UNDECIDED: Final = 0
FAILED: Final = 1
ABORTED: Final = 2
GOOD: Final = 3

RING_CAPACITY: Final = 65_536
"""Units kept between two ticks: ten times a second, so about 600,000 requests a second before one is dropped."""


class Unit:
    """One unit of work in progress or finished. Times are monotonic seconds; 0.0 means "not yet".

    `marks` is an exact dict, of (evaluation, targeting key) by flag key: Python looks up in no other mapping as fast.

    `outcome` is UNDECIDED, which leaves it to `status`, until the work itself says GOOD, FAILED or ABORTED; `status` is
    the HTTP status, 0 if there is none. `route` is the template that a request's path matched, never the path.
    `in_request` holds until the application is through with a request, background work included, which is later than
    the end.
    """

    __slots__ = (
        "ended",
        "in_request",
        "marks",
        "outcome",
        "responded",
        "route",
        "started",
        "status",
        "streamed",
        "subject",
    )

    marks: dict[str, tuple[Evaluation, str | None]]
    started: float
    responded: float
    ended: float
    status: int
    outcome: int
    streamed: bool
    in_request: bool
    route: str | None
    subject: Subject

    def met_candidate(self, flag_key: str) -> bool:
        """Whether the split gave this unit the flag's candidate."""
        mark = self.marks.get(flag_key)
        return mark is not None and mark[0].is_candidate

    @property
    def is_over(self) -> bool:
        """Whether its work is done: the answers it was given hold no longer, for whoever inherited it."""
        return bool(self.ended) and not self.in_request

    def finish(self, ended: float, outcome: int = UNDECIDED) -> None:
        """Stop the clock. The end is written last: whoever sees it sees a whole unit."""
        self.outcome = outcome
        self.ended = ended


class Request(Unit):
    """The unit of work that is an HTTP request."""

    __slots__ = ()


class Open(Protocol):
    """Opens a unit of work for whom `subject` names."""

    def __call__(self, subject: Subject = None) -> Unit:
        """Open it."""


class Units:
    """Opens units of work and hands them, with the decorated calls and reported values, to the background.

    `open(subject)` starts a unit and records it; `open_request(subject)` does so for an HTTP request, which scopes
    inside it join; `record_call(call)` records one decorated call. They are bound to this process's rings by `warm_up`,
    and wake the process up first while it is cold. `enter(unit)` makes a unit the current one. `indicators` are those
    of which a served flag promises something.
    """

    open: Open
    open_request: Open
    record_call: Callable[[Call], None]
    observe: Callable[[Sequence[Evaluation], Ended], None] | None = None
    """What counts along every unit that ends, if anybody does, and never raises; called by the background."""

    def __init__(self, clock: Clock, wake: Callable[[], object]) -> None:
        """Start cold: the first unit of a process calls `wake`."""
        self.now = clock.monotonic
        self._wake = wake
        self.variable: ContextVar[Unit | None] = ContextVar("canary_unit", default=None)
        self.current = self.variable.get
        self.enter = self.variable.set
        self.cool_down()

    def cool_down(self) -> None:
        """Forget this process's rings: at the start, and in a forked child, where the parent's units are not ours."""
        self.ring: Ring[Unit] = Ring(RING_CAPACITY)
        self.call_ring: Ring[Call] = Ring(RING_CAPACITY)
        self.value_ring: Ring[Value] = Ring(RING_CAPACITY)
        self.indicators: frozenset[str] = frozenset()

        def open_cold(subject: Subject = None) -> Unit:
            self._wake()
            return self._opener()(subject)

        def open_request_cold(subject: Subject = None) -> Unit:
            self._wake()
            return self._opener(in_request=True)(subject)

        def record_cold(call: Call) -> None:
            self._wake()
            self.call_ring.append(call)

        self.open = open_cold
        self.open_request = open_request_cold
        self.record_call = record_cold

    def warm_up(self) -> None:
        """Take the short way from now on. Called once the process is awake."""
        self.open = self._opener()
        self.open_request = self._opener(in_request=True)
        self.record_call = self.call_ring.append

    def leave(self, token: Token[Unit | None]) -> None:
        """Go back to what was current before; a context that only inherited the unit is not ours to change."""
        try:  # noqa: SIM105 - `suppress` would cost as much as all of the rest
            self.variable.reset(token)
        except ValueError:
            pass

    def _opener(self, *, in_request: bool = False) -> Open:
        """Make the function that opens units; all it needs is bound, because every request passes through it."""
        ring, now = self.ring, self.now
        records, capacity, give_way = ring.records, ring.capacity, ring.give_way
        append = records.append
        make = Request if in_request else Unit

        def open_unit(subject: Subject = None) -> Unit:
            unit = make()
            unit.marks = {}
            unit.responded = unit.ended = 0.0
            unit.status = unit.outcome = 0
            unit.streamed = False
            unit.in_request = in_request
            unit.route = None
            unit.subject = subject
            unit.started = now()
            append(unit)  # what `Ring.append` does
            if len(records) > capacity:
                give_way()
            return unit

        return open_unit


class Scope:
    """A unit of work that is no HTTP request: a job, a message, a script's step.

    For `with`, `async with`, and as a decorator of functions and coroutine functions, each call of which then is a unit
    of its own. Inside an open HTTP request it joins that request; inside another scope it is a unit of its own. One
    object may be entered again, also while it is open, by the same thread or task; others make their own.
    """

    __slots__ = ("_entered", "_expected", "_failures", "_subject", "_units", "name")

    def __init__(
        self,
        units: Units,
        failures: Failures,
        name: str,
        subject: Subject,
        expected: tuple[type[BaseException], ...] = (),
    ) -> None:
        """Remember what to open; nothing is opened yet. `expected` exceptions are no errors."""
        self.name = name
        self._units = units
        self._failures = failures
        self._subject = subject
        self._expected = expected
        self._entered: list[tuple[Unit | None, Token[Unit | None] | None]] = []

    def __enter__(self) -> Unit | None:
        """Open the unit of work and make it current; None where that fails."""
        unit, token = self._units.current(), None
        if unit is None or not unit.in_request or unit.ended:
            try:
                unit = self._units.open(self._subject)
                token = self._units.enter(unit)
            except Exception as error:  # noqa: BLE001 - ours never reaches the host
                unit = None
                self._note(error)
        self._entered.append((unit, token))
        return unit

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Close it: an unexpected exception is an error, a cancellation is an abort."""
        unit, token = self._entered.pop()
        if unit is None or token is None:
            return
        try:
            self._units.leave(token)
            unit.finish(self._units.now(), outcome_of(error, self._expected))
        except Exception as failure:  # noqa: BLE001 - ours never reaches the host
            self._note(failure)

    async def __aenter__(self) -> Unit | None:
        """Open the unit of work and make it current."""
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Close it."""
        self.__exit__(kind, error, trace)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function or coroutine function. Raises `CanaryError` for a generator: open the scope inside it."""
        import functools
        import inspect

        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise CanaryError(
                f"scope({self.name!r}) decorates functions and coroutine functions; open the scope inside {function!r}"
            )

        async def call_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            with self._anew():
                return await cast("Awaitable[Any]", function(*args, **kwargs))

        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with self._anew():
                return function(*args, **kwargs)

        is_async = inspect.iscoroutinefunction(function)
        return cast("Callable[P, R]", functools.wraps(function)(call_async if is_async else call))

    def _anew(self) -> Scope:
        return Scope(self._units, self._failures, self.name, self._subject, self._expected)

    def _note(self, error: Exception) -> None:
        self._failures.note(
            (f"scope {self.name}", error, "It went on unmeasured; please report this with its traceback")
        )


def left_early(error: BaseException) -> bool:
    """Whether it is no failure but somebody leaving: a cancellation, an exit, an interrupt."""
    return not isinstance(error, Exception)


def outcome_of(
    error: BaseException | None,
    expected: tuple[type[BaseException], ...] = (),
    is_abort: Callable[[BaseException], bool] = left_early,
) -> int:
    """Classify how work ended. A group is what it holds: the worst of it decides, and its own type says nothing."""
    if error is None or isinstance(error, expected):
        return UNDECIDED
    if isinstance(error, BaseExceptionGroup):
        outcomes = {outcome_of(each, expected, is_abort) for each in error.exceptions}
        return next((each for each in (FAILED, ABORTED) if each in outcomes), UNDECIDED)
    return ABORTED if is_abort(error) else FAILED
