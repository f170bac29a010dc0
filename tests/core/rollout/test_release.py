"""What is on trial: stages of a plan or a percentage by hand, and one promise a stream, the hard before the soft."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from canary_sdk.core.breaker import AutoRollback
from canary_sdk.core.flags.bucketing import seed_of
from canary_sdk.core.flags.flag import Flag
from canary_sdk.core.flags.schemes import Bucketing
from canary_sdk.core.judge.sequential import Stage, Terms
from canary_sdk.core.judge.slo import parse_slo
from canary_sdk.core.judge.streams import Grant
from canary_sdk.core.plan import parse_plan
from canary_sdk.core.rollout.release import BY_HAND_S, LEAST_PLANNED_S, Release, release_of, terms_of
from canary_sdk.core.rollout.state import Rollout, Status

if TYPE_CHECKING:
    from canary_sdk.core.judge.slo import Slo

POLICY = AutoRollback(tolerance=0.2)


def slos(*texts: str) -> tuple[Slo, ...]:
    """Read SLOs."""
    return tuple(map(parse_slo, texts))


FLAG = Flag("checkout", rollout=5.0, slos=slos("p95 < 500ms", "errors < 1%"))
PLAN = parse_plan(
    {
        "stages": [
            {"percent": 5, "bake": "1h", "slos": ["p95 < 500ms"], "soft": ["p50 < 100ms"]},
            {"percent": 50, "bake": "336h", "deadline": "24h", "slos": ["p95 < 450ms", "p50 < 200ms"]},
            {"percent": 100, "bake": "1h"},
        ],
        "holdback": 5,
        "watch": "1h",
    }
)


PLANNED = replace(FLAG, plan=PLAN)


def on_plan(stage: int, **fields: object) -> Release:
    """Return what is on trial in a stage of the plan."""
    rollout = Rollout(flag_key="checkout", status=Status.RUNNING, stage=stage, percent=PLAN.percent(stage))
    return release_of(PLANNED, replace(rollout, **fields))  # type: ignore[arg-type]


def test_a_percentage_by_hand_is_one_stage_of_a_day() -> None:
    """At 0 % nothing runs; another percentage is the same release, other promises or another salt are not."""
    release = release_of(FLAG)
    (stage,) = release.stages
    assert (stage.percent, stage.longest_s, stage.slos) == (5.0, BY_HAND_S, FLAG.slos)
    assert (release.running, release.percent) == (0, 5.0)
    assert release_of(replace(FLAG, rollout=0.0)).running is None
    assert release_of(replace(FLAG, rollout=25.0)).identity == release.identity
    assert release_of(replace(FLAG, salt="other")).identity != release.identity
    assert release_of(replace(FLAG, slos=slos("p95 < 400ms"))).identity != release.identity


def test_who_is_on_trial_is_told_by_the_flag() -> None:
    """By its salt, else its key, and in whose way; with the noise that an operator kept. The least percentage runs."""
    plain = release_of(replace(FLAG, rollout=0.001))
    assert plain == Release(
        seed=seed_of("checkout"), stages=(Stage(percent=0.001, longest_s=BY_HAND_S, slos=FLAG.slos),), running=0
    )
    theirs = release_of(replace(FLAG, salt="other", bucketing=Bucketing.UNLEASH, noise={"p95": 0.1}))
    assert (theirs.seed, theirs.is_ours, theirs.noise) == (seed_of("other"), False, {"p95": 0.1})


def test_terms_are_the_release_with_what_was_learnt_and_granted() -> None:
    """Each stage is granted by its own percentage; of noise, more counts, whoever found it."""
    release = replace(on_plan(2), noise={"p95": 0.3, "shape": 0.1}, soft=frozenset({"p99"}))
    terms = terms_of(
        release, POLICY, lambda percent: Grant(ratio=1 + (percent or 0)), noise={"p95": 0.2, "errors": 0.4}
    )
    assert terms == Terms(
        stages=tuple(replace(stage, grant=Grant(ratio=1 + (stage.percent or 0))) for stage in release.stages),
        tolerance=POLICY.tolerance,
        soft=frozenset({"p99"}),
        noise={"p95": 0.3, "shape": 0.1, "errors": 0.4},
    )
    learnt = terms_of(replace(release, noise={"p95": 0.1}), POLICY, noise={"p95": 0.2})
    assert (learnt.noise, learnt.stages) == ({"p95": 0.2}, release.stages)
    assert terms_of(release_of(FLAG), POLICY).shares == (0.5,)


def test_stages_by_hand_never_use_up_more_than_the_promise() -> None:
    """However many there are, their shares add up to less than 1, and the first may use half of it."""
    shares = [terms_of(release_of(FLAG), POLICY, number=number).shares for number in range(1, 2000)]
    assert shares[0] == (0.5,)
    assert math.fsum(share for (share,) in shares) < 1


def test_a_plan_has_all_its_stages_and_the_watch_that_follows() -> None:
    """Each may be held for a week at least; SLOs that a stage leaves out are the flag's own."""
    release = on_plan(2)
    assert [stage.percent for stage in release.stages] == [5.0, 50.0, 95.0, 100.0]
    assert [stage.longest_s for stage in release.stages] == [
        LEAST_PLANNED_S,
        15 * 86400.0,
        LEAST_PLANNED_S,
        LEAST_PLANNED_S,
    ]
    assert release.stages[2].slos == release.stages[3].slos == FLAG.slos
    assert (release.running, release.first) == (1, 5.0)
    assert terms_of(release, POLICY).shares == ()
    assert terms_of(release, POLICY).tolerance == 0.2
    long = parse_plan({"stages": [{"percent": 100, "bake": "240h", "soft": ["p99 < 1s"]}]})
    release = release_of(replace(FLAG, plan=long), Rollout(flag_key="checkout", status=Status.RUNNING, stage=1))
    assert release.stages[0].longest_s == 10 * 86400.0
    assert release.soft == {"p99"}


