"""The flag table: one closure a flag, that pins, looks at the guard and answers.

The table is immutable once built; a new one replaces it in one assignment, so a reader sees the old or the new and
never a half of either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from canary_sdk.core.breaker import PROBING
from canary_sdk.core.evaluation import EvaluationContext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from canary_sdk.core.evaluation import CompiledFlag, Evaluation
    from canary_sdk.runtime.scope import Unit

    Context = str | EvaluationContext | None
    Resolve = Callable[[Context], Evaluation]


class Table(dict[str, "Resolve"]):
    """Flag key to resolver, with the compiled flags they were built from and the store version they show."""

    __slots__ = ("flags", "version")

    def __init__(
        self, flags: Mapping[str, CompiledFlag], resolvers: Iterable[tuple[str, Resolve]], version: int
    ) -> None:
        """Fill the table; nobody changes it afterwards."""
        super().__init__(resolvers)
        self.flags = flags
        self.version = version


class ColdTable(Table):
    """The table of a process that has not started yet: the first look-up wakes it and asks again."""

    __slots__ = ("_wake",)

    def __init__(self, wake: Callable[[], Table]) -> None:
        """Remember how to start."""
        super().__init__({}, (), 0)
        self._wake = wake

    def __missing__(self, flag_key: str) -> Resolve:
        """Start this process and answer from the table that this gave."""
        return self._wake()[flag_key]


def changed_flags(before: Mapping[str, CompiledFlag], after: Mapping[str, CompiledFlag]) -> tuple[str, ...]:
    """Return the keys of the flags that came, went or answer differently, in alphabetical order."""
    keys = sorted(before.keys() | after.keys())
    return tuple(key for key in keys if key not in before or key not in after or before[key].flag != after[key].flag)


def resolver(flag: CompiledFlag, guard: memoryview, slot: int, current: Callable[[], Unit | None]) -> Resolve:
    """Build the function that answers one flag: pinned answer, else guard, else the flag's own choice; then mark it.

    Cost: one hash and about three look-ups; no lock, no I/O. The mark is set by `setdefault`, so that two threads of
    one unit agree even if the flag trips between them.
    """
    flag_key = flag.flag.key
    choose = flag.choose

    def resolve(context: Context) -> Evaluation:
        unit = current()
        if unit is not None:
            if unit.ended and unit.is_over:
                unit = None  # inherited by a task or thread that outlived the work it was started in
            elif flag_key in unit:
                return unit[flag_key][0]
        key = context if type(context) is str else _targeting_key(context, unit)
        evaluation = _held(flag, guard[slot], key) if guard[slot] else choose(key)
        if unit is None:
            return evaluation
        return unit.setdefault(flag_key, (evaluation, key))[0]

    return resolve


def _held(flag: CompiledFlag, bits: int, key: str | None) -> Evaluation:
    return flag.probe(key) if bits == PROBING else flag.tripped


def _targeting_key(context: Context, unit: Unit | None) -> str | None:
    """Find the key where the caller gave none or a context: there, else the unit's own subject."""
    key = context.targeting_key if isinstance(context, EvaluationContext) else context
    if key is None and unit is not None:
        key = unit.subject() if callable(unit.subject) else unit.subject
    return key
