"""One decorated call: the flag is asked when the body starts, the call is timed, and counted on the arm that it met.

There is one shape for each kind of function, chosen when it is decorated, so that nothing is found out at the call. A
shape calls the candidate from its own frame: of us there is one line in a traceback. A call is a unit of work of its
own where none is open.

What is counted: a call that is never started, such as a coroutine that nobody awaits, counts nowhere. A cancelled one
is aborted. A generator counts from its first step to its end, its consumer's time included; closed early, or left to
the garbage collector, it has finished. Its own unit of work is current while the body runs, and never while it waits
between two steps.

Nothing that fails in here reaches the caller: it is counted, and the call goes on unmeasured.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.runtime.scope import FAILED, UNDECIDED, outcome_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable
    from contextvars import Token

    from canary_sdk.core.flags.evaluation import Evaluation
    from canary_sdk.runtime.failures import Failures
    from canary_sdk.runtime.feature.targeting import KeyOf
    from canary_sdk.runtime.scope import Unit, Units
    from canary_sdk.runtime.table import Context

    Begun = tuple["Unit | None", Evaluation, "Own | None", float]
    Function = Callable[..., Any]
    Args = tuple[Any, ...]
    Kwargs = dict[str, Any]

NOTHING: Final[tuple[Any, ...]] = ()
UNMEASURED: Final = "The call went on unmeasured; please report this with its traceback"


class Own:
    """The unit of work that a call opened for itself, and where it is current."""

    __slots__ = ("_inner", "_token", "_units", "unit")

    def __init__(self, units: Units, unit: Unit) -> None:
        """Make `unit` the current one."""
        self._units = units
        self._inner: Unit | None = unit
        self._token: Token[Unit | None] = units.enter(unit)
        self.unit = unit

    def pause(self) -> None:
        """Give the context back to the caller; a scope that the body opened meanwhile is kept for later."""
        self._inner = self._units.current()
        self.leave()

    def resume(self) -> None:
        """Make current again what was so before the pause."""
        self._token = self._units.variable.set(self._inner)

    def leave(self) -> None:
        """Give the context back for good."""
        self._units.leave(self._token)


@dataclass(frozen=True, slots=True)
class Host:
    """What a call asks of the client. `answer_failure(flag_key, error)` counts the error and answers the baseline."""

    evaluate: Callable[[str, Context], Evaluation]
    answer_failure: Callable[[str, Exception], Evaluation]
    units: Units
    failures: Failures


@dataclass(frozen=True, slots=True)
class Feature:
    """What all calls of one decorated function share.

    `rescued` is the candidate where the fallback answers for its failures, else None.
    """

    flag_key: str
    candidate: Function
    fallback: Function
    rescued: Function | None
    key_of: KeyOf
    expected: tuple[type[BaseException], ...]
    host: Host

    def begin(self, args: Args, kwargs: Kwargs) -> Begun:
        """Ask the flag, inside the open unit of work or one of its own, and start the clock. Never raises.

        Returns the unit, the answer, the unit again if it is the call's own, and when it started; 0.0 if it cannot be
        measured.
        """
        units = self.host.units
        try:
            current, now, open_unit = units.current, units.now, units.open
            unit = current()
            if unit is not None and not (unit.ended and unit.is_over):
                return unit, self.answer(args, kwargs), None, now()
            unit = open_unit()
            own = Own(units, unit)
            return unit, self.answer(args, kwargs), own, unit.started
        except Exception as error:  # noqa: BLE001 - ours never reaches the host
            return self.begin_unmeasured(error, args, kwargs)

    def begin_unmeasured(self, error: Exception, args: Args, kwargs: Kwargs) -> Begun:
        """Count what went wrong and ask the flag all the same. Never raises."""
        self.note(error)
        return None, self.answer(args, kwargs), None, 0.0

    def answer(self, args: Args, kwargs: Kwargs) -> Evaluation:
        """Evaluate the flag for whom the arguments name; answer the baseline if that fails. Never raises."""
        try:
            evaluate, key_of = self.host.evaluate, self.key_of
            return evaluate(self.flag_key, key_of(args, kwargs))
        except Exception as error:  # noqa: BLE001 - ours never reaches the host
            return self.host.answer_failure(self.flag_key, error)

    def fail(self, unit: Unit | None, evaluation: Evaluation, started: float, error: BaseException) -> int:
        """Count a call that ended in an exception, and return its outcome."""
        outcome = outcome_of(error, self.expected)
        self.count(unit, evaluation, started, outcome)
        return outcome

    def count(self, unit: Unit | None, evaluation: Evaluation, started: float, outcome: int) -> None:
        """Hand the call to the background, unless it is not measured. Never raises."""
        try:
            if started:
                self.host.units.record_call((unit, evaluation, self.host.units.now() - started, outcome))
        except Exception as error:  # noqa: BLE001 - ours never reaches the host
            self.note(error)

    def close(self, own: Own, outcome: int) -> float:
        """Give the context back, close the unit that is the call's own, and return when; 0.0 if that fails."""
        try:
            own.leave()
            now, unit = self.host.units.now, own.unit
            ended = now()
            unit.outcome = outcome
            unit.ended = ended  # last, as `Unit.finish` says
            return ended
        except Exception as error:  # noqa: BLE001 - ours never reaches the host
            self.note(error)
            return 0.0

    def note(self, error: Exception) -> None:
        """Count a failure of ours."""
        self.host.failures.note((f"measuring a call of {self.flag_key}", error, UNMEASURED))


