"""What the package asks of the outside: a store of versioned documents, and somebody to tell.

A `FlagStore` keeps JSON documents by kind and key and knows nothing of flags: that is what a backend implements. A
`Repository` speaks of flags and breakers: that is what the runtime asks for, implemented once over any backend.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, runtime_checkable

from canary_sdk.core.config.fields import differences

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from os import PathLike

    from canary_sdk.core.breaker import AutoRollback, Breaker
    from canary_sdk.core.config.channels import Channel
    from canary_sdk.core.config.fields import Difference, Fields
    from canary_sdk.core.events import Event
    from canary_sdk.core.flags.evaluation import Evaluation
    from canary_sdk.core.flags.flag import Condition, Flag
    from canary_sdk.core.rollout.journal import Record
    from canary_sdk.core.rollout.state import Rollout

    Note = Callable[[tuple[str, BaseException | str, str]], None]


@dataclass(frozen=True, slots=True)
class Document:
    """One stored document. `revision` starts at 1 and grows by one with every change of this document."""

    kind: str
    key: str
    body: str
    revision: int


@dataclass(frozen=True, slots=True)
class Change:
    """One wanted change; `body` None deletes.

    `expected` is the revision that must be current: 0 for "must not exist", None for "whatever is there". A `quiet` one
    is for what changes every few seconds: it counts the revision up like any other, but leaves no audit row and the
    store's version as it is, so that nobody is woken by it.
    """

    kind: str
    key: str
    body: str | None
    expected: int | None = None
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class JournalLine:
    """One line of the journal of `key`, written at a wall time; the store numbers it, `id` is 0 until it has."""

    key: str
    at: float
    text: str
    id: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All documents at one moment, and the version of the store then; quiet changes do not tell in the version."""

    version: int
    documents: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One change that really happened: who, when (wall seconds), why, from, to.

    After it the document is at `revision`, 0 if it is gone, and the store at `version`.
    """

    id: int
    at: float
    actor: str
    reason: str
    kind: str
    key: str
    before: str | None
    after: str | None
    version: int
    revision: int


@dataclass(frozen=True, slots=True)
class Cut:
    """What may go: what is older than `before` (wall seconds), and all beyond the newest `most`; None is no bound."""

    before: float | None = None
    most: int | None = None

    def takes(self, at: float, place: int) -> bool:
        """Tell whether it takes what was written at `at` and is the newest, the second newest, … (`place` 1, 2, …)."""
        return (self.before is not None and at < self.before) or (self.most is not None and place > self.most)


class Removed(NamedTuple):
    """How much has gone."""

    journal: int = 0
    audit: int = 0


class FlagStore(Protocol):
    """Where flags and breakers persist. Threads: every method may be called from any thread; none on a request path.

    Every method raises `StoreError` when the store cannot be reached or answers wrongly.
    """

    def version(self) -> int:
        """Return the version that `load` would return; cheap, for polling. 0 when nothing was ever written."""

    def load(self) -> Snapshot:
        """Return every document at one version."""

    def commit(
        self,
        changes: Sequence[Change],
        *,
        actor: str,
        reason: str,
        at: float,
        journal: Sequence[JournalLine] = (),
    ) -> int:
        """Apply all changes and append the lines of the journal, or nothing; return the version afterwards.

        Each real change that is not quiet leaves one audit row; one whose body equals the stored one writes nothing.
        Raises `StaleWrite` when an `expected` does not hold.
        """

    def audit(
        self, *, kind: str | None = None, key: str | None = None, until: int | None = None, limit: int = 100
    ) -> tuple[AuditRow, ...]:
        """Return the newest audit rows first, of those whose id is at most `until`."""

    def journal(self, key: str, *, after: int = 0, limit: int = 1_000) -> tuple[JournalLine, ...]:
        """Return the oldest lines of a key first, of those whose id is more than `after`; ids only grow."""

    def compact(
        self, journal: Cut, audit: Cut, spared: Collection[tuple[str, str]] = (), *, limit: int = 1_000
    ) -> Removed:
        """Remove what may go, the oldest first, at most `limit` lines and as many rows; return how many went.

        `most` counts the lines of each key, and all audit rows together. What concerns a `spared` document, by kind and
        key, stays: its audit rows, and the journal of that key. Neither version nor documents change.
        """

    def close(self) -> None:
        """Release what is held; idempotent."""


@runtime_checkable
class Pushing(Protocol):
    """What a `FlagStore` may offer as well: word of a change at once. Polling repairs whatever word was lost."""

    def has_news(self) -> bool:
        """Return whether something may have changed since `version` was last asked; never waits for an answer.

        Ten times a second, by one thread at a time. False while the store is away: `version` is what reaches it again.
        """


@dataclass(frozen=True, slots=True)
class Notice:
    """What one author has put up for others to read, `age_s` ago by the store's own clock."""

    author: str
    body: str
    age_s: float


