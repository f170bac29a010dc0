"""Claims about the report of a rollout: it is computed from the journal alone, and names what the journal lacks."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.rollout import KEY, WALL, classic, journal_of, production
from canary_sdk.core.breaker import AutoRollback, RollbackRule
from canary_sdk.core.judge.verdict import Outcome
from canary_sdk.core.rollout.journal import Configuration, Interval, Judged, Ruling, Transition, Weighed
from canary_sdk.core.rollout.state import Status
from canary_sdk.evidence.record import Conclusion
from canary_sdk.evidence.report import to_dict, to_html, to_markdown
from canary_sdk.evidence.rollout import NothingWritten, record_of
from canary_sdk.ports import JournalEntry
from canary_sdk.stores.memory import MemoryStore
from canary_sdk.stores.repository import DocumentRepository

if TYPE_CHECKING:
    from benchmarks.rollout import Release
    from canary_sdk.core.rollout.journal import Record
    from canary_sdk.evidence import record as evidence

HALF_AN_HOUR: Final = 1 / 60
"""The classic plan, and all its stages, sixty times as fast: 62 intervals."""


def ran(policy: AutoRollback = AutoRollback(), lost: frozenset[int] = frozenset()) -> Release:  # noqa: B008 - a value
    """Run the classic plan in half an hour."""
    release = classic(policy, DocumentRepository(MemoryStore(), "production"), scale=HALF_AN_HOUR)
    release.lost = lost
    release.run()
    return release


def told(entries: list[JournalEntry]) -> evidence.Record:
    """Return what a journal tells."""
    return record_of(entries, KEY, "production")


def check(record: evidence.Record, words: str) -> evidence.Check:
    """Find the claim that has these words."""
    (found,) = (each for each in record.checks if words in each.claim)
    return found


@pytest.fixture(scope="module")
def journal() -> list[JournalEntry]:
    """Return the journal of a rollout that was promoted."""
    return journal_of(ran().repository)


@pytest.fixture
def record(journal: list[JournalEntry]) -> evidence.Record:
    """Return what it tells."""
    return told(journal)


def test_each_stage_is_held_against_its_own_promises(record: evidence.Record) -> None:
    """Three stages pass; the fourth is over its limits, within the tolerance, and the report says by how much."""
    outcomes = [stage.verdict.outcome for stage in record.stages[1:5] if stage.verdict]
    assert outcomes == [Outcome.PASS] * 3 + [Outcome.ACCEPTABLE]
    assert record.conclusion is Conclusion.PASSED
    fourth = check(record, "Stage 4, at 100 %")
    assert fourth.held
    assert fourth.found.startswith("ACCEPTABLE: p95 4")
    assert "% over 400 ms, p99 8" in fourth.found
    assert "% over 800 ms" in fourth.found
    assert [slo.text for slo in record.stages[3].slos] == [
        "p95 < 450ms",
        "p99 < 900ms",
        "errors < 0.8%",
        "throughput > 50/s",
    ]


def test_without_tolerance_the_fourth_stage_is_a_breach() -> None:
    """The same traffic is a breach where nothing is tolerated, and the report fails."""
    record = told(journal_of(ran(AutoRollback(tolerance=0.0)).repository))
    fourth = check(record, "Stage 4")
    assert (fourth.held, fourth.found.partition(":")[0]) == (False, "BREACH")
    assert record.conclusion is Conclusion.FAILED


def test_figures_are_the_sums_of_what_was_counted(journal: list[JournalEntry], record: evidence.Record) -> None:
    """A stage's counts are those of its intervals, exactly; its quantiles are their mean, by requests."""
    for number, stage in enumerate(record.stages[1:5], start=1):
        counted = [
            each.record.candidate
            for each in journal
            if isinstance(each.record, Interval) and each.record.stage == number
        ]
        requests = sum(each.requests for each in counted)
        seen = stage.seen["candidate"]
        assert (seen.requests, seen.errors) == (requests, sum(each.errors for each in counted))
        assert seen.seconds == 30.0 * len(counted) == 30.0 * sum(stage.outcomes.values())
        assert seen.over[0.4] == sum(each.over[0.4] for each in counted) if number == 4 else True
        mean = sum(each.quantiles[0.95] * each.requests for each in counted) / requests
        assert seen.quantiles[0.95] == pytest.approx(mean)
    assert "baseline" in record.stages[3].seen
    assert "baseline" not in record.stages[4].seen


