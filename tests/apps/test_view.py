"""What is drawn: it fits the terminal, tells the figures, and asks nobody else for anything."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from canary_sdk.apps.demo.screen import LiveScreen, Picture, PlainScreen, extend, screen_for, without_links
from canary_sdk.apps.demo.view import Trace, view
from canary_sdk.core.breaker import Breaker, State
from canary_sdk.core.flags.flag import Flag
from canary_sdk.core.judge.decision import Action, Decision
from canary_sdk.core.judge.evalues import Pair
from canary_sdk.core.judge.slo import parse_slo
from canary_sdk.core.judge.tally import EMPTY, Tally
from canary_sdk.core.rollout.grounds import Standing
from canary_sdk.rehearsal.engine import Progress, names_of
from canary_sdk.rehearsal.fault import parse_fault
from canary_sdk.rehearsal.result import Kind, Moment, Plan, Times
from canary_sdk.runtime.opinion import Heard
from canary_sdk.runtime.status import FlagStatus

if TYPE_CHECKING:
    from pathlib import Path

SLOS = tuple(map(parse_slo, ("p50 < 100ms", "p95 < 250ms", "p99 < 600ms", "errors < 1.5%", "throughput > 50/s")))
PLAN = Plan(flag_key="new-checkout", settings={}, stages=((0, 8), (25, 7)), fault=parse_fault("latency=800ms@50%"))
FINE = Tally(150, 0, 0, 1.0, quantiles={0.5: 0.012, 0.95: 0.018, 0.99: 0.02})
SLOW = Tally(50, 0, 0, 1.0, quantiles={0.5: 0.014, 0.95: 0.817, 0.99: 0.822})
URL = "http://127.0.0.1:8000"
MOMENTS = tuple(Moment(float(second), Kind.STEP, f"moment {second} " + "long " * 40) for second in range(30))


def a_progress(
    state: State = State.CLOSED, candidate: Tally = FINE, seconds: float = 20.0, tripped: float | None = None
) -> Progress:
    """A drill half way, well, but for what is said."""
    breaker = Breaker("new-checkout", state=state)
    flag = Flag(key="new-checkout", rollout=25.0, slos=SLOS)
    return Progress(
        plan=PLAN,
        names=names_of(PLAN),
        current=2,
        fraction=0.5,
        seconds=seconds,
        flag=FlagStatus(flag, breaker, None, candidate, FINE, EMPTY),
        breaches=0,
        clients=FINE,
        moments=MOMENTS,
        times=Times(began=100.0, tripped=tripped),
    )


def drawn(progress: Progress, width: int, height: int, trace: Trace | None = None) -> list[str]:
    """Draw it, and return the lines without the blanks at their ends."""
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=False)
    with console.capture() as capture:
        console.print(view(progress, trace or [(0.02, 0.02)] * 200, URL, (width, height)))
    return capture.get().splitlines()


@pytest.mark.parametrize("size", [(80, 24), (110, 40), (200, 60)])
@pytest.mark.parametrize("state", list(State))
def test_the_panel_fits_the_terminal(size: tuple[int, int], state: State) -> None:
    """However many moments there were and however long they are, it is no higher than the terminal, and no wider."""
    lines = drawn(a_progress(state), *size)
    assert len(lines) <= size[1]
    assert {len(line) for line in lines} == {size[0]}
    assert "moment 29" in "\n".join(lines), "the newest moment is always there"


def test_both_arms_stand_beside_their_limits() -> None:
    """A line an SLO: baseline, candidate, clients, limit."""
    lines = drawn(a_progress(candidate=SLOW), 110, 40)
    (p95,) = (line for line in lines if line.strip("│ ").startswith("p95 ") and "ms" in line)
    assert p95.strip("│ ").split() == ["p95", "18", "ms", "817", "ms", "18", "ms", "<", "250ms"]


def test_what_is_not_known_is_a_dash() -> None:
    """An arm without requests has no figures, not zeros."""
    lines = drawn(a_progress(candidate=EMPTY), 110, 40)
    (errors,) = (line for line in lines if line.strip("│ ").startswith("errors"))
    assert errors.split() == ["│", "errors", "0", "%", "–", "0", "%", "<", "1.5%", "│"]


def test_an_open_breaker_says_what_it_means() -> None:
    """A reader need not know the word."""
    assert any("OPEN" in line and "nobody is served" in line for line in drawn(a_progress(State.OPEN), 80, 24))


def test_the_trace_rises_with_the_latency() -> None:
    """A slow second is higher than a fast one, and an arm without requests leaves a gap."""
    lines = drawn(a_progress(), 80, 24, [(0.02, None), (0.02, 0.8)])
    (candidate,) = (line for line in lines if "p95 candidate" in line)
    (baseline,) = (line for line in lines if "p95 baseline" in line)
    assert candidate.rstrip("│ ").endswith("candidate    ▇▇")
    assert baseline.rstrip("│ ").endswith("▂▂▂▂")


def test_the_trace_grows_once_a_second() -> None:
    """However often it is looked at."""
    trace: Trace = []
    for tenth in range(51):
        extend(trace, a_progress(seconds=tenth / 10))
    assert trace == [(0.018, 0.018)] * 4


def test_plain_lines_tell_a_moment_once() -> None:
    """A log has every moment, once, and the figures now and then."""
    told = io.StringIO()
    with PlainScreen(Console(file=told), URL) as screen:
        for tenth in range(100):
            screen.watch(a_progress(seconds=tenth / 10))
    lines = told.getvalue().splitlines()
    assert sum("moment 7 " in line for line in lines) == 1
    assert sum("figures" in line for line in lines) == 2


def test_only_a_terminal_gets_the_live_panel() -> None:
    """A file, a pipe, a dumb terminal, and colours that were forced upon a pipe all get plain lines."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert isinstance(screen_for(Console(file=Terminal(), _environ={"TERM": "xterm"}), URL), LiveScreen)
    assert isinstance(screen_for(Console(file=Terminal(), _environ={"TERM": "dumb"}), URL), PlainScreen)
    assert isinstance(screen_for(Console(file=io.StringIO(), force_terminal=True), URL), PlainScreen)


