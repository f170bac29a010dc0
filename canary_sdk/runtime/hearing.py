"""The sequential judge at work on one flag: it has batches counted, weighs them, and says what follows.

While nobody gets the candidate it learns; while somebody does it judges, about once a second. It publishes by what
units are to be counted, reads what all processes of the host have counted, and hands the difference to
`core.judge.sequential`. It switches nothing off: what it returns is for the monitor to act on.

Of several processes one judges, the holder of the lease. What it knows is a value that another can go on from.

Threads: the ticker's only, but for `release`, which may be swapped by any.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import sub
from typing import TYPE_CHECKING, Any, Final

import mmh3

from canary_sdk.core.judge.batch import NOBODY, Batch, Side
from canary_sdk.core.judge.decision import decide
from canary_sdk.core.judge.learning import FEWEST, SETTLED_S, Learning, begin, granted, sort, strata_of, take, unlike
from canary_sdk.core.judge.sequential import Case, asked_anew, open_case, pseudo_terms, start, weigh
from canary_sdk.core.judge.slo import say_seconds
from canary_sdk.core.judge.strata import MICRO_BANDS, strata_map
from canary_sdk.core.judge.streams import Grant
from canary_sdk.core.rollout.grounds import Judgement, Standing, standing_after
from canary_sdk.core.rollout.release import BY_HAND_S, Release, terms_of
from canary_sdk.measure.trial import (
    BASELINE,
    CANDIDATE,
    ERRORS,
    NEWCOMERS,
    PSEUDO_CANDIDATE,
    UNITS,
    Mode,
    Published,
    bands_of,
    cells_of,
    futures_of,
    pasts_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from canary_sdk.core.breaker import AutoRollback
    from canary_sdk.core.judge.decision import Decision
    from canary_sdk.core.judge.sequential import Terms
    from canary_sdk.core.judge.verdict import Verdict
    from canary_sdk.measure.arena import Arena
    from canary_sdk.measure.trial import Trial

BATCH_S: Final = 1.0
"""About how long a batch is."""
LEAD_S: Final = 1.5
"""How long after new terms units begin to count where other processes have to hear of them: longer than a poll."""
MOST_PSEUDO: Final = 0.5
"""The largest part of the baseline that plays the candidate."""
_NEVER: Final = float("-inf")


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


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was found of noise that belongs to one arm alone, while everybody was on the baseline.

    `noise` is by stream, 0 being chance alone, as `calibration` defines it; empty as long as there were too few of the
    `minutes` that it is measured in. `seconds` is how long the baseline was seen, `is_sorted` whether its users were.
    """

    noise: Mapping[str, float]
    minutes: int
    seconds: float
    is_sorted: bool
    unlike: tuple[str, ...]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """Read it from what a `Hearing` stored."""
        learning = data["learning"]
        sorted_ = bool(learning["strata"])
        return cls(learning["noise"], data["minutes"], learning["seconds"], sorted_, tuple(data["unlike"]))


@dataclass(frozen=True, slots=True)
class Occasion:
    """What else is known when a batch is taken.

    `is_serving` says that the candidate may be served; `classic` is what the interval rule says, to be quoted; `served`
    tells how many requests the whole service has answered so far, and is asked only where that was promised.
    """

    is_serving: bool
    classic: Verdict | None
    served: Callable[[], int]


