"""The picture of a drill in progress: one panel, drawn anew from values each time. Draws, and knows nothing else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from canary_sdk.apps.colours import BAD, CALM, FAINT, GOOD, WARM
from canary_sdk.core.breaker import State
from canary_sdk.core.judge.decision import Action
from canary_sdk.core.judge.slo import Metric, say_number, say_rate, say_ratio, say_seconds
from canary_sdk.core.judge.verdict import Outcome
from canary_sdk.rehearsal.engine import FAULT
from canary_sdk.rehearsal.result import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from canary_sdk.core.judge.decision import Decision
    from canary_sdk.core.judge.slo import Slo
    from canary_sdk.core.judge.tally import Tally
    from canary_sdk.rehearsal.engine import Progress
    from canary_sdk.rehearsal.result import Moment

ICONS: Final = {
    Kind.STEP: Text("●", style=CALM),
    Kind.FAULT: Text("▲", style=WARM),
    Kind.TRIP: Text("■", style=BAD),
    Kind.RECOVERY: Text("✔", style=GOOD),
    Kind.TROUBLE: Text("!", style=WARM),
}
OUTCOMES: Final = {
    Outcome.PASS: GOOD,
    Outcome.ACCEPTABLE: WARM,
    Outcome.INCONCLUSIVE: FAINT,
    Outcome.BREACH: BAD,
}
STATES: Final = {State.CLOSED: "bold green", State.OPEN: "bold white on red", State.HALF_OPEN: "bold black on yellow"}

ACTIONS: Final = {Action.CONTINUE: GOOD, Action.HOLD: WARM, Action.ROLLBACK: BAD}

UNKNOWN: Final = "–"
BARS: Final = "▁▂▃▄▅▆▇█"
LOWEST_S: Final = 0.005
HIGHEST_S: Final = 2.0
"""The trace is logarithmic between these."""
BREACHES: Final = 3
"""So many in a row trip, in the demo's settings."""
EVIDENCE: Final = 20
"""Boxes of the evidence."""
FIXED_LINES: Final = 20
"""Lines of the panel that are always there, and one for the cursor."""
FRAME: Final = 24
"""Columns beside the trace: frame, padding and its name."""

Trace = list[tuple[float | None, float | None]]
"""The 95th percentile of baseline and candidate, second by second."""


def view(progress: Progress, trace: Trace, url: str, size: tuple[int, int]) -> Panel:
    """Draw the panel for a terminal of so many columns and lines."""
    width, height = size
    body: list[RenderableType] = [
        Text(),
        _road(progress),
        Text(),
        _arms(progress),
        Text(),
        *_traces(progress, trace[-((width - FRAME) // 2) :]),
        Text(),
        _breaker(progress),
        _judge(progress),
        Text(),
        _timeline(progress.moments, max(3, height - FIXED_LINES)),
    ]
    return Panel(
        Group(*body),
        title=_title(progress),
        subtitle=Text(f" {url} ", style=FAINT),
        border_style=_mood(progress),
        box=box.ROUNDED,
        padding=(0, 2),
    )


def served_baseline(progress: Progress) -> Tally:
    """Return what is served the baseline: the arm, or while the flag is off everybody."""
    return max(progress.flag.baseline, progress.flag.apart, key=lambda tally: tally.requests)


def _mood(progress: Progress) -> str:
    if progress.times.recovered is not None:
        return GOOD
    return "red" if progress.times.fault_on is not None else CALM


def _title(progress: Progress) -> Text:
    flag = progress.flag
    share = f"{flag.flag.rollout:g} %" if flag.breaker.is_serving else "off"
    seconds = f"{max(0.0, progress.seconds):.0f} s"
    return Text.from_markup(f" [bold]canary demo[/] · [{CALM}]{flag.flag.key}[/] · [bold]{share}[/] · {seconds} ")


# --- the road: one stretch a phase ---


def _road(progress: Progress) -> Table:
    road = Table.grid(padding=(0, 1), expand=True)
    for _ in progress.names:
        road.add_column(ratio=1)
    road.add_row(*(_stretch(progress, index) for index in range(len(progress.names))))
    road.add_row(*(_label(progress, index) for index in range(len(progress.names))))
    return road


def _stretch(progress: Progress, index: int) -> Table | RenderableType:
    from rich.progress_bar import ProgressBar

    done = 1.0 if index < progress.current else progress.fraction if index == progress.current else 0.0
    colour = _colour(progress, index)
    return ProgressBar(total=1.0, completed=min(1.0, done), style=FAINT, complete_style=colour, finished_style=colour)


def _label(progress: Progress, index: int) -> Text:
    name = progress.names[index]
    if index < progress.current:
        return Text(f"✔ {name}", style=GOOD)
    return Text(name, style=f"bold {_colour(progress, index)}" if index == progress.current else FAINT)


def _colour(progress: Progress, index: int) -> str:
    if index < progress.current:
        return GOOD
    return "red" if progress.names[index] == FAULT else CALM


# --- the arms ---


def _arms(progress: Progress) -> Table:
    table = Table(box=None, expand=True, padding=(0, 1), header_style=FAINT)
    for title in ("", "baseline", "candidate", "clients", "limit"):
        table.add_column(title, justify="right" if title else "left", ratio=1)
    tallies = (served_baseline(progress), progress.flag.candidate, progress.clients)
    for slo in progress.flag.flag.slos:
        table.add_row(slo.name, *(_figure(slo, tally) for tally in tallies), _limit(slo))
    return table


def _figure(slo: Slo, tally: Tally) -> Text:
    figure = figure_of(slo, tally)
    if figure is None:
        return Text(UNKNOWN, style=FAINT)
    is_bad = slo.metric is not Metric.THROUGHPUT and figure > slo.limit
    return Text(slo.say(figure), style=BAD if is_bad else "")


def figure_of(slo: Slo, tally: Tally) -> float | None:
    """Return what an arm did for this SLO, in its own unit; None when it is not known."""
    if not tally.requests:
        return None
    match slo.metric:
        case Metric.LATENCY:
            return tally.quantiles.get(slo.quantile or 0.0)
        case Metric.ERRORS | Metric.INDICATOR:
            return tally.error_rate
        case Metric.THROUGHPUT:
            return tally.rate


def _limit(slo: Slo) -> Text:
    return Text(slo.text.removeprefix(slo.name).strip(), style=FAINT)


# --- the trace ---


def _traces(progress: Progress, trace: Trace) -> list[RenderableType]:
    limit = next((slo.limit for slo in progress.flag.flag.slos if slo.quantile == 0.95), math.inf)
    names = ("p95 baseline   ", "p95 candidate  ")
    return [
        Text.assemble((name, FAINT), *(_bar(pair[side], limit) for pair in trace)) for side, name in enumerate(names)
    ]


def _bar(seconds: float | None, limit: float) -> tuple[str, str]:
    if seconds is None:
        return "  ", ""
    height = math.log(max(seconds, LOWEST_S) / LOWEST_S) / math.log(HIGHEST_S / LOWEST_S)
    return BARS[min(len(BARS) - 1, int(height * len(BARS)))] * 2, "red" if seconds > limit else GOOD


# --- what the library thinks ---


def _breaker(progress: Progress) -> Text:
    breaker = progress.flag.breaker
    line = Text.assemble(("breaker  ", FAINT), (f" {breaker.state} ", STATES[breaker.state]), "  ")
    if not breaker.is_serving:
        return line.append("nobody is served the candidate", style="bold")
    decision = _decision(progress)
    if decision is not None:
        return line.append_text(_strength(decision))
    boxes = ("■ " * breaker.breaches, "red"), ("□ " * (BREACHES - breaker.breaches), FAINT)
    return line.append_text(Text.assemble(*boxes, (f"{breaker.breaches} breaches in a row", FAINT)))


def _decision(progress: Progress) -> Decision | None:
    return progress.flag.heard.decision if progress.flag.heard is not None else None


def _strength(decision: Decision) -> Text:
    """Draw how far the evidence has come, on a scale from a hundredth to what it takes."""
    lowest = -decision.needed
    done = min(max((decision.log_e - lowest) / (decision.needed - lowest), 0.0), 1.0)
    full = round(done * EVIDENCE)
    odds = f"evidence {say_number(math.exp(max(lowest, min(decision.log_e, decision.needed))))} of "
    return Text.assemble(
        ("■" * full, "red"),
        ("□" * (EVIDENCE - full), FAINT),
        (f"  {odds}{say_number(math.exp(decision.needed))}", FAINT),
    )


def _judge(progress: Progress) -> Text:
    verdict, decision = progress.flag.verdict, _decision(progress)
    found: tuple[tuple[str, str], ...]
    if decision is not None:
        found = (decision.action, ACTIONS[decision.action]), (f"  {decision.sentence}", FAINT)
    elif verdict is not None:
        found = (verdict.outcome.name, OUTCOMES[verdict.outcome]), (f"  {verdict.sentence}", FAINT)
    else:
        return Text.assemble(("judge    ", FAINT), ("nothing to judge before the release", FAINT))
    line = Text.assemble(("judge    ", FAINT), *found)
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _timeline(moments: Sequence[Moment], lines: int) -> Table:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(justify="right", style=FAINT, width=7)
    table.add_column(width=1)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for moment in list(moments)[-lines:]:
        table.add_row(f"{moment.at:.1f} s", ICONS[moment.kind], Text(moment.sentence, style=_weight(moment.kind)))
    return table


def _weight(kind: Kind) -> str:
    return "bold" if kind in (Kind.TRIP, Kind.RECOVERY) else ""


def figures(tally: Tally) -> str:
    """Say one arm in one line."""
    if not tally.requests:
        return UNKNOWN
    p95 = tally.quantiles.get(0.95)
    latency = UNKNOWN if p95 is None else say_seconds(p95)
    return f"p95 {latency}, {say_ratio(tally.error_rate)} errors, {say_rate(tally.rate)}"
