"""`canary report`: the evidence of a rollout, drawn from its journal. It decides nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from canary_sdk.apps.session import Session, reading, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from canary_sdk import Canary
    from canary_sdk.evidence.record import Record
    from canary_sdk.ports import JournalEntry

ENDINGS: Final = (".md", ".html", ".json")


@click.command()
@click.argument("flag_key")
@click.option("--attempt", type=click.IntRange(1), help="Which attempt, from 1; the last one if not given.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it to this file instead: .md, .html or .json.",
)
@reading
def report(session: Session, flag_key: str, attempt: int | None, out: Path | None, *, as_json: bool) -> None:
    """Show what a rollout did, stage by stage, from its journal alone.

    The exit code is 0 also where it failed: the report says so.
    """
    write = _writer(out, as_json=as_json)
    with session.canary() as canary:
        from canary_sdk.evidence.rollout import record_of

        text = write(record_of(entries(canary, flag_key), flag_key, canary.environment, attempt=attempt))
    if out is None:
        click.echo(text, nl=False)
        return
    from canary_sdk.evidence.report import write_whole

    try:
        write_whole(out, text)
    except OSError as error:
        refuse(f"canary: {out}: the report cannot be written: {error.strerror or error}")
    click.echo(f"the report is in {out}", err=True)


def entries(canary: Canary, flag_key: str) -> list[JournalEntry]:
    """Read all that was written down of a flag's rollouts, a page at a time."""
    found: list[JournalEntry] = []
    while page := canary.rollouts.journal(flag_key, after=found[-1].id if found else 0):
        found += page
    return found


def _writer(out: Path | None, *, as_json: bool) -> Callable[[Record], str]:
    """Return what makes the text, by the name of the file."""
    from canary_sdk.evidence.report import to_html, to_json, to_markdown

    ending = out.suffix.lower() if out else ".json" if as_json else ".md"
    if ending not in ENDINGS:
        raise click.UsageError(f"{out}: expected a name that ends in {', '.join(ENDINGS)}")
    return {".md": to_markdown, ".html": to_html, ".json": to_json}[ending]
