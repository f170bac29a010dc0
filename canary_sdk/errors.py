"""Every error that leaves the package on purpose.

A request never sees one of these: they are raised to the people who configure, operate and deploy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class CanaryError(Exception):
    """The root of all errors raised by this package."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration: where it is, and a sentence that says what is wrong and what was expected."""

    path: tuple[str, ...]
    message: str
    line: int | None = None

    def __str__(self) -> str:
        """Name the line if it is known, then the key, then the mistake."""
        where = ".".join(self.path) or "configuration"
        return f"line {self.line}: {where}: {self.message}" if self.line else f"{where}: {self.message}"


class ConfigError(CanaryError):
    """A configuration was refused as a whole; `problems` lists every mistake found, and nothing was applied."""

    def __init__(self, problems: Iterable[Problem], source: str = "") -> None:
        """Collect `problems`, in the order found; `source` names the file if there is one."""
        self.problems = tuple(problems)
        self.source = source
        head = f"{source}: " if source else ""
        super().__init__("\n".join(f"{head}{problem}" for problem in self.problems))


class StoreError(CanaryError):
    """A store could not be opened, read or written; what was served before is still being served."""


class StaleWrite(StoreError):
    """A write was refused because somebody else had changed the same document; both revisions are named."""
