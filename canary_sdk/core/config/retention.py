"""How long what was written down is kept: the `[retention]` section. It removes nothing.

[retention]
journal = "90d"           # lines of rollouts go after so long
journal_lines = 100000    # … and beyond the newest so many of each rollout; left out, however many there are
audit = "forever"         # the history of changes goes after so long
audit_rows = 100000       # … and beyond the newest so many; left out, however many there are
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.core.reading import count, parse_duration, say, table_of, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from canary_sdk.core.reading import Reader

FOREVER: Final = "forever"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """For how many seconds, and how many at most; None for no such bound."""

    journal_s: float | None = 90 * 86_400.0
    journal_lines: int | None = None
    audit_s: float | None = None
    audit_rows: int | None = None


def parse_retention(found: object) -> Retention:
    """Read the section.

    Raises:
        ConfigError: with all mistakes, at paths below the table.
    """
    values = whole(table_of(_RETENTION), found)
    return Retention(**{_ATTRIBUTES.get(name, name): value for name, value in values.items()})


def retention_fields(value: Retention) -> dict[str, Any]:
    """Return the plain document from which `parse_retention` reads the same value."""
    most = {"journal_lines": value.journal_lines, "audit_rows": value.audit_rows}
    return {
        "journal": FOREVER if value.journal_s is None else value.journal_s,
        "audit": FOREVER if value.audit_s is None else value.audit_s,
        **{name: number for name, number in most.items() if number is not None},
    }


def _age(found: object) -> float | None:
    if found == FOREVER:
        return None
    try:
        return parse_duration(found)
    except ValueError:
        raise ValueError(
            f"found {say(found)}, expected a duration of at most a year such as '90d', or 'forever'"
        ) from None


_RETENTION: Final[Mapping[str, Reader]] = {
    "journal": _age,
    "journal_lines": count,
    "audit": _age,
    "audit_rows": count,
}
_ATTRIBUTES: Final = {"journal": "journal_s", "audit": "audit_s"}
