"""Claims about what decides about a rollout, and how it is written down."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from canary_sdk.core.breaker import AutoRollback, RollbackRule
from canary_sdk.core.config.configuration import parse_flag
from canary_sdk.core.judge.slo import Slo, parse_slo
from canary_sdk.core.rollout.setting import Setting

SLOS = ["p95 < 500ms", "errors < 1%"]
SOFT = ["p50 < 50ms"]
STAGES = [
    {"percent": 5, "bake": "1h"},
    {"percent": 50, "bake": "1h", "slos": ["p99 < 1s"], "soft": ["errors < 1%"]},
    {"percent": 100, "bake": "2h", "slos": ["p95 < 1s"]},
]
POLICY = AutoRollback(rule=RollbackRule.BOTH, breaches=5)


def setting(policy: AutoRollback = POLICY, **fields: Any) -> Setting:
    """Return by what a rollout of a flag is run."""
    flag = parse_flag("f", {"slos": SLOS, "soft": SOFT, "plan": {"stages": STAGES}, **fields}).base
    made = Setting.of(flag, policy)
    assert made is not None
    return made


def slos(*texts: str) -> tuple[Slo, ...]:
    """Read promises."""
    return tuple(map(parse_slo, texts))


@pytest.mark.parametrize(
    ("stage", "hard", "soft"),
    [
        (0, slos(*SLOS), slos(*SOFT)),
        (1, slos(*SLOS), slos(*SOFT)),
        (2, slos("p99 < 1s"), slos("errors < 1%")),
        (3, slos("p95 < 1s"), slos(*SOFT)),
        (4, slos("p95 < 1s"), slos(*SOFT)),
    ],
)
def test_a_stage_is_held_against_its_own_promises(stage: int, hard: tuple[Slo, ...], soft: tuple[Slo, ...]) -> None:
    """Else against the flag's; after the promotion, against those of the last stage."""
    assert (setting().hard_in(stage), setting().soft_in(stage)) == (hard, soft)


def test_a_promise_is_hard_or_soft_in_a_stage() -> None:
    """What a stage calls soft is not hard there, and what it calls hard is not soft, whatever the flag says."""
    stages = [
        {"percent": 5, "bake": "1h", "soft": ["errors < 1%"]},
        {"percent": 100, "bake": "1h", "slos": ["p50 < 50ms"]},
    ]
    mixed = setting(plan={"stages": stages})
    assert (mixed.hard_in(1), mixed.soft_in(1)) == (slos("p95 < 500ms"), slos("errors < 1%"))
    assert (mixed.hard_in(2), mixed.soft_in(2)) == (slos("p50 < 50ms"), ())


def test_without_a_plan_of_its_own_there_is_none() -> None:
    """Neither where there is no plan, nor where it is only named."""
    assert Setting.of(parse_flag("f", {}).base, POLICY) is None
    assert Setting.of(parse_flag("f", {"plan": "careful"}).base, POLICY) is None


def test_it_is_written_and_read_again() -> None:
    """As plain fields; an early record, which had less of it, is read with the usual rest."""
    made = setting()
    fields = made.to_fields()
    assert Setting.from_fields(fields) == made
    assert (fields["slos"], fields["soft"], fields["auto_rollback"]["breaches"]) == (SLOS, SOFT, 5)
    assert Setting.from_fields({"plan": fields["plan"]}) == Setting(made.plan, (), (), AutoRollback())
    record = made.written("f", 7.0, 3, "ana")
    assert (record.flag_key, record.at, record.version, record.fields, record.who) == ("f", 7.0, 3, fields, "ana")
    assert made.written("f", 7.0, 3).who == ""


def test_a_fingerprint_tells_settings_apart_and_lasts() -> None:
    """Any part of it changes it, and it is the same in every process."""
    made = setting()
    others = [
        replace(made, slos=made.slos[:1]),
        replace(made, soft=()),
        replace(made, policy=replace(POLICY, breaches=4)),
        setting(plan={"stages": STAGES[:1] + STAGES[2:]}),
    ]
    assert len({each.fingerprint for each in [made, setting(), *others]}) == 1 + len(others)
    assert made.fingerprint == "32725aded2be0217f2dd1f2104665eb4"
