"""Claims about how a plan is read, and what is known of it before it starts."""

from __future__ import annotations

import itertools
import tomllib
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.core.blackout import DAY_MIN, WEEK_MIN, parse_blackout
from canary_sdk.core.breaker import AutoRollback, RollbackRule
from canary_sdk.core.flags.flag import Flag
from canary_sdk.core.judge.slo import parse_slo
from canary_sdk.core.plan import Plan, Stage, parse_plan, plan_fields, read_plan
from canary_sdk.core.rollout.feasibility import check_plan, check_rollout, expected_samples, samples_needed
from canary_sdk.errors import ConfigError

CLASSIC: Final = """
stages = [
  { percent = 5,   bake = "60m",  slos = ["p95 < 500ms", "errors < 1%"] },
  { percent = 25,  bake = "120m", slos = ["p95 < 500ms", "errors < 1%"], approval = ["sre-lead"] },
  { percent = 50,  bake = "240m", slos = ["p95 < 450ms", "errors < 0.8%"] },
  { percent = 100, bake = "1440m", slos = ["p95 < 400ms", "errors < 0.5%"] },
]
"""
EVERYTHING: Final = """
stages = [
  { percent = 5,   bake = "60m",  slos = ["p95 < 500ms"], soft = ["p50 < 100ms"] },
  { percent = 100, bake = "24h", approval = ["sre-lead", "owner"], deadline = "6h" },
]
holdback = "5%"
warmup = "1m"
baseline = "10m"
blackout = ["Fri 16:00-Mon 08:00 Europe/Berlin", "22:00-06:00"]
start = 2026-11-24T09:00:00+01:00
four_eyes = true
parallel = 2
watch = "24h"
interval = "10s"
fresh = 3
on_deadline = "abort"
"""


def read(text: str) -> Plan:
    """Read a plan from TOML."""
    return parse_plan(tomllib.loads(text))


def problems_of(found: object) -> list[str]:
    """Return what is wrong with a plan, as printed."""
    with pytest.raises(ConfigError) as caught:
        parse_plan(found)
    return [str(problem) for problem in caught.value.problems]


def a_plan(*stages: dict[str, Any], **others: object) -> dict[str, Any]:
    """Make the fields of a plan: of one whole stage unless told otherwise."""
    return {"stages": list(stages) or [{"percent": 100, "bake": "1h"}], **others}


# --- reading ---


def test_the_classic_plan_is_read() -> None:
    """Four stages, each with its share, its time and its promises; what is left out is off."""
    plan = read(CLASSIC)
    assert [plan.percent(number) for number in range(6)] == [0, 5, 25, 50, 100, 100]
    assert [plan.bake_s(number) / 60 for number in range(6)] == [0, 60, 120, 240, 1440, 0]
    assert plan.stages[2].slos == (parse_slo("p95 < 450ms"), parse_slo("errors < 0.8%"))
    assert [plan.roles(number) for number in range(6)] == [(), (), ("sre-lead",), (), (), ()]
    assert plan == Plan(stages=plan.stages)


def test_everything_can_be_said() -> None:
    """Each option is read into its own field, in seconds, percent and wall seconds."""
    plan = read(EVERYTHING)
    assert plan == Plan(
        stages=(
            Stage(5.0, 3600.0, (parse_slo("p95 < 500ms"),), (parse_slo("p50 < 100ms"),)),
            Stage(100.0, 86400.0, approval=("sre-lead", "owner"), deadline_s=21600.0),
        ),
        holdback=5.0,
        warmup_s=60.0,
        baseline_s=600.0,
        blackout=(parse_blackout("Fri 16:00-Mon 08:00 Europe/Berlin"), parse_blackout("22:00-06:00 UTC")),
        start_at=1795507200.0,
        four_eyes=True,
        parallel=2,
        watch_s=86400.0,
        interval_s=10.0,
        fresh=3,
        abort_on_deadline=True,
    )
    assert plan.percent(2) == 95
    assert plan.zones == {"Europe/Berlin", "UTC"}


