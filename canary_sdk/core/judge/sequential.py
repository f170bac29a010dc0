"""The sequential judge: it weighs every batch as it comes, and may be asked after each. It switches nothing off.

It compares the candidate with the baseline of the same seconds, in several streams (see `streams`), each a sum of
evidence over sizes of effect and over moments at which the fault may have begun (see `eprocess`). The case is made when
the average of the streams says that what was seen is `1 / alpha` times as likely if the candidate is worse:

    P(a candidate that is no worse is ever rolled back) <= alpha

over the whole rollout, for any schedule of looking. No minimum of samples is needed: no data is no evidence.

How it is used, all values in and out: `open_case` before the release, `learn` every batch of the time before it,
`start` each stage, `weigh` every batch; what follows is told by `decision.decide`, whenever an answer is wanted. What a
batch must bring is told in `batch`. The self test is a second case of the same functions, with `pseudo_terms` and
`Batch.self_test`.

Cost: bounded state (below 16 KB as JSON), and 0.1 to 0.2 ms a batch; see `benchmarks/bench_judge.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from canary_sdk.core.judge.calibration import exchange, temper
from canary_sdk.core.judge.cells import first_edges, scaled
from canary_sdk.core.judge.eprocess import NOTHING, Evidence, Schedule
from canary_sdk.core.judge.evalues import LEAST, NONE, Pair, log_floor
from canary_sdk.core.judge.slo import Metric
from canary_sdk.core.judge.streams import (
    SIZES,
    Answer,
    Edges,
    Grant,
    Past,
    Question,
    absolute_steps,
    is_rate,
    promised,
    questions,
    shape_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from canary_sdk.core.judge.batch import Batch
    from canary_sdk.core.judge.slo import Slo

_RENEW_S: Final = 60.0
"""How often the questions are sharpened by what was learnt since."""

_FACTORS: Final = (0.9, 0.8, 0.65, 0.5, 0.25, 0.1)
"""Sizes of a loss of throughput."""

_NOTHING_GRANTED: Final = Grant()
_BLANK: Final = Evidence.none(SIZES)
_UNDECIDED: Final = math.log(0.05)
"""Below this a stream has nothing against the candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of a rollout: the percentage, the longest it may be held, what is promised in it, what is granted.

    The percentage is None where it is not ours: another tool chooses who gets the candidate.
    """

    percent: float | None
    longest_s: float
    slos: tuple[Slo, ...]
    grant: Grant = _NOTHING_GRANTED

    @property
    def compares(self) -> bool:
        """Whether anybody is left on the baseline."""
        return self.percent is None or self.percent < 100

    @property
    def promises(self) -> tuple[Slo, ...]:
        """The SLOs that an arm can break, and that are compared."""
        return tuple(slo for slo in self.slos if slo.metric is not Metric.THROUGHPUT)

    @property
    def floor(self) -> Slo | None:
        """The throughput that the whole service must keep."""
        return next((slo for slo in self.slos if slo.metric is Metric.THROUGHPUT), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is judged, and how strictly. All SLOs are of one kind: of units of work, of calls, or of one indicator.

    `tolerance` (0.1 for 10 %) is how much slower than the baseline a candidate may be, and how far over an absolute
    limit. `soft` names SLOs that can only hold. `noise` is what an A/A run found, by stream (see `calibration`). No
    batch is worth more than `cap` nats, so that one bad second cannot decide. Batches that begin within `skip_s` of a
    promotion are left out: 1 s for those who cannot tell which units began before it. `shares` say how much of the
    promise each stage may use up, evenly if left out; their sum is 1 at most.

    `alpha` is promised of the comparison over the whole rollout, and once more of the limits where nobody is left to
    compare with; `split_alpha` of the split in each stage.
    """

    stages: tuple[Stage, ...]
    alpha: float = 0.01
    split_alpha: float = 0.001
    tolerance: float = 0.10
    soft: frozenset[str] = frozenset()
    noise: Mapping[str, float] = field(default_factory=dict)
    cap: float = 4.0
    half_life_s: float = 300.0
    skip_s: float = 0.0
    shares: tuple[float, ...] = ()

    @property
    def schedule(self) -> Schedule:
        """Where the weight of possible starts lies."""
        return Schedule(tuple(stage.longest_s for stage in self.stages), self.shares)

    @property
    def limits_s(self) -> tuple[float, ...]:
        """Every latency limit of every stage: all of them are edges from the beginning."""
        slos = (slo for stage in self.stages for slo in stage.slos)
        return tuple(sorted({slo.limit for slo in slos if slo.metric is Metric.LATENCY}))

    @property
    def names(self) -> tuple[str, ...]:
        """The streams of the whole rollout, whether a stage asks for them or not."""
        return (*self.shapes, *(name for name in self._promised if name not in self.shapes))

    @property
    def shapes(self) -> dict[str, list[str]]:
        """The stream of the whole latency, if any of it is promised, with those of its limits."""
        found: dict[str, list[str]] = {}
        for slo in self._promised.values():
            if slo.metric is Metric.LATENCY:
                found.setdefault(shape_of(slo), []).append(slo.name)
        return found

    @property
    def rates(self) -> tuple[str, ...]:
        """The streams about the share of what fails, or of values that are bad."""
        return tuple(name for name, slo in self._promised.items() if is_rate(slo))

    @property
    def _promised(self) -> dict[str, Slo]:
        return {slo.name: slo for stage in self.stages for slo in stage.promises}

    def is_soft(self, name: str) -> bool:
        """Whether this stream can only hold. The shape of latency is as hard as the hardest latency SLO."""
        return bool(self.soft) and all(each in self.soft for each in self.shapes.get(name, (name,)))


