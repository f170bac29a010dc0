"""The recipe of a rollout: its stages, what each has to show, and when nothing may move. It moves nothing itself.

    [plans.careful]
    stages = [
      { percent = 5,   bake = "60m",  slos = ["p95 < 500ms", "errors < 1%"] },
      { percent = 50,  bake = "4h",   slos = ["p95 < 450ms"], soft = ["p50 < 100ms"], approval = ["sre-lead"] },
      { percent = 100, bake = "24h",  slos = ["p95 < 400ms"], deadline = "6h" },
    ]
    holdback = 5                                        # percent that stays on the baseline until the promotion
    warmup = "1m"                                       # after each advance, before anything counts as evidence
    baseline = "10m"                                    # measure that long before the first stage
    blackout = ["Fri 16:00-Mon 08:00 Europe/Berlin"]    # advance nothing then; what is out stays out
    start = 2026-11-24T09:00:00+01:00                   # not before
    four_eyes = true                                    # who started it may not approve it
    parallel = 2                                        # begin only while fewer than so many rollouts are under way
    watch = "24h"                                       # after the promotion, keep judging that long
    interval = "30s"                                    # how often it is looked at
    fresh = 2                                           # how many intervals old a judgement may be
    on_deadline = "hold"                                # or "abort"

`slos` that are left out are the flag's own. A breach of them aborts, one of the `soft` ones only holds. An `approval`
is needed before its stage is entered. A `deadline` limits how long a stage may wait for evidence after its bake time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import mmh3

from canary_sdk.core.blackout import parse_blackout
from canary_sdk.core.judge.slo import parse_slo
from canary_sdk.core.reading import (
    boolean,
    collect,
    collect_all,
    count,
    entries,
    filled,
    hint,
    list_of,
    mapping,
    name,
    number,
    parse_duration,
    parse_percent,
    positive_percent,
    say,
    string,
    whole,
)
from canary_sdk.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from canary_sdk.core.blackout import Blackout
    from canary_sdk.core.judge.slo import Slo
    from canary_sdk.core.reading import Reader

    Check = Callable[[Mapping[str, Any]], Iterator[Problem]]


@dataclass(frozen=True, slots=True)
class Stage:
    """One step: the share it serves, for at least how long, and what it has to keep.

    `slos` abort when they are broken and `soft` hold; without `slos` the flag's own hold. `approval` names the roles
    that must agree before it is entered. `deadline_s` is how long it may wait for evidence once it has baked.
    """

    percent: float
    bake_s: float
    slos: tuple[Slo, ...] = ()
    soft: tuple[Slo, ...] = ()
    approval: tuple[str, ...] = ()
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole recipe. Stages are counted from 1; percentages are those that are served, the holdback taken off.

    `start_at` is in wall seconds, everything that ends in `_s` in seconds. `fingerprint` tells two plans apart in a few
    characters, the same in every process and release.
    """

    stages: tuple[Stage, ...]
    holdback: float = 0.0
    warmup_s: float = 0.0
    baseline_s: float = 0.0
    blackout: tuple[Blackout, ...] = ()
    start_at: float | None = None
    four_eyes: bool = False
    parallel: int | None = None
    watch_s: float = 0.0
    interval_s: float = 30.0
    fresh: int = 2
    abort_on_deadline: bool = False
    fingerprint: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Note what tells it from another."""
        object.__setattr__(self, "fingerprint", f"{mmh3.hash128(repr(plan_fields(self))):032x}")

    @property
    def last(self) -> int:
        """The number of the last stage."""
        return len(self.stages)

    @property
    def fresh_s(self) -> float:
        """How old a judgement may be, and the longest stretch that nobody looked and that still counts as watched."""
        return self.fresh * self.interval_s

    @property
    def zones(self) -> frozenset[str]:
        """The places whose local time has to be known."""
        return frozenset(window.zone for window in self.blackout)

    def percent(self, stage: int) -> float:
        """Return what stage 1, 2, … serves; 0 is before the first, and after the last everybody is served."""
        if stage > self.last:
            return 100.0
        return min(self.stages[stage - 1].percent, 100.0 - self.holdback) if stage else 0.0

    def bake_s(self, stage: int) -> float:
        """Return how long a stage lasts at least: 0 measures the baseline, the one after the last is the watch."""
        if stage > self.last:
            return self.watch_s
        return self.stages[stage - 1].bake_s if stage else self.baseline_s

    def roles(self, stage: int) -> tuple[str, ...]:
        """Return who must agree before a stage is entered; nobody before the promotion."""
        return self.stages[stage - 1].approval if 0 < stage <= self.last else ()

    def slos(self, stage: int) -> tuple[Slo, ...]:
        """Return the SLOs of a stage that abort, none where the flag's own hold; after the promotion, the last's."""
        return self.stages[min(stage, self.last) - 1].slos if stage else ()

    def soft(self, stage: int) -> tuple[Slo, ...]:
        """Return the SLOs of a stage that only hold; after the promotion, those of the last."""
        return self.stages[min(stage, self.last) - 1].soft if stage else ()


# --- reading ---


def parse_plan(found: object) -> Plan:
    """Read one plan, in the words of the configuration.

    Raises:
        ConfigError: with all mistakes, at paths below the table.
    """
    values: dict[str, Any] = whole(_read_plan, found)
    return Plan(**{_ATTRIBUTES.get(name, name): value for name, value in values.items()})


def read_plan(found: object) -> str | dict[str, Any]:
    """Read a flag's own `plan` into canonical form: a table, or the name of one in `[plans]`, declared wherever.

    Raises:
        ConfigError: with all mistakes, at paths below the table.
        ValueError: with one sentence, for what is neither.
    """
    if isinstance(found, str):
        return name(found)
    if not isinstance(found, Mapping):
        raise ValueError(f"found {say(found)}, expected a table or the name of a plan")  # noqa: TRY004 - as all mistakes
    return plan_fields(parse_plan(found))


def plan_fields(plan: Plan) -> dict[str, Any]:
    """Return the plain document from which `parse_plan` reads the same plan; what was left out stays out."""
    start = {} if plan.start_at is None else {"start": plan.start_at}
    return start | _written(
        {
            "stages": [_stage_fields(stage) for stage in plan.stages],
            "holdback": plan.holdback,
            "warmup": plan.warmup_s,
            "baseline": plan.baseline_s,
            "blackout": [window.text for window in plan.blackout],
            "four_eyes": plan.four_eyes,
            "parallel": plan.parallel,
            "watch": plan.watch_s,
            "interval": None if plan.interval_s == 30 else plan.interval_s,
            "fresh": None if plan.fresh == 2 else plan.fresh,
            "on_deadline": "abort" if plan.abort_on_deadline else None,
        }
    )


def _stage_fields(stage: Stage) -> dict[str, Any]:
    return _written(
        {
            "percent": stage.percent,
            "bake": stage.bake_s,
            "slos": [slo.text for slo in stage.slos],
            "soft": [slo.text for slo in stage.soft],
            "approval": list(stage.approval),
            "deadline": stage.deadline_s,
        }
    )


def _written(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, [], 0, False)}


def _tuple_of(reader: Reader) -> Reader:
    return lambda found: tuple(list_of(reader)(found))


def _on_deadline(found: object) -> bool:
    if found not in ("hold", "abort"):
        raise ValueError(f"found {say(found)}, expected hold or abort{hint(found, ['hold', 'abort'])}")
    return found == "abort"


def _start(found: Any) -> float:
    """Read a moment: a date with a time and an offset, or wall seconds, as a store keeps it."""
    if hasattr(found, "timestamp") and getattr(found, "tzinfo", None) is not None:
        return float(found.timestamp())
    try:
        return number(found)
    except ValueError:
        expected = "expected a date and time with its offset, not quoted: 2026-11-24T09:00:00+01:00"
        raise ValueError(f"found {say(found)}, {expected}") from None


_SLOS: Final = _tuple_of(lambda found: parse_slo(string(found)))
_STAGE: Final[Mapping[str, Reader]] = {
    "percent": positive_percent,
    "bake": parse_duration,
    "slos": _SLOS,
    "soft": _SLOS,
    "approval": _tuple_of(filled),
    "deadline": parse_duration,
}
_PLAN: Final[Mapping[str, Reader]] = {
    "stages": lambda found: _read_stages(found),  # noqa: PLW0108 - it stands further down
    "holdback": parse_percent,
    "warmup": parse_duration,
    "baseline": parse_duration,
    "blackout": _tuple_of(parse_blackout),
    "start": _start,
    "four_eyes": boolean,
    "parallel": count,
    "watch": parse_duration,
    "interval": parse_duration,
    "fresh": count,
    "on_deadline": _on_deadline,
}
_ATTRIBUTES: Final = {
    "bake": "bake_s",
    "deadline": "deadline_s",
    "warmup": "warmup_s",
    "baseline": "baseline_s",
    "start": "start_at",
    "watch": "watch_s",
    "interval": "interval_s",
    "on_deadline": "abort_on_deadline",
}


def _read_table(readers: Mapping[str, Reader], needed: Collection[str], check: Check, found: object) -> dict[str, Any]:
    """Read a table that must have the `needed` keys; only what is well formed is held against `check`."""
    table = mapping(found)
    problems: list[Problem] = []
    values = collect(entries(table, readers), problems)
    problems += [Problem((name,), "found nothing, expected it to be there") for name in needed if name not in table]
    problems += check(values)
    if problems:
        raise ConfigError(problems)
    return values


def _read_stages(found: object) -> tuple[Stage, ...]:
    if not isinstance(found, list | tuple) or not found:
        raise ValueError(f"found {say(found)}, expected a list of at least one stage: {{ percent = 5, bake = '60m' }}")
    return tuple(collect_all((str(index), _read_stage, item) for index, item in enumerate(found)).values())


def _read_stage(found: object) -> Stage:
    values = _read_table(_STAGE, ("percent", "bake"), _stage_conflicts, found)
    return Stage(**{_ATTRIBUTES.get(name, name): value for name, value in values.items()})


def _read_plan(found: object) -> dict[str, Any]:
    return _read_table(_PLAN, ("stages",), _plan_conflicts, found)


def _stage_conflicts(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Name promises that cannot both abort and only hold."""
    for index, slo in enumerate(values.get("soft", ())):
        if slo in values.get("slos", ()):
            message = f"found {slo.text!r} here and in slos, expected it in one: a breach either holds or aborts"
            yield Problem(("soft", str(index)), message)


def _plan_conflicts(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Name what makes no sense together: percentages that do not rise to 100, and a warm-up as long as its stage."""
    stages: tuple[Stage, ...] = values.get("stages", ())
    most, before = 100.0 - values.get("holdback", 0.0), 0.0
    for index, stage in enumerate(stages):
        percent, place = min(stage.percent, most), ("stages", str(index))
        if percent <= before:
            served = "" if percent == stage.percent else f", which is {percent:g} with the holdback"
            message = f"found {stage.percent:g}{served}, expected more than the {before:g} of the stage before"
            yield Problem((*place, "percent"), message)
        if stage.bake_s <= values.get("warmup", 0.0):
            message = f"found {stage.bake_s:g} s, expected more than the warm-up: nothing could be judged"
            yield Problem((*place, "bake"), message)
        before = percent
    if stages and stages[-1].percent < 100:
        message = f"found {stages[-1].percent:g}, expected 100 in the last stage: what nobody baked cannot be promoted"
        yield Problem(("stages", str(len(stages) - 1), "percent"), message)
