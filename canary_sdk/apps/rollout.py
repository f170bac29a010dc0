"""The verbs of `canary rollout`: order a rollout, look where it stands, check its plan. They decide nothing.

An order is kept in the store; the application that serves the flag carries it out when it has heard, within a second.
"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from canary_sdk.apps.session import REFUSED, Session, print_json, reading, refuse, writing

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from canary_sdk import Canary
    from canary_sdk.core.rollout.state import Rollout
    from canary_sdk.errors import Problem

FILE: Final = click.Path(path_type=Path, dir_okay=False)


@click.group()
def rollout() -> None:
    """Lead a flag through the stages of its plan."""


# --- looking ---


@rollout.command()
@click.argument("flag_key", required=False)
@reading
def status(session: Session, flag_key: str | None, *, as_json: bool) -> None:
    """Show where rollouts stand. Of one flag, with the stages of its plan."""
    with session.canary() as canary:
        plans = canary.rollouts.plans()
        keys = {*plans, *canary.status().rollouts} if flag_key is None else {flag_key}
        states = {key: canary.rollouts.status(key) for key in sorted(keys)}
        if as_json:
            print_json({key: _plain(canary, state) for key, state in states.items()})
            return
        from canary_sdk.apps.tables import rollout_list, rollout_sheet, show

        at = canary.status().at
        if flag_key is None:
            show(rollout_list(states, at))
        else:
            show(rollout_sheet(states[flag_key], plans.get(flag_key), at, canary.rollouts.hosts(flag_key)))


@rollout.command()
@click.argument("flag_keys", nargs=-1, metavar="[FLAG_KEY]...")
@click.option("--file", type=FILE, help="Check what this file declares, and touch no store.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Expected requests a second that meet it.")
@click.option("--role", "roles", multiple=True, metavar="ROLE=NAME,NAME", help="Who has a role; name all there are.")
@reading
def check(
    session: Session,
    flag_keys: tuple[str, ...],
    file: Path | None,
    rate: float | None,
    roles: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Say what will not work in a plan. With --rate, also what its traffic cannot show in the time of a stage."""
    people = _people(roles)
    with _opened(session, file) as canary:
        keys = flag_keys or tuple(canary.rollouts.plans())
        if not keys:
            refuse("no flag has a plan: declare one as [flags.NAME.plan]")
        found = {key: [_say(each) for each in canary.rollouts.check(key, rate=rate, roles=people)] for key in keys}
    if as_json:
        print_json(found)
    else:
        well = "nothing stands in its way" + ("" if rate else "; what its traffic can show, --rate tells")
        for key, problems in found.items():
            click.echo("\n".join(f"{key}: {problem}" for problem in problems or [well]))
    if any(found.values()):
        sys.exit(REFUSED)


# --- ordering ---


@rollout.command()
@click.argument("flag_key")
@click.option("--at", metavar="TIME", help="Begin then, and not at once: 2026-11-24T09:00:00+01:00.")
@writing
def start(session: Session, flag_key: str, at: str | None) -> None:
    """Start the rollout of a flag. From now on its percentage is the rollout's."""
    begin_at = None if at is None else _moment(at)
    with session.canary() as canary:
        state = canary.rollouts.start(flag_key, at=begin_at, reason=session.reason)
        for problem in canary.rollouts.check(flag_key):
            click.echo(f"careful: {_say(problem)}", err=True)
        _tell(canary, state)


@rollout.command()
@click.argument("flag_key")
@writing
def pause(session: Session, flag_key: str) -> None:
    """Keep it where it is until somebody resumes it."""
    _order(session, lambda canary: canary.rollouts.pause(flag_key, reason=session.reason))


@rollout.command()
@click.argument("flag_key")
@writing
def resume(session: Session, flag_key: str) -> None:
    """Go on after a pause or a hold. The plan is followed as it is now."""
    _order(session, lambda canary: canary.rollouts.resume(flag_key, reason=session.reason))


