"""What the sequential judge knows, in a file beside the arena: it survives a restart, and the death of who judges.

JSON, owner-only, replaced as a whole, so that nobody ever reads half of it. No key of a user is in it, nor anything of
one user alone: counts of many, and the stratum of each micro-band.

Threads: the ticker's only. Processes: the one that judges writes.
"""

from __future__ import annotations

import os
import stat
from typing import Any, Final

FORMAT: Final = 2
"""Whoever changes what is written changes this."""


class Records:
    """The file beside an arena; without an arena in a file there is none, and nothing is kept."""

    def __init__(self, arena: str | None) -> None:
        """Name the file; it is not looked at yet."""
        self.path = f"{arena}.judge" if arena else None

    def write(self, hearings: dict[str, dict[str, object]]) -> None:
        """Replace what is written. Raises: OSError."""
        import json

        if self.path is None:
            return
        draft = f"{self.path}.{os.getpid()}"
        text = json.dumps({"format": FORMAT, "hearings": hearings}, separators=(",", ":"))
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
        os.replace(draft, self.path)  # noqa: PTH105 - pathlib is not worth its import here

    def read(self) -> dict[str, Any]:
        """Return what is written, nothing if nobody wrote. Raises: OSError; ValueError where it is damaged."""
        import json

        if self.path is None:
            return {}
        try:
            descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except FileNotFoundError:
            return {}
        with os.fdopen(descriptor, encoding="ascii") as file:
            status = os.fstat(descriptor)
            if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
                raise ValueError(f"{self.path} is open to others, or not ours")
            found = json.load(file)
        if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("hearings"), dict):
            raise ValueError(f"{self.path} holds something else than format {FORMAT}")
        return found["hearings"]  # type: ignore[no-any-return]
