"""A flag in the form that answers: compiled once, when the flag table is built.

The closures here hold everything they need, and every answer they can give exists beforehand. They ask in this order,
and the first that has an answer gives it:

    switched off → prerequisites → targets → rules → the percentage

Which unit of work asks, and whether a guard is up, is the runtime's business.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import mmh3

from canary_sdk.core.flags.bucketing import BUCKETS, bucket_of, seed_of, threshold_of
from canary_sdk.core.flags.conditions import compile_condition, first_of, joined
from canary_sdk.core.flags.evaluation import NO_ATTRIBUTES, Evaluation, Reason, Role
from canary_sdk.core.flags.flag import DEFAULT, ROLLOUT, FlagType
from canary_sdk.core.flags.schemes import Bucketing, assigner
from canary_sdk.core.flags.variants import chooser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from canary_sdk.core.flags.conditions import Holds
    from canary_sdk.core.flags.flag import Flag, Prerequisite, Rule
    from canary_sdk.core.flags.schemes import Assign

    Attributes = Mapping[str, Any]
    Choose = Callable[[str | None, Attributes], Evaluation]
    Decide = Callable[[str | None, Attributes], Evaluation | None]
    Ask = Callable[[str, str | None, Attributes], Evaluation | None]
    """What another flag answers to the same targeting key and attributes; None if it is not known."""


EVERYBODY: Final = 100


class Plain(NamedTuple):
    """A percentage that lies between nobody and everybody and hands out one candidate."""

    seed: int
    threshold: int
    on: Evaluation
    off: Evaluation
    keyless: Evaluation


class Split(NamedTuple):
    """A compiled percentage. `constant` is its answer if it has but one; `plain` is there if it is that simple."""

    choose: Choose
    constant: Evaluation | None = None
    plain: Plain | None = None


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule: whom it holds for, and what it answers to them."""

    rule: Rule
    holds: Holds
    answer: Choose


@dataclass(frozen=True, slots=True)
class CompiledFlag:
    """A flag ready to be asked.

    `choose` answers while nothing is held; `tripped` is the answer while it is; `probe` answers while the breaker is
    half open, and `is_probed` says whom it may let in. `before` is what decides ahead of the percentage, None if
    nothing can. The parts are for explaining.
    """

    flag: Flag
    choose: Choose
    probe: Choose
    is_probed: Callable[[str | None], bool]
    tripped: Evaluation
    before: Decide | None
    split: Split
    targets: Mapping[str, Evaluation]
    rules: tuple[CompiledRule, ...]
    ask: Ask


def _nobody(_: str, __: str | None, ___: Attributes) -> None:
    return None


def compile_flag(
    flag: Flag, probe_percent: float = 0.0, segments: Mapping[str, Holds] = NO_ATTRIBUTES, ask: Ask = _nobody
) -> CompiledFlag:
    """Compile a flag of one environment.

    `probe_percent` is the share that a half-open breaker lets through. `segments` are compiled, and hold all that the
    flag refers to. `ask` answers for its prerequisites; one that nobody knows has failed.
    """
    split = _own_split(flag)
    targets = {
        key: answer_of(flag, variant, Reason.TARGETING_MATCH) for variant, keys in flag.targets.items() for key in keys
    }
    rules = tuple(_compile_rule(flag, rule, split, segments) for rule in flag.rules)
    steps = list(_steps(flag, targets, rules, ask)) if flag.enabled else []
    before: Decide | None = joined(steps, first_of) if steps else None
    choose = _chooser(before, split)
    tripped = answer_of(flag, flag.baseline, Reason.TRIPPED)
    is_probed = _first(flag, probe_percent)
    probe = _probe(choose, is_probed, tripped)
    return CompiledFlag(flag, choose, probe, is_probed, tripped, before, split, targets, rules, ask)


def _chooser(before: Decide | None, split: Split) -> Choose:
    """Join what decides; the common case of rules ahead of a plain percentage is one call less."""
    if before is None:
        return split.choose
    return first_of(before, split.choose) if split.plain is None else _plain_after(before, split.plain)


def answer_of(flag: Flag, variant: str, reason: Reason, role: Role = Role.APART) -> Evaluation:
    """Build the answer that serves a variant."""
    value = flag.values[variant]
    enabled = bool(value) if flag.type is FlagType.BOOLEAN else variant != flag.baseline
    return Evaluation(flag.key, value, variant, reason, role, enabled)


# --- ahead of the percentage ---


def _steps(
    flag: Flag, targets: Mapping[str, Evaluation], rules: tuple[CompiledRule, ...], ask: Ask
) -> Iterator[Decide]:
    """Make what decides ahead of the percentage, in order."""
    failed = answer_of(flag, flag.baseline, Reason.PREREQUISITE_FAILED)
    for prerequisite in flag.prerequisites:
        yield _failed_unless(prerequisite, ask, failed)
    if targets:
        yield lambda key, _: targets.get(key)  # type: ignore[arg-type] # None is nobody's key
    for rule in rules:
        yield _decided(rule)


def is_met(prerequisite: Prerequisite, ask: Ask, key: str | None, attributes: Attributes) -> bool:
    """Whether the other flag answers what is required of it."""
    other = ask(prerequisite.flag, key, attributes)
    return other is not None and other.variant == prerequisite.variant


def _failed_unless(prerequisite: Prerequisite, ask: Ask, failed: Evaluation) -> Decide:
    return lambda key, attributes: None if is_met(prerequisite, ask, key, attributes) else failed


