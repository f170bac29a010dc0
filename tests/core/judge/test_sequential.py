"""Claims about the sequential judge: what it weighs, what follows, and that nothing else decides."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canary_sdk.core.judge.batch import Batch, Side
from canary_sdk.core.judge.decision import Action, Decision, decide
from canary_sdk.core.judge.report import plus
from canary_sdk.core.judge.sequential import (
    Answers,
    Case,
    Stage,
    Terms,
    answers_of,
    evidence_of,
    hear,
    joined,
    learn,
    open_case,
    pseudo_terms,
    start,
    weigh,
    with_evidence,
)
from canary_sdk.core.judge.slo import parse_slo
from canary_sdk.core.judge.streams import Grant
from canary_sdk.core.judge.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from canary_sdk.core.judge.report import Sums
    from canary_sdk.core.judge.streams import Edges

SLOS: Final = ("p95 < 500ms", "p99 < 1s", "errors < 1%", "throughput > 50/s")
RATE: Final = 125


def terms(*percents: float, slos: Iterable[str] = SLOS, grant: Grant | None = None, **others: object) -> Terms:
    """Return the terms of a rollout with an hour at each percentage."""
    kept = tuple(map(parse_slo, slos))
    stages = tuple(
        Stage(percent=percent, longest_s=3600.0, slos=kept, grant=grant or Grant()) for percent in percents or (25, 50)
    )
    return Terms(stages=stages, **others)  # type: ignore[arg-type]


class Shop:
    """A service with lognormal latencies; a `slow` arm is slower by that factor, and fails with `errors`."""

    def __init__(self, percent: float = 25, seed: int = 1) -> None:
        self.percent, self.rng = percent, np.random.default_rng(seed)

    def side(self, share: float, edges: Edges, slow: float = 1.0, errors: float = 0.002, rate: float = RATE) -> Side:
        """Count what one arm answers in a second; strata are alike."""
        units = int(self.rng.poisson(rate * share))
        latencies = self.rng.lognormal(math.log(0.145), 0.55, units) * slow
        strata = self.rng.integers(0, len(edges), units)
        cells = tuple(
            tuple(np.bincount(np.searchsorted(cuts, latencies[strata == number]), minlength=len(cuts) + 1).tolist())
            for number, cuts in enumerate(edges)
        )
        return Side(cells, units, int(self.rng.binomial(units, errors)))

    def warm(self, case: Case, seconds: int = 120) -> Case:
        """Let the judge learn the baseline."""
        for _ in range(seconds):
            case = learn(case, Batch(seconds=1.0, baseline=self.side(1.0, case.edges)))
        return case

    def batch(
        self,
        case: Case,
        candidate: tuple[float, float] = (1.0, 0.002),
        baseline: tuple[float, float] = (1.0, 0.002),
        rate: float = RATE,
    ) -> Batch:
        """Draw a second of the stage; each arm is told as (slow, errors)."""
        share = self.percent / 100
        mine = self.side(share, case.candidate_edges, *candidate, rate=rate)
        other = self.side(1 - share, case.edges, *baseline, rate=rate)
        new = self.rng.multinomial(20, (share, 1 - share)).tolist()
        return Batch(
            seconds=1.0,
            candidate=mine,
            baseline=other,
            requests=mine.units + other.units,
            newcomers=(int(new[0]), int(new[1])),
        )

    def until(
        self, case: Case, draw: Callable[[Case], Batch], seconds: int = 300
    ) -> Iterator[tuple[int, Case, Decision]]:
        """Yield every second with the case and what follows."""
        for second in range(1, seconds + 1):
            case = weigh(case, draw(case))
            yield second, case, decide(case)


def first(shop: Shop, case: Case, draw: Callable[[Case], Batch], seconds: int = 300) -> tuple[int, Case, Decision]:
    """Return the first second at which anything but going on follows, or the last."""
    last = None
    for each in shop.until(case, draw, seconds):
        last = each
        if each[2].action is not Action.CONTINUE:
            break
    assert last
    return last


def opened(shop: Shop, asked: Terms | None = None, strata: int = 1) -> Case:
    """Open a case, let it learn, and begin its first stage."""
    return start(shop.warm(open_case(asked or terms(), strata)), 0)


# --- the comparison ---


@pytest.mark.parametrize("strata", [1, 4])
@pytest.mark.parametrize(
    ("slow", "errors", "streams", "within_s"),
    [(1.6, 0.002, {"shape", "p95"}, 20), (4.0, 0.002, {"shape", "p95", "p99"}, 5), (1.0, 0.05, {"errors"}, 20)],
)
def test_a_worse_candidate_is_rolled_back(
    slow: float, errors: float, streams: set[str], within_s: int, strata: int
) -> None:
    """A slower or a failing candidate is taken back within seconds, and the stream that saw it is named."""
    shop = Shop()
    second, _, found = first(shop, opened(shop, strata=strata), lambda case: shop.batch(case, (slow, errors)))
    assert found.action is Action.ROLLBACK
    assert second <= within_s
    assert found.stream in streams


def test_two_batches_are_needed_however_bad_they_are() -> None:
    """One bad second, whatever it holds, never decides."""
    shop = Shop()
    case = weigh(opened(shop), shop.batch(opened(shop), (50.0, 1.0)))
    assert decide(case).action is Action.CONTINUE


def test_a_healthy_candidate_is_left_alone() -> None:
    """Half an hour of a candidate that is no worse ends as it began."""
    shop = Shop()
    _, case, found = first(shop, opened(shop), shop.batch, 1800)
    assert found.action is Action.CONTINUE
    assert found.log_e < found.needed
    assert case.judged_s == 1800


def test_slower_within_the_tolerance_is_not_worse() -> None:
    """A candidate 9 % slower, with 10 % granted, is left alone; with nothing granted it is taken back."""
    shop = Shop(50)
    draw = lambda case: shop.batch(case, (1.09, 0.002))  # noqa: E731
    assert first(shop, opened(shop, terms(50)), draw, 600)[2].action is Action.CONTINUE
    assert first(shop, opened(shop, terms(50, tolerance=0.0)), draw, 600)[2].action is Action.ROLLBACK


def test_errors_within_their_margin_are_not_worse() -> None:
    """Of a candidate that fails 2 % against 1 %, nothing follows where twice as many are granted."""
    shop = Shop(50)
    granted = terms(50, slos=["errors < 5%"], grant=Grant(ratio=2.0, extra=0.001))
    draw = lambda case: shop.batch(case, (1.0, 0.02), (1.0, 0.01))  # noqa: E731
    assert first(shop, opened(shop, granted), draw, 900)[2].action is Action.CONTINUE
    assert first(shop, opened(shop, terms(50, slos=["errors < 5%"])), draw, 900)[2].action is Action.ROLLBACK


def test_known_errors_of_the_candidates_users_are_not_held_against_it() -> None:
    """Users who always failed twice as often do not speak against what they were given."""
    shop = Shop(50)
    known = terms(50, slos=["errors < 2%"], grant=Grant(known=(0.994 / 0.998, 3.0)))
    assert (
        first(shop, opened(shop, known), lambda case: shop.batch(case, (1.0, 0.004)), 900)[2].action is Action.CONTINUE
    )


# --- both arms ---


@pytest.mark.parametrize(("slow", "errors"), [(4.0, 0.002), (1.0, 0.2), (3.0, 0.1)])
def test_an_incident_holds_and_blames_nobody(slow: float, errors: float) -> None:
    """What hits both arms alike is told as an incident: the candidate is held, never rolled back."""
    shop = Shop()
    case, actions = opened(shop), []
    for _, _case, found in shop.until(case, lambda case: shop.batch(case, (slow, errors), (slow, errors))):
        actions.append(found.action)
    assert Action.ROLLBACK not in actions
    assert actions[-1] is Action.HOLD
    assert "does not blame the candidate" in found.sentence


def test_a_hold_ends_after_its_cause() -> None:
    """Once the incident is over, it goes on within minutes."""
    shop = Shop()
    case = opened(shop)
    *_, (_, case, found) = shop.until(case, lambda case: shop.batch(case, (4.0, 0.002), (4.0, 0.002)), 120)
    assert found.action is Action.HOLD
    actions = [found.action for *_, found in shop.until(case, shop.batch, 180)]
    assert actions[-1] is Action.CONTINUE
    assert Action.ROLLBACK not in actions


def test_a_worse_candidate_is_found_during_an_incident() -> None:
    """On top of an incident of both arms, a candidate that is worse still is rolled back."""
    shop = Shop()
    found = [
        each for *_, each in shop.until(opened(shop), lambda case: shop.batch(case, (4.0, 0.002), (2.0, 0.002)), 60)
    ]
    assert found[-1].action is Action.ROLLBACK


# --- nobody to compare with ---


def test_without_a_baseline_the_limits_decide() -> None:
    """At 100 % a candidate over its limit is rolled back, and the sentence says that nothing could be compared."""
    shop = Shop(100)
    case = start(opened(shop, terms(25, 100)), 1)
    _, _, found = first(shop, case, lambda case: shop.batch(case, (2.5, 0.002)))
    assert found.action is Action.ROLLBACK
    assert "nobody is left on the baseline" in found.sentence
    assert first(shop, case, shop.batch, 600)[2].action is Action.CONTINUE


def test_without_a_baseline_the_candidate_may_do_what_the_baseline_did() -> None:
    """A promise that the frozen baseline did not keep either is not asked of the candidate."""
    shop = Shop(100)
    case = start(opened(shop, terms(25, 100, slos=["p95 < 150ms"])), 1)
    assert first(shop, case, shop.batch, 600)[2].action is Action.CONTINUE


def test_without_a_baseline_nothing_is_learnt() -> None:
    """The past stays as the baseline left it: a candidate never becomes the measure of itself."""
    shop = Shop(100)
    case = start(opened(shop, terms(25, 100)), 1)
    assert weigh(case, shop.batch(case)).past == case.past


# --- what is not the candidate's ---


def test_a_wrong_split_holds() -> None:
    """Where 25 % were to get the candidate and a third do, the comparison is not trusted."""
    shop = Shop()
    case, found = opened(shop), None
    for _ in range(200):
        case = weigh(case, replace(shop.batch(case), newcomers=(7, 13)))
        found = decide(case)
        if found.action is not Action.CONTINUE:
            break
    assert found
    assert (found.action, found.stream) == (Action.HOLD, "split")
    assert "25 % were to" in found.sentence


def test_a_starving_service_holds() -> None:
    """Too little throughput is the whole service's: it holds and never blames."""
    shop = Shop()
    _, _, found = first(shop, opened(shop), lambda case: shop.batch(case, rate=15))
    assert (found.action, found.stream) == (Action.HOLD, "throughput")