def test_what_the_consecutive_rule_would_have_done_is_told(record: evidence.Record) -> None:
    """Breaches of single intervals, three in a row, would have rolled back what the default judge let go on."""
    assert record.otherwise.startswith(
        "By the consecutive rule (3 blaming breaches in a row) it would have been rolled"
    )
    assert "breach 3 in a row" in record.otherwise
    assert "the noise of single intervals alone would have rolled it back" in record.otherwise


def test_that_rule_is_the_one_that_decides_where_it_is_asked_to(record: evidence.Record) -> None:
    """Where the consecutive rule decides, it aborts at the very interval that the other report names."""
    release = ran(AutoRollback(rule=RollbackRule.CONSECUTIVE))
    other = told(journal_of(release.repository))
    assert release.state.status is Status.ABORTED
    assert other.conclusion is Conclusion.FAILED
    assert release.state.reason in record.otherwise
    assert other.otherwise == "The sequential judge would not have rolled it back."


def test_what_a_trip_cut_short_is_no_interval_of_that_rule(journal: list[JournalEntry]) -> None:
    """It counts whole intervals in a row; of halves of them it would have seen nothing."""
    halves = [
        replace(each, record=replace(each.record, verdict=replace(each.record.verdict, seconds=15.0)))
        if isinstance(each.record, Judged)
        else each
        for each in journal
    ]
    assert told(halves).otherwise.endswith("it would not have been rolled back either.")


def test_what_was_not_heard_is_not_known(journal: list[JournalEntry]) -> None:
    """Where the consecutive rule decided and no other judge was heard, the report does not guess."""
    deaf = [
        replace(each, record=_by(RollbackRule.CONSECUTIVE, each.record))
        if isinstance(each.record, Judged | Configuration)
        else each
        for each in journal
    ]
    assert told(deaf).otherwise == "What the sequential judge would have done is not known: it was not heard."


def test_a_rollback_of_the_other_judge_is_told(journal: list[JournalEntry]) -> None:
    """Where the sequential judge would have rolled back, the report says when and why."""
    loud = [
        replace(each, record=replace(each.record, weighed=Weighed("ROLLBACK", "p95", 5.0, "p95 is worse")))
        if isinstance(each.record, Judged) and each.record.stage == 2
        else replace(each, record=_by(RollbackRule.CONSECUTIVE, each.record))
        if isinstance(each.record, Configuration)
        else each
        for each in journal
    ]
    assert told(loud).otherwise.startswith("The sequential judge would have rolled it back in stage 2, ")
    assert "p95 is worse" in told(loud).otherwise


def _by(rule: RollbackRule, record: Judged | Configuration) -> Judged | Configuration:
    """Return the record as it would be where that rule decided alone."""
    if isinstance(record, Judged):
        return replace(record, weighed=None)
    return replace(record, fields={**record.fields, "auto_rollback": {"rule": str(rule)}})


def test_a_stage_that_was_taken_back_at_once_has_failed(journal: list[JournalEntry]) -> None:
    """Where no interval was over by then, the reason of the abort stands for it; a person's abort blames nobody."""
    place = next(number for number, each in enumerate(journal) if _enters(each, 2))
    moved = journal[place].record
    assert isinstance(moved, Transition)
    for who, held, found in (
        ("", False, "it was aborted before an interval was over: p95 is worse"),
        ("bo", None, "nothing was counted of it, or it has no promises"),
    ):
        abort = replace(moved, at=moved.at + 9, before="RUNNING", after="ABORTED", reason="p95 is worse", who=who)
        second = check(told([*journal[: place + 1], JournalEntry(9999, abort.at, abort)]), "Stage 2")
        assert (second.held, second.found) == (held, found)


