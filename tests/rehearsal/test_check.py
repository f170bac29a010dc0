"""What must hold for a drill to pass, claim by claim, on rehearsals made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from canary_sdk.core.judge.slo import parse_slo
from canary_sdk.rehearsal.check import checks_of, passed
from canary_sdk.rehearsal.fault import parse_fault
from canary_sdk.rehearsal.figures import tally_of
from canary_sdk.rehearsal.result import Phase, Plan, Rehearsal, Times

SLOS = (parse_slo("p95 < 250ms"), parse_slo("errors < 1.5%"))
FAULT = Plan(flag_key="f", settings={}, stages=((0, 5), (25, 5)), fault=parse_fault("errors=50%"))
HEALTHY = Plan(flag_key="f", settings={}, stages=((0, 5), (25, 5)))
WELL = {
    "began": 100.0,
    "fault_on": 110.0,
    "first_strike": 110.5,
    "tripped": 113.5,
    "last_candidate": 113.4,
    "recovered": 114.5,
}


def a_phase(name: str = "phase", percent: float = 25.0, share: float = 0.25, seconds: float = 0.02) -> Phase:
    """A phase of 5 seconds and 1,000 requests that took so long each."""
    tallies = (
        tally_of([seconds] * round(1000 * part), errors=0, seconds=5, slos=SLOS) for part in (1 - share, share, 1)
    )
    return Phase(name, percent, 100.0, 105.0, *tallies)


def a_drill(
    plan: Plan = FAULT,
    *,
    strikes: int = 40,
    phases: tuple[Phase, ...] = (),
    times: dict[str, float | None] | None = None,
) -> Rehearsal:
    """A drill that passed, but for what is said."""
    moments: dict[str, Any] = {**WELL, **(times or {})}
    return Rehearsal(
        plan=plan,
        slos=SLOS,
        began_at=1_750_000_000.0,
        seconds=30.0,
        times=Times(**moments),
        phases=phases or (a_phase(share=0, percent=0), a_phase()),
        moments=(),
        decisions=(),
        strikes=strikes,
    )


UNTOUCHED: dict[str, float | None] = dict.fromkeys(("fault_on", "first_strike", "tripped", "recovered"))


def test_a_good_drill_passes() -> None:
    """With everything in time every check holds."""
    assert passed(checks_of(a_drill()))
    assert passed(checks_of(a_drill(HEALTHY, strikes=0, times=UNTOUCHED)))


@pytest.mark.parametrize(
    ("rehearsal", "claim", "held"),
    [
        (a_drill(times={"tripped": 115.51}), "within 5 s", False),
        (a_drill(times={"tripped": 115.5}), "within 5 s", True),
        (a_drill(times={"tripped": None}), "within 5 s", False),
        (a_drill(times={"tripped": None}, strikes=0), "within 5 s", None),
        (a_drill(times={"tripped": 109.0}), "until there is a fault", False),
        (a_drill(times={"tripped": 109.0, "fault_on": None}), "until there is a fault", False),
        (a_drill(strikes=0), "fault reaches", None),
        (a_drill(times={"last_candidate": 113.6}), "given the candidate", False),
        (a_drill(times={"last_candidate": None}), "given the candidate", None),
        (a_drill(times={"recovered": None}), "served well again", False),
        (a_drill(phases=(a_phase(seconds=0.3), a_phase())), "before the release", None),
        (a_drill(HEALTHY, times={**UNTOUCHED, "tripped": 108.0}), "left alone", False),
        (a_drill(HEALTHY, phases=(a_phase(), a_phase(share=0.6)), times=UNTOUCHED), "answers come from", False),
        (a_drill(HEALTHY, phases=(a_phase(), a_phase(seconds=0.3)), times=UNTOUCHED), "well at the end", None),
    ],
)
def test_one_thing_wrong_is_one_claim_broken(rehearsal: Rehearsal, claim: str, held: bool | None) -> None:
    """Each claim is broken, or cannot be told, by exactly what it speaks of; and then the drill has not passed."""
    checks = checks_of(rehearsal)
    (check,) = (check for check in checks if claim in check.claim)
    assert check.held is held
    assert passed(checks) is (held is True)
    assert check.found


def test_what_was_found_is_told_with_its_figures() -> None:
    """A reader sees the numbers, not only a mark."""
    found = {check.claim: check.found for check in checks_of(a_drill())}
    assert found["The flag goes off by itself within 5 s of the first bad request"] == "3.00 s"
    assert found["No request that begins after that is given the candidate"] == "the last one began 100 ms before it"
    assert "p95 20 ms" in found["The service keeps its SLOs before the release"]
