"""The drill: baseline, release stage by stage, the fault, the wait for the flag to go off, the proof of recovery.

It applies settings, switches the fault on, and looks; whether the flag goes off is left to the library alone, and the
fault stays on until the end. Renders nothing. What was found is a value: `Rehearsal`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.errors import CanaryError
from canary_sdk.rehearsal.figures import keeps, tally_of
from canary_sdk.rehearsal.journal import Journal
from canary_sdk.rehearsal.result import Kind, Phase, Rehearsal
from canary_sdk.rehearsal.traffic import count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from canary_sdk.clock import Clock
    from canary_sdk.core.judge.slo import Slo
    from canary_sdk.core.judge.tally import Tally
    from canary_sdk.rehearsal.fault import Fault
    from canary_sdk.rehearsal.result import Moment, Plan, Times
    from canary_sdk.rehearsal.traffic import Second
    from canary_sdk.rehearsal.witness import FaultMiddleware
    from canary_sdk.runtime.client import Canary
    from canary_sdk.runtime.status import FlagStatus

POLL_S: Final = 0.1
TRAFFIC_S: Final = 15.0
"""How long the first answered second of traffic may take."""
RECENT_S: Final = 2.5
"""What the clients saw lately: at least one whole second, usually two."""
STEADY: Final = 3
"""So many good seconds in a row, seen by the clients, are a recovery."""

FAULT: Final = "fault"
RECOVERY: Final = "recovery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the drill is, for whoever shows it.

    `names` are all phases, `current` the present one's index and `fraction` how much of its time is over; `seconds`
    since the drill began. `flag` is the library's own view, `clients` what the clients saw lately.
    """

    plan: Plan
    names: tuple[str, ...]
    current: int
    fraction: float
    seconds: float
    flag: FlagStatus
    breaches: int
    clients: Tally
    moments: Sequence[Moment]
    times: Times

    @property
    def is_over(self) -> bool:
        """Whether every phase is over."""
        return self.current >= len(self.names)


class Observer(Protocol):
    """Somebody who watches. Called about ten times a second, on the drill's own thread."""

    def watch(self, progress: Progress) -> None:
        """Look at it."""


class Clients(Protocol):
    """The traffic, as the drill needs it."""

    seconds: list[Second]

    def check(self) -> None:
        """Raise `CanaryError` when the traffic has ended."""


class _Span(NamedTuple):
    """A phase's name and percentage, and when it was, monotonic seconds."""

    name: str
    percent: float
    began: float
    ended: float


def names_of(plan: Plan) -> tuple[str, ...]:
    """Return the names of a plan's phases."""
    stages = tuple(_stage_name(percent) for percent, _ in plan.stages)
    return (*stages, FAULT, RECOVERY) if plan.fault else stages


class Drill:
    """One run of a plan. Threads: one; use once."""

    def __init__(
        self,
        canary: Canary,
        witness: FaultMiddleware,
        traffic: Clients,
        plan: Plan,
        observer: Observer,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Prepare; nothing happens yet. The flag must have been applied before."""
        self._canary = canary
        self._witness = witness
        self._traffic = traffic
        self._plan = plan
        self._observer = observer
        self._clock = clock
        self._journal = Journal(plan.flag_key, witness, clock)
        self._times = self._journal.times
        self._names = names_of(plan)
        self._spans: list[_Span] = []

    def run(self) -> Rehearsal:
        """Carry the plan out. Raises `CanaryError` when it cannot be carried out at all."""
        self._canary.subscribe(self._journal)
        self._await_traffic()
        self._journal.begin()
        began_at = self._clock.wall()
        for percent, seconds in self._plan.stages:
            if self._times.tripped is None:
                self._stage(percent, seconds)
        if self._plan.fault and self._times.tripped is None:
            self._strike(self._plan.fault)
        if self._times.tripped is not None:
            self._restore(self._times.tripped)
        self._look(len(self._names), 1.0)
        return self._found(began_at)

    # --- the phases --------------------------------------------------------------------------------------------------

    def _await_traffic(self) -> None:
        """Wait for one second in which clients were answered, so that the baseline begins warm."""
        deadline = self._clock.monotonic() + TRAFFIC_S
        while not any(second.times for second in self._traffic.seconds):
            if self._clock.monotonic() > deadline:
                raise CanaryError(f"no request was answered within {TRAFFIC_S:g} s")
            self._journal.begin()
            self._look(0, 0.0)

    def _stage(self, percent: float, seconds: float) -> None:
        self._canary.apply(_released(self._plan, percent), actor="rehearsal", reason=f"released to {percent:g} %")
        whom = f"released to {percent:g} % of the users" if percent else "baseline: nobody gets the candidate yet"
        self._journal.note(Kind.STEP, whom)
        self._watch(_stage_name(percent), percent, seconds, until=self._has_tripped)

    def _strike(self, fault: Fault) -> None:
        self._witness.fault = fault
        self._times.fault_on = self._clock.monotonic()
        self._journal.note(Kind.FAULT, f"fault on: {fault.sentence}")
        percent, _ = self._plan.stages[-1]
        self._watch(FAULT, percent, self._plan.patience_s, until=self._has_tripped, expected=self._plan.deadline_s)

    def _restore(self, tripped: float) -> None:
        """Watch live traffic until the clients have had several good seconds; the fault stays on."""

        def is_enough() -> bool:
            self._seek_recovery(tripped)
            return self._times.recovered is not None and self._clock.monotonic() - tripped >= self._plan.restored_s

        longest = max(self._plan.patience_s, self._plan.restored_s)
        self._watch(RECOVERY, 0.0, longest, until=is_enough, expected=self._plan.restored_s)

    def _has_tripped(self) -> bool:
        return self._times.tripped is not None

    def _seek_recovery(self, tripped: float) -> None:
        """Find the first of several good seconds in a row, as the clients saw them."""
        if self._times.recovered is not None:
            return
        after = [second for second in self._traffic.seconds.copy() if second.began >= tripped]
        good = [keeps(count([second], self._slos), self._slos) is True for second in after]
        first = next((i for i in range(len(good) - STEADY + 1) if all(good[i : i + STEADY])), None)
        if first is not None:
            self._times.recovered = after[first].began
            took = after[first].began - tripped
            self._journal.note(Kind.RECOVERY, f"clients are served well again, {took:.1f} s after the flag went off")

    # --- looking -----------------------------------------------------------------------------------------------------

    def _watch(
        self, name: str, percent: float, seconds: float, *, until: Callable[[], bool], expected: float | None = None
    ) -> None:
        """One phase: look again and again until its time is over or `until` says so, which is `expected` earlier."""
        began = self._clock.monotonic()
        current = self._names.index(name) if name in self._names else len(self._names) - 1
        while (passed := self._clock.monotonic() - began) < seconds and not until():
            self._look(current, min(1.0, passed / (expected or seconds)))
        self._spans.append(_Span(name, percent, began, self._clock.monotonic()))

    def _look(self, current: int, fraction: float) -> None:
        self._clock.pause(POLL_S)
        self._traffic.check()
        self._journal.listen()
        now = self._clock.monotonic()
        decisions = self._journal.decisions
        self._observer.watch(
            Progress(
                plan=self._plan,
                names=self._names,
                current=current,
                fraction=fraction,
                seconds=now - self._times.began,
                flag=self._canary.status().flags[self._plan.flag_key],
                breaches=decisions[-1].reached.breaches if decisions else 0,
                clients=self._clients(now - RECENT_S, now),
                moments=tuple(self._journal.moments),
                times=replace(self._times),
            )
        )

    @property
    def _slos(self) -> tuple[Slo, ...]:
        return self._canary.status().flags[self._plan.flag_key].flag.slos

    def _clients(self, began: float, ended: float) -> Tally:
        """Count what the clients saw between two monotonic moments, by whole seconds."""
        within = (second for second in self._traffic.seconds.copy() if began <= second.middle < ended)
        return count(within, self._slos)

    # --- finding -----------------------------------------------------------------------------------------------------

    def _found(self, began_at: float) -> Rehearsal:
        self._journal.listen()
        self._times.last_candidate = self._witness.last_candidate
        return Rehearsal(
            plan=self._plan,
            slos=self._slos,
            began_at=began_at,
            seconds=self._clock.monotonic() - self._times.began,
            times=self._times,
            phases=tuple(self._phase(span) for span in self._spans),
            moments=tuple(self._journal.moments),
            decisions=tuple(self._journal.decisions),
            strikes=self._witness.strikes,
        )

    def _phase(self, span: _Span) -> Phase:
        baseline, candidate = (self._arm(span, is_candidate) for is_candidate in (False, True))
        clients = self._clients(span.began, span.ended)
        return Phase(span.name, span.percent, span.began, span.ended, baseline, candidate, clients)

    def _arm(self, span: _Span, is_candidate: bool) -> Tally:
        seen = [
            sighting
            for sighting in self._witness.seen()
            if sighting.is_candidate is is_candidate and span.began <= sighting.started < span.ended
        ]
        return tally_of(
            (sighting.seconds for sighting in seen),
            errors=sum(sighting.is_error for sighting in seen),
            seconds=span.ended - span.began,
            slos=self._slos,
        )


def _stage_name(percent: float) -> str:
    return f"{percent:g} %" if percent else "baseline"


def _released(plan: Plan, percent: float) -> Mapping[str, object]:
    """Return the plan's settings with the flag's rollout at `percent`."""
    flags = plan.settings["flags"]
    assert isinstance(flags, dict)
    return {**plan.settings, "flags": {**flags, plan.flag_key: {**flags[plan.flag_key], "rollout": percent}}}
