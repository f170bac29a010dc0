"""What an evaluation answers, and the compiled form of a flag that answers it.

A flag is compiled once, when the flag table is built: the closures here hold everything they need, and every answer
they can give exists beforehand. Which unit of work asks, and whether a guard is up, is the runtime's business.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import mmh3

from canary_sdk.core.bucketing import BUCKETS, seed_of, threshold_of
from canary_sdk.core.flags import FlagType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from canary_sdk.core.flags import Flag, Value

    Choose = Callable[[str | None], "Evaluation"]

VARIANTS: Final = {True: "on", False: "off"}


class Reason(StrEnum):
    """Why an evaluation gave this value."""

    DEFAULT = "DEFAULT"
    """Nobody is in the rollout, or the targeting key is missing."""
    SPLIT = "SPLIT"
    """The percentage decided."""
    DISABLED = "DISABLED"
    """The flag is switched off in its configuration."""
    TRIPPED = "TRIPPED"
    """The breaker is open or the kill switch is held."""
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
    """Facts about the subject: the key that is hashed, and attributes."""

    targeting_key: str | None = None
    attributes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One answer: value, variant and the reason for it. Answers are built once a flag, never once a call.

    `enabled` is what `is_enabled` returns: a boolean flag's value, for other types whether the candidate was served.
    `role` says which arm the unit of work is measured on.
    """

    flag_key: str
    value: Value | None
    variant: str
    reason: Reason
    role: Role = Role.APART
    enabled: bool = False

    @property
    def is_candidate(self) -> bool:
        """Whether the candidate was served by the percentage split."""
        return self.role is Role.CANDIDATE


@dataclass(frozen=True, slots=True)
class CompiledFlag:
    """A flag ready to be asked.

    `choose(targeting_key)` answers while nothing is held; `tripped` is the answer while it is; `probe(targeting_key)`
    answers while the breaker is half open.
    """

    flag: Flag
    choose: Choose
    probe: Choose
    tripped: Evaluation


def compile_flag(flag: Flag, probe_percent: float = 0.0) -> CompiledFlag:
    """Compile a flag of one environment; `probe_percent` is the share that a half-open breaker lets through."""
    tripped = _baseline(flag, Reason.TRIPPED, Role.APART)
    return CompiledFlag(
        flag=flag,
        choose=_chooser(flag),
        probe=_split(flag, min(probe_percent, flag.rollout), tripped),
        tripped=tripped,
    )


def _chooser(flag: Flag) -> Choose:
    if not flag.enabled:
        return _always(_baseline(flag, Reason.DISABLED, Role.APART))
    return _split(flag, flag.rollout, _baseline(flag, Reason.SPLIT, Role.BASELINE))


def _split(flag: Flag, percent: float, off: Evaluation) -> Choose:
    """Compile the percentage. Nobody and everybody need no hash; a missing key gets the baseline, measured apart."""
    on = _candidate(flag)
    threshold = threshold_of(percent)
    if threshold <= 0:
        return _always(_baseline(flag, Reason.DEFAULT, Role.BASELINE) if off.reason is Reason.SPLIT else off)
    if threshold >= BUCKETS:
        return _always(on)
    seed = seed_of(flag.salt or flag.key)
    keyless = _baseline(flag, Reason.DEFAULT, Role.APART)

    def choose(targeting_key: str | None, bucket_of: Callable[[str, int, bool], int] = mmh3.hash) -> Evaluation:
        if not targeting_key:
            return keyless
        return on if bucket_of(targeting_key, seed, False) < threshold else off

    return choose


def _always(evaluation: Evaluation) -> Choose:
    def choose(_: str | None) -> Evaluation:
        return evaluation

    return choose


def _candidate(flag: Flag) -> Evaluation:
    is_boolean = flag.type is FlagType.BOOLEAN
    variant = VARIANTS[bool(flag.candidate)] if is_boolean else Role.CANDIDATE.value
    enabled = bool(flag.candidate) if is_boolean else True
    return Evaluation(flag.key, flag.candidate, variant, Reason.SPLIT, Role.CANDIDATE, enabled)


def _baseline(flag: Flag, reason: Reason, role: Role) -> Evaluation:
    is_boolean = flag.type is FlagType.BOOLEAN
    variant = VARIANTS[bool(flag.default)] if is_boolean else Role.BASELINE.value
    return Evaluation(flag.key, flag.default, variant, reason, role, bool(flag.default) if is_boolean else False)
