"""`Control`: the half of a `Canary` that changes what is stored, and tells how it came to be what it is.

It decides nothing: the repository reads, checks and writes, and the `Canary` then takes over what is there. Everything
here does I/O and belongs to operators and start-up, never to a request.

Threads: any. Every method raises `StoreError` if the store fails, and then nothing was changed.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.core.config.fields import ENVIRONMENTS
from canary_sdk.errors import Refused, UnknownFlag
from canary_sdk.ports import Removed, Stamp
from canary_sdk.runtime.rollouts import Rollouts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from canary_sdk.clock import Clock
    from canary_sdk.core.events import Event
    from canary_sdk.ports import HistoryRow, Repository, StoredFlag

COMPACTED: Final = 1_000
"""So much is removed at once, so that nobody waits long for the store."""


class Control(ABC):
    """What operators change and look up. `actor` is who they are where a call does not say, else this process."""

    def __init__(self, repository: Repository, clock: Clock, actor: str) -> None:
        """Speak to a repository; nothing is opened."""
        self._repository = repository
        self._clock = clock
        self._actor = actor
        self.rollouts = Rollouts(repository, self._stamp, self._ordered)

    def apply(
        self,
        config: Mapping[str, object] | PathLike[str] | str,
        *,
        actor: str = "",
        reason: str = "applied",
        force: bool = False,
    ) -> int:
        """Declare flags and policy from a dictionary or a TOML or JSON file's path; return the store's version.

        Idempotent; all or nothing. Flags that are not mentioned are left alone. A field that is declared as it was the
        last time stays as operators have changed it, and a flag that they have deleted stays deleted, unless `force`.
        So an application may apply its file at every start. Raises `ConfigError` with every mistake found.
        """
        version = self._repository.apply(config, self._stamp(actor, reason), force=force)
        self._take_over()
        return version

    def update(
        self,
        flag_key: str,
        changes: Mapping[str, object],
        *,
        environment: str | None = None,
        expected: int | None = None,
        actor: str = "",
        reason: str = "",
        force: bool = False,
    ) -> int:
        """Change some fields of a flag, or of what `environment` overrides; None removes one. Return its revision.

        All or nothing: the flag is checked as a whole, and a `ConfigError` names every mistake. `expected` is the
        revision that the caller looked at: if the flag was changed since, `StaleWrite` says by whom, when and how.
        Without it nobody's change is lost either: this one is made on top of the latest. Raises `UnknownFlag`.

        While there is a rollout, the percentage is its own: a change of it is `Refused`, unless `force`, which
        dismisses the rollout and says so in the history.
        """
        stamp = self._stamp(actor, reason)
        revision = self._repository.update(
            flag_key, changes, stamp, environment=environment, expected=expected, force=force
        )
        self._take_over()
        return revision

    def resalt(self, flag_key: str, salt: str = "", *, actor: str = "", reason: str = "") -> str:
        """Let other users be the first to get the candidate, before a release; return the new salt.

        Raises `Refused` while anybody gets it, in whichever environment: they would change sides as they are judged.
        """
        flags = self._repository.flags()
        if flag_key not in flags:
            raise UnknownFlag(flag_key, flags)
        stored, percent = flags[flag_key], self.rollouts.status(flag_key).percent
        served = {"everywhere": stored.fields, **stored.fields.get(ENVIRONMENTS, {})}
        told = [f"{fields['rollout']:g} % {where}" for where, fields in served.items() if fields.get("rollout")]
        told += [f"{percent:g} % by its rollout"] if percent else []
        if told:
            raise Refused(f"{flag_key} is served to users ({', '.join(told)}); another salt would change who they are")
        salt = salt or f"{flag_key}/{stored.revision}"
        stamp_reason = reason or "other users are to be the first"
        self.update(flag_key, {"salt": salt}, expected=stored.revision, actor=actor, reason=stamp_reason)
        return salt

    def delete(self, flag_key: str, *, expected: int | None = None, actor: str = "", reason: str = "") -> int:
        """Delete a flag; return the revision after it. Its breaker is kept, and holds if the flag comes back.

        It comes back by `undo`, by a declaration that differs from the last one, or by applying with `force`. Raises as
        `update`.
        """
        revision = self._repository.delete(flag_key, self._stamp(actor, reason), expected=expected)
        self._take_over()
        return revision

    def undo(self, change_id: int, *, actor: str = "", reason: str = "", force: bool = False) -> int:
        """Restore what a change replaced (`history` tells the ids); return the revision after it.

        To undo a creation is to delete, a deletion to create again, an undo to do it again. Refused with `StaleWrite`
        if the same fields were changed since, unless `force`. What a breaker did is not undone here: `Refused` says
        how instead. Raises `ConfigError` where the restored fields contradict the others.
        """
        stamp = self._stamp(actor, reason or f"undo of change {change_id}")
        revision = self._repository.undo(change_id, stamp, force=force)
        self._take_over()
        return revision

    def flags(self) -> Mapping[str, StoredFlag]:
        """Return every flag as it is stored, for all environments, with its revision."""
        return self._repository.flags()

    def history(self, flag_key: str | None = None, *, limit: int = 100) -> tuple[HistoryRow, ...]:
        """Return who changed what, when, why, from what to what, newest first: of one flag, or of everything."""
        return self._repository.history(flag_key, limit)

    def compact(self) -> Removed:
        """Remove what was kept for as long as `[retention]` says, of all environments; return how much that was.

        An application that runs does so by itself, once an hour. Of a rollout that is under way everything stays.
        """
        lines = rows = 0
        while any(gone := self._repository.compact(self._clock.wall(), COMPACTED)):
            lines, rows = lines + gone.journal, rows + gone.audit
        return Removed(lines, rows)

    def export(self, path: PathLike[str] | str | None = None) -> dict[str, Any]:
        """Return everything that was declared, as it holds now; written to `path` (.toml or .json) too, if given.

        Applying it to an empty store gives the same again. Raises `CanaryError` if the file cannot be written.
        """
        return self._repository.export(path)

    def _ordered(self, events: tuple[Event, ...]) -> None:
        """Serve what was ordered, then tell of it."""
        self._take_over()
        self._queue(events)

    @abstractmethod
    def _queue(self, events: tuple[Event, ...]) -> None:
        """Tell of these as soon as may be."""

    @abstractmethod
    def _take_over(self) -> None:
        """Serve what the store holds now."""

    def _stamp(self, actor: str, reason: str) -> Stamp:
        return Stamp(actor or self._actor or f"pid {os.getpid()}", reason, self._clock.wall())