@pytest.mark.parametrize(
    ("stage", "fields", "running"),
    [
        (0, {}, None),
        (0, {"percent": 5.0}, None),
        (1, {"percent": 0.001}, 0),
        (4, {"status": Status.PROMOTED}, 3),
        (2, {"status": Status.ABORTED, "percent": 0.0}, None),
        (2, {"status": Status.PAUSED}, 1),
    ],
)
def test_what_runs_is_what_is_served(stage: int, fields: dict[str, object], running: int | None) -> None:
    """Nothing before the first stage and after an abort; the watch once it is promoted."""
    assert on_plan(stage, **fields).running == running


def test_a_probe_and_what_others_give_are_releases_of_their_own() -> None:
    """Of one stage, by nobody's plan: no wider than what was served, or of a share that is not known."""
    planned = on_plan(2)
    stage = planned.stages[1]
    one = replace(planned, is_planned=False, running=0)
    assert planned.probed(1.0, 60.0) == replace(
        one, stages=(replace(stage, percent=1.0, longest_s=60.0),), is_probe=True
    )
    assert planned.probed(80.0, 60.0).percent == 50.0
    assert replace(planned, running=None).probed(1.0, 60.0).stages == (
        replace(planned.stages[0], percent=None, longest_s=60.0),
    )
    assert planned.given_elsewhere() == replace(
        one, stages=(replace(planned.stages[0], percent=None, longest_s=BY_HAND_S),), is_ours=False
    )


def test_another_attempt_is_another_release() -> None:
    """A rollout that is begun again gets a new promise; another stage of it does not."""
    assert on_plan(1).identity == on_plan(2).identity
    assert on_plan(1, attempt=2).identity != on_plan(1, attempt=1).identity


def test_an_idle_rollout_leaves_it_to_the_percentage() -> None:
    """A plan that nobody follows changes nothing."""
    assert release_of(PLANNED, Rollout(flag_key="checkout")) == release_of(FLAG)


def test_of_two_promises_of_one_measure_the_hard_one_is_judged() -> None:
    """Also where they stand in different stages; of two hard ones the stricter, of each kind and each side."""
    release = on_plan(1)
    assert release.stages[0].slos == slos("p95 < 500ms")
    assert release.soft == frozenset()
    flag = Flag(
        "checkout",
        slos=slos(
            *("p95 < 500ms", "p95 < 400ms", "call.p95 < 50ms", "throughput > 5/s", "throughput > 9/s"),
            *("hit > 95%", "hit > 90%", "size.p50 > 20", "size.p50 > 30", "size.p50 < 90", "size.p50 < 80"),
        ),
        soft=slos("p95 < 300ms", "p99 < 1s", "hit > 99%"),
    )
    release = release_of(flag)
    kept = ("p95 < 400ms", "call.p95 < 50ms", "throughput > 9/s", "hit > 95%", "size.p50 > 30", "size.p50 < 80")
    assert release.stages[0].slos == slos(*kept, "p99 < 1s")
    assert release.soft == {"p99"}
    turned = release_of(replace(flag, slos=flag.slos[::-1]))
    assert sorted(slo.text for slo in turned.stages[0].slos) == sorted(slo.text for slo in release.stages[0].slos)
    assert release.judged == ("unit", "call", "hit<0.5", "size<30.0", "size>80.0")
    of_calls = terms_of(release, POLICY, kind="call")
    assert [slo.text for stage in of_calls.stages for slo in stage.slos] == ["call.p95 < 50ms"]
    assert of_calls.names == ("call.shape", "call.p95")


def test_a_probe_is_a_release_of_its_own() -> None:
    """Of the probed share or what the flag itself serves; what was found of the release says nothing about it."""
    release = release_of(FLAG)
    probe = release.probed(1.0, 400.0)
    assert (probe.percent, probe.stages[0].longest_s, probe.stages[0].slos) == (1.0, 400.0, FLAG.slos)
    assert probe.identity != release.identity
    assert release.probed(50.0, 400.0).percent == 5.0
    assert on_plan(2).probed(1.0, 400.0).stages[0].slos == on_plan(2).stages[1].slos
    assert not on_plan(2).probed(1.0, 400.0).is_planned


def test_what_another_tool_gives_has_no_percentage() -> None:
    """Nor is it known who will be given it; a probe of it lets in of our buckets those whom the tool chooses."""
    release = release_of(replace(FLAG, rollout=0.0))
    elsewhere = release.given_elsewhere()
    assert (elsewhere.running, elsewhere.percent, elsewhere.is_ours) == (0, None, False)
    assert elsewhere.stages[0].slos == FLAG.slos
    assert release.probed(1.0, 400.0).percent is None


def test_what_there_is_nothing_to_judge_of_is_not_judged() -> None:
    """Without a promise that an arm can break, or with more limits than there is room to count."""
    assert release_of(FLAG).judged == ("unit",)
    assert release_of(replace(FLAG, slos=slos("throughput > 5/s"))).judged == ()
    many = slos(*(f"p{number} < {number}ms" for number in range(1, 31)), "call.p95 < 1s")
    assert release_of(replace(FLAG, slos=many)).judged == ("call",)
