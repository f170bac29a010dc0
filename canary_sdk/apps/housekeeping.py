"""The verbs that keep flags in order: which are stale, which the source asks for, and their keys as constants.

They change no flag. In CI their exit code speaks: 1 where something was found.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from canary_sdk.apps.flags import FILE, flags
from canary_sdk.apps.session import count, print_json, reading, refuse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from canary_sdk import Canary
    from canary_sdk.apps.session import Session
    from canary_sdk.ports import HistoryRow

FOUND: Final = 1
MOST_CHANGES: Final = 10_000
"""How far back it is looked for the change that a flag's answers date from."""

_from_file = click.option(
    "--file", type=FILE, metavar="FILE", help="Take the flags from this TOML or JSON file instead of the store."
)


@flags.command()
@click.option("--days", type=click.FloatRange(0), default=30, show_default=True, help="For how long is long.")
@reading
def stale(session: Session, days: float, *, as_json: bool) -> None:
    """List flags that have outlived their use: expired, or for long the same answer for everybody."""
    from canary_sdk.core.flags.staleness import staleness

    with session.canary() as canary:
        at = canary.status().at
        known = [flag for flag in map(canary.flag, sorted(canary.flags())) if flag is not None]
        found = [each for flag in known for each in staleness(flag, _answers_since(canary, flag.key), at, days)]
        environment = canary.environment
    if as_json:
        print_json([{"flag_key": each.flag_key, "why": each.why, "sentence": each.sentence} for each in found])
    else:
        for each in found:
            click.echo(f"{each.flag_key}: {each.sentence}")
        stale_flags = {each.flag_key for each in found}
        click.echo(f"{len(stale_flags)} stale, of {count(len(known), 'flag')}, in {environment}", err=True)
    sys.exit(FOUND if found else 0)


@flags.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@_from_file
@reading
def find(session: Session, paths: tuple[Path, ...], file: Path | None, *, as_json: bool) -> None:
    """Find the flags that Python source asks for, those that do not exist, and those that it never names."""
    from canary_sdk.apps.source import find as find_in

    known = _fields(session, file)
    found = find_in(paths)
    missing, unused = found.missing(known), found.unused(known)
    if as_json:
        print_json(
            {
                "asked": {key: list(map(str, places)) for key, places in sorted(found.asked.items())},
                "missing": {key: list(map(str, places)) for key, places in missing.items()},
                "unused": unused,
                "untold": list(map(str, sorted(found.untold))),
            }
        )
    else:
        for key, places in missing.items():
            for place in places:
                click.echo(f"{place}: there is no flag {key!r}")
        for key in unused:
            click.echo(f"{key}: written nowhere in this source")
        for place in sorted(found.untold):
            click.echo(f"{place}: which flag is asked cannot be told from the source", err=True)
        click.echo(
            f"{count(found.files, 'file')} read, {count(len(found.asked), 'flag')} asked for, {len(known)} known",
            err=True,
        )
    sys.exit(FOUND if missing else 0)


@click.command()
@click.argument("module", required=False, type=FILE)
@click.option("--check", is_flag=True, help="Write nothing; say what would change, and leave with 1 if anything would.")
@_from_file
@reading
def generate(session: Session, module: Path | None, file: Path | None, *, check: bool, as_json: bool) -> None:
    """Write the keys of all flags as a Python MODULE of constants, or to standard output."""
    from canary_sdk.apps.constants import module_of, name_of

    known = _fields(session, file)
    text = module_of(known)
    if as_json:
        print_json({name_of(key): key for key in sorted(known)})
    elif module is None:
        click.echo(text, nl=False)
    elif check:
        _compare(module, text)
    else:
        module.write_text(text, encoding="utf-8")
        click.echo(f"{count(len(known), 'flag')} written to {module}")


def _compare(module: Path, text: str) -> None:
    """Leave with what differs, if anything does."""
    from difflib import unified_diff

    old = module.read_text(encoding="utf-8") if module.exists() else ""
    if old == text:
        click.echo(f"{module} is as the flags are")
        return
    lines = unified_diff(old.splitlines(), text.splitlines(), f"{module}", f"{module} as the flags are", lineterm="")
    refuse("\n".join([*lines, f"{module} is not as the flags are: write it again with canary generate {module}"]))


def _fields(session: Session, file: Path | None) -> dict[str, Mapping[str, Any]]:
    """Return the flags with their fields, of the store or of a file."""
    from canary_sdk.compose import operate

    with operate("memory:") if file else session.canary() as canary:
        if file:
            canary.apply(file)
        return {key: flag.fields for key, flag in canary.flags().items()}


def _answers_since(canary: Canary, flag_key: str) -> float | None:
    """Return when anything changed last on which a flag's answers depend, in this environment; None if not known."""
    from canary_sdk.core.flags.staleness import SILENT
    from canary_sdk.ports import Action

    def counts(row: HistoryRow) -> bool:
        fields = [each for each in row.differences if each.environment in {"", canary.environment}]
        return row.action is Action.CREATED or any(each.path[-1] not in SILENT for each in fields)

    rows = canary.history(flag_key, limit=MOST_CHANGES)
    return next((row.at for row in rows if row.kind == "flag" and counts(row)), None)
