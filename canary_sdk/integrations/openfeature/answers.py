"""What is asked, answered and tracked, from OpenFeature's words into ours and back. It evaluates nothing."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from openfeature.flag_evaluation import FlagResolutionDetails
from openfeature.flag_evaluation import Reason as Told

from canary_sdk.core.breaker import State
from canary_sdk.core.flags.evaluation import EvaluationContext, Reason
from canary_sdk.core.flags.flag import FlagType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openfeature.evaluation_context import EvaluationContext as Asked
    from openfeature.exception import ErrorCode
    from openfeature.track import TrackingEventDetails

    from canary_sdk.core.breaker import Breaker
    from canary_sdk.core.flags.evaluation import Evaluation
    from canary_sdk.runtime.client import Canary
    from canary_sdk.runtime.table import Context

T = TypeVar("T")

REASONS: Final[Mapping[Reason, Told]] = MappingProxyType(
    {
        Reason.SPLIT: Told.SPLIT,
        Reason.TARGETING_MATCH: Told.TARGETING_MATCH,
        Reason.DEFAULT: Told.DEFAULT,
        Reason.PREREQUISITE_FAILED: Told.DEFAULT,
        Reason.DISABLED: Told.DISABLED,
        Reason.TRIPPED: Told.DISABLED,
        Reason.OVERRIDE: Told.TARGETING_MATCH,
        Reason.ERROR: Told.ERROR,
    }
)
"""OpenFeature's reason for each of ours; ours is in the metadata, because two of these say less."""

TYPES: Final[Mapping[FlagType, tuple[type, ...]]] = MappingProxyType(
    {
        FlagType.BOOLEAN: (bool,),
        FlagType.INTEGER: (int, float),
        FlagType.FLOAT: (float,),
        FlagType.STRING: (str,),
        FlagType.OBJECT: (object,),
    }
)
"""What a flag may be asked for as: its own type, and every integer is a float."""


def fitting(value: Any, asked: type) -> Any:
    """Return the value as the type asked for, None if it is of another. An integer is a float, a bool is neither."""
    if isinstance(value, bool):
        return value if asked is bool else None
    if asked is float and isinstance(value, int):
        return float(value)
    return value if isinstance(value, (dict, list) if asked is object else asked) else None


def subject_of(context: Asked | None) -> Context:
    """Return whom OpenFeature asks for. Nobody in particular is None: then the unit of work may know."""
    if context is None:
        return None
    return EvaluationContext(context.targeting_key, context.attributes) if context.attributes else context.targeting_key


def observe(canary: Canary, name: str, details: TrackingEventDetails | None) -> None:
    """Report the value of a tracking event to the open unit of work, as `Canary.observe` does. Never raises."""
    if details is not None and details.value is not None:
        canary.observe(name, details.value)


def failure(default: T, code: ErrorCode, message: str) -> FlagResolutionDetails[T]:
    """Answer the caller's default, and why."""
    return FlagResolutionDetails(default, code, message, Told.ERROR)


def held_by(breaker: Breaker) -> dict[str, bool | int | float | str]:
    """Return what holds a flag on its baseline, and why. Another worker's reason is a poll of the store away."""
    if breaker.killed:
        return {"breaker": "KILLED", "breaker_reason": breaker.kill_reason}
    if breaker.state is State.CLOSED:
        return {"breaker": "OPEN"}
    return {"breaker": str(breaker.state), "breaker_reason": breaker.reason}


def metadata_of(evaluation: Evaluation, environment: str, version: int) -> dict[str, bool | int | float | str]:
    """Return what OpenFeature's own words cannot say of an answer."""
    return {
        "environment": environment,
        "version": version,
        "reason": str(evaluation.reason),
        "role": str(evaluation.role),
    }
