"""What a change does to a document: the rule that every store keeps. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from canary_sdk.errors import StaleWrite
from canary_sdk.ports import Document

if TYPE_CHECKING:
    from canary_sdk.ports import Change


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


def _said(revision: int) -> str:
    return f"revision {revision}" if revision else "no revision (it does not exist)"
