"""From a record to Markdown and HTML for people and JSON for machines. Pure, but for `write`.

Every figure in it is one of the record's; a figure that is not known is a dash, never a zero.
"""

from __future__ import annotations

import json
import os
import tempfile
from datetime import UTC, datetime
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

from canary_sdk.core.judge.slo import Metric, say_rate, say_ratio, say_seconds
from canary_sdk.core.judge.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from canary_sdk.core.judge.slo import Slo
    from canary_sdk.core.judge.tally import Tally
    from canary_sdk.core.judge.verdict import Finding
    from canary_sdk.evidence.record import Check, Decision, Record, Stage

UNKNOWN: Final = "–"
QUANTILES: Final = (0.5, 0.95, 0.99)
MARKS: Final = {True: "✔ held", False: "✘ broken", None: "? not known"}
FORMAT: Final = 1
"""The version of the JSON report's shape."""
MOST_DECISIONS: Final = 200
"""So many lines of decisions are for people; beyond them, the JSON report has the rest."""


# --- for machines ---


def to_dict(record: Record) -> dict[str, object]:
    """Return the record as JSON types."""
    return {
        "format": FORMAT,
        "title": record.title,
        "conclusion": record.conclusion.value,
        "flag_key": record.flag_key,
        "environment": record.environment,
        "began_at": record.began_at,
        "seconds": record.seconds,
        "setup": dict(record.setup),
        "slos": [slo.text for slo in record.slos],
        "checks": [{"claim": each.claim, "held": each.held, "found": each.found} for each in record.checks],
        "durations": {each.name: each.seconds for each in record.durations},
        "stages": [_stage_dict(stage) for stage in record.stages],
        "timeline": [{"at_s": each.at_s, "kind": each.kind, "sentence": each.sentence} for each in record.timeline],
        "decisions": [
            {
                "at_s": each.at_s,
                "breaches": each.breaches,
                "verdict": each.verdict.to_dict(),
                **({"weighed": each.weighed._asdict()} if each.weighed else {}),
            }
            for each in record.decisions
        ],
        "approvals": [
            {"at": each.at, "stage": each.stage, "role": each.role, "who": each.who, "why": each.why}
            for each in record.approvals
        ],
        "configurations": [
            {"at": each.at, "version": each.version, "who": each.who, "fields": dict(each.fields)}
            for each in record.configurations
        ],
        "otherwise": record.otherwise,
        "gaps": list(record.gaps),
        "problems": list(record.problems),
    }


def to_json(record: Record) -> str:
    """Return the report for machines."""
    return json.dumps(to_dict(record), indent=2, ensure_ascii=False) + "\n"


def _stage_dict(stage: Stage) -> dict[str, object]:
    return {
        "name": stage.name,
        "percent": stage.percent,
        "began_s": stage.began_s,
        "seconds": stage.seconds,
        "seen": {who: _tally_dict(tally) for who, tally in stage.seen.items()},
        "slos": [slo.text for slo in stage.slos],
        "verdict": stage.verdict.to_dict() if stage.verdict else None,
        "outcomes": dict(stage.outcomes),
    }


def _tally_dict(tally: Tally) -> dict[str, object]:
    return {
        "requests": tally.requests,
        "errors": tally.errors,
        "error_rate": tally.error_rate if tally.requests else None,
        "rate": tally.rate,
        "quantiles": {f"p{q * 100:g}": seconds for q, seconds in sorted(tally.quantiles.items())},
        "over": {f"{limit:g}": count for limit, count in sorted(tally.over.items())},
    }


# --- for people ---