def test_what_follows_the_last_stage_is_told_in_words(record: evidence.Record) -> None:
    """The timeline counts no stage that the plan does not have, before the first or after the last."""
    told_of = [
        each.sentence.partition(", ")[2].partition(" at ")[0] for each in record.timeline if "→" in each.sentence
    ]
    assert told_of == ["before stage 1", "stage 1", "stage 2", "stage 3", "stage 4", "after the promotion"]


def _enters(entry: JournalEntry, stage: int) -> bool:
    """Tell whether it is the line of a stage that was entered."""
    return isinstance(entry.record, Transition) and entry.record.stage == stage


def test_approvals_are_told_and_asked_for() -> None:
    """A plan with approvals shows who gave them, in which role; one that was not written down fails the report."""
    release = production(AutoRollback(), DocumentRepository(MemoryStore(), "production"), scale=1 / 120)
    assert release.run().status is Status.PROMOTED
    journal = journal_of(release.repository)
    record = told(journal)
    assert record.conclusion is Conclusion.PASSED
    assert check(record, "Stage 3 was approved").found == "by grace as sre-lead"
    assert check(record, "Stage 5 was approved").found == "by edsger as product-owner"
    assert [(each.stage, each.who) for each in record.approvals] == [(3, "grace"), (5, "edsger")]
    forgotten = [each for each in journal if each.record not in record.approvals[:1]]
    missing = check(told(forgotten), "Stage 3 was approved")
    assert (missing.held, missing.found) == (False, "no approval by sre-lead was written down")


