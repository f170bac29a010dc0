"""One kind of what is counted of a flag, before the sequential judge: units of work, calls, or an indicator's values.

It has these counted, knows what was learnt of them before a release, and carries their case through it. When a release
begins and what follows from its cases is for the `Hearing`, which leads all matters of a flag through the same stages.

Threads: the ticker's only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import sub
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.core.judge.batch import NOBODY, Batch, Side
from canary_sdk.core.judge.learning import FEWEST, SETTLED_S, Learning, begin, granted, sort, strata_of, take, unlike
from canary_sdk.core.judge.sequential import Case, answers_of, asked_anew, open_case, pseudo_terms, start, weigh
from canary_sdk.core.judge.strata import MICRO_BANDS, strata_map
from canary_sdk.core.judge.streams import Grant
from canary_sdk.core.rollout.release import terms_of
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
from canary_sdk.runtime.opinion import Seen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from canary_sdk.core.breaker import AutoRollback
    from canary_sdk.core.judge.sequential import Answers, Terms
    from canary_sdk.core.rollout.release import Release
    from canary_sdk.measure.arena import Arena
    from canary_sdk.measure.trial import Trial

BATCH_S: Final = 1.0
"""About how long a batch is."""
LEAD_S: Final = 1.5
"""How long after new terms units begin to count where other processes have to hear of them: longer than a poll."""
MOST_PSEUDO: Final = 0.5
"""The largest part of the baseline that plays the candidate."""


@dataclass(frozen=True, slots=True)
class Trying:
    """What is on trial: a release, how it is counted, and which of the stages by hand this is, from 1."""

    release: Release
    mode: Mode = Mode.IDLE
    number: int = 1


@dataclass(slots=True)
class _Reading:
    """What was read of the trial last, and when; `edges` are those by which it is counted from `from_s` on."""

    words: tuple[int, ...] | None = None
    edges: tuple[tuple[float, ...], ...] = ()
    at_s: float = 0.0
    from_s: float = 0.0
    published_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Left:
    """What whoever judged before has left: what was read last, of which arena, by which terms, and of what.

    Nothing was read yet (`words` is None) where it has published new terms, which hold `from_s` on.
    """

    words: tuple[int, ...] | None
    at_s: float
    from_s: float
    arena: str
    terms: tuple[int, int]
    mode: Mode


class Matter:
    """One kind of what is counted of a flag. `kind` is what `Slo.counts` calls it."""

    def __init__(self, kind: str, trial: Trial, release: Release, policy: AutoRollback) -> None:
        """Know nothing yet."""
        self.kind = kind
        self.trial = trial
        self.case: Case | None = None
        self.test: Case | None = None
        self.unlike: tuple[str, ...] = ()
        self.is_met_elsewhere = False
        """Whether somebody got the candidate in the last batch of a time in which nobody gets it by us."""
        self._policy = policy
        self._trying = Trying(release)
        self.learning = begin(terms_of(release, policy, kind=kind))
        self._bands: tuple[int, ...] = ()
        self._bands_from: tuple[int, ...] = ()
        self._began_s = 0.0
        self.seen = Seen()
        self._last = _Reading()
        self._arena = ""
        self._left: _Left | None = None

    @property
    def due_s(self) -> float:
        """When it is to be read next what was counted."""
        return self._last.from_s if self._last.words is None else self._last.at_s + BATCH_S

    @property
    def published_s(self) -> float:
        """When it was published last by what is counted; what others left may go on from before."""
        return self._last.published_s

    # --- what is on trial --------------------------------------------------------------------------------------------

    def change(self, trying: Trying, arena: Arena, now: float) -> None:
        """Go over to another release, to another stage of it, or to learning. What was begun of it goes on."""
        before, self._trying = self._trying, trying
        terms = self._terms()
        if before.release.seed != trying.release.seed:
            self._bands_from = bands_of(arena.read_learnt(self.trial))
            self.learning, self.unlike = replace(self.learning, blocks=()), ()
        if self.learning.case.terms.limits_s != terms.limits_s:
            known = self.learning
            self.learning = begin(terms, known.strata, known.noise, known.bound)
        if trying.release.running is None:
            self.close()
            if not self._goes_on(self.learning.case, arena):
                self._publish(self.learning.case, arena, now, is_new_stage=before.mode is not trying.mode)

    def close(self) -> None:
        """Forget the evidence: whatever is released next is another release."""
        self.case = self.test = None

    def start(self, trying: Trying, arena: Arena, now: float) -> None:
        """Begin a stage, with the evidence of those before it; the first with what was learnt."""
        self._trying = trying
        if self.case is None:
            self._bands = self._bands_now(arena)
            learnt = self.learning.case
            opened = open_case(self._terms(), len(learnt.edges))
            self.case = self.test = replace(opened, edges=learnt.edges, past=learnt.past)
        assert self.test is not None
        terms, release = self._terms(), trying.release
        stage = (release.running or 0) if release.is_planned else 0
        self.case = start(self.case, stage, terms)
        tested = start(self.test, stage, pseudo_terms(terms))
        self.test = asked_anew(replace(tested, edges=self.case.edges, past=self.case.past))
        self.seen = Seen()
        self._publish(self.case, arena, now, is_new_stage=True)

    def go_on(self, arena: Arena, now: float) -> None:
        """Go on with a stage that was begun by another."""
        assert self.case is not None
        if not self._goes_on(self.case, arena):
            self.case = replace(self.case, newcomers=(0, 0))
            self._publish(self.case, arena, now, is_new_stage=True)

    def _goes_on(self, case: Case, arena: Arena) -> bool:
        """Go on from the last reading of whoever judged before, if everything has been counted by the same terms since.

        Nothing is lost then, however short the life of a process is.
        """
        left, self._left = self._left, None
        self._arena = arena.identity
        is_same = left is not None and (left.arena, left.terms) == (arena.identity, self.trial.terms) and left.arena
        if left is None or not is_same or left.mode is not self._trying.mode:
            return False
        self._began_s = left.terms[1] / 1e9
        self._last = _Reading(left.words, case.edges, left.at_s, left.from_s)
        return True

    def _terms(self) -> Terms:
        """Return by what is judged: with what was learnt, where anything was."""
        trying = self._trying
        return terms_of(
            trying.release,
            self._policy,
            self._grant,
            kind=self.kind,
            noise=self.learning.noise,
            number=trying.number,
        )

    def _bands_now(self, arena: Arena) -> tuple[int, ...]:
        """Return how users failed while everybody was on the baseline, since it was settled who will be the first."""
        found = bands_of(arena.read_learnt(self.trial))
        since = tuple(map(sub, found, self._bands_from))
        return found if min(since, default=-1) < 0 else since  # in a new arena the counters began anew

    def _grant(self, percent: float | None) -> Grant:
        """Return what the candidates of a percentage are granted by their own past, where that was long enough."""
        if not self.learning.strata or not self._bands or not self._trying.release.is_ours:
            return Grant()
        return Grant() if percent is None or percent >= 100 else granted(*futures_of(self._bands, percent))

    def _publish(self, case: Case, arena: Arena, now: float, *, is_new_stage: bool = False) -> None:
        """Say by what units are to be counted; what is counted by the old terms is left out."""
        release, judges = self._trying.release, self._trying.mode is Mode.JUDGING
        lead_s = LEAD_S if arena.processes > 1 else 0.0
        if is_new_stage:
            self._began_s = now + lead_s
        share = release.first if case.now.percent is None else case.now.percent
        published = Published(
            mode=self._trying.mode,
            candidate=case.candidate_edges if judges else case.trial_edges,
            baseline=case.edges,
            strata=self.learning.strata or bytes(MICRO_BANDS),
            began_s=self._began_s,
            seed=release.seed,
            first=release.first / 100,
            pseudo=min(share / 100, MOST_PSEUDO) if judges and case.now.compares else 0.0,
        )
        self.trial.publish(published, is_new_stage=is_new_stage)
        self._arena = arena.identity
        words = None if lead_s else arena.read_trial(self.trial)
        self._last = _Reading(words, case.edges, now, now + lead_s, now)

    # --- batches -----------------------------------------------------------------------------------------------------

    def batch(self, arena: Arena, now: float, requests: int) -> Batch | None:
        """Return what was counted since the last batch; None for the first after a change, which mixes old and new.

        `requests` are what the whole service has answered since.
        """
        last = self._last
        if now < last.from_s:
            return None
        self.trial.next_batch()
        words = arena.read_trial(self.trial)
        self._last = replace(last, words=words, at_s=now)
        if last.words is None:
            return None
        found = tuple(map(sub, words, last.words))
        if min(found) < 0 or now <= last.at_s:
            return None
        candidate, rest, pseudo = (self._side(found, side) for side in (CANDIDATE, BASELINE, PSEUDO_CANDIDATE))
        judges = self._trying.mode is Mode.JUDGING
        self.is_met_elsewhere = not judges and pseudo.units > 0
        return Batch(
            seconds=now - last.at_s,
            candidate=candidate,
            baseline=rest + pseudo if judges else rest,
            requests=requests,
            newcomers=(found[NEWCOMERS], found[NEWCOMERS + 1]),
            pseudo=pseudo if judges else None,
        )

    def _side(self, found: tuple[int, ...], side: int) -> Side:
        """Return one side of a batch; a side with nobody on it has no cells."""
        cells = cells_of(found, side, tuple(len(edges) + 1 for edges in self._last.edges))
        units, errors = found[UNITS + side], found[ERRORS + side]
        return Side(cells, units, errors) if units or any(map(any, cells)) else NOBODY

    def learn(self, batch: Batch, arena: Arena, now: float) -> None:
        """Take in a batch of a time in which everybody gets the baseline."""
        before, after = self.learning, take(self.learning, batch)
        if after.can_be_sorted:
            after = sort(after, strata_map(pasts_of(arena.read_learnt(self.trial))))
        self.learning, release = after, self._trying.release
        if len(after.blocks) >= FEWEST and after.blocks is not before.blocks and release.is_ours:
            self.unlike = unlike(after, *futures_of(self._bands_now(arena), release.first))
        if after.case.edges != before.case.edges or after.strata != before.strata:
            self._publish(after.case, arena, now)

    def weigh(self, batch: Batch, arena: Arena, now: float) -> Answers:
        """Take in a batch of a release, and return what it says."""
        assert self.case is not None
        said = answers_of(self.case, batch)
        self.case = case = weigh(self.case, batch, said)
        if self.test is not None and batch.self_test is not None:
            self.test = weigh(self.test, batch.self_test)
        arms = {"candidate": bool(batch.candidate.cells), "baseline": bool(batch.baseline.cells)}
        self.seen.see(now, batch.candidate.units, **arms)
        marks = (mark for mark in SETTLED_S if mark > self.learning.seconds)
        if any(case.age_s - batch.seconds < mark <= case.age_s for mark in marks):
            self._lay_edges(case, arena, now)
        return said

    def _lay_edges(self, case: Case, arena: Arena, now: float) -> None:
        """Lay the edges where the baseline, of which too little was known before the release, has turned out to be."""
        laid = start(case, case.stage)
        self.case = replace(laid, age_s=case.age_s, judged_s=case.judged_s, newcomers=case.newcomers)
        if self.test is not None:
            self.test = asked_anew(replace(self.test, edges=laid.edges, past=laid.past))
        self._publish(self.case, arena, now)

    # --- from one process to another ---------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, object]:
        """Return what another process, or the next one, needs to go on."""
        return {
            "bands": self._bands,
            "bands_from": self._bands_from,
            "learning": self.learning.to_dict(),
            "minutes": len(self.learning.blocks),
            "unlike": self.unlike,
            "case": self.case.to_dict() if self.case else None,
            "test": self.test.to_dict() if self.test else None,
            "units": self.seen.units,
            "left": self._leaves(),
        }

    def _leaves(self) -> dict[str, object]:
        """Return from where another can go on; without an arena that others see, nobody can."""
        last = self._last
        return {
            "words": last.words,
            "at_s": last.at_s,
            "from_s": last.from_s,
            "arena": self._arena,
            "terms": self.trial.terms,
            "mode": self._trying.mode,
        }

    def resume(self, data: Mapping[str, Any], trying: Trying | None) -> None:
        """Go on from what was stored of `trying`, or of another release: then only the users are the same.

        To be called before the first turn. Raises: KeyError, TypeError or ValueError for what `to_dict` has not made.
        """
        self._bands_from = tuple(data["bands_from"])
        terms, learning = self._terms(), data["learning"]
        if trying is None:
            self.learning = begin(terms, strata_of(learning["strata"]), learning["noise"], learning["bound"])
            return
        self.learning, self._bands = Learning.from_dict(learning, terms), tuple(data["bands"])
        self._left = _left_of(data["left"])
        if data["case"] is None or trying.release.running is None:
            return
        self._trying = trying
        terms = self._terms()
        self.case = Case.from_dict(data["case"], terms)
        self.test = Case.from_dict(data["test"], pseudo_terms(terms))
        self.seen = Seen(int(data["units"]))

    def __repr__(self) -> str:
        return f"<Matter {self.trial.name}, {self._trying.mode.name}>"


def _left_of(data: Mapping[str, Any]) -> _Left:
    words, (version, began_ns) = data["words"], data["terms"]
    read = None if words is None else tuple(words)
    return _Left(read, data["at_s"], data["from_s"], data["arena"], (version, began_ns), Mode(data["mode"]))
