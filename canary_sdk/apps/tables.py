"""How stored flags, their history and their state look in a terminal: values in, what rich draws out.

What people wrote is drawn as it is, never as markup.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from canary_sdk.apps.colours import BAD, CALM, FAINT, GOOD, WARM
from canary_sdk.core.breaker import State
from canary_sdk.core.config.fields import ENVIRONMENTS, say_field
from canary_sdk.core.judge.slo import say_seconds
from canary_sdk.core.rollout.state import Status as Standing
from canary_sdk.ports import Action

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from canary_sdk.core.breaker import Breaker
    from canary_sdk.core.config.fields import Difference, Fields
    from canary_sdk.core.plan import Plan
    from canary_sdk.core.rollout.state import Rollout
    from canary_sdk.ports import HistoryRow, StoredFlag
    from canary_sdk.runtime.status import FlagStatus, Hosts, Status

PLAIN_COLUMNS: Final = 200
"""How wide a table may be where nobody looks at a terminal: nothing is cut off for a pipe."""
NOTHING: Final = "–"
ARROW: Final = " → "

ACTIONS: Final = {
    Action.CREATED: GOOD,
    Action.CHANGED: "",
    Action.DELETED: WARM,
    Action.KILLED: BAD,
    Action.RELEASED: GOOD,
    Action.TRIPPED: BAD,
    Action.PROBED: WARM,
    Action.RECOVERED: GOOD,
    Action.RESET: GOOD,
}


def show(*parts: RenderableType) -> None:
    """Write to the terminal, or plainly to whatever stands in its place."""
    console = Console(highlight=False, emoji=False)
    if console.is_terminal:
        console.print(Text(), *parts, Text(), sep="\n")
    else:
        console.width = PLAIN_COLUMNS
        console.print(*parts, sep="\n")


# --- flags ---


def flag_list(flags: Mapping[str, StoredFlag], status: Status) -> RenderableType:
    """Draw a line for each flag, as it is served in one environment."""
    if not flags:
        return Text("There are no flags in this store.", style=FAINT)
    table = _table("flag", "state", "type", "environments", "changed since declared", "revision", "description")
    for key, flag in flags.items():
        table.add_row(
            Text(key, style="bold"),
            Text("✘ damaged", style=BAD) if flag.damaged else _state(status.flags.get(key)),
            str(flag.fields.get("type", "boolean")),
            Text(", ".join(flag.fields.get(ENVIRONMENTS, {})) or NOTHING, style=FAINT),
            _drift(flag.drift),
            str(flag.revision),
            Text(str(flag.fields.get("description", ""))),
        )
    return table


def flag_sheet(flag: StoredFlag, status: Status, rows: Sequence[HistoryRow]) -> RenderableType:
    """Draw everything of one flag: its state, its fields everywhere, what was changed, and by whom lately."""
    title = Text.assemble((flag.key, "bold"), ("  revision ", FAINT), str(flag.revision))
    description = Text(str(flag.fields.get("description", "")), style="italic")
    here = status.flags.get(flag.key)
    state = Text.assemble((f"{status.environment}  ", FAINT), _state(here))
    parts: list[RenderableType] = [title, *([description] if description else []), Text(), state]
    parts += [Text(line, style=BAD) for line in _held(here.breaker if here else None, status.at)]
    parts += [Text(), _fields(flag)]
    if rows:
        parts += [Text(), history_table(rows)]
    return Group(*parts)


def _fields(flag: StoredFlag) -> Table:
    """Draw the fields, a column for each environment that overrides any, and one for what was declared otherwise."""
    environments: Mapping[str, Fields] = flag.fields.get(ENVIRONMENTS, {})
    declared = {each.path: each for each in flag.drift}
    own = {path[-1] for path in declared}
    names = sorted((flag.fields.keys() - {ENVIRONMENTS, "description"}).union(own, *environments.values()))
    table = _table("field", "everywhere", *environments, *(["declared"] if declared else []))
    for name in names:
        others = [Text.assemble(*_cell(overrides.get(name))) for overrides in environments.values()]
        was = [_declared(declared.values(), name)] if declared else []
        table.add_row(name, Text.assemble(*_cell(flag.fields.get(name))), *others, *was)
    return table


def _declared(drift: Iterable[Difference], name: str) -> Text:
    """Say what was declared where something else holds."""
    said = [f"{each.environment} {say_field(each.before)}".strip() for each in drift if each.path[-1] == name]
    return Text(", ".join(said), style=WARM)


def _cell(value: object) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ((NOTHING, FAINT),)
    lines = [say_field(each) for each in value] if isinstance(value, list) and value else [say_field(value)]
    return (("\n".join(lines), ""),)


def _drift(drift: Sequence[Difference]) -> Text:
    return Text(", ".join(each.name for each in drift) or NOTHING, style=WARM if drift else FAINT)


# --- state ---


def _state(flag: FlagStatus | None) -> Text:
    """Say in a word or two what is served."""
    if flag is None:
        return Text(NOTHING, style=FAINT)
    if not flag.breaker.is_serving:
        return Text("■ killed" if flag.breaker.killed else "■ tripped", style=BAD)
    if flag.breaker.state is State.HALF_OPEN:
        return Text("◐ probing", style=WARM)
    if not flag.flag.enabled:
        return Text("○ disabled", style=FAINT)
    share = f"{flag.flag.rollout:g} %"
    return Text(f"● {share}", style=GOOD) if flag.flag.rollout else Text(f"○ {share}", style=FAINT)


def _held(breaker: Breaker | None, at: float) -> list[str]:
    """Say what holds a flag off, since when and why."""
    if breaker is None:
        return []
    lines = []
    if breaker.killed:
        lines.append(f"killed{_since(breaker.killed_at, at)}: {breaker.kill_reason or 'no reason given'}")
    if breaker.state is not State.CLOSED:
        lines.append(f"tripped{_since(breaker.tripped_at, at)}: {breaker.reason or 'no reason known'}")
    return lines


def _since(then: float | None, at: float) -> str:
    return "" if then is None else f" {say_seconds(max(at - then, 0.0))} ago, at {when(then)}"


def status_view(status: Status, store: str) -> RenderableType:
    """Draw the state of an environment: what is off comes first, with the reason."""
    where = f"  {store}  version {status.version}"
    facts = Text.assemble((status.environment, "bold"), (where, FAINT))
    troubles = [Text(f"! {words}", style=WARM) for words in (status.stale, status.private) if words]
    table = _table("flag", "state", "why")
    for key, flag in sorted(status.flags.items(), key=lambda each: (each[1].breaker.is_serving, each[0])):
        why = Text("\n".join(_held(flag.breaker, status.at)) or flag.flag.metadata.description, style="")
        table.add_row(Text(key, style="bold"), _state(flag), why)
    body = table if status.flags else Text("There are no flags in this store.", style=FAINT)
    return Group(facts, *troubles, Text(), body)


# --- rollouts ---

STATUSES: Final = {
    Standing.IDLE: ("○", FAINT),
    Standing.SCHEDULED: ("◷", CALM),
    Standing.RUNNING: ("▶", GOOD),
    Standing.HELD: ("◼", WARM),
    Standing.PAUSED: ("‖", WARM),
    Standing.PROMOTED: ("✔", GOOD),
    Standing.ABORTED: ("✘", BAD),
}


def rollout_list(states: Mapping[str, Rollout], at: float) -> RenderableType:
    """Draw a line for each rollout: what needs a person comes first."""
    if not states:
        return Text("No flag has a plan here.", style=FAINT)
    table = _table("flag", "rollout", "stage", "percent", "baked", "why")
    urgency = list(Standing)[::-1]
    for key, state in sorted(states.items(), key=lambda each: (urgency.index(each[1].status), each[0])):
        table.add_row(Text(key, style="bold"), _standing(state), *_progress(state, at), Text(state.reason))
    return table


def rollout_sheet(state: Rollout, plan: Plan | None, at: float, hosts: Hosts) -> RenderableType:
    """Draw one rollout: where it stands, whose traffic is judged, each stage of its plan, and who agreed to what."""
    parts: list[RenderableType] = [Text.assemble((state.flag_key, "bold"), "  ", _standing(state))]
    told = "not started yet" if state.status is Standing.IDLE and not state.reason else state.describe(at)
    parts += [Text(told.removeprefix(f"{state.flag_key} "))]
    parts += [Text(f"started by {state.started}, {when(state.started.at)}", style=FAINT)] if state.started else []
    parts += [Text(f"moved by {state.controller}", style=FAINT)] if state.controller else []
    parts += [Text(f"judged together: {', '.join(hosts.heard)}", style=FAINT)] if len(hosts.heard) > 1 else []
    parts += [Text(f"STALE: {name} has told nothing lately, and is not counted", style=BAD) for name in hosts.stale]
    if plan is None:
        return Group(*parts, Text("It has no plan any more.", style=BAD))
    parts += [Text(terms, style=FAINT)] if (terms := "; ".join(_terms(plan))) else []
    table = _table("stage", "percent", "bake", "SLOs", "only hold", "approval")
    for number, stage in enumerate(plan.stages, start=1):
        table.add_row(
            Text.assemble(("▶ " if number == state.stage else "  ", GOOD), str(number)),
            f"{plan.percent(number):g} %",
            say_seconds(stage.bake_s) + (f"\ndeadline {say_seconds(stage.deadline_s)}" if stage.deadline_s else ""),
            Text("\n".join(slo.text for slo in stage.slos) or "the flag's own", style="" if stage.slos else FAINT),
            Text("\n".join(slo.text for slo in stage.soft) or NOTHING),
            _approval(state, plan, number),
        )
    return Group(*parts, Text(), table)


def _terms(plan: Plan) -> Iterator[str]:
    """Say what the plan asks for besides its stages."""
    if plan.baseline_s:
        yield f"measures the baseline for {say_seconds(plan.baseline_s)} first"
    if plan.warmup_s:
        yield f"warm-up {say_seconds(plan.warmup_s)}"
    if plan.holdback:
        yield f"{plan.holdback:g} % stay on the baseline until the promotion"
    if plan.four_eyes:
        yield "who starts it approves nothing"
    if plan.parallel is not None:
        yield f"begins while {'no' if plan.parallel == 1 else f'fewer than {plan.parallel}'} others are under way"
    if plan.blackout:
        yield f"blackout {', '.join(window.text for window in plan.blackout)}"
    if plan.watch_s:
        yield f"watched for {say_seconds(plan.watch_s)} after the promotion"


def _standing(state: Rollout) -> Text:
    mark, style = STATUSES[state.status]
    return Text(f"{mark} {state.status.lower()}", style=style)


def _progress(state: Rollout, at: float) -> tuple[str, str, str]:
    """Say which stage it is in, what that serves, and how far it is."""
    if state.status is Standing.SCHEDULED and state.start_at > at:
        return NOTHING, NOTHING, f"starts in {say_seconds(state.start_at - at)}"
    if state.status in {Standing.IDLE, Standing.SCHEDULED}:
        return NOTHING, NOTHING, NOTHING
    baked = f"{say_seconds(state.baked_s)} of {say_seconds(state.bake_s)}" if state.status in UNDER_WAY else NOTHING
    return f"{min(state.stage, state.stages)} of {state.stages}", f"{state.percent:g} %", baked


UNDER_WAY: Final = frozenset({Standing.RUNNING, Standing.HELD, Standing.PAUSED})


def _approval(state: Rollout, plan: Plan, stage: int) -> Text:
    """Say of each role who has agreed, and when."""
    agreed = {each.role: f"{each.by}, {when(each.by.at)}" for each in state.approvals if each.stage == stage}
    lines = [
        Text(f"✔ {role}, {agreed[role]}", style=GOOD) if role in agreed else Text(f"· {role}", style=WARM)
        for role in plan.roles(stage)
    ]
    return Text("\n").join(lines) if lines else Text(NOTHING, style=FAINT)


# --- history ---


def history_table(rows: Iterable[HistoryRow]) -> RenderableType:
    """Draw changes, newest first; the number is what `undo` asks for."""
    table = _table("change", "when", "who", "flag", "where", "what", "why")
    table.columns[0].justify = "right"
    for row in rows:
        table.add_row(
            Text(str(row.id), style=CALM),
            Text(when(row.at), style=FAINT),
            Text(row.actor),
            Text(row.name, style="bold"),
            Text(row.environment or NOTHING, style="" if row.environment else FAINT),
            _what(row),
            Text(row.reason, style="italic"),
        )
    return table if table.row_count else Text("Nothing has happened yet.", style=FAINT)


def _what(row: HistoryRow) -> Text:
    """Draw each difference on a line of its own; where a flag came or went, that is enough."""
    if row.action is not Action.CHANGED or not row.differences:
        return Text(row.sentence, style=ACTIONS[row.action])
    return Text("\n").join(
        Text.assemble(
            f"{each.path[-1]} ", (say_field(each.before), FAINT), (ARROW, FAINT), (say_field(each.after), CALM)
        )
        for each in row.differences
    )


def when(at: float) -> str:
    """Write a wall time as this machine's people read it."""
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style=FAINT, pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table