NOTICE_S: Final = 600.0
"""How long a notice stays up that is not renewed."""


@runtime_checkable
class Board(Protocol):
    """What a `FlagStore` may offer as well: a board, on which hosts put up what is worth knowing for a moment.

    A notice is no document: it raises no version, leaves no audit row, waits for no commit, and need not outlive the
    server. Threads: any. Raises `StoreError` when the store cannot be reached or answers wrongly.
    """

    def put_up(self, topic: str, author: str, body: str | None) -> None:
        """Put up a notice in the place of the author's last one on the topic; None takes that down."""

    def notices(self, topic: str) -> tuple[Notice, ...]:
        """Return the notices on a topic, in the order of their authors; those older than `NOTICE_S` are gone."""


class EventSink(Protocol):
    """Somebody who is told. Called by the background thread, one event at a time, never while a lock is held."""

    def handle(self, event: Event) -> None:
        """Take the event; what is raised here is counted and logged, and stops nothing."""


class Ended(NamedTuple):
    """How a unit of work ended. `duration_s` is what it is judged by: of a streamed answer, the time to its start.

    `is_request` tells an HTTP request from any other unit. `status` is 0 where no response was begun; `route` is a
    template, never a path.
    """

    duration_s: float
    is_error: bool
    is_aborted: bool
    is_request: bool
    status: int
    route: str | None


@runtime_checkable
class Counting(Protocol):
    """What an `EventSink` may offer as well: to count along every unit of work that met a flag, once it has ended."""

    def finished(self, evaluations: Sequence[Evaluation], ended: Ended) -> None:
        """Count it. Called by the background for each unit; what is raised here is counted, and stops nothing."""


@runtime_checkable
class Tracing(Protocol):
    """What an `EventSink` may offer as well: to be told of every flag that a unit of work meets, as it meets it."""

    def answered(self, evaluation: Evaluation) -> None:
        """Take the answer, while the request waits for it; what is raised here is counted, and stops nothing."""


@runtime_checkable
class Draining(Protocol):
    """What an `EventSink` may offer as well: to get rid of what still waits to be passed on, at the end."""

    def drain(self, timeout_s: float) -> None:
        """Pass on what waits, and stop; for at most that long."""


@runtime_checkable
class Notifying(Protocol):
    """What an `EventSink` may offer as well: to tell the people whom the configuration names."""

    def configure(self, channels: Sequence[Channel]) -> None:
        """Tell these from now on. Called whenever they may have changed, not while a request waits."""


class FlagHealth(Protocol):
    """One flag, as far as those who report on it look at it."""

    @property
    def flag(self) -> Flag:
        """The flag as it is served."""

    @property
    def breaker(self) -> Breaker:
        """Whether it may be served."""