def test_a_failed_self_test_holds() -> None:
    """If a part of the baseline looks worse than its rest, the comparison is not trusted."""
    shop = Shop()
    case, test = opened(shop), opened(shop, pseudo_terms(terms()))
    for _ in range(60):
        pseudo = shop.side(0.25, case.edges, 1.5)
        rest = shop.batch(case)
        both = Side(
            tuple(
                tuple(a + b for a, b in zip(*pair, strict=True))
                for pair in zip(rest.baseline.cells, pseudo.cells, strict=True)
            ),
            rest.baseline.units + pseudo.units,
            rest.baseline.errors + pseudo.errors,
        )
        whole = replace(rest, baseline=both, pseudo=pseudo)
        assert whole.self_test
        assert whole.self_test.baseline == rest.baseline
        case, test = weigh(case, rest), weigh(test, whole.self_test)
    found = decide(case, self_test=[test])
    assert found.action is Action.HOLD
    assert "not to be trusted" in found.sentence
    assert decide(case).action is Action.CONTINUE


def test_a_batch_without_a_part_has_no_self_test() -> None:
    """Where nobody plays the candidate, there is nothing to test."""
    assert Batch(seconds=1.0).self_test is None


def test_a_soft_slo_only_holds() -> None:
    """What is soft holds; the shape of latency is hard as long as one latency SLO is."""
    shop = Shop()
    soft = terms(soft=frozenset({"errors"}))
    _, _, found = first(shop, opened(shop, soft), lambda case: shop.batch(case, (1.0, 0.05)))
    assert (found.action, found.stream) == (Action.HOLD, "errors")
    assert not soft.is_soft("shape")
    assert terms(soft=frozenset({"p95", "p99"})).is_soft("shape")


