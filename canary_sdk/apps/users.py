"""The verbs about who is compared: `canary calibrate` and `canary resalt`. They decide nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from canary_sdk.apps.session import Session, print_json, reading, refuse, writing
from canary_sdk.core.judge.slo import say_number, say_seconds

if TYPE_CHECKING:
    from canary_sdk.runtime.hearing import Calibration


@click.command()
@click.argument("flag_key")
@click.option("--save", is_flag=True, help="Keep the noise as the flag's own, so that it counts from the start.")
@reading
def calibrate(session: Session, flag_key: str, *, save: bool, as_json: bool) -> None:
    """Show how much the arms of a flag differ while everybody gets the baseline.

    It is measured by the application, on this host, while the flag is at 0 %: for half an hour at least.
    """
    with session.canary() as canary:
        canary.flags()
        found = canary.calibration(flag_key)
        if found is None:
            refuse(f"nothing was learnt of {flag_key} on this host: no application judges it here, or it has no SLOs")
        if save and found.noise:
            canary.update(flag_key, {"noise": dict(found.noise)}, reason=f"measured for {found.minutes} minutes")
    if as_json:
        print_json(
            {
                "noise": dict(found.noise),
                "minutes": found.minutes,
                "seconds": found.seconds,
                "sorted": found.is_sorted,
                "unlike": list(found.unlike),
            }
        )
    else:
        click.echo("\n".join(_lines(flag_key, found)))
    if save and not found.noise:
        refuse("nothing was kept: it was not measured for long enough yet")


def _lines(flag_key: str, found: Calibration) -> list[str]:
    """Say what was found."""
    sorted_ = "sorted by their own past" if found.is_sorted else "not sorted yet"
    lines = [f"{flag_key}: the baseline was seen for {say_seconds(found.seconds)}, its users are {sorted_}"]
    if found.noise:
        lines.append(f"noise of one arm alone, measured for {found.minutes} minutes, 0 being chance alone:")
        lines += [f"  {name:<8} {say_number(noise) if noise else '0'}" for name, noise in found.noise.items()]
    else:
        lines.append("noise was not measured for long enough yet")
    if found.unlike:
        lines.append("the first to get the candidate differ from the others before they get it:")
        lines += [f"  {each}" for each in found.unlike]
        lines.append(f"other users would be the first after: canary resalt {flag_key}")
    return lines


@click.command()
@click.argument("flag_key")
@click.option("--salt", default="", metavar="TEXT", help="The new salt; one is made if not given.")
@writing
def resalt(session: Session, flag_key: str, *, salt: str) -> None:
    """Let other users be the first to get the candidate; refused once anybody gets it."""
    with session.canary() as canary:
        made = canary.resalt(flag_key, salt, reason=session.reason)
        click.echo(f"{flag_key} has the salt {made!r}: other users will be the first")
