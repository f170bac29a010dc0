"""Flags, policy and breakers of one environment, over any document store: where documents become values.

Every change is read, made and compared-and-set; whoever was overtaken looks again. So nobody's change is lost, and none
is made by halves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.core.breaker import AutoRollback, Breaker
from canary_sdk.core.config.configuration import parse_declaration
from canary_sdk.core.config.fields import ENVIRONMENTS, flat, patched
from canary_sdk.core.config.retention import Retention
from canary_sdk.core.rollout.state import Rollout, Status, is_tick
from canary_sdk.errors import CanaryError, ConfigError, Problem, Refused, StaleWrite, StoreError, UnknownFlag
from canary_sdk.ports import Board, Change, Cut, Pushing, Stored
from canary_sdk.stores import codec, files, history
from canary_sdk.stores.codec import Held
from canary_sdk.stores.percentages import dismissals
from canary_sdk.stores.references import check_references, take_out_unsound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from os import PathLike

    from canary_sdk.core.config.configuration import PlanDeclaration
    from canary_sdk.core.config.fields import Fields
    from canary_sdk.core.flags.flag import Flag
    from canary_sdk.core.rollout.journal import Record
    from canary_sdk.ports import (
        Document,
        FlagStore,
        HistoryRow,
        JournalEntry,
        JournalLine,
        Notice,
        Removed,
        Snapshot,
        Stamp,
        StoredFlag,
    )

    Amend = Callable[[Held, int], Held]

ATTEMPTS: Final = 100
"""How often a change is tried while others are writing the same documents; each time, one of them got through."""
MOST_LATER: Final = 100
"""How many changes are looked through to say what came after an older one."""


_STATES: Final = frozenset({codec.BREAKER, codec.ROLLOUT})
"""Kinds of documents that belong to a flag in one environment."""


class DocumentRepository:
    """Implements `ports.Repository`. Threads: as safe as the store; keeps no state of its own."""

    def __init__(self, store: FlagStore, environment: str) -> None:
        """Speak for one environment of `store`; nothing is opened."""
        self._store = store
        self._environment = environment
        self._decoded: Mapping[Document, Any] = {}

    # --- reading -----------------------------------------------------------------------------------------------------

    def version(self) -> int:
        """Return the store's version."""
        return self._store.version()

    def has_news(self) -> bool:
        """Return whether a store that pushes has heard of a change; False for one that does not."""
        return isinstance(self._store, Pushing) and self._store.has_news()

    def load(self) -> Stored:
        """Decode everything that is not as it was; what cannot be decoded is named in `damaged` and left out.

        What has not changed since the last reading is the same object as then.

        A rollout that cannot be decoded is there as an aborted one, so that nobody is served what nobody can judge.
        """
        return self._read(self._store.load())

    def _read(self, snapshot: Snapshot) -> Stored:
        found: dict[str, dict[str, Any]] = {kind: {} for kind in codec.DECODERS}
        damaged: dict[str, str] = {}
        before = self._decoded
        decoded: dict[Document, Any] = {}
        for document in filter(self._is_ours, snapshot.documents):
            try:
                value = before[document] if document in before else codec.DECODERS[document.kind](document)
            except CanaryError as error:
                damaged[f"{document.kind} {document.key}"] = str(error)
                if document.kind == codec.ROLLOUT:
                    key = document.key.rpartition("/")[2]
                    found[codec.ROLLOUT][key] = Rollout(flag_key=key, status=Status.ABORTED, reason=str(error))
                continue
            decoded[document] = value
            if value is not None:
                found[document.kind][document.key.rpartition("/")[2]] = value
        self._decoded = decoded
        take_out_unsound(found[codec.FLAG], found[codec.SEGMENT], damaged)
        plans = found[codec.PLAN]
        policy = found[codec.AUTO_ROLLBACK].get(codec.DEFAULT, AutoRollback())
        told = policy.notify or found[codec.CHANNEL]
        return Stored(
            snapshot.version,
            {key: _planned(flag.for_environment(self._environment), plans) for key, flag in found[codec.FLAG].items()},
            policy,
            found[codec.BREAKER],
            damaged,
            {key: segment.condition for key, segment in found[codec.SEGMENT].items()},
            found[codec.ROLLOUT],
            tuple(each.channel for key, each in found[codec.CHANNEL].items() if key in told),
            None if f"{codec.ROLES} {codec.DEFAULT}" in damaged else found[codec.ROLES].get(codec.DEFAULT, {}),
        )

    def flags(self) -> Mapping[str, StoredFlag]:
        """Return every flag as it is stored, in the order of their keys."""
        documents = (document for document in self._store.load().documents if document.kind == codec.FLAG)
        flags = (codec.stored_flag(document) for document in sorted(documents, key=lambda each: each.key))
        return {flag.key: flag for flag in flags if flag}

    def history(self, flag_key: str | None, limit: int) -> tuple[HistoryRow, ...]:
        """Return the newest changes first; those of one flag are its own, its breakers' and its rollouts', anywhere."""
        if flag_key is None:
            return tuple(map(history.told, self._store.audit(limit=limit)))
        places = {(codec.FLAG, flag_key)} | {
            (document.kind, document.key)
            for document in self._store.load().documents
            if document.kind in _STATES and document.key.rpartition("/")[2] == flag_key
        }
        rows = [row for kind, key in places for row in self._store.audit(kind=kind, key=key, limit=limit)]
        return tuple(map(history.told, sorted(rows, key=lambda row: row.id, reverse=True)[: max(limit, 0)]))

    def journal(self, flag_key: str, *, after: int = 0, limit: int = 1_000) -> tuple[JournalEntry, ...]:
        """Return what was written down of a flag's rollouts in this environment, oldest first."""
        lines = self._store.journal(codec.state_key(self._environment, flag_key), after=after, limit=limit)
        return tuple(map(codec.journal_entry, lines))

    def export(self, path: PathLike[str] | str | None) -> dict[str, Any]:
        """Return what holds now as a configuration; write it to `path` if given."""
        data = codec.exported(self._store.load())
        if path is not None:
            files.write(path, data)
        return data

    # --- changing ----------------------------------------------------------------------------------------------------

    def apply(self, config: Mapping[str, object] | PathLike[str] | str, stamp: Stamp, *, force: bool) -> int:
        """Declare everything in a file or a dictionary; all or nothing.

        Workers that start together all apply the same file: whoever comes second finds its documents changed, looks
        again, and usually finds nothing left to do.
        """
        with files.configuration(config) as data:
            declaration = parse_declaration(data)
            for snapshot in self._snapshots():
                changes = codec.changes_for(declaration, snapshot, force=force)
                check_references(snapshot, changes)
                version = self._committed(changes, stamp) if changes else snapshot.version
                if version is not None:
                    return version
        raise AssertionError

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
        """Change some fields of a flag, or of one environment's overrides; None removes a field."""
        if ENVIRONMENTS in changes:
            path = ("flags", flag_key, ENVIRONMENTS)
            raise ConfigError([Problem(path, "found in an update, expected the argument `environment` for its fields")])
        patch = flat(changes if environment is None else {ENVIRONMENTS: {environment: changes}})

        def amend(held: Held, _: int) -> Held:
            return Held(patched(self._existing(flag_key, held), patch), held.declared)

        return self._amend(codec.FLAG, flag_key, amend, stamp, expected=expected, force=force)

    def delete(self, flag_key: str, stamp: Stamp, *, expected: int | None) -> int:
        """Delete a flag; what was declared is remembered, so that declaring the same again does not bring it back."""

        def amend(held: Held, _: int) -> Held:
            self._existing(flag_key, held)
            return Held(None, held.declared)

        return self._amend(codec.FLAG, flag_key, amend, stamp, expected=expected)

    def undo(self, change_id: int, stamp: Stamp, *, force: bool) -> int:
        """Restore what a change replaced."""
        row = next(iter(self._store.audit(until=change_id, limit=1)), None)
        if row is None or row.id != change_id:
            raise Refused(f"there is no change {change_id} in this store; history() names those that there are")

        def amend(held: Held, revision: int) -> Held:
            return history.undone(row, held, revision, self._later(row.kind, row.key, row.id), force=force)

        return self._amend(row.kind, row.key, amend, stamp, force=force)

    def save_breakers(
        self, breakers: Mapping[str, Breaker], stamp: Stamp, grown_from: Mapping[str, Breaker] | None = None
    ) -> int:
        """Store the state of breakers, but none that gives way to what was stored since its owner had looked."""
        places = {codec.state_key(self._environment, key): breaker for key, breaker in breakers.items()}
        for snapshot in self._snapshots():
            documents = {each.key: each for each in snapshot.documents if each.kind == codec.BREAKER}
            changes = [
                Change(codec.BREAKER, place, codec.encode_breaker(breaker), document.revision if document else 0)
                for place, breaker in places.items()
                for document in (documents.get(place),)
                if not _gives_way(breaker, document, (grown_from or {}).get(breaker.flag_key))
            ]
            version = self._committed(changes, stamp) if changes else snapshot.version
            if version is not None:
                return version
        raise AssertionError

    def save_rollout(
        self, rollout: Rollout, stamp: Stamp, records: Sequence[Record] = (), *, parallel: int | None = None
    ) -> None:
        """Store the state that a rollout has grown to, and append to its journal, or neither."""
        snapshot = self._store.load()
        place = (codec.ROLLOUT, codec.state_key(self._environment, rollout.flag_key))
        document = _document(snapshot, *place)
        before = codec.decode_rollout(document) if document else Rollout(flag_key=rollout.flag_key)
        if before.seq + 1 != rollout.seq:
            raise StaleWrite(
                f"the rollout of {rollout.flag_key} is at step {before.seq}, and not at {rollout.seq - 1} as expected: "
                "somebody else was faster; look again and decide anew",
                found=before.seq,
                expected=rollout.seq - 1,
            )
        revision = document.revision if document else 0
        changes = [Change(*place, codec.encode_rollout(rollout), revision, quiet=is_tick(before, rollout))]
        if rollout.is_under_way and not before.is_under_way:
            changes.append(self._begins(snapshot, rollout, parallel))
        lines = [codec.journal_line(self._environment, record) for record in records]
        self._store.commit(changes, actor=stamp.actor, reason=stamp.reason, at=stamp.at, journal=lines)

    def _begins(self, snapshot: Snapshot, rollout: Rollout, parallel: int | None) -> Change:
        """Return the change by which of two rollouts that begin at the same time the second is overtaken.

        Raises `StaleWrite` where too many are under way by now.
        """
        others = 0 if parallel is None else self._read(snapshot).under_way(rollout.flag_key)
        if parallel is not None and others >= parallel:
            raise StaleWrite(
                f"{others} other rollouts are under way by now, at most {parallel} may be: look again",
                found=others,
                expected=parallel - 1,
            )
        last = _document(snapshot, codec.BEGUN, self._environment)
        return Change(
            codec.BEGUN, self._environment, codec.encode_begun(rollout), last.revision if last else 0, quiet=True
        )

    def put_up(self, flag_key: str, author: str, body: str | None) -> None:
        """Put up a notice about a flag, where the store has a board."""
        if isinstance(self._store, Board):
            self._store.put_up(codec.state_key(self._environment, flag_key), author, body)

    def notices(self, flag_key: str) -> tuple[Notice, ...]:
        """Return the notices about a flag in this environment."""
        if not isinstance(self._store, Board):
            return ()
        return self._store.notices(codec.state_key(self._environment, flag_key))

    def compact(self, at: float, limit: int) -> Removed:
        """Remove what the retention lets go, of all environments, and nothing of a rollout that is under way."""
        documents = self._store.load().documents
        found = [codec.decode_retention(each) for each in documents if each.kind == codec.RETENTION]
        retention = next(filter(None, found), Retention())
        spared = [place for each in documents if each.kind == codec.ROLLOUT and _goes_on(each) for place in _of(each)]
        journal = Cut(_before(at, retention.journal_s), retention.journal_lines)
        audit = Cut(_before(at, retention.audit_s), retention.audit_rows)
        return self._store.compact(journal, audit, spared, limit=limit)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _is_ours(self, document: Document) -> bool:
        """Tell whether it is of a kind that is read, and for this environment."""
        if document.kind in _STATES:
            return document.key.startswith(f"{self._environment}/")
        return document.kind in codec.DECODERS

    def _amend(
        self, kind: str, key: str, amend: Amend, stamp: Stamp, *, expected: int | None = None, force: bool = False
    ) -> int:
        """Change one document to what `amend` makes of it and its revision; return the revision afterwards.

        To `force` it takes a percentage out of the hands of a rollout, and stands in the audit rows.
        """
        for snapshot in self._snapshots():
            document = _document(snapshot, kind, key)
            found = document.revision if document else 0
            if document and expected not in {None, found}:
                raise history.stale(key, found, expected or 0, self._later(kind, key, expected or 0))
            before = codec.decode(document) if document else codec.NOTHING
            after = codec.checked(kind, key, amend(before, found))
            change = Change(kind, key, codec.encode(after), expected=found)
            if document and document.body == change.body:
                return found
            check_references(snapshot, [change])
            taken: list[Change] = []
            lines: list[JournalLine] = []
            if kind == codec.FLAG and after.fields is not None:
                taken, lines = dismissals(snapshot, key, before, after, stamp, force=force)
            signed = replace(stamp, reason=f"forced: {stamp.reason}".rstrip(": ")) if taken else stamp
            if self._committed([change, *taken], signed, lines) is not None:
                return found + 1
        raise AssertionError

    def _snapshots(self) -> Iterator[Snapshot]:
        """Look again and again, for whoever may be overtaken between looking and writing."""
        for _ in range(ATTEMPTS):
            yield self._store.load()
        raise StoreError(f"{ATTEMPTS} times somebody else changed the same before this could be written; try again")

    def _committed(self, changes: Sequence[Change], stamp: Stamp, lines: Sequence[JournalLine] = ()) -> int | None:
        """Return the version after these changes, None if somebody else was faster."""
        try:
            return self._store.commit(changes, actor=stamp.actor, reason=stamp.reason, at=stamp.at, journal=lines)
        except StaleWrite:
            return None

    def _later(self, kind: str, key: str, revision: int) -> Iterator[HistoryRow]:
        """Return what happened to a document after it was at `revision`, newest first."""
        rows = self._store.audit(kind=kind, key=key, limit=MOST_LATER)
        return (history.told(row) for row in rows if row.revision > revision)

    def _existing(self, flag_key: str, held: Held) -> Fields:
        if held.fields is None:
            raise UnknownFlag(flag_key, self.flags())
        return held.fields


