"""Claims about how promises are written, and how figures are."""

from __future__ import annotations

import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.core.judge.slo import (
    Metric,
    Of,
    limits_of,
    parse_slo,
    say_number,
    say_rate,
    say_ratio,
    say_seconds,
    tolerated,
)


@pytest.mark.parametrize(
    ("text", "metric", "limit", "quantile", "of"),
    [
        ("p50 < 200ms", Metric.LATENCY, 0.2, 0.5, "unit"),
        ("p95 < 500ms", Metric.LATENCY, 0.5, 0.95, "unit"),
        ("p99.9 < 1.5s", Metric.LATENCY, 1.5, 0.999, "unit"),
        ("p99.999 < 2s", Metric.LATENCY, 2.0, 0.99999, "unit"),
        ("errors < 1%", Metric.ERRORS, 0.01, None, "unit"),
        ("errors < 0.7%", Metric.ERRORS, 0.007, None, "unit"),
        ("throughput > 50/s", Metric.THROUGHPUT, 50.0, None, "unit"),
        ("call.p95 < 50ms", Metric.LATENCY, 0.05, 0.95, "call"),
        ("call.errors < 2%", Metric.ERRORS, 0.02, None, "call"),
    ],
)
def test_every_form_is_read(text: str, metric: Metric, limit: float, quantile: float | None, of: Of) -> None:
    """Each form of the grammar gives its metric, its limit in seconds, a ratio or a second, and whose it is."""
    slo = parse_slo(text)
    assert (slo.metric, slo.limit, slo.quantile, slo.of, slo.text) == (metric, limit, quantile, of, text)
    assert slo.name == text.partition(" ")[0]


@pytest.mark.parametrize(
    ("text", "tidy"),
    [
        ("  p95<500ms", "p95 < 500ms"),
        ("p95  <  0500.00 ms\n", "p95 < 500ms"),
        ("p099.90<1s", "p99.9 < 1s"),
        ("errors<1 %", "errors < 1%"),
        ("throughput>50 / s", "throughput > 50/s"),
        ("call . p95 <50ms", "call.p95 < 50ms"),
    ],
)
def test_blanks_and_idle_zeros_are_free(text: str, tidy: str) -> None:
    """However it was typed, it is shown in one way, in the unit that was chosen."""
    assert parse_slo(text).text == tidy


@pytest.mark.parametrize(
    ("text", "limit", "bad", "good"),
    [
        ("cache_hit > 90%", 0.1, (False, 0), (True, 1)),
        ("cache_miss < 5%", 0.05, (True, 1), (False, 0)),
        ("basket.p50 > 20", 0.5, (19.99, -3), (20, 20.0, 1e9)),
        ("basket.p10 > 5.50", 0.1, (5.4,), (5.5,)),
        ("queue.p95 < 100", 0.05, (100.1, float("inf")), (100, 0, float("-inf"))),
    ],
)
def test_a_promise_of_an_indicator_is_a_share_of_bad_values(
    text: str, limit: float, bad: tuple[float, ...], good: tuple[float, ...]
) -> None:
    """Not true, too low or too high; at most that share; a value exactly at the cut is good."""
    slo = parse_slo(text)
    assert (slo.metric, slo.limit) == (Metric.INDICATOR, limit)
    assert slo.of == text.partition(" ")[0].partition(".")[0]
    assert slo.cut
    assert all(map(slo.cut.is_bad, bad))
    assert not any(map(slo.cut.is_bad, good))
    assert parse_slo(slo.text) == slo
    assert parse_slo(slo.text).text == slo.text
    assert slo.say(limit) == f"{limit * 100:g} % bad"


def test_promises_of_one_cut_are_counted_once() -> None:
    """What is counted is told by the indicator and the cut, whatever the share that may be bad."""
    assert parse_slo("hit > 90%").counts == parse_slo("hit > 50%").counts
    assert parse_slo("hit > 90%").counts != parse_slo("hit < 90%").counts
    assert parse_slo("hit.p50 > 20").counts != parse_slo("hit.p50 > 21").counts
    assert (parse_slo("p95 < 1s").counts, parse_slo("call.errors < 1%").counts) == ("unit", "call")


def test_two_spellings_of_one_promise_are_equal() -> None:
    """A second is a thousand milliseconds; changing the unit is no change."""
    assert parse_slo("p99 < 1000ms") == parse_slo("p99<1s")
    assert parse_slo("p99 < 1s") != parse_slo("call.p99 < 1s")


@given(
    st.integers(1, 99_999),
    st.integers(1, 10_000_000),
    st.sampled_from(["ms", "s"]),
    st.sampled_from(["", "call."]),
)
def test_tidied_text_reads_as_the_same_promise(percentile: int, limit: int, unit: str, prefix: str) -> None:
    """Reading what was tidied changes nothing any more."""
    slo = parse_slo(f"{prefix}p{percentile / 1000:.3f} < {limit / 100:.2f}{unit}")
    again = parse_slo(slo.text)
    assert again == slo
    assert again.text == slo.text