def test_lines_that_cannot_be_read_are_named(journal: list[JournalEntry]) -> None:
    """A damaged line costs the verdict, not the report: it says which line, when and why."""
    bad = journal[10]
    broken = [*journal[:10], JournalEntry(bad.id, bad.at, None, "it is damaged: 7"), *journal[11:]]
    record = told(broken)
    when = datetime.fromtimestamp(bad.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    assert record.problems[0] == f"line {bad.id}, {when}: it is damaged: 7"
    assert record.conclusion is Conclusion.INCONCLUSIVE
    assert record.problems[0] in to_markdown(record)


def test_changes_of_state_that_are_not_there_are_named(journal: list[JournalEntry]) -> None:
    """Without the line that says that a stage was entered, the report says so, and does not make it up."""
    places = [number for number, each in enumerate(journal) if isinstance(each.record, Transition)]
    first = told([each for number, each in enumerate(journal) if number != places[0]])
    assert any("it begins as SCHEDULED; what came before is gone" in each for each in first.problems)
    third = told([each for number, each in enumerate(journal) if number != places[3]])
    assert any("stage 3 is under way, its beginning was not written down" in each for each in third.problems)
    assert first.conclusion is third.conclusion is Conclusion.INCONCLUSIVE
    twice = told([*journal[: places[2]], *journal[places[1] : places[2]], *journal[places[2] :]])
    assert any("SCHEDULED became RUNNING, but it was RUNNING" in each for each in twice.problems)


def test_halves_of_an_interval_are_named(journal: list[JournalEntry]) -> None:
    """What was counted and what was found belong together: one without the other is named, with its time."""
    for kind, word in ((Judged, "found"), (Interval, "counted")):
        place = next(number for number, each in enumerate(journal) if isinstance(each.record, kind))
        record = told([*journal[:place], *journal[place + 1 :]])
        assert len(record.problems) == 1
        assert f"what was {word} in this interval of stage 1 is not there" in record.problems[0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_whatever_is_lost_is_missed(journal: list[JournalEntry], data: st.DataObject) -> None:
    """Of any part of a journal there is a report; it names what is damaged, and does not pass where anything is gone.

    What is gone is a problem, or, of the intervals, a gap; only a hold may be missing without being missed.
    """
    places = st.integers(0, len(journal) - 1)
    lost, bad = data.draw(st.sets(places, max_size=40)), data.draw(st.sets(places, max_size=3))
    left = [
        (number, replace(each, record=None, problem="it is damaged") if number in bad else each)
        for number, each in enumerate(journal)
        if number not in lost
    ]
    first = next((number for number, each in left if isinstance(each.record, Transition)), None)
    if first is None:
        with pytest.raises(NothingWritten):
            told([each for _, each in left])
        return
    record = told([each for _, each in left])
    to_markdown(record)
    named = [each for each in record.problems if "it is damaged" in each]
    assert len(named) == len({number for number in bad - lost if number > first})
    gone = [journal[number].record for number in lost | bad]
    if any(not isinstance(each, Ruling) for each in gone):
        assert record.conclusion is not Conclusion.PASSED or record.gaps


def test_every_line_that_is_gone_is_missed(journal: list[JournalEntry]) -> None:
    """Each line by itself, each interval and each stage: without it something is named, or the report does not pass."""
    whole = told(journal)
    alone = [{each.id} for each in journal if not isinstance(each.record, Ruling)]
    intervals = [_ids(journal, at=each.at) for each in journal if isinstance(each.record, Interval)]
    for gone in (*alone, *intervals):
        record = told([each for each in journal if each.id not in gone])
        missed = record.problems or len(record.gaps) > len(whole.gaps)
        assert missed or record.conclusion is not Conclusion.PASSED, [each for each in journal if each.id in gone]
    for stage in (2, 3):
        record = told([each for each in journal if each.id not in _ids(journal, stage=stage)])
        assert any(f"stage {stage + 1} follows stage {stage - 1}" in each for each in record.problems)
        assert record.conclusion is Conclusion.INCONCLUSIVE


def _ids(journal: list[JournalEntry], **names: float) -> set[int]:
    """Return the lines whose records have these fields."""
    return {each.id for each in journal if all(getattr(each.record, name, None) == of for name, of in names.items())}


def test_without_a_configuration_no_stage_is_judged(journal: list[JournalEntry]) -> None:
    """What was promised must stand in the journal: else no verdict is made up."""
    record = told([each for each in journal if not isinstance(each.record, Configuration)])
    assert all(stage.verdict is None for stage in record.stages)
    assert record.problems == ("what it was run by was not written down: no stage can be held against its promises",)
    damaged = [
        replace(each, record=replace(each.record, fields={"plan": 7}))
        if isinstance(each.record, Configuration)
        else each
        for each in journal
    ]
    assert any("the configuration cannot be read" in each for each in told(damaged).problems)


def test_stretches_without_intervals_are_named() -> None:
    """Where nobody was there for a while, the report says from when to when, and fails nothing for it."""
    record = told(journal_of(ran(lost=frozenset(range(20, 26))).repository))
    assert len(record.gaps) == 1
    assert record.gaps[0].endswith("(3.5 min)")
    assert record.gaps[0] in to_markdown(record)
    assert record.conclusion is Conclusion.PASSED


def test_what_began_before_the_stage_was_warm_does_not_count(journal: list[JournalEntry]) -> None:
    """Intervals of the warm-up, and one that began before the promotion, are not held against the promises."""
    warm = [
        replace(each, record=replace(each.record, fields={**each.record.fields, "plan": _warmed(each.record)}))
        if isinstance(each.record, Configuration)
        else each
        for each in journal
    ]
    before, after = told(journal).stages, told(warm).stages
    assert [stage.seen["candidate"].seconds for stage in before[1:5]] == [60.0, 120.0, 240.0, 1440.0]
    assert [stage.seen["candidate"].seconds for stage in after[1:5]] == [30.0, 90.0, 210.0, 1410.0]


@pytest.mark.parametrize(("early", "seconds"), [(0.5, 60.0), (1.5, 30.0), (29.0, 30.0)])
def test_what_began_in_the_stage_before_does_not_count(
    journal: list[JournalEntry], early: float, seconds: float
) -> None:
    """The first interval of a stage counts though it began a moment early, and not where it saw the stage before."""
    number, first = next(
        (number, each)
        for number, each in enumerate(journal)
        if isinstance(each.record, Interval) and each.record.stage == 1
    )
    assert isinstance(first.record, Interval)
    moved = replace(first, record=replace(first.record, at=first.at - early))
    stages = told([*journal[:number], moved, *journal[number + 1 :]]).stages
    assert stages[1].seen["candidate"].seconds == seconds


def _warmed(record: Configuration) -> object:
    """Return the plan with a warm-up of one interval."""
    return {**record.fields["plan"], "warmup": 30.0}


def test_each_attempt_has_its_own_report(journal: list[JournalEntry]) -> None:
    """The last attempt is told unless another is named; one that was never made is refused."""
    shift, last = journal[-1].at + 60 - WALL, journal[-1].id
    again = [
        replace(each, id=each.id + last, at=each.at + shift, record=_later(each.record, shift)) for each in journal
    ]
    both = [*journal, *again]
    assert told(both).title == f"Rollout of {KEY}, attempt 2"
    assert told(both).began_at == WALL + shift
    first = record_of(both, KEY, "production", attempt=1)
    assert first == told(journal)
    with pytest.raises(NothingWritten, match=r"tells of no rollout of attempt 3: there is 1, 2"):
        record_of(both, KEY, "production", attempt=3)
    with pytest.raises(NothingWritten, match="there is nothing"):
        record_of([], KEY, "production")


def _later(record: Record | None, shift: float) -> Record:
    """Return the record as it would be of a second attempt."""
    assert record is not None
    changes: dict[str, Any] = {"at": record.at + shift}
    if hasattr(record, "attempt"):
        changes["attempt"] = 2
    if isinstance(record, Transition) and record.before == "IDLE":
        changes["before"] = "PROMOTED"
    return replace(record, **changes)


def test_the_report_has_it_all_for_people_and_machines(record: evidence.Record) -> None:
    """Stages, promises, intervals, the other rule, configuration and timeline stand in Markdown, HTML and JSON."""
    markdown, page = to_markdown(record), to_html(record)
    for title in (
        "Stage by stage",
        "Promise by promise",
        "Interval by interval",
        "What another rule",
        "Configurations",
    ):
        assert f"## {title}" in markdown
        assert f"<h2>{title}" in page
    assert "| stage 4 (100 %) | 24 min | p95 < 400ms |" in markdown
    assert "<td>p95 &lt; 400ms</td>" in page
    assert "<script" not in to_html(replace(record, title="<script>"))
    data = json.loads(json.dumps(to_dict(record)))
    assert data["stages"][4]["verdict"]["outcome"] == "ACCEPTABLE"
    assert data["decisions"][0]["weighed"]["action"] == "CONTINUE"
    assert data["configurations"][0]["version"] == 7
    assert data["otherwise"] == record.otherwise


def test_many_decisions_are_told_in_few_lines(record: evidence.Record) -> None:
    """Beyond two hundred, intervals that are alike and follow each other share a line, and the rest is counted."""
    decision = record.decisions[-1]
    alike = [replace(decision, at_s=30.0 * number) for number in range(300)]
    markdown = to_markdown(replace(record, seconds=9000.0, decisions=tuple(alike)))
    assert f"| +0:00:00 to +2:29:30 | {decision.verdict.outcome.name} × 300 |" in markdown
    mixed = [replace(each, weighed=Weighed(f"{number % 2}", "", 0.0)) for number, each in enumerate(alike)]
    markdown = to_markdown(replace(record, decisions=tuple(mixed)))
    assert "100 more such lines are left out here; the JSON report has every interval." in markdown
