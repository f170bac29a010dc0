"""The flag table: one closure a flag, that pins, looks at the guard and answers.

The table is immutable once built; a new one replaces it in one assignment, so a reader sees the old or the new and
never a half of either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import mmh3

from canary_sdk.core.breaker import PROBING
from canary_sdk.core.evaluation import NO_ATTRIBUTES, EvaluationContext

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from canary_sdk.core.compiled import Attributes, Choose, CompiledFlag, Plain
    from canary_sdk.core.evaluation import Evaluation
    from canary_sdk.runtime.scope import Unit

    Context = str | EvaluationContext | None
    Resolve = Callable[[Context], Evaluation]
    Current = Callable[[], Unit | None]
    ByteOf = Callable[[str], tuple[memoryview, int]]
    Trace = Callable[[Evaluation], None]


class Table:
    """What answers each flag, with the compiled flags that it was built from and the store version that it shows.

    `resolvers` are what an application asks, by flag key: an exact dict, because Python looks up in no other mapping as
    fast. `peeks` answer as they would, and mark nothing. `guards` are where each flag's guard byte is.
    """

    __slots__ = ("flags", "guards", "peeks", "resolvers", "version")

    def __init__(
        self,
        flags: Mapping[str, CompiledFlag],
        version: int,
        resolvers: dict[str, Resolve],
        peeks: Mapping[str, Choose],
        guards: Mapping[str, tuple[memoryview, int]],
    ) -> None:
        """Hold them; nobody changes them afterwards."""
        self.flags = flags
        self.version = version
        self.resolvers = resolvers
        self.peeks = peeks
        self.guards = guards

    def peek(self, flag_key: str, key: str | None, attributes: Attributes) -> Evaluation | None:
        """Answer without being an exposure; None if the flag is not known."""
        peek = self.peeks.get(flag_key)
        return peek(key, attributes) if peek else None


class Waking(dict[str, "Resolve"]):
    """The resolvers of a process that has not started yet: the first look-up wakes it and asks again."""

    __slots__ = ("_wake",)

    def __init__(self, wake: Callable[[], Table]) -> None:
        """Remember how to start."""
        super().__init__()
        self._wake = wake

    def __missing__(self, flag_key: str) -> Resolve:
        """Start this process and answer from the table that this gave."""
        return self._wake().resolvers[flag_key]


def cold_table(wake: Callable[[], Table]) -> Table:
    """Return the table of a process that has not started yet."""
    return Table({}, 0, Waking(wake), {}, {})


def build_table(
    flags: Mapping[str, CompiledFlag], version: int, byte_of: ByteOf, current: Current, trace: Trace | None = None
) -> Table:
    """Build the table of these flags; `byte_of` says where a flag's guard is, `current` which unit of work asks.

    `trace` is told of the answers, if it is given.
    """
    guards = {key: byte_of(key) for key in flags}
    resolvers = {key: resolver(flag, *guards[key], current) for key, flag in flags.items()}
    if trace is not None:
        resolvers = {key: _traced(key, resolve, current, trace) for key, resolve in resolvers.items()}
    peeks = {key: peeker(flag, *guards[key], current) for key, flag in flags.items()}
    return Table(flags, version, resolvers, peeks, guards)


def resolver(flag: CompiledFlag, guard: memoryview, slot: int, current: Current) -> Resolve:
    """Return what an application asks: the unit's pinned answer, else guard, else the flag itself; then the mark.

    Most flags are simple, and have a short way for a plain key where no unit is open or it has not met the flag. What
    is not that simple goes the general way. No lock, no I/O. Cost: `benchmarks/bench_evaluate.py`.
    """
    general = _general(flag, guard, slot, current)
    if flag.before is not None:
        return general
    if flag.split.constant is not None:
        return _constant(flag.split.constant, guard, slot, current, general)
    return _plain(flag.split.plain, guard, slot, current, general) if flag.split.plain else general


def _general(flag: CompiledFlag, guard: memoryview, slot: int, current: Current) -> Resolve:
    """Serve every flag, context and unit. `setdefault` makes two threads of a unit agree, even if the flag trips."""
    flag_key, choose = flag.flag.key, flag.choose

    def resolve(context: Context) -> Evaluation:
        unit = current()
        if unit is not None:
            if unit.ended and unit.is_over:
                unit = None  # as `working`, with no call
            elif flag_key in unit:
                return unit[flag_key][0]
        key: str | None
        if type(context) is EvaluationContext and context.targeting_key is not None:
            key, attributes = context.targeting_key, context.attributes
        else:
            key, attributes = subject_of(context, unit)
        evaluation = held(flag, guard[slot], key, attributes) if guard[slot] else choose(key, attributes)
        if unit is None:
            return evaluation
        return unit.setdefault(flag_key, (evaluation, key))[0]

    return resolve


def _constant(answer: Evaluation, guard: memoryview, slot: int, current: Current, general: Resolve) -> Resolve:
    def resolve(context: Context) -> Evaluation:
        if current() is None and not guard[slot]:
            return answer
        return general(context)

    return resolve


def _plain(plain: Plain, guard: memoryview, slot: int, current: Current, general: Resolve) -> Resolve:
    seed, threshold, on, off, _ = plain
    flag_key, bucket_of = on.flag_key, mmh3.hash

    def resolve(context: Context) -> Evaluation:
        unit = current()
        if unit is None:
            if type(context) is str and context and not guard[slot]:
                return on if bucket_of(context, seed, False) < threshold else off
        elif not unit.ended:
            if flag_key in unit:
                return unit[flag_key][0]
            key = unit.subject if context is None else context
            if type(key) is str and key and not guard[slot]:
                evaluation = on if bucket_of(key, seed, False) < threshold else off
                return unit.setdefault(flag_key, (evaluation, key))[0]
        return general(context)

    return resolve


def _traced(flag_key: str, resolve: Resolve, current: Current, trace: Trace) -> Resolve:
    """Tell of each answer, but not of one that the unit of work was given before. `trace` does not raise."""

    def resolve_and_tell(context: Context) -> Evaluation:
        unit = working(current())
        was_met = unit is not None and flag_key in unit
        answer = resolve(context)
        if not was_met:
            trace(answer)
        return answer

    return resolve_and_tell


def peeker(flag: CompiledFlag, guard: memoryview, slot: int, current: Current) -> Choose:
    """Return what answers as the unit of work would be answered, and marks nothing: it is no exposure."""
    flag_key, choose = flag.flag.key, flag.choose

    def peek(key: str | None, attributes: Attributes) -> Evaluation:
        unit = current()
        if unit is not None and flag_key in unit and not unit.is_over:
            return unit[flag_key][0]
        return held(flag, guard[slot], key, attributes) if guard[slot] else choose(key, attributes)

    return peek


def held(flag: CompiledFlag, bits: int, key: str | None, attributes: Attributes) -> Evaluation:
    """Return what is answered while the guard byte is set; nought again if it was cleared meanwhile."""
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
