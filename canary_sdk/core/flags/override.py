"""The answer that a person forces: in a test, or for one request. No percentage decided it, so it is measured apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from canary_sdk.core.flags.compiled import answer_of
from canary_sdk.core.flags.evaluation import Reason
from canary_sdk.core.flags.flag import SWITCH, FlagType
from canary_sdk.core.reading import either, hint, say

if TYPE_CHECKING:
    from canary_sdk.core.flags.evaluation import Evaluation
    from canary_sdk.core.flags.flag import Flag

    Wanted = bool | str
    """What is asked for: on or off, or a variant by its name."""


def forced(flag: Flag, wanted: Wanted) -> Evaluation:
    """Return the answer that serves what is wanted of a flag.

    True is `on`, of other types than boolean the candidate; False is `off`, or the baseline. Raises `ValueError` for a
    variant that the flag does not have, and for True where it has several candidates.
    """
    variant = _switched(flag, wanted) if isinstance(wanted, bool) else wanted
    if variant not in flag.values:
        choices = sorted(flag.values)
        expected = f"{either(map(repr, choices))}{hint(variant, choices) if variant else ''}"
        raise ValueError(f"{flag.key}: found {say(wanted)}, expected {expected}")
    return answer_of(flag, variant, Reason.OVERRIDE)


def _switched(flag: Flag, wanted: bool) -> str:
    """Return the variant that a bool means, empty where it means none."""
    if flag.type is FlagType.BOOLEAN:
        return SWITCH[wanted]
    if not wanted:
        return flag.baseline
    return flag.candidates[0].name if len(flag.candidates) == 1 else ""
