"""Write the tables of docs/performance.md, from what `benchmarks.run` has kept.

    python -m benchmarks.render

Each goal names the race, the path and the operation that it is a multiple of. What stands between the marks in the page
is replaced; the rest of it is prose.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

RESULTS: Final = Path(__file__).parent / "results"
PAGE: Final = Path(__file__).parent.parent / "docs" / "performance.md"
PYTHONS: Final = ("3.11", "3.13")

EVALUATION: Final = "Evaluation"
CLIENTS: Final = "Evaluation, and the clients of others"
CALLS: Final = "A decorated function, inside an open unit of work"
OWN: Final = "A decorated function, each call a unit of work of its own"
COROUTINES: Final = "A coroutine function, inside an open unit of work"
HASH: Final = "bare mmh3"
ASKED: Final = "is_enabled, 25 %"
FIRST: Final = "in a unit: is_enabled, 25 %, by context, not met before"
CLOSURE: Final = "an empty functools.wraps closure"
RECORD: Final = "What does it cost a request to be recorded?"
COUNT: Final = "What does it cost the background to count and to read?"
RAW: Final = "Middleware: Raw ASGI"
INSTRUMENTATOR: Final = "prometheus-fastapi-instrumentator"
OTEL: Final = "otel-asgi, metrics"


class Goal(NamedTuple):
    """What one path may cost: at most (or at `least`) so many times another of the same race, both `over` a third."""

    goal: str
    path: str
    of: str
    bound: float | None
    race: str
    name: str
    base: str
    over: str = ""
    least: bool = False


def added(goal: str, peer: str, share: int) -> Goal:
    """Say that what the ASGI middleware adds is so small a share of what a peer adds."""
    return Goal(
        goal, f"what {peer} adds to a raw app", "what ours adds", share, RAW, peer, "measured", "bare", least=True
    )


GOALS: Final = (
    Goal("A2", "`is_enabled(flag, key)`, 25 %", "bare `mmh3.hash`", 3.2, EVALUATION, ASKED, HASH),
    Goal("", "0 % or 100 %", "bare `mmh3.hash`", None, EVALUATION, "is_enabled, 0 %", HASH),
    Goal(
        "A2", "eppo (Rust), the fastest client of others", "`is_enabled`", 3, CLIENTS, "eppo (Rust)", ASKED, least=True
    ),
    Goal("A3", "in a unit of work, first time, by a context", "bare `mmh3.hash`", 5.5, EVALUATION, FIRST, HASH),
    Goal("A3", "again", "bare `mmh3.hash`", 5.5, EVALUATION, "in a unit: is_enabled, met before", HASH),
    Goal(
        "A4",
        "a rule, then 25 %",
        "bare `mmh3.hash`",
        6,
        EVALUATION,
        "is_enabled, a rule that does not hold, then 25 %",
        HASH,
    ),
    Goal("B2", "decorator, in a unit of work", "empty closure", 3.0, CALLS, "canary_sdk", CLOSURE),
    Goal("B2", "the same", "circuitbreaker", 0.6, CALLS, "canary_sdk", "circuitbreaker"),
    Goal("", "each call a unit of its own", "empty closure", None, OWN, "canary_sdk", CLOSURE),
    Goal("B3", "decorator, async", "empty async closure", 2.2, COROUTINES, "canary_sdk", CLOSURE),
    Goal("B3", "the same", "circuitbreaker", 0.6, COROUTINES, "canary_sdk", "circuitbreaker"),
    Goal(
        "B4",
        "the fallback while off",
        "raise and except",
        4,
        "A flag that is off, inside an open unit of work",
        "canary_sdk, off",
        "raise and except",
    ),
    Goal("C1", "`Ring.append`", "bound `deque.append`", 4.5, RECORD, "Ring.append", "bare deque.append"),
    Goal(
        "C2",
        "p50, p95 and p99 of an arm",
        "sorting 1,024 samples",
        1.3,
        COUNT,
        "p50, p95 and p99 of a sketch",
        "naive: sort 1,024 samples",
    ),
    Goal("D1", "ASGI, raw", "passthrough", 2.8, RAW, "measured", "passthrough"),
    added("D1", "prometheus-client, by hand", 3),
    added("D1", INSTRUMENTATOR, 25),
    added("D1", OTEL, 75),
    Goal("D2", "ASGI, raw, five flags", "passthrough", 4.2, RAW, "five flags", "passthrough"),
    Goal("D3", "Starlette", "passthrough", 1.2, "Middleware: Starlette", "measured", "passthrough"),
    Goal("D3", "Starlette, five flags", "passthrough", 1.32, "Middleware: Starlette", "five flags", "passthrough"),
    Goal("", "FastAPI", "passthrough", None, "Middleware: FastAPI", "measured", "passthrough"),
    Goal("", "FastAPI, five flags", "passthrough", None, "Middleware: FastAPI", "five flags", "passthrough"),
    Goal("D4", "WSGI, a list", "passthrough", 3.5, "Middleware: Raw WSGI, a list", "measured", "passthrough"),
    Goal("D4", "WSGI, a generator", "passthrough", 4.2, "Middleware: Raw WSGI, a generator", "measured", "passthrough"),
    Goal("D4", "Flask", "passthrough", 1.12, "Middleware: Flask", "measured", "passthrough"),
    Goal("D4", "Django", "passthrough", 1.12, "Middleware: Django", "measured", "passthrough"),
    Goal("E1", "in uvicorn, raw", "bare", 1.12, "In uvicorn: raw", "measured", "bare"),
    Goal("E1", "in uvicorn, Starlette", "bare", 1.10, "In uvicorn: Starlette", "measured", "bare"),
    Goal("E1", "in uvicorn, Starlette, five flags", "bare", 1.20, "In uvicorn: Starlette", "five flags", "bare"),
)
RACES: Final = {
    CLIENTS: (HASH, "clients of others"),
    CALLS: (CLOSURE, "breakers of others"),
    COROUTINES: (CLOSURE, "breakers of others, for coroutine functions"),
    RECORD: ("bare deque.append", "what others record with"),
    RAW: ("passthrough", "middleware of others, on a raw ASGI application"),
    "Middleware: Starlette": ("passthrough", "middleware of others, on Starlette"),
    "In uvicorn: Starlette": ("bare", "middleware of others, on Starlette in uvicorn"),
    "Middleware: Raw WSGI, a list": ("passthrough", "middleware of others, on a raw WSGI application"),
    "Middleware: Flask": ("passthrough", "middleware of others, on Flask"),
    "Middleware: Django": ("passthrough", "middleware of others, on Django"),
}


def races_of(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the reports of one run, by question."""
    return {each["question"].partition("\n")[0]: each for reports in result["scripts"].values() for each in reports}


