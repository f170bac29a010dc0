"""`Canary`: the object an application holds. It joins the flag table, the guard, the monitor and the ticker.

Constructing one opens nothing, so it is cheap at import time and safe before a fork. The first evaluation or request of
a process wakes it: the arena is mapped, the flags are loaded, the one background thread is started. A forked child
starts cold and wakes by itself.

Threads: every method may be called from any thread. `is_enabled`, `evaluate` and `value` never raise, take no lock and
do no I/O once the process is awake.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import deque
from contextlib import suppress
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeVar, cast

from mmh3 import hash as hash_of

from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.core import breaker as breakers
from canary_sdk.core.breaker import AutoRollback
from canary_sdk.core.config.references import segments_of
from canary_sdk.core.events import FlagsChanged, ProcessForked, StoreLost, StoreRegained
from canary_sdk.core.flags.compiled import compile_flag
from canary_sdk.core.flags.conditions import compile_segments
from canary_sdk.core.flags.evaluation import NO_ATTRIBUTES, Evaluation, EvaluationContext, Reason
from canary_sdk.core.flags.flag import held_back
from canary_sdk.core.rollout.state import led_by
from canary_sdk.errors import CanaryError, StoreError, UnknownFlag
from canary_sdk.ports import Counting, Draining, Notifying, Stored, Tracing
from canary_sdk.runtime import foreign
from canary_sdk.runtime.control import COMPACTED, Control
from canary_sdk.runtime.controller import Controller, identify, trip_of
from canary_sdk.runtime.failures import Failures
from canary_sdk.runtime.fleet import Fleet
from canary_sdk.runtime.guard import Guard
from canary_sdk.runtime.lifetimes import hear_of_forks, hear_of_the_end
from canary_sdk.runtime.monitor import Monitor
from canary_sdk.runtime.override import force
from canary_sdk.runtime.scope import Scope, Units
from canary_sdk.runtime.status import Status
from canary_sdk.runtime.table import Table, build_table, cold_table, subject_of, working
from canary_sdk.runtime.ticker import Ticker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from canary_sdk.clock import Clock
    from canary_sdk.core.breaker import Breaker, Decision
    from canary_sdk.core.events import Event
    from canary_sdk.core.flags.compiled import Attributes, CompiledFlag
    from canary_sdk.core.flags.flag import Flag
    from canary_sdk.core.flags.override import Wanted
    from canary_sdk.core.rollout.state import Rollout
    from canary_sdk.measure.arena import Arena
    from canary_sdk.ports import Ended, EventSink, Repository, Stamp
    from canary_sdk.runtime.hearing import Calibration
    from canary_sdk.runtime.scope import Subject, Unit
    from canary_sdk.runtime.table import Context, Trace

    Observe = Callable[[Sequence[Evaluation], Ended], None]

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V", bool, int, float, str, dict[str, Any], list[Any])

POLL_S: Final = 0.8
"""How often the store's version is looked at: with the wait for the next tick, a change is seen within a second."""
AWAY_S: Final = 1.0
"""How often a store that is away is tried."""
COMPACT_S: Final = 3_600.0
"""How often what was kept long enough is removed, at most."""
SETTLE_S: Final = 60.0
"""How long after a start it is not: there is enough to do then."""
CLOSE_S: Final = 2.0
"""How long `close` waits for the background thread, and then for each sink that has something to pass on."""
MOST_EVENTS: Final = 1_024
"""Events that wait to be told; the oldest are dropped first."""
NOTHING_STORED: Final = Stored(0, {}, AutoRollback(), {}, {})
"""What is served before a store was ever read."""


