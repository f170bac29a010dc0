"""A promise as a value, how people write it, and how figures are written for people. It measures and judges nothing.

    p95 < 500ms        latency of the unit of work: a quantile below p100, up to three decimals; ms or s
    errors < 1%        share of requests that failed
    throughput > 50/s  requests a second of the whole service
    call.p95 < 50ms    the same for the decorated call itself; also call.errors
    cache_hit > 90%    share of an indicator's values, reported by the application, that were true
    basket.p50 > 20    half of an indicator's values are at least 20; other percentiles, and `<`, likewise

What is promised of an indicator is a share of bad values, whatever the values are: not true, below 20, over 20.

Exactly at the limit keeps the promise: `p95 < 500ms` is broken when more than 5 % of the requests took *longer* than
500 ms, which is to say when the empirical quantile (inverted distribution function) lies over the limit.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

Of = str
"""Whose figures: the unit of work's (`unit`), the decorated call's own (`call`), or the indicator's of that name."""


class Metric(StrEnum):
    """What is promised."""

    LATENCY = "latency"
    ERRORS = "errors"
    THROUGHPUT = "throughput"
    INDICATOR = "indicator"


class Cut(NamedTuple):
    """Where an indicator's good values end: those `below` it are bad, or else those over it; true is 1, false is 0."""

    value: float
    below: bool

    def is_bad(self, value: float) -> bool:
        """Whether this value counts against the indicator. Exactly at the cut is good."""
        return value < self.value if self.below else value > self.value


@dataclass(frozen=True, slots=True)
class Slo:
    """One promise. `limit` is in seconds, a ratio, or requests a second; `quantile` is 0.95 for p95, else None.

    Of an indicator, `limit` is the share of its values that may be bad, and `cut` tells which are.
    `text` is how it was written, tidied. Two spellings of one promise (1s, 1000ms) are equal.
    """

    text: str = field(compare=False)
    metric: Metric
    limit: float
    quantile: float | None = None
    of: Of = "unit"
    cut: Cut | None = None

    @property
    def counts(self) -> str:
        """What has to be counted for it: units, calls, or an indicator's values on the bad side of this cut."""
        return f"{self.of}{'<' if self.cut.below else '>'}{self.cut.value!r}" if self.cut else self.of

    @property
    def name(self) -> str:
        """The left side: `p95`, `call.errors`."""
        return self.text.partition(" ")[0]

    @property
    def bad(self) -> str:
        """What is bad of an indicator, for people: `false`, `below 20`; nothing of what is none."""
        if self.cut is None:
            return ""
        if "." not in self.name:
            return "false" if self.cut.below else "true"
        return f"{'below' if self.cut.below else 'over'} {say_number(self.cut.value)}"

    def say(self, value: float) -> str:
        """Write a figure of this metric for people: `812 ms`, `1.2 %`, `48/s`."""
        match self.metric:
            case Metric.LATENCY:
                return say_seconds(value)
            case Metric.ERRORS:
                return say_ratio(value)
            case Metric.THROUGHPUT:
                return say_rate(value)
            case Metric.INDICATOR:
                return f"{say_ratio(value)} bad"


def tolerated(limit: float, tolerance: float) -> float:
    """Return the limit with its tolerance (0.1 for 10 %) on top, free of binary dust, so that it can be a key."""
    return _tidy(limit * (1 + tolerance))


def limits_of(slos: Iterable[Slo], tolerance: float, of: Of = "unit") -> tuple[float, ...]:
    """Return the limits, in seconds and ascending, over which requests must be counted for `slos` to be judged."""
    limits = {slo.limit for slo in slos if slo.metric is Metric.LATENCY and slo.of == of}
    return tuple(sorted(limits | {tolerated(limit, tolerance) for limit in limits}))


# --- figures for people ---


def say_number(value: float) -> str:
    """Write three significant digits, without exponent and without trailing zeros."""
    if not 0 < abs(value) < 100:
        return f"{value:.0f}"
    decimals = 2 - math.floor(math.log10(abs(value)))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".")


