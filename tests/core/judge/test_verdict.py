"""Claims about verdicts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from canary_sdk.core.judge.slo import limits_of, parse_slo
from canary_sdk.core.judge.tally import EMPTY, Tally
from canary_sdk.core.judge.verdict import Arms, Finding, Outcome, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Sequence

TOLERANCE: Final = 0.1
P95: Final = "p95 < 500ms"


def a_tally(slow: int = 0, requests: int = 200, *, errors: int = 0, text: str = P95, seconds: float = 30.0) -> Tally:
    """Count an arm of which `slow` requests took far longer than the limit of `text`, and the others were quick."""
    slo = parse_slo(text)
    over = dict.fromkeys(limits_of([slo], TOLERANCE, slo.of), slow)
    return Tally(requests, errors, 0, seconds, over, {0.95: 0.812 if slow > requests * 0.05 else 0.21})


def counted(samples: Sequence[float], text: str, tolerance: float) -> Tally:
    """Count raw samples as an arm would."""
    limits = limits_of([parse_slo(text)], tolerance)
    return Tally(len(samples), seconds=30.0, over={limit: sum(x > limit for x in samples) for limit in limits})


def judged(
    *texts: str,
    candidate: Tally = EMPTY,
    baseline: Tally | None = None,
    total: Tally | None = None,
    tolerance: float = TOLERANCE,
    min_samples: int = 50,
) -> Verdict:
    """Judge units of work."""
    return judge(
        [parse_slo(text) for text in texts],
        Arms(candidate, baseline),
        total=candidate + (baseline or EMPTY) if total is None else total,
        share=0.05,
        tolerance=tolerance,
        min_samples=min_samples,
    )


# --- latency ---


@pytest.mark.parametrize(
    ("slow", "outcome"), [(0, Outcome.PASS), (10, Outcome.PASS), (11, Outcome.BREACH), (200, Outcome.BREACH)]
)
def test_a_quantile_is_a_promise_about_a_share(slow: int, outcome: Outcome) -> None:
    """Of 200 requests 10 may be over the limit of a p95; the eleventh breaks the promise."""
    assert judged(P95, candidate=a_tally(slow)).outcome is outcome


@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=400),
    st.sampled_from(["50", "75", "90", "95", "99", "99.9"]),
    st.integers(1, 40),
)
def test_the_verdict_is_that_of_the_empirical_quantile(samples: list[int], percentile: str, limit: int) -> None:
    """The counts decide exactly as numpy's inverted-cdf quantile of the raw samples would: over the limit is a breach.

    Ties at the limit are frequent here on purpose. A lone slow request is the one exception, and is never a breach.
    """
    seconds = [sample / 20 for sample in samples]
    text = f"p{percentile} < {limit * 50}ms"
    quantile = float(np.percentile(seconds, float(percentile), method="inverted_cdf"))
    tally = counted(seconds, text, 0.0)
    outcome = judged(text, candidate=tally, tolerance=0.0, min_samples=1).outcome
    lone = tally.over[limit / 20] == 1
    assert outcome is (Outcome.PASS if quantile <= limit / 20 else Outcome.INCONCLUSIVE if lone else Outcome.BREACH)


@pytest.mark.parametrize("percentile", ["50", "57", "90", "95", "99", "99.9", "99.99", "99.999"])
@pytest.mark.parametrize("thousands", [1, 3, 7, 1000])
def test_exactly_the_allowed_share_passes(percentile: str, thousands: int) -> None:
    """The room beyond a quantile is computed in integers, so binary fractions neither forgive nor accuse anybody."""
    requests = 100_000 * thousands
    allowed = requests * (100_000 - round(float(percentile) * 1000)) // 100_000
    text = f"p{percentile} < 1s"
    assert judged(text, candidate=a_tally(allowed, requests, text=text)).outcome is Outcome.PASS
    if allowed:
        assert judged(text, candidate=a_tally(allowed + 1, requests, text=text)).outcome is Outcome.BREACH


def test_exactly_at_the_limit_keeps_the_promise() -> None:
    """A request that takes 500 ms sharp is not over 500 ms, so a service of such requests passes."""
    assert judged(P95, candidate=counted([0.5] * 100, P95, TOLERANCE)).outcome is Outcome.PASS


def test_over_the_limit_but_within_tolerance_is_acceptable() -> None:
    """At 540 ms a limit of 500 ms with 10 % tolerance is missed, but not breached; at 551 ms it is."""
    assert judged(P95, candidate=counted([0.54] * 100, P95, TOLERANCE)).outcome is Outcome.ACCEPTABLE
    assert judged(P95, candidate=counted([0.551] * 100, P95, TOLERANCE)).outcome is Outcome.BREACH


def test_a_limit_that_was_not_counted_is_not_judged() -> None:
    """In the interval in which a limit changes, nobody knows; that is no breach, and no health."""
    verdict = judged("p95 < 300ms", candidate=a_tally(0))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "were not counted yet" in verdict.sentence
    for over in ({0.5: 11}, {0.55: 11}):
        assert judged(P95, candidate=Tally(200, over=over)).outcome is Outcome.INCONCLUSIVE


# --- errors ---


@pytest.mark.parametrize(
    ("errors", "outcome"),
    [(0, Outcome.PASS), (7, Outcome.PASS), (8, Outcome.ACCEPTABLE), (9, Outcome.BREACH), (1000, Outcome.BREACH)],
)
def test_errors_are_held_against_their_share(errors: int, outcome: Outcome) -> None:
    """Of 1000 requests 7 may fail at 0.7 %, 8 with a tolerance of 15 %, and 9 are a breach."""
    assert judged("errors < 0.7%", candidate=a_tally(0, 1000, errors=errors), tolerance=0.15).outcome is outcome


def test_the_tolerance_reaches_exactly_as_far_as_it_says() -> None:
    """Eleven of a thousand are 1 % and a tenth of it, and ten of 200 may be over the limit with its tolerance."""
    (errors,) = judged("errors < 1%", candidate=a_tally(0, 1000, errors=11)).findings
    assert (errors.outcome, errors.bad) == (Outcome.ACCEPTABLE, 11)
    (latency,) = judged(P95, candidate=Tally(200, over={0.5: 20, 0.55: 10})).findings
    assert (latency.outcome, latency.bad) == (Outcome.ACCEPTABLE, 20)


def test_without_a_breach_there_is_nothing_to_compare() -> None:
    """The reason is the candidate's own count, and nothing of the baseline."""
    (finding,) = judged(P95, candidate=a_tally(0), baseline=a_tally(800, 3000)).findings
    assert finding.why == "0 of 200 requests took over 500 ms, 10 may"


