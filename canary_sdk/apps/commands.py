"""The commands of `canary`, as click knows them. Each imports what it needs when it is called, and decides nothing.

Exit codes: 0 everything held, 1 it did not, 2 it could not be run as asked, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from canary_sdk.apps.compact import compact
from canary_sdk.apps.flags import flags
from canary_sdk.apps.housekeeping import generate
from canary_sdk.apps.notify import notify
from canary_sdk.apps.operate import kill, release, reset, status
from canary_sdk.apps.override import override
from canary_sdk.apps.report import report
from canary_sdk.apps.rollout import rollout
from canary_sdk.apps.users import calibrate, resalt
from canary_sdk.errors import CanaryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from canary_sdk.rehearsal.fault import Fault

REFUSED: Final = 2
INTERRUPTED: Final = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="canary-rollout", message="%(version)s")
def canary() -> None:
    """Release a feature to a share of your users, and take it back by itself."""


for verb in (
    *(calibrate, compact, flags, generate, kill, notify, override),
    *(release, report, resalt, reset, rollout, status),
):
    canary.add_command(verb)


class FaultType(click.ParamType["Fault"]):
    """A fault in the words of the command line."""

    name = "fault"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fault:
        """Read it, or say what was expected."""
        from canary_sdk.rehearsal.fault import Fault, parse_fault

        if isinstance(value, Fault):
            return value
        try:
            return parse_fault(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@canary.command()
@click.option(
    "--fault",
    type=FaultType(),
    default="latency=800ms@50%",
    show_default=True,
    help="What happens to the candidate: latency=800ms@50%, errors=5%, hang=10%.",
)
@click.option("--no-fault", is_flag=True, help="Release a healthy candidate instead; it must be left alone.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("canary-demo"), show_default=True, help="Report.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Where the shop answers; a free port if 0.")
@click.option("--seed", type=int, default=1, show_default=True, help="Draws the catalogue, the users and their order.")
@click.option("--record", type=click.Path(path_type=Path, dir_okay=False), help="Keep a picture (SVG) of the screen.")
@click.option("--rate", type=click.FloatRange(60, 1_000), default=200, hidden=True)
@click.option("--baseline", type=click.FloatRange(2, 60), default=8, hidden=True)
@click.option("--stage", type=click.FloatRange(1, 60), default=7, hidden=True)
def demo(  # noqa: PLR0913, PLR0917 - one argument an option
    fault: Fault,
    no_fault: bool,
    out: Path,
    port: int,
    seed: int,
    record: Path | None,
    rate: float,
    baseline: float,
    stage: float,
) -> None:
    """Watch a flag switch itself off: a small shop, real traffic, and a fault in the new checkout."""
    with _interruptible():
        from canary_sdk.apps.demo.run import Options, run

        sys.exit(
            run(
                Options(
                    out=out,
                    port=port,
                    fault=None if no_fault else fault,
                    seed=seed,
                    rate=rate,
                    baseline_s=baseline,
                    stage_s=stage,
                    picture=record,
                )
            )
        )


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn an interrupt or a termination into exit code 130, after everything has been ended, and a refusal into 2."""
    before = {each: signal.signal(each, _interrupt) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        click.echo("interrupted; nothing is left running", err=True)
        sys.exit(INTERRUPTED)
    except CanaryError as error:
        click.echo(f"canary: {error}", err=True)
        sys.exit(REFUSED)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _interrupt(*_: object) -> None:
    """Interrupt once; what is asked while everything ends is not heard."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt
