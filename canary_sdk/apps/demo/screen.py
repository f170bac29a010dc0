"""What a person sees of a drill: a live panel in a terminal, plain lines everywhere else. Decides nothing."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Final, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from canary_sdk.apps.colours import BAD, FAINT, GOOD, WARM
from canary_sdk.apps.demo.view import Trace, figures, served_baseline, view
from canary_sdk.core.judge.slo import say_seconds
from canary_sdk.evidence.record import Conclusion

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from canary_sdk.evidence.record import Check, Record
    from canary_sdk.rehearsal.engine import Observer, Progress

REFRESH_S: Final = 0.25
FIGURES_S: Final = 5.0
"""How often plain lines tell the figures."""
PICTURE: Final = (104, 36)
"""Columns and lines of the picture."""

MARKS: Final = {True: ("✔", GOOD), False: ("✘", BAD), None: ("?", WARM)}
CONCLUSIONS: Final = {
    Conclusion.PASSED: "bold white on green",
    Conclusion.FAILED: "bold white on red",
    Conclusion.INCONCLUSIVE: "bold black on yellow",
}


class Screen(Protocol):
    """Shows a drill while it runs, and what came of it."""

    def watch(self, progress: Progress) -> None:
        """Show how far it is."""

    def say(self, sentence: str) -> None:
        """Tell something that is no part of the drill."""

    def conclude(self, record: Record, written: Sequence[Path]) -> None:
        """Show what came of it."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it should be."""


def screen_for(console: Console, url: str) -> Screen:
    """Return the live panel where there is a terminal that can show it, plain lines elsewhere."""
    is_live = console.file.isatty() and console.is_terminal and not console.is_dumb_terminal
    return LiveScreen(console, url) if is_live else PlainScreen(console, url)


class LiveScreen:
    """One panel, drawn a few times a second; the last one stays."""

    def __init__(self, console: Console, url: str) -> None:
        """Show nothing yet."""
        self._console = console
        self._url = url
        self._trace: Trace = []
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        self._shown = -1.0

    def watch(self, progress: Progress) -> None:
        """Draw it anew, if the last drawing is old enough."""
        extend(self._trace, progress)
        if progress.is_over or not 0 <= progress.seconds - self._shown < REFRESH_S:
            self._shown = progress.seconds
            self._live.update(view(progress, self._trace, self._url, self._console.size), refresh=True)

    def say(self, sentence: str) -> None:
        """Say it above the panel."""
        self._console.print(Text(sentence, style=FAINT))

    def conclude(self, record: Record, written: Sequence[Path]) -> None:
        """Say what came of it below the panel."""
        self._console.print(conclusion(record, written))

    def __enter__(self) -> Self:
        """Take the terminal."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        self._live.stop()


class PlainScreen:
    """One line a moment, without control codes: for a log."""

    def __init__(self, console: Console, url: str) -> None:
        """Say nothing yet."""
        self._console = console
        self._url = url
        self._told: set[tuple[float, str]] = set()
        self._due = 0.0

    def watch(self, progress: Progress) -> None:
        """Tell what is new, and the figures now and then."""
        for moment in progress.moments:
            if (moment.at, moment.sentence) not in self._told:
                self._told.add((moment.at, moment.sentence))
                self._line(moment.at, f"{moment.kind:<9}{moment.sentence}")
        if progress.seconds >= self._due:
            self._due = progress.seconds + FIGURES_S
            self._line(progress.seconds, f"{'figures':<9}{_arms(progress)}")

    def say(self, sentence: str) -> None:
        """Say it."""
        self._print(sentence)

    def conclude(self, record: Record, written: Sequence[Path]) -> None:
        """Say what came of it."""
        for check in record.checks:
            self._print(f"{MARKS[check.held][0]} {check.claim}: {check.found}")
        self._print(f"{record.conclusion} {_took(record)}".rstrip())
        self._print(_where(written))

    def __enter__(self) -> Self:
        """Say where it is."""
        self._print(f"the shop answers at {self._url}")
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def _line(self, at: float, sentence: str) -> None:
        self._print(f"{at:6.1f} s  {sentence}")

    def _print(self, line: str) -> None:
        print(line, file=self._console.file, flush=True)


class Picture:
    """Keeps one frame of the panel as SVG: of the moment of the trip, or the last one if there was none."""

    def __init__(self, url: str) -> None:
        """Draw nothing yet."""
        self._url = url
        self._trace: Trace = []
        self._progress: Progress | None = None

    def watch(self, progress: Progress) -> None:
        """Keep this frame, unless a better one was kept."""
        if self._progress is None or self._progress.times.tripped is None:
            extend(self._trace, progress)
            self._progress = progress

    def write(self, path: Path) -> tuple[Path, ...]:
        """Write the frame that was kept, and return where. Raises `OSError`."""
        if self._progress is None:
            return ()
        columns, lines = PICTURE
        console = Console(record=True, width=columns, height=lines, file=io.StringIO(), force_terminal=True)
        console.print(view(self._progress, self._trace, self._url, PICTURE))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(without_links(console.export_svg(title="canary demo")), encoding="utf-8")
        return (path,)


class Audience:
    """Several observers as one."""

    def __init__(self, *observers: Observer) -> None:
        """Gather them."""
        self._observers = observers

    def watch(self, progress: Progress) -> None:
        """Show it to each."""
        for observer in self._observers:
            observer.watch(progress)


def extend(trace: Trace, progress: Progress) -> None:
    """Add the present 95th percentiles to the trace once a second."""
    if progress.seconds > len(trace) + 1:
        arms = (served_baseline(progress), progress.flag.candidate)
        baseline, candidate = (tally.quantiles.get(0.95) for tally in arms)
        trace.append((baseline, candidate))


def conclusion(record: Record, written: Sequence[Path]) -> Table:
    """Draw the checks, the conclusion, and where the report is."""
    table = Table.grid(padding=(0, 1))
    table.add_row()
    for check in record.checks:
        mark, style = MARKS[check.held]
        table.add_row(Text(mark, style=style), _check(check))
    table.add_row()
    badge = Text(f" {record.conclusion} ", style=CONCLUSIONS[record.conclusion])
    table.add_row("", badge.append_text(Text(f"  {_took(record)}", style="bold")))
    table.add_row("", Text(_where(written), style=FAINT))
    return table


def _took(record: Record) -> str:
    """Say how long it took, where it came to an end."""
    known = ((each.name, each.seconds) for each in record.durations)
    return ", ".join(f"{say_seconds(seconds)} {name}" for name, seconds in known if seconds is not None)


def without_links(svg: str) -> str:
    """Return a picture that asks no other host for anything: fonts are taken from the reader's own."""
    return re.sub(r"@font-face\s*{[^}]*}|<!--.*?-->", "", svg, flags=re.DOTALL)


def _check(check: Check) -> Text:
    return Text.assemble(check.claim, ("  ", ""), (check.found, FAINT))


def _arms(progress: Progress) -> str:
    breaker = progress.flag.breaker
    return (
        f"baseline {figures(served_baseline(progress))} | candidate {figures(progress.flag.candidate)} | "
        f"breaker {breaker.state}, {breaker.breaches} breaches in a row"
    )


def _where(written: Sequence[Path]) -> str:
    return f"Report: {', '.join(map(str, written))}"