@pytest.mark.parametrize("text", [CLASSIC, EVERYTHING])
def test_what_is_written_is_read_again(text: str) -> None:
    """The plain fields of a plan give the same plan, with the same fingerprint."""
    plan = read(text)
    again = parse_plan(plan_fields(plan))
    assert (again, again.fingerprint) == (plan, plan.fingerprint)


def test_a_fingerprint_tells_plans_apart_and_lasts() -> None:
    """Any change shows in it, spelling does not, and it is the same in every release."""
    assert parse_plan(a_plan()).fingerprint == parse_plan(a_plan({"percent": "100%", "bake": 3600})).fingerprint
    assert parse_plan(a_plan()).fingerprint != parse_plan(a_plan(fresh=3)).fingerprint
    assert parse_plan(a_plan()).fingerprint == "78fc5e81f9a3e41557659db0c85b0de2"


MISTAKES: Final = [
    (3, "configuration: found 3, expected a table"),
    ({}, "stages: found nothing, expected it to be there"),
    (a_plan() | {"stages": []}, "stages: found a list, expected a list of at least one stage"),
    (a_plan({"bake": "1h"}), "stages.0.percent: found nothing"),
    (a_plan({"percent": 100}), "stages.0.bake: found nothing"),
    (a_plan({"percent": 100, "bake": 0}), "stages.0.bake: found 0, expected a duration of more than zero"),
    (a_plan({"percent": 0, "bake": "1h"}), "stages.0.percent: found 0, expected more than 0 %"),
    (a_plan({"percent": 101, "bake": "1h"}), "stages.0.percent: found 101, expected a percentage from 0 to 100"),
    (a_plan({"percent": 100, "backe": "1h"}), "did you mean 'bake'?"),
    (
        a_plan({"percent": 100, "bake": "1h", "slos": ["p95 < 500"]}),
        "stages.0.slos.0: 'p95 < 500': found '500' without",
    ),
    (
        a_plan({"percent": 100, "bake": "1h", "approval": ["a", "a"]}),
        "stages.0.approval.1: found 'a' again, expected it once",
    ),
    (
        a_plan({"percent": 100, "bake": "1h", "slos": ["p95 < 1s"], "soft": ["p95 < 1000ms"]}),
        "stages.0.soft.0: found 'p95 < 1000ms' here and in slos, expected it in one",
    ),
    (
        a_plan({"percent": 50, "bake": "1h"}, {"percent": 25, "bake": "1h"}, {"percent": 100, "bake": "1h"}),
        "stages.1.percent: found 25, expected more than the 50 of the stage before",
    ),
    (
        a_plan({"percent": 100, "bake": "1h"}, {"percent": 100, "bake": "1h"}),
        "stages.1.percent: found 100, expected more than the 100 of the stage before",
    ),
    (
        a_plan({"percent": 95, "bake": "1h"}, {"percent": 100, "bake": "1h"}, holdback=5),
        "stages.1.percent: found 100, which is 95 with the holdback, expected more than the 95 of the stage before",
    ),
    (a_plan({"percent": 50, "bake": "1h"}), "stages.0.percent: found 50, expected 100 in the last stage"),
    (a_plan(warmup="1h"), "stages.0.bake: found 3600 s, expected more than the warm-up"),
    (a_plan(on_deadline="abbort"), "on_deadline: found 'abbort', expected hold or abort; did you mean 'abort'?"),
    (a_plan(start="tomorrow"), "start: found 'tomorrow', expected a date and time with its offset"),
    (
        a_plan(start=tomllib.loads("at = 2026-11-24T09:00:00")["at"]),
        "start: found a datetime, expected a date and time",
    ),
    (a_plan(parallel=0), "parallel: found 0, expected 1 or more"),
    (a_plan(blackout=["Fri 16:00"]), "blackout.0: found 'Fri 16:00', expected a window such as"),
    (a_plan(blackout=["Fri 16:00-08:00"]), "blackout.0: found 'Fri 16:00-08:00', expected a window such as"),
    (a_plan(blackout=["24:00-08:00"]), "blackout.0: found the time 24:00, expected one from 00:00 to 23:59"),
    (a_plan(blackout=["Fry 16:00-Mon 08:00"]), "blackout.0: found the day 'Fry', expected one of Mon"),
    (a_plan(blackout=["Mon 08:00-Mon 08:00"]), "blackout.0: found 'Mon 08:00-Mon 08:00', expected a window that ends"),
]


