"""Tells people what happened: Slack, PagerDuty, mail, webhooks, and whatever else apprise knows.

Transitions only, each to the channels whose level it reaches. Best effort: what waits is kept in memory, is bounded,
and is lost with the process. Nobody who serves requests or judges ever waits for any of it. What sends is imported when
there is a channel to send to.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.core.config.channels import ChannelKind
from canary_sdk.errors import CanaryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from random import Random

    from canary_sdk.clock import Clock
    from canary_sdk.core.config.channels import Channel
    from canary_sdk.core.events import Event
    from canary_sdk.ports import Note
    from canary_sdk.telemetry.notify.message import Message
    from canary_sdk.telemetry.notify.outbox import Outbox

__all__ = ["Notifier"]


class Notifier:
    """A sink that tells people. Which channels there are is configured, and may change while it runs.

    `leads` says whether this process speaks for its host, of what every process has for itself, such as a store that is
    away; None for a command, which speaks for nobody. Threads: one tells and configures, as a `Canary` does; each
    channel has a thread of its own while there is something to tell.
    """

    def __init__(
        self,
        environment: str,
        note: Note,
        leads: Callable[[], bool] | None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        environ: Mapping[str, str] = os.environ,
        random: Random | None = None,
    ) -> None:
        """Tell nobody yet."""
        self._environment = environment
        self._note = note
        self._leads = leads
        self._clock = clock
        self._environ = environ
        self._random = random
        self._channels: dict[str, Channel] = {}
        self._outboxes: dict[str, Outbox] = {}

    def configure(self, channels: Iterable[Channel]) -> None:
        """Tell these channels from now on. What waits for one that stays as it was goes on waiting for it."""
        here = [each for each in channels if not each.only_in or self._environment in each.only_in]
        old, self._outboxes = self._outboxes, {}
        for channel in here:
            if channel.name in old and channel == self._channels[channel.name]:
                self._outboxes[channel.name] = old[channel.name]
            elif self._leads:  # what is missing is said before there is something to tell
                self._open(channel)
        self._channels = {each.name: each for each in here}

    def handle(self, event: Event) -> None:
        """Put the event into the outbox of every channel that is to be told."""
        if not self._channels:
            return
        import socket
        import uuid

        from canary_sdk.telemetry.notify.message import is_of_one_process, message_of

        if is_of_one_process(event) and not (self._leads and self._leads()):
            return
        message = message_of(event, uuid.uuid4().hex, self._environment, socket.gethostname())
        if message is None:
            return
        for channel in self._channels.values():
            if _is_for(channel, message):
                self._put(channel, message)

    def drain(self, timeout_s: float) -> None:
        """Send what waits and can be sent at once, and stop."""
        until = self._clock.monotonic() + timeout_s
        for outbox in self._outboxes.values():
            outbox.drain(max(until - self._clock.monotonic(), 0.0))

    def _put(self, channel: Channel, message: Message) -> None:
        if channel.name not in self._outboxes:
            self._open(channel)
        if outbox := self._outboxes.get(channel.name):
            outbox.put(message)

    def _open(self, channel: Channel) -> None:
        from random import Random

        from canary_sdk.telemetry.notify.channels import sender
        from canary_sdk.telemetry.notify.outbox import Outbox

        try:
            send = sender(channel, self._environ)
        except CanaryError as error:
            self._note((f"telling {channel.name}", str(error), "Nobody is told there by this process"))
        else:
            random = self._random or Random()  # noqa: S311 - spreads retries, decides nothing
            self._outboxes[channel.name] = Outbox(channel.name, send, self._clock, random, self._note)


def _is_for(channel: Channel, message: Message) -> bool:
    """Whether it is severe enough; the planned course of a release goes where it does not wake anybody."""
    if message.is_change and channel.kind is ChannelKind.PAGERDUTY:
        return True
    return message.level.rank >= channel.level.rank
