"""Messages that wait for one channel: bounded, in order, tried again with patience, and given up in the end.

Threads: `put` and `drain` from any; what sends is called on a thread of the outbox's own, which the first message
starts. A forked child starts with nothing: what waited is its parent's to send.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from canary_sdk.telemetry.notify.delivery import LONGEST_WAIT_S, Undelivered
from canary_sdk.telemetry.worker import Worker

if TYPE_CHECKING:
    from random import Random

    from canary_sdk.clock import Clock
    from canary_sdk.ports import Note
    from canary_sdk.telemetry.notify.channels import Send
    from canary_sdk.telemetry.notify.message import Message

MOST_WAITING: Final = 100
"""Messages that wait; of more, the oldest of the least severe give way."""
PACE_S: Final = 1.0
"""At least this long between two messages: what Slack asks of a webhook, and no hardship elsewhere."""
FIRST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 60.0
GIVE_UP_S: Final = 900.0
"""A message that was not taken in this time is given up: older news misleads."""


class Outbox:
    """What waits to be sent to one channel."""

    def __init__(self, name: str, send: Send, clock: Clock, random: Random, note: Note) -> None:
        """Prepare; no thread is started before there is a message."""
        self._name = name
        self._send = send
        self._clock = clock
        self._random = random
        self._note = note
        self._worker = Worker(self.step, f"canary-notify-{name}")
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()  # held for the few lines that touch the queue, never while sending
        self._waiting: deque[tuple[Message, float]] = deque()
        self._tries = 0
        self._due = 0.0
        self._pace_s = PACE_S

    def put(self, message: Message) -> None:
        """Have it sent. Never waits."""
        if self._pid != os.getpid():
            self._begin()
        with self._lock:
            dropped = _least(self._waiting, message) if len(self._waiting) >= MOST_WAITING else None
            if dropped is not message:
                self._waiting.append((message, self._clock.monotonic()))
        if dropped:
            self._say(f"{MOST_WAITING} messages wait already", "The oldest of the least severe was dropped")
        self._worker.wake()

    def drain(self, timeout_s: float) -> bool:
        """Send what can be sent at once, and stop; return whether nothing is left.

        Nothing is paced any more, and what is being tried again is tried once: a second message in the same second is
        better than one that is lost.
        """
        self._pace_s = self._due = 0.0
        return self._worker.stop(timeout_s) and not self._waiting

    def step(self) -> float | None:
        """Send the first that waits, if it is time; return in how many seconds there is more to do, if there is."""
        now = self._clock.monotonic()
        if now < self._due:
            return self._due - now
        with self._lock:
            if not self._waiting:
                return None
            message, since = self._waiting[0]
        try:
            self._send(message, self._clock.wall())
        except Undelivered as error:
            if not error.is_final and self._clock.monotonic() - since < GIVE_UP_S:
                return self._again(error.wait_s)
            self._say(error, f"{message.event} was not told there")
        except Exception as error:  # noqa: BLE001 - may hold what it was given, so only its kind is told
            self._say(type(error).__name__, f"{message.event} was not told there; please report this")
        return self._next(message)

    def _again(self, asked_s: float) -> float:
        """Wait longer each time, by chance so that not everybody comes back at once, and at least as long as asked."""
        most_s: float = min(FIRST_RETRY_S * 2.0**self._tries, LONGEST_RETRY_S)
        self._tries = min(self._tries + 1, 16)
        wait_s = min(max(asked_s, most_s * self._random.uniform(0.5, 1.0)), LONGEST_WAIT_S)
        self._due = self._clock.monotonic() + wait_s
        return wait_s

    def _next(self, sent: Message) -> float | None:
        self._tries = 0
        self._due = self._clock.monotonic() + self._pace_s
        with self._lock:
            if self._waiting and self._waiting[0][0] is sent:  # it may have given way meanwhile
                self._waiting.popleft()
            return self._pace_s if self._waiting else None

    def _say(self, why: Undelivered | str, what: str) -> None:
        self._note((f"telling {self._name}", str(why), what))


def _least(waiting: deque[tuple[Message, float]], new: Message) -> Message:
    """Take out the oldest of the least severe, unless that is the new one."""
    index, (least, _) = min(enumerate(waiting), key=lambda each: each[1][0].severity.rank)
    if new.severity.rank < least.severity.rank:
        return new
    del waiting[index]
    return least