class Canary(Control):
    """Flags, measurement and automatic rollback of one application in one environment."""

    def __init__(
        self,
        repository: Repository,
        *,
        environment: str,
        open_arena: Callable[[], Arena],
        clock: Clock = SYSTEM_CLOCK,
        actor: str = "",
        background: bool = True,
    ) -> None:
        """Join the parts; use `connect` instead. `background` False starts no thread: call `tick` yourself."""
        super().__init__(repository, clock, actor)
        self.environment = environment
        self.failures = Failures()
        self.units = Units(clock, self._wake)
        self._open_arena = open_arena
        self._background = background
        self._sinks: tuple[EventSink, ...] = ()
        self._counters: tuple[Observe, ...] = ()
        self._tracers: tuple[Trace, ...] = ()
        self._overrides: ContextVar[Mapping[str, Evaluation]] | None = None
        self._is_awake = self._closed = False
        self._stored = NOTHING_STORED
        self._arena: Arena
        self._controller: Controller
        self._fleet: Fleet
        self._guard: Guard
        self._monitor: Monitor
        self._cool_down()
        _LIVE.add(self)

    # --- flags -------------------------------------------------------------------------------------------------------

    def is_enabled(self, flag_key: str, context: Context = None) -> bool:
        """Return whether the flag is on for this targeting key or `EvaluationContext`; False if it is not known."""
        try:
            # A percentage is answered in this very frame, because a call costs nearly as much as a hash.
            entry = self._table.entries[flag_key]
            current, seed = entry.current, entry.seed
            unit = current()
            if unit is None:
                if seed is not None and type(context) is str:
                    is_in = hash_of(context, seed, False) < entry.threshold
                    if not is_in or (context and not entry.guard[()]):
                        return is_in
                elif entry.always is not None and not entry.guard[()]:
                    return entry.always
            elif not unit.ended:
                marks = unit.marks
                if flag_key in marks:
                    return marks[flag_key][0].enabled
                if seed is not None and not entry.guard[()]:
                    key = context.targeting_key if type(context) is EvaluationContext else context
                    if type(key) is str and key:
                        answer = entry.on if hash_of(key, seed, False) < entry.threshold else entry.off
                        return marks.setdefault(flag_key, (answer, key))[0].enabled
            resolve = entry.resolve
            return resolve(context, unit).enabled
        except Exception as error:  # noqa: BLE001 - never raises into the application
            is_on = False
            with suppress(Exception):
                is_on = self._answer_failure(flag_key, error).enabled
            return is_on

    def evaluate(self, flag_key: str, context: Context = None, *, explain: bool = False) -> Evaluation:
        """Return value, variant and reason; and if asked to `explain`, what made the answer, at many times the cost."""
        try:
            if explain:
                return self._explained(flag_key, context)
            entry = self._table.entries[flag_key]
            resolve, current = entry.resolve, entry.current
            return resolve(context, current())
        except Exception as error:  # noqa: BLE001 - never raises into the application
            with suppress(Exception):
                return self._answer_failure(flag_key, error)
            return Evaluation(flag_key, None, "", Reason.ERROR)

    def evaluate_all(self, context: Context = None) -> Mapping[str, Evaluation]:
        """Return the answer of every flag, for a page that takes them along. Never raises.

        It is no exposure: the unit of work keeps the answers that it has, and is measured for none that are new.
        """
        answers = {}
        try:
            table = self._wake()
            key, attributes = subject_of(context, working(self.units.current()))
        except Exception as error:  # noqa: BLE001 - never raises into the application
            return {flag_key: self._answer_failure(flag_key, error) for flag_key in self._table.flags}
        for flag_key, peek in table.peeks.items():
            try:
                answers[flag_key] = peek(key, attributes)
            except Exception as error:  # noqa: BLE001 - never raises into the application
                answers[flag_key] = self._answer_failure(flag_key, error)
        return answers

    def value(self, flag_key: str, context: Context = None, *, default: V) -> V:
        """Return the flag's value, or `default` where there is none.

        That is: the flag is not known, its evaluation failed, or its value is of another type than `default`.
        """
        value: Any = None
        with suppress(Exception):
            value = self.evaluate(flag_key, context).value
        if isinstance(value, dict | list):  # what is served is shared, and callers may change what they get
            value = deepcopy(value)
        if type(value) is type(default):
            return value
        if value is not None:
            self.failures.note(
                (
                    f"value of {flag_key}",
                    f"the flag holds {value!r}, the default is {default!r}",
                    "Make the default's type that of the flag; the default was served",
                )
            )
        return default

    def feature(
        self,
        flag_key: str,
        *,
        fallback: Callable[..., object] | None = None,
        key: str | Callable[..., object] | None = None,
        expected: tuple[type[BaseException], ...] = (),
        on_error: Literal["raise", "fallback"] = "raise",
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function, coroutine function, generator function, method, property or callable object.

        It is called if the flag is on, else `fallback` with the same arguments, matched by position where they are
        given so (without one, the call returns None). `key` names whom the call is for: a parameter, a dotted path that
        begins with one (`user.id`), or a function of the same arguments; a str, an int or a UUID, which are hashed as
        their text. Without it, or where it is None, the unit of work's own key is used; where it cannot be found or is
        of another type, that is counted and the baseline is served. An exception is an error of the arm unless it is
        `expected`. With `on_error="fallback"` the fallback answers for the candidate's errors, which still count; for a
        generator, until its first item is out.

        A call counts once it has begun: a coroutine when it is awaited, a generator from its first step to its end.
        A plain function counts until it returns, be it a coroutine: decorate the coroutine function.

        Raises `CanaryError` at decoration for what cannot be decorated, a `key` that the function does not have, and a
        fallback that cannot take its arguments. Threads: calls may be made from any. Cost: see
        `benchmarks/bench_feature.py`.
        """
        from canary_sdk.runtime.feature.calls import Host
        from canary_sdk.runtime.feature.forms import Terms, decorate

        terms = Terms(flag_key, fallback, key, expected, on_error)
        host = Host(self.evaluate, self._answer_failure, self.units, self.failures)

        def decorator(candidate: Callable[P, R]) -> Callable[P, R]:
            return cast("Callable[P, R]", decorate(candidate, terms, host))

        return decorator

    def scope(self, name: str, *, key: Subject = None, expected: tuple[type[BaseException], ...] = ()) -> Scope:
        """Open a unit of work that is no HTTP request, for `with` or `async with`, or as a decorator of functions.

        `key` is its targeting key, or a function that returns it.
        """
        return Scope(self.units, self.failures, name, key, expected)

    def current_unit(self) -> Unit | None:
        """Return the unit of work that is open here, if there is one."""
        unit = self.units.current()
        return None if unit is None or unit.is_over else unit

    def observe(self, name: str, value: float) -> None:
        """Report a value of an indicator, on the arms that the open unit of work has met so far.

        `value` is a number, or a boolean; `cache_hit > 90%` and `basket_value.p50 > 20` are SLOs of indicators. A name
        of which no SLO speaks, or a value outside a unit of work, is forgotten at once. Threads: any. Never raises:
        what is no number is refused later, and counted in `status().failures`. Cost: one append to a ring.
        """
        try:
            units = self.units
            if name in units.indicators:
                unit = working(units.current())
                if unit is not None and unit.marks:
                    units.value_ring.append((unit, len(unit.marks), name, value))
        except Exception as error:  # noqa: BLE001 - never raises into the application
            self.failures.note(("observe", error, "The value was not counted"))

    # --- what another tool answers -----------------------------------------------------------------------------------

    def settled(self, flag_key: str, context: Context = None) -> Evaluation | None:
        """Return what is served without asking the tool that else answers this flag; None where that is to be asked.

        That is what the open unit of work was answered before, or else the baseline while the kill switch is held or
        the breaker is open; half open, for all but those who are probed. It is marked in the unit, as by `evaluate`.
        Never raises: where it fails, or the flag is not known, the tool is to be asked.
        """
        try:
            table = self._wake()
            flag = table.flags.get(flag_key)
            if flag is None:
                return None
            forced = self._overrides.get().get(flag_key) if self._overrides else None
            if forced is not None:
                return forced
            return foreign.settled(flag, table.guards[flag_key][()], context, working(self.units.current()))
        except Exception as error:  # noqa: BLE001 - never raises into the application
            self.failures.note((f"settling {flag_key}", error, "The other tool's answer was served"))
            return None

    def mark(
        self, flag_key: str, role: str, *, value: object, variant: str = "", context: Context = None
    ) -> Evaluation | None:
        """Measure the open unit of work on an arm of a flag that another tool has answered.

        `role` is "candidate" or "baseline" if a percentage decided, else "apart"; `value` and `variant` are what the
        tool answered, `context` is whom. Returns the answer that holds in this unit: the first that was marked. Never
        raises; None if it failed, no unit of work is open, or the flag is not declared here.
        """
        try:
            flag, unit = self._wake().flags[flag_key].flag, working(self.units.current())
            return None if unit is None else foreign.mark(flag.key, role, value, variant, context, unit)
        except Exception as error:  # noqa: BLE001 - never raises into the application
            self.failures.note(
                (f"marking {flag_key}", error, "Declare the flag with apply(), and name a role; it went on unmeasured")
            )
            return None

    def force(self, flags: Mapping[str, Wanted], *, until: float = inf, actor: str = "") -> None:
        """Serve these variants in the open unit of work, to whoever tries them out; `actor` is who allowed it.

        True and False are on and off, or the candidate and the baseline of a flag that is no boolean. A flag that was
        answered in this unit before stays as it was answered, one whose kill switch is held stays off. Past `until`, in
        wall seconds, nothing is forced. What is forced is measured apart, and told as `OverrideServed`. Never raises:
        what cannot be forced is counted, and answered as for anybody else.
        """
        try:
            table, unit = self._wake(), working(self.units.current())
            self._events.extend(force(flags, table, unit, at=self._clock.wall(), until=until, actor=actor))
        except Exception as error:  # noqa: BLE001 - never raises into the application
            self.failures.note(("forcing variants", error, "The unit of work was answered as any other"))

    def overrides(self) -> ContextVar[Mapping[str, Evaluation]]:
        """Return what is answered in this context before anything else, by flag key: for tests, empty by default.

        From the first call on every evaluation looks there; a process that never calls this pays nothing.
        """
        if self._overrides is None:
            self._overrides = ContextVar("canary_overrides", default=NO_ATTRIBUTES)
            self._rebuild()
        return self._overrides

    # --- control -----------------------------------------------------------------------------------------------------

    def kill(self, flag_key: str, *, reason: str, actor: str = "") -> None:
        """Switch a flag off until `release`. It is off in this process and on this host even if the store then fails.

        Raises `CanaryError` for an unknown flag, `StoreError` if the store does not take it; the background goes on
        trying.
        """
        self._operate(flag_key, lambda old: breakers.kill(old, reason, self._clock.wall()), actor, reason)

    def release(self, flag_key: str, *, reason: str = "released", actor: str = "") -> None:
        """Let go of the kill switch. A breaker that had tripped stays tripped. Raises as `kill`."""
        self._operate(flag_key, lambda old: breakers.release(old, self._clock.wall()), actor, reason)

    def reset(self, flag_key: str, *, reason: str = "reset", actor: str = "") -> None:
        """Clear a tripped breaker: the candidate is served again, unless the trip was in a rollout. Raises as `kill`.

        That is aborted first, if nobody has come to it yet: what a trip has aborted, no reset brings back.
        """
        self._wake()
        self.rollouts.abort_for(trip_of(self._guard.breaker(flag_key)), flag_key, actor=actor)
        self._operate(flag_key, lambda old: breakers.reset(old, self._clock.wall()), actor, reason)

    def subscribe(self, sink: EventSink) -> None:
        """Tell `sink` of every event from now on, on the background thread; what else it may offer is in `ports`."""
        self._tell_only((*self._sinks, sink))

    def unsubscribe(self, sink: EventSink) -> None:
        """Tell `sink` nothing any more; no matter if it was told anything before."""
        self._tell_only(tuple(each for each in self._sinks if each is not sink))

    # --- looking -----------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Return a frozen snapshot of everything this process knows."""
        self._wake()
        return Status(
            environment=self.environment,
            version=self._table.version,
            flags=self._monitor.status(self._guard),
            breakers_unsaved=len(self._guard.unsaved),
            open_units=self._monitor.open_units,
            dropped=self._monitor.dropped,
            failures=self.failures.counts,
            stale=self._stale,
            private=self._arena.private_reason,
            ticking=self._ticker is not None and self._ticker.is_alive,
            at=self._clock.wall(),
            rollouts=self._stored.rollouts,
            judge_lag_s=self._monitor.lag_s,
            leads=self._monitor.leads,
            channels=self._stored.channels,
            hosts=self._monitor.hosts(),
        )

    @property
    def version(self) -> int:
        """The store's version that is being served, 0 if none was read yet."""
        return self._table.version

    @property
    def stale(self) -> str:
        """Why the store cannot be read, or empty when what is served is current."""
        return self._stale

    def flag(self, flag_key: str) -> Flag | None:
        """Return a flag as it is served in this environment, None if it is not known. Cost: two look-ups."""
        compiled = self._wake().flags.get(flag_key)
        return compiled.flag if compiled else None

    def calibration(self, flag_key: str) -> Calibration | None:
        """Return how much noise the arms of a flag bring on their own; None if nothing was learnt on this host.

        It is measured while everybody gets the baseline, and allowed for by itself; to keep it, store it as the flag's
        `noise`.
        Raises `UnknownFlag`, and `CanaryError` where what the judge has written down cannot be read.
        """
        if flag_key not in self._wake().flags:
            raise UnknownFlag(flag_key, self._table.flags)
        try:
            return self._monitor.calibration(flag_key)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CanaryError(f"what the judge has written down of {flag_key} cannot be read: {error}") from None

    def breaker(self, flag_key: str) -> Breaker:
        """Return the breaker of a flag as this process knows it; one that was never judged is closed."""
        self._wake()
        return self._guard.breaker(flag_key)

    # --- the background ----------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Do one turn of the background work: fold, judge, refresh, move rollouts, save, tell.

        Never raises; one turn at a time.
        """
        if not self._turn.acquire(blocking=False):
            return
        try:
            self._wake()
            steps = (self._fold, self._judge, self._refresh, self._share, self._move, self._save, self._watch_store)
            for step in (*steps, self._tell, self._compact, self.failures.settle):
                self._contained(step)
        except Exception as error:  # noqa: BLE001 - the host may be the one who ticks
            self.failures.note(("a tick", error, "The next one tries again; please report this with its traceback"))
        finally:
            self._turn.release()

    def close(self) -> None:
        """Stop the background, fold and tell what is left, and let go of the store. Bounded; idempotent."""
        for step in (self._stop, self._drain, self._repository.close):
            try:
                step()
            except Exception as error:  # noqa: BLE001 - whoever is shutting down goes on doing so
                self.failures.note(("closing", error, "Please report this with its traceback"))

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        """Show environment, version and what is off."""
        held = [key for key, each in self._guard.breakers.items() if each.guard_bits] if self._is_awake else []
        return f"<Canary {self.environment} version {self._table.version}{', off: ' + ' '.join(held) if held else ''}>"

    # --- inside ------------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        if not self._is_awake or self._closed:
            return
        self._closed = True
        if self._ticker is not None:
            self._ticker.stop(CLOSE_S)
        self.tick()
        self._monitor.save()
        if not self._stale:
            self._contained(self._fleet.leave)
        self._arena.close()

    def _drain(self) -> None:
        for sink in self._sinks:
            if isinstance(sink, Draining):
                try:
                    sink.drain(CLOSE_S)
                except Exception as error:  # noqa: BLE001 - a sink is somebody else's code
                    self.failures.note((f"draining {type(sink).__name__}", error, "What it still held is lost"))
        self.failures.settle()

    def _queue(self, events: tuple[Event, ...]) -> None:
        self._events.extend(events)

    def _take_over(self) -> None:
        if self._is_awake:
            self._contained(self._load)

    def _cool_down(self) -> None:
        """Forget everything that belongs to one process.

        Runs at construction and in a forked child, so it takes no lock and does no I/O.
        """
        self._inherited = self._arena if self._is_awake else None
        self._waking = threading.RLock()
        self._loading = threading.Lock()
        self._turn = threading.Lock()
        self._events: deque[Event] = deque(maxlen=MOST_EVENTS)
        self._is_awake = self._closed = False
        self._ticker: Ticker | None = None
        self._stale = ""
        self._is_lost = False
        self._store_due = 0.0
        self._compact_due = 0.0
        self._table: Table = cold_table(self._wake)
        self.units.cool_down()

    def _wake(self) -> Table:
        """Start this process: map the arena, load the flags, start the thread. Once; the first caller does it."""
        if self._is_awake:
            return self._table
        with self._waking:
            if not self._is_awake:
                if self._inherited is not None:
                    self._inherited.close()  # the copies of a parent's files; what they lock stays the parent's
                    self._events.append(ProcessForked(at=self._clock.wall(), parent=self._inherited.owner))
                self._arena = self._open_arena()
                self._arena.heartbeat()  # from now on nobody who leaves takes the file along
                self._guard = Guard(self._arena.guard, self._arena.flag_slot)
                self._monitor = Monitor(self.units, self._arena, self._clock, self.failures)
                self._compact_due = self._clock.monotonic() + SETTLE_S
                name = identify(self._arena)
                self._controller = Controller(self._repository, self._clock, name, self._actor)
                self._fleet = Fleet(self._repository, self._clock, name, self.failures)
                self._install(NOTHING_STORED)
                self._contained(self._load)
                self._watch_store()
                self._is_awake = True
                self._contained(self._hear)
                self.units.warm_up()
                self._start_ticker()
        return self._table

    def _hear(self) -> None:
        if unheard := hear_of_forks():
            self.failures.note(unheard)
        hear_of_the_end(_close_all)

    def _renew_arena(self) -> None:
        """Go on in a new arena when the old one's file is gone; its windows start anew, what is off stays off.

        What another process has switched off may be known here by its byte alone, so the store is read first.
        """
        self._contained(self._load)
        with self._loading:
            self._arena.close()
            self._arena = self._open_arena()
            self._guard.move(self._arena.guard, self._arena.flag_slot)
            self._monitor = Monitor(self.units, self._arena, self._clock, self.failures)
            self._install(self._stored)

    def _start_ticker(self) -> None:
        if not self._background:
            return
        ticker = Ticker(self.tick, self.failures)
        try:
            ticker.start()
            self._ticker = ticker
        except RuntimeError as error:
            self.failures.note(
                ("starting the background thread", error, "Nothing is judged in this process unless tick() is called")
            )

    def _load(self) -> None:
        """Take over what the store holds, in one swap."""
        with self._loading:
            stored = self._repository.load()
            for name, why in stored.damaged.items():
                self.failures.note(
                    (f"reading {name}", why, "Correct it with apply(); until then the last good one serves")
                )
            self._install(stored)
            self._stale = ""

    def _install(self, stored: Stored) -> None:
        """Serve and watch these flags from the next evaluation on."""
        before = self._served()
        self._guard.adopt(stored.breakers, stored.version)
        self._table = self._compile(stored)
        self._stored = stored
        self._monitor.watch(self._table.flags, stored.policy, stored.flags, stored.rollouts)
        self._configure()
        after = self._served()
        changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        if changed and self._is_awake:
            self._events.append(FlagsChanged(at=self._clock.wall(), version=stored.version, flag_keys=tuple(changed)))

    def _served(self) -> dict[str, object]:
        """Return all that the answers of each flag depend on: the flag, and the segments that it refers to."""
        segments = self._stored.segments
        return {key: (each.flag, segments_of(each.flag, segments)) for key, each in self._table.flags.items()}

    def _compile(self, stored: Stored) -> Table:
        """Build the table of what is stored; a flag that is the same object as before is as it was compiled."""
        old, kept = self._table.flags, self._kept(stored)
        probe = stored.policy.probe_percent or 0.0
        segments = compile_segments(stored.segments)
        led = {key: led_by(flag, stored.rollouts.get(key)) for key, flag in stored.flags.items()}
        served = {key: held_back(flag, stored.policy.holdback) for key, flag in led.items()}
        flags = {
            key: kept[key] if key in kept and kept[key].flag is flag else compile_flag(flag, probe, segments, self._ask)
            for key, flag in served.items()
        }
        flags |= {key: flag for key, flag in old.items() if f"flag {key}" in stored.damaged}
        trace = self._trace if self._tracers else None
        overrides = self._overrides.get if self._overrides else None
        return build_table(flags, stored.version, self._guard.byte_of, self.units.current, trace, overrides)

    def _kept(self, stored: Stored) -> Mapping[str, CompiledFlag]:
        """Return the compiled flags that hold as long as the flag is the same: none if what flags share is another."""
        last, shared = self._stored, stored.segments
        is_same = last.policy.probe_percent == stored.policy.probe_percent and last.segments.keys() == shared.keys()
        return self._table.flags if is_same and all(last.segments[key] is shared[key] for key in shared) else {}

    def _ask(self, flag_key: str, key: str | None, attributes: Attributes) -> Evaluation | None:
        """Answer for a prerequisite, from the table that is current when it is asked."""
        return self._table.peek(flag_key, key, attributes)

    def _explained(self, flag_key: str, context: Context) -> Evaluation:
        """Return the answer that is served and marked, and what made it."""
        from canary_sdk.core.flags.explain import explain, pinned

        resolve = self._table.entries[flag_key].resolve
        flag, unit = self._table.flags[flag_key], working(self.units.current())
        was_met = unit is not None and flag_key in unit.marks
        answer = resolve(context, unit)
        if was_met or answer.reason is Reason.OVERRIDE:
            return pinned(answer, flag, self.environment)
        bits = self._table.guards[flag_key][()]
        told = explain(flag, *subject_of(context, unit), bits, self.environment)
        return replace(answer, explanation=told.explanation)

    def _answer_failure(self, flag_key: str, error: Exception) -> Evaluation:
        """Serve the baseline where an evaluation failed, and say so once."""
        flag = self._table.flags.get(flag_key)
        if flag is None:
            self.failures.note(
                (f"evaluating {flag_key}", "there is no such flag", "Declare it with apply(); the default was served")
            )
            return Evaluation(flag_key, None, "", Reason.ERROR)
        self.failures.note(
            (
                f"evaluating {flag_key}",
                error,
                "The targeting key must be a str or an EvaluationContext; the default was served",
            )
        )
        baseline = flag.tripped
        return Evaluation(flag_key, baseline.value, baseline.variant, Reason.ERROR, enabled=baseline.enabled)

    def _operate(self, flag_key: str, decision: Callable[[Breaker], Decision], actor: str, reason: str) -> None:
        if flag_key not in self._wake().flags:
            raise UnknownFlag(flag_key, self._table.flags)
        self._events.extend(self._guard.decide(flag_key, decision))
        self._save_breakers(self._stamp(actor, reason))

    def _save_breakers(self, stamp: Stamp) -> None:
        unsaved = self._guard.unsaved
        if unsaved:
            self._guard.saved(unsaved, self._repository.save_breakers(unsaved, stamp, self._guard.stored))

    def _contained(self, step: Callable[[], None]) -> None:
        try:
            step()
        except StoreError as error:
            self._stale = str(error)
            self._store_due = self._clock.monotonic() + AWAY_S
            self.failures.note(("reaching the store", error, "What was served before is still being served"))
        except Exception as error:  # noqa: BLE001 - one failing step must not stop the others
            self.failures.note((step.__name__.strip("_"), error, "The next tick tries again; please report this"))

    def _fold(self) -> None:
        if not self._arena.heartbeat():
            self._renew_arena()
        self._monitor.fold()

    def _judge(self) -> None:
        self._events.extend(self._monitor.judge(self._guard))

    def _refresh(self) -> None:
        now = self._clock.monotonic()
        if now < self._store_due and not self._repository.has_news():
            return
        self._store_due = now + POLL_S
        if self._repository.version() != self._table.version:
            self._load()
        self._guard.reconcile(self._table.flags, now)
        self._stale = ""

    def _share(self) -> None:
        """Add up with other hosts what is counted of rollouts; without them where the store is away."""
        if not self._is_cut_off:
            self._events.extend(self._fleet.turn(self._stored.rollouts, self._monitor, self._guard))

    @property
    def _is_cut_off(self) -> bool:
        """Whether this process serves no more, or the store is away: it is not asked more often than by others."""
        return self._closed or (bool(self._stale) and self._store_due > self._clock.monotonic())

    def _move(self) -> None:
        """Move the rollouts that are due; while the store is away none is."""
        if self._is_cut_off:
            return
        for moved in self._controller.tick(self._stored, self._monitor, self._guard, self._arena.lease.take):
            if moved.state is None:
                self._load()
            else:
                self._lead(moved.state)
                self._events.extend(moved.events)

    def _lead(self, state: Rollout) -> None:
        """Serve a flag as its rollout says from now on; nothing is built anew where only time has passed."""
        with self._loading:
            before, flag = self._stored.rollouts.get(state.flag_key), self._stored.flags.get(state.flag_key)
            stored = replace(self._stored, rollouts={**self._stored.rollouts, state.flag_key: state})
            if flag is None or led_by(flag, before) == led_by(flag, state):
                self._stored = stored
            else:
                self._install(stored)

    def _save(self) -> None:
        if (not self._stale or self._store_due <= self._clock.monotonic()) and self._guard.unsaved:
            self._save_breakers(self._stamp("", "judged"))
            self._load()  # what was stored meanwhile may have come first

    def _compact(self) -> None:
        """Once an hour, let one process of the host remove what was kept long enough: a little at each tick."""
        now = self._clock.monotonic()
        if self._closed or self._stale or now < self._compact_due or not self._arena.lease.take():
            return
        self._compact_due = now + COMPACT_S
        if any(self._repository.compact(self._clock.wall(), COMPACTED)):
            self._compact_due = now

    def _watch_store(self) -> None:
        """Tell if the store was lost or regained; what changed and changed back in one turn is not worth telling."""
        if bool(self._stale) is self._is_lost:
            return
        self._is_lost = bool(self._stale)
        at = self._clock.wall()
        self._events.append(
            StoreLost(at=at, reason=self._stale) if self._is_lost else StoreRegained(at=at, version=self.version)
        )

    def _tell_only(self, sinks: tuple[EventSink, ...]) -> None:
        """Take these sinks; the table is built again if that changes whether evaluations are told of."""
        self._sinks = sinks
        self._configure()
        self._counters = tuple(sink.finished for sink in sinks if isinstance(sink, Counting))
        self.units.observe = self._observe if self._counters else None
        tracers = tuple(sink.answered for sink in sinks if isinstance(sink, Tracing))
        changed, self._tracers = bool(tracers) is not bool(self._tracers), tracers
        if changed:
            self._rebuild()

    def _rebuild(self) -> None:
        """Build the table of the same flags again."""
        if self._is_awake:
            with self._loading:
                self._table = self._compile(self._stored)

    def _configure(self) -> None:
        for sink in self._sinks:
            if isinstance(sink, Notifying):
                try:
                    sink.configure(self._stored.channels)
                except Exception as error:  # noqa: BLE001 - a sink is somebody else's code
                    self.failures.note((f"configuring {type(sink).__name__}", error, "It tells whom it told before"))

    def _observe(self, evaluations: Sequence[Evaluation], ended: Ended) -> None:
        for count in self._counters:
            try:
                count(evaluations, ended)
            except Exception as error:  # noqa: BLE001 - a sink is somebody else's code
                self.failures.note(("counting a unit of work along", error, "It was counted and judged all the same"))

    def _trace(self, evaluation: Evaluation) -> None:
        for tell in self._tracers:
            try:
                tell(evaluation)
            except Exception as error:  # noqa: BLE001 - never raises into the application
                self.failures.note(("tracing an evaluation", error, "It was answered all the same"))

    def _tell(self) -> None:
        while self._events:
            event = self._events.popleft()
            for sink in self._sinks:
                try:
                    sink.handle(event)
                except Exception as error:  # noqa: BLE001 - a sink is somebody else's code
                    self.failures.note((f"telling {type(sink).__name__}", error, "Other sinks were told"))


_LIVE: weakref.WeakSet[Canary] = weakref.WeakSet()
"""Everybody who must start cold in a forked child and be closed at exit."""


def _cool_children() -> None:
    for canary in _LIVE:
        canary._cool_down()  # noqa: SLF001 - this module's own class


def _close_all(**_: object) -> None:
    for canary in list(_LIVE):
        canary.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_cool_children)
atexit.register(_close_all)
