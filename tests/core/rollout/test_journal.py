"""Claims about what is written down of a rollout: that it is short, and that a report can be made from it alone."""

from __future__ import annotations

import json
import random
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.core.judge.eprocess import NOTHING
from canary_sdk.core.judge.slo import limits_of, parse_slo
from canary_sdk.core.judge.tally import EMPTY, Tally
from canary_sdk.core.judge.verdict import Arms, Finding, Outcome, Verdict, judge
from canary_sdk.core.rollout.journal import (
    Configuration,
    Consent,
    Interval,
    Judged,
    Record,
    Ruling,
    Transition,
    Weighed,
    decode,
    encode,
    is_news,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

WALL: Final = 1_750_000_000.0
SLOS: Final = tuple(map(parse_slo, ("p50 < 200ms", "p95 < 500ms", "p99 < 1000ms", "errors < 1%", "throughput > 0.5/s")))
LIMITS: Final = limits_of(SLOS, 0.1)
FINDING: Final = Finding(
    slo=SLOS[1],
    outcome=Outcome.BREACH,
    candidate=0.812,
    baseline=0.41,
    samples=188,
    baseline_samples=3572,
    bad=30,
    why="30 of 188 requests took over 500 ms, 9 may",
)
CALL: Final = Finding(slo=parse_slo("call.p95 < 1s"), outcome=Outcome.PASS, candidate=0.4, samples=7, bad=0)
VERDICT: Final = Verdict(
    (FINDING, replace(FINDING, slo=SLOS[2]), Finding(slo=SLOS[3], outcome=Outcome.PASS), CALL, FINDING), 30.0
)
COUNTED: Final = Tally(188, 2, 1, 30.0, {0.5: 30, 0.55: 22})

EVERY_KIND: Final[list[Record]] = [
    Interval(flag_key="f", at=WALL, attempt=1, stage=2, candidate=COUNTED, baseline=COUNTED + COUNTED, total=COUNTED),
    Interval(flag_key="f", at=WALL + 1, attempt=1, stage=4),
    Judged(flag_key="f", at=WALL, attempt=1, stage=2, verdict=VERDICT, breaches=2),
    Judged(flag_key="f", at=WALL + 1, attempt=1, stage=2, verdict=VERDICT, weighed=Weighed("CONTINUE", "p95", -1.25)),
    Judged(flag_key="f", at=WALL + 2, attempt=1, stage=2, verdict=VERDICT, weighed=Weighed("HOLD", "p95", 5, "why")),
    Ruling(flag_key="f", at=WALL, seq=7, action="HOLD", stage=2, baked_s=90.0, reason="nothing was judged"),
    Transition(
        flag_key="f", at=WALL, seq=7, attempt=1, before="RUNNING", after="PAUSED", stage=2, percent=25.0, who="bo"
    ),
    Consent(flag_key="f", at=WALL, attempt=1, stage=2, role="sre-lead", who="bo", why="looks good"),
    Configuration(flag_key="f", at=WALL, version=12, fields={"slos": ["p95 < 500ms"]}, who="ana"),
]


def read(line: tuple[str, str, float]) -> Record | None:
    """Read a line of a journal, and what was kept beside it."""
    text, flag_key, at = line
    return decode(json.loads(text), flag_key, at)


def write(record: Record) -> tuple[str, str, float]:
    """Write a line of a journal, and what is kept beside it."""
    return json.dumps(encode(record), separators=(",", ":")), record.flag_key, record.at


@pytest.mark.parametrize("record", EVERY_KIND, ids=lambda record: f"{type(record).__name__} {record.at % 10:g}")
def test_each_kind_is_read_as_it_was_written(record: Record) -> None:
    """Through a line of JSON and back it is the same record, whose first item tells the kind."""
    assert read(write(record)) == record


def test_no_evidence_is_a_short_number() -> None:
    """A judge that has seen nothing says so in nats that nobody would believe, and they are not written out."""
    nothing = Weighed("CONTINUE", "shape", NOTHING)
    text, *_ = write(Judged(flag_key="f", at=WALL, attempt=1, stage=1, verdict=Verdict((), 30.0), weighed=nothing))
    assert text == '["j",1,1,[30,[]],0,["CONTINUE","shape",-1000]]'


def test_times_are_written_to_a_digit_that_is_worth_its_place() -> None:
    """An interval to the microsecond, all else to the thousandth, and a whole number as one."""
    text, *_ = write(Judged(flag_key="f", at=WALL, attempt=1, stage=1, verdict=Verdict((), 30.000_000_4)))
    assert text == '["j",1,1,[30,[]],0,null]'
    text, *_ = write(Judged(flag_key="f", at=WALL, attempt=1, stage=1, verdict=Verdict((), 30.123_456_7)))
    assert text == '["j",1,1,[30.123457,[]],0,null]'
    text, *_ = write(Ruling(flag_key="f", at=WALL, seq=1, action="HOLD", stage=1, baked_s=59.123_4, reason="x"))
    assert text == '["r",1,"HOLD",1,59.123,"x"]'


def test_every_kind_has_its_own_tag() -> None:
    """No two kinds can be taken for each other, and the fields have the places that were published."""
    places = {kind.tag: [each.name for each in fields(kind)] for kind in {type(record) for record in EVERY_KIND}}
    assert {tag: names[2:] for tag, names in places.items() if names[:2] == ["flag_key", "at"]} == {
        "i": ["attempt", "stage", "candidate", "baseline", "total", "hosts", "stale"],
        "j": ["attempt", "stage", "verdict", "breaches", "weighed"],
        "r": ["seq", "action", "stage", "baked_s", "reason"],
        "t": ["seq", "attempt", "before", "after", "stage", "percent", "who", "reason", "baseline"],
        "a": ["attempt", "stage", "role", "who", "why"],
        "c": ["version", "fields", "who"],
    }


def test_older_and_newer_releases_read_each_other() -> None:
    """A field that was not written is its default, one that is not known is passed over, and so is a whole kind."""
    (ruling,) = (record for record in EVERY_KIND if isinstance(record, Ruling))
    line = encode(ruling)
    assert decode([*line, "a field of a newer release"], "f", WALL) == ruling
    shorter = decode(line[:-1], "f", WALL)
    assert isinstance(shorter, Ruling)
    assert shorter.reason == ""
    assert decode(["z", 1], "f", WALL) is None


@pytest.mark.parametrize("line", [[], ["i"], ["j", 1, 1, "PASS"], ["i", 1, 1, [1]]])
def test_a_damaged_line_is_refused(line: list[Any]) -> None:
    """What no release has written is an error, never a guess."""
    with pytest.raises((ValueError, TypeError, LookupError)):
        decode(line, "f", WALL)


@pytest.mark.parametrize(
    ("before", "after", "news"),
    [
        (
            "the last judgement is 61 s old, at most 60 s may be",
            "the last judgement is 1.2 h old, at most 60 s may be",
            False,
        ),
        ("p95 812 ms against a limit of 500 ms", "p95 1.03 s against a limit of 500 ms", False),
        ("errors 1.2 %, 48/s", "errors 12 %, 1,200/s", False),
        ("p95 is broken", "errors are broken", True),
        ("stage 2 needs approval by sre", "stage 2 needs approval by ops", True),
        ("", "baking", True),
    ],
)
def test_other_figures_are_no_news(before: str, after: str, news: bool) -> None:
    """A reason that says the same with other figures, in other units, is not written down again."""
    assert is_news(before, after) is news


counts = st.integers(0, 10**9)
numbers = st.floats(0, 1e6, allow_nan=False)


@given(
    st.builds(
        Tally,
        counts,
        counts,
        counts,
        numbers,
        st.dictionaries(st.floats(0.001, 60), counts, max_size=8),
        st.dictionaries(st.sampled_from([0.5, 0.95, 0.99]), numbers),
    )
)
def test_counts_are_exact_and_figures_nearly(tally: Tally) -> None:
    """Whatever was counted, counts and limits come back as they were; figures for people are kept to four digits."""
    found = read(write(Interval(flag_key="f", at=WALL, attempt=1, stage=1, candidate=tally)))
    assert isinstance(found, Interval)
    assert (found.candidate.requests, found.candidate.errors, found.candidate.aborted, found.candidate.over) == (
        tally.requests,
        tally.errors,
        tally.aborted,
        tally.over,
    )
    assert found.candidate.seconds == pytest.approx(tally.seconds, abs=1e-6)
    assert found.candidate.quantiles == pytest.approx(tally.quantiles, rel=1e-3)


# --- how much it is, and what can be made of it ---

STAGES: Final = ((5.0, 60), (25.0, 120), (50.0, 240), (100.0, 1440))
"""Percent and minutes of the classic plan: 31 hours."""


def a_tally(rate: float, rng: random.Random) -> Tally:
    """Draw what an arm may have counted in half a minute."""
    requests = round(rate * 30 * rng.uniform(0.9, 1.1))
    over = {limit: round(requests * rng.uniform(0.001, 0.01) / limit) for limit in LIMITS}
    quantiles = {quantile: rng.uniform(0.05, 0.4) for quantile in (0.5, 0.95, 0.99)}
    return Tally(requests, round(requests * rng.uniform(0, 0.02)), 3, 30.0, over, quantiles)


def a_journal(rate: float) -> Iterator[Record]:
    """Return all that one flag writes in a rollout of 31 hours that is judged every 30 seconds."""
    rng, at = random.Random(7), WALL
    for stage, (percent, minutes) in enumerate(STAGES, start=1):
        yield Transition(
            flag_key="new-checkout",
            at=at,
            seq=1,
            attempt=1,
            before="RUNNING",
            after="RUNNING",
            stage=stage,
            percent=percent,
        )
        for _ in range(minutes * 2):
            at += 30.0
            mine = a_tally(rate * percent / 100, rng)
            rest = a_tally(rate * (1 - percent / 100), rng) if percent < 100 else None
            verdict = judge(
                SLOS, Arms(mine, rest), total=mine + (rest or EMPTY), share=percent / 100, tolerance=0.1, min_samples=50
            )
            yield Interval(flag_key="new-checkout", at=at, attempt=1, stage=stage, candidate=mine, baseline=rest)
            yield Judged(flag_key="new-checkout", at=at, attempt=1, stage=stage, verdict=verdict)


@pytest.mark.parametrize("rate", [2500.0, 20.0, 1.0])
def test_a_whole_rollout_of_ten_flags_is_less_than_20_megabytes(rate: float) -> None:
    """31 hours at 30 seconds, every interval with its figures and findings, also where nothing is conclusive."""
    lines = [write(record) for record in a_journal(rate)]
    assert len(lines) == 4 + 2 * 3720
    assert 10 * sum(len(text) + 1 for text, _, _ in lines) < 15e6


def tables(records: Iterable[Record]) -> dict[int, tuple[Tally, Tally, list[tuple[str, bool]]]]:
    """Add up what a report shows of each stage: both arms, and what each interval was found to be."""
    stages: dict[int, tuple[Tally, Tally, list[tuple[str, bool]]]] = {}
    for record in records:
        mine, rest, verdicts = stages.setdefault(getattr(record, "stage", 0), (EMPTY, EMPTY, []))
        if isinstance(record, Interval):
            stages[record.stage] = (mine + record.candidate, rest + (record.baseline or EMPTY), verdicts)
        elif isinstance(record, Judged):
            verdicts.append((record.verdict.outcome.name, record.verdict.blames))
    return stages


def test_a_report_can_be_made_from_the_journal_alone() -> None:
    """Stage tables and verdicts that are made of the lines are those that are made of what was there."""
    records = list(a_journal(100.0))
    again = [found for found in map(read, map(write, records)) if found]
    assert tables(again) == tables(records)
    for found, record in zip(again, records, strict=True):
        if isinstance(found, Judged) and isinstance(record, Judged):
            for one, other in zip(found.verdict.findings, record.verdict.findings, strict=True):
                assert (one.slo, one.outcome) == (other.slo, other.outcome)
                if one.outcome is not Outcome.PASS:
                    assert (one.samples, one.bad, one.why) == (other.samples, other.bad, other.why)