@pytest.mark.parametrize(("found", "message"), MISTAKES)
def test_a_mistake_is_named_where_it_is(found: object, message: str) -> None:
    """Each mistake has the path of the key that makes it, what was found and what was expected."""
    assert any(message in problem for problem in problems_of(found)), problems_of(found)


def test_all_mistakes_are_named_at_once() -> None:
    """Of a plan with five mistakes five are told."""
    plan = a_plan({"percent": 0, "bake": 0}, {"percent": 100, "bake": "1h", "soft": ["p95"]}, fresh=0, wathc="1h")
    assert len(problems_of(plan)) == 5


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_anything_else_is_a_mistake_and_no_accident(junk: object) -> None:
    """Whatever stands where a plan, a stage or an option belongs, it is read or refused."""
    for found in (junk, {"stages": junk}, {"stages": [junk]}, *(a_plan() | {name: junk} for name in plan_names())):
        with suppress(ConfigError):
            assert parse_plan(found).stages


def plan_names() -> list[str]:
    """Return every option of a plan."""
    return list(tomllib.loads(EVERYTHING))


# --- plans that are shared ---


def test_a_plan_of_a_flag_is_a_table_or_a_name() -> None:
    """A flag's plan is a table of its own, kept in canonical form, or the name of one that is declared anywhere."""
    assert read_plan("careful") == "careful"
    assert read_plan({"stages": [{"percent": "100%", "bake": "1h"}]}) == {
        "stages": [{"percent": 100.0, "bake": 3600.0}]
    }
    with pytest.raises(ValueError, match="found the name 'no name', expected"):
        read_plan("no name")
    with pytest.raises(ConfigError, match=r"stages\.0\.bake"):
        read_plan(a_plan({"percent": 100, "bake": 0}))


# --- blackout windows ---


def minute(day: int, hour: int, past: int = 0) -> int:
    """Return a minute of the week; Monday is 0."""
    return day * DAY_MIN + hour * 60 + past


@pytest.mark.parametrize(
    ("text", "at", "holds"),
    [
        ("Fri 16:00-Mon 08:00", minute(4, 15, 59), False),
        ("Fri 16:00-Mon 08:00", minute(4, 16), True),
        ("Fri 16:00-Mon 08:00", minute(6, 12), True),
        ("Fri 16:00-Mon 08:00", minute(0, 7, 59), True),
        ("Fri 16:00-Mon 08:00", minute(0, 8), False),
        ("friday 16:00 - saturday 08:00", minute(5, 3), True),
        ("22:00-06:00", minute(2, 23), True),
        ("22:00-06:00", minute(3, 5, 59), True),
        ("22:00-06:00", minute(3, 6), False),
        ("09:00-17:00", minute(6, 12), True),
    ],
)
def test_a_window_holds_from_its_first_minute_until_before_its_last(text: str, at: int, *, holds: bool) -> None:
    """It begins with the minute it names, is over at the one it ends with, and may span the end of a day or week."""
    assert parse_blackout(text).holds({"UTC": at}) is holds


def test_a_place_whose_time_is_not_known_is_blacked_out() -> None:
    """Not knowing what time it is somewhere never lets anything through."""
    window = parse_blackout("Fri 16:00-Mon 08:00 Europe/Berlin")
    assert window.holds({"UTC": minute(2, 12)})
    assert not window.holds({"Europe/Berlin": minute(2, 12)})