class Health(Protocol):
    """How a process is, as far as those who report on it look at it."""

    @property
    def flags(self) -> Mapping[str, FlagHealth]:
        """Every flag."""

    @property
    def rollouts(self) -> Mapping[str, Rollout]:
        """The rollouts that there are, by flag."""

    @property
    def dropped(self) -> int:
        """Units and calls that were never counted."""

    @property
    def failures(self) -> Mapping[str, int]:
        """What failed inside, by place."""

    @property
    def stale(self) -> str:
        """Why the store cannot be read, or empty."""

    @property
    def judge_lag_s(self) -> float:
        """How long the next reading of the arms is overdue."""


class Noting(Protocol):
    """Where failures are counted, and said once."""

    @property
    def note(self) -> Note:
        """Count one: where, what, and what to do about it. Costs an append, and cannot fail."""


class Observed(Protocol):
    """A `Canary`, as those see it who report on it."""

    @property
    def failures(self) -> Noting:
        """Where failures of whoever reports are counted."""

    @property
    def environment(self) -> str:
        """Where it serves."""

    def subscribe(self, sink: EventSink) -> None:
        """Tell `sink` of everything from now on."""

    def unsubscribe(self, sink: EventSink) -> None:
        """Tell it nothing any more."""

    def status(self) -> Health:
        """Return how it is."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store holds for one environment, in the words of the domain.

    `damaged` names documents that could not be read, with the reason: whoever had a good one before keeps it. The
    `segments` hold all that the flags refer to; the plan of a flag is the plan itself, None where it cannot be had. The
    `channels` are those that are to be told. The `roles` say who may approve: empty where that was not declared, None
    where it cannot be read.
    """

    version: int
    flags: Mapping[str, Flag]
    policy: AutoRollback
    breakers: Mapping[str, Breaker]
    damaged: Mapping[str, str]
    segments: Mapping[str, Condition] = field(default_factory=dict)
    rollouts: Mapping[str, Rollout] = field(default_factory=dict)
    channels: tuple[Channel, ...] = ()
    roles: Mapping[str, Collection[str]] | None = field(default_factory=dict)

    def under_way(self, besides: str) -> int:
        """Return how many rollouts are under way, those of deleted flags and that of the flag `besides` left out."""
        return sum(each.is_under_way for key, each in self.rollouts.items() if key != besides and key in self.flags)


@dataclass(frozen=True, slots=True)
class Stamp:
    """Who changes something, why, and when (wall seconds)."""

    actor: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class StoredFlag:
    """One flag as it is stored: the fields that hold now, and those that were declared last.

    `damaged` says why it cannot be read, and is empty where it can.
    """

    key: str
    revision: int
    fields: Fields
    declared: Fields
    damaged: str = ""

    @property
    def drift(self) -> tuple[Difference, ...]:
        """What operators have changed since it was declared, and what applying the declaration again leaves alone."""
        return differences(self.declared, self.fields)


class Action(StrEnum):
    """What a change did."""

    CREATED = "CREATED"
    CHANGED = "CHANGED"
    DELETED = "DELETED"
    KILLED = "KILLED"
    RELEASED = "RELEASED"
    TRIPPED = "TRIPPED"
    PROBED = "PROBED"
    RECOVERED = "RECOVERED"
    RESET = "RESET"


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One change, in the words of the domain; `id` is what `undo` asks for.

    `kind` says what was changed, and `key` which: a flag, its breaker or rollout, a segment, a plan, or the one
    `auto_rollback`.
    `environment` is where it applies, empty where that is everywhere. Nothing is different where only the declaration
    caught up with what held. After it, what was changed is at `revision`.
    """

    id: int
    at: float
    actor: str
    reason: str
    action: Action
    kind: str
    key: str
    environment: str
    differences: tuple[Difference, ...]
    revision: int

    @property
    def name(self) -> str:
        """What was changed, for people: a flag by its key alone."""
        return f"{self.kind} {self.key}" if self.kind in {"segment", "plan"} else self.key

    @property
    def sentence(self) -> str:
        """What changed, in one line."""
        if self.action is not Action.CHANGED:
            return str(self.action).lower()
        return ", ".join(map(str, self.differences)) or "declared as it was"


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One line of a rollout's journal, read; `record` is None where it cannot be, and `problem` says why."""

    id: int
    at: float
    record: Record | None
    problem: str = ""


