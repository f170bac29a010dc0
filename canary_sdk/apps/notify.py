"""`canary notify`: who is told, and whether it would reach them."""

from __future__ import annotations

import os
import socket
import sys
import uuid
from typing import TYPE_CHECKING, Final

import click

from canary_sdk.apps.session import REFUSED, Session, print_json, reading
from canary_sdk.errors import CanaryError

if TYPE_CHECKING:
    from canary_sdk.core.config.channels import Channel

TITLE: Final = "This is a test of canary notify: nothing has happened"


@click.group()
def notify() -> None:
    """Look after whom it tells: Slack, PagerDuty, mail and the like."""


@notify.command()
@click.argument("names", nargs=-1, metavar="[CHANNEL]...")
@reading
def test(session: Session, names: tuple[str, ...], *, as_json: bool) -> None:
    """Send a test to each channel, or to those that are named, with the secrets of this environment.

    An incident is opened, and closed again, so that it is seen whether that wakes somebody.
    """
    with session.canary() as canary:
        channels = {each.name: each for each in canary.status().channels}
        environment = canary.environment
    there_is = f"there is {', '.join(sorted(channels))}" if channels else "there is none: declare some in [notify]"
    if unknown := [name for name in names if name not in channels]:
        raise click.UsageError(f"there is no channel {', '.join(unknown)}; {there_is}")
    if not channels:
        raise click.UsageError(there_is)
    failures = {name: _tried(channels[name], environment) for name in names or channels}
    if as_json:
        print_json(failures)
    else:
        for name, why in failures.items():
            click.echo(f"{name}: {why or 'it was taken'}")
    if any(failures.values()):
        sys.exit(REFUSED)


def _tried(channel: Channel, environment: str) -> str:
    """Send, and return what went wrong."""
    from canary_sdk.clock import SYSTEM_CLOCK
    from canary_sdk.core.events import Severity
    from canary_sdk.telemetry.notify.channels import sender
    from canary_sdk.telemetry.notify.message import Message

    source, at = socket.gethostname(), SYSTEM_CLOCK.wall()
    incident = f"canary/{environment}/{source}/test"
    try:
        send = sender(channel, os.environ)
        for ends in (False, True):
            send(
                Message(
                    id=uuid.uuid4().hex,
                    event="Test",
                    severity=Severity.INFO if ends else Severity.CRITICAL,
                    at=at,
                    environment=environment,
                    source=source,
                    text=f"{TITLE}; it is over" if ends else TITLE,
                    opens="" if ends else incident,
                    closes=(incident,) if ends else (),
                ),
                at,
            )
    except CanaryError as error:
        return str(error)
    return ""
