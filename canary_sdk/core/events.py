"""What happened, as values: every decision returns these, and the runtime tells others after it has acted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from canary_sdk.core.judge.decision import Decision
    from canary_sdk.core.judge.verdict import Verdict


class Severity(StrEnum):
    """How loudly an event is told."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """How severe: 0 is the least."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened at a wall-clock time (seconds since the epoch)."""

    severity: ClassVar[Severity] = Severity.INFO

    at: float

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
class StoreLost(Event):
    """The store cannot be reached: what was served before is still being served, and may be out of date."""

    severity: ClassVar[Severity] = Severity.WARNING

    reason: str

    @property
    def sentence(self) -> str:
        """Why, and what is served meanwhile."""
        return f"the store is away, and what was served before is still being served: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRegained(Event):
    """The store answers again: what is served is current."""

    version: int

    @property
    def sentence(self) -> str:
        """What is served from now on."""
        return f"the store answers again, and version {self.version} of it is served"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessForked(Event):
    """This process was forked from one that had evaluated flags; told by the child, at its first use."""

    parent: int

    @property
    def sentence(self) -> str:
        """Say that nothing is shared with the parent but the arena's file."""
        return f"forked from process {self.parent}: begun anew, with a thread, connections and counters of its own"


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

    severity: ClassVar[Severity] = Severity.WARNING

    verdict: Verdict

    @property
    def sentence(self) -> str:
        """Say that the feature is not blamed, and what is wrong."""
        return f"{self.flag_key} is not to blame: the baseline breaches as well. {self.verdict.sentence}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagTripped(FlagEvent):
    """The breaker opened: the flag serves its baseline from the next evaluation on.

    `verdict` is there if the classic rule decided, `decision` if the sequential judge did.
    """

    severity: ClassVar[Severity] = Severity.CRITICAL

    reason: str
    verdict: Verdict | None = None
    decision: Decision | None = None

    @property
    def sentence(self) -> str:
        """What was switched off, and why."""
        return f"{self.flag_key} was switched off: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TripWithheld(FlagEvent):
    """The breaker would have opened, but this is a dry run; the candidate is still being served."""

    severity: ClassVar[Severity] = Severity.WARNING

    reason: str
    verdict: Verdict | None = None
    decision: Decision | None = None

    @property
    def sentence(self) -> str:
        """What would have been switched off, and why."""
        return f"{self.flag_key} would have been switched off, were this no dry run: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldAdvised(FlagEvent):
    """The sequential judge says that the release must not go on, and does not blame the candidate for it."""

    severity: ClassVar[Severity] = Severity.WARNING

    decision: Decision

    @property
    def sentence(self) -> str:
        """What holds it."""
        return f"{self.flag_key} is to be held where it is: {self.decision.sentence}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldLifted(FlagEvent):
    """What the sequential judge held a release for is over."""

    decision: Decision

    @property
    def sentence(self) -> str:
        """What it says now."""
        return f"{self.flag_key} need not be held any longer: {self.decision.sentence}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsersDiffer(FlagEvent):
    """The first who will get the candidate are worse off than the others already, while all get the baseline."""

    severity: ClassVar[Severity] = Severity.WARNING

    differences: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """In what they differ, and what can be done before the release."""
        return (
            f"{self.flag_key}: the first to get the candidate differ from the others before they get it "
            f"({'; '.join(self.differences)}); `canary resalt {self.flag_key}` draws others"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagKilled(FlagEvent):
    """A person pulled the kill switch."""

    severity: ClassVar[Severity] = Severity.CRITICAL

    reason: str

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
class OverrideServed(FlagEvent):
    """A unit of work was served a variant that a person forced for it alone."""

    variant: str
    actor: str

    @property
    def sentence(self) -> str:
        """What was served, and by whose leave."""
        return (
            f"{self.flag_key} served {self.variant!r} to one unit of work, by an override of {self.actor or 'somebody'}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeStarted(FlagEvent):
    """The breaker is half open: a small share gets the candidate again, and is watched."""

    severity: ClassVar[Severity] = Severity.WARNING

    percent: float

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

    severity: ClassVar[Severity] = Severity.CRITICAL

    after_s: float
    verdict: Verdict

    @property
    def sentence(self) -> str:
        """Say that the rollback did not help."""
        off = f"{self.flag_key} has been off for {self.after_s:.0f} s"
        return f"{off} and service has not recovered: {self.verdict.sentence}"


# --- rollouts ---


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutScheduled(FlagEvent):
    """A person started a rollout; it begins at wall time `start_at`, in seconds, or as soon as it may after that."""

    start_at: float
    by: str

    @property
    def sentence(self) -> str:
        """Who wants it."""
        return f"{self.flag_key}: a rollout was started by {self.by}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStarted(FlagEvent):
    """A rollout entered a stage; `by` whom, where it was not by itself."""

    stage: int
    stages: int
    percent: float
    by: str = ""

    @property
    def sentence(self) -> str:
        """How many are served from now on."""
        by = f", by {self.by}" if self.by else ""
        return f"{self.flag_key} is served to {self.percent:g} % now: stage {self.stage} of {self.stages}{by}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutHeld(FlagEvent):
    """A rollout waits for something that it had not waited for in this stage before."""

    severity: ClassVar[Severity] = Severity.WARNING

    stage: int
    reason: str

    @property
    def sentence(self) -> str:
        """What is missing."""
        return f"{self.flag_key} is held in stage {self.stage}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutsMeet(FlagEvent):
    """Two flags are rolled out at the same time, and the same units of work meet both."""

    severity: ClassVar[Severity] = Severity.WARNING

    other: str

    @property
    def sentence(self) -> str:
        """What that means for what is found of them."""
        return (
            f"{self.flag_key} and {self.other} are rolled out at the same time and met by the same requests: "
            "what one does to them is counted for the other too"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutOverdue(FlagEvent):
    """A stage has waited for its evidence longer than its deadline; a person has to decide."""

    severity: ClassVar[Severity] = Severity.CRITICAL

    stage: int
    waited_s: float
    reason: str

    @property
    def sentence(self) -> str:
        """How long it has waited, and for what."""
        return (
            f"{self.flag_key} has waited {self.waited_s:.0f} s for evidence in stage {self.stage}, "
            f"and a person has to decide: {self.reason}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPaused(FlagEvent):
    """A person holds a rollout where it is."""

    stage: int
    reason: str

    @property
    def sentence(self) -> str:
        """Who paused it, and why."""
        return f"{self.flag_key} was paused in stage {self.stage} {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutResumed(FlagEvent):
    """A person let a rollout go on."""

    stage: int
    reason: str

    @property
    def sentence(self) -> str:
        """Who resumed it, and why."""
        return f"{self.flag_key} goes on in stage {self.stage}, {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageApproved(FlagEvent):
    """Somebody agreed, for a role, that a stage may be entered."""

    stage: int
    role: str
    by: str

    @property
    def sentence(self) -> str:
        """Who agreed to what."""
        return f"{self.flag_key}: stage {self.stage} was approved for {self.role} by {self.by}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPromoted(FlagEvent):
    """Everybody is served the candidate, and it is watched for another `watch_s`."""

    reason: str
    watch_s: float

    @property
    def sentence(self) -> str:
        """Why it was promoted, and whether it is still watched."""
        watched = f", and is watched for another {self.watch_s:.0f} s" if self.watch_s else ""
        return f"{self.flag_key} was promoted, {self.reason}; it is served to everybody{watched}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEnded(FlagEvent):
    """After a promotion, the time is over in which a breach would have taken the candidate back."""

    after_s: float

    @property
    def sentence(self) -> str:
        """How long it was watched."""
        return f"{self.flag_key} is not watched any longer, {self.after_s:.0f} s after its promotion"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutAborted(FlagEvent):
    """Nobody is served the candidate any more, until a person restarts the rollout; `percent` is what was served."""

    severity: ClassVar[Severity] = Severity.CRITICAL

    stage: int
    percent: float
    reason: str
    promoted: bool = False

    @property
    def sentence(self) -> str:
        """Where it was aborted, and why."""
        where = "after its promotion" if self.promoted else f"in stage {self.stage} at {self.percent:g} %"
        return f"{self.flag_key} was aborted {where}: {self.reason}"