def say_seconds(value: float) -> str:
    """Write a time: `0.4 ms`, `812 ms`, `1.5 s`, `12 min`, `3.5 h`."""
    for size, below, unit in ((1e-3, 1, "ms"), (1, 120, "s"), (60, 7200, "min")):
        if value < below:
            return f"{say_number(value / size)} {unit}"
    return f"{say_number(value / 3600)} h"


def say_ratio(value: float) -> str:
    """Write a share as percent: `1.2 %`."""
    return f"{say_number(value * 100)} %"


def say_rate(value: float) -> str:
    """Write requests a second: `48/s`."""
    return f"{say_number(value)}/s"


# --- reading ---

_SPLIT: Final = re.compile(r"\s*([^<>=≤≥]*?)\s*([<>=≤≥]+)\s*([0-9.,_]*)\s*(.*?)\s*", re.ASCII | re.DOTALL)
_SUBJECT: Final = re.compile(r"(call\s*\.\s*)?(p([0-9]+(?:\.[0-9]+)?)|errors|throughput)", re.ASCII)
_INDICATOR: Final = re.compile(r"([a-z][a-z0-9_]*)(?:\.p([0-9]+(?:\.[0-9]+)?))?", re.ASCII)
_TAKEN: Final = ("unit", "call", "shape")
"""What no indicator can be called, beside what can be promised of units and calls."""
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)


class _Form(NamedTuple):
    """How a metric is written: its sign, each unit with how many of it make ours, and what the sign means."""

    sign: str
    units: dict[str, int]
    must: str


_FORMS: Final = {
    Metric.LATENCY: _Form("<", {"ms": 1000, "s": 1}, "latency must stay below its limit"),
    Metric.ERRORS: _Form("<", {"%": 100}, "errors must stay below their limit"),
    Metric.THROUGHPUT: _Form(">", {"/s": 1}, "throughput must stay above its limit"),
}
_EXAMPLES: Final = "'p95 < 500ms', 'errors < 1%' or 'throughput > 50/s'"


class _Parts(NamedTuple):
    """An SLO's text, taken apart."""

    subject: str
    sign: str
    number: str
    unit: str


def parse_slo(text: str) -> Slo:
    """Read one SLO.

    Raises:
        ValueError: with one sentence: what was found, what is expected and, where it can be told, what was meant.
    """
    split = _SPLIT.fullmatch(text)
    if split is None:
        raise ValueError(f"{text!r} has no '<' or '>'; expected a comparison such as {_EXAMPLES}")
    parts = _Parts(*split.groups())
    complaint = _complaint(parts)
    if complaint:
        raise ValueError(f"{text!r}: {complaint}{_suggestion(parts)}")
    return _built(parts)


def _built(parts: _Parts) -> Slo:
    """Make the value from parts without a mistake."""
    if not _SUBJECT.fullmatch(parts.subject):
        return _built_indicator(parts)
    metric, percentile = _metric(parts.subject)
    of: Of = "call" if parts.subject.startswith("call") else "unit"
    name = metric if percentile is None else f"p{_plain(parts.subject.rpartition('p')[2])}"
    return Slo(
        text=f"{'call.' if of == 'call' else ''}{name} {parts.sign} {_plain(parts.number)}{_unit(parts)}",
        metric=metric,
        limit=_limit(parts, metric),
        quantile=None if percentile is None else _tidy(percentile / 100),
        of=of,
    )


def _built_indicator(parts: _Parts) -> Slo:
    """Make the promise of an indicator: at most that share of its values may lie on the bad side of a cut."""
    found = _INDICATOR.fullmatch(parts.subject)
    assert found
    name, percentile = found.groups()
    below, is_value = parts.sign == ">", percentile is not None
    share = float(percentile if is_value else parts.number) / 100
    return Slo(
        text=f"{name}{f'.p{_plain(percentile)}' if is_value else ''} {parts.sign} {_plain(parts.number)}{parts.unit}",
        metric=Metric.INDICATOR,
        limit=_tidy(share if below is is_value else 1 - share),
        of=name,
        cut=Cut(float(parts.number) if is_value else 0.5, below),
    )


def _metric(subject: str) -> tuple[Metric, float | None]:
    """Return the metric, and the percentile of a latency."""
    if "throughput" in subject:
        return Metric.THROUGHPUT, None
    if "errors" in subject:
        return Metric.ERRORS, None
    return Metric.LATENCY, float(subject.rpartition("p")[2])