# --- time ---


def test_evidence_outlives_a_promotion() -> None:
    """A new stage lays new edges and forgets who was seen; what speaks against the candidate stays."""
    shop = Shop()
    case = opened(shop)
    for _ in range(3):
        case = weigh(case, shop.batch(case, (1.3, 0.002)))
    later = start(case, 1)
    assert later.relative == case.relative
    assert (later.newcomers, later.judged_s) == ((0, 0), 0)
    assert sum(later.past.cells[0]) == pytest.approx(sum(case.past.cells[0]))


def test_what_began_before_a_promotion_can_be_skipped() -> None:
    """With a second to skip, the first batch after a promotion changes nothing but the age."""
    shop = Shop()
    case = opened(shop, terms(skip_s=1.0))
    skipped = weigh(case, shop.batch(case, (50.0, 1.0)))
    assert replace(skipped, age_s=0.0) == case
    assert weigh(skipped, shop.batch(case)).judged_s == 1


def test_no_data_is_no_evidence() -> None:
    """Without requests nothing follows, for however long."""
    shop = Shop()
    case = opened(shop, terms(slos=SLOS[:3]))
    empty = Side(tuple((0,) * (len(edges) + 1) for edges in case.edges))
    for _ in range(500):
        case = weigh(case, Batch(seconds=1.0, candidate=empty, baseline=empty))
        case = weigh(case, Batch(seconds=1.0))
    assert decide(case).action is Action.CONTINUE
    assert decide(case).log_e < 0