def pseudo_terms(terms: Terms) -> Terms:
    """Return the terms of the self test: nothing is granted, since there is no difference to be found."""
    stages = tuple(replace(stage, grant=Grant()) for stage in terms.stages)
    return replace(terms, stages=stages, tolerance=0.0, soft=frozenset())


class Stream(NamedTuple):
    """One stream's evidence, and what was counted on both arms since it began to rise, `seconds` ago.

    `log_e` is the evidence's own, kept because it is asked for often.
    """

    evidence: Evidence = _BLANK
    candidate: Pair = NONE
    baseline: Pair = NONE
    seconds: float = 0.0
    log_e: float = NOTHING

    def grown(self, evidence: Evidence, candidate: Pair, baseline: Pair, seconds: float) -> Stream:
        """Add a batch. As long as nothing speaks against the candidate, the counts start afresh."""
        log_e = evidence.log_e
        if self.log_e <= _UNDECIDED:
            return Stream(evidence, candidate, baseline, seconds, log_e)
        (kc, nc), (kb, nb) = self.candidate, self.baseline
        mine, other = Pair(kc + candidate.bad, nc + candidate.total), Pair(kb + baseline.bad, nb + baseline.total)
        return Stream(evidence, mine, other, self.seconds + seconds, log_e)

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON types."""
        return {
            "logs": self.evidence.logs,
            "candidate": self.candidate,
            "baseline": self.baseline,
            "seconds": self.seconds,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Stream:
        """Read what was stored."""
        evidence = Evidence(tuple(data["logs"]))
        return cls(evidence, Pair(*data["candidate"]), Pair(*data["baseline"]), data["seconds"], evidence.log_e)


_UNHEARD: Final = Stream()


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that is known of one rollout. A value: `weigh` returns the next one.

    `age_s` is the time since the promotion to `stage`, `judged_s` how much of it was judged. `shared` is what share of
    the baseline was bad, by stream, when the last of it left in an incident of both arms. `asked` are the questions of
    this stage, made at `asked_at_s` from the past; they are made anew when a case is read back.
    """

    terms: Terms
    edges: Edges
    past: Past
    stage: int = 0
    age_s: float = 0.0
    judged_s: float = 0.0
    relative: Mapping[str, Stream] = field(default_factory=dict)
    absolute: Mapping[str, Stream] = field(default_factory=dict)
    floor: Stream = _UNHEARD
    newcomers: tuple[int, int] = (0, 0)
    shared: Mapping[str, float] = field(default_factory=dict)
    asked: Mapping[str, Question] = field(default_factory=dict, repr=False, compare=False)
    asked_at_s: float = field(default=0.0, repr=False, compare=False)

    @property
    def now(self) -> Stage:
        """The stage that is judged."""
        return self.terms.stages[self.stage]

    @property
    def candidate_edges(self) -> Edges:
        """The edges by which the candidate is counted: the tolerance is in them."""
        return tuple(scaled(each, self.terms.tolerance) for each in self.edges)

    @property
    def trial_edges(self) -> Edges:
        """The edges by which future candidates are counted before the release, to measure their noise.

        Half of the tolerance is in them: noise that it covers does no harm, and the other half is kept in reserve.
        """
        return tuple(scaled(each, self.terms.tolerance / 2) for each in self.edges)

    def to_dict(self) -> dict[str, object]:
        """Return what is stored, as JSON types; the terms are not, they are configuration."""
        return {
            "edges": self.edges,
            "past": self.past.to_dict(),
            "stage": self.stage,
            "age_s": self.age_s,
            "judged_s": self.judged_s,
            "relative": {name: stream.to_dict() for name, stream in self.relative.items()},
            "absolute": {name: stream.to_dict() for name, stream in self.absolute.items()},
            "floor": self.floor.to_dict(),
            "newcomers": self.newcomers,
            "shared": dict(self.shared),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], terms: Terms) -> Case:
        """Read what was stored of a rollout with these terms."""
        case = cls(
            terms=terms,
            edges=tuple(map(tuple, data["edges"])),
            past=Past.from_dict(data["past"]),
            stage=data["stage"],
            age_s=data["age_s"],
            judged_s=data["judged_s"],
            relative={name: Stream.from_dict(each) for name, each in data["relative"].items()},
            absolute={name: Stream.from_dict(each) for name, each in data["absolute"].items()},
            floor=Stream.from_dict(data["floor"]),
            newcomers=tuple(data["newcomers"]),
            shared=data["shared"],
        )
        return asked_anew(case)


