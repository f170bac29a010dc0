"""Reports say what the record says: every figure, no zero for what is not known, and no conclusion of their own."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from canary_sdk.core.judge.slo import parse_slo
from canary_sdk.core.judge.tally import EMPTY, Tally
from canary_sdk.core.judge.verdict import Arms, judge
from canary_sdk.evidence.record import Check, Conclusion, Decision, Duration, Moment, Record, Stage
from canary_sdk.evidence.report import to_dict, to_json, to_markdown, write, write_whole

if TYPE_CHECKING:
    from pathlib import Path

SLOS = (parse_slo("p95 < 250ms"), parse_slo("errors < 1%"))
SLOW = Tally(requests=50, errors=1, seconds=1.0, over={0.25: 20, 0.275: 20}, quantiles={0.5: 0.02, 0.95: 0.817})
FINE = Tally(requests=150, errors=0, seconds=1.0, over={0.25: 0, 0.275: 0}, quantiles={0.5: 0.02, 0.95: 0.03})
VERDICT = judge(SLOS, Arms(SLOW, FINE), total=FINE, share=0.25, tolerance=0.1, min_samples=20)

RECORD = Record(
    title="Rehearsal",
    flag_key="new-checkout",
    environment="demo",
    began_at=1_750_000_000.0,
    seconds=31.5,
    slos=SLOS,
    setup={"fault": "800 ms | later"},
    checks=(Check("It goes off", True, "2.9 s"), Check("It recovers", True, "1 s")),
    durations=(Duration("to the trip", 2.91), Duration("to recovery", None)),
    stages=(Stage("fault", 25, 20.0, 3.0, {"clients": FINE, "baseline": EMPTY, "candidate": SLOW}),),
    timeline=(Moment(22.0, "fault", "fault on"), Moment(25.0, "trip", "it was\nswitched off")),
    decisions=(Decision(25.0, VERDICT, 3),),
)


def cells(line: str) -> list[str]:
    """Take a table's line apart."""
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def row(markdown: str, *words: str) -> list[str]:
    """Find the table's line that has all these words."""
    (found,) = (line for line in markdown.splitlines() if line.startswith("|") and all(word in line for word in words))
    return cells(found)


@pytest.mark.parametrize(
    ("held", "conclusion"),
    [
        ([True, True], Conclusion.PASSED),
        ([True, None], Conclusion.INCONCLUSIVE),
        ([None, False], Conclusion.FAILED),
        ([True, False], Conclusion.FAILED),
        ([], Conclusion.INCONCLUSIVE),
    ],
)
def test_the_conclusion_is_computed(held: list[bool | None], conclusion: Conclusion) -> None:
    """One broken claim fails it, one that cannot be told leaves it open, and so does having no claim at all."""
    record = replace(RECORD, checks=tuple(Check("claim", each, "found") for each in held))
    assert record.conclusion is conclusion
    assert f"**{conclusion}**" in to_markdown(record)
    assert to_dict(record)["conclusion"] == conclusion.value


def test_figures_beyond_their_limit_are_bold() -> None:
    """A reader finds what was wrong at a glance; what kept its limit is plain."""
    markdown = to_markdown(RECORD)
    slow = row(markdown, "| candidate |", "50/s")
    assert slow[3:] == ["50", "50/s", "20 ms", "**817 ms**", "–", "**2 %**"]
    assert row(markdown, "clients", "150/s")[3:] == ["150", "150/s", "20 ms", "30 ms", "–", "0 %"]


def test_what_is_not_known_is_a_dash() -> None:
    """No requests have no latency and no error rate; a time that never ended is not zero."""
    markdown = to_markdown(RECORD)
    assert row(markdown, "| baseline |")[3:] == ["0", "–", "–", "–", "–", "–"]
    assert row(markdown, "to recovery")[1] == "–"
    assert to_dict(RECORD)["durations"] == {"to the trip": 2.91, "to recovery": None}


def test_every_decision_keeps_its_numbers() -> None:
    """The JSON holds each finding whole, the Markdown the sentence of the one that weighed most."""
    (decision,) = json.loads(to_json(RECORD))["decisions"]
    assert decision["verdict"] == json.loads(json.dumps(VERDICT.to_dict()))
    assert decision["breaches"] == 3
    assert row(to_markdown(RECORD), "BREACH", "+25.0 s") == ["+25.0 s", "BREACH", "3", VERDICT.sentence]


def test_a_text_cannot_break_a_table() -> None:
    """Bars are escaped and line breaks become blanks."""
    markdown = to_markdown(RECORD)
    assert "800 ms \\| later" in markdown
    assert row(markdown, "| trip |")[2] == "it was switched off"


def test_the_report_names_the_moment_in_utc() -> None:
    """Wall time is written so that it means the same everywhere."""
    assert row(to_markdown(RECORD), "| began |")[1] == "2025-06-15 15:06:40 UTC"


def test_both_reports_are_written(tmp_path: Path) -> None:
    """Markdown and JSON stand in the folder, readable, and nothing else does."""
    markdown, machine = write(RECORD, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.md"]
    assert markdown.read_text(encoding="utf-8") == to_markdown(RECORD)
    assert json.loads(machine.read_text(encoding="utf-8"))["flag_key"] == "new-checkout"


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    """What cannot be written whole is not written, and leaves nothing behind."""
    path = tmp_path / "report.md"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "new \ud800")
    assert path.read_text(encoding="utf-8") == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["report.md"]
