"""The sequential judge at work on one flag: it has batches counted, weighs them, and says what follows.

While nobody gets the candidate it learns; while somebody does it judges, about once a second: those whom our percentage
lets in, those whom a half-open breaker probes, and those to whom another tool gives it. Everything that is promised of
the flag is before it, each kind as a `Matter`; all of them are decided on together. It switches nothing off: what it
returns is for the monitor to act on.

Of several processes one judges, the holder of the lease. What it knows is a value that another can go on from.

Threads: the ticker's only, but for `release`, which may be swapped by any.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import mmh3

from canary_sdk.core.judge.decision import decide
from canary_sdk.core.judge.report import plus
from canary_sdk.core.rollout.release import BY_HAND_S, Release
from canary_sdk.measure.trial import Mode
from canary_sdk.runtime.matter import BATCH_S, Matter, Trying
from canary_sdk.runtime.opinion import Opinion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from canary_sdk.core.breaker import AutoRollback
    from canary_sdk.core.judge.decision import Decision
    from canary_sdk.core.judge.report import Sums
    from canary_sdk.core.judge.sequential import Case
    from canary_sdk.core.judge.verdict import Verdict
    from canary_sdk.measure.arena import Arena
    from canary_sdk.runtime.opinion import Heard, Part

QUIET_S: Final = 3600.0
"""What another tool releases is over when nobody was given the candidate for so long."""
_NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was found of noise that belongs to one arm alone, while everybody was on the baseline.

    `noise` is by stream, 0 being chance alone, as `calibration` defines it: the most that it can be, the nearer to what
    was found the more `minutes` it was measured in; empty as long as these were too few. `seconds` is how long the
    baseline was seen, `is_sorted` whether its users were.
    """

    noise: Mapping[str, float]
    minutes: int
    seconds: float
    is_sorted: bool
    unlike: tuple[str, ...]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """Read it from what a `Hearing` stored."""
        matters = list(data["matters"].values())
        learnt = [each["learning"] for each in matters]
        return cls(
            noise={name: noise for each in learnt for name, noise in each["bound"].items()},
            minutes=matters[0]["minutes"],
            seconds=learnt[0]["seconds"],
            is_sorted=bool(learnt[0]["strata"]),
            unlike=tuple(told for each in matters for told in each["unlike"]),
        )


@dataclass(frozen=True, slots=True)
class Occasion:
    """What else is known when a batch is taken.

    `release` is what is on trial, None while the candidate may be served to nobody; `classic` is what the interval rule
    says, to be quoted; `served` tells how many requests the whole service has answered so far, and is asked only where
    that was promised.
    """

    release: Release | None
    classic: Verdict | None
    served: Callable[[], int]


