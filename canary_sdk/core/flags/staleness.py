"""Which flags have outlived their use: those past their date, and those that have long answered everybody the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from canary_sdk.core.flags.flag import Flag

DAY_S: Final = 86_400.0
SILENT: Final = frozenset({"created", "description", "expires", "owner", "plan", "slos", "soft", "tags"})
"""The fields on which no answer depends."""


class Why(StrEnum):
    """Why a flag is stale."""

    EXPIRED = "EXPIRED"
    SETTLED = "SETTLED"


@dataclass(frozen=True, slots=True)
class Stale:
    """One flag, why it is stale, and a sentence for people."""

    flag_key: str
    why: Why
    sentence: str


def settled_on(flag: Flag) -> str | None:
    """Return the variant that everybody is served, whoever asks; None where that depends."""
    if not flag.enabled:
        return flag.baseline
    if flag.targets or flag.rules or flag.prerequisites:
        return None
    if not flag.rollout:
        return flag.baseline
    return flag.candidates[0].name if flag.rollout == 100 and len(flag.candidates) == 1 else None


def staleness(flag: Flag, since: float | None, at: float, days: float) -> Iterator[Stale]:
    """Tell why a flag is stale at a wall time, if it is.

    `since` is when its answers last changed, None if that is not known; after so many `days` it has settled. A flag
    expires when its date is over, in UTC.
    """
    expires = flag.metadata.expires
    if expires and expires < datetime.fromtimestamp(at, UTC).date().isoformat():
        yield Stale(flag.key, Why.EXPIRED, f"expired on {expires}")
    variant = settled_on(flag)
    if variant is not None and since is not None and at - since >= days * DAY_S:
        for_days = int((at - since) // DAY_S)
        yield Stale(flag.key, Why.SETTLED, f"everybody has been served {variant!r} for {for_days} days")
