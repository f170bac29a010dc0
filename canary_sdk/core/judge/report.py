"""What one host tells the others of a rollout, and how it is added up. Values; nothing is sent here.

A report holds sums that only grow, by group and name, since one process of the host began to judge. So it may be told
twice, late, or not at all: whoever reads it takes the difference from the one before, if both are of the same process
and the same stage. What was not told in time comes with the next one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

Sums = dict[str, dict[str, float]]
"""Numbers by group and name."""

FORMAT: Final = 1
"""Whoever changes what is told changes this."""


def plus(one: Mapping[str, Mapping[str, float]], other: Mapping[str, Mapping[str, float]]) -> Sums:
    """Add up sums, name by name."""
    found = {group: dict(names) for group, names in one.items()}
    for group, names in other.items():
        into = found.setdefault(group, {})
        for name, number in names.items():
            into[name] = into.get(name, 0) + number
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a host has counted and weighed by now.

    `run` names the process that judges for it, `attempt` and `stage` what it judges. `noise` is what it knows of noise
    that belongs to one arm alone, by stream. `heard` is the evidence of all hosts, of the one that adds it up.
    """

    run: str
    attempt: int
    stage: int
    sums: Sums
    noise: Mapping[str, float] = field(default_factory=dict)
    heard: Mapping[str, Any] | None = None

    def is_of(self, attempt: int, stage: int) -> bool:
        """Whether it is about this stage."""
        return (self.attempt, self.stage) == (attempt, stage)

    def since(self, last: Report | None) -> Sums:
        """Return what has come since; nothing if the last one is of another process or stage, or there is none."""
        if last is None or last.run != self.run or not last.is_of(self.attempt, self.stage):
            return {}
        before = last.sums
        return {
            group: {name: number - before.get(group, {}).get(name, 0) for name, number in names.items()}
            for group, names in self.sums.items()
        }

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON types."""
        return {
            "format": FORMAT,
            "run": self.run,
            "attempt": self.attempt,
            "stage": self.stage,
            "sums": self.sums,
            "noise": dict(self.noise),
            "heard": self.heard,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Report:
        """Read what a host has told. Raises: LookupError, TypeError, ValueError or AttributeError if it cannot be."""
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']} was found, expected {FORMAT}: hosts of different releases")
        sums = {group: {name: number + 0 for name, number in names.items()} for group, names in data["sums"].items()}
        return cls(
            run=str(data["run"]),
            attempt=int(data["attempt"]),
            stage=int(data["stage"]),
            sums=sums,
            noise={name: float(found) for name, found in data["noise"].items()},
            heard=data["heard"],
        )