def _compile_rule(flag: Flag, rule: Rule, split: Split, segments: Mapping[str, Holds]) -> CompiledRule:
    """Compile a rule. Only one that puts its users into the flag's own split leaves them on the arms."""
    holds = compile_condition(rule.condition, segments.__getitem__)
    if rule.serve == ROLLOUT:
        answer = split.choose if rule.rollout is None else _split(flag, rule.rollout, Reason.TARGETING_MATCH).choose
    else:
        variant = flag.baseline if rule.serve == DEFAULT else rule.serve
        answer = _always(answer_of(flag, variant, Reason.TARGETING_MATCH)).choose
    return CompiledRule(rule, holds, answer)


def _decided(rule: CompiledRule) -> Decide:
    holds, answer = rule.holds, rule.answer
    return lambda key, attributes: answer(key, attributes) if holds(key, attributes) else None


# --- percentages ---


def _own_split(flag: Flag) -> Split:
    if not flag.enabled:
        return _always(answer_of(flag, flag.baseline, Reason.DISABLED))
    return _split(flag, flag.rollout, Reason.SPLIT)


def _split(flag: Flag, percent: float, reason: Reason) -> Split:
    """Compile a percentage. Where the flag's own did not decide, both sides are measured apart.

    Nobody and everybody need no hash. Without a key one is not in, unless everybody is.
    """
    own = reason is Reason.SPLIT
    threshold = threshold_of(percent)
    if threshold <= 0:
        nobody = answer_of(flag, flag.baseline, Reason.DEFAULT if own else reason, Role.BASELINE if own else Role.APART)
        return _always(nobody)
    salt = flag.salt or flag.key
    off = answer_of(flag, flag.baseline, reason, Role.BASELINE if own else Role.APART)
    keyless = answer_of(flag, flag.baseline, Reason.DEFAULT)
    on = [answer_of(flag, each.name, reason, Role.CANDIDATE if own else Role.APART) for each in flag.candidates]
    if flag.bucketing is not Bucketing.CANARY:
        return _assigned(flag, percent, on, off, keyless)
    if len(on) > 1:
        return _divided(flag, threshold, on, off, keyless)
    if threshold >= BUCKETS:
        return _always(on[0])
    plain = Plain(seed_of(salt), threshold, on[0], off, keyless)
    return Split(_plain(plain), plain=plain)


def _always(evaluation: Evaluation) -> Split:
    return Split(lambda _, __: evaluation, constant=evaluation)


def _plain(plain: Plain) -> Choose:
    seed, threshold, on, off, keyless = plain

    def choose(key: str | None, _: Attributes, bucket_of: Callable[[str, int, bool], int] = mmh3.hash) -> Evaluation:
        if not key:
            return keyless
        return on if bucket_of(key, seed, False) < threshold else off

    return choose


def _plain_after(before: Decide, plain: Plain) -> Choose:
    seed, threshold, on, off, keyless = plain

    def choose(
        key: str | None, attributes: Attributes, bucket_of: Callable[[str, int, bool], int] = mmh3.hash
    ) -> Evaluation:
        decided = before(key, attributes)
        if decided is not None:
            return decided
        if not key:
            return keyless
        return on if bucket_of(key, seed, False) < threshold else off

    return choose


def _divided(flag: Flag, threshold: int, on: list[Evaluation], off: Evaluation, keyless: Evaluation) -> Split:
    """Divide a percentage among several variants; where everybody is in, those without a key share one of them."""
    salt = flag.salt or flag.key
    seed = seed_of(salt)
    answers = {each.variant: each for each in on}
    variant_of = chooser(salt, {each.name: each.weight for each in flag.candidates})
    nobody = answers[variant_of("")] if threshold >= BUCKETS else keyless

    def choose(key: str | None, _: Attributes) -> Evaluation:
        if not key:
            return nobody
        return answers[variant_of(key)] if bucket_of(key, seed) < threshold else off

    return Split(choose)


def _assigned(flag: Flag, percent: float, on: list[Evaluation], off: Evaluation, keyless: Evaluation) -> Split:
    """Divide a percentage as another tool does."""
    if percent >= EVERYBODY and len(on) == 1:
        return _always(on[0])
    assign = assign_of(flag, percent)
    answers: dict[str | None, Evaluation] = {None: off} | {each.variant: each for each in on}
    nobody = answers[assign("")] if percent >= EVERYBODY else keyless
    return Split(lambda key, _: answers[assign(key)] if key else nobody)


def assign_of(flag: Flag, percent: float) -> Assign:
    """Return which variant another tool gives a key; None for the baseline."""
    weights = {each.name: each.weight for each in flag.candidates}
    ordered = [name for name in flag.order or weights if name in weights]
    last = flag.order[:1] != (flag.baseline,)
    salt = flag.salt or flag.key
    return assigner(flag.bucketing, salt, percent, {name: weights[name] for name in ordered}, last=last)


def _first(flag: Flag, percent: float) -> Callable[[str | None], bool]:
    """Return whether a key is among those whom so small a percentage would let in."""
    if flag.bucketing is not Bucketing.CANARY:
        assign = assign_of(flag, percent)
        return lambda key: percent >= EVERYBODY or (bool(key) and assign(key or "") is not None)
    threshold = threshold_of(percent)
    seed = seed_of(flag.salt or flag.key)
    return lambda key: bucket_of(key, seed) < threshold if key else threshold >= BUCKETS


def _probe(choose: Choose, is_probed: Callable[[str | None], bool], tripped: Evaluation) -> Choose:
    """Let those back in who are probed, of all whom the flag's own percentage let in.

    They are compared with all others whom it decides on; who is answered apart from it is not.
    """
    held = replace(tripped, role=Role.BASELINE)

    def probe(key: str | None, attributes: Attributes) -> Evaluation:
        evaluation = choose(key, attributes)
        if evaluation.role is Role.APART:
            return tripped
        return evaluation if evaluation.is_candidate and is_probed(key) else held

    return probe
