"""The verbs of `canary flags`: look at what is stored, change it, undo that, move it. They decide nothing.

With `--environment`, a change is made to what that environment overrides; without it, to the flag itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from canary_sdk.apps.session import Session, count, print_json, reading, refuse, writing
from canary_sdk.core.config.fields import say_field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from canary_sdk import Canary
    from canary_sdk.ports import HistoryRow, StoredFlag

MOST_SHOWN: Final = 10
"""How many changes a flag's sheet shows."""
FILE: Final = click.Path(path_type=Path, dir_okay=False)
FORCE: Final = click.option("--force", is_flag=True, help="Even if a rollout has the percentage: that is dismissed.")


@click.group()
def flags() -> None:
    """Look at flags and change them."""


# --- looking ---


@flags.command("list")
@reading
def list_(session: Session, *, as_json: bool) -> None:
    """List all flags."""
    with session.canary() as canary:
        found = canary.flags()
        if as_json:
            print_json([_plain(flag) for flag in found.values()])
        else:
            from canary_sdk.apps.tables import flag_list, show

            show(flag_list(found, canary.status()))


@flags.command("show")
@click.argument("flag_key")
@reading
def show_(session: Session, flag_key: str, *, as_json: bool) -> None:
    """Show everything of one flag."""
    with session.canary() as canary:
        flag, rows = _known(canary, flag_key), canary.history(flag_key, limit=MOST_SHOWN)
        if as_json:
            print_json({**_plain(flag), "history": [_plain_row(row) for row in rows]})
        else:
            from canary_sdk.apps.tables import flag_sheet, show

            show(flag_sheet(flag, canary.status(), rows))


@flags.command()
@click.argument("flag_key", required=False)
@click.option("--limit", type=click.IntRange(1), default=30, show_default=True, help="How many changes.")
@reading
def history(session: Session, flag_key: str | None, limit: int, *, as_json: bool) -> None:
    """Show who changed what, newest first: of one flag, or of everything."""
    with session.canary() as canary:
        rows = canary.history(flag_key, limit=limit)
        if flag_key and not rows:
            _known(canary, flag_key)
        if as_json:
            print_json([_plain_row(row) for row in rows])
        else:
            from canary_sdk.apps.tables import history_table, show

            show(history_table(rows))


@flags.command()
@click.argument("flag_key")
@click.argument("targeting_key", required=False)
@click.option("--attribute", "attributes", multiple=True, metavar="NAME=VALUE", help="A fact about whoever asks.")
@reading
def explain(
    session: Session, flag_key: str, targeting_key: str | None, attributes: tuple[str, ...], *, as_json: bool
) -> None:
    """Show what a flag answers somebody, and why."""
    from canary_sdk.core.flags.evaluation import EvaluationContext

    with session.canary() as canary:
        _known(canary, flag_key)
        context = EvaluationContext(targeting_key, _assignments(attributes))
        answer = canary.evaluate(flag_key, context, explain=True)
        if as_json:
            print_json(
                {
                    "flag_key": flag_key,
                    "environment": canary.environment,
                    "value": answer.value,
                    "variant": answer.variant,
                    "reason": answer.reason,
                    "explanation": str(answer.explanation or ""),
                }
            )
        else:
            click.echo(f"{json.dumps(answer.value, ensure_ascii=False)}  {answer.reason}")
            click.echo(answer.explanation or f"{flag_key} could not be asked")


@flags.command()
@click.argument("files", nargs=-1, required=True, type=FILE)
def check(files: tuple[Path, ...]) -> None:
    """Read configuration files, name every mistake, and touch no store."""
    from canary_sdk.compose import operate
    from canary_sdk.errors import ConfigError

    found = []
    for path in files:
        with operate("memory:") as canary:
            try:
                canary.apply(path)
            except ConfigError as error:
                found.append(str(error))
            else:
                click.echo(f"{path}: no mistakes, {count(len(canary.flags()), 'flag')}")
    if found:
        refuse("\n".join(found))


# --- changing ---


@flags.command("set")
@click.argument("flag_key")
@click.argument("fields", nargs=-1, metavar="FIELD=VALUE...")
@click.option("--unset", multiple=True, metavar="FIELD", help="Take a field away.")
@click.option("--expected", type=int, metavar="REVISION", help="Refuse if it is not at this revision any more.")
@FORCE
@writing
def set_(
    session: Session,
    flag_key: str,
    fields: tuple[str, ...],
    unset: tuple[str, ...],
    expected: int | None,
    *,
    force: bool,
) -> None:
    """Change fields of a flag. A value is JSON, or else text: rollout=25 slos='["p95 < 1s"]' description=new."""
    changes = {**_assignments(fields), **dict.fromkeys(unset)}
    if not changes:
        raise click.UsageError("expected FIELD=VALUE or --unset FIELD")
    _update(session, flag_key, changes, expected, force=force)


@flags.command()
@click.argument("flag_key")
@click.argument("percent")
@FORCE
@writing
def rollout(session: Session, flag_key: str, percent: str, *, force: bool) -> None:
    """Change the percentage of users who get the candidate."""
    _update(session, flag_key, {"rollout": _value(percent)}, force=force)


