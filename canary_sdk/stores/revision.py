"""What a change does to a document: the rule that every store keeps. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from canary_sdk.errors import StaleWrite
from canary_sdk.ports import AuditRow, Document

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from canary_sdk.ports import Change, Stamp

    Place = tuple[str, str]


def successor(old: Document | None, change: Change) -> Document | None:
    """Return the document after `change`: `old` itself if it changes nothing, None if there is none afterwards.

    Raises `StaleWrite` if the change expects another revision than the current one, even if it would change nothing.
    """
    revision = old.revision if old else 0
    if change.expected is not None and change.expected != revision:
        raise StaleWrite(
            f"{change.kind} {change.key} is at {_said(revision)}, the change expected {_said(change.expected)}: "
            "somebody else was faster; load again and decide anew",
            found=revision,
            expected=change.expected,
        )
    if change.body is None or (old and old.body == change.body):
        return old if change.body else None
    return Document(change.kind, change.key, change.body, revision + 1)


def applied(
    documents: Mapping[Place, Document], changes: Iterable[Change], stamp: Stamp, *, version: int, rows: int
) -> tuple[dict[Place, Document | None], list[AuditRow]]:
    """Return what a commit writes over `documents`, None where it deletes, and the audit rows that it leaves.

    `version` is the store's present one and `rows` the id of its newest audit row. Only what leaves a row raises the
    version. Raises `StaleWrite`.
    """
    written: dict[Place, Document | None] = {}
    audit: list[AuditRow] = []
    for change in changes:
        place = change.kind, change.key
        old = written[place] if place in written else documents.get(place)
        new = successor(old, change)
        if new is old:
            continue
        written[place] = new
        if change.quiet:
            continue
        bodies = old.body if old else None, new.body if new else None
        number, revision = rows + len(audit) + 1, new.revision if new else 0
        who = stamp.at, stamp.actor, stamp.reason
        audit.append(AuditRow(number, *who, *place, *bodies, version + 1, revision))
    return written, audit


def _said(revision: int) -> str:
    return f"revision {revision}" if revision else "no revision (it does not exist)"
