"""Serves what a person forces to one unit of work, ahead of all but a kill and what the unit was answered before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from canary_sdk.core.breaker import KILLED
from canary_sdk.core.events import OverrideServed
from canary_sdk.core.flags.override import forced
from canary_sdk.errors import CanaryError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from canary_sdk.core.flags.override import Wanted
    from canary_sdk.runtime.scope import Unit
    from canary_sdk.runtime.table import Table

ELSEWHERE: Final = "no unit of work is open"
EXPIRED: Final = "it has expired"


def force(
    flags: Mapping[str, Wanted], table: Table, unit: Unit | None, *, at: float, until: float, actor: str
) -> tuple[OverrideServed, ...]:
    """Mark the answers in the unit, all or none of them, and return what to tell. Times are wall seconds.

    Raises where no unit is open, it is too late, or a flag or variant is not there.
    """
    if unit is None or at > until:
        raise CanaryError(ELSEWHERE if unit is None else EXPIRED)
    answers = [forced(table.flags[key].flag, wanted) for key, wanted in flags.items()]
    return tuple(
        OverrideServed(at=at, flag_key=answer.flag_key, variant=answer.variant, actor=actor)
        for answer in answers
        if not table.guards[answer.flag_key][()] & KILLED
        and unit.marks.setdefault(answer.flag_key, (answer, None))[0] is answer
    )