@flags.command()
@click.argument("flag_key")
@writing
def enable(session: Session, flag_key: str) -> None:
    """Switch a flag on in its configuration."""
    _update(session, flag_key, {"enabled": True})


@flags.command()
@click.argument("flag_key")
@writing
def disable(session: Session, flag_key: str) -> None:
    """Switch a flag off in its configuration; in an emergency use `canary kill`."""
    _update(session, flag_key, {"enabled": False})


@flags.command()
@click.argument("flag_key")
@click.option("--expected", type=int, metavar="REVISION", help="Refuse if it is not at this revision any more.")
@writing
def delete(session: Session, flag_key: str, expected: int | None) -> None:
    """Delete a flag."""
    with session.canary() as canary:
        before = _newest(canary)
        canary.delete(flag_key, expected=expected, reason=session.reason)
        _tell(canary, before)


@flags.command()
@click.argument("change", type=int)
@click.option("--force", is_flag=True, help="Even if the same was changed again since.")
@writing
def undo(session: Session, change: int, *, force: bool) -> None:
    """Restore what a change replaced; `canary flags history` tells their numbers."""
    with session.canary() as canary:
        before = _newest(canary)
        canary.undo(change, force=force, reason=session.reason)
        _tell(canary, before)


@flags.command()
@click.argument("file", type=FILE)
@click.option("--force", is_flag=True, help="Take the file as it is, whatever was changed since the last one.")
@writing
def apply(session: Session, file: Path, *, force: bool) -> None:
    """Declare what a TOML or JSON file says; what operators changed stays, where the file did not change."""
    with session.canary(create=True) as canary:
        before = _newest(canary)
        canary.apply(file, force=force, reason=session.reason or f"applied {file.name}")
        _tell(canary, before)
        for key, flag in canary.flags().items():
            for each in flag.drift:
                click.echo(f"{key} is kept as it was changed since it was declared: {each}")


@flags.command()
@click.argument("file", type=FILE, required=False)
@reading
def export(session: Session, file: Path | None, *, as_json: bool) -> None:
    """Write everything that is stored to a .toml or .json file, or to standard output."""
    with session.canary() as canary:
        data = canary.export(file)
        if file is not None:
            click.echo(f"{count(len(data['flags']), 'flag')} written to {file}")
        elif as_json:
            print_json(data)
        else:
            from canary_sdk.stores import toml

            click.echo(toml.write(data), nl=False)


def _update(
    session: Session,
    flag_key: str,
    changes: Mapping[str, object],
    expected: int | None = None,
    *,
    force: bool = False,
) -> None:
    with session.canary() as canary:
        before = _newest(canary)
        canary.update(
            flag_key,
            changes,
            environment=session.environment,
            expected=expected,
            reason=session.reason,
            force=force,
        )
        _tell(canary, before)
        if session.environment is None:
            _warn_of_overrides(_known(canary, flag_key), changes)


def _warn_of_overrides(flag: StoredFlag, changes: Mapping[str, object]) -> None:
    """Say where a change does not hold: it must not look as if it did."""
    for environment, overrides in flag.fields.get("environments", {}).items():
        for name in changes:
            if name in overrides:
                click.echo(
                    f"{environment} overrides {name} and keeps {say_field(overrides[name])}: "
                    f"change it there with --environment {environment}",
                    err=True,
                )


# --- telling ---


def _newest(canary: Canary) -> int:
    """Return the number of the last change."""
    return max((row.id for row in canary.history(limit=1)), default=0)


def _tell(canary: Canary, before: int) -> None:
    """Tell the changes since, each with what takes it back."""
    rows = [row for row in canary.history(limit=1_000) if row.id > before]
    for row in reversed(rows):
        click.echo(f"{row.name}: {row.sentence} (revision {row.revision}; canary flags undo {row.id})")
    if not rows:
        click.echo("nothing to change: it is so already")


def _known(canary: Canary, flag_key: str) -> StoredFlag:
    from canary_sdk.errors import StoreError, UnknownFlag

    known = canary.flags()
    if flag_key not in known:
        raise UnknownFlag(flag_key, known)
    if known[flag_key].damaged:
        raise StoreError(known[flag_key].damaged)
    return known[flag_key]


# --- values ---


def _assignments(texts: tuple[str, ...]) -> dict[str, Any]:
    """Read NAME=VALUE."""
    pairs = [text.partition("=") for text in texts]
    for (name, equals, _), text in zip(pairs, texts, strict=True):
        if not name or not equals:
            raise click.UsageError(f"found {text!r}, expected NAME=VALUE")
    return {name: _value(value) for name, _, value in pairs}


def _value(text: str) -> Any:
    """Read JSON, or take it as text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _plain(flag: StoredFlag) -> dict[str, Any]:
    return {
        "key": flag.key,
        "revision": flag.revision,
        "fields": flag.fields,
        "declared": flag.declared,
        "damaged": flag.damaged,
    }


def _plain_row(row: HistoryRow) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(row)
