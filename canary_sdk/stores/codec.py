"""What is in a stored document: the only place that turns values of the domain into text and back. It does no I/O.

    kind             key                      fields
    "flag"           flag key                 the flag as declared, in the words of the configuration
    "auto_rollback"  "default"                the section of that name, complete
    "breaker"        environment/flag key     `Breaker.to_dict`

The text is JSON, one object {"fields": {...}, "format": 1}, canonical (sorted keys, no blanks, no NaN), so that equal
values are equal text. A format that is newer than ours is refused, for reading and for overwriting: during an upgrade
the older release must not undo what the newer one wrote. Decoding returns a whole value or raises.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Never

from canary_sdk.core.breaker import Breaker
from canary_sdk.core.config import auto_rollback_fields, parse_auto_rollback, parse_flag
from canary_sdk.errors import ConfigError, StoreError
from canary_sdk.ports import Change

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from canary_sdk.core.breaker import AutoRollback
    from canary_sdk.core.config import Declaration, FlagDeclaration
    from canary_sdk.ports import Document, Snapshot

FORMAT: Final = 1
"""The newest format that is read, and the one that is written."""

FLAG: Final = "flag"
AUTO_ROLLBACK: Final = "auto_rollback"
BREAKER: Final = "breaker"

DEFAULT: Final = "default"
"""The key of the one `auto_rollback` document."""


def breaker_key(environment: str, flag_key: str) -> str:
    """Return the key of a breaker's document. A flag key holds no slash, so the last one is the border."""
    return f"{environment}/{flag_key}"


def encode_flag(declaration: FlagDeclaration) -> str:
    """Return the body of a flag's document."""
    return _seal(declaration.fields)


def decode_flag(document: Document) -> FlagDeclaration:
    """Read a flag's document. Raises `StoreError`."""
    try:
        return parse_flag(document.key, _unseal(document))
    except ConfigError as error:
        _damaged(document, error)


def encode_policy(policy: AutoRollback) -> str:
    """Return the body of the `auto_rollback` document."""
    return _seal(auto_rollback_fields(policy))


def decode_policy(document: Document) -> AutoRollback:
    """Read the `auto_rollback` document. Raises `StoreError`."""
    try:
        return parse_auto_rollback(_unseal(document))
    except ConfigError as error:
        _damaged(document, error)


def encode_breaker(breaker: Breaker) -> str:
    """Return the body of a breaker's document."""
    return _seal(breaker.to_dict())


def decode_breaker(document: Document) -> Breaker:
    """Read a breaker's document. Raises `StoreError`, also where it speaks of another flag than its key does."""
    fields = _unseal(document)
    try:
        breaker = Breaker.from_dict(fields)
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


def changes_for(declaration: Declaration, snapshot: Snapshot) -> list[Change]:
    """Return what must be written so that the store holds `declaration`: real differences only.

    Each change expects the revision of `snapshot`, so somebody else's edit in between is a `StaleWrite` and not lost.
    Flags that are not declared stay as they are. Raises `StoreError` where a newer release wrote what would change.
    """
    stored = {(document.kind, document.key): document for document in snapshot.documents}
    return [
        Change(kind, key, body, expected=_replaceable_revision(old) if old else 0)
        for kind, key, body in _bodies(declaration)
        if (old := stored.get((kind, key))) is None or old.body != body
    ]


def _bodies(declaration: Declaration) -> Iterator[tuple[str, str, str]]:
    for key, flag in declaration.flags.items():
        yield FLAG, key, encode_flag(flag)
    if declaration.auto_rollback is not None:
        yield AUTO_ROLLBACK, DEFAULT, encode_policy(declaration.auto_rollback)


def _replaceable_revision(document: Document) -> int:
    """Return its revision; what is damaged may be replaced, what is newer may not."""
    with suppress(ValueError, RecursionError):
        _check_format(document, json.loads(document.body))
    return document.revision


def _seal(fields: Mapping[str, Any]) -> str:
    envelope = {"fields": fields, "format": FORMAT}
    return json.dumps(envelope, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def _unseal(document: Document) -> Mapping[str, Any]:
    """Return the fields of a document whose format is known."""
    try:
        envelope = json.loads(document.body)
    except (ValueError, RecursionError) as error:
        _damaged(document, error)
    _check_format(document, envelope)
    if (
        not isinstance(envelope, dict)
        or envelope.get("format") != FORMAT
        or not isinstance(envelope.get("fields"), dict)
    ):
        _damaged(document, f'expected an object with "fields" and "format": {FORMAT}')
    fields: dict[str, Any] = envelope["fields"]
    return fields


def _check_format(document: Document, envelope: Any) -> None:
    found = envelope.get("format") if isinstance(envelope, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise StoreError(
            f"{document.kind} {document.key} was written in format {found} by a newer release, "
            f"this one knows formats up to {FORMAT}: upgrade canary-rollout here"
        )


def _damaged(document: Document, why: object) -> Never:
    raise StoreError(f"{document.kind} {document.key}, revision {document.revision}, is damaged: {why}")
