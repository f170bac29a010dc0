"""What another tool answers, inside our unit of work: measured as our own answers are, and ours to take back.

Never asks the other tool: whoever does asks `settled` first, and hands to `mark` what it was told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from canary_sdk.core.breaker import PROBING
from canary_sdk.core.flags.evaluation import Evaluation, Reason, Role
from canary_sdk.runtime.table import subject_of

if TYPE_CHECKING:
    from canary_sdk.core.flags.compiled import CompiledFlag
    from canary_sdk.runtime.scope import Unit
    from canary_sdk.runtime.table import Context


def settled(flag: CompiledFlag, bits: int, context: Context, unit: Unit | None) -> Evaluation | None:
    """Return the answer that stands before the other tool is asked: the unit's own, or the baseline that is held."""
    flag_key = flag.flag.key
    if unit is not None and flag_key in unit.marks:
        return unit.marks[flag_key][0]
    if not bits:
        return None
    key, _ = subject_of(context, unit)
    if bits == PROBING and flag.is_probed(key):
        return None
    return flag.tripped if unit is None else unit.marks.setdefault(flag_key, (flag.tripped, key))[0]


def mark(flag_key: str, role: str, value: object, variant: str, context: Context, unit: Unit) -> Evaluation:
    """Put the other tool's answer on an arm of the unit, and return the answer that holds there.

    Raises `ValueError` for what is no role. The value may be of a type that no flag of ours has; nothing but whoever
    asks for the flag looks at it.
    """
    side = Role(role)
    reason = Reason.TARGETING_MATCH if side is Role.APART else Reason.SPLIT
    enabled = value if isinstance(value, bool) else side is Role.CANDIDATE
    evaluation = Evaluation(flag_key, cast("Any", value), variant, reason, side, enabled)
    key, _ = subject_of(context, unit)
    return unit.marks.setdefault(flag_key, (evaluation, key if isinstance(key, str) else None))[0]