# --- small numbers ---


def test_no_requests_are_no_data() -> None:
    """Nobody came: that is neither health nor a breach, even where a minimum of samples is zero."""
    for text in (P95, "errors < 1%", "throughput > 50/s"):
        (finding,) = judged(text, candidate=EMPTY, min_samples=0).findings
        assert (finding.outcome, finding.why) == (Outcome.INCONCLUSIVE, "no data")
    for total in (Tally(10), Tally(seconds=30.0)):
        assert judged("throughput > 50/s", total=total).findings[0].why == "no data"


def test_too_few_requests_decide_nothing() -> None:
    """With 49 of at least 50 requests all slow and failed, the verdict waits; the fiftieth decides."""
    texts = (P95, "errors < 1%")
    few = judged(*texts, candidate=a_tally(49, 49, errors=49))
    assert few.outcome is Outcome.INCONCLUSIVE
    assert "49 requests, at least 50 are needed" in few.sentence
    assert judged(*texts, candidate=a_tally(50, 50, errors=50)).outcome is Outcome.BREACH


@pytest.mark.parametrize("text", ["p99 < 500ms", "p99.9 < 500ms", "errors < 1%"])
def test_one_bad_request_alone_is_never_a_breach(text: str) -> None:
    """One slow or failed request of 60 is over 1 %, and says nothing; two are a finding."""
    tallies = {n: a_tally(n, 60, errors=n, text="p99 < 500ms") for n in (0, 1, 2)}
    outcomes = [judged(text, candidate=tally).outcome for tally in tallies.values()]
    assert outcomes == [Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.BREACH]


def test_the_one_bad_request_is_the_one_beyond_tolerance() -> None:
    """Five of 60 requests are late within tolerance; a sixth that is far too late does not convict them all."""
    tally = Tally(60, seconds=30.0, over={0.5: 6, 0.55: 1})
    assert judged("p99 < 500ms", candidate=tally).outcome is Outcome.INCONCLUSIVE


def test_a_complete_failure_at_low_traffic_is_seen() -> None:
    """The guards against small numbers do not hide a feature that fails for everybody."""
    assert judged("errors < 0.1%", candidate=a_tally(0, 60, errors=60)).blames


# --- blame ---


def test_a_breach_of_the_candidate_alone_blames_it() -> None:
    """The baseline keeps what the candidate breaks: the feature did it."""
    verdict = judged(P95, candidate=a_tally(50), baseline=a_tally(0, 3000))
    assert verdict.blames
    assert verdict.findings[0].why == (
        "50 of 200 requests took over 500 ms, 10 may; not so the baseline: 0 of 3000 requests took over 500 ms, 150 may"
    )