class Hearing(Opinion):
    """One flag before the sequential judge."""

    def __init__(self, flag_key: str, release: Release, policy: AutoRollback, matters: Sequence[Matter]) -> None:
        """Know nothing yet; the first turn publishes what is to be counted. There is at least one matter."""
        super().__init__(policy)
        self.flag_key = flag_key
        self.release = release
        self.matters = tuple(matters)
        self._trying: Trying | None = None
        self._number = 0
        self._served = 0
        self.said: Sums = {}
        """What all batches have said so far: it only grows."""
        self._resumed: Trying | None = None
        self._resumed_at: tuple[float | None, int] | None = None
        self._met_s = _NEVER
        self._due_s = 0.0

    @property
    def parts(self) -> Sequence[Part]:
        """What it is made of."""
        return self.matters

    @property
    def assumes(self) -> str:
        """What the comparison has to take for granted."""
        return self.matters[0].learning.assumes

    @property
    def tests(self) -> list[Case]:
        """What the same judge says of a part of the baseline that plays the candidate."""
        return [each.test for each in self.matters if each.test is not None]

    @property
    def unlike(self) -> tuple[str, ...]:
        """In what the first to get the candidate differ for the worse from the rest, before they get it."""
        return tuple(told for each in self.matters for told in each.unlike)

    def turn(self, arena: Arena, now: float, occasion: Occasion) -> Decision | None:
        """Take what was counted since the last batch; return what follows from it, None where nothing was weighed.

        To be called often: about once a second it has something to do.
        """
        if now < self._due_s:
            return None
        self._due_s = now + BATCH_S
        wanted = self._wanted_now(now, occasion.release)
        before = self._trying
        if before is None or (wanted.release, wanted.mode) != (before.release, before.mode):
            self._change(wanted, arena, now)
            if all(each.published_s == now for each in self.matters):
                self._requests(occasion)
            self._due_s = min(each.due_s for each in self.matters)
            return None
        if wanted.mode is Mode.IDLE:
            return None
        return self._listen(arena, now, occasion)

    def begin_anew(self) -> None:
        """Forget the evidence: the next turn publishes new terms, by which only units that begin from then on count."""
        self._trying = None
        self._close()

    def heard(self, now: float) -> Heard:
        """Return what it says to people."""
        tested = decide(*self.tests) if self.tests and self._decision is not None else None
        return replace(super().heard(now), self_test=tested, unlike=self.unlike)

    # --- what is on trial --------------------------------------------------------------------------------------------

    def _wanted_now(self, now: float, release: Release | None) -> Trying:
        if release is None:
            return Trying(replace(self.release, running=None))
        if any(each.is_met_elsewhere for each in self.matters):
            self._met_s = now
        self._met_s = min(self._met_s, now)  # whoever goes on for another cannot know better
        if release.running is not None:
            return Trying(release, Mode.JUDGING)
        if now - self._met_s <= QUIET_S:
            return Trying(release.given_elsewhere(), Mode.JUDGING)
        return Trying(release, Mode.LEARNING)

    def _change(self, wanted: Trying, arena: Arena, now: float) -> None:
        """Go over to another release, to another stage of it, or to learning."""
        before, release = self._trying or self._resumed, wanted.release
        if before is not None and before.release.identity != release.identity:
            self._close()
        for matter in self.matters:
            matter.change(wanted, arena, now)
        self._trying = wanted
        if release.running is None:
            self._close()
        elif self.is_on and self._resumed_at == _place_of(release):
            for matter in self.matters:
                matter.go_on(arena, now)
        else:
            self._start(arena, now)
        self._resumed_at = None

    def _close(self) -> None:
        """Forget the evidence: whatever is released next is another release."""
        for matter in self.matters:
            matter.close()
        self._decision = None
        self._number = 0

    def _start(self, arena: Arena, now: float) -> None:
        """Begin a stage."""
        assert self._trying is not None
        self._number += 1
        self._trying = replace(self._trying, number=self._number)
        for matter in self.matters:
            matter.start(self._trying, arena, now)

    # --- batches -----------------------------------------------------------------------------------------------------

    def _listen(self, arena: Arena, now: float, occasion: Occasion) -> Decision | None:
        """Let every matter take in its batch, and decide on all of them."""
        requests = self._requests(occasion)
        batches = [(each, batch) for each in self.matters if (batch := each.batch(arena, now, requests)) is not None]
        if not batches:
            return None
        if not self.is_on:
            for matter, batch in batches:
                matter.learn(batch, arena, now)
            return None
        self._last_s = now
        for matter, batch in batches:
            self.said = plus(self.said, matter.weigh(batch, arena, now).to_sums(matter.kind))
        if any(batch.candidate.units for _, batch in batches) and self._met_s > _NEVER:
            self._met_s = now
        return self._decided(arena, now, occasion.classic)

    def _requests(self, occasion: Occasion) -> int:
        """Return what the whole service has answered since the last batch, if anything was promised of that."""
        case = self.matters[0].case
        if case is None or case.now.floor is None:
            return 0
        before, self._served = self._served, occasion.served()
        return max(self._served - before, 0)

    def _decided(self, arena: Arena, now: float, classic: Verdict | None) -> Decision:
        assert self._trying is not None
        cases = [each.case for each in self.matters if each.case is not None]
        found = decide(*cases, self_test=self.tests, classic=classic)
        decision = self._decision = replace(found, assumes=self.assumes if cases[0].now.compares else "")
        if not self._trying.release.is_planned and cases[0].age_s >= BY_HAND_S:
            self._start(arena, now)
        return decision

    # --- from one process to another ---------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, object]:
        """Return what another process, or the next one, needs to go on."""
        release = self._trying.release if self._trying is not None else self.release
        return {
            "identity": self._identity(release),
            "percent": release.percent,
            "number": self._number,
            "served": self._served,
            "matters": {each.kind: each.to_dict() for each in self.matters},
        }

    def resume(self, data: Mapping[str, Any]) -> None:
        """Go on from what was stored, as far as it is about the same promises and the same release.

        To be called before the first turn. Raises: KeyError, TypeError or ValueError for what `to_dict` has not made.
        """
        release = self.release.given_elsewhere() if data["percent"] is None else self.release
        is_same = data["identity"] == self._identity(release)
        self._number = data["number"] if is_same else 0
        self._served = data["served"]
        trying = Trying(release, Mode.JUDGING, max(self._number, 1)) if is_same else None
        for matter in self.matters:
            if matter.kind in data["matters"]:
                matter.resume(data["matters"][matter.kind], trying)
        case = self.matters[0].case
        if case is None or any(each.case is None for each in self.matters):
            self._close()
            return
        self._resumed, self._resumed_at = trying, (data["percent"], case.stage)
        self._met_s = _NEVER if release.percent is not None else -_NEVER

    def _identity(self, release: Release) -> str:
        """What must be the same for evidence to be of use, in a form that can be stored."""
        return f"{mmh3.hash128(repr((release.identity, self.policy.tolerance))):032x}"

    def __repr__(self) -> str:
        told = self._decision.action if self._decision else "no batch yet" if self.is_on else "learning"
        return f"<Hearing {self.flag_key}, {told}>"


def _place_of(release: Release) -> tuple[float | None, int]:
    """Return where in a release it is: whoever goes on there need not begin a stage."""
    return release.percent, (release.running or 0) if release.is_planned else 0