def figure(goal: Goal, races: dict[str, dict[str, Any]]) -> float:
    """Return the ratio that a goal is about."""
    costs = races[goal.race]["nanoseconds"]
    over = costs[goal.over] if goal.over else 0.0
    return float((costs[goal.name] - over) / (costs[goal.base] - over))


def shown(value: float) -> str:
    """Write a ratio with as many digits as say something."""
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}" if value >= 2 else f"{value:.2f}"


def goals(runs: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """Return the table of the goals."""
    lines = [f"| goal | path | of | bound | {' | '.join(runs)} | |", f"|---|---|---|---:|{'---:|' * len(runs)}---|"]
    for goal in GOALS:
        found = [figure(goal, races) for races in runs.values()]
        bound, verdict = "", ""
        if goal.bound is not None:
            kept = [round(each, 2) >= goal.bound if goal.least else round(each, 2) <= goal.bound for each in found]
            verdict = "met" if all(kept) else "unmet" if not any(kept) else "met by one"
            bound = f"{'≥' if goal.least else '≤'} {goal.bound:g}"
        cells = " | ".join(map(shown, found))
        lines.append(f"| {goal.goal} | {goal.path} | {goal.of} | {bound} | {cells} | {verdict} |")
    return lines


def peers(runs: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """Return what others cost, a table a race."""
    lines: list[str] = []
    for question, (base, title) in RACES.items():
        first = next(iter(runs.values()))[question]
        lines += ["", f"| {title} | {' | '.join(f'{python}, ns | × {base}' for python in runs)} |"]
        lines.append(f"|---|{'---:|---:|' * len(runs)}")
        for name in first["nanoseconds"]:
            cells = []
            for races in runs.values():
                costs = races[question]["nanoseconds"]
                cells += [f"{costs[name]:,.0f}", shown(costs[name] / costs[base])] if name in costs else ["", ""]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        for python, races in runs.items():
            for name, why in races[question]["missing"].items():
                lines.append(f"\n{name} is missing on {python}: {why}")
    return lines


def others(runs: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """Return what is no race: a table a question."""
    lines: list[str] = []
    for question, report in next(iter(runs.values())).items():
        if "figures" not in report:
            continue
        units = list(next(iter(report["figures"].values())))
        lines += ["", f"| {question} | {' | '.join(f'{unit} ({python})' for python in runs for unit in units)} |"]
        lines.append(f"|---|{'---:|' * len(units) * len(runs)}")
        for name in report["figures"]:
            found = [runs[python].get(question, {}).get("figures", {}).get(name, {}) for python in runs]
            cells = [f"{each[unit]:.4g}" if unit in each else "" for each in found for unit in units]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def made_by(results: dict[str, dict[str, Any]]) -> list[str]:
    """Return when, where and of what the figures are."""
    first = next(iter(results.values()))
    pythons = " and ".join(result["python"] for result in results.values())
    versions = ", ".join(f"{name} {number}" for name, number in first["versions"].items())
    return [f"Of {first['date']}, on {first['machine']}, Python {pythons}, by `{first['command']}`, with {versions}."]


def main() -> None:
    """Replace what stands between the marks."""
    results = {python: json.loads((RESULTS / f"{python}.json").read_text()) for python in PYTHONS}
    runs = {python: races_of(result) for python, result in results.items()}
    page = PAGE.read_text()
    for mark, lines in {
        "made": made_by(results),
        "goals": goals(runs),
        "peers": peers(runs),
        "others": others(runs),
    }.items():
        head, _, rest = page.partition(f"<!-- {mark} -->\n")
        _, end, tail = rest.partition(f"<!-- /{mark} -->")
        page = f"{head}<!-- {mark} -->\n{chr(10).join(lines).strip()}\n{end}{tail}"
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
