"""What a sequential judge says to rollouts and to people, from the cases that it has, whoever's batches it weighs.

Threads: the ticker's only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from canary_sdk.core.judge.slo import say_seconds
from canary_sdk.core.rollout.grounds import Judgement, Standing, standing_after

if TYPE_CHECKING:
    from collections.abc import Sequence

    from canary_sdk.core.breaker import AutoRollback
    from canary_sdk.core.judge.decision import Decision
    from canary_sdk.core.judge.sequential import Case

_NEVER: Final = float("-inf")
_WORDS: Final = {"unit": ("answered", "request", "requests"), "call": ("served", "call", "calls")}


@dataclass(frozen=True, slots=True)
class Heard:
    """What the sequential judge says of a flag now, for people.

    `decision` is there while a release is judged; `self_test` is what the same judge says of a part of the baseline
    that plays the candidate. `standing` is UNKNOWN while there are no data, whatever the decision says. `assumes` is
    what the comparison takes for granted, `unlike` in what the first to get the candidate differ from the rest before.
    """

    decision: Decision | None
    standing: Standing
    self_test: Decision | None
    assumes: str
    unlike: tuple[str, ...] = ()


class Seen:
    """What was seen of one kind in a stage: when either arm was there last, and how often the candidate was."""

    def __init__(self, units: int = 0) -> None:
        """Have seen neither arm; `units` of the candidate were seen by another."""
        self.units = units
        self._seen_s = (_NEVER, _NEVER)

    def see(self, now: float, units: int, *, candidate: bool, baseline: bool) -> None:
        """Note which arms were there now, and how many units of the candidate."""
        self.units += units
        self._seen_s = (now if candidate else self._seen_s[0], now if baseline else self._seen_s[1])

    def doubt(self, case: Case | None, policy: AutoRollback, now: float) -> str:
        """Say why nothing is known, however little speaks against the candidate; empty if something is, or need not be.

        Only what was seen lately on both arms, or on the only one that there is, can be good; and a stage in which the
        candidate has answered next to nobody has shown nothing.
        """
        if case is None or not case.now.promises:
            return ""
        name = case.now.promises[0].of
        did, one, many = _WORDS.get(name, ("reported", f"value of {name}", f"values of {name}"))
        arms = ("candidate", "baseline") if case.now.compares else ("candidate",)
        for arm, seen_s in zip(arms, self._seen_s, strict=False):
            if now - seen_s > policy.interval_s:
                return f"the {arm} has {did} no {one} in the last {say_seconds(policy.interval_s)}"
        if self.units < policy.min_samples:
            few = f"{self.units} {one if self.units == 1 else many}"
            return f"the candidate has {did} {few} in this stage, at least {policy.min_samples} are needed"
        return ""


class Part(Protocol):
    """One kind of what is counted, as far as an opinion is made of it."""

    kind: str
    case: Case | None
    seen: Seen


class Opinion(ABC):
    """The opinion of one flag's release."""

    def __init__(self, policy: AutoRollback) -> None:
        """Have none yet."""
        self.policy = policy
        self._decision: Decision | None = None
        self._last_s = 0.0

    @property
    @abstractmethod
    def parts(self) -> Sequence[Part]:
        """What it is made of, at least one part; the first is asked about users and traffic."""

    @property
    @abstractmethod
    def assumes(self) -> str:
        """What the comparison has to take for granted."""

    @property
    def is_on(self) -> bool:
        """Whether a release is being judged."""
        return self.parts[0].case is not None

    @property
    def kinds(self) -> tuple[str, ...]:
        """What it judges, by what `Slo.counts` calls it."""
        return tuple(each.kind for each in self.parts)

    def judgement(self, now: float, stage: int) -> Judgement | None:
        """Return what it says to a rollout; None while it judges nothing."""
        case = self.parts[0].case
        if case is None or self._decision is None:
            return None
        standing = self._standing(self._decision, now)
        return Judgement(
            standing=standing,
            stage=stage,
            seconds=min(self.policy.interval_s, case.judged_s),
            age_s=now - self._last_s,
            sentence=self._doubt(now) if standing is Standing.UNKNOWN else self._decision.sentence,
        )

    def heard(self, now: float) -> Heard:
        """Return what it says to people."""
        if not self.is_on or self._decision is None:
            return Heard(None, Standing.UNKNOWN, None, self.assumes)
        return Heard(self._decision, self._standing(self._decision, now), None, self.assumes)

    def _standing(self, decision: Decision, now: float) -> Standing:
        return standing_after(decision, is_known=not self._doubt(now))

    def _doubt(self, now: float) -> str:
        """Say why nothing is known, however little speaks against the candidate; empty if something is."""
        return next((doubt for each in self.parts if (doubt := each.seen.doubt(each.case, self.policy, now))), "")
