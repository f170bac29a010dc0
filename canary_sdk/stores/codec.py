"""What is in a stored document: the only place that turns values of the domain into text and back. It does no I/O.

    kind             key                      fields
    "flag"           flag key                 the flag, in the words of the configuration
    "segment"        name                     the segment, in the same words
    "plan"           name                     the plan, in the same words
    "channel"        name                     the table of `notify`, in the same words
    "auto_rollback"  "default"                the section of that name, complete
    "retention"      "default"                the section of that name, complete
    "roles"          "default"                the section of that name, complete
    "breaker"        environment/flag key     `Breaker.to_dict`
    "rollout"        environment/flag key     `Rollout.to_dict`
    "begun"          environment              which rollout there was the last to begin

The text is JSON, one object {"fields": {...}, "format": 1}, canonical (sorted keys, no blanks, no NaN), so that equal
values are equal text. A format that is newer than ours is refused, for reading and for overwriting: during an upgrade
the older release must not undo what the newer one wrote. Decoding returns a whole value or raises.

Beside the documents, each rollout has a journal under the key of its document. A line of it is the JSON of what
`core.rollout.journal.encode` returns, and has no format: every release reads every other's.

What can be declared is kept twice, as `Held`: "fields" is what holds now, and "declared" what was declared last. Where
the two are the same, "declared" is left out. "fields" is null once it was deleted: the document stays, so that its
revision goes on counting, and so that declaring the same again does not bring it back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Never, TypeVar

from canary_sdk.core.breaker import Breaker
from canary_sdk.core.config.configuration import (
    auto_rollback_fields,
    parse_auto_rollback,
    parse_channel,
    parse_declaration,
    parse_flag,
    parse_plan_template,
    parse_roles,
    parse_segment,
)
from canary_sdk.core.config.fields import differences, merged, patched
from canary_sdk.core.config.retention import parse_retention, retention_fields
from canary_sdk.core.reading import mapping
from canary_sdk.core.rollout import journal
from canary_sdk.core.rollout.state import Rollout
from canary_sdk.errors import ConfigError, Problem, StoreError
from canary_sdk.ports import Change, JournalEntry, JournalLine, StoredFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from canary_sdk.core.breaker import AutoRollback
    from canary_sdk.core.config.channels import ChannelDeclaration
    from canary_sdk.core.config.configuration import Declaration, FlagDeclaration, PlanDeclaration, SegmentDeclaration
    from canary_sdk.core.config.fields import Fields
    from canary_sdk.core.config.retention import Retention
    from canary_sdk.core.rollout.journal import Record
    from canary_sdk.ports import Document, Snapshot

T = TypeVar("T")

FORMAT: Final = 1
"""The newest format that is read, and the one that is written."""

FLAG: Final = "flag"
SEGMENT: Final = "segment"
PLAN: Final = "plan"
CHANNEL: Final = "channel"
AUTO_ROLLBACK: Final = "auto_rollback"
RETENTION: Final = "retention"
ROLES: Final = "roles"
BREAKER: Final = "breaker"
ROLLOUT: Final = "rollout"
BEGUN: Final = "begun"

DEFAULT: Final = "default"
"""The key of the one document of a kind of which there is one."""
SINGLE: Final = frozenset({AUTO_ROLLBACK, RETENTION, ROLES})
"""The kinds of which there is one document: each is a section of the configuration."""


def state_key(environment: str, flag_key: str) -> str:
    """Return the key of a breaker's or a rollout's document. No flag key holds a slash, so the last is the border."""
    return f"{environment}/{flag_key}"


# --- what can be declared ---


@dataclass(frozen=True, slots=True)
class Held:
    """What a document holds: the fields that hold now, None once it was deleted, and those that were declared last."""

    fields: Fields | None
    declared: Fields


NOTHING: Final = Held(None, {})
"""What a document holds that was never made."""


def encode(held: Held) -> str:
    """Return the body of a document that can be declared."""
    if held.fields is not None and not differences(held.declared, held.fields):
        return _seal({"fields": held.fields})
    return _seal({"declared": held.declared, "fields": held.fields})


def decode(document: Document) -> Held:
    """Read a document that can be declared; what its fields mean is not looked at. Raises `StoreError`."""
    envelope = _unseal(document)
    fields = envelope.get("fields")
    declared = envelope.get("declared", fields)
    if not isinstance(declared, dict) or not isinstance(fields, dict | None) or "fields" not in envelope:
        _damaged(document, 'expected "fields", and "declared" where they differ from it')
    return Held(fields, declared)


def decode_flag(document: Document) -> FlagDeclaration | None:
    """Read a flag as it holds now; None if it was deleted. Raises `StoreError`."""
    return _parsed(document, parse_flag)


def decode_segment(document: Document) -> SegmentDeclaration | None:
    """Read a segment as it holds now; None if it was deleted. Raises `StoreError`."""
    return _parsed(document, parse_segment)


def decode_plan(document: Document) -> PlanDeclaration | None:
    """Read a shared plan as it holds now; None if it was deleted. Raises `StoreError`."""
    return _parsed(document, parse_plan_template)


def decode_channel(document: Document) -> ChannelDeclaration | None:
    """Read a channel as it holds now; None if it was deleted. Raises `StoreError`."""
    return _parsed(document, parse_channel)


def decode_policy(document: Document) -> AutoRollback | None:
    """Read the `auto_rollback` document; None if it was deleted. Raises `StoreError`."""
    return _parsed(document, lambda _, fields: parse_auto_rollback(fields))


def decode_retention(document: Document) -> Retention | None:
    """Read the `retention` document; None if it was deleted. Raises `StoreError`."""
    return _parsed(document, lambda _, fields: parse_retention(fields))


def decode_roles(document: Document) -> dict[str, list[str]] | None:
    """Read the `roles` document; None if it was deleted. Raises `StoreError`."""
    return _parsed(document, lambda _, fields: parse_roles(fields))


def _parsed(document: Document, parse: Callable[[str, object], T]) -> T | None:
    fields = decode(document).fields
    try:
        return None if fields is None else parse(document.key, fields)
    except ConfigError as error:
        _damaged(document, error)


def stored_flag(document: Document) -> StoredFlag | None:
    """Read a flag's document as it is kept; None if the flag was deleted, and with the reason if it cannot be read."""
    try:
        held = decode(document)
        decode_flag(document)
    except StoreError as error:
        return StoredFlag(document.key, document.revision, {}, {}, str(error))
    return None if held.fields is None else StoredFlag(document.key, document.revision, held.fields, held.declared)