# --- before the release ---


def open_case(terms: Terms, strata: int = 1) -> Case:
    """Open a case on a baseline of which nothing is known yet."""
    edges = (first_edges(terms.limits_s),) * strata
    return Case(
        terms=terms,
        edges=edges,
        past=Past.none(edges),
        relative={name: Stream() for name in terms.names},
        absolute={name: Stream() for name in terms.names if name not in terms.shapes},
    )


def learn(case: Case, batch: Batch) -> Case:
    """Take a batch of the time before the release, or of a stage that is not judged: only the baseline is looked at."""
    return replace(case, past=_learnt(case, batch))


def _learnt(case: Case, batch: Batch) -> Past:
    kept = 0.5 ** (batch.seconds / case.terms.half_life_s)
    return case.past.grown(batch.baseline, kept) if batch.baseline.cells else case.past


def start(case: Case, stage: int, terms: Terms | None = None) -> Case:
    """Begin a stage: lay the edges anew at the baseline's quantiles, keep the evidence, forget who was seen.

    From here on, units must be counted by the new `edges` and `candidate_edges`. `terms` are new ones, if there are.
    """
    terms = terms or case.terms
    past, edges = case.past.recut(case.edges, terms.limits_s)
    begun = replace(
        case,
        terms=terms,
        past=past,
        edges=edges,
        stage=stage,
        age_s=0.0,
        judged_s=0.0,
        newcomers=(0, 0),
        asked_at_s=0.0,
    )
    return asked_anew(begun if begun.now.compares or not case.now.compares else _left_alone(begun))


def _left_alone(case: Case) -> Case:
    """Hold the candidate to its limits anew, now that nobody is left to compare with.

    What was found of them before could only hold: it was as much about the baseline. How that did in an incident that
    is not over is kept, so that the candidate is not blamed for it as soon as the others have gone.
    """
    rising = {name: each.baseline for name, each in case.absolute.items() if each.log_e > _UNDECIDED}
    shared = {name: _share(bad, total) for name, (bad, total) in rising.items() if total}
    return replace(case, shared=shared, absolute={name: Stream() for name in case.absolute})


