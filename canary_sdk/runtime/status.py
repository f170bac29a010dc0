"""A frozen look at everything: what the command line, the terminal and the reports show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from canary_sdk.core.breaker import Breaker
    from canary_sdk.core.config.channels import Channel
    from canary_sdk.core.flags.flag import Flag
    from canary_sdk.core.judge.tally import Tally
    from canary_sdk.core.judge.verdict import Verdict
    from canary_sdk.core.rollout.state import Rollout
    from canary_sdk.runtime.hearing import Heard


@dataclass(frozen=True, slots=True)
class FlagStatus:
    """One flag: its configuration, its breaker, the last verdict, and both arms in the last interval.

    `heard` is what the sequential judge says, in the process that judges for its host.
    `apart` is what met the flag without being decided by the split; while the flag is off, that is everybody.
    """

    flag: Flag
    breaker: Breaker
    verdict: Verdict | None
    candidate: Tally
    baseline: Tally
    apart: Tally
    heard: Heard | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """One process's view, at one moment. `version` is the store's that is being served, 0 if none could be read."""

    environment: str
    version: int
    flags: Mapping[str, FlagStatus]
    breakers_unsaved: int
    open_units: int
    dropped: int
    failures: Mapping[str, int]
    stale: str
    """Why the store cannot be read, or empty when what is served is current."""
    private: str
    """Why the arena is not shared with other workers, or empty when it is."""
    ticking: bool
    at: float
    rollouts: Mapping[str, Rollout] = field(default_factory=dict)
    """Where each rollout stands, as far as this process has heard; whoever moves one knows of each tick."""
    judge_lag_s: float = 0.0
    """How long the next reading of the arms is overdue; it grows while the background stands still."""
    leads: bool = False
    """Whether this process judges for its host."""
    channels: tuple[Channel, ...] = ()
    """Where people are told of what happens."""
