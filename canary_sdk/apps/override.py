"""The verb `canary override`: signs an override, with which a request is served a variant. It changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from canary_sdk.apps.session import print_json, writing
from canary_sdk.core.reading import parse_duration
from canary_sdk.integrations.override import NAME, SECRET_VARIABLE

if TYPE_CHECKING:
    from canary_sdk.apps.session import Session

LONGEST_S: Final = 7 * 86_400.0


class Lifetime(click.ParamType[float]):
    """How long an override holds, in the words of a configuration."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it, or say what was expected."""
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds > LONGEST_S:
            self.fail(f"found {value}, expected at most {LONGEST_S / 3600:.0f}h", param, ctx)
        return seconds


@click.command()
@click.argument("variants", nargs=-1, required=True, metavar="FLAG=VARIANT...")
@click.option("--for", "lifetime", type=Lifetime(), default="1h", show_default=True, help="How long it holds.")
@click.option("--secret", default=SECRET_VARIABLE, show_default=True, metavar="NAME", help="Variable of the secret.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON, for machines.")
@writing
def override(session: Session, variants: tuple[str, ...], lifetime: float, secret: str, *, as_json: bool) -> None:
    """Sign an override: requests that carry it are served these variants, in one environment, for a while."""
    from canary_sdk.core.flags.override import forced
    from canary_sdk.errors import CanaryError, UnknownFlag
    from canary_sdk.integrations.override import Override, secret_of, sign

    wanted = {}
    with session.canary() as canary:
        for text in variants:
            key, equals, variant = text.partition("=")
            if not key or not equals:
                raise click.UsageError(f"found {text!r}, expected FLAG=VARIANT")
            flag = canary.flag(key)
            if flag is None:
                raise UnknownFlag(key, canary.flags())
            try:
                wanted[key] = forced(flag, variant).variant
            except ValueError as error:
                raise CanaryError(str(error)) from None
        until = canary.status().at + lifetime
        signed = sign(Override(wanted, canary.environment, until, session.actor), secret_of(secret))
        environment = canary.environment
    if as_json:
        print_json({"override": signed, "environment": environment, "until": until, "flags": wanted})
    else:
        from canary_sdk.apps.tables import when

        click.echo(signed)
        click.echo(f"holds in {environment} until {when(until)}; send it as", err=True)
        click.echo(f"  Canary-Override: …    or the cookie {NAME}=…    or the query ?{NAME}=…", err=True)
