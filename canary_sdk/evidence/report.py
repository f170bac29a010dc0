"""From a record to Markdown for people and JSON for machines. Pure, but for `write`.

Every figure in it is one of the record's; a figure that is not known is a dash, never a zero.
"""

from __future__ import annotations

import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from canary_sdk.core.slo import Metric, say_rate, say_ratio, say_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from canary_sdk.core.slo import Slo
    from canary_sdk.core.tally import Tally
    from canary_sdk.evidence.record import Check, Decision, Record, Stage

UNKNOWN: Final = "–"
QUANTILES: Final = (0.5, 0.95, 0.99)
MARKS: Final = {True: "✔ held", False: "✘ broken", None: "? not known"}
FORMAT: Final = 1
"""The version of the JSON report's shape."""


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
            {"at_s": each.at_s, "breaches": each.breaches, "verdict": each.verdict.to_dict()}
            for each in record.decisions
        ],
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
        "## What had to hold",
        _table(("", "claim", "found"), [_check_row(check) for check in record.checks]),
        "## How long it took",
        _table(("", "time"), [(each.name, _seconds(each.seconds)) for each in record.durations]),
        "## Stage by stage",
        _limits(record.slos),
        _table(
            ("stage", "released to", "seen by", "requests", "rate", "p50", "p95", "p99", "errors"),
            [row for stage in record.stages for row in _stage_rows(stage, record.slos)],
        ),
        "## Timeline",
        _table(("at", "", "what"), [(f"{each.at_s:+.1f} s", each.kind, each.sentence) for each in record.timeline]),
        "## Decisions",
        "Every interval that was judged, with the finding that weighed most.",
        _table(("at", "verdict", "in a row", "why"), [_decision_row(each) for each in record.decisions]),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _setup_rows(record: Record) -> list[tuple[str, str]]:
    began = datetime.fromtimestamp(record.began_at, UTC)
    return [
        ("flag", f"`{record.flag_key}`"),
        ("environment", record.environment),
        ("began", f"{began:%Y-%m-%d %H:%M:%S} UTC"),
        ("took", _seconds(record.seconds)),
        *record.setup.items(),
    ]


def _check_row(check: Check) -> tuple[str, str, str]:
    return MARKS[check.held], check.claim, check.found


def _decision_row(decision: Decision) -> tuple[str, str, str, str]:
    verdict = decision.verdict
    return f"{decision.at_s:+.1f} s", verdict.outcome.name, str(decision.breaches or ""), verdict.sentence


def _limits(slos: Sequence[Slo]) -> str:
    if not slos:
        return "There were no SLOs."
    return f"SLOs: {', '.join(slo.text for slo in slos)}. A figure beyond its limit is **bold**."


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
