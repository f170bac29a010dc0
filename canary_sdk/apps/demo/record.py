"""From what a rehearsal found to the record a report is made of. Translates, and adds nothing."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

from canary_sdk.evidence import record as evidence
from canary_sdk.rehearsal.check import checks_of

if TYPE_CHECKING:
    from canary_sdk.rehearsal.result import Phase, Rehearsal
    from canary_sdk.rehearsal.traffic import Load


def record_of(rehearsal: Rehearsal, load: Load, environment: str) -> evidence.Record:
    """Return the facts of this run."""
    fault = rehearsal.plan.fault
    key = rehearsal.plan.flag_key
    times = rehearsal.times
    return evidence.Record(
        title=f"Rehearsal of {key}: {'a fault, and the flag that goes off' if fault else 'a healthy release'}",
        flag_key=key,
        environment=environment,
        began_at=rehearsal.began_at,
        seconds=rehearsal.seconds,
        slos=rehearsal.slos,
        setup=_setup(rehearsal, load),
        checks=tuple(evidence.Check(each.claim, each.held, each.found) for each in checks_of(rehearsal)),
        durations=(
            evidence.Duration("from the first bad request to the flag being off", times.to_trip()),
            evidence.Duration("from the flag being off to good service for the clients", times.to_recover()),
        ),
        stages=tuple(_stage(phase, times.began) for phase in rehearsal.phases),
        timeline=tuple(evidence.Moment(each.at, each.kind, each.sentence) for each in rehearsal.moments),
        decisions=tuple(
            evidence.Decision(each.at, each.reached.verdict, each.reached.breaches) for each in rehearsal.decisions
        ),
    )


def _setup(rehearsal: Rehearsal, load: Load) -> dict[str, str]:
    fault = rehearsal.plan.fault
    return {
        "fault": f"{fault.sentence} (`{fault}`), {rehearsal.strikes} struck" if fault else "none",
        "traffic": f"{load.rate:g} requests a second of {load.users:,} users, seed {load.seed}",
        "made with": f"canary-rollout {version('canary-rollout')}, Python {platform.python_version()}",
    }


def _stage(phase: Phase, began: float) -> evidence.Stage:
    seen = {"clients": phase.clients, "baseline arm": phase.baseline, "candidate arm": phase.candidate}
    return evidence.Stage(phase.name, phase.percent, phase.began - began, phase.ended - phase.began, seen)