def test_questions_are_sharpened_by_what_is_learnt() -> None:
    """A minute later the bets are made from the newer past; within it they are not."""
    shop = Shop()
    case = opened(shop)
    for _ in range(59):
        case = weigh(case, shop.batch(case))
    assert case.asked_at_s == 0
    assert weigh(case, shop.batch(case)).asked_at_s == 60


# --- what is kept and told ---


def test_a_case_survives_being_stored() -> None:
    """Read back from JSON a case is the same, says the same, and is smaller than 16 KB with eight strata."""
    shop = Shop()
    asked = terms()
    *_, (_, case, found) = shop.until(opened(shop, asked, strata=8), lambda case: shop.batch(case, (1.2, 0.004)), 40)
    text = json.dumps(case.to_dict())
    again = Case.from_dict(json.loads(text), asked)
    assert again == case
    assert decide(again) == found
    assert len(text) < 16 * 1024


def test_the_same_batches_give_the_same_decisions() -> None:
    """Nothing but batches enters: two judges of one list agree at every second, to the last bit."""

    def decisions() -> list[Decision]:
        shop = Shop(seed=7)
        return [found for *_, found in shop.until(opened(shop), lambda case: shop.batch(case, (1.15, 0.004)), 90)]

    assert decisions() == decisions()


def test_a_decision_tells_its_numbers() -> None:
    """Stream, strength, both arms, limit, samples, time and the classic rule are told, in a sentence and as JSON."""
    shop = Shop()
    case = opened(shop, terms(slos=["errors < 1%"]))
    second, case, found = first(shop, case, lambda case: shop.batch(case, (1.0, 0.05)))
    quoted = decide(case, classic=Verdict((), 30.0))
    told = json.loads(json.dumps(quoted.to_dict()))
    assert (told["action"], told["stream"], told["limit"]) == ("ROLLBACK", "errors", "errors < 1%")
    assert told["candidate"][1] > 0
    assert 0 < told["seconds"] <= second
    assert told["log_e"] >= told["needed"] == pytest.approx(math.log(100))
    for part in (
        "of the candidate's requests",
        "of the baseline's failed",
        "times (limit 100)",
        "the classic rule says",
    ):
        assert part in quoted.sentence
    assert "\n" not in found.sentence


@pytest.mark.parametrize(
    ("slo", "name", "told"),
    [
        ("cache_hit > 90%", "cache_hit", "of the candidate's values, .* of the baseline's were false, in"),
        ("retried < 10%", "retried", "of the candidate's values, .* of the baseline's were true, in"),
        ("basket.p50 > 20", "basket.p50", "of the candidate's values, .* of the baseline's were below 20, in"),
        ("call.errors < 10%", "call.errors", "of the candidate's calls, .* of the baseline's failed, in"),
    ],
)
def test_what_is_reported_and_called_is_compared_too(slo: str, name: str, told: str) -> None:
    """A share of bad values or of failed calls is a stream as errors are, and tells of what it counted."""
    shop = Shop(50)
    asked = terms(50, slos=[slo])
    assert (asked.names, asked.rates) == ((name,), (name,))
    bad = first(shop, opened(shop, asked), lambda case: shop.batch(case, (1.0, 0.2), (1.0, 0.05)))[2]
    assert (bad.action, bad.stream, bad.limit) == (Action.ROLLBACK, name, slo)
    assert re.search(told, bad.sentence)
    well = first(shop, opened(shop, asked), lambda case: shop.batch(case, (1.0, 0.05), (1.0, 0.05)), 600)[2]
    assert well.action is Action.CONTINUE