@given(st.integers(1, 99_999), st.integers(1, 1_000_000))
def test_a_limit_on_errors_equals_the_share_it_speaks_of(thousandths: int, times: int) -> None:
    """Exactly 0.7 % of the requests is not more than 0.7 %, whatever binary fractions make of 0.7."""
    slo = parse_slo(f"errors < {thousandths / 1000:.3f}%")
    assert thousandths * times / (100_000 * times) == slo.limit


SUBJECTS: Final = "expected a percentile such as p95, 'errors', 'throughput' or an indicator such as cache_hit"
FORMS: Final = "'p95 < 500ms', 'errors < 1%' or 'throughput > 50/s'"
MISTAKES: Final = {
    "": f"'' has no '<' or '>'; expected a comparison such as {FORMS}",
    "p95 500ms": f"'p95 500ms' has no '<' or '>'; expected a comparison such as {FORMS}",
    "p95 > 500ms": "found '>', expected '<': latency must stay below its limit; did you mean 'p95 < 500ms'?",
    "p95 <= 500ms": "found '<=', expected '<': latency must stay below its limit; did you mean 'p95 < 500ms'?",
    "throughput < 50/s": (
        "found '<', expected '>': throughput must stay above its limit; did you mean 'throughput > 50/s'?"
    ),
    "errors = 1%": "found '=', expected '<': errors must stay below their limit; did you mean 'errors < 1%'?",
    "p95 < 500": "found '500' without a unit, expected 'ms' or 's' after it; did you mean 'p95 < 500ms'?",
    "errors < 1": "found '1' without a unit, expected '%' after it; did you mean 'errors < 1%'?",
    "errors < 0.01": "found '0.01' without a unit, expected '%' after it; did you mean 'errors < 1%'?",
    "throughput > 50": "found '50' without a unit, expected '/s' after it; did you mean 'throughput > 50/s'?",
    "p95 < 300us": "found the unit 'us', expected 'ms' or 's'; did you mean 'p95 < 0.3ms'?",
    "p95 < 2min": "found the unit 'min', expected 'ms' or 's'; did you mean 'p95 < 120s'?",
    "p95 < 5%": "found the unit '%', expected 'ms' or 's'",
    "errors < 5ms": "found the unit 'ms', expected '%'",
    "throughput > 3000/min": "found the unit '/min', expected '/s'; did you mean 'throughput > 50/s'?",
    "throughput > 50 rps": "found the unit 'rps', expected '/s'; did you mean 'throughput > 50/s'?",
    "error < 1%": f"found 'error', {SUBJECTS}; did you mean 'errors < 1%'?",
    "call.error_rate < 1%": f"found 'call.error_rate', {SUBJECTS}; did you mean 'call.errors < 1%'?",
    "p 95 < 1s": f"found 'p 95', {SUBJECTS}; did you mean 'p95 < 1s'?",
    "P95 < 1S": f"found 'P95', {SUBJECTS}; did you mean 'p95 < 1s'?",
    "95th percentile < 1s": f"found '95th percentile', {SUBJECTS}; did you mean 'p95 < 1s'?",
    "latency < 1s": f"found 'latency', {SUBJECTS}; did you mean 'p95 < 1s'?",
    "rps > 50": f"found 'rps', {SUBJECTS}; did you mean 'throughput > 50/s'?",
    "cpu load < 80%": f"found 'cpu load', {SUBJECTS}",
    "erors < 1%": f"found 'erors', {SUBJECTS}; did you mean 'errors < 1%'?",
    "throughputt > 5/s": f"found 'throughputt', {SUBJECTS}; did you mean 'throughput > 5/s'?",
    "errors.p50 < 1": f"found 'errors.p50', {SUBJECTS}",
    "call.hits > 90%": f"found 'call.hits', {SUBJECTS}",
    "call > 90%": f"found 'call', {SUBJECTS}",
    "cache_hit > 90": "found '90', expected a share such as 90%, or a percentile such as cache_hit.p50",
    "cache_hit > 5ms": "found '5ms', expected a share such as 90%, or a percentile such as cache_hit.p50",
    "cache_hit >= 90%": "found '>=', expected '<' or '>'",
    "cache_hit >": "found nothing as the limit, expected a number such as 90% or, of cache_hit.p50, 20",
    "cache_hit > 100%": "found a limit of 100%, expected more than 0% and less than 100%",
    "cache_hit > 0%": "found a limit of 0%, expected more than 0% and less than 100%",
    "basket.p50 > 20%": "found the unit '%', expected none: values are compared as they were reported",
    "basket.p0 > 20": "found p0, expected a percentile between p0 and p100, both excluded",
    "< 1s": f"found '', {SUBJECTS}",
    "p100 < 1s": ("found p100, expected a percentile between p0 and p100, both excluded; did you mean 'p99.9 < 1s'?"),
    "p0 < 1s": "found p0, expected a percentile between p0 and p100, both excluded",
    "p99.9999 < 1s": "found p99.9999, expected a percentile with at most three decimals",
    "call.throughput > 50/s": (
        "found 'call.throughput', expected 'throughput': it belongs to the whole service, never to one call; "
        "did you mean 'throughput > 50/s'?"
    ),
    "p95 <": "found nothing as the limit, expected a number such as 500 or 0.5",
    "p95 < fast": "found 'fast' as the limit, expected a number such as 500 or 0.5",
    "p95 < -5ms": "found '-5ms' as the limit, expected a number such as 500 or 0.5",
    "p95 < .5s": "found '.5s' as the limit, expected a number such as 500 or 0.5; did you mean 'p95 < 0.5s'?",
    "p95 < 1,000ms": (
        "found '1,000ms' as the limit, expected a number such as 500 or 0.5; did you mean 'p95 < 1000ms'?"
    ),
    "errors < 0,5%": "found '0,5%' as the limit, expected a number such as 500 or 0.5; did you mean 'errors < 0.5%'?",
    "p95 < 0ms": "found a limit of 0ms, expected one that is more than zero and finite",
    "throughput > 0/s": "found a limit of 0/s, expected one that is more than zero and finite",
    "errors < 100%": "found a limit of 100%, expected less than 100%: this one could never be broken",
    "p95 < 1s, p99 < 2s": "found the unit 's, p99 < 2s', expected 'ms' or 's'",
}