def _share(bad: int, total: int) -> float:
    """Return the share of bad, as far above what was seen as chance may have it."""
    share = (bad + 0.5) / (total + 1)
    return min(share + 2 * math.sqrt(share * (1 - share) / (total + 1)), 1 - LEAST)


def asked_anew(case: Case) -> Case:
    """Make the questions of the stage from the past as it is now; `weigh` does so once a minute."""
    asked = questions(case.past, case.edges, case.now.promises, case.now.grant)
    return replace(case, asked=asked, asked_at_s=case.age_s)


# --- weighing ---


class Answers(NamedTuple):
    """What was said by one batch, or by several of the same moment: of hosts that were asked each by itself.

    The answers to the questions, by `streams`; how many `units` of candidate and baseline answered them; how many
    `requests` the whole service has served. All of it adds up.
    """

    streams: Mapping[str, Answer]
    units: tuple[int, int] = (0, 0)
    requests: int = 0

    @property
    def has_candidate(self) -> bool:
        """Whether there was anybody to compare with the baseline."""
        return any(answer.candidate.total for answer in self.streams.values())

    def to_sums(self, kind: str) -> dict[str, dict[str, float]]:
        """Return it as numbers by group and name, so that it can be added up by who knows nothing of it.

        `kind` is what was asked about, as `Slo.counts` calls it.
        """
        groups: dict[str, dict[str, float]] = {
            f"said of {kind}": {"candidate": self.units[0], "baseline": self.units[1], "requests": self.requests}
        }
        for name, (steps, mine, other) in self.streams.items():
            counts = {"bad": mine.bad, "total": mine.total, "others_bad": other.bad, "others": other.total}
            groups[f"said {name}"] = {**{f"{size}": step for size, step in enumerate(steps)}, **counts}
        return groups

    @classmethod
    def from_sums(cls, groups: Mapping[str, Mapping[str, float]], kind: str, names: Iterable[str]) -> Answers:
        """Read what was said of a kind, in these streams, from sums; what is not there is nothing."""
        answers = {}
        for name in names:
            found = groups.get(f"said {name}", {})
            steps = [found.get(f"{size}", 0.0) for size in range(SIZES)]
            bad, total, others_bad, others = (int(found.get(each, 0)) for each in _COUNTS)
            answers[name] = Answer(steps, Pair(bad, total), Pair(others_bad, others))
        said = groups.get(f"said of {kind}", {})
        units = int(said.get("candidate", 0)), int(said.get("baseline", 0))
        return cls(answers, units, int(said.get("requests", 0)))


_COUNTS: Final = ("bad", "total", "others_bad", "others")


def answers_of(case: Case, batch: Batch) -> Answers:
    """Put the questions of the stage to a batch."""
    answers = {name: question.answered(batch) for name, question in case.asked.items()}
    return Answers(answers, (batch.candidate.units, batch.baseline.units), batch.requests)


def weigh(case: Case, batch: Batch, said: Answers | None = None) -> Case:
    """Take a batch of the running stage: bet on it by what was known before it, and only then learn from it.

    `said` is what the batch says, if it was asked before.
    """
    mine, others = case.newcomers
    learnt = {
        "newcomers": (mine + batch.newcomers[0], others + batch.newcomers[1]),
        "past": _learnt(case, batch) if case.now.compares else case.past,
    }
    weighed = hear(case, said or answers_of(case, batch), batch.seconds, learnt)
    return asked_anew(weighed) if weighed.age_s - case.asked_at_s >= _RENEW_S else weighed


def hear(case: Case, said: Answers, seconds: float, learnt: Mapping[str, Any] = MappingProxyType({})) -> Case:
    """Weigh what was said of the last `seconds`; who has said it asked by what was known before. `learnt` comes after.

    A batch of the time that is to be skipped says nothing.
    """
    age_s = case.age_s + seconds
    if case.age_s < case.terms.skip_s:
        return replace(case, age_s=age_s)
    judged_s = case.judged_s + seconds
    weight = case.terms.schedule.weight(case.stage, case.judged_s, judged_s)
    return replace(
        case,
        age_s=age_s,
        judged_s=judged_s,
        relative=_compared(case, said, weight, seconds) if case.now.compares else case.relative,
        absolute=_held_to_limits(case, said, weight, seconds),
        floor=_held_to_floor(case, said.requests, weight, seconds),
        **learnt,
    )