def test_all_kinds_are_decided_on_together() -> None:
    """What counts is the average over the streams of all cases, each by its own name; the promise is kept once."""
    shop = Shop(50)
    units, values = (opened(shop, terms(50, slos=[slo])) for slo in ("errors < 1%", "cache_hit > 90%"))
    seconds = [0, 0]
    for _ in range(60):
        units = weigh(units, shop.batch(units))
        values = weigh(values, shop.batch(values, (1.0, 0.3), (1.0, 0.1)))
        seconds[0] += decide(values).action is Action.CONTINUE
        seconds[1] += decide(units, values).action is Action.CONTINUE
    found = decide(units, values)
    assert (found.action, found.stream) == (Action.ROLLBACK, "cache_hit")
    assert seconds[0] <= seconds[1] < 30
    assert found.log_e == pytest.approx(
        math.log((math.exp(units.relative["errors"].log_e) + math.exp(values.relative["cache_hit"].log_e)) / 2)
    )
    assert decide(units).action is Action.CONTINUE


def test_where_another_tool_draws_no_split_is_asked_for() -> None:
    """It is compared as ever, whatever share of the users got the candidate."""
    shop = Shop(10)
    asked = Terms(stages=(Stage(percent=None, longest_s=3600.0, slos=tuple(map(parse_slo, SLOS))),))
    assert first(shop, opened(shop, asked), shop.batch, 600)[2].action is Action.CONTINUE
    found = first(shop, opened(shop, asked), lambda case: shop.batch(case, (4.0, 0.002)))[2]
    assert found.action is Action.ROLLBACK


def test_an_incident_is_not_blamed_on_the_candidate_when_the_others_have_gone() -> None:
    """Both arms were as slow when the last of the baseline left; what becomes worse after that is still taken back."""
    shop = Shop(50)
    case = opened(shop, terms(50, 100))
    for _ in range(20):
        case = weigh(case, shop.batch(case, (3.0, 0.002), (3.0, 0.002)))
    assert decide(case).action is Action.HOLD
    planned, by_hand = start(case, 1), start(replace(case, terms=terms(50)), 0, terms(100))
    assert planned.shared == by_hand.shared
    assert joined(planned, case, {}).absolute == planned.absolute
    case, shop.percent = planned, 100
    for _, case, found in shop.until(case, lambda case: shop.batch(case, (3.0, 0.002)), 60):  # noqa: B007
        assert found.action is not Action.ROLLBACK
    worse = weigh(case, shop.batch(case, (9.0, 0.002)))
    assert first(shop, worse, lambda case: shop.batch(case, (9.0, 0.002)))[2].action is Action.ROLLBACK


def test_a_limit_that_both_arms_break_holds_however_long_they_do() -> None:
    """A limit that is too tight for the baseline is told as one, and not taken for what is usual."""
    shop = Shop(50)
    case = opened(shop, terms(50, slos=["errors < 1%"]))
    for _ in range(900):
        case = weigh(case, shop.batch(case, (1.0, 0.05), (1.0, 0.05)))
    assert decide(case).action is Action.HOLD


def test_a_flag_without_slos_goes_on() -> None:
    """Where nothing is promised nothing follows."""
    assert decide(open_case(terms(slos=[]))).action is Action.CONTINUE


def test_a_stage_may_promise_less_than_another() -> None:
    """A stream that a stage does not ask for keeps its evidence and stays in the average."""
    kept = tuple(map(parse_slo, SLOS[:3]))
    stages = (
        Stage(percent=25, longest_s=3600, slos=kept),
        Stage(percent=50, longest_s=3600, slos=kept[2:]),
    )
    shop = Shop()
    case = opened(shop, Terms(stages=stages))
    case = weigh(case, shop.batch(case))
    later = start(case, 1)
    after = weigh(later, shop.batch(later))
    assert after.relative["p95"] == case.relative["p95"]
    assert after.relative["errors"] != case.relative["errors"]


count = st.one_of(st.integers(0, 3), st.integers(0, 10**9))


