"""Whose hands a flag's percentage is in: where there is a rollout, not in those of whoever edits the flag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from canary_sdk.core.config.fields import ENVIRONMENTS
from canary_sdk.core.rollout.orders import dismissed
from canary_sdk.core.rollout.state import By, Status, transition
from canary_sdk.errors import Refused
from canary_sdk.ports import Change
from canary_sdk.stores import codec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from canary_sdk.core.config.fields import Fields
    from canary_sdk.core.rollout.state import Rollout
    from canary_sdk.ports import JournalLine, Snapshot, Stamp
    from canary_sdk.stores.codec import Held

PERCENT: Final = "rollout"


def dismissals(
    snapshot: Snapshot, flag_key: str, before: Held, after: Held, stamp: Stamp, *, force: bool
) -> tuple[list[Change], list[JournalLine]]:
    """Return what takes a flag's percentage out of the hands of its rollouts, where an edit changes it; and the lines.

    Raises `Refused` if there is anything to take and it is not to be forced.
    """
    changes: list[Change] = []
    lines: list[JournalLine] = []
    for environment, rollout, revision in _rollouts(snapshot, flag_key):
        old, new = (_percent(held.fields, environment) for held in (before, after))
        if old == new:
            continue
        if not force:
            raise Refused(
                f"the percentage of {flag_key} in {environment} is in the hands of its rollout "
                f"({rollout.describe(stamp.at)}): abort and dismiss that first, or force the edit, which dismisses it"
            )
        after_edit = dismissed(rollout, By(stamp.actor, stamp.at, stamp.reason or "its percentage was set by force"))
        key = codec.state_key(environment, flag_key)
        changes.append(Change(codec.ROLLOUT, key, codec.encode_rollout(after_edit), expected=revision))
        record = transition(rollout, after_edit, stamp.at)
        lines += [codec.journal_line(environment, record)] if record else []
    return changes, lines


def _rollouts(snapshot: Snapshot, flag_key: str) -> Iterator[tuple[str, Rollout, int]]:
    """Return the rollouts that say how a flag is served: the environment of each, and its document's revision."""
    for document in snapshot.documents:
        environment, _, key = document.key.rpartition("/")
        if document.kind == codec.ROLLOUT and key == flag_key:
            rollout = codec.decode_rollout(document)
            if rollout.status is not Status.IDLE:
                yield environment, rollout, document.revision


def _percent(fields: Fields | None, environment: str) -> object:
    """Return the flag's own percentage in an environment; one that is deleted has whatever it had."""
    own = fields or {}
    return own.get(ENVIRONMENTS, {}).get(environment, {}).get(PERCENT, own.get(PERCENT, 0))
