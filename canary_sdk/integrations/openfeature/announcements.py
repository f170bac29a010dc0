"""What happens to us, as the events that OpenFeature tells its clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from openfeature.event import ProviderEvent, ProviderEventDetails

from canary_sdk.core.events import (
    FlagEvent,
    FlagKilled,
    FlagRecovered,
    FlagReleased,
    FlagReset,
    FlagsChanged,
    FlagTripped,
    ProbeExpired,
    ProbeStarted,
    StoreLost,
    StoreRegained,
)

if TYPE_CHECKING:
    from canary_sdk.core.events import Event

    Announcement = tuple[ProviderEvent, ProviderEventDetails]

SWITCHES: Final = (FlagTripped, FlagKilled, FlagReleased, FlagReset, ProbeStarted, ProbeExpired, FlagRecovered)
"""What changes a flag's answers and is no change of its configuration."""


def announcement(event: Event) -> Announcement | None:
    """Return what OpenFeature tells of an event, None if it is nothing to its clients."""
    match event:
        case StoreLost():
            return ProviderEvent.PROVIDER_STALE, ProviderEventDetails(message=event.sentence)
        case StoreRegained():
            return ProviderEvent.PROVIDER_READY, ProviderEventDetails(message=event.sentence)
        case FlagsChanged(flag_keys=flag_keys):
            return _changed(event, *flag_keys)
        case FlagEvent(flag_key=flag_key) if isinstance(event, SWITCHES):
            return _changed(event, flag_key)
        case _:
            return None


def _changed(event: Event, *flag_keys: str) -> Announcement:
    details = ProviderEventDetails(flags_changed=list(flag_keys), message=event.sentence)
    return ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, details