def section(kind: str, key: str, fields: Fields) -> dict[str, Any]:
    """Return the configuration that declares this one document."""
    return {kind: fields} if kind in SINGLE else {_SECTIONS[kind]: {key: fields}}


_SECTIONS: Final[Mapping[str, str]] = {FLAG: "flags", SEGMENT: "segments", PLAN: "plans", CHANNEL: "notify"}
"""Where the documents of a kind stand in a configuration, by their keys."""


def changes_for(declaration: Declaration, snapshot: Snapshot, *, force: bool = False) -> list[Change]:
    """Return what must be written so that the store holds `declaration`: real differences only.

    What is stored gives way where the declaration differs from what was declared last, and else stays, unless `force`.
    Each change expects the revision of `snapshot`, so somebody else's edit in between is a `StaleWrite` and not lost.
    What is not declared stays as it is. Raises `StoreError` where a newer release wrote what would change,
    `ConfigError` where a declaration contradicts what was changed since the last one.
    """
    stored = {(document.kind, document.key): document for document in snapshot.documents}
    changes: list[Change] = []
    problems: list[Problem] = []
    for kind, key, fields in _declared(declaration):
        document = stored.get((kind, key))
        before = _kept(document) if document else None
        after = Held(fields, fields) if before is None or force else _after(before, fields)
        problems += _contradictions(kind, key, after)
        body = encode(after)
        if document is None or document.body != body:
            changes.append(Change(kind, key, body, expected=document.revision if document else 0))
    if problems:
        raise ConfigError(problems)
    return changes


def _declared(declaration: Declaration) -> Iterator[tuple[str, str, Fields]]:
    for key, flag in declaration.flags.items():
        yield FLAG, key, patched(flag.fields, {})
    for key, segment in declaration.segments.items():
        yield SEGMENT, key, segment.fields
    for key, plan in declaration.plans.items():
        yield PLAN, key, plan.fields
    for key, channel in declaration.channels.items():
        yield CHANNEL, key, channel.fields
    if declaration.auto_rollback is not None:
        yield AUTO_ROLLBACK, DEFAULT, auto_rollback_fields(declaration.auto_rollback)
    if declaration.retention is not None:
        yield RETENTION, DEFAULT, retention_fields(declaration.retention)
    if declaration.roles is not None:
        yield ROLES, DEFAULT, declaration.roles


def _kept(document: Document) -> Held | None:
    """Return what may not be lost; None where it is damaged. Raises `StoreError` where a newer release wrote it."""
    try:
        return checked(document.kind, document.key, decode(document))
    except (_Damaged, ConfigError):
        return None


def _after(before: Held, fields: Fields) -> Held:
    """Return what a document holds after a declaration of these fields."""
    if before.fields is not None:
        return Held(merged(before.declared, before.fields, fields), fields)
    return Held(fields if differences(before.declared, fields) else None, fields)


def checked(kind: str, key: str, held: Held) -> Held:
    """Return it in canonical form. Raises `ConfigError` if what holds could not be declared."""
    if held.fields is None:
        return held
    ((_, _, fields),) = _declared(parse_declaration(section(kind, key, held.fields)))
    return Held(fields, held.declared)


def _contradictions(kind: str, key: str, after: Held) -> Iterator[Problem]:
    """Name what is wrong with a declaration only because of what was changed since the last one."""
    changed = ", ".join(each.name for each in differences(after.declared, after.fields or {}))
    try:
        checked(kind, key, after)
    except ConfigError as error:
        for problem in error.problems:
            yield Problem(
                problem.path,
                f"{problem.message}; since the last declaration somebody changed {changed}: "
                "change that first, or apply with force to take the declaration as it is",
            )


