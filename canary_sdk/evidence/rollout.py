"""From the journal of a rollout, and nothing else, to the record that its report is made of. Pure.

Every figure is computed again from what was counted in the intervals. A line that cannot be read, a change of state
that does not follow from the one before, and a stretch of time of which nothing was written down are named; nothing is
made up in their place.

A stage is judged as a whole: its exact counts are added up and held against its promises, as one interval would be. Its
quantiles, which cannot be added up, are the mean of those of its intervals, by requests; they are shown and decide
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from canary_sdk.core.breaker import Breaker, RollbackRule, observe
from canary_sdk.core.events import FlagTripped
from canary_sdk.core.judge.decision import Action
from canary_sdk.core.judge.slo import Metric, say_ratio, say_seconds
from canary_sdk.core.judge.tally import EMPTY, Tally
from canary_sdk.core.judge.verdict import Arms, Outcome, judge
from canary_sdk.core.rollout.journal import Configuration, Consent, Interval, Judged, Ruling, Transition, is_news
from canary_sdk.core.rollout.setting import Setting
from canary_sdk.core.rollout.state import Status
from canary_sdk.errors import CanaryError
from canary_sdk.evidence.record import Check, Decision, Duration, Moment, Record, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from canary_sdk.core.judge.verdict import Finding, Verdict
    from canary_sdk.ports import JournalEntry

SLACK: Final = 0.1
MOST_SLACK_S: Final = 1.0
"""By so much of an interval, and at most so many seconds, it may have begun before the stage that it belongs to: the
tick that ends one interval and the one that enters a stage are not written down at quite the same time."""
WHOLE: Final = 0.9
"""What is shorter than so much of an interval was ended by a trip: a rule that counts intervals does not look at it."""
GAP: Final = 1.6
"""So many intervals without a line are a gap: one is missing."""
LAST_WORDS: Final = (Status.PROMOTED, Status.ABORTED)
BEGINNINGS: Final = (Status.IDLE, Status.ABORTED, Status.PROMOTED)


class NothingWritten(CanaryError):
    """There is no such rollout in the journal."""


def attempts(entries: Iterable[JournalEntry]) -> tuple[int, ...]:
    """Return the attempts of which there is anything, oldest first."""
    return tuple(sorted({entry.record.attempt for entry in entries if isinstance(entry.record, Transition)}))


def record_of(
    entries: Sequence[JournalEntry], flag_key: str, environment: str, *, attempt: int | None = None
) -> Record:
    """Return what the journal tells of one attempt, the last unless named.

    Raises:
        NothingWritten: the journal does not tell of it.
    """
    known = attempts(entries)
    wanted = attempt if attempt is not None else known[-1] if known else 0
    if wanted not in known:
        there = f"there is {', '.join(map(str, known))}" if known else "there is nothing"
        named = "" if attempt is None else f" of attempt {attempt}"
        raise NothingWritten(f"the journal of {flag_key} in {environment} tells of no rollout{named}: {there}")
    tale = _Tale.of(_cut(entries, wanted))
    return Record(
        title=f"Rollout of {flag_key}, attempt {wanted}",
        flag_key=flag_key,
        environment=environment,
        began_at=tale.began_at,
        seconds=tale.ended_at - tale.began_at,
        setup=_setup(tale),
        checks=tuple(_checks(tale)),
        durations=tuple(_durations(tale)),
        stages=tuple(stage.told for stage in tale.stages),
        timeline=tuple(_timeline(tale)),
        decisions=tuple(
            Decision(each.at - tale.began_at, each.verdict, each.breaches, each.weighed) for each in tale.judged
        ),
        approvals=tuple(tale.consents),
        configurations=tuple(tale.configurations),
        otherwise=_otherwise(tale),
        gaps=tuple(_gaps(tale)),
        problems=tuple(tale.problems),
    )


def _cut(entries: Sequence[JournalEntry], attempt: int) -> Iterator[JournalEntry]:
    """Yield what was written from the first change of state of one attempt to the first of the next."""
    now: int | None = None
    for entry in entries:
        if isinstance(entry.record, Transition):
            now = entry.record.attempt
        if now == attempt:
            yield entry


# --- what the lines say together ---


@dataclass(slots=True)
class _Stay:
    """One stage, from when it was entered to when it was left."""

    number: int
    percent: float
    began_at: float
    ended_at: float
    setting: Setting | None
    origin_at: float
    intervals: list[Interval] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    frozen: Tally | None = None
    """What was counted of the baseline before stage 1, as it was kept."""

    @property
    def name(self) -> str:
        """What people call it."""
        return _name(self.number, self.setting)

    @property
    def evidence(self) -> list[Interval]:
        """The intervals that lie within the stage, after its warm-up."""
        warm_at = self.began_at + (self.setting.plan.warmup_s if self.setting else 0.0)
        return [each for each in self.intervals if _began_at(each) >= warm_at]

    @property
    def verdict(self) -> Verdict | None:
        """Its promises held against all that was counted in it; None if it has none, or nothing was counted."""
        if self.setting is None or not self.number:
            return None
        soft = self.setting.soft_in(self.number)
        promises = [slo for slo in (*self.setting.hard_in(self.number), *soft) if slo.of == "unit"]
        found = self.evidence
        if not promises or not found:
            return None
        candidate, baseline = _joined(each.candidate for each in found), _joined(each.baseline for each in found)
        policy = self.setting.policy
        return judge(
            promises,
            Arms(candidate, baseline if baseline.requests else None),
            total=_joined(_whole(each) for each in found),
            share=self.percent / 100,
            tolerance=policy.tolerance,
            min_samples=policy.min_samples,
        )

    @property
    def told(self) -> Stage:
        """The stage as a report shows it."""
        found = self.evidence
        seen = {"candidate": _joined(each.candidate for each in found)} if found else {}
        baseline = self.frozen or _joined(each.baseline for each in found)
        if baseline.requests:
            seen["baseline"] = baseline
        names = [each.verdict.outcome.name for each in self.judged]
        return Stage(
            self.name,
            self.percent,
            self.began_at - self.origin_at,
            self.ended_at - self.began_at,
            seen,
            slos=(*self.setting.hard_in(self.number), *self.setting.soft_in(self.number)) if self.setting else (),
            verdict=self.verdict,
            outcomes={outcome.name: names.count(outcome.name) for outcome in Outcome if outcome.name in names},
        )


@dataclass(slots=True)
class _Tale:
    """All of one attempt, in the order in which it was written."""

    transitions: list[Transition] = field(default_factory=list)
    rulings: list[Ruling] = field(default_factory=list)
    consents: list[Consent] = field(default_factory=list)
    configurations: list[Configuration] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    stages: list[_Stay] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    began_at: float = 0.0
    ended_at: float = 0.0

    @classmethod
    def of(cls, entries: Iterable[JournalEntry]) -> _Tale:
        """Read the lines; the first is a change of state."""
        tale = cls()
        for entry in entries:
            tale.began_at = tale.began_at or entry.at
            tale.ended_at = max(tale.ended_at, entry.at)
            tale._take(entry)
        if tale.stages:
            tale.stages[-1].ended_at = tale.ended_at
        tale.problems += tale._unpaired()
        if not tale.settings:
            tale.problems.append("what it was run by was not written down: no stage can be held against its promises")
        return tale

    @property
    def setting(self) -> Setting | None:
        """By what it was run in the end."""
        return self.settings[-1] if self.settings else None

    @property
    def last(self) -> Transition:
        """The last change of state."""
        return self.transitions[-1]

    def _unpaired(self) -> Iterator[str]:
        """Name the intervals without a verdict, and the verdicts without an interval."""
        counted = {(each.at, each.stage) for stay in self.stages for each in stay.intervals}
        found = {(each.at, each.stage) for each in self.judged}
        for at, stage in sorted(counted - found):
            yield f"{_moment(at)}: what was found in this interval of stage {stage} is not there"
        for at, stage in sorted(found - counted):
            yield f"{_moment(at)}: what was counted in this interval of stage {stage} is not there"

    def _take(self, entry: JournalEntry) -> None:
        match entry.record:
            case None:
                self.problems.append(f"line {entry.id}, {_moment(entry.at)}: {entry.problem}")
            case Transition() as record:
                self._follow(entry, record)
            case Configuration() as record:
                self._configure(entry, record)
            case Interval() as record:
                self._stay(record.stage, record.at).intervals.append(record)
            case Judged() as record:
                self.judged.append(record)
                self._stay(record.stage, record.at).judged.append(record)
            case Ruling() as record:
                self.rulings.append(record)
            case Consent() as record:
                self.consents.append(record)
            case _:  # a kind that this report does not show
                pass

    def _follow(self, entry: JournalEntry, record: Transition) -> None:
        """Enter a stage, if it is another one; say where the change does not follow from the one before."""
        before = self.last if self.transitions else None
        where = f"line {entry.id}, {_moment(entry.at)}"
        if before is None and record.before not in BEGINNINGS:
            self.problems.append(f"{where}: it begins as {record.before}; what came before is gone")
        if before is not None and before.after != record.before:
            said = f"{record.before} became {record.after}, but it was {before.after}"
            self.problems.append(f"{where}: {said}: a change of state is not there")
        if before is not None and record.stage > before.stage + 1 and not record.who:
            self.problems.append(
                f"{where}: stage {record.stage} follows stage {before.stage}: what is between is not there"
            )
        self.transitions.append(record)
        if record.baseline is not None and self.stages:
            self.stages[-1].frozen = record.baseline
        if record.after in LAST_WORDS and (before is None or before.stage == record.stage):
            return
        if before is None or before.stage != record.stage:
            self._enter(record.stage, record.percent, record.at)

    def _enter(self, number: int, percent: float, at: float) -> _Stay:
        if self.stages:
            self.stages[-1].ended_at = at
        stay = _Stay(number, percent, at, at, self.setting, self.began_at)
        self.stages.append(stay)
        return stay

    def _stay(self, number: int, at: float) -> _Stay:
        """Return the stage that was under way; one whose beginning was not written down begins here."""
        found = next((each for each in reversed(self.stages) if each.number == number), None)
        if found is None:
            self.problems.append(f"{_moment(at)}: stage {number} is under way, its beginning was not written down")
            percent = self.setting.plan.percent(number) if self.setting else 0.0
            found = self._enter(number, percent, at)
        return found

    def _configure(self, entry: JournalEntry, record: Configuration) -> None:
        """Take over what it is run by from now on; a process that begins to move it writes down what holds already.

        A stage whose promises are changed is held against the last of them.
        """
        if self.configurations and self.configurations[-1].fields == record.fields:
            return
        self.configurations.append(record)
        try:
            setting = Setting.from_fields(record.fields)
        except (CanaryError, LookupError, TypeError, ValueError, AttributeError) as error:
            self.problems.append(f"line {entry.id}, {_moment(entry.at)}: the configuration cannot be read: {error!r}")
            return
        self.settings.append(setting)
        if self.stages:
            self.stages[-1].setting = setting


def _name(stage: int, setting: Setting | None) -> str:
    if setting and stage > setting.plan.last:
        return "after the promotion"
    return f"stage {stage}" if stage else "before stage 1"


def _joined(tallies: Iterable[Tally | None]) -> Tally:
    """Add up what was counted in one interval after the other; the quantiles are means, by requests."""
    found = [each for each in tallies if each is not None]
    counted = [each for each in found if each.requests]
    requests = sum(each.requests for each in found)
    limits = set.intersection(*(set(each.over) for each in counted)) if counted else set()
    quantiles = set.intersection(*(set(each.quantiles) for each in counted)) if counted else set()
    return Tally(
        requests=requests,
        errors=sum(each.errors for each in found),
        aborted=sum(each.aborted for each in found),
        seconds=sum(each.seconds for each in found),
        over={limit: sum(each.over[limit] for each in counted) for limit in sorted(limits)},
        quantiles={q: sum(each.quantiles[q] * each.requests for each in counted) / requests for q in sorted(quantiles)},
    )


def _began_at(interval: Interval) -> float:
    """Return when it began, a little late."""
    seconds = interval.candidate.seconds
    return interval.at - seconds + min(SLACK * seconds, MOST_SLACK_S)


def _whole(interval: Interval) -> Tally:
    return interval.total or interval.candidate + (interval.baseline or EMPTY)


# --- what had to hold ---


def _checks(tale: _Tale) -> Iterator[Check]:
    entered = [
        stay for stay in tale.stages if stay.number and (not tale.setting or stay.number <= tale.setting.plan.last)
    ]
    for stay in entered:
        yield _kept(stay, tale.last)
    yield from _approved(tale)
    ended = {Status.PROMOTED: True, Status.ABORTED: False}.get(Status(tale.last.after))
    yield Check("It ends with its promotion", ended, f"{tale.last.after}: {tale.last.reason or 'no reason was given'}")
    told = (
        f"{len(tale.problems)} things are wrong with it" if tale.problems else "every line could be read, and follows"
    )
    yield Check("The journal is whole", None if tale.problems else True, told)


def _kept(stay: _Stay, last: Transition) -> Check:
    """Say whether a stage kept its promises, on all that was counted in it.

    What was taken back by itself, before its counts alone could tell, did not, whatever it was found by.
    """
    claim = f"{stay.name[0].upper()}{stay.name[1:]}, at {stay.percent:g} %, keeps its promises"
    verdict = stay.verdict
    is_known = verdict is not None and verdict.outcome is not Outcome.INCONCLUSIVE
    if not is_known and (last.after, last.stage, last.who) == (Status.ABORTED, stay.number, ""):
        so_soon = "an interval was over" if verdict is None else "its counts alone could tell"
        return Check(claim, False, f"it was aborted before {so_soon}: {last.reason}")
    if verdict is None:
        return Check(claim, None, "nothing was counted of it, or it has no promises")
    held = {Outcome.INCONCLUSIVE: None, Outcome.BREACH: False}.get(verdict.outcome, True)
    worse = [over_by(each) for each in verdict.findings if each.outcome is not Outcome.PASS]
    found = f"{verdict.outcome.name}{': ' if worse else ''}{', '.join(worse)}"
    return Check(claim, held, "; ".join([found, *_not_added_up(stay)]))


def _not_added_up(stay: _Stay) -> Iterator[str]:
    """Say in how many intervals promises of calls and indicators were kept, of which an interval has no counts."""
    assert stay.setting is not None
    for slo in (*stay.setting.hard_in(stay.number), *stay.setting.soft_in(stay.number)):
        if slo.of != "unit":
            found = [each.outcome for judged in stay.judged for each in judged.verdict.findings if each.slo == slo]
            kept = sum(each in (Outcome.PASS, Outcome.ACCEPTABLE) for each in found)
            yield f"{slo.text} in {kept} of {len(found)} intervals"


def over_by(finding: Finding) -> str:
    """Say how far a figure is beyond its limit, or why that is not known."""
    if finding.candidate is None or finding.outcome is Outcome.INCONCLUSIVE:
        return f"{finding.slo.name} is {finding.outcome.name}: {finding.why}"
    beyond = (finding.load - 1) * 100
    way = "under" if finding.slo.metric is Metric.THROUGHPUT else "over"
    shared = ", as is the baseline" if finding.shared and finding.slo.metric is not Metric.THROUGHPUT else ""
    figure = finding.slo.say(finding.candidate)
    return f"{finding.slo.name} {figure}, {beyond:.1f} % {way} {finding.slo.say(finding.limit)}{shared}"


def _approved(tale: _Tale) -> Iterator[Check]:
    if tale.setting is None:
        return
    for stay in tale.stages:
        roles = tale.setting.plan.roles(stay.number)
        if not roles:
            continue
        given = {each.role: each for each in tale.consents if each.stage == stay.number and each.at <= stay.began_at}
        missing = [role for role in roles if role not in given]
        by = ", ".join(f"{each.who} as {role}" for role, each in given.items())
        found = f"no approval by {' and '.join(missing)} was written down" if missing else f"by {by}"
        yield Check(f"{stay.name[0].upper()}{stay.name[1:]} was approved before it was entered", not missing, found)


def _durations(tale: _Tale) -> Iterator[Duration]:
    promoted = next((each.at for each in tale.transitions if each.after == Status.PROMOTED), None)
    aborted = next((each.at for each in tale.transitions if each.after == Status.ABORTED), None)
    if aborted is None or promoted is not None:
        yield Duration("from the start to the promotion", None if promoted is None else promoted - tale.began_at)
    if aborted is not None:
        yield Duration("from the start to the abort", aborted - tale.began_at)


def _setup(tale: _Tale) -> dict[str, str]:
    started = tale.transitions[0].who
    found = {"started by": started} if started else {}
    where = "" if tale.last.after in LAST_WORDS else f", stage {tale.last.stage} at {tale.last.percent:g} %"
    found["state"] = f"{tale.last.after}{where}"
    if tale.setting is not None:
        policy = tale.setting.policy
        found["rule"] = f"{policy.rule}, intervals of {say_seconds(policy.interval_s)}"
        found["tolerance"] = say_ratio(policy.tolerance)
    return found


# --- what another rule would have done ---


def _otherwise(tale: _Tale) -> str:
    """Say what the rule that did not decide would have done with the same intervals."""
    if tale.setting is None or not tale.judged:
        return ""
    if tale.setting.policy.rule is RollbackRule.CONSECUTIVE:
        return _sequential(tale)
    return _consecutive(tale, tale.setting)


def _consecutive(tale: _Tale, setting: Setting) -> str:
    """Put every interval before the breaker once more, as if breaches in a row decided."""
    policy = replace(setting.policy, rule=RollbackRule.CONSECUTIVE, enabled=True, dry_run=False)
    rule = f"the consecutive rule ({policy.breaches} blaming breaches in a row)"
    breaker = Breaker(tale.last.flag_key)
    for each in tale.judged:
        if each.verdict.seconds < WHOLE * policy.interval_s:
            continue  # a trip cut it short
        verdict = each.verdict.without(setting.soft_in(each.stage))
        breaker, events = observe(breaker, verdict, policy, each.at, each.at)
        if any(isinstance(event, FlagTripped) for event in events):
            return (
                f"By {rule} it would have been rolled back {_after(tale, each)}: {breaker.reason}.{_noise(tale, each)}"
            )
    return f"By {rule} it would not have been rolled back either."


def _sequential(tale: _Tale) -> str:
    if not any(each.weighed for each in tale.judged):
        return "What the sequential judge would have done is not known: it was not heard."
    for each in tale.judged:
        if each.weighed and each.weighed.action == Action.ROLLBACK:
            why = f"{each.weighed.sentence}.{_noise(tale, each)}"
            return f"The sequential judge would have rolled it back {_after(tale, each)}: {why}"
    return "The sequential judge would not have rolled it back."


def _after(tale: _Tale, judged: Judged) -> str:
    return f"in stage {judged.stage}, {say_seconds(judged.at - tale.began_at)} after the start"


def _noise(tale: _Tale, judged: Judged) -> str:
    """Say where a rollback would have been wrong by all that was counted in the stage."""
    verdict = next((stay.verdict for stay in tale.stages if stay.number == judged.stage), None)
    if verdict is None or verdict.outcome not in (Outcome.PASS, Outcome.ACCEPTABLE):
        return ""
    whole = f"The stage as a whole is {verdict.outcome.name}"
    return f" {whole}: the noise of single intervals alone would have rolled it back."


# --- when ---


def _timeline(tale: _Tale) -> Iterator[Moment]:
    """Tell changes of state, holds, approvals and configurations in the order of their times."""
    seen = {record.seq for record in tale.transitions}
    holds = [record for record in tale.rulings if record.seq not in seen]
    moments = [
        *(Moment(each.at, "configuration", _configured(each)) for each in tale.configurations),
        *(Moment(each.at, "approval", _consented(each)) for each in tale.consents),
        *(Moment(each.at, each.after.lower(), _changed(each, tale.setting)) for each in tale.transitions),
        *(
            Moment(each.at, each.action.lower(), each.reason)
            for before, each in pairwise([None, *holds])
            if each and (before is None or is_news(before.reason, each.reason))
        ),
    ]
    for moment in sorted(moments, key=lambda each: each.at_s):
        yield replace(moment, at_s=moment.at_s - tale.began_at)


def _changed(record: Transition, setting: Setting | None) -> str:
    who = f" by {record.who}" if record.who else ""
    stage = f"{_name(record.stage, setting)} at {record.percent:g} %"
    return f"{record.before} → {record.after}, {stage}{who}{': ' if record.reason else ''}{record.reason}"


def _consented(record: Consent) -> str:
    why = f": {record.why}" if record.why else ""
    return f"stage {record.stage} approved by {record.who} as {record.role}{why}"


def _configured(record: Configuration) -> str:
    return f"as of version {record.version} of the store{f', by {record.who}' if record.who else ''}"


def _gaps(tale: _Tale) -> Iterator[str]:
    """Name the stretches of a stage of which no interval was written down."""
    for stay in tale.stages:
        if stay.setting is None or not stay.number or not stay.intervals:
            continue
        longest = GAP * stay.setting.policy.interval_s
        times = [stay.began_at, *(each.at for each in stay.intervals), stay.ended_at]
        for before, after in pairwise(times):
            if after - before > longest:
                stretch = f"from {_moment(before)} to {_moment(after)} ({say_seconds(after - before)})"
                yield f"{stay.name}: no interval {stretch}"


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