@rollout.command()
@click.argument("flag_key")
@writing
def advance(session: Session, flag_key: str) -> None:
    """Enter the next stage now, on your word.

    Bake time, evidence, blackouts and other rollouts are not waited for. Approvals are not skipped.
    """
    _order(session, lambda canary: canary.rollouts.advance(flag_key, reason=session.reason))


@rollout.command()
@click.argument("flag_key")
@click.argument("role")
@click.option("--stage", type=click.IntRange(1), help="The stage that may be entered; the next one if not given.")
@writing
def approve(session: Session, flag_key: str, role: str, stage: int | None) -> None:
    """Agree, in a role, that a stage may be entered. Where [roles] says who has it, only they may."""
    _order(session, lambda canary: canary.rollouts.approve(flag_key, role, stage=stage, reason=session.reason))


@rollout.command()
@click.argument("flag_key")
@writing
def promote(session: Session, flag_key: str) -> None:
    """Serve everybody now, on your word. Approvals are not skipped."""
    _order(session, lambda canary: canary.rollouts.promote(flag_key, reason=session.reason))


@rollout.command()
@click.argument("flag_key")
@writing
def abort(session: Session, flag_key: str) -> None:
    """Serve nobody. That is final until it is restarted or dismissed."""
    _order(session, lambda canary: canary.rollouts.abort(flag_key, reason=session.reason))


@rollout.command()
@click.argument("flag_key")
@writing
def restart(session: Session, flag_key: str) -> None:
    """Begin again from the first stage. Approvals have to be given anew."""
    _order(session, lambda canary: canary.rollouts.restart(flag_key, reason=session.reason))


@rollout.command()
@click.argument("flag_key")
@writing
def dismiss(session: Session, flag_key: str) -> None:
    """Forget a rollout that is over. The flag's own percentage counts again."""
    _order(session, lambda canary: canary.rollouts.dismiss(flag_key, reason=session.reason))


def _order(session: Session, order: Callable[[Canary], Rollout]) -> None:
    with session.canary() as canary:
        _tell(canary, order(canary))


def _tell(canary: Canary, state: Rollout) -> None:
    """Say where it stands now, and what is served."""
    served = canary.status().flags[state.flag_key]
    percent = f"{served.flag.rollout:g} %" if served.breaker.is_serving else "nobody, as it is off"
    click.echo(f"{state.describe(canary.status().at)}\nserved in {canary.environment}: {percent}")


# --- what there is ---


def _opened(session: Session, file: Path | None) -> AbstractContextManager[Canary]:
    """Open the store, or one in memory that holds what a file declares."""
    if file is None:
        return session.canary()
    from canary_sdk.compose import operate

    canary = operate("memory:", environment=session.environment)
    canary.apply(file)
    return canary


def _say(problem: Problem) -> str:
    """Say it as people count stages, from 1; which item of a list is meant its own words tell."""
    match problem.path:
        case ("stages", index, *rest):
            field = " ".join(each for each in rest if not each.isdigit())
            return f"stage {int(index) + 1}, {field}: {problem.message}"
        case _:
            return str(problem)


def _plain(canary: Canary, state: Rollout) -> dict[str, Any]:
    flag = canary.flag(state.flag_key)
    served = flag.rollout if flag and canary.breaker(flag.key).is_serving else 0.0
    return {**state.to_dict(), "served": served, "hosts": canary.rollouts.hosts(state.flag_key)._asdict()}


def _people(roles: tuple[str, ...]) -> dict[str, list[str]] | None:
    """Read who has which role; None where nobody says so."""
    found = {}
    for text in roles:
        role, equals, names = text.partition("=")
        if not role or not equals:
            raise click.UsageError(f"found {text!r}, expected ROLE=NAME,NAME")
        found[role] = [name for each in names.split(",") if (name := each.strip())]
    return found or None


def _moment(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise click.UsageError(f"found {text!r}, expected a date and time with its offset: 2026-11-24T09:00:00+01:00")
    return found.timestamp()
