"""What people order of rollouts, through a `Canary`: checked against what the store holds, and kept there.

It moves nothing by itself: whichever application serves the flag does, as soon as it has heard. Everything here does
I/O and belongs to operators, never to a request.

Threads: any.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from canary_sdk.core.breaker import Breaker
from canary_sdk.core.plan import Plan
from canary_sdk.core.rollout import orders
from canary_sdk.core.rollout.feasibility import check_rollout
from canary_sdk.core.rollout.journal import Consent
from canary_sdk.core.rollout.setting import Setting
from canary_sdk.core.rollout.state import By, Rollout, Status, transition
from canary_sdk.errors import Refused, StaleWrite, StoreError, UnknownFlag
from canary_sdk.runtime.controller import trip_of
from canary_sdk.runtime.status import Hosts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from canary_sdk.core.events import Event
    from canary_sdk.core.flags.flag import Flag
    from canary_sdk.core.rollout.journal import Record
    from canary_sdk.core.rollout.orders import Decision
    from canary_sdk.errors import Problem
    from canary_sdk.ports import JournalEntry, Repository, Stamp, Stored

    Sign = Callable[[str, str], Stamp]
    Take = Callable[[tuple[Event, ...]], None]
    Also = Callable[[Stored, Flag, Rollout, By], tuple[Rollout, Record]]
    Order = Callable[["_Asked"], Decision]


class _Asked(NamedTuple):
    """What an order is held against: by whom it is given, and what the store holds."""

    stored: Stored
    flag: Flag
    state: Rollout
    by: By

    @property
    def plan(self) -> Plan:
        return _plan_of(self.flag)

    @property
    def trip(self) -> str:
        return trip_of(self.stored.breakers.get(self.flag.key, Breaker(self.flag.key)))


ATTEMPTS: Final = 100
"""How often an order is tried while the rollout moves on; each time, it is checked against what has become of it."""


class Rollouts:
    """The rollouts of one environment, for people.

    Every order names its `actor` and `reason`; they are kept. Each returns the rollout as it then stands, and raises
    `Refused` with the reason where it makes no sense, `UnknownFlag`, and `StoreError`; then nothing has changed.
    """

    def __init__(self, repository: Repository, sign: Sign, take: Take) -> None:
        """Order through `repository`; `sign` makes a stamp, `take` is told after each order, with its events."""
        self._repository = repository
        self._sign = sign
        self._take = take

    def status(self, flag_key: str) -> Rollout:
        """Return where a flag's rollout stands in the store; IDLE where it was never started."""
        return _found(self._repository.load(), flag_key)[1]

    def hosts(self, flag_key: str) -> Hosts:
        """Return the hosts that put up what they count of a flag's rollout, and those that have not done so lately.

        Nobody does where a host is alone.
        """
        return Hosts.of(self._repository.notices(flag_key))

    def plans(self) -> Mapping[str, Plan]:
        """Return the plan of every flag that has one."""
        return {key: flag.plan for key, flag in self._repository.load().flags.items() if isinstance(flag.plan, Plan)}

    def check(
        self, flag_key: str, *, rate: float | None = None, roles: Mapping[str, Collection[str]] | None = None
    ) -> tuple[Problem, ...]:
        """Return what will not work in a flag's plan, before it starts; empty if nothing stands in its way.

        With the `rate` of requests that meet the flag, a second, also what they cannot show in the time of a stage;
        with the people of all `roles`, those that were declared if left out, also whose approval cannot be had.
        """
        from zoneinfo import available_timezones

        stored = self._repository.load()
        flag, state = _found(stored, flag_key)
        return check_rollout(
            flag,
            _plan_of(flag),
            stored.policy,
            rate=rate,
            roles=stored.roles or None if roles is None else roles,
            zones=available_timezones(),
            starter=state.started.who if state.started else "",
        )

    def journal(self, flag_key: str, *, after: int = 0, limit: int = 1_000) -> tuple[JournalEntry, ...]:
        """Return what was written down of a flag's rollouts, oldest first, of all that is newer than an id."""
        return self._repository.journal(flag_key, after=after, limit=limit)

    def start(self, flag_key: str, *, at: float | None = None, actor: str = "", reason: str = "") -> Rollout:
        """Start it: at wall time `at` in seconds, else when its plan says, else at once.

        From now on its percentage is the rollout's: nobody is served until stage 1 begins.
        """

        def order(asked: _Asked) -> Decision:
            if at is None:
                return orders.start(asked.plan, asked.state, asked.by, asked.trip)
            return orders.schedule(asked.plan, asked.state, at, asked.by, asked.trip)

        return self._order(flag_key, order, actor, reason, _configuration)

    def pause(self, flag_key: str, *, actor: str = "", reason: str = "") -> Rollout:
        """Keep it where it is until somebody resumes it; what is served stays served, and watched."""
        return self._order(flag_key, lambda asked: orders.pause(asked.state, asked.by), actor, reason)

    def resume(self, flag_key: str, *, actor: str = "", reason: str = "") -> Rollout:
        """Go on after a pause or a hold, with the plan as it is now and a new deadline."""
        return self._order(
            flag_key, lambda asked: orders.resume(asked.plan, asked.state, asked.by), actor, reason, _configuration
        )

    def advance(self, flag_key: str, *, actor: str = "", reason: str = "") -> Rollout:
        """Leave the stage now, on a person's word; approvals are not skipped. After the last stage, promote."""
        return self._order(flag_key, lambda asked: orders.advance_now(asked.plan, asked.state, asked.by), actor, reason)

    def approve(
        self, flag_key: str, role: str, *, stage: int | None = None, actor: str = "", reason: str = ""
    ) -> Rollout:
        """Agree, in a role, that a stage may be entered: the next one unless named.

        Where `[roles]` says who has which, only they may.
        """

        def order(asked: _Asked) -> Decision:
            return orders.approve(asked.plan, asked.state, role, asked.by, stage, asked.stored.roles)

        return self._order(flag_key, order, actor, reason, _consent)

    def promote(self, flag_key: str, *, actor: str = "", reason: str = "") -> Rollout:
        """Serve everybody now, on a person's word; approvals of the stages between are not skipped."""
        return self._order(flag_key, lambda asked: orders.promote(asked.plan, asked.state, asked.by), actor, reason)

    def abort(self, flag_key: str, *, actor: str = "", reason: str = "") -> Rollout:
        """Serve nobody; final until it is restarted or dismissed."""
        return self._order(flag_key, lambda asked: orders.abort(asked.state, asked.by), actor, reason)

    def restart(self, flag_key: str, *, actor: str = "", reason: str = "") -> Rollout:
        """Begin again after an abort or a promotion: with new approvals; refused while the breaker is open."""
        return self._order(
            flag_key,
            lambda asked: orders.restart(asked.plan, asked.state, asked.by, asked.trip),
            actor,
            reason,
            _configuration,
        )

    def dismiss(self, flag_key: str, *, actor: str = "", reason: str = "") -> Rollout:
        """Forget it: the flag's own percentage counts again. Refused while it is under way."""
        return self._order(flag_key, lambda asked: orders.dismiss(asked.state, asked.by), actor, reason)

    def abort_for(self, trip: str, flag_key: str, *, actor: str = "") -> None:
        """Abort it for a trip, if there is one and no application has come to do so; else change nothing."""
        state = self._repository.load().rollouts.get(flag_key) if trip else None
        if state is not None and state.status not in {Status.IDLE, Status.ABORTED}:
            self.abort(flag_key, actor=actor, reason=trip)

    # --- inside ---

    def _order(
        self,
        flag_key: str,
        order: Order,
        actor: str,
        reason: str,
        also: Also | None = None,
    ) -> Rollout:
        """Carry it out on the rollout as it stands; whoever was overtaken looks again, and may then be refused."""
        stamp = self._sign(actor, reason)
        by = By(stamp.actor, stamp.at, reason)
        for _ in range(ATTEMPTS):
            stored = self._repository.load()
            flag, before = _found(stored, flag_key)
            after, events = order(_Asked(stored, flag, before, by))
            records: list[Record] = [record for record in (transition(before, after, by.at),) if record]
            if also is not None:
                after, record = also(stored, flag, after, by)
                records.append(record)
            became = after.reason if after.reason != before.reason else ""
            try:
                self._repository.save_rollout(after, replace(stamp, reason=reason or became), records)
            except StaleWrite:
                continue
            self._take(events)
            return after
        raise StoreError(f"{ATTEMPTS} times the rollout of {flag_key} moved on before this could be written; try again")


