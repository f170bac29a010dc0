"""What people are told of an event: whether, how urgently, and to which incident it belongs. Knows no channel."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from canary_sdk.core import events
from canary_sdk.core.events import FlagEvent, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from canary_sdk.core.events import Event


@dataclass(frozen=True, slots=True)
class Message:
    """One thing that people are told.

    `id` is the same however often it is sent. `opens` is the incident that this begins or worsens, empty for none, and
    `closes` are those that are over by it; an incident has one name for as long as a flag lives, such as
    `canary/production/search/rollback`. `is_change` tells the planned course of a release from what went wrong.
    """

    id: str
    event: str
    severity: Severity
    at: float
    environment: str
    source: str
    text: str
    flag_key: str = ""
    opens: str = ""
    closes: tuple[str, ...] = ()
    is_change: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def level(self) -> Severity:
        """How severe it is to those who are told of it: the end of an incident as severe as that, unless it is planned.

        So whoever is told that something went wrong is told that it is over.
        """
        ended = [] if self.is_change else [_WORST[each.rpartition("/")[2]] for each in self.closes]
        return max(self.severity, *ended, key=_rank) if ended else self.severity

    @property
    def title(self) -> str:
        """All of it in one line of at most 200 characters."""
        line = " ".join(f"[{self.environment}] {self.text}".split())
        return line if len(line) <= 200 else f"{line[:199]}…"

    @property
    def when(self) -> str:
        """When it happened, as ISO 8601 in UTC."""
        return datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def to_dict(self) -> dict[str, object]:
        """Return it as plain JSON, for machines."""
        return {
            "id": self.id,
            "event": self.event,
            "severity": str(self.severity),
            "at": self.when,
            "environment": self.environment,
            "source": self.source,
            "flag": self.flag_key,
            "text": self.text,
            "opens": self.opens,
            "closes": list(self.closes),
            "change": self.is_change,
            "facts": dict(self.facts),
        }


def message_of(event: Event, message_id: str, environment: str, source: str) -> Message | None:
    """Return what people are told of an event; None for what is no transition, such as a verdict.

    `source` is where it was decided: the host's name.
    """
    if type(event) not in _TOLD:
        return None
    flag_key = event.flag_key if isinstance(event, FlagEvent) else ""
    # A store is lost to one host, a flag is taken back from everybody.
    place = f"canary/{environment}/{flag_key or source}"
    opens = _OPENS.get(type(event), "")
    return Message(
        id=message_id,
        event=type(event).__name__,
        severity=event.severity,
        at=event.at,
        environment=environment,
        source=source,
        text=event.sentence,
        flag_key=flag_key,
        opens=f"{place}/{opens}" if opens else "",
        closes=tuple(f"{place}/{each}" for each in _CLOSES.get(type(event), ())),
        is_change=isinstance(event, _CHANGES),
        facts=_facts(event),
    )


def is_of_one_process(event: Event) -> bool:
    """Whether every process has this event for itself, so that one of a host's is enough."""
    return not isinstance(event, FlagEvent)


def _facts(event: Event) -> dict[str, str]:
    """Name what was measured, for whoever wants more than the sentence."""
    verdict = getattr(event, "verdict", None)
    return {} if verdict is None else {each.slo.text: each.sentence(verdict.seconds) for each in verdict.findings}


def _rank(severity: Severity) -> int:
    return severity.rank


_OPENS: Final[Mapping[type[Event], str]] = {
    events.FlagTripped: "rollback",
    events.RecoveryOverdue: "rollback",
    events.RolloutAborted: "rollback",
    events.FlagKilled: "kill",
    events.IncidentSuspected: "incident",
    events.HoldAdvised: "hold",
    events.RolloutHeld: "hold",
    events.RolloutOverdue: "hold",
    events.StoreLost: "store",
}
_CLOSES: Final[Mapping[type[Event], tuple[str, ...]]] = {
    events.ServiceRecovered: ("rollback", "incident"),
    events.FlagRecovered: ("rollback", "incident"),
    events.FlagReset: ("rollback", "incident"),
    events.FlagReleased: ("kill",),
    events.HoldLifted: ("hold",),
    events.StageStarted: ("hold",),
    events.RolloutResumed: ("hold",),
    events.RolloutPromoted: ("hold", "incident"),
    events.StoreRegained: ("store",),
}
_WORST: Final[Mapping[str, Severity]] = {
    name: max((each.severity for each, opened in _OPENS.items() if opened == name), key=_rank)
    for name in set(_OPENS.values())
}
"""How severe an incident can get."""
_CHANGES: Final = (events.RolloutScheduled, events.StageStarted, events.StageApproved, events.RolloutPromoted)
_NOTES: Final = (
    events.TripWithheld,
    events.ProbeStarted,
    events.ProbeExpired,
    events.RolloutPaused,
    events.RolloutsMeet,
    events.UsersDiffer,
    events.WatchEnded,
)
_TOLD: Final = frozenset({*_OPENS, *_CLOSES, *_CHANGES, *_NOTES})
