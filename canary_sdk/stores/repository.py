"""Flags, policy and breakers of one environment, over any document store: where documents become values."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Final

from canary_sdk.core.breaker import AutoRollback
from canary_sdk.core.config import parse_declaration
from canary_sdk.errors import CanaryError, StaleWrite
from canary_sdk.ports import Change, Stored
from canary_sdk.stores import codec
from canary_sdk.stores.toml import read_declaration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from canary_sdk.core.breaker import Breaker
    from canary_sdk.core.flags import Flag
    from canary_sdk.ports import AuditRow, FlagStore

ATTEMPTS: Final = 5
"""How often a declaration is tried while others are writing the same documents."""


class DocumentRepository:
    """Implements `ports.Repository`. Threads: as safe as the store; keeps no state of its own."""

    def __init__(self, store: FlagStore, environment: str) -> None:
        """Speak for one environment of `store`; nothing is opened."""
        self._store = store
        self._environment = environment

    def version(self) -> int:
        """Return the store's version."""
        return self._store.version()

    def load(self) -> Stored:
        """Decode everything; what cannot be decoded is named in `damaged` and left out."""
        snapshot = self._store.load()
        flags: dict[str, Flag] = {}
        breakers: dict[str, Breaker] = {}
        damaged: dict[str, str] = {}
        policy = AutoRollback()
        for document in snapshot.documents:
            try:
                match document.kind:
                    case codec.FLAG:
                        flags[document.key] = codec.decode_flag(document).for_environment(self._environment)
                    case codec.AUTO_ROLLBACK:
                        policy = codec.decode_policy(document)
                    case codec.BREAKER if document.key.startswith(f"{self._environment}/"):
                        breaker = codec.decode_breaker(document)
                        breakers[breaker.flag_key] = breaker
            except CanaryError as error:
                damaged[f"{document.kind} {document.key}"] = str(error)
        return Stored(snapshot.version, flags, policy, breakers, damaged)

    def apply(self, config: Mapping[str, object] | PathLike[str] | str, *, actor: str, reason: str, at: float) -> int:
        """Declare flags and policy; all or nothing.

        Workers that start together all apply the same file: whoever comes second finds its documents changed, looks
        again, and usually finds nothing left to do.
        """
        declaration = read_declaration(config) if isinstance(config, (str, PathLike)) else parse_declaration(config)
        for attempt in range(ATTEMPTS):
            snapshot = self._store.load()
            changes = codec.changes_for(declaration, snapshot)
            if not changes:
                return snapshot.version
            try:
                return self._store.commit(changes, actor=actor, reason=reason, at=at)
            except StaleWrite:
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError

    def save_breakers(self, breakers: Mapping[str, Breaker], *, actor: str, reason: str, at: float) -> int:
        """Store the state of breakers, whatever was there."""
        changes = [
            Change(codec.BREAKER, codec.breaker_key(self._environment, key), codec.encode_breaker(breaker))
            for key, breaker in breakers.items()
        ]
        return self._store.commit(changes, actor=actor, reason=reason, at=at)

    def audit(self, flag_key: str | None, limit: int) -> tuple[AuditRow, ...]:
        """Return the newest audit rows; those of one flag are its own and those of its breaker here."""
        if flag_key is None:
            return self._store.audit(limit=limit)
        rows = (
            *self._store.audit(kind=codec.FLAG, key=flag_key, limit=limit),
            *self._store.audit(kind=codec.BREAKER, key=codec.breaker_key(self._environment, flag_key), limit=limit),
        )
        return tuple(sorted(rows, key=lambda row: row.id, reverse=True)[:limit])

    def close(self) -> None:
        """Close the store."""
        self._store.close()
