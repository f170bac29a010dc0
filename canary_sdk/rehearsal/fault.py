"""What is done to the candidate on purpose, as a value and in the words of the command line.

Which requests are struck is counted, not drawn, so that a run can be repeated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

PARTS: Final = 100_000
"""A share is a whole number of these parts: percentages with three decimals."""

UNITS: Final = {"ms": 0.001, "s": 1.0}
LONGEST_S: Final = 60.0
HANG_S: Final = 30.0
"""How long a hanging request is held when the fault does not say."""

EXAMPLES: Final = '"latency=800ms@50%", "errors=5%", "hang=10%"'

_SHARE: Final = re.compile(r"(\d+(?:\.\d{1,3})?)%")
_DELAY: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s)")


class FaultKind(StrEnum):
    """What happens to a struck request."""

    LATENCY = "latency"
    """Its response starts later."""
    ERRORS = "errors"
    """Its response becomes a 500."""
    HANG = "hang"
    """Its response does not start for a very long time."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: what happens to how many of the candidate's requests.

    `parts` of 100,000 requests are struck, spread evenly, beginning with the first. `delay_s` is 0 for errors.
    """

    kind: FaultKind
    parts: int
    delay_s: float = 0.0

    def strikes(self, number: int) -> bool:
        """Whether the candidate's request of this number, counted from 0, is struck."""
        return -(-(number + 1) * self.parts // PARTS) > -(-number * self.parts // PARTS)

    @property
    def share(self) -> str:
        """The share for people: "50 %"."""
        return f"{self.parts * 100 / PARTS:g} %"

    @property
    def sentence(self) -> str:
        """What is done, for people."""
        whom = f"{self.share} of the candidate's requests"
        match self.kind:
            case FaultKind.LATENCY:
                return f"{_delay(self.delay_s)} later on {whom}"
            case FaultKind.ERRORS:
                return f"status 500 on {whom}"
            case FaultKind.HANG:
                return f"no answer for {_delay(self.delay_s)} on {whom}"

    def __str__(self) -> str:
        """Say it in the grammar of `parse_fault`."""
        amount = f"{_delay(self.delay_s).replace(' ', '')}@" if self.delay_s else ""
        return f"{self.kind}={amount}{self.share.replace(' ', '')}"


def parse_fault(text: str) -> Fault:
    """Read `latency=800ms@50%`, `errors=5%`, `hang=10%` or `hang=5s@10%`; a share that is left out is 100 %.

    Raises `ValueError` with a sentence that says what was found and what was expected.
    """
    kind, equals, rest = text.replace(" ", "").partition("=")
    if not equals or kind not in tuple(FaultKind):
        raise ValueError(f'found "{text}", expected {", ".join(FaultKind)} with "=" and an amount, such as {EXAMPLES}')
    delay, at, share = rest.rpartition("@")
    if kind == FaultKind.ERRORS:
        return Fault(FaultKind.ERRORS, _parse_share(rest, text))
    if not at and not rest.endswith("%"):
        delay, share = rest, "100%"
    if not delay and kind == FaultKind.HANG:
        delay = f"{HANG_S:g}s"
    return Fault(FaultKind(kind), _parse_share(share, text), _parse_delay(delay, text))


def _parse_share(share: str, text: str) -> int:
    found = _SHARE.fullmatch(share)
    parts = round(float(found[1]) * PARTS / 100) if found else 0
    if not 0 < parts <= PARTS:
        raise ValueError(
            f'"{text}": found "{share}", expected a share above 0% and up to 100%, at most three decimals, such as "5%"'
        )
    return parts


def _parse_delay(delay: str, text: str) -> float:
    found = _DELAY.fullmatch(delay)
    seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not 0 < seconds <= LONGEST_S:
        raise ValueError(
            f'"{text}": found "{delay}", expected a time above 0 and up to {LONGEST_S:g}s, such as "800ms" or "1.5s"'
        )
    return seconds


def _delay(seconds: float) -> str:
    return f"{seconds * 1000:g} ms" if seconds < 1 else f"{seconds:g} s"