def _found(stored: Stored, flag_key: str) -> tuple[Flag, Rollout]:
    if flag_key not in stored.flags:
        raise UnknownFlag(flag_key, stored.flags)
    return stored.flags[flag_key], stored.rollouts.get(flag_key) or Rollout(flag_key=flag_key)


def _plan_of(flag: Flag) -> Plan:
    if not isinstance(flag.plan, Plan):
        raise Refused(f"{flag.key} has no plan: declare one as [flags.{flag.key}.plan], or name one that flags share")
    return flag.plan


def _consent(_: Stored, __: Flag, after: Rollout, by: By) -> tuple[Rollout, Record]:
    """Return the record of the approval that was just given, beside the state that has it."""
    given = after.approvals[-1]
    consent = Consent(
        flag_key=after.flag_key,
        at=by.at,
        attempt=after.attempt,
        stage=given.stage,
        role=given.role,
        who=by.who,
        why=by.why,
    )
    return after, consent


def _configuration(stored: Stored, flag: Flag, after: Rollout, by: By) -> tuple[Rollout, Record]:
    """Return the record of what the rollout goes by from now on, and the state that knows of it."""
    setting = Setting(_plan_of(flag), flag.slos, flag.soft, stored.policy)
    return replace(after, setting=setting.fingerprint), setting.written(flag.key, by.at, stored.version, by.who)