@settings(max_examples=60)
@given(st.lists(st.tuples(*[count] * 6), min_size=1, max_size=5), st.floats(1e-3, 1e4))
def test_it_always_has_a_number(batches: list[tuple[int, ...]], seconds: float) -> None:
    """Whatever the counts, up to a thousand million, every figure of the decision is finite."""
    case = start(open_case(terms()), 0)
    width = len(case.edges[0]) + 1
    for low, high, bad, other_low, other_high, other_bad in batches:
        mine, other = (
            Side(((a, *(0,) * (width - 2), b),), a + b, min(bad, a + b))
            for a, b, bad in ((low, high, bad), (other_low, other_high, other_bad))
        )
        batch = Batch(seconds=seconds, candidate=mine, baseline=other, requests=low, newcomers=(low, high))
        case = weigh(case, batch)
        found = decide(case)
        assert math.isfinite(found.log_e)
        assert all(math.isfinite(stream.log_e) for stream in (*case.relative.values(), *case.absolute.values()))


# --- of several judges ---


def heard_from(shops: list[Shop], seconds: int, joint: Case, candidate: tuple[float, float]) -> tuple[Case, list[Case]]:
    """Let each shop be judged by itself, and hear what all of them say of each second; return that, and the shops'."""
    cases = [opened(shop) for shop in shops]
    for _ in range(seconds):
        sums: Sums = {}
        for number, shop in enumerate(shops):
            batch = shop.batch(cases[number], candidate)
            said = answers_of(cases[number], batch)
            sums = plus(sums, said.to_sums("unit"))
            cases[number] = weigh(cases[number], batch, said)
        joint = hear(joined(cases[0], joint, {}), Answers.from_sums(sums, "unit", cases[0].asked), 1.0)
    return joint, cases


def test_one_judge_heard_alone_says_what_it_said() -> None:
    """By way of sums that are told, the evidence is that of the judge itself, in every stream."""
    shop = Shop()
    joint, (case,) = heard_from([shop], 30, joined(opened(Shop()), None, {}), (1.05, 0.004))
    assert joint.relative == case.relative
    assert joint.absolute == case.absolute
    assert (joint.age_s, joint.judged_s, joint.floor) == (case.age_s, case.judged_s, case.floor)


def test_several_judges_are_surer_together() -> None:
    """Four hosts, each with its own edges and its own little traffic, know together what none of them knows."""
    shops = [Shop(seed=seed) for seed in range(4)]
    joint, cases = heard_from(shops, 8, joined(opened(Shop()), None, {}), (1.18, 0.002))
    needed = decide(joint).needed
    assert max(decide(case).log_e for case in cases) < needed / 2
    assert decide(joint).log_e > needed


def test_noise_is_tempered_at_the_rate_of_all() -> None:
    """What is private to an arm does not average out over hosts: the more there are, the less their evidence counts."""
    shops = [Shop(seed=seed) for seed in range(4)]
    case = opened(Shop())
    batches = [shop.batch(case, (50.0, 1.0)) for shop in shops]
    said = [answers_of(case, batch) for batch in batches]
    sums: Sums = {}
    for each in said:
        sums = plus(sums, each.to_sums("unit"))
    noise = dict.fromkeys(case.terms.names, 1e4)
    noisy = joined(case, None, noise)
    assert noisy.terms.noise == noise
    one = decide(hear(noisy, said[0], 1.0)).log_e
    together = decide(hear(noisy, Answers.from_sums(sums, "unit", case.asked), 1.0)).log_e
    assert together == pytest.approx(one, abs=0.01)


def test_another_judge_goes_on_with_what_was_heard() -> None:
    """Evidence is handed on within a stage; a new stage keeps it, and counts its time anew."""
    joint, (case,) = heard_from([Shop()], 10, joined(opened(Shop()), None, {}), (1.1, 0.002))
    taken = with_evidence(joined(case, None, {}), json.loads(json.dumps(evidence_of(joint))))
    assert (taken.relative, taken.absolute, taken.judged_s) == (joint.relative, joint.absolute, joint.judged_s)
    after = joined(start(case, 1), taken, {})
    assert (after.relative, after.stage, after.judged_s, after.age_s) == (joint.relative, 1, 0.0, 0.0)
    with pytest.raises(ValueError, match="evidence of"):
        with_evidence(joined(case, None, {}), {**evidence_of(joint), "relative": {}})
