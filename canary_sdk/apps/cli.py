"""The command `canary`: starts the command line, or says which extra to install where it cannot."""

from __future__ import annotations

import io
import sys
from typing import Final

EXTRAS: Final = {
    "click": "cli",
    "rich": "cli",
    "h11": "demo",
    "starlette": "demo",
    "tomli_w": "cli",
    "uvicorn": "demo",
}
"""Which extra brings what the command line needs."""
USAGE: Final = 2
INTERRUPTED: Final = 130


def main() -> None:
    """Run the command line and leave with its exit code."""
    _write_what_can_be_written()
    try:
        from canary_sdk.apps.commands import canary

        canary.main(prog_name="canary")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        extra = EXTRAS.get(missing)
        if extra is None:
            raise
        sys.stderr.write(f'canary: this needs {missing}. Install it with: pip install "canary-rollout[{extra}]"\n')
        sys.exit(USAGE)


def _write_what_can_be_written() -> None:
    """Let a terminal that lacks a character show a question mark, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
