"""Hosts that serve a rollout tell each other what they count, over the store's board: some kilobytes every two seconds.

The host that moves the rollout reads what all have put up, and judges the sum. In each host it is the process that
judges for it which takes part. Who does not hear of the others, for whatever reason, judges what it has; who is not
heard is named as stale, and nobody waits for it. A host that is alone only looks whether it still is.

Threads: the ticker's only.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from canary_sdk.core.judge.report import Report
from canary_sdk.ports import Notice
from canary_sdk.runtime.status import FRESH_S, Hosts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from canary_sdk.clock import Clock
    from canary_sdk.core.events import Event
    from canary_sdk.core.rollout.state import Rollout
    from canary_sdk.ports import Repository
    from canary_sdk.runtime.failures import Failures
    from canary_sdk.runtime.guard import Guard
    from canary_sdk.runtime.joint import Joint
    from canary_sdk.runtime.monitor import Monitor

SHARE_S: Final = 2.0
"""How often hosts tell each other what they have counted."""


class Fleet:
    """This host's part among those that serve the same rollouts."""

    def __init__(self, repository: Repository, clock: Clock, name: str, failures: Failures) -> None:
        """Have put up nothing yet; `name` is this host's, as the controller's."""
        self._repository = repository
        self._clock = clock
        self._name = name
        self._failures = failures
        self._due_s = 0.0
        self._up: set[str] = set()

    def turn(self, rollouts: Mapping[str, Rollout], monitor: Monitor, guard: Guard) -> list[Event]:
        """Put up what this host has counted, or judge what all have; return what is to be told. Raises `StoreError`."""
        now = self._clock.monotonic()
        if now < self._due_s or not monitor.leads:
            return []
        self._due_s = now + SHARE_S
        events: list[Event] = []
        running = {key: state for key, state in rollouts.items() if _is_judged(state)}
        monitor.part(rollouts.keys() - running.keys())
        for key in self._up - running.keys():
            self._take_down(key)
        for key, state in running.items():
            report = monitor.report(key, state)
            if report is None:
                continue
            if state.controller == self._name:
                events += self._judge(key, report, monitor, guard)
            else:
                monitor.part([key])
                self._put_up(key, report)
        return events

    def leave(self) -> None:
        """Take down what this host has put up: who leaves is not stale. Raises `StoreError`."""
        for key in set(self._up):
            self._take_down(key)

    def _judge(self, flag_key: str, own: Report, monitor: Monitor, guard: Guard) -> Sequence[Event]:
        """Add up what all hosts have put up, and judge it."""
        notices = self._repository.notices(flag_key)
        others = [notice for notice in notices if notice.author != self._name]
        if not others:
            monitor.part([flag_key])
            return ()
        read = [(notice, report) for notice in notices if (report := self._read(notice)) is not None]
        ours = [(notice, report) for notice, report in read if report.is_of(own.attempt, own.stage)]
        joint = monitor.joint(flag_key, own.attempt)
        now, at = self._clock.monotonic(), self._clock.wall()
        if not joint.is_on:
            self._begin(joint, ours, now)
        reports = {notice.author: report for notice, report in ours}
        told_of = [notice for notice in others if notice.author in reports or notice.age_s > FRESH_S]
        hosts = Hosts.of([Notice(self._name, "", 0.0), *told_of])
        told = joint.take({**reports, self._name: own}, hosts, guard, now, at)
        self._put_up(flag_key, own)
        return told

    def _begin(self, joint: Joint, found: Sequence[tuple[Notice, Report]], now: float) -> None:
        """Go on from the evidence of who has judged before, if anybody has: the newest there is."""
        newest = min(found, key=lambda each: (each[1].heard is None, each[0].age_s), default=None)
        try:
            joint.begin(now, (newest[1].heard or {}) if newest else {})
        except (KeyError, TypeError, ValueError) as error:
            self._failures.note(("taking over from another host", error, "The sum is judged anew from now on"))

    def _read(self, notice: Notice) -> Report | None:
        try:
            return Report.from_dict(json.loads(notice.body))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            hint = "It is judged without that host; run the same release everywhere"
            self._failures.note((f"reading what {notice.author} has put up", error, hint))
            return None

    def _put_up(self, flag_key: str, report: Report) -> None:
        self._up.add(flag_key)
        self._repository.put_up(flag_key, self._name, json.dumps(report.to_dict(), separators=(",", ":")))

    def _take_down(self, flag_key: str) -> None:
        self._up.discard(flag_key)
        self._repository.put_up(flag_key, self._name, None)


def _is_judged(state: Rollout) -> bool:
    """Whether anybody is served, and somebody moves it."""
    return not state.is_settled and state.stage > 0 and bool(state.controller)