def measured_function(feature: Feature) -> Function:
    """Return the shape of a plain function. What it returns, be it a coroutine or a generator, is not looked at."""
    units, flag_key, candidate, fallback = feature.host.units, feature.flag_key, feature.candidate, feature.fallback
    current, now, begin = units.current, units.now, feature.begin

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            unit = current()
            if unit is None or flag_key not in unit.marks or (unit.ended and unit.is_over):
                unit, evaluation, own, started = begin(args, kwargs)
            else:  # the unit of work was given an answer before, and keeps it
                evaluation, own, started = unit.marks[flag_key][0], None, now()
        except Exception as error:  # noqa: BLE001 - ours never reaches the host
            unit, evaluation, own, started = feature.begin_unmeasured(error, args, kwargs)
        function = candidate if evaluation.enabled else fallback
        try:
            result = function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - raised again, unless the fallback answers for it
            outcome = UNDECIDED
            with suppress(Exception):
                outcome = feature.fail(unit, evaluation, started, error)
            try:
                if outcome == FAILED and function is feature.rescued:
                    return fallback(*args, **kwargs)
                raise
            finally:
                if own is not None:
                    with suppress(Exception):
                        feature.close(own, outcome)
        try:
            ended = now() if own is None else feature.close(own, UNDECIDED)
            if started and ended:
                record_call = units.record_call
                record_call((unit, evaluation, ended - started, UNDECIDED))
        except Exception as error:  # noqa: BLE001 - ours never reaches the host
            feature.note(error)
        return result

    return call


def measured_coroutine(feature: Feature) -> Function:
    """Return the shape of a coroutine function: as that of a plain one, awaited. The fallback may be either."""
    units, flag_key, candidate, fallback = feature.host.units, feature.flag_key, feature.candidate, feature.fallback
    current, now, begin = units.current, units.now, feature.begin

    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            unit = current()
            if unit is None or flag_key not in unit.marks or (unit.ended and unit.is_over):
                unit, evaluation, own, started = begin(args, kwargs)
            else:  # the unit of work was given an answer before, and keeps it
                evaluation, own, started = unit.marks[flag_key][0], None, now()
        except Exception as error:  # noqa: BLE001 - ours never reaches the host
            unit, evaluation, own, started = feature.begin_unmeasured(error, args, kwargs)
        function = candidate if evaluation.enabled else fallback
        try:
            result = function(*args, **kwargs)
            if function is candidate or hasattr(result, "__await__"):
                result = await result
        except BaseException as error:  # noqa: BLE001 - raised again, unless the fallback answers for it
            outcome = UNDECIDED
            with suppress(Exception):
                outcome = feature.fail(unit, evaluation, started, error)
            try:
                if outcome == FAILED and function is feature.rescued:
                    result = fallback(*args, **kwargs)
                    return await result if hasattr(result, "__await__") else result
                raise
            finally:
                if own is not None:
                    with suppress(Exception):
                        feature.close(own, outcome)
        try:
            ended = now() if own is None else feature.close(own, UNDECIDED)
            if started and ended:
                record_call = units.record_call
                record_call((unit, evaluation, ended - started, UNDECIDED))
        except Exception as error:  # noqa: BLE001 - ours never reaches the host
            feature.note(error)
        return result

    return call


