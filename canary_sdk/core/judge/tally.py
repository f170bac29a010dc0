"""What was counted about one arm in one stretch of time. It holds counts and decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of one arm over `seconds` of time.

    `requests` finished, or are already known to be too slow: a request that hangs is counted against a limit as its age
    crosses it. `aborted` ones (the client went away) are apart from them. `over` maps a limit in seconds to how many
    requests took strictly longer; it is exact, and it decides. `quantiles` maps 0.95 to seconds; it comes from a sketch
    and is for people.
    """

    requests: int = 0
    errors: int = 0
    aborted: int = 0
    seconds: float = 0.0
    over: Mapping[float, int] = field(default_factory=dict)
    quantiles: Mapping[float, float] = field(default_factory=dict)

    @property
    def error_rate(self) -> float:
        """Errors a request, 0 to 1; 0 without requests."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def rate(self) -> float:
        """Requests a second; 0 when no time has passed."""
        return self.requests / self.seconds if self.seconds else 0.0

    def __add__(self, other: Tally) -> Tally:
        """Join what two arms, or two processes, saw of the same seconds.

        Only limits that both have counted stay exact, so only they are kept. Quantiles cannot be added: they are kept
        only where one of the two saw nothing.
        """
        limits = self.over.keys() | other.over.keys()
        if self.requests and other.requests:
            limits = self.over.keys() & other.over.keys()
        return Tally(
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            aborted=self.aborted + other.aborted,
            seconds=max(self.seconds, other.seconds),
            over={limit: self.over.get(limit, 0) + other.over.get(limit, 0) for limit in sorted(limits)},
            quantiles={} if self.requests and other.requests else self.quantiles or other.quantiles,
        )

    def to_list(self) -> list[object]:
        """Return it as JSON types, short: counts and limits exact, quantiles to four digits, as they are for people."""
        over = [tidy(part) for pair in self.over.items() for part in pair]
        quantiles = [part for quantile, found in self.quantiles.items() for part in (quantile, figure(found))]
        return [self.requests, self.errors, self.aborted, tidy(round(self.seconds, 6)), over, quantiles]

    @classmethod
    def from_list(cls, found: Sequence[Any]) -> Tally:
        """Read what `to_list` returned. Raises TypeError or ValueError for anything else."""
        requests, errors, aborted, seconds, over, quantiles = found[:6]
        return cls(requests, errors, aborted, float(seconds), _paired(over), _paired(quantiles))


def _paired(flat: Sequence[Any]) -> dict[float, Any]:
    """Return what stands in turn as key and value."""
    return {float(key): value for key, value in zip(flat[::2], flat[1::2], strict=True)}


def tidy(number: float) -> float:
    """Return a whole number as an integer, which is shorter to write."""
    return int(number) if number == int(number) else number


def figure(number: float) -> float:
    """Return a figure for people, to four digits."""
    return tidy(float(f"{number:.4g}"))


EMPTY: Final = Tally()
"""Nothing was seen."""