def test_the_picture_is_of_the_trip(tmp_path: Path) -> None:
    """The first frame with the trip is kept, whatever comes after; the picture names no other host."""
    picture = Picture(URL)
    picture.watch(a_progress())
    picture.watch(a_progress(State.OPEN, SLOW, tripped=120.0))
    picture.watch(a_progress(State.CLOSED, tripped=120.0))
    (path,) = picture.write(tmp_path / "deep" / "demo.svg")
    svg = path.read_text(encoding="utf-8")
    assert "OPEN" in svg
    assert "font-face" not in svg
    assert without_links(svg) == svg


def test_no_frame_is_no_picture(tmp_path: Path) -> None:
    """Where nothing was ever shown nothing is written."""
    assert Picture(URL).write(tmp_path / "demo.svg") == ()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("log_e", "boxes"), [(-1e300, 0), (0.0, 10), (4.6, 20), (20.0, 20)])
def test_the_evidence_grows_towards_what_it_takes(log_e: float, boxes: int) -> None:
    """While the sequential judge is heard, its word and how far its evidence has come are shown."""
    decision = Decision(
        action=Action.CONTINUE,
        stream="p95",
        log_e=log_e,
        needed=math.log(100),
        candidate=Pair(3, 50),
        baseline=Pair(1, 150),
        seconds=4.0,
        limit="p95 < 250ms",
    )
    progress = a_progress()
    heard = replace(progress.flag, heard=Heard(decision, Standing.GOOD, None, ""))
    lines = drawn(replace(progress, flag=heard), 110, 40)
    (breaker,) = (line for line in lines if "CLOSED" in line)
    assert (breaker.count("■"), breaker.count("□")) == (boxes, 20 - boxes)
    assert any("CONTINUE  nothing speaks against the candidate" in line for line in lines)
