"""A flag as values: what it can answer and for whom, already resolved for one environment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from canary_sdk.core.slo import Slo

Value = bool | int | float | str
"""What a flag can answer."""


class FlagType(StrEnum):
    """The type of a flag's values."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    FLOAT = "float"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag in one environment.

    `default` is the baseline: what everybody gets who is not in the rollout, and what a rollback returns to.
    `candidate` is what the rollout hands out. `rollout` is a percentage from 0 to 100 with up to three decimals. `salt`
    decides who is in it; it is the key unless somebody chose another.
    """

    key: str
    type: FlagType = FlagType.BOOLEAN
    default: Value = False
    candidate: Value = True
    minimum: float | None = None
    maximum: float | None = None
    rollout: float = 0.0
    enabled: bool = True
    salt: str = ""
    description: str = ""
    slos: tuple[Slo, ...] = ()