def _compared(case: Case, said: Answers, weight: float, seconds: float) -> dict[str, Stream]:
    """Take the answers of this stage; a stream that it does not ask for stays as it is."""
    streams = dict(case.relative)
    if not said.has_candidate:
        return streams
    rate = exchange(*said.units) / seconds
    for name, (steps, mine, other) in said.streams.items():
        eta = temper(case.terms.noise.get(name, 0.0), rate)
        grown = streams[name].evidence.grown(weight, steps, eta=eta, cap=case.terms.cap)
        streams[name] = streams[name].grown(grown, mine, other, seconds)
    return streams


def _held_to_limits(case: Case, said: Answers, weight: float, seconds: float) -> dict[str, Stream]:
    """Hold the candidate to its limits, tolerance included."""
    streams = dict(case.absolute)
    for slo in case.now.promises:
        _, mine, other = said.streams[slo.name]
        steps = absolute_steps(mine, allowed(case, slo))
        grown = streams[slo.name].evidence.grown(weight, steps, cap=case.terms.cap)
        streams[slo.name] = streams[slo.name].grown(grown, mine, other, seconds)
    return streams


def allowed(case: Case, slo: Slo) -> float:
    """Return the share of bad requests that the candidate may have, which is what was promised.

    Where nobody is left to compare with, it is what the baseline did as long as there was one, if that was worse: the
    limit alone would take back what is no worse than before.
    """
    promise = slo.limit * (1 + case.terms.tolerance) if slo.quantile is None else promised(slo)
    if case.now.compares:
        return promise
    shared = case.shared.get(slo.name, 0.0)
    if not case.past.units:
        return max(promise, shared)
    usual = case.past.share_failed if slo.quantile is None else case.past.share_over(case.edges, slo.limit)
    return max(promise, usual, shared)


def _held_to_floor(case: Case, requests: int, weight: float, seconds: float) -> Stream:
    slo = case.now.floor
    if slo is None:
        return case.floor
    limit = slo.limit * (1 - case.terms.tolerance)
    steps = log_floor(requests, seconds, limit, _FACTORS)
    grown = case.floor.evidence.grown(weight, steps, cap=case.terms.cap)
    return case.floor.grown(grown, Pair(0, requests), NONE, seconds)


# --- for several judges of one rollout ---


def joined(one: Case, heard: Case | None, noise: Mapping[str, float]) -> Case:
    """Return the case of several judges: what `one` of them goes by now, and what was `heard` of all of them so far.

    `noise` is what the others know of noise, by stream; the most that anybody knows counts.
    """
    own = one.terms.noise
    terms = replace(one.terms, noise={name: max(own.get(name, 0), noise.get(name, 0)) for name in {*own, *noise}})
    since = heard if heard is not None and heard.stage == one.stage else None
    limits = heard if heard is not None and (one.now.compares or not heard.now.compares) else None
    return replace(
        one,
        terms=terms,
        age_s=since.age_s if since else 0.0,
        judged_s=since.judged_s if since else 0.0,
        relative=heard.relative if heard else {name: Stream() for name in one.relative},
        absolute=limits.absolute if limits else {name: Stream() for name in one.absolute},
        floor=heard.floor if heard else _UNHEARD,
    )


def evidence_of(case: Case) -> dict[str, object]:
    """Return what was heard in a case, as JSON types, for who goes on with it."""
    data = case.to_dict()
    return {name: data[name] for name in _EVIDENCE}


def with_evidence(case: Case, data: Mapping[str, Any]) -> Case:
    """Go on with what was heard elsewhere in the same stage. Raises: KeyError, TypeError, ValueError."""
    heard = Case.from_dict({**case.to_dict(), **{name: data[name] for name in _EVIDENCE}}, case.terms)
    if (heard.relative.keys(), heard.absolute.keys()) != (case.relative.keys(), case.absolute.keys()):
        raise ValueError(f"evidence of {sorted(heard.relative)}, expected {sorted(case.relative)}")
    return heard


_EVIDENCE: Final = ("age_s", "judged_s", "relative", "absolute", "floor")