@pytest.mark.parametrize(("text", "sentence"), MISTAKES.items(), ids=MISTAKES.keys())
def test_a_mistake_is_answered_with_one_sentence(text: str, sentence: str) -> None:
    """It says what was found, what is expected, and what was meant where that can be told."""
    with pytest.raises(ValueError, match=re.escape(sentence) + "$"):
        parse_slo(text)


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_limit_without_end_is_refused(digits: int) -> None:
    """More digits than a float can hold are a mistake, not an infinity that nobody could break."""
    with pytest.raises(ValueError, match="more than zero and finite"):
        parse_slo(f"p95 < {'9' * digits}s")


@given(st.text(max_size=40) | st.from_regex(r"(call\.)?[a-z]{0,9}[0-9.]{0,5} ?[<>=]{1,2} ?[0-9.,_]{0,9} ?[a-z%/]{0,4}"))
def test_any_text_is_read_or_refused(text: str) -> None:
    """There is no third way, and every suggestion that is made can be followed."""
    try:
        parse_slo(text)
    except ValueError as refused:
        meant = re.search(r"did you mean '([^']*)'\?$", str(refused))
        assert meant is None or parse_slo(meant[1]).text == meant[1]


# --- what must be counted ---


def test_each_latency_limit_is_counted_with_and_without_tolerance() -> None:
    """The judge needs both; errors and throughput need no limit, and calls are counted apart."""
    slos = [parse_slo(text) for text in ("p95 < 500ms", "p99 < 1s", "p50 < 500ms", "errors < 1%", "call.p95 < 50ms")]
    assert limits_of(slos, 0.1) == (0.5, 0.55, 1.0, 1.1)
    assert limits_of(slos, 0.1, "call") == (0.05, 0.055)
    assert limits_of(slos, 0.0) == (0.5, 1.0)


@given(st.integers(1, 10_000), st.integers(0, 100))
def test_tolerance_is_exact_in_decimals(milliseconds: int, percent: int) -> None:
    """10 % on 30 ms are 33 ms: the very float that 0.033 is, so that both who count and who judge find it."""
    assert tolerated(milliseconds / 1000, percent / 100) == milliseconds * (100 + percent) / 100_000


# --- figures for people ---


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0 ms"),
        (1e-6, "0.001 ms"),
        (0.0004, "0.4 ms"),
        (0.0812, "81.2 ms"),
        (0.812, "812 ms"),
        (1.0, "1 s"),
        (1.234, "1.23 s"),
        (119.0, "119 s"),
        (120.0, "2 min"),
        (5400.0, "90 min"),
        (7200.0, "2 h"),
        (12_600.0, "3.5 h"),
    ],
)
def test_a_time_is_said_in_the_unit_that_suits_it(value: float, said: str) -> None:
    """Three digits are enough for a person, and no exponent ever appears."""
    assert say_seconds(value) == said


def test_other_figures_are_said_with_their_unit() -> None:
    """A ratio is said in percent, a rate by the second, and an SLO says its own."""
    assert (say_ratio(0.0123), say_ratio(1.0), say_rate(48.26), say_rate(0.0)) == ("1.23 %", "100 %", "48.3/s", "0/s")
    texts = ("p95 < 1s", "errors < 1%", "throughput > 1/s")
    assert [parse_slo(text).say(0.5) for text in texts] == ["500 ms", "50 %", "0.5/s"]


@given(st.floats(-1e9, 1e9))
def test_a_number_is_said_within_half_a_percent(value: float) -> None:
    """What is left out is less than a person would miss."""
    said = say_number(value)
    assert "e" not in said
    assert float(said) == pytest.approx(value, rel=0.006, abs=1e-300)