@dataclass(slots=True)
class Run:
    """A generator's call in progress. Every method may fail; whoever calls it goes on."""

    feature: Feature
    function: Function
    """What serves: the fallback until the flag has answered."""
    unit: Unit | None = None
    evaluation: Evaluation | None = None
    own: Own | None = None
    started: float = 0.0
    outcome: int = UNDECIDED
    is_rescued: bool = False
    """Whether the fallback would answer for a failure of the next step."""

    def begin(self, args: Args, kwargs: Kwargs) -> None:
        """Ask the flag and start the clock."""
        feature = self.feature
        self.unit, self.evaluation, self.own, self.started = feature.begin(args, kwargs)
        self.function = feature.candidate if self.evaluation.enabled else feature.fallback
        self.is_rescued = self.function is feature.rescued

    def pause(self) -> None:
        """Give the context back to the consumer of an item."""
        if self.own is not None:
            self.own.pause()

    def resume(self) -> None:
        """Take the context again."""
        if self.own is not None:
            self.own.resume()

    def fail(self, error: BaseException) -> None:
        """Count the call as ended by `error`; who is left early has finished."""
        if not isinstance(error, GeneratorExit) and self.evaluation is not None:
            self.outcome = self.feature.fail(self.unit, self.evaluation, self.started, error)
            self.started = 0.0

    def end(self) -> None:
        """Count the call unless it is counted, and close what it opened."""
        if self.evaluation is not None:
            self.feature.count(self.unit, self.evaluation, self.started, self.outcome)
        if self.own is not None:
            self.feature.close(self.own, self.outcome)


def measured_generator(feature: Feature) -> Function:  # noqa: C901 - one protocol, told in one piece
    """Return the shape of a generator function: `yield from`, with the call's unit of work current only in its steps.

    The fallback may return any iterable. It answers for a failure until the first item is out.
    """

    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        run = Run(feature, feature.fallback)
        with suppress(Exception):
            run.begin(args, kwargs)
        try:
            steps = iter(run.function(*args, **kwargs))
            step, sent = steps.__next__, NOTHING
            while True:
                try:
                    item = step(*sent)
                except StopIteration as stop:
                    return stop.value
                except Exception as error:
                    if not run.is_rescued:
                        raise
                    with suppress(Exception):
                        run.fail(error)
                    if run.outcome != FAILED:
                        raise
                    run.is_rescued = False
                    steps = iter(feature.fallback(*args, **kwargs))
                    step, sent = steps.__next__, NOTHING
                    continue
                run.is_rescued = False
                with suppress(Exception):
                    run.pause()
                try:
                    value = yield item
                    step, sent = (steps.__next__, NOTHING) if value is None else (steps.send, (value,))
                except GeneratorExit:
                    with suppress(Exception):
                        run.resume()
                    if hasattr(steps, "close"):
                        steps.close()
                    raise
                except BaseException as thrown:  # noqa: BLE001 - it is the body's to handle
                    step, sent = getattr(steps, "throw", _raise), (thrown,)
                with suppress(Exception):
                    run.resume()
        except BaseException as error:
            with suppress(Exception):
                run.fail(error)
            raise
        finally:
            with suppress(Exception):
                run.end()

    return call


def measured_async_generator(feature: Feature) -> Function:  # noqa: C901 - one protocol, told in one piece
    """Return the shape of an async generator function: as that of a generator, with awaits.

    The fallback may return any iterable, async or not, or a coroutine that does.
    """

    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        run = Run(feature, feature.fallback)
        with suppress(Exception):
            run.begin(args, kwargs)
        try:
            items = run.function(*args, **kwargs)
            steps = items if hasattr(items, "__anext__") else await _async_steps(items)
            step, sent = steps.__anext__, NOTHING
            while True:
                try:
                    item = await step(*sent)
                except StopAsyncIteration:
                    return
                except Exception as error:
                    if not run.is_rescued:
                        raise
                    with suppress(Exception):
                        run.fail(error)
                    if run.outcome != FAILED:
                        raise
                    run.is_rescued = False
                    steps = await _async_steps(feature.fallback(*args, **kwargs))
                    step, sent = steps.__anext__, NOTHING
                    continue
                run.is_rescued = False
                with suppress(Exception):
                    run.pause()
                try:
                    value = yield item
                    step, sent = (steps.__anext__, NOTHING) if value is None else (steps.asend, (value,))
                except GeneratorExit:
                    with suppress(Exception):
                        run.resume()
                    if hasattr(steps, "aclose"):
                        await steps.aclose()
                    raise
                except BaseException as thrown:  # noqa: BLE001 - it is the body's to handle
                    step, sent = getattr(steps, "athrow", _raise), (thrown,)
                with suppress(Exception):
                    run.resume()
        except BaseException as error:
            with suppress(Exception):
                run.fail(error)
            raise
        finally:
            with suppress(Exception):
                run.end()

    return call


def _raise(error: BaseException) -> Any:
    """Raise what was thrown into something that does not handle it."""
    raise error


async def _async_steps(items: Any) -> Any:
    """Return an async iterator over what was given: an async generator itself, or what a fallback returned."""
    if hasattr(items, "__await__"):
        items = await items
    return aiter(items) if hasattr(items, "__aiter__") else _each(items)


async def _each(items: Iterable[Any]) -> AsyncGenerator[Any, Any]:
    for item in items:
        yield item
