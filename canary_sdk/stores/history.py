"""What happened to stored documents, told from their audit rows in the words of the domain; and how a change is undone.

Pure. A row whose body cannot be read is shown as one field, `body`, and cannot be undone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from canary_sdk.core.breaker import State
from canary_sdk.core.config.fields import differences, patched
from canary_sdk.core.rollout.state import Rollout
from canary_sdk.errors import Refused, StaleWrite, StoreError
from canary_sdk.ports import Action, Document, HistoryRow
from canary_sdk.stores import codec
from canary_sdk.stores.codec import NOTHING, Held

if TYPE_CHECKING:
    from collections.abc import Iterable

    from canary_sdk.core.config.fields import Difference, Fields
    from canary_sdk.ports import AuditRow

MOST_TOLD: Final = 5
"""How many changes a refusal names."""

INSTEAD: Final = {
    Action.KILLED: "let go of it with release({!r})",
    Action.RELEASED: "hold it again with kill({!r}, reason=…)",
    Action.TRIPPED: "clear it with reset({!r})",
}
"""What undoes a change of a breaker; nothing switches on again what was found to harm, but a person."""


def told(row: AuditRow) -> HistoryRow:
    """Return the row in the words of the domain."""
    before, after = _fields(row, row.before), _fields(row, row.after)
    if row.kind == codec.ROLLOUT:
        before, after = _moves(before or _FRESH, after or {})
    found = differences(before or {}, after or {})
    environment, _, key = row.key.rpartition("/")
    return HistoryRow(
        id=row.id,
        at=row.at,
        actor=row.actor,
        reason=row.reason,
        action=_action(row.kind, before, after),
        kind=row.kind,
        key=row.kind if row.kind in codec.SINGLE else key,
        environment=environment or _only(found),
        differences=found,
        revision=row.revision,
    )


def undone(row: AuditRow, now: Held, revision: int, later: Iterable[HistoryRow], *, force: bool) -> Held:
    """Return what a document holds once the change in `row` is undone; its declaration stays as it is.

    `later` is what happened to it since. Raises `StaleWrite` if what the change set does not hold any more, unless
    `force`; `Refused` if it cannot be undone.
    """
    change = told(row)
    if row.kind == codec.ROLLOUT:
        raise Refused(
            f"change {row.id} of the rollout of {change.key} cannot be undone: "
            f"see what it may be ordered now with canary rollout status {change.key}"
        )
    if row.kind == codec.BREAKER:
        instead = INSTEAD.get(change.action, "what a breaker did is history").format(change.key)
        raise Refused(f"change {row.id} of {change.key} ({change.sentence}) cannot be undone: {instead}")
    before, after = _held(row, row.before).fields, _held(row, row.after).fields
    if (before is None) == (after is None) and not change.differences:
        raise Refused(f"change {row.id} of {change.key} changed nothing that holds; there is nothing to undo")
    if not force and not _still_holds(before, after, now.fields):
        raise StaleWrite(
            f"change {row.id} of {change.key} cannot be undone: it was changed again since. "
            f"{_since(later)}\nUndo that first, or force it",
            found=revision,
            expected=row.revision,
        )
    if before is None or after is None or now.fields is None:
        return Held(before, now.declared)
    return Held(patched(now.fields, {each.path: each.before for each in change.differences}), now.declared)


def stale(key: str, found: int, expected: int, later: Iterable[HistoryRow]) -> StaleWrite:
    """Return the refusal of a write that looked at an older revision."""
    return StaleWrite(
        f"{key} is at revision {found}, and not at {expected} as expected; nothing was written. "
        f"{_since(later)}\nLook at it again and decide anew",
        found=found,
        expected=expected,
    )


def _since(later: Iterable[HistoryRow]) -> str:
    """Name what happened since: when, who, why, which fields; the last of it first."""
    lines = [_line(row) for row in later]
    cut = [f"and {len(lines) - MOST_TOLD} more"] if len(lines) > MOST_TOLD else []
    return "\n  ".join(["Since then:", *lines[:MOST_TOLD], *cut]) if lines else "Nothing is known of how that came"


def _line(row: HistoryRow) -> str:
    from datetime import UTC, datetime

    at = datetime.fromtimestamp(row.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    why = f" ({row.reason})" if row.reason else ""
    return f"revision {row.revision}, {at}, {row.actor}: {row.sentence}{why}"


def _still_holds(before: Fields | None, after: Fields | None, now: Fields | None) -> bool:
    """Tell whether what a change set is as it set it; of what it made, whether it is all there is."""
    if after is None or now is None:
        return after is now
    changed = {each.path for each in differences(after, now)}
    return not changed if before is None else changed.isdisjoint(each.path for each in differences(before, after))


def _only(found: Iterable[Difference]) -> str:
    """Return the one environment that all of these speak of, if there is one."""
    environments = {each.environment for each in found}
    return environments.pop() if len(environments) == 1 else ""


def _action(kind: str, before: Fields | None, after: Fields | None) -> Action:
    if kind == codec.BREAKER and after is not None:
        return _of_a_breaker(before or {}, after)
    if after is None:
        return Action.DELETED
    return Action.CREATED if before is None else Action.CHANGED


def _of_a_breaker(before: Fields, after: Fields) -> Action:
    if bool(after.get("killed")) != bool(before.get("killed")):
        return Action.KILLED if after.get("killed") else Action.RELEASED
    old, new = before.get("state", State.CLOSED), after.get("state")
    if old == new:
        return Action.CHANGED
    if new == State.CLOSED:
        return Action.RECOVERED if old == State.HALF_OPEN else Action.RESET
    return Action.PROBED if new == State.HALF_OPEN else Action.TRIPPED


def _moves(before: Fields, after: Fields) -> tuple[Fields, Fields]:
    """Return what is worth telling of a rollout: where it stands, who agreed, who moves it; else what it says."""
    told = tuple(
        {name: fields[name] for name in _MOVES if name in fields} | _agreed(fields) for fields in (before, after)
    )
    if told[0] != told[1]:
        return told[0], told[1]
    return {"reason": before.get("reason")}, {"reason": after.get("reason")}


_FRESH: Final = Rollout(flag_key="").to_dict()
_MOVES: Final = ("status", "stage", "percent", "attempt", "controller")


def _agreed(fields: Fields) -> dict[str, Any]:
    given = [f"stage {each['stage']} by {each['role']}" for each in fields.get("approvals", ())]
    return {"approved": given} if given else {}


def _held(row: AuditRow, body: str | None) -> Held:
    return codec.decode(Document(row.kind, row.key, body, row.revision)) if body is not None else NOTHING


def _fields(row: AuditRow, body: str | None) -> Fields | None:
    try:
        return _held(row, body).fields
    except StoreError:
        return {"body": body}
