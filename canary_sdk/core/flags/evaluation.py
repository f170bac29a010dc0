"""What an evaluation is asked and what it answers, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from canary_sdk.core.flags.explanation import Explanation
    from canary_sdk.core.flags.flag import Value

NO_ATTRIBUTES: Final[Mapping[str, Any]] = MappingProxyType({})
"""The attributes of somebody of whom nothing is known but the targeting key."""


class Reason(StrEnum):
    """Why an evaluation gave this value."""

    DEFAULT = "DEFAULT"
    """Nobody is in the rollout, or the targeting key is missing."""
    SPLIT = "SPLIT"
    """The percentage decided."""
    TARGETING_MATCH = "TARGETING_MATCH"
    """An individual target or a rule decided."""
    PREREQUISITE_FAILED = "PREREQUISITE_FAILED"
    """Another flag did not answer what this one requires."""
    DISABLED = "DISABLED"
    """The flag is switched off in its configuration."""
    TRIPPED = "TRIPPED"
    """The breaker is open or the kill switch is held."""
    OVERRIDE = "OVERRIDE"
    """A person forced it, in a test or for this one request."""
    ERROR = "ERROR"
    """The flag is unknown or the evaluation failed; the caller's default was served."""


class Role(StrEnum):
    """Which side of the comparison a unit of work stands on."""

    BASELINE = "baseline"
    CANDIDATE = "candidate"
    APART = "apart"
    """Not decided by the percentage split, so on neither side."""


@dataclass(frozen=True, slots=True)
class EvaluationContext:
    """Facts about the subject: the key that is hashed, and attributes, which rules ask for."""

    targeting_key: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One answer: value, variant and the reason for it. Answers are built once a flag, never once a call.

    `enabled` is what `is_enabled` returns: a boolean flag's value, for other types whether the candidate was served.
    `role` says which arm the unit of work is measured on. `explanation` is there where it was asked for; answers that
    differ in it alone are equal.
    """

    flag_key: str
    value: Value | None
    variant: str
    reason: Reason
    role: Role = Role.APART
    enabled: bool = False
    explanation: Explanation | None = field(default=None, compare=False, repr=False)

    @property
    def is_candidate(self) -> bool:
        """Whether the candidate was served by the percentage split."""
        return self.role is Role.CANDIDATE