def _limit(parts: _Parts, metric: Metric) -> float:
    """Return the limit in seconds, as a ratio, or a second."""
    return _tidy(float(parts.number) / _FORMS[metric].units[_unit(parts)])


def _unit(parts: _Parts) -> str:
    """Return the unit without the blanks in it (`/ s`)."""
    return "".join(parts.unit.split())


def _tidy(value: float) -> float:
    """Drop binary dust, so that 0.7 % is exactly the nearest float of 7/1000 and equals that share of errors."""
    return round(value, 12)


def _plain(number: str) -> str:
    """Drop zeros that say nothing."""
    head, point, tail = number.partition(".")
    return (head.lstrip("0") or "0") + (point + tail).rstrip("0").rstrip(".")


# --- complaining ---


def _complaint(parts: _Parts) -> str:
    """Say what is wrong with the first wrong part; empty when nothing is."""
    subject = _SUBJECT.fullmatch(parts.subject)
    if subject is None and _is_indicator(parts.subject):
        return _about_indicator(parts)
    if subject is None:
        expected = "a percentile such as p95, 'errors', 'throughput' or an indicator such as cache_hit"
        return f"found {parts.subject!r}, expected {expected}"
    metric, percentile = _metric(parts.subject)
    return (
        (_about_percentile(subject[3], percentile) if percentile is not None else "")
        or _about_form(parts, metric, subject[1])
        or _about_limit(parts, metric)
    )


def _is_indicator(subject: str) -> bool:
    """Whether this names an indicator, and not by mistake what can be promised of units and calls."""
    found = _INDICATOR.fullmatch(subject)
    return found is not None and found[1] not in _TAKEN and not _SUBJECT.fullmatch(_repaired_subject(found[1]))


def _about_indicator(parts: _Parts) -> str:
    name, _, percentile = parts.subject.partition(".p")
    if parts.sign not in ("<", ">"):
        return f"found {parts.sign!r}, expected '<' or '>'"
    if not _NUMBER.fullmatch(parts.number):
        found = repr(parts.number + parts.unit) if parts.number or parts.unit else "nothing"
        return f"found {found} as the limit, expected a number such as 90% or, of {name}.p50, 20"
    return _about_values(percentile, parts) if percentile else _about_share(name, parts)


def _about_values(percentile: str, parts: _Parts) -> str:
    if parts.unit:
        return f"found the unit {parts.unit!r}, expected none: values are compared as they were reported"
    if not math.isfinite(float(parts.number)):
        return f"found a limit of {parts.number}, expected a finite one"
    return _about_percentile(percentile, float(percentile))


def _about_share(name: str, parts: _Parts) -> str:
    if parts.unit != "%":
        return f"found {parts.number + parts.unit!r}, expected a share such as 90%, or a percentile such as {name}.p50"
    if not 0 < float(parts.number) < 100:
        return f"found a limit of {parts.number}%, expected more than 0% and less than 100%"
    return ""


def _about_percentile(written: str, percentile: float) -> str:
    if not 0 < percentile < 100:
        return f"found p{written}, expected a percentile between p0 and p100, both excluded"
    if len(written.partition(".")[2]) > 3:
        return f"found p{written}, expected a percentile with at most three decimals"
    return ""


def _about_form(parts: _Parts, metric: Metric, call: str | None) -> str:
    sign, units, must = _FORMS[metric]
    expected = " or ".join(f"'{unit}'" for unit in units)
    if metric is Metric.THROUGHPUT and call:
        return f"found {parts.subject!r}, expected 'throughput': it belongs to the whole service, never to one call"
    if parts.sign != sign:
        return f"found {parts.sign!r}, expected {sign!r}: {must}"
    if not _NUMBER.fullmatch(parts.number):
        found = repr(parts.number + parts.unit) if parts.number or parts.unit else "nothing"
        return f"found {found} as the limit, expected a number such as 500 or 0.5"
    if not parts.unit:
        return f"found {parts.number!r} without a unit, expected {expected} after it"
    if _unit(parts) not in units:
        return f"found the unit {parts.unit!r}, expected {expected}"
    return ""


