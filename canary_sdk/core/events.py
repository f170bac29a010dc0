"""What happened, as values: every decision returns these, and the runtime tells others after it has acted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from canary_sdk.core.judge import Verdict


class Severity(StrEnum):
    """How loudly an event is told."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened at a wall-clock time (seconds since the epoch)."""

    at: float

    @property
    def severity(self) -> Severity:
        """How loudly to tell it."""
        return Severity.INFO

    @property
    def sentence(self) -> str:
        """What happened, for a person."""
        return type(self).__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagEvent(Event):
    """Something that happened to one flag."""

    flag_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagsChanged(Event):
    """The flag table is another one: these flags came, went or are configured differently, at this store version."""

    version: int
    flag_keys: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Which flags are served differently from now on."""
        return f"{', '.join(self.flag_keys)} changed, as of version {self.version} of the store"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictReached(FlagEvent):
    """One interval of a flag was judged; `breaches` is how many blaming breaches have now followed each other."""

    verdict: Verdict
    breaches: int

    @property
    def sentence(self) -> str:
        """The verdict's own sentence."""
        return f"{self.flag_key}: {self.verdict.sentence}"


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentSuspected(FlagEvent):
    """Both arms breach in the same way: the feature is not to blame, but somebody should look."""

    verdict: Verdict

    @property
    def severity(self) -> Severity:
        """Somebody should look."""
        return Severity.WARNING

    @property
    def sentence(self) -> str:
        """Say that the feature is not blamed, and what is wrong."""
        return f"{self.flag_key} is not to blame: the baseline breaches as well. {self.verdict.sentence}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagTripped(FlagEvent):
    """The breaker opened: the flag serves its baseline from the next evaluation on."""

    reason: str
    verdict: Verdict | None = None

    @property
    def severity(self) -> Severity:
        """A feature was taken back."""
        return Severity.CRITICAL

    @property
    def sentence(self) -> str:
        """What was switched off, and why."""
        return f"{self.flag_key} was switched off: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TripWithheld(FlagEvent):
    """The breaker would have opened, but automatic rollback is not enabled; the candidate is still being served."""

    reason: str
    verdict: Verdict

    @property
    def severity(self) -> Severity:
        """Somebody should look."""
        return Severity.WARNING

    @property
    def sentence(self) -> str:
        """What would have been switched off, and why."""
        return f"{self.flag_key} would have been switched off, had automatic rollback been enabled: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagKilled(FlagEvent):
    """A person pulled the kill switch."""

    reason: str

    @property
    def severity(self) -> Severity:
        """A feature was taken back."""
        return Severity.CRITICAL

    @property
    def sentence(self) -> str:
        """What was switched off, and why."""
        return f"{self.flag_key} was killed: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagReleased(FlagEvent):
    """A person let go of the kill switch; a tripped breaker stays tripped."""

    @property
    def sentence(self) -> str:
        """What was let go."""
        return f"{self.flag_key} is no longer held by the kill switch"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagReset(FlagEvent):
    """A person cleared a tripped breaker."""

    @property
    def sentence(self) -> str:
        """What may serve again."""
        return f"{self.flag_key} was reset and may serve its candidate again"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeStarted(FlagEvent):
    """The breaker is half open: a small share gets the candidate again, and is watched."""

    percent: float

    @property
    def severity(self) -> Severity:
        """The candidate is being served again."""
        return Severity.WARNING

    @property
    def sentence(self) -> str:
        """Who is probed."""
        return f"{self.flag_key} is probed with {self.percent:g} % of its users"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeExpired(FlagEvent):
    """A probe found no answer in its time: the breaker is open again, and another probe follows later."""

    after_s: float

    @property
    def sentence(self) -> str:
        """How long it was tried, and that it is off."""
        return f"{self.flag_key} is off again: its probe found no answer in {self.after_s:.0f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagRecovered(FlagEvent):
    """A probe passed: the breaker closed by itself."""

    verdict: Verdict

    @property
    def sentence(self) -> str:
        """What serves again."""
        return f"{self.flag_key} passed its probe and serves its candidate again"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRecovered(FlagEvent):
    """After a trip, the live traffic keeps its SLOs again; `after_s` is the time since the trip."""

    after_s: float
    verdict: Verdict

    @property
    def sentence(self) -> str:
        """How long it took."""
        return f"{self.flag_key}: service recovered {self.after_s:.1f} s after the flag was switched off"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryOverdue(FlagEvent):
    """After a trip, the live traffic still breaches when the timeout is over: the feature was not the only cause."""

    after_s: float
    verdict: Verdict

    @property
    def severity(self) -> Severity:
        """The rollback did not help."""
        return Severity.CRITICAL

    @property
    def sentence(self) -> str:
        """Say that the rollback did not help."""
        off = f"{self.flag_key} has been off for {self.after_s:.0f} s"
        return f"{off} and service has not recovered: {self.verdict.sentence}"