class Repository(Protocol):
    """The store as the runtime sees it: flags, policy and breakers of one environment. Threads: any; all do I/O.

    Every method raises `StoreError` when the store cannot be reached or answers wrongly.
    """

    def version(self) -> int:
        """Return the store's version; cheap, for polling."""

    def has_news(self) -> bool:
        """Return whether it is worth asking for the version before the next poll; never waits, never raises."""

    def load(self) -> Stored:
        """Return everything at one version."""

    def apply(self, config: Mapping[str, object] | PathLike[str] | str, stamp: Stamp, *, force: bool) -> int:
        """Declare everything in a file or a dictionary, all or nothing, and return the store's version.

        What operators changed stays where the declaration did not change, unless `force`. Raises `ConfigError`.
        """

    def update(
        self,
        flag_key: str,
        changes: Mapping[str, object],
        stamp: Stamp,
        *,
        environment: str | None,
        expected: int | None,
        force: bool = False,
    ) -> int:
        """Change some fields of a flag, or of one environment's overrides, and return the flag's revision.

        None removes a field. Raises `ConfigError`, `StaleWrite`, and `CanaryError` for an unknown flag; `Refused` where
        a rollout has the percentage that would be changed, unless `force`.
        """

    def delete(self, flag_key: str, stamp: Stamp, *, expected: int | None) -> int:
        """Delete a flag and return the revision of what is left of it. Raises as `update`."""

    def undo(self, change_id: int, stamp: Stamp, *, force: bool) -> int:
        """Restore what a change replaced and return the revision afterwards.

        Raises `StaleWrite` if its fields were changed since, unless `force`; `Refused` if it cannot be undone.
        """

    def save_breakers(
        self, breakers: Mapping[str, Breaker], stamp: Stamp, grown_from: Mapping[str, Breaker] | None = None
    ) -> int:
        """Store the state of breakers and return the version afterwards.

        A state has `grown_from` what its owner had last read; a flag that is not named there, from a closed breaker. If
        another was stored meanwhile, it gives way where it holds back the same as that one, or as what it grew from.
        """

    def save_rollout(
        self, rollout: Rollout, stamp: Stamp, records: Sequence[Record] = (), *, parallel: int | None = None
    ) -> None:
        """Store the next state of a rollout together with what is to be written down of it.

        Where only time has passed, quietly: nobody is woken, and no audit row is left. Raises `StaleWrite` where the
        stored state is not the one that this one grew from, and where with it more than `parallel` would be under way,
        if it was not before: of several that begin at the same time, no more do than there is room for.
        """

    def journal(self, flag_key: str, *, after: int = 0, limit: int = 1_000) -> tuple[JournalEntry, ...]:
        """Return what was written down of a flag's rollouts, oldest first, of all that is newer than an id."""

    def put_up(self, flag_key: str, author: str, body: str | None) -> None:
        """Put up a notice about a flag for other hosts, in place of the author's last; None takes that down.

        Where the store has no board, nobody reads it.
        """

    def notices(self, flag_key: str) -> tuple[Notice, ...]:
        """Return the notices about a flag in this environment; none where the store has no board."""

    def flags(self) -> Mapping[str, StoredFlag]:
        """Return every flag as it is stored."""

    def history(self, flag_key: str | None, limit: int) -> tuple[HistoryRow, ...]:
        """Return the newest changes first, of one flag and its breakers or of everything."""

    def compact(self, at: float, limit: int) -> Removed:
        """Remove what the retention lets go at wall time `at`, at most so much at once; return how much went.

        It concerns all environments. Of a rollout that is under way, or that cannot be read, everything stays.
        """

    def export(self, path: PathLike[str] | str | None) -> dict[str, Any]:
        """Return everything declared, as it holds now, in the words of a configuration; write it to `path` if given."""

    def close(self) -> None:
        """Release what is held; idempotent."""
