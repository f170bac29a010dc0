"""A flag as values: what it can answer and for whom, already resolved for one environment."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.core.flags.schemes import Bucketing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from canary_sdk.core.judge.slo import Slo
    from canary_sdk.core.plan import Plan

    Condition = Mapping[str, Any]

Value = bool | int | float | str | dict[str, Any] | list[Any]
"""What a flag can answer. A table or list is shared by all who are answered, and is not to be changed."""

BASELINE: Final = "baseline"
CANDIDATE: Final = "candidate"
SWITCH: Final = {True: "on", False: "off"}
"""The variants of a boolean flag, whichever of them is its baseline."""

ROLLOUT: Final = "rollout"
DEFAULT: Final = "default"
"""What a rule can serve beside a variant: the flag's percentage, or its baseline."""


class FlagType(StrEnum):
    """The type of a flag's values."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    FLOAT = "float"
    STRING = "string"
    OBJECT = "object"


@dataclass(frozen=True, slots=True)
class Variant:
    """A named value, and its weight among the others that the rollout is divided into."""

    name: str
    value: Value
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Rule:
    """What is served to whom a condition holds for: a variant, `default`, or `rollout`.

    `rollout` is a percentage of the rule's own, None for that of the flag. `name` is for people.
    """

    condition: Condition
    serve: str
    rollout: float | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Prerequisite:
    """Another flag, and the variant that it must answer."""

    flag: str
    variant: str


@dataclass(frozen=True, slots=True)
class Metadata:
    """What people want to know of a flag; no answer depends on it. Dates are ISO 8601, `custom` is their own."""

    description: str = ""
    owner: str = ""
    tags: tuple[str, ...] = ()
    created: str = ""
    expires: str = ""
    custom: Mapping[str, bool | float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag in one environment.

    `default` is the baseline: what everybody gets who is not in the rollout, and what a rollback returns to.
    `candidate` is what the rollout hands out, unless it is divided among `variants`. `rollout` is a percentage from 0
    to 100 with up to three decimals. `salt` decides who is in it; it is the key unless somebody chose another.
    A breach of its `slos` takes it back, one of its `soft` ones is told and holds it where it is.
    `bucketing` says in whose way, `order` in which order another tool lists the variants: all of them, by name unless
    said otherwise, and the baseline last unless it is named. `targets` are the targeting keys that a variant is forced
    on, by its name. `plan` is the recipe of its rollouts, or the name of one that is declared elsewhere. `noise` is by
    how much the arms were found to differ on their own, by stream (see `calibration`). `overridden` are the fields in
    which this environment differs.
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
    bucketing: Bucketing = Bucketing.CANARY
    order: tuple[str, ...] = ()
    slos: tuple[Slo, ...] = ()
    soft: tuple[Slo, ...] = ()
    variants: tuple[Variant, ...] = ()
    targets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    prerequisites: tuple[Prerequisite, ...] = ()
    plan: Plan | str | None = None
    noise: Mapping[str, float] = field(default_factory=dict)
    metadata: Metadata = field(default_factory=Metadata)
    overridden: tuple[str, ...] = ()

    @property
    def promises(self) -> tuple[Slo, ...]:
        """All of its SLOs, the hard and the soft."""
        return self.slos + self.soft

    @property
    def baseline(self) -> str:
        """The name of the variant that is the baseline."""
        return SWITCH[bool(self.default)] if self.type is FlagType.BOOLEAN else BASELINE

    @property
    def candidates(self) -> tuple[Variant, ...]:
        """The variants that the rollout hands out."""
        name = SWITCH[bool(self.candidate)] if self.type is FlagType.BOOLEAN else CANDIDATE
        return self.variants or (Variant(name, self.candidate),)

    @property
    def is_static(self) -> bool:
        """Whether everybody is answered the same, whoever asks."""
        if self.targets or self.rules or self.prerequisites:
            return False
        return not self.rollout or (self.rollout == 100 and len(self.candidates) == 1)

    @property
    def values(self) -> dict[str, Value]:
        """Every variant that can be named, with its value."""
        if self.type is FlagType.BOOLEAN:
            return {name: value for value, name in SWITCH.items()}
        return {BASELINE: self.default} | {variant.name: variant.value for variant in self.candidates}


def held_back(flag: Flag, holdback: float) -> Flag:
    """Return the flag as it is served while `holdback` percent of those it measures stay on the baseline."""
    most = round(100.0 - holdback, 3)
    return replace(flag, rollout=most) if flag.promises and flag.rollout > most else flag
