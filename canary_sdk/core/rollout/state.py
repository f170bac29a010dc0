"""Where a rollout stands, as a value that survives the process that made it. It decides nothing; `advance` does.

    IDLE       never started: the flag's own percentage counts
    SCHEDULED  ordered, and waiting for its time
    RUNNING    a stage bakes
    HELD       the stage is over, or disturbed, and something is missing before it may go on; `reason` says what
    PAUSED     a person holds it where it is
    PROMOTED   everybody is served; it is watched for as long as the plan says
    ABORTED    nobody is served; final until a person restarts it

Stages are counted from 1. Stage 0 is before the first, when everybody has the baseline and it is measured; the one
after the last is the watch that follows the promotion.

Nothing here is a clock reading that another process could misread: `stage_s`, `baked_s` and `starved_s` are stretches
of time that some controller really watched, added up, and what ends in `_at` is wall time and only shown, except for a
scheduled start. `seq` grows by one with every change, so that of two writers one loses: store a state only where the
stored one has the `seq` that this one grew from.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.core.events import RolloutAborted, RolloutPromoted, StageStarted
from canary_sdk.core.judge.slo import say_seconds
from canary_sdk.core.judge.tally import Tally
from canary_sdk.core.plan import Plan
from canary_sdk.core.rollout.journal import Transition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from canary_sdk.core.events import Event
    from canary_sdk.core.flags.flag import Flag


class Status(StrEnum):
    """Where a rollout stands."""

    IDLE = "IDLE"
    SCHEDULED = "SCHEDULED"
    RUNNING = "RUNNING"
    HELD = "HELD"
    PAUSED = "PAUSED"
    PROMOTED = "PROMOTED"
    ABORTED = "ABORTED"


class Cause(StrEnum):
    """What a rollout waits for."""

    PLAN = "plan"
    KILLED = "killed"
    DEADLINE = "deadline"
    BREACH = "breach"
    EVIDENCE = "evidence"
    APPROVAL = "approval"
    BLACKOUT = "blackout"
    PARALLEL = "parallel"


def person(name: str) -> str:
    """Return what tells one person from another: blanks around a name and capitals do not."""
    return name.strip().casefold()


@dataclass(frozen=True, slots=True)
class By:
    """Who ordered something, at which wall time in seconds, and why."""

    who: str
    at: float
    why: str = ""

    def __str__(self) -> str:
        """Name the person, and the reason if one was given."""
        return f"{self.who}: {self.why}" if self.why else self.who

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON types."""
        return {"who": self.who, "at": self.at, "why": self.why}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> By:
        """Read what was stored."""
        return cls(str(data["who"]), float(data["at"]), str(data.get("why", "")))


