"""The flag table: one closure a flag, that pins, looks at the guard and answers.

The table is immutable once built; a new one replaces it in one assignment, so a reader sees the old or the new and
never a half of either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec

import mmh3

from canary_sdk.core.breaker import PROBING
from canary_sdk.core.flags.evaluation import NO_ATTRIBUTES, EvaluationContext

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from canary_sdk.core.flags.compiled import Attributes, Choose, CompiledFlag, Plain
    from canary_sdk.core.flags.evaluation import Evaluation
    from canary_sdk.runtime.scope import Unit

    Context = str | EvaluationContext | None
    Resolve = Callable[[Context, Unit | None], Evaluation]
    """Answers whoever asks, in the unit of work that is current there; one that is over counts as none."""
    Current = Callable[[], Unit | None]
    ByteOf = Callable[[str], memoryview]
    Trace = Callable[[Evaluation], None]
    Overrides = Callable[[], Mapping[str, Evaluation]]
    """What is forced in this context, by flag key."""

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Entry:
    """How one flag is asked: `resolve` answers everybody, `current` tells the unit of work, `guard` is its guard byte.

    `seed` is there if the flag is a percentage and no more: then `Canary.is_enabled` answers a key by itself, that has
    its hash below `threshold` by `on`, which is enabled, and any other by `off`, which is not. `always` is there if it
    has one answer for everybody: then that needs no key.
    """

    resolve: Resolve
    current: Current
    guard: memoryview
    seed: int | None
    threshold: int
    on: Evaluation
    off: Evaluation
    always: bool | None = None


class Table:
    """What answers each flag, with the compiled flags that it was built from and the store version that it shows.

    `entries` are what an application asks, by flag key: an exact dict, because Python looks up in no other mapping as
    fast. `peeks` answer as they would, and mark nothing. `guards` are the flags' guard bytes, views of no dimension
    that are read as `guard[()]`, which is the fastest that Python has.
    """

    __slots__ = ("entries", "flags", "guards", "peeks", "version")

    def __init__(
        self,
        flags: Mapping[str, CompiledFlag],
        version: int,
        entries: dict[str, Entry],
        peeks: Mapping[str, Choose],
        guards: Mapping[str, memoryview],
    ) -> None:
        """Hold them; nobody changes them afterwards."""
        self.flags = flags
        self.version = version
        self.entries = entries
        self.peeks = peeks
        self.guards = guards

    def peek(self, flag_key: str, key: str | None, attributes: Attributes) -> Evaluation | None:
        """Answer without being an exposure; None if the flag is not known."""
        peek = self.peeks.get(flag_key)
        return peek(key, attributes) if peek else None


class Waking(dict[str, Entry]):
    """The entries of a process that has not started yet: the first look-up wakes it and asks again."""

    __slots__ = ("_wake",)

    def __init__(self, wake: Callable[[], Table]) -> None:
        """Remember how to start."""
        super().__init__()
        self._wake = wake

    def __missing__(self, flag_key: str) -> Entry:
        """Start this process and answer from the table that this gave."""
        return self._wake().entries[flag_key]


def cold_table(wake: Callable[[], Table]) -> Table:
    """Return the table of a process that has not started yet."""
    return Table({}, 0, Waking(wake), {}, {})


def build_table(
    flags: Mapping[str, CompiledFlag],
    version: int,
    byte_of: ByteOf,
    current: Current,
    trace: Trace | None = None,
    overrides: Overrides | None = None,
) -> Table:
    """Build the table of these flags; `byte_of` says where a flag's guard is, `current` which unit of work asks.

    `trace` is told of the answers, and `overrides` are asked before anything else, if they are given.
    """
    guards = {key: byte_of(key) for key in flags}
    entries = {key: _entry(flag, guards[key], current, trace, overrides) for key, flag in flags.items()}
    peeks = {key: peeker(flag, guards[key], current) for key, flag in flags.items()}
    if overrides is not None:
        peeks = {key: _overridden(key, peek, overrides) for key, peek in peeks.items()}
    return Table(flags, version, entries, peeks, guards)


def _entry(
    flag: CompiledFlag, guard: memoryview, current: Current, trace: Trace | None, overrides: Overrides | None
) -> Entry:
    """Choose the shape of a flag: what it cannot need is not asked at the call.

    Most flags are simple, and have a short way for a key that is given with the call. What is not that simple goes the
    general way. No lock, no I/O. Cost: `benchmarks/bench_evaluate.py`.
    """
    resolve, split, seed, always = _general(flag, guard), flag.split, None, None
    threshold, on, off = 0, flag.tripped, flag.tripped
    if flag.before is None and split.constant is not None:
        resolve = _constant(split.constant, guard, resolve)
        if trace is None and overrides is None:
            always = split.constant.enabled
    elif flag.before is None and split.plain is not None:
        resolve = _plain(split.plain, guard, resolve)
        _, threshold, on, off, _ = split.plain
        if trace is None and overrides is None and on.enabled and not off.enabled:
            seed = split.plain.seed
    if trace is not None:
        resolve = _traced(flag.flag.key, resolve, trace)
    if overrides is not None:
        resolve = _overridden(flag.flag.key, resolve, overrides)
        current = _nowhere_if_overridden(flag.flag.key, current, overrides)
    return Entry(resolve, current, guard, seed, threshold, on, off, always)


def _general(flag: CompiledFlag, guard: memoryview) -> Resolve:
    """Serve every flag, context and unit. `setdefault` makes two threads of a unit agree, even if the flag trips."""
    flag_key, choose = flag.flag.key, flag.choose

    def resolve(context: Context, unit: Unit | None) -> Evaluation:
        if unit is not None:
            if unit.ended and unit.is_over:
                unit = None  # as `working`, with no call
            elif flag_key in unit.marks:
                return unit.marks[flag_key][0]
        key: str | None
        if type(context) is EvaluationContext and context.targeting_key is not None:
            key, attributes = context.targeting_key, context.attributes
        else:
            key, attributes = subject_of(context, unit)
        bits = guard[()]
        evaluation = held(flag, bits, key, attributes) if bits else choose(key, attributes)
        if unit is None:
            return evaluation
        return unit.marks.setdefault(flag_key, (evaluation, key))[0]

    return resolve


def _constant(answer: Evaluation, guard: memoryview, general: Resolve) -> Resolve:
    def resolve(context: Context, unit: Unit | None) -> Evaluation:
        if unit is None and not guard[()]:
            return answer
        return general(context, unit)

    return resolve


def _plain(plain: Plain, guard: memoryview, general: Resolve) -> Resolve:
    seed, threshold, on, off, _ = plain
    flag_key, bucket_of = on.flag_key, mmh3.hash

    def resolve(context: Context, unit: Unit | None) -> Evaluation:
        if unit is not None and flag_key in unit.marks and not unit.ended:
            return unit.marks[flag_key][0]
        key = context.targeting_key if type(context) is EvaluationContext else context
        if key is None and unit is not None and not callable(unit.subject):
            key = unit.subject
        if type(key) is not str or not key or guard[()] or (unit is not None and unit.ended):
            return general(context, unit)
        answer = on if bucket_of(key, seed, False) < threshold else off
        return answer if unit is None else unit.marks.setdefault(flag_key, (answer, key))[0]

    return resolve


def _traced(flag_key: str, resolve: Resolve, trace: Trace) -> Resolve:
    """Tell of each answer, but not of one that the unit of work was given before. `trace` does not raise."""

    def resolve_and_tell(context: Context, unit: Unit | None) -> Evaluation:
        unit = working(unit)
        was_met = unit is not None and flag_key in unit.marks
        answer = resolve(context, unit)
        if not was_met:
            trace(answer)
        return answer

    return resolve_and_tell


def _overridden(flag_key: str, ask: Callable[P, Evaluation], overrides: Overrides) -> Callable[P, Evaluation]:
    """Answer what is forced here. It is no exposure: the unit of work keeps the answer that it has, if any."""

    def ask_unless_forced(*args: P.args, **kwargs: P.kwargs) -> Evaluation:
        return overrides().get(flag_key) or ask(*args, **kwargs)

    return ask_unless_forced


def _nowhere_if_overridden(flag_key: str, current: Current, overrides: Overrides) -> Current:
    """Hide the unit of work from what is forced, also if it has met the flag."""
    return lambda: None if flag_key in overrides() else current()


def peeker(flag: CompiledFlag, guard: memoryview, current: Current) -> Choose:
    """Return what answers as the unit of work would be answered, and marks nothing: it is no exposure."""
    flag_key, choose = flag.flag.key, flag.choose

    def peek(key: str | None, attributes: Attributes) -> Evaluation:
        unit = current()
        if unit is not None and flag_key in unit.marks and not unit.is_over:
            return unit.marks[flag_key][0]
        bits = guard[()]
        return held(flag, bits, key, attributes) if bits else choose(key, attributes)

    return peek


def held(flag: CompiledFlag, bits: int, key: str | None, attributes: Attributes) -> Evaluation:
    """Return what is answered while the guard byte is set to `bits`."""
    return flag.probe(key, attributes) if bits == PROBING else flag.tripped


def working(unit: Unit | None) -> Unit | None:
    """Return the unit unless it is over: a task or thread that outlived the work it was started in inherits it."""
    return None if unit is None or unit.is_over else unit


def subject_of(context: Context, unit: Unit | None) -> tuple[str | None, Attributes]:
    """Return key and attributes of whoever asks; where the caller names no key, it is the unit's own subject."""
    key, attributes = (
        (context.targeting_key, context.attributes)
        if isinstance(context, EvaluationContext)
        else (context, NO_ATTRIBUTES)
    )
    if key is None and unit is not None:
        subject = unit.subject
        key = subject() if callable(subject) else subject
    return key, attributes
