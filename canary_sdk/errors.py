"""Every error that leaves the package on purpose.

A request never sees one of these: they are raised to the people who configure, operate and deploy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable


MOST_NAMED: Final = 20
"""How many names an error lists."""


class CanaryError(Exception):
    """The root of all errors raised by this package."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration: where it is, and a sentence that says what is wrong and what was expected."""

    path: tuple[str, ...]
    message: str
    line: int | None = None

    def __str__(self) -> str:
        """Name the key, then the mistake."""
        return f"{'.'.join(self.path) or 'configuration'}: {self.message}"


class UnknownFlag(CanaryError):
    """Something was asked of a flag that the store does not have; the flags that it has are named."""

    def __init__(self, flag_key: str, known: Iterable[str]) -> None:
        """Name the flag, and what there is instead."""
        names = sorted(known)
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        there_is = ", ".join(names[:MOST_NAMED]) or "none at all"
        super().__init__(f"there is no flag {flag_key!r} in this store; it has {there_is}{more}")
        self.flag_key = flag_key


class ConfigError(CanaryError):
    """A configuration was refused as a whole; `problems` lists every mistake found, and nothing was applied."""

    def __init__(self, problems: Iterable[Problem], source: str = "") -> None:
        """Collect `problems`, in the order found; `source` names the file if there is one."""
        self.problems = tuple(problems)
        self.source = source
        super().__init__("\n".join(map(self._say, self.problems)))

    def _say(self, problem: Problem) -> str:
        """Write `file:line: key: mistake`, as far as these are known."""
        place = ":".join(filter(None, (self.source, str(problem.line or ""))))
        return f"{place}: {problem}" if place else str(problem)


class StoreError(CanaryError):
    """A store could not be opened, read or written; what was served before is still being served."""


class StaleWrite(StoreError):
    """A write was refused because somebody else had changed the same document, and nothing was written.

    `found` is the revision that is current, `expected` the one that the writer had looked at; 0 is none at all.
    """

    def __init__(self, message: str, *, found: int, expected: int) -> None:
        """Say what happened; both revisions are in the words too."""
        super().__init__(message)
        self.found = found
        self.expected = expected


class Refused(CanaryError):
    """A person's order was not carried out, with the reason in one sentence; nothing has changed."""
