"""Asks a flag once more, slowly, in the same order and with the same compiled conditions, and tells what decided."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from canary_sdk.core.breaker import KILLED, PROBING
from canary_sdk.core.flags.bucketing import bucket_of, seed_of, threshold_of
from canary_sdk.core.flags.compiled import answer_of, is_met
from canary_sdk.core.flags.evaluation import Reason
from canary_sdk.core.flags.explanation import Cause, Explanation
from canary_sdk.core.flags.flag import ROLLOUT
from canary_sdk.core.flags.schemes import Bucketing

if TYPE_CHECKING:
    from canary_sdk.core.flags.compiled import Attributes, CompiledFlag, CompiledRule
    from canary_sdk.core.flags.evaluation import Evaluation


def explain(
    flag: CompiledFlag, key: str | None, attributes: Attributes, bits: int = 0, environment: str = ""
) -> Evaluation:
    """Return the flag's answer, with its explanation, while its guard byte is `bits`."""
    if bits in {0, PROBING}:
        explained = _decided(flag, key, attributes)
        if bits == 0 or flag.probe(key, attributes) == explained:
            return _placed(explained, flag, environment)
    cause = Cause.KILLED if bits & KILLED else Cause.TRIPPED
    held = flag.probe(key, attributes) if bits == PROBING else flag.tripped
    return _placed(_told(held, cause), flag, environment)


def pinned(evaluation: Evaluation, flag: CompiledFlag, environment: str) -> Evaluation:
    """Return an answer that stood before the flag was asked, forced or given before, with this as its explanation."""
    cause = Cause.OVERRIDE if evaluation.reason is Reason.OVERRIDE else Cause.PINNED
    return _placed(_told(evaluation, cause), flag, environment)


def _decided(flag: CompiledFlag, key: str | None, attributes: Attributes) -> Evaluation:
    if not flag.flag.enabled:
        return _told(flag.split.choose(key, attributes), Cause.DISABLED)
    for prerequisite in flag.flag.prerequisites:
        if not is_met(prerequisite, flag.ask, key, attributes):
            failed = answer_of(flag.flag, flag.flag.baseline, Reason.PREREQUISITE_FAILED)
            return _told(failed, Cause.PREREQUISITE, prerequisite=prerequisite)
    if key is not None and key in flag.targets:
        return _told(flag.targets[key], Cause.TARGET, target=key)
    for index, rule in enumerate(flag.rules):
        if rule.holds(key, attributes):
            return _ruled(flag, rule, index, key, attributes)
    return _split(flag, flag.split.choose(key, attributes), Cause.ROLLOUT, flag.flag.rollout, key)


def _ruled(flag: CompiledFlag, rule: CompiledRule, index: int, key: str | None, attributes: Attributes) -> Evaluation:
    answer, name = rule.answer(key, attributes), rule.rule.name
    if rule.rule.serve != ROLLOUT:
        return _told(answer, Cause.RULE, rule=index, rule_name=name)
    percent = flag.flag.rollout if rule.rule.rollout is None else rule.rule.rollout
    return _split(flag, answer, Cause.RULE, percent, key, rule=index, rule_name=name)


def _split(
    flag: CompiledFlag, answer: Evaluation, cause: Cause, percent: float, key: str | None, **parts: object
) -> Evaluation:
    if flag.flag.bucketing is not Bucketing.CANARY:
        return _told(answer, cause, bucketing=flag.flag.bucketing, threshold=threshold_of(percent), **parts)
    seed = seed_of(flag.flag.salt or flag.flag.key)
    bucket = bucket_of(key, seed) if key else None
    return _told(answer, cause, bucket=bucket, threshold=threshold_of(percent), **parts)


def _told(evaluation: Evaluation, cause: Cause, **parts: object) -> Evaluation:
    told = Explanation(
        flag_key=evaluation.flag_key,
        variant=evaluation.variant,
        cause=cause,
        **parts,  # type: ignore[arg-type] # each caller gives the fields that its cause has
    )
    return replace(evaluation, explanation=told)


def _placed(evaluation: Evaluation, flag: CompiledFlag, environment: str) -> Evaluation:
    """Say where it was."""
    if evaluation.explanation is None:
        return evaluation
    told = replace(evaluation.explanation, environment=environment, overridden=flag.flag.overridden)
    return replace(evaluation, explanation=told)
