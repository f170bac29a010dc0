"""`canary compact`: remove what was kept long enough. An application that runs does so by itself."""

from __future__ import annotations

import click

from canary_sdk.apps.session import Session, print_json, reading


@click.command()
@reading
def compact(session: Session, *, as_json: bool) -> None:
    """Remove old lines of journals and old rows of the history, as [retention] says.

    It concerns all environments. Of a rollout that is under way everything stays.
    """
    with session.canary() as canary:
        gone = canary.compact()
    if as_json:
        print_json(gone._asdict())
    else:
        click.echo(f"removed {_said(gone.journal, 'line')} of journals and {_said(gone.audit, 'row')} of the history")


def _said(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