def exported(snapshot: Snapshot) -> dict[str, Any]:
    """Return the configuration that declares what holds now. Raises `StoreError` for what is damaged."""
    data: dict[str, Any] = {"flags": {}}
    for document in snapshot.documents:
        if document.kind in {*SINGLE, *_SECTIONS} and (fields := decode(document).fields) is not None:
            for name, part in section(document.kind, document.key, fields).items():
                data.setdefault(name, {}).update(part)
    return data


# --- breakers ---


def encode_breaker(breaker: Breaker) -> str:
    """Return the body of a breaker's document."""
    return _seal({"fields": breaker.to_dict()})


def decode_breaker(document: Document) -> Breaker:
    """Read a breaker's document. Raises `StoreError`, also where it speaks of another flag than its key does."""
    fields = _unseal(document).get("fields")
    try:
        breaker = Breaker.from_dict(mapping(fields))
    except (TypeError, ValueError) as error:
        _damaged(document, error)
    if wrong := [
        name for name, found in breaker.to_dict().items() if not isinstance(found, _BREAKER.get(name, object))
    ]:
        _damaged(document, f"{wrong[0]} is {getattr(breaker, wrong[0])!r}")
    if breaker.flag_key != document.key.rpartition("/")[2]:
        _damaged(document, f"it belongs to {breaker.flag_key!r}")
    return breaker


_BREAKER: Final[Mapping[str, Any]] = {
    "flag_key": str,
    "killed": bool,
    "breaches": int,
    "passes": int,
    "incident": bool,
    "reason": str,
    "tripped_at": int | float | None,
    "recovered": bool,
    "overdue": bool,
    "kill_reason": str,
    "killed_at": int | float | None,
}
"""What the fields of a breaker must be; its state is checked by the breaker itself."""


# --- rollouts ---


def encode_rollout(rollout: Rollout) -> str:
    """Return the body of a rollout's document."""
    return _seal({"fields": rollout.to_dict()})


def encode_begun(rollout: Rollout) -> str:
    """Return the body of the document that says which rollout of an environment was the last to begin.

    Nobody reads it: it is there to be compared and set, so that rollouts begin one after the other.
    """
    return _seal({"fields": {"flag": rollout.flag_key, "seq": rollout.seq}})


def decode_rollout(document: Document) -> Rollout:
    """Read a rollout's document. Raises `StoreError`, also where it speaks of another flag than its key does."""
    try:
        rollout = Rollout.from_dict(mapping(_unseal(document).get("fields")))
    except (LookupError, TypeError, ValueError) as error:
        _damaged(document, error)
    if rollout.flag_key != document.key.rpartition("/")[2]:
        _damaged(document, f"it belongs to {rollout.flag_key!r}")
    return rollout


def journal_line(environment: str, record: Record) -> JournalLine:
    """Return the line that keeps a record, in the journal of its rollout."""
    text = json.dumps(journal.encode(record), separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return JournalLine(state_key(environment, record.flag_key), record.at, text)


def journal_entry(line: JournalLine) -> JournalEntry:
    """Read a line of a journal; what cannot be read is named and not raised."""
    try:
        record = journal.decode(json.loads(line.text), line.key.rpartition("/")[2], line.at)
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        return JournalEntry(line.id, line.at, None, f"it is damaged: {error!r}")
    problem = "" if record else "a newer release wrote it: upgrade canary-rollout here"
    return JournalEntry(line.id, line.at, record, problem)


DECODERS: Final[Mapping[str, Callable[[Document], Any]]] = {
    FLAG: decode_flag,
    SEGMENT: decode_segment,
    PLAN: decode_plan,
    CHANNEL: decode_channel,
    AUTO_ROLLBACK: decode_policy,
    RETENTION: decode_retention,
    ROLES: decode_roles,
    BREAKER: decode_breaker,
    ROLLOUT: decode_rollout,
}
"""How the documents of each kind are read; None for what was deleted."""


# --- the envelope ---


def _seal(parts: Mapping[str, Any]) -> str:
    envelope = {**parts, "format": FORMAT}
    return json.dumps(envelope, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def _unseal(document: Document) -> Mapping[str, Any]:
    """Return the parts of a document whose format is known."""
    try:
        envelope: Any = json.loads(document.body)
    except (ValueError, RecursionError) as error:
        _damaged(document, error)
    _check_format(document, envelope)
    if not isinstance(envelope, dict) or envelope.get("format") != FORMAT:
        _damaged(document, f'expected an object with "format": {FORMAT}')
    parts: dict[str, Any] = envelope
    return parts


def _check_format(document: Document, envelope: Any) -> None:
    found = envelope.get("format") if isinstance(envelope, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise StoreError(
            f"{document.kind} {document.key} was written in format {found} by a newer release, "
            f"this one knows formats up to {FORMAT}: upgrade canary-rollout here"
        )


class _Damaged(StoreError):
    """A document that cannot be read, and may be repaired by declaring it again."""


def _damaged(document: Document, why: object) -> Never:
    raise _Damaged(f"{document.kind} {document.key}, revision {document.revision}, is damaged: {why}")
