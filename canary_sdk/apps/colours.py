"""The few colours that every face of the package uses, by what they mean."""

from typing import Final

GOOD: Final = "green"
BAD: Final = "bold red"
CALM: Final = "cyan"
FAINT: Final = "bright_black"
WARM: Final = "yellow"