def _planned(flag: Flag, plans: Mapping[str, PlanDeclaration]) -> Flag:
    """Return the flag with its plan in the place of the plan's name."""
    if not isinstance(flag.plan, str):
        return flag
    shared = plans.get(flag.plan)
    return replace(flag, plan=shared.plan if shared else None)


def _document(snapshot: Snapshot, kind: str, key: str) -> Document | None:
    return next((each for each in snapshot.documents if (each.kind, each.key) == (kind, key)), None)


def _before(at: float, age_s: float | None) -> float | None:
    return None if age_s is None else at - age_s


def _goes_on(document: Document) -> bool:
    """Tell whether a rollout may still move; one that cannot be read may."""
    try:
        return not codec.decode_rollout(document).is_settled
    except StoreError:
        return True


def _of(rollout: Document) -> Iterator[tuple[str, str]]:
    """Return the documents whose history is that of a rollout: itself, the breaker, and the flag."""
    yield codec.ROLLOUT, rollout.key
    yield codec.BREAKER, rollout.key
    yield codec.FLAG, rollout.key.rpartition("/")[2]


def _gives_way(breaker: Breaker, document: Document | None, grown_from: Breaker | None) -> bool:
    """Tell whether a breaker that another one was stored before has nothing to add to it."""
    before = grown_from or Breaker(breaker.flag_key)
    try:
        stored = codec.decode_breaker(document) if document else Breaker(breaker.flag_key)
    except CanaryError:
        return False  # what is damaged is replaced
    return stored != before and breaker.guard_bits in {before.guard_bits, stored.guard_bits}