class Hearing:
    """One flag before the sequential judge."""

    def __init__(self, trial: Trial, release: Release, policy: AutoRollback) -> None:
        """Know nothing yet; the first turn publishes what is to be counted."""
        self.release = release
        self.policy = policy
        self.trial = trial
        self._wanted: tuple[Release, Mode] | None = None
        self._learning = begin(self._terms())
        self._bands: tuple[int, ...] = ()
        self._bands_from: tuple[int, ...] = ()
        self._unlike: tuple[str, ...] = ()
        self._number = 0
        self._case: Case | None = None
        self._test: Case | None = None
        self._decision: Decision | None = None
        self._edges: tuple[tuple[float, ...], ...] = ()
        self._last: tuple[int, ...] | None = None
        self._served = 0
        self._goes_on = False
        self._last_s = self._began_s = self._from_s = self._due_s = 0.0
        self._seen_s = (_NEVER, _NEVER)
        self._units = 0

    @property
    def is_on(self) -> bool:
        """Whether a release is being judged."""
        return self._case is not None

    def turn(self, arena: Arena, now: float, occasion: Occasion) -> Decision | None:
        """Take what was counted since the last batch; return what follows from it, None where nothing was weighed.

        To be called often: about once a second it has something to do.
        """
        if now < self._due_s:
            return None
        self._due_s = now + BATCH_S
        wanted = self._wanted_now(is_serving=occasion.is_serving)
        if wanted != self._wanted:
            self._change(wanted, arena, now)
        elif wanted[1] is not Mode.IDLE and (batch := self._batch(arena, now, occasion)) is not None:
            if self._case is not None:
                return self._weigh(self._case, batch, arena, now, occasion.classic)
            self._learn(batch, arena, now)
        return None

    def begin_anew(self) -> None:
        """Forget the evidence: the next turn publishes new terms, by which only units that begin from then on count."""
        self._wanted = None
        self._close()

    def judgement(self, now: float, stage: int) -> Judgement | None:
        """Return what it says to a rollout; None while it judges nothing."""
        if self._case is None or self._decision is None:
            return None
        standing = self._standing(self._decision, now)
        return Judgement(
            standing=standing,
            stage=stage,
            seconds=min(self.policy.interval_s, self._case.judged_s),
            age_s=now - self._last_s,
            sentence=self._doubt(now) if standing is Standing.UNKNOWN else self._decision.sentence,
        )

    def heard(self, now: float) -> Heard:
        """Return what it says to people."""
        if self._case is None or self._decision is None:
            return Heard(None, Standing.UNKNOWN, None, self._learning.assumes, self._unlike)
        tested = decide(self._test) if self._test is not None else None
        return Heard(self._decision, self._standing(self._decision, now), tested, self._learning.assumes, self._unlike)

    def _standing(self, decision: Decision, now: float) -> Standing:
        return standing_after(decision, is_known=not self._doubt(now))

    def _doubt(self, now: float) -> str:
        """Say why nothing is known, however little speaks against the candidate; empty if something is.

        Only what was seen lately on both arms, or on the only one that there is, can be good; and a stage in which the
        candidate has answered next to nobody has shown nothing.
        """
        assert self._case is not None
        arms = ("candidate", "baseline") if self._case.now.compares else ("candidate",)
        for arm, seen_s in zip(arms, self._seen_s, strict=False):
            if now - seen_s > self.policy.interval_s:
                return f"the {arm} has answered no request in the last {say_seconds(self.policy.interval_s)}"
        if self._units < self.policy.min_samples:
            few = f"{self._units} {'request' if self._units == 1 else 'requests'}"
            return f"the candidate has answered {few} in this stage, at least {self.policy.min_samples} are needed"
        return ""

    # --- what is on trial --------------------------------------------------------------------------------------------

    def _wanted_now(self, *, is_serving: bool) -> tuple[Release, Mode]:
        if not is_serving:
            return replace(self.release, running=None), Mode.IDLE
        return self.release, Mode.LEARNING if self.release.running is None else Mode.JUDGING

    def _change(self, wanted: tuple[Release, Mode], arena: Arena, now: float) -> None:
        """Go over to another release, to another stage of it, or to learning."""
        before, self._wanted = self._wanted, wanted
        release, mode = wanted
        terms = self._terms()
        if before is not None and before[0].identity != release.identity:
            self._close()
        if before is not None and before[0].seed != release.seed:
            self._bands_from = bands_of(arena.read_learnt(self.trial))
            self._learning, self._unlike = replace(self._learning, blocks=()), ()
        if self._learning.case.terms.limits_s != terms.limits_s:
            self._learning = begin(terms, self._learning.strata, self._learning.noise)
        if release.running is None:
            self._close()
            self._publish(self._learning.case, mode, arena, now)
        elif self._goes_on and self._case is not None:
            self._publish(self._case, mode, arena, now, is_new_stage=True)
        else:
            self._start(release.running, arena, now)
        self._goes_on = False

    def _close(self) -> None:
        """Forget the evidence: whatever is released next is another release."""
        self._case = self._test = self._decision = None
        self._number = 0

    def _start(self, stage: int, arena: Arena, now: float) -> None:
        """Begin a stage, with the evidence of those before it; the first with what was learnt."""
        self._number += 1
        if self._case is None:
            self._bands = self._bands_now(arena)
            learnt = self._learning.case
            opened = open_case(self._terms(), len(learnt.edges))
            self._case = self._test = replace(opened, edges=learnt.edges, past=learnt.past)
        assert self._test is not None
        terms, stage = self._terms(), stage if self.release.is_planned else 0
        self._case = start(replace(self._case, terms=terms), stage)
        tested = start(replace(self._test, terms=pseudo_terms(terms)), stage)
        self._test = asked_anew(replace(tested, edges=self._case.edges, past=self._case.past))
        self._seen_s = (_NEVER, _NEVER)
        self._units = 0
        self._publish(self._case, Mode.JUDGING, arena, now, is_new_stage=True)

    def _terms(self) -> Terms:
        """Return by what is judged: with what was learnt, where anything was."""
        if self._wanted is None:
            return terms_of(self.release, self.policy)
        number = max(self._number, 1)
        return terms_of(self.release, self.policy, self._grant, noise=self._learning.noise, number=number)

    def _bands_now(self, arena: Arena) -> tuple[int, ...]:
        """Return how users failed while everybody was on the baseline, since it was settled who will be the first."""
        found = bands_of(arena.read_learnt(self.trial))
        since = tuple(map(sub, found, self._bands_from))
        return found if min(since, default=-1) < 0 else since  # in a new arena the counters began anew

    def _grant(self, percent: float) -> Grant:
        """Return what the candidates of a percentage are granted by their own past, where that was long enough."""
        if not self._learning.strata or not self._bands or percent >= 100 or not self.release.is_ours:
            return Grant()
        return granted(*futures_of(self._bands, percent))

    def _publish(self, case: Case, mode: Mode, arena: Arena, now: float, *, is_new_stage: bool = False) -> None:
        """Say by what units are to be counted; what is counted by the old terms is left out."""
        judges = mode is Mode.JUDGING
        lead_s = LEAD_S if arena.processes > 1 else 0.0
        if is_new_stage:
            self._began_s = now + lead_s
        published = Published(
            mode=mode,
            candidate=case.candidate_edges if judges else case.trial_edges,
            baseline=case.edges,
            strata=self._learning.strata or bytes(MICRO_BANDS),
            began_s=self._began_s if judges else 0.0,
            seed=self.release.seed,
            first=self.release.first / 100,
            pseudo=min(case.now.percent / 100, MOST_PSEUDO) if judges and case.now.compares else 0.0,
        )
        self.trial.publish(published, is_new_stage=is_new_stage)
        self._edges = case.edges
        self._from_s, self._last_s = now + lead_s, now
        self._last = None if lead_s else arena.read_trial(self.trial)

    # --- batches -----------------------------------------------------------------------------------------------------

    def _batch(self, arena: Arena, now: float, occasion: Occasion) -> Batch | None:
        """Return what was counted since the last batch; None for the first after a change, which mixes old and new."""
        if now < self._from_s:
            return None
        self.trial.next_batch()
        words, last, since_s = arena.read_trial(self.trial), self._last, self._last_s
        served, before = occasion.served() if self._promises_throughput else 0, self._served
        self._last, self._last_s, self._served = words, now, served
        if last is None:
            return None
        found = tuple(map(sub, words, last))
        if min(found) < 0 or now <= since_s:
            return None
        candidate, rest, pseudo = (self._side(found, side) for side in (CANDIDATE, BASELINE, PSEUDO_CANDIDATE))
        return Batch(
            seconds=now - since_s,
            candidate=candidate,
            baseline=rest + pseudo,
            requests=max(served - before, 0),
            newcomers=(found[NEWCOMERS], found[NEWCOMERS + 1]),
            pseudo=pseudo,
        )

    @property
    def _promises_throughput(self) -> bool:
        return self._case is not None and self._case.now.floor is not None

    def _side(self, found: tuple[int, ...], side: int) -> Side:
        """Return one side of a batch; a side with nobody on it has no cells."""
        cells = cells_of(found, side, tuple(len(edges) + 1 for edges in self._edges))
        units, errors = found[UNITS + side], found[ERRORS + side]
        return Side(cells, units, errors) if units or any(map(any, cells)) else NOBODY

    def _learn(self, batch: Batch, arena: Arena, now: float) -> None:
        before, after = self._learning, take(self._learning, batch)
        if after.can_be_sorted:
            pasts = pasts_of(arena.read_learnt(self.trial))
            after = sort(after, strata_map(pasts))
        self._learning = after
        if len(after.blocks) >= FEWEST and after.blocks is not before.blocks and self.release.is_ours:
            self._unlike = unlike(after, *futures_of(self._bands_now(arena), self.release.first))
        if after.case.edges != before.case.edges or after.strata != before.strata:
            self._publish(after.case, Mode.LEARNING, arena, now)

    def _weigh(self, case: Case, batch: Batch, arena: Arena, now: float, classic: Verdict | None) -> Decision:
        self._case = case = weigh(case, batch)
        if self._test is not None and batch.self_test is not None:
            self._test = weigh(self._test, batch.self_test)
        self._units += batch.candidate.units
        sides = (batch.candidate, batch.baseline)
        self._seen_s = tuple(now if side.cells else at for side, at in zip(sides, self._seen_s, strict=True))  # type: ignore[assignment]
        decision = decide(case, self_test=self._test, classic=classic)
        decision = self._decision = replace(decision, assumes=self._learning.assumes if case.now.compares else "")
        if not self.release.is_planned and case.age_s >= BY_HAND_S:
            self._start(case.stage, arena, now)
        elif any(
            case.age_s - batch.seconds < mark <= case.age_s for mark in SETTLED_S if mark > self._learning.seconds
        ):
            self._lay_edges(case, arena, now)
        return decision

    def _lay_edges(self, case: Case, arena: Arena, now: float) -> None:
        """Lay the edges where the baseline, of which too little was known before the release, has turned out to be."""
        laid = start(case, case.stage)
        self._case = replace(laid, age_s=case.age_s, judged_s=case.judged_s, newcomers=case.newcomers)
        if self._test is not None:
            self._test = asked_anew(replace(self._test, edges=laid.edges, past=laid.past))
        self._publish(self._case, Mode.JUDGING, arena, now)

    # --- from one process to another ---------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, object]:
        """Return what another process, or the next one, needs to go on."""
        case, test = self._case, self._test
        return {
            "identity": self._identity,
            "percent": self.release.percent,
            "number": self._number,
            "bands": self._bands,
            "bands_from": self._bands_from,
            "learning": self._learning.to_dict(),
            "minutes": len(self._learning.blocks),
            "unlike": self._unlike,
            "case": case.to_dict() if case else None,
            "test": test.to_dict() if test else None,
            "units": self._units,
        }

    def resume(self, data: Mapping[str, Any]) -> None:
        """Go on from what was stored, as far as it is about the same promises and the same release.

        To be called before the first turn. Raises: KeyError, TypeError or ValueError for what `to_dict` has not made.
        """
        self._bands_from = tuple(data["bands_from"])
        learning, is_same = data["learning"], data["identity"] == self._identity
        if not is_same:
            self._learning = begin(self._terms(), strata_of(learning["strata"]), learning["noise"])
            return
        self._learning, self._bands = Learning.from_dict(learning, self._terms()), tuple(data["bands"])
        if data["case"] is None or self.release.running is None:
            return
        self._number = data["number"]
        terms = terms_of(
            self.release, self.policy, self._grant, noise=self._learning.noise, number=max(self._number, 1)
        )
        case = Case.from_dict(data["case"], terms)
        self._case = replace(case, newcomers=(0, 0))
        self._test = Case.from_dict(data["test"], pseudo_terms(terms))
        stage = self.release.running if self.release.is_planned else 0
        self._goes_on = (data["percent"], case.stage) == (self.release.percent, stage)
        self._units = int(data.get("units", 0)) if self._goes_on else 0

    @property
    def _identity(self) -> str:
        """What must be the same for evidence to be of use, in a form that can be stored."""
        return f"{mmh3.hash128(repr((self.release.identity, self.policy.tolerance))):032x}"

    def __repr__(self) -> str:
        told = self._decision.action if self._decision else "learning" if self._case is None else "no batch yet"
        return f"<Hearing {self.trial.flag_key}, {told}>"