def test_a_breach_of_both_arms_blames_nobody() -> None:
    """What happens to both arms at once is an incident, not the feature."""
    verdict = judged(P95, candidate=a_tally(50), baseline=a_tally(800, 3000))
    assert verdict.outcome is Outcome.BREACH
    assert not verdict.blames
    assert verdict.findings[0].shared
    assert "the baseline breaches as well: 800 of 3000 requests took over 500 ms, 150 may" in verdict.findings[0].why


@pytest.mark.parametrize("baseline", [None, EMPTY, a_tally(49, 49)], ids=["none", "empty", "too few"])
def test_without_a_comparison_a_breach_blames_and_says_so(baseline: Tally | None) -> None:
    """When the baseline cannot testify, the breach counts, and the finding says what it stands on."""
    verdict = judged(P95, candidate=a_tally(50), baseline=baseline)
    assert verdict.blames
    assert "there was no comparison" in verdict.findings[0].why


def test_sharing_one_breach_excuses_no_other() -> None:
    """Errors on both arms do not hide that only the candidate is slow."""
    texts = (P95, "errors < 1%")
    verdict = judged(*texts, candidate=a_tally(50, errors=20), baseline=a_tally(0, 3000, errors=300))
    assert [finding.shared for finding in verdict.findings] == [False, True]
    assert verdict.blames
    assert verdict.worst is verdict.findings[0]


def test_an_acceptable_baseline_excuses_no_breach() -> None:
    """A baseline inside its tolerance does not breach, so it shares nothing."""
    baseline = counted([0.54] * 3000, P95, TOLERANCE)
    assert judged(P95, candidate=a_tally(50), baseline=baseline).blames


# --- throughput ---


@pytest.mark.parametrize(
    ("requests", "outcome"), [(1500, Outcome.PASS), (1350, Outcome.ACCEPTABLE), (1349, Outcome.BREACH)]
)
def test_throughput_is_the_whole_service_s(requests: int, outcome: Outcome) -> None:
    """50/s over 30 s are 1500 requests of all arms; a breach of it never blames the candidate."""
    total = Tally(requests, seconds=30.0)
    verdict = judged("throughput > 50/s", candidate=a_tally(0, 75), total=total)
    assert verdict.outcome is outcome
    assert not verdict.blames


def test_throughput_shows_the_arm_s_part() -> None:
    """On an arm, throughput scales with the share: 5 % of 50/s are 2.5/s."""
    finding = judged("throughput > 50/s", candidate=a_tally(0, 60), total=Tally(1500, seconds=30.0)).findings[0]
    assert (finding.slo, finding.candidate, finding.samples) == (parse_slo("throughput > 50/s"), 50.0, 1500)
    assert finding.why == (
        "the whole service serves 50/s; the candidate arm serves 2/s of it, and its share (5 %) of the limit is 2.5/s"
    )


# --- calls ---


def test_a_call_s_promise_is_held_against_calls() -> None:
    """`call.p95` reads the decorated calls and nothing of the units of work, and the other way round."""
    slow, quick = a_tally(100), a_tally(0, text="call.p95 < 500ms")
    slos = [parse_slo("call.p95 < 500ms"), parse_slo(P95)]
    verdict = judge(
        slos, Arms(slow), others={"call": Arms(quick)}, total=slow, share=1.0, tolerance=TOLERANCE, min_samples=50
    )
    assert [finding.outcome for finding in verdict.findings] == [Outcome.PASS, Outcome.BREACH]


# --- verdicts ---


def test_the_worst_finding_wins() -> None:
    """The order of outcomes is the order of severity, and a verdict is its worst finding."""
    assert sorted(Outcome, reverse=True) == [Outcome.BREACH, Outcome.INCONCLUSIVE, Outcome.ACCEPTABLE, Outcome.PASS]
    findings = tuple(Finding(slo=parse_slo(P95), outcome=outcome) for outcome in Outcome)
    for many in range(1, 5):
        assert Verdict(findings[:many], 30.0).outcome is max(Outcome(n) for n in range(many))


