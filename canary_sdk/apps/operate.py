"""The verbs of whoever is on call: `canary kill`, `release`, `reset` and `status`. They decide nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from canary_sdk.apps.session import Session, print_json, reading, writing

if TYPE_CHECKING:
    from canary_sdk import Canary
    from canary_sdk.runtime.status import FlagStatus, Status


@click.command()
@click.argument("flag_key")
@writing
def kill(session: Session, flag_key: str) -> None:
    """Switch a flag off until it is released."""
    with session.canary() as canary:
        canary.flags()
        canary.kill(flag_key, reason=session.reason or "killed from the command line")
        click.echo(f"{flag_key} is off in {canary.environment} until it is released: {_reach(canary)}")


@click.command()
@click.argument("flag_key")
@writing
def release(session: Session, flag_key: str) -> None:
    """Let go of the kill switch."""
    with session.canary() as canary:
        canary.flags()
        canary.release(flag_key, reason=session.reason or "released")
        breaker = canary.status().flags[flag_key].breaker
        if breaker.is_serving:
            click.echo(f"{flag_key} is released in {canary.environment}: {_reach(canary)}")
        else:
            click.echo(
                f"{flag_key} is released in {canary.environment}, and still off, as it had tripped: {breaker.reason}\n"
                f"Once that is mended: canary reset {flag_key}"
            )


@click.command()
@click.argument("flag_key")
@writing
def reset(session: Session, flag_key: str) -> None:
    """Clear a breaker that has tripped: the candidate is served again."""
    with session.canary() as canary:
        canary.flags()
        canary.reset(flag_key, reason=session.reason or "reset")
        held = canary.status().flags[flag_key].breaker.killed
        rest = f"; it is still off until: canary release {flag_key}" if held else f": {_reach(canary)}"
        click.echo(f"{flag_key} is reset in {canary.environment}{rest}")


@click.command()
@reading
def status(session: Session, *, as_json: bool) -> None:
    """Show what is served in an environment, and what is off, since when and why."""
    with session.canary() as canary:
        canary.flags()
        found = canary.status()
        if as_json:
            print_json(plain(found))
        else:
            from canary_sdk.apps.tables import show, status_view

            show(status_view(found, session.store))


def _reach(canary: Canary) -> str:
    """Say who sees it, and how soon."""
    if private := canary.status().private:
        return f"every process sees it within about a second (not at once: {private})"
    return "every process of this host sees it at once, all others within about a second"


def plain(status: Status) -> dict[str, Any]:
    """Return the state as plain data."""
    return {
        "environment": status.environment,
        "version": status.version,
        "at": status.at,
        "stale": status.stale,
        "private": status.private,
        "flags": {key: _plain_flag(flag) for key, flag in status.flags.items()},
    }


def _plain_flag(flag: FlagStatus) -> dict[str, Any]:
    return {
        "rollout": flag.flag.rollout,
        "enabled": flag.flag.enabled,
        "serving": flag.breaker.is_serving,
        "breaker": flag.breaker.to_dict(),
    }
