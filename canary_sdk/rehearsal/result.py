"""What a drill is told and what it finds, as values. Nothing is judged here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from canary_sdk.core.events import VerdictReached
    from canary_sdk.core.judge.slo import Slo
    from canary_sdk.core.judge.tally import Tally
    from canary_sdk.rehearsal.fault import Fault


class Kind(StrEnum):
    """What sort of moment it was."""

    STEP = "step"
    FAULT = "fault"
    TRIP = "trip"
    RECOVERY = "recovery"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do. `settings` is what `apply` is given; the flag's rollout in it is set stage by stage.

    `stages` are (percent, seconds), the first of them the baseline. Without a fault the stages are all there is.
    `deadline_s` is how soon after its first bad request the flag must be off, `patience_s` how long it is waited for,
    `restored_s` for how long the service is watched afterwards.
    """

    flag_key: str
    settings: Mapping[str, object]
    stages: tuple[tuple[float, float], ...]
    fault: Fault | None = None
    deadline_s: float = 5.0
    patience_s: float = 20.0
    restored_s: float = 6.0


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the drill, monotonic seconds, and what was counted in it.

    `baseline` and `candidate` are by what was served, seen next to the application; `clients` is all traffic.
    """

    name: str
    percent: float
    began: float
    ended: float
    baseline: Tally
    candidate: Tally
    clients: Tally


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened; `at` is in seconds since the drill began."""

    at: float
    kind: Kind
    sentence: str


@dataclass(frozen=True, slots=True)
class Decision:
    """One interval that the library judged; `at` in seconds since the drill began."""

    at: float
    reached: VerdictReached


@dataclass(slots=True, kw_only=True)
class Times:
    """When it happened, monotonic seconds; None if it did not.

    `tripped` is when we were told, a little after the flag was off. `last_candidate` is when the last request that was
    given the candidate began. `recovered` is when the clients' first good second of several began.
    """

    began: float
    fault_on: float | None = None
    first_strike: float | None = None
    tripped: float | None = None
    last_candidate: float | None = None
    recovered: float | None = None

    def to_trip(self) -> float | None:
        """Seconds from the first bad request to the flag being off."""
        return _between(self.first_strike, self.tripped)

    def to_recover(self) -> float | None:
        """Seconds from the flag being off to good service."""
        return _between(self.tripped, self.recovered)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What a drill found. What it means is for `check` to say. `strikes` counts the requests that were struck."""

    plan: Plan
    slos: tuple[Slo, ...]
    began_at: float
    seconds: float
    times: Times
    phases: tuple[Phase, ...]
    moments: tuple[Moment, ...]
    decisions: tuple[Decision, ...]
    strikes: int


def _between(began: float | None, ended: float | None) -> float | None:
    return None if began is None or ended is None else ended - began