@given(begin=st.integers(0, WEEK_MIN - 1), length=st.integers(1, WEEK_MIN - 1), daily=st.booleans())
def test_a_window_holds_for_exactly_its_length(begin: int, length: int, *, daily: bool) -> None:
    """In one week it is in force for as many minutes as lie between its ends, and is read again as it is written."""
    period = DAY_MIN if daily else WEEK_MIN
    begin, length = begin % period, max(length % period, 1)
    days = [("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[at // DAY_MIN % 7] for at in (begin, begin + length)]
    ends = [f"{at % DAY_MIN // 60:02}:{at % 60:02}" for at in (begin, begin + length)]
    text = "-".join(ends if daily else [f"{day} {end}" for day, end in zip(days, ends, strict=True)])
    window = parse_blackout(text)
    assert sum(window.holds({"UTC": at}) for at in range(period)) == length
    assert parse_blackout(window.text) == window


# --- before it starts ---


def messages(plan: Plan, **known: Any) -> list[str]:
    """Return what will not work, as printed."""
    return [str(problem) for problem in check_plan(plan, **known)]


def test_a_plan_is_told_what_its_traffic_cannot_show() -> None:
    """At 6 requests a second, 5 % get 1,080 in an hour, on which no test tells a broken p99 from a kept one."""
    plan = parse_plan(
        a_plan({"percent": 5, "bake": "60m", "slos": ["p99 < 1s", "p95 < 500ms"]}, {"percent": 100, "bake": "1h"})
    )
    assert expected_samples(plan, 6.0) == pytest.approx((1080.0, 21600.0))
    (message,) = messages(plan, rate=6.0)
    assert message.startswith(
        "stages.0.bake: at 6 req/s this stage cannot show p99 in 60 minutes: it gets 1080 requests,"
    )
    assert messages(plan, rate=7.0) == []
    assert messages(plan) == []


def test_what_is_just_enough_is_enough() -> None:
    """As many requests in an interval as the judge asks for, and as much traffic as is promised."""
    stages = [{"percent": 10, "bake": "1h", "slos": ["throughput > 10/s"]}, {"percent": 100, "bake": "1h"}]
    plan = parse_plan(a_plan(*stages))
    in_one = round(10 * plan.interval_s / 10)
    assert messages(plan, rate=10.0, min_samples=in_one) == []
    (too_few,) = messages(plan, rate=10.0, min_samples=in_one + 1)
    assert too_few.startswith("stages.0.percent: at 10 req/s the candidate gets")
    (too_little,) = messages(plan, rate=9.99)
    assert too_little == "stages.0.bake: at 9.99 req/s this stage cannot keep throughput > 10/s"


@pytest.mark.parametrize("rule", RollbackRule)
def test_a_rollout_is_checked_like_its_plan(rule: RollbackRule) -> None:
    """By the flag's own promises and all that is known; rules that look at single intervals ask for samples in each."""
    flag = Flag("f", slos=(parse_slo("p99 < 1s"),))
    plan = parse_plan(
        a_plan(
            {"percent": 1, "bake": "10m", "approval": ["sre"]},
            {"percent": 100, "bake": "1h"},
            blackout=["Fri 16:00-Mon 08:00 Nowhere"],
        )
    )
    known: dict[str, Any] = {"rate": 2.0, "roles": {"owner": ["ana"]}, "zones": ["UTC"]}
    fewest = 0 if rule is RollbackRule.SEQUENTIAL else 10
    expected = check_plan(plan, slos=flag.slos, min_samples=fewest, **known)
    assert check_rollout(flag, plan, AutoRollback(rule=rule, min_samples=10, interval_s=1), **known) == expected
    assert [".".join(each.path) for each in expected] == [
        "stages.0.approval.0",
        "blackout.0",
        "stages.0.bake",
        *["stages.0.percent"] * (fewest > 0),
    ]


def test_the_warm_up_shows_nothing() -> None:
    """What comes in during the warm-up is not counted on, and what is held back neither."""
    plan = parse_plan(a_plan({"percent": 100, "bake": "1h"}, warmup="30m", holdback=50))
    assert expected_samples(plan, 10.0) == pytest.approx((10 * 0.5 * 1800,))


def test_the_flags_own_promises_are_checked_where_a_stage_has_none() -> None:
    """A stage without SLOs is held against the flag's; throughput needs no samples, but traffic."""
    plan = parse_plan(a_plan())
    slos = (parse_slo("p99 < 1s"), parse_slo("throughput > 50/s"), parse_slo("call.p99 < 1s"))
    latency, throughput = messages(plan, rate=0.1, slos=slos)
    assert latency.startswith("stages.0.bake: at 0.1 req/s this stage cannot show p99 in 60 minutes: it gets 360")
    assert throughput == "stages.0.bake: at 0.1 req/s this stage cannot keep throughput > 50/s"


def test_a_rule_that_looks_at_one_interval_needs_its_samples_there() -> None:
    """Where each interval is judged alone, one with too few requests is INCONCLUSIVE for ever."""
    plan = parse_plan(a_plan({"percent": 5, "bake": "1h"}, {"percent": 100, "bake": "1h"}))
    (message,) = messages(plan, rate=6.0, min_samples=50)
    assert message.startswith("stages.0.percent: at 6 req/s the candidate gets 9 requests in an interval of 30 s")


@pytest.mark.parametrize(
    ("text", "needed"), [("p50 < 1s", 81), ("p95 < 1s", 267), ("p99 < 1s", 1220), ("errors < 1%", 1220)]
)
def test_the_bound_is_walds(text: str, needed: int) -> None:
    """It takes ln(100) nats, at KL(p1, p0) a request, where the odds of a bad one are doubled."""
    assert samples_needed(parse_slo(text)) == pytest.approx(needed, abs=1)
    assert samples_needed(parse_slo("throughput > 5/s")) == 0


def test_approvals_that_nobody_can_give_are_named() -> None:
    """A role that is not known or has nobody, and with four eyes roles that one person cannot both fill."""
    plan = parse_plan(a_plan({"percent": 100, "bake": "1h", "approval": ["sre-lead", "owner"]}, four_eyes=True))
    assert messages(plan, roles={"sre-lead": ["ana"], "owner": ["bo"]}) == []
    assert messages(plan, roles={"sre-leads": ["ana"], "owner": ["bo"]}) == [
        "stages.0.approval.0: found 'sre-lead', which nobody has; did you mean 'sre-leads'?",
    ]
    assert messages(plan, roles={"sre-lead": ["ana"], "owner": ["Ana "]}) == [
        "stages.0.approval: found 2 roles that overlap: too few people have them, one each is needed",
    ]


@given(st.lists(st.sets(st.sampled_from("abcd"), min_size=1), min_size=1, max_size=4))
def test_overlapping_roles_are_found_wherever_they_overlap(holders: list[set[str]]) -> None:
    """Exactly where no choice of people gives every role another one, as trying all of them shows."""
    roles = {f"role {number}": sorted(people) for number, people in enumerate(holders)}
    plan = parse_plan(a_plan({"percent": 100, "bake": "1h", "approval": list(roles)}, four_eyes=True))
    possible = any(len(set(choice)) == len(holders) for choice in itertools.product(*holders))
    assert (messages(plan, roles=roles) == []) is possible


def test_who_started_it_is_one_the_fewer() -> None:
    """With four eyes a role that nobody else has cannot agree any more, nor roles that share one other person."""
    plan = parse_plan(a_plan({"percent": 100, "bake": "1h", "approval": ["sre", "owner"]}, four_eyes=True))
    roles = {"sre": ["Ana", "bo"], "owner": ["bo", "cy"]}
    assert messages(plan, roles=roles, starter="dora") == messages(plan, roles=roles, starter="ana") == []
    assert messages(plan, roles=roles | {"sre": ["Ana"]}, starter="ana") == [
        "stages.0.approval.0: found 'sre', which only ana has, who started it and so may not agree"
    ]
    assert len(messages(plan, roles=roles | {"owner": ["bo"]}, starter="ana")) == 1
    two_eyes = parse_plan(a_plan({"percent": 100, "bake": "1h", "approval": ["sre"]}))
    assert messages(two_eyes, roles={"sre": ["ana"]}, starter="ana") == []


def test_an_unknown_place_is_named() -> None:
    """A time zone that the machine does not know would black out for ever; where that is not known, none is."""
    plan = parse_plan(a_plan(blackout=["22:00-06:00", "22:00-06:00 Europe/Berlni"]))
    assert messages(plan, zones=["UTC", "Europe/Berlin"]) == [
        "blackout.1: found the time zone 'Europe/Berlni', which is not known; did you mean 'Europe/Berlin'?"
    ]
    assert messages(plan) == []


POLICY: Final = AutoRollback(rule=RollbackRule.CONSECUTIVE, interval_s=30.0)


def flag_problems(flag: Flag, policy: AutoRollback = POLICY, **plan: Any) -> list[str]:
    """Check the rollout of a flag of two stages."""
    stages = [{"percent": 10, "bake": "1h"}, {"percent": 100, "bake": "1h", "soft": ["errors < 1%"]}]
    return [str(problem) for problem in check_rollout(flag, parse_plan({"stages": stages} | plan), policy)]


def test_a_flag_that_shows_nothing_is_named() -> None:
    """Switched off, or with no promise but soft ones in a stage; a stage's own promise will do."""
    errors = (parse_slo("errors < 1%"),)
    assert flag_problems(Flag("f", slos=(parse_slo("p95 < 1s"),))) == []
    assert flag_problems(Flag("f", slos=(parse_slo("p95 < 1s"),), enabled=False)) == [
        "enabled: found false: nobody would be served, and so nothing be shown"
    ]
    (only_soft,) = flag_problems(Flag("f", slos=errors))
    assert only_soft.startswith("stages.1.slos: found neither here nor in the flag an SLO that is not soft")
    assert len(flag_problems(Flag("f"))) == 2
    own = [{"percent": 100, "bake": "1h", "slos": ["p95 < 1s"]}]
    assert flag_problems(Flag("f"), stages=own) == []


def test_a_stage_that_could_not_be_left_in_time_is_named() -> None:
    """The sequential judge wants as many requests of the candidate in a stage as are asked for, and no more."""
    policy = replace(POLICY, rule=RollbackRule.SEQUENTIAL, min_samples=2_000)
    plan = parse_plan(a_plan({"percent": 50, "bake": "1h"}, {"percent": 100, "bake": "1h"}))
    flag = Flag("checkout", slos=(parse_slo("p50 < 1s"),), plan=plan)
    (found,) = check_rollout(flag, plan, policy, rate=1.0)
    assert found.path == ("stages", "0", "bake")
    words = "at 1 req/s the candidate gets 1800 requests in this stage, and 2000 are needed before it is left"
    assert found.message == words
    assert check_rollout(flag, plan, replace(policy, min_samples=1_800), rate=1.0) == ()
    assert check_rollout(flag, plan, policy) == ()


def test_a_rule_that_judges_too_seldom_is_named() -> None:
    """The classic rule judges once an interval, and a judgement may not be older; the sequential judge is quick."""
    flag = Flag("f", slos=(parse_slo("p95 < 1s"),))
    (too_old,) = flag_problems(flag, interval="10s")
    assert too_old == (
        "interval: found a judgement to be 20 s old at most, and there is one every 30 s: most would be too old"
    )
    assert flag_problems(flag, interval="15s") == []
    assert flag_problems(flag, AutoRollback(rule=RollbackRule.SEQUENTIAL), interval="10s") == []