def to_markdown(record: Record) -> str:
    """Return the report for people."""
    parts = (
        f"# {record.title}",
        f"**{record.conclusion}**",
        _table(("", ""), _setup_rows(record)),
        *_section("What is wrong with the sources", "", ("",), [(each,) for each in record.problems]),
        "## What had to hold",
        _table(("", "claim", "found"), [_check_row(check) for check in record.checks]),
        "## How long it took",
        _table(("", "time"), [(each.name, _seconds(each.seconds)) for each in record.durations]),
        "## Stage by stage",
        _limits(record),
        _table(
            ("stage", "released to", "seen by", "requests", "rate", "p50", "p95", "p99", "errors"),
            [row for stage in record.stages for row in _stage_rows(stage, stage.slos or record.slos)],
        ),
        *_section(
            "Promise by promise",
            "Each stage held against its promises, on all that was counted in it.",
            ("stage", "lasted", "promise", "found", "beyond it by", "counted beyond it", "verdict"),
            [row for stage in record.stages for row in _promise_rows(stage)],
        ),
        *_section(
            "Interval by interval",
            "How many intervals of each stage were found to be what, each by itself.",
            ("stage", *(outcome.name for outcome in Outcome)),
            [_outcome_row(stage) for stage in record.stages if stage.outcomes],
        ),
        *(("## What another rule would have done", record.otherwise) if record.otherwise else ()),
        *_section(
            "Approvals",
            "",
            ("at", "stage", "role", "who", "why"),
            [(_moment(each.at), str(each.stage), each.role, each.who, each.why) for each in record.approvals],
        ),
        *_section(
            "Configurations",
            "",
            ("from", "version of the store", "by", "what"),
            [
                (_moment(each.at), str(each.version), each.who, f"`{json.dumps(each.fields, ensure_ascii=False)}`")
                for each in record.configurations
            ],
        ),
        *_section("Of which nothing was written down", "", ("",), [(each,) for each in record.gaps]),
        "## Timeline",
        _table(("at", "", "what"), [(_at(each.at_s, record), each.kind, each.sentence) for each in record.timeline]),
        "## Decisions",
        *_decisions(record),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def to_html(record: Record) -> str:
    """Return the report for people, as one page that needs nothing else. Needs `markdown-it-py`."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("js-default").render(to_markdown(record))
    return _PAGE.format(title=escape(record.title), body=body)


_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em }}
table {{ border-collapse: collapse; display: block; overflow-x: auto }}
td, th {{ border-bottom: 1px solid #8885; padding: .25em .75em; text-align: left; vertical-align: top }}
code {{ font-size: .85em; overflow-wrap: anywhere }}
</style>
</head>
<body>
{body}</body>
</html>
"""


def _section(title: str, text: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return a part that is left out where there is nothing to say."""
    return (f"## {title}", text, _table(head, rows)) if rows else ()


def _setup_rows(record: Record) -> list[tuple[str, str]]:
    return [
        ("flag", f"`{record.flag_key}`"),
        ("environment", record.environment),
        ("began", _moment(record.began_at)),
        ("took", _seconds(record.seconds)),
        *record.setup.items(),
    ]


def _check_row(check: Check) -> tuple[str, str, str]:
    return MARKS[check.held], check.claim, check.found


def _decisions(record: Record) -> tuple[str, ...]:
    """Show every interval, or where they are many, how many in a row were alike; then the first of these lines."""
    is_long = len(record.decisions) > MOST_DECISIONS
    runs = [list(alike) for _, alike in groupby(record.decisions, _kind if is_long else id)]
    rows = [_run_row(run, record) for run in runs]
    head = ["at", "verdict", "in a row", "why"]
    if any(each.weighed for each in record.decisions):
        head.append("sequential judge")
    told = "Every interval that was judged, with the finding that weighed most."
    if is_long:
        told = "The intervals that were judged, those that follow each other and are alike in one line."
    cut = f"{len(rows) - MOST_DECISIONS} more such lines are left out here; the JSON report has every interval."
    table = _table(head, [row[: len(head)] for row in rows[:MOST_DECISIONS]])
    return told, table, cut if len(rows) > MOST_DECISIONS else ""


def _kind(decision: Decision) -> tuple[str, str]:
    return decision.verdict.outcome.name, decision.weighed.action if decision.weighed else ""


def _run_row(run: Sequence[Decision], record: Record) -> tuple[str, ...]:
    first, last = run[0], run[-1]
    at = _at(first.at_s, record) if len(run) == 1 else f"{_at(first.at_s, record)} to {_at(last.at_s, record)}"
    times = f" × {len(run)}" if len(run) > 1 else ""
    said = [each.weighed for each in run if each.weighed]
    weighed = next((each.sentence for each in said if each.sentence), said[0].action if said else "")
    worst = last.verdict.worst
    why = "" if worst is not None and worst.outcome is Outcome.PASS and not worst.samples else last.verdict.sentence
    return at, f"{last.verdict.outcome.name}{times}", str(last.breaches or ""), why, weighed


def _at(at_s: float, record: Record) -> str:
    """Write a moment of the record: to the tenth of a second, or of a long one to the second."""
    if record.seconds < 7200:
        return f"{at_s:+.1f} s"
    minutes, seconds = divmod(round(at_s), 60)
    return f"+{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _limits(record: Record) -> str:
    if not record.slos:
        own = any(stage.slos for stage in record.stages)
        return "A figure beyond its limit is **bold**." if own else "There were no SLOs."
    return f"SLOs: {', '.join(slo.text for slo in record.slos)}. A figure beyond its limit is **bold**."


def _promise_rows(stage: Stage) -> list[tuple[str, ...]]:
    findings = stage.verdict.findings if stage.verdict else ()
    head = (f"{stage.name} ({stage.percent:g} %)", say_seconds(stage.seconds))
    return [(*(head if not number else ("", "")), *_promise(each)) for number, each in enumerate(findings)]


def _promise(finding: Finding) -> tuple[str, ...]:
    figure, beyond = UNKNOWN, ""
    if finding.candidate is not None:
        figure = finding.slo.say(finding.candidate)
        beyond = f"{(finding.load - 1) * 100:.1f} %" if finding.load > 1 else ""
    counted = UNKNOWN if finding.bad is None else f"{finding.bad} of {finding.samples}"
    shared = " (both arms)" if finding.shared and finding.slo.metric is not Metric.THROUGHPUT else ""
    return finding.slo.text, figure, beyond, counted, f"{finding.outcome.name}{shared}"


def _outcome_row(stage: Stage) -> tuple[str, ...]:
    return (stage.name, *(str(stage.outcomes.get(outcome.name, 0)) for outcome in Outcome))


def _stage_rows(stage: Stage, slos: Sequence[Slo]) -> list[tuple[str, ...]]:
    head = (stage.name, f"{stage.percent:g} %")
    return [
        (*(head if first else ("", "")), who, *_figures(tally, slos))
        for first, (who, tally) in zip(_first_only(), stage.seen.items(), strict=False)
    ]


def _first_only() -> Iterable[bool]:
    yield True
    while True:
        yield False


def _figures(tally: Tally, slos: Sequence[Slo]) -> tuple[str, ...]:
    if not tally.requests:
        return ("0", *(UNKNOWN,) * (len(QUANTILES) + 2))
    latencies = (_latency(tally, q, slos) for q in QUANTILES)
    errors = _bold(say_ratio(tally.error_rate), _is_over(Metric.ERRORS, None, tally.error_rate, slos))
    return (str(tally.requests), say_rate(tally.rate), *latencies, errors)


def _latency(tally: Tally, q: float, slos: Sequence[Slo]) -> str:
    seconds = tally.quantiles.get(q)
    if seconds is None:
        return UNKNOWN
    return _bold(say_seconds(seconds), _is_over(Metric.LATENCY, q, seconds, slos))


def _is_over(metric: Metric, q: float | None, figure: float, slos: Sequence[Slo]) -> bool:
    return any(slo.metric is metric and slo.quantile == q and slo.of == "unit" and figure > slo.limit for slo in slos)


def _bold(text: str, is_bold: bool) -> str:
    return f"**{text}**" if is_bold else text


def _seconds(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else say_seconds(seconds)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# --- to disk ---


def write(record: Record, folder: Path, name: str = "report") -> tuple[Path, Path]:
    """Write both reports into a folder that exists, each whole or not at all; return the paths, Markdown first.

    Raises `OSError`.
    """
    markdown, machine = folder / f"{name}.md", folder / f"{name}.json"
    write_whole(markdown, to_markdown(record))
    write_whole(machine, to_json(record))
    return markdown, machine


def write_whole(path: Path, text: str) -> None:
    """Replace a file's content in one step, so that nobody reads half of it. Raises `OSError`."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8") as stream:  # noqa: PTH123 - an open descriptor, not a path
            stream.write(text)
        Path(temporary).chmod(0o644)
        os.replace(temporary, path)  # noqa: PTH105 - says what matters here: one step
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