def _about_limit(parts: _Parts, metric: Metric) -> str:
    limit = _limit(parts, metric)
    if not 0 < limit < math.inf:
        return f"found a limit of {parts.number}{parts.unit}, expected one that is more than zero and finite"
    if metric is Metric.ERRORS and limit >= 1:
        return f"found a limit of {parts.number}%, expected less than 100%: this one could never be broken"
    return ""


# --- guessing ---

_MEANT: Final = {
    **dict.fromkeys(("error", "errs", "err", "error_rate", "error-rate", "error rate", "errorrate", "5xx"), "errors"),
    **dict.fromkeys(("rps", "qps", "rate", "requests", "through put", "throughputs", "traffic"), "throughput"),
    **dict.fromkeys(("latency", "p", "response time", "duration"), "p95"),
    **dict.fromkeys(("median", "avg", "mean", "average"), "p50"),
    **dict.fromkeys(("max", "maximum", "p100"), "p99.9"),
}
"""What people write, and the nearest thing that can be promised."""

_CONVERSIONS: Final = {
    Metric.LATENCY: {
        **dict.fromkeys(("", "msec", "msecs", "millis", "milliseconds", "millisecond"), (1.0, "ms")),
        **dict.fromkeys(("us", "µs", "μs", "usec", "microseconds"), (1e-3, "ms")),
        **dict.fromkeys(("ns", "nanoseconds"), (1e-6, "ms")),
        **dict.fromkeys(("sec", "secs", "seconds", "second"), (1.0, "s")),
        **dict.fromkeys(("m", "min", "mins", "minutes", "minute"), (60.0, "s")),
    },
    Metric.ERRORS: {
        **dict.fromkeys(("percent", "pct", "per cent"), (1.0, "%")),
        "": (1.0, "%"),
        "‰": (0.1, "%"),
    },
    Metric.THROUGHPUT: {
        **dict.fromkeys(("", "rps", "qps", "/sec", "/second", "req/s", "requests/s", "per second"), (1.0, "/s")),
        **dict.fromkeys(("/m", "/min", "/minute", "rpm", "per minute"), (1 / 60, "/s")),
    },
}
"""Units that people write: how many of ours they make, and ours."""


def _suggestion(parts: _Parts) -> str:
    """Repair every part at once; tell it only if the repaired text is without a mistake."""
    meant = _repaired(parts)
    return f"; did you mean '{_built(meant).text}'?" if meant and not _complaint(meant) else ""


def _repaired(parts: _Parts) -> _Parts | None:
    subject = _repaired_subject(parts.subject)
    if not _SUBJECT.fullmatch(subject):
        return None
    metric, _ = _metric(subject)
    number, unit = _repaired_limit(parts, metric)
    return _Parts(subject, _FORMS[metric].sign, number, unit)


def _repaired_subject(subject: str) -> str:
    lowered = subject.lower().strip()
    prefix, name = ("call.", lowered.removeprefix("call.").strip()) if lowered.startswith("call.") else ("", lowered)
    name = re.sub(r"^(?:p|percentile|q)?\s*([0-9]+(?:\.[0-9]{1,3})?)\s*(?:p|th|%)?\s*(?:percentile)?$", r"p\1", name)
    near = get_close_matches(name, ("errors", "throughput"), n=1, cutoff=0.8)
    name = _MEANT.get(name, near[0] if near else name)
    return name if name == "throughput" else prefix + name


def _repaired_limit(parts: _Parts, metric: Metric) -> tuple[str, str]:
    number = re.sub(r"[,_](?=[0-9]{3}(?![0-9]))", "", parts.number).replace(",", ".")
    number = f"0{number}" if number.startswith(".") else number
    unit = _unit(parts).lower()
    if unit in _FORMS[metric].units or not _NUMBER.fullmatch(number):
        return number, unit
    factor, ours = _CONVERSIONS[metric].get(parts.unit.lower(), (1.0, parts.unit))
    if metric is Metric.ERRORS and not unit and float(number) < 1:  # a ratio was meant
        factor = 100.0
    return f"{float(number) * factor:.9f}", ours
