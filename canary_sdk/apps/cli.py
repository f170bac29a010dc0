"""The command `canary`: starts the command line, or says which extra to install where it cannot."""

from __future__ import annotations

import sys
from typing import Final

EXTRAS: Final = {
    "click": "cli",
    "rich": "cli",
    "h11": "demo",
    "starlette": "demo",
    "uvicorn": "demo",
}
"""Which extra brings what the command line needs."""
USAGE: Final = 2


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        from canary_sdk.apps.commands import canary

        canary.main(prog_name="canary")
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(error.name or "")
        if extra is None:
            raise
        sys.stderr.write(f'canary: this needs {error.name}. Install it with: pip install "canary-rollout[{extra}]"\n')
        sys.exit(USAGE)