def test_without_promises_nothing_is_known() -> None:
    """A flag without SLOs is not healthy: it is not judged."""
    verdict = judged(candidate=a_tally(0))
    assert (verdict.outcome, verdict.worst) == (Outcome.INCONCLUSIVE, None)
    assert verdict.sentence == "nothing to judge: the flag has no SLOs"


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        (
            judged(P95, candidate=a_tally(50, 188), baseline=a_tally(0, 3000)),
            "p95 812 ms against a limit of 500 ms (baseline 210 ms, 188 requests in 30 s)",
        ),
        (
            judged(P95, candidate=a_tally(2, 188)),
            "p95 210 ms against a limit of 500 ms (no baseline, 188 requests in 30 s)",
        ),
        (
            judged("errors < 1%", candidate=a_tally(errors=5), baseline=a_tally(0, 3000, errors=6)),
            "errors 2.5 % against a limit of 1 % (baseline 0.2 %, 200 requests in 30 s)",
        ),
        (
            judged("throughput > 50/s", total=Tally(1236, seconds=30.0)),
            "throughput 41.2/s against a limit of 50/s (whole service, 1236 requests in 30 s)",
        ),
        (
            judged(P95, candidate=a_tally(0, 12)),
            "p95 is INCONCLUSIVE: 12 requests, at least 50 are needed (30 s)",
        ),
        (
            judged(P95, candidate=replace(a_tally(50), quantiles={})),
            (
                "p95 is BREACH: 50 of 200 requests took over 500 ms, 10 may; "
                "there was no comparison, on the baseline: no data (30 s)"
            ),
        ),
    ],
)
def test_a_verdict_is_one_sentence_with_its_numbers(verdict: Verdict, sentence: str) -> None:
    """A person reads what was measured, on what, against what, in units of daily life."""
    assert verdict.sentence == sentence


def test_the_sentence_tells_the_breach_that_is_furthest_over_its_limit() -> None:
    """Of two breaches, 30 % errors against 1 % matter more than 812 ms against 500 ms."""
    assert judged(P95, "errors < 1%", candidate=a_tally(50, errors=60)).sentence.startswith("errors 30 %")


def test_a_verdict_is_json() -> None:
    """What is journalled holds metric, figures of both arms, limit, samples, interval and reason, and survives JSON."""
    verdict = judged(P95, candidate=a_tally(50), baseline=a_tally(0, 3000))
    body = verdict.to_dict()
    assert json.loads(json.dumps(body, allow_nan=False)) == body
    assert body == {
        "outcome": "BREACH",
        "blames": True,
        "seconds": 30.0,
        "sentence": verdict.sentence,
        "findings": [
            {
                "slo": "p95 < 500ms",
                "outcome": "BREACH",
                "candidate": 0.812,
                "baseline": 0.21,
                "limit": 0.5,
                "samples": 200,
                "baseline_samples": 3000,
                "bad": 50,
                "shared": False,
                "why": verdict.findings[0].why,
            }
        ],
    }


# --- properties ---

TEXTS: Final = ["p50 < 200ms", "p95 < 500ms", "p99 < 1s", "errors < 1%", "throughput > 5/s"]
LIMITS: Final = limits_of([parse_slo(text) for text in TEXTS], TOLERANCE)


@st.composite
def arms(draw: st.DrawFn) -> Tally:
    """Draw an arm whose counts are possible: fewer requests are over a higher limit."""
    requests = draw(st.integers(0, 400))
    over = sorted((draw(st.integers(0, requests)) for _ in LIMITS), reverse=True)
    errors = draw(st.integers(0, requests))
    return Tally(requests, errors, 0, 30.0, dict(zip(LIMITS, over, strict=True)))


@given(arms(), arms(), st.data())
def test_more_bad_never_improves_the_outcome(candidate: Tally, baseline: Tally, data: st.DataObject) -> None:
    """Turning any one good request into a slow or failed one leaves the outcome as it was, or makes it worse."""
    limit = data.draw(st.sampled_from(LIMITS))
    worse = {each: n + (each <= limit) for each, n in candidate.over.items()}
    assume(max(worse.values()) <= candidate.requests)
    before = judged(*TEXTS, candidate=candidate, baseline=baseline)
    for after in (replace(candidate, over=worse), replace(candidate, errors=candidate.errors + 1)):
        again = judged(*TEXTS, candidate=after, baseline=baseline)
        assert all(new.outcome >= old.outcome for new, old in zip(again.findings, before.findings, strict=True))
        assert again.blames >= before.blames


@given(arms(), arms(), arms())
def test_only_a_breach_of_the_candidate_s_own_blames(candidate: Tally, baseline: Tally, total: Tally) -> None:
    """Shared breaches and throughput never blame; a finding is shared exactly if the baseline, alone, breaches too."""
    verdict = judged(*TEXTS, candidate=candidate, baseline=baseline, total=total)
    mirror = judged(*TEXTS, candidate=baseline, total=total)
    for finding, other in zip(verdict.findings, mirror.findings, strict=True):
        assert finding.shared is (finding.outcome is other.outcome is Outcome.BREACH)
        assert not (finding.shared and finding.blames)
    assert verdict.blames is any(f.outcome is Outcome.BREACH and not f.shared for f in verdict.findings)
    assert not verdict.findings[-1].blames


@given(arms())
def test_identical_arms_blame_nobody(tally: Tally) -> None:
    """A candidate that does exactly what the baseline does is never to blame, however bad both are."""
    assert not judged(*TEXTS, candidate=tally, baseline=tally).blames
