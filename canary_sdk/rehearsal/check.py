"""Whether a drill passed: claims that must hold, each with what was found. Pure: a rehearsal in, checks out.

A claim that the figures cannot decide is neither held nor broken, and the drill has then not passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from canary_sdk.core.judge.slo import say_rate, say_ratio, say_seconds
from canary_sdk.rehearsal.figures import FEWEST, keeps

if TYPE_CHECKING:
    from canary_sdk.core.judge.tally import Tally
    from canary_sdk.rehearsal.result import Rehearsal


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must hold. `held` is None when the drill could not tell."""

    claim: str
    held: bool | None
    found: str


def checks_of(rehearsal: Rehearsal) -> tuple[Check, ...]:
    """Return what must hold for this plan: with a fault, that it was taken back; without one, that nothing was."""
    baseline = _check_baseline(rehearsal)
    if rehearsal.plan.fault is None:
        return (baseline, _check_untouched(rehearsal), _check_served(rehearsal), _check_healthy(rehearsal))
    return (
        baseline,
        _check_quiet(rehearsal),
        _check_struck(rehearsal),
        _check_tripped(rehearsal),
        _check_nobody_after(rehearsal),
        _check_recovered(rehearsal),
    )


def passed(checks: tuple[Check, ...]) -> bool:
    """Whether every check held."""
    return all(check.held is True for check in checks)


def _check_baseline(rehearsal: Rehearsal) -> Check:
    """Without a good baseline nothing that follows means anything: that is not known, not failed."""
    clients = rehearsal.phases[0].clients
    held = keeps(clients, rehearsal.slos) or None
    return Check("The service keeps its SLOs before the release", held, _figures(clients))


def _check_quiet(rehearsal: Rehearsal) -> Check:
    times = rehearsal.times
    early = times.tripped is not None and (times.fault_on is None or times.tripped < times.fault_on)
    found = f"it went off after {times.tripped - times.began:.1f} s" if early and times.tripped else "it stayed on"
    return Check("The flag stays on until there is a fault", not early, found)


def _check_struck(rehearsal: Rehearsal) -> Check:
    held = rehearsal.strikes > 0 or None
    return Check("The fault reaches the candidate's requests", held, f"{rehearsal.strikes} requests were struck")


def _check_tripped(rehearsal: Rehearsal) -> Check:
    deadline = rehearsal.plan.deadline_s
    claim = f"The flag goes off by itself within {deadline:g} s of the first bad request"
    took = rehearsal.times.to_trip()
    if took is None:
        waited = f"it was not off after {rehearsal.plan.patience_s:g} s"
        return Check(claim, False if rehearsal.strikes else None, waited)
    return Check(claim, 0 <= took <= deadline, f"{took:.2f} s")


def _check_nobody_after(rehearsal: Rehearsal) -> Check:
    claim = "No request that begins after that is given the candidate"
    times = rehearsal.times
    if times.tripped is None or times.last_candidate is None:
        return Check(
            claim, None, "the flag never went off" if times.last_candidate else "nobody was given the candidate"
        )
    ago = times.tripped - times.last_candidate
    where = "before" if ago >= 0 else "after"
    return Check(claim, ago >= 0, f"the last one began {say_seconds(abs(ago))} {where} it")


def _check_recovered(rehearsal: Rehearsal) -> Check:
    claim = "The clients are served well again, with the fault still there"
    took = rehearsal.times.to_recover()
    if took is None:
        return Check(claim, False if rehearsal.times.tripped else None, "not seen")
    return Check(claim, True, f"{took:.1f} s after the flag went off; {_figures(rehearsal.phases[-1].clients)}")


def _check_untouched(rehearsal: Rehearsal) -> Check:
    tripped = rehearsal.times.tripped
    found = "it stayed on" if tripped is None else f"it went off after {tripped - rehearsal.times.began:.1f} s"
    return Check("A healthy candidate is left alone", tripped is None, found)


def _check_served(rehearsal: Rehearsal) -> Check:
    """The release must have been real: the candidate's share of answers is about what was asked for."""
    last = rehearsal.phases[-1]
    met = last.candidate.requests + last.baseline.requests
    found = last.candidate.requests / met if met else 0.0
    held = None if met < FEWEST else abs(found * 100 - last.percent) <= max(5.0, last.percent * 0.2)
    return Check(f"{last.percent:g} % of the answers come from the candidate at the end", held, say_ratio(found))


def _check_healthy(rehearsal: Rehearsal) -> Check:
    """If the service is bad and the library rightly did not blame the candidate, then this run proves nothing."""
    last = rehearsal.phases[-1].clients
    return Check("The clients are served well at the end", keeps(last, rehearsal.slos) or None, _figures(last))


def _figures(tally: Tally) -> str:
    """Say the figures of all traffic in one line."""
    latencies = (f"p{q * 100:g} {say_seconds(seconds)}" for q, seconds in sorted(tally.quantiles.items()))
    return ", ".join((*latencies, f"{say_ratio(tally.error_rate)} errors", say_rate(tally.rate)))
