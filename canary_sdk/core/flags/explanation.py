"""Why an evaluation gave its answer, as a value and as a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from canary_sdk.core.flags.bucketing import BUCKETS
from canary_sdk.core.reading import listed

if TYPE_CHECKING:
    from canary_sdk.core.flags.flag import Prerequisite


class Cause(StrEnum):
    """What made the answer."""

    PINNED = "PINNED"
    """The unit of work had been given it before."""
    OVERRIDE = "OVERRIDE"
    KILLED = "KILLED"
    TRIPPED = "TRIPPED"
    DISABLED = "DISABLED"
    PREREQUISITE = "PREREQUISITE"
    TARGET = "TARGET"
    RULE = "RULE"
    ROLLOUT = "ROLLOUT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What made an answer, and of what it was made.

    `overridden` are the fields in which `environment` differs. `prerequisite` is the one that failed; `target` the key
    that is named; `rule` the position, from 0, of the rule that decided. `bucket` and `threshold` are there where a
    percentage was asked, the flag's or the rule's: below the threshold one is in. Without a key there is no bucket, and
    none where `bucketing` names another tool in whose way the key was placed.
    """

    flag_key: str
    variant: str
    cause: Cause
    environment: str = ""
    overridden: tuple[str, ...] = ()
    prerequisite: Prerequisite | None = None
    target: str | None = None
    rule: int | None = None
    rule_name: str = ""
    bucket: int | None = None
    threshold: int | None = None
    bucketing: str = ""

    def __str__(self) -> str:
        """Say it in one sentence."""
        place = f" in {self.environment}" if self.environment else ""
        overrides = f", which overrides {listed(self.overridden, 'and')}" if place and self.overridden else ""
        return f"{self.flag_key} is {self.variant!r}{place}{overrides}, because {self._why}"

    @property
    def _why(self) -> str:
        if self.prerequisite is not None:
            return f"{self.prerequisite.flag} is not {self.prerequisite.variant!r}"
        if self.target is not None:
            return f"{self.target!r} is one of its targets"
        if self.rule is not None:
            name = f" ({self.rule_name})" if self.rule_name else ""
            return f"rule {self.rule}{name} holds{'' if self.threshold is None else f' and {self._share}'}"
        return _WORDS.get(self.cause) or self._share

    @property
    def _share(self) -> str:
        """Say on which side of the threshold the key is."""
        threshold = self.threshold or 0
        if not 0 < threshold < BUCKETS:
            return "everybody is in the rollout" if threshold else "nobody is in the rollout"
        if self.bucketing:
            return f"that is where {self.bucketing} bucketing puts it"
        if self.bucket is None:
            return "there is no targeting key"
        return f"bucket {self.bucket} is {'' if self.bucket < threshold else 'not '}below the threshold {threshold}"


_WORDS: Final = {
    Cause.PINNED: "this unit of work had been answered so before",
    Cause.OVERRIDE: "somebody forced it here",
    Cause.KILLED: "its kill switch is held",
    Cause.TRIPPED: "its breaker is not closed",
    Cause.DISABLED: "it is switched off",
}
