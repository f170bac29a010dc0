"""The facts of a release or a drill, as values. The conclusion is computed from the checks and cannot be set."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from canary_sdk.core.judge.slo import Slo
    from canary_sdk.core.judge.tally import Tally
    from canary_sdk.core.judge.verdict import Verdict
    from canary_sdk.core.rollout.journal import Configuration, Consent, Weighed


class Conclusion(StrEnum):
    """What the facts say."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True)
class Check:
    """A claim and what was found. `held` is None where the data cannot tell."""

    claim: str
    held: bool | None
    found: str


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of time, in seconds since the record began, and what was counted in it, by who saw it.

    `slos` are its own, where it has others than the record. `verdict` holds them against everything that was counted in
    it, where that was judged as a whole; `outcomes` tells how many of its intervals were found to be what.
    """

    name: str
    percent: float
    began_s: float
    seconds: float
    seen: Mapping[str, Tally]
    slos: tuple[Slo, ...] = ()
    verdict: Verdict | None = None
    outcomes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened, in seconds since the record began."""

    at_s: float
    kind: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Decision:
    """One interval that was judged; `breaches` is how many blaming breaches had then followed each other.

    The verdict is by its counts alone; `weighed` is what the sequential judge said by then, if one was heard.
    """

    at_s: float
    verdict: Verdict
    breaches: int
    weighed: Weighed | None = None


@dataclass(frozen=True, slots=True)
class Duration:
    """How long something took, in seconds; None if it never came to an end."""

    name: str
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Everything a report is made of. `began_at` is in wall seconds, `setup` says in words what was run.

    `otherwise` says what another rule would have done, `gaps` when nothing was written down, and `problems` what of the
    sources could not be read or is not there.
    """

    title: str
    flag_key: str
    environment: str
    began_at: float
    seconds: float
    slos: tuple[Slo, ...] = ()
    setup: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    durations: tuple[Duration, ...] = ()
    stages: tuple[Stage, ...] = ()
    timeline: tuple[Moment, ...] = ()
    decisions: tuple[Decision, ...] = ()
    approvals: tuple[Consent, ...] = ()
    configurations: tuple[Configuration, ...] = ()
    otherwise: str = ""
    gaps: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def conclusion(self) -> Conclusion:
        """FAILED if any check is broken, else INCONCLUSIVE if any could not be decided or there is none."""
        held = [check.held for check in self.checks]
        if False in held:
            return Conclusion.FAILED
        return Conclusion.PASSED if held and None not in held else Conclusion.INCONCLUSIVE