@dataclass(frozen=True, slots=True)
class Approval:
    """A role's consent that a stage may be entered; it holds for one attempt."""

    stage: int
    role: str
    by: By

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON types."""
        return {"stage": self.stage, "role": self.role, "by": self.by.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Approval:
        """Read what was stored."""
        return cls(int(data["stage"]), str(data["role"]), By.from_dict(data["by"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The rollout of one flag in one environment.

    `percent` is what is served now, instead of the flag's own percentage, unless IDLE. `stages` and `bake_s` are the
    plan's, for those who have only this; `plan` is the fingerprint of the plan that is followed. `stage_s` is how long
    this stage has been watched, `baked_s` the part of it that counts as bake time, `starved_s` how long it has waited
    for evidence since. `told` are the causes of a hold that people have been told of in this stage. `baseline` is what
    was counted before stage 1, when everybody had the baseline: it is what a report holds the stages beside.
    `controller` is the host that moves it on, empty where none has begun to; `setting` is the fingerprint of what it is
    run by, as it was written down last.
    """

    flag_key: str
    seq: int = 0
    attempt: int = 0
    status: Status = Status.IDLE
    reason: str = ""
    stage: int = 0
    stages: int = 0
    percent: float = 0.0
    plan: str = ""
    bake_s: float = 0.0
    stage_s: float = 0.0
    baked_s: float = 0.0
    starved_s: float = 0.0
    overdue: bool = False
    told: tuple[Cause, ...] = ()
    start_at: float = 0.0
    entered_at: float = 0.0
    ticked_at: float = 0.0
    started: By | None = None
    ordered: By | None = None
    approvals: tuple[Approval, ...] = ()
    baseline: Tally | None = None
    controller: str = ""
    setting: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether nothing can happen by itself any more, save a trip."""
        watched = self.status is Status.PROMOTED and self.stage_s >= self.bake_s
        return watched or self.status in (Status.IDLE, Status.ABORTED)

    @property
    def is_under_way(self) -> bool:
        """Whether it takes one of the places that plans with `parallel` count."""
        return self.status in (Status.RUNNING, Status.HELD, Status.PAUSED) and self.stage > 0

    def describe(self, at: float) -> str:
        """Return where it stands in one line, at wall time `at`."""
        words = f"{self.flag_key} {self.status}{self._progress(at)}"
        return f"{words}: {self.reason}" if self.reason else words

    def _progress(self, at: float) -> str:
        match self.status:
            case Status.IDLE:
                return ""
            case Status.SCHEDULED:
                return f", starts in {say_seconds(self.start_at - at)}" if self.start_at > at else ", about to start"
            case Status.PROMOTED | Status.ABORTED:
                return f" {say_seconds(max(at - self.entered_at, 0.0))} ago"
            case _:
                stage = f"stage {self.stage} of {self.stages} at {self.percent:g} %"
                return f", {stage}, baked {say_seconds(self.baked_s)} of {say_seconds(self.bake_s)}"

    def to_dict(self) -> dict[str, object]:
        """Return what is stored, as JSON types."""
        return {each.name: _plain(getattr(self, each.name)) for each in fields(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Rollout:
        """Read what was stored; keys that are not known are left alone, and what is missing is as at first.

        Raises:
            KeyError, TypeError, ValueError: for what no release has written.
        """
        return cls(**{each.name: _read(each, data[each.name]) for each in fields(cls) if each.name in data})


def _plain(value: Any) -> object:
    match value:
        case tuple():
            return [_plain(item) for item in value]
        case StrEnum():
            return value.value
        case Tally():
            return value.to_list()
        case By() | Approval():
            return value.to_dict()
        case _:
            return value


def _read(field: Field[Any], found: Any) -> Any:
    """Read one field: by its own reader, or as what its default is."""
    if field.name in _READ:
        return _READ[field.name](found)
    kind = str if field.name == "flag_key" else type(field.default)
    if not isinstance(found, int | float if kind is float else kind):
        raise TypeError(f"{field.name} is {found!r}")
    return found


def _by(found: Any) -> By | None:
    return None if found is None else By.from_dict(found)


_READ: Final[Mapping[str, Any]] = {
    "status": Status,
    "told": lambda found: tuple(map(Cause, found)),
    "started": _by,
    "ordered": _by,
    "approvals": lambda found: tuple(map(Approval.from_dict, found)),
    "baseline": lambda found: None if found is None else Tally.from_list(found),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """What a controller remembers, in memory only, of the last state it stored: its `seq`, and when it had done so.

    From it follows the `elapsed_s` of the next tick. Whoever has stored nothing, or finds that somebody else has since,
    has watched nothing: 0. So the stretches that are added up never overlap and never reach into a time when nobody
    was there, whatever the wall clock says; a change of controller costs at most the tick in which it happens.
    """

    seq: int
    monotonic_s: float

    def elapsed_s(self, state: Rollout, monotonic_s: float) -> float:
        """Return how long this controller has watched `state`, by its own monotonic clock."""
        return monotonic_s - self.monotonic_s if state.seq == self.seq else 0.0


def is_tick(before: Rollout, after: Rollout) -> bool:
    """Tell whether only time has passed between two states, so that nobody but the journal needs to know.

    They are compared as they are stored: one of them may have been read from there, with figures that are shorter.
    """
    return before.to_dict() | {name: _plain(getattr(after, name)) for name in _TICKING} == after.to_dict()


_TICKING: Final = ("seq", "reason", "stage_s", "baked_s", "starved_s", "ticked_at")
"""What changes from tick to tick; the reason of a hold may name an age. A new cause of one stands in `told` as well."""


def led_by(flag: Flag, state: Rollout | None) -> Flag:
    """Return the flag as it is served: while there is a rollout, with its percentage and the promises of its stage.

    A stage that names no SLOs keeps those of the flag, the hard and the soft each for themselves; what the stage calls
    soft only holds, whatever the flag calls it. Before stage 1 the flag's own promises hold.
    """
    if state is None or state.status is Status.IDLE:
        return flag
    plan = flag.plan
    hard, soft = (plan.slos(state.stage), plan.soft(state.stage)) if isinstance(plan, Plan) else ((), ())
    slos = tuple(slo for slo in hard or flag.slos if slo not in soft)
    return replace(
        flag, rollout=state.percent, slos=slos, soft=soft or tuple(slo for slo in flag.soft if slo not in slos)
    )


def missing_roles(plan: Plan, state: Rollout, stage: int) -> tuple[str, ...]:
    """Return the roles that have not agreed to `stage` yet."""
    given = {approval.role for approval in state.approvals if approval.stage == stage}
    return tuple(role for role in plan.roles(stage) if role not in given)


def entered(plan: Plan, state: Rollout, stage: int, at: float, by: By | None = None) -> tuple[Rollout, Event]:
    """Return the rollout as it enters a stage, or is promoted, and what to tell; `by` whom, if not by itself."""
    promoted = stage > plan.last
    reason = f"by {by}" if by else f"all {plan.last} stages kept their promises" if promoted else "baking"
    after = replace(
        state,
        status=Status.PROMOTED if promoted else Status.RUNNING,
        reason=reason,
        stage=stage,
        stages=plan.last,
        percent=plan.percent(stage),
        plan=plan.fingerprint,
        bake_s=plan.bake_s(stage),
        stage_s=0.0,
        baked_s=0.0,
        starved_s=0.0,
        overdue=False,
        told=(),
        entered_at=at,
    )
    if promoted:
        return after, RolloutPromoted(flag_key=state.flag_key, at=at, reason=reason, watch_s=plan.watch_s)
    started = StageStarted(
        flag_key=state.flag_key, at=at, stage=stage, stages=plan.last, percent=after.percent, by=str(by or "")
    )
    return after, started


def aborted(state: Rollout, at: float, reason: str) -> tuple[Rollout, Event]:
    """Return the rollout as nobody is served any more, and what to tell."""
    after = replace(state, status=Status.ABORTED, reason=reason, percent=0.0, entered_at=at)
    told = RolloutAborted(
        flag_key=state.flag_key,
        at=at,
        stage=state.stage,
        percent=state.percent,
        reason=reason,
        promoted=state.status is Status.PROMOTED,
    )
    return after, told


def transition(before: Rollout, after: Rollout, at: float) -> Transition | None:
    """Return the journal's record of a change, or None if only counts have changed."""
    if (before.status, before.stage, before.attempt) == (after.status, after.stage, after.attempt):
        return None
    return Transition(
        flag_key=after.flag_key,
        at=at,
        seq=after.seq,
        attempt=after.attempt,
        before=before.status,
        after=after.status,
        stage=after.stage,
        percent=after.percent,
        who=after.ordered.who if after.ordered and after.ordered != before.ordered else "",
        reason=after.reason,
        baseline=after.baseline if before.stage < after.stage == 1 else None,
    )
