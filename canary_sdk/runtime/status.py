"""A frozen look at everything: what the command line, the terminal and the reports show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from canary_sdk.core.breaker import Breaker
    from canary_sdk.core.config.channels import Channel
    from canary_sdk.core.flags.flag import Flag
    from canary_sdk.core.judge.tally import Tally
    from canary_sdk.core.judge.verdict import Verdict
    from canary_sdk.core.rollout.state import Rollout
    from canary_sdk.ports import Notice
    from canary_sdk.runtime.opinion import Heard


FRESH_S: Final = 10.0
"""A host that has told nothing for so long is stale: five times what it takes, and more than a store that hesitates."""


class Hosts(NamedTuple):
    """The hosts whose traffic was judged together, and those that have told nothing lately: by name, in order."""

    heard: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()

    @classmethod
    def of(cls, notices: Iterable[Notice]) -> Hosts:
        """Return the hosts that have put up these."""
        known = {notice.author: notice.age_s > FRESH_S for notice in notices}
        heard, stale = (tuple(sorted(name for name, old in known.items() if old is wanted)) for wanted in (False, True))
        return cls(heard, stale)


ALONE: Final = Hosts()
"""Nobody but this host."""


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
    hosts: Mapping[str, Hosts] = field(default_factory=dict)
    """Whose traffic is judged together, by flag, on the host that moves the rollout; none where it is alone."""
