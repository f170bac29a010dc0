"""Claims about what follows from evidence: row by row of the table, in numbers and in words."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from canary_sdk.core.judge.decision import Action, Decision, decide
from canary_sdk.core.judge.evalues import NONE, Pair, log_split
from canary_sdk.core.judge.sequential import Case, Stage, Stream, Terms, open_case, start
from canary_sdk.core.judge.slo import parse_slo, say_number

if TYPE_CHECKING:
    from collections.abc import Iterable

LIMIT: Final = -math.log(0.01)
"""What it takes, in nats, at an alpha of 1 %."""


def a_case(slos: Iterable[str] = ("errors < 1%",), percent: float = 25, **others: Any) -> Case:
    """Open a case of one stage, in which nothing was counted yet."""
    stage = Stage(percent=percent, longest_s=3600.0, slos=tuple(map(parse_slo, slos)))
    return start(open_case(Terms(stages=(stage,), **others)), 0)


def heard(times: float, candidate: tuple[int, int] = (30, 1000), baseline: tuple[int, int] = (6, 3000)) -> Stream:
    """Return a stream of twelve seconds that says: so many times as likely."""
    return Stream(candidate=Pair(*candidate), baseline=Pair(*baseline), seconds=12.0, log_e=math.log(times))


COUNTS: Final = "30 of 1000 (3 %) of the candidate's requests, 6 of 3000 (0.2 %) of the baseline's"


# --- the comparison ---


def test_a_worse_candidate() -> None:
    """The comparison rolls back as soon as it reaches the limit, and not before; all its numbers are told."""
    case = a_case()
    found = decide(replace(case, relative={"errors": heard(250)}))
    assert found == Decision(
        action=Action.ROLLBACK,
        stream="errors",
        log_e=math.log(250),
        needed=LIMIT,
        candidate=Pair(30, 1000),
        baseline=Pair(6, 3000),
        seconds=12.0,
        limit="errors < 1%",
        counted="failed",
        then="if the candidate is worse than the baseline",
    )
    assert found.sentence == (
        f"errors: {COUNTS} failed, in 12 s; this is 250 times (limit 100) as likely "
        "if the candidate is worse than the baseline"
    )
    assert json.loads(json.dumps(found.to_dict())) == {
        "action": "ROLLBACK",
        "stream": "errors",
        "log_e": math.log(250),
        "needed": LIMIT,
        "candidate": [30, 1000],
        "baseline": [6, 3000],
        "seconds": 12.0,
        "limit": "errors < 1%",
        "sentence": found.sentence,
    }
    exactly = heard(1)._replace(log_e=LIMIT)
    assert decide(replace(case, relative={"errors": exactly})).action is Action.ROLLBACK
    assert decide(replace(case, relative={"errors": heard(99.9)})).action is Action.CONTINUE


@pytest.mark.parametrize(
    ("name", "tolerance", "counted"),
    [
        ("shape", 0.1, "were slower than the baseline's usual median (plus 10 % for the candidate)"),
        ("shape", 0.0, "were slower than the baseline's usual median"),
        ("p95", 0.1, "took over 500 ms (plus 10 % for the candidate)"),
        ("p95", 0.0, "took over 500 ms"),
        ("p99", 0.05, "took over 1 s (plus 5 % for the candidate)"),
        ("errors", 0.1, "failed"),
    ],
)
def test_what_was_counted_is_said(name: str, tolerance: float, counted: str) -> None:
    """The loudest stream is named, with what its counts are of: a limit, the usual median, or failures."""
    case = a_case(["p95 < 500ms", "p99 < 1s", "errors < 1%"], tolerance=tolerance)
    streams = dict.fromkeys(("shape", "p95", "p99", "errors"), heard(2)) | {name: heard(10_000)}
    found = decide(replace(case, relative=streams))
    assert (found.action, found.stream, found.counted) == (Action.ROLLBACK, name, counted)
    assert found.log_e == pytest.approx(math.log((10_000 + 3 * 2) / 4))
    limits = {"p95": "p95 < 500ms", "p99": "p99 < 1s", "errors": "errors < 1%", "shape": ""}
    assert found.limit == limits[name]


@pytest.mark.parametrize(
    ("log_e", "words"),
    [
        (math.log(99.5), None),
        (LIMIT + 1e-9, "100 times (limit 100)"),
        (15.5, "5389698 times (limit 100)"),
        (16.0, "8886111 times (limit 100)"),
        (16.5, "at least 14650719 times (limit 100)"),
        (25.0, "at least 485165195 times (limit 100)"),
    ],
)
def test_how_strong_it_is(log_e: float, words: str | None) -> None:
    """Strength is said as odds; where evidence is no longer kept whole, as the least that it is."""
    found = decide(replace(a_case(), relative={"errors": heard(1)._replace(log_e=log_e)}))
    assert (
        (f"; this is {words} as likely" in found.sentence) is (found.action is Action.ROLLBACK) is (words is not None)
    )


def test_an_arm_without_requests_is_said() -> None:
    """Where one arm was not there, its count is none."""
    found = decide(replace(a_case(), relative={"errors": heard(250, baseline=(0, 0))}))
    assert "30 of 1000 (3 %) of the candidate's requests, none of the baseline's failed" in found.sentence


# --- what is soft ---


def test_a_soft_stream_only_holds() -> None:
    """What is soft does not enter into the average of what is hard, nor the other way round."""
    case = a_case(["p95 < 500ms", "errors < 1%"], soft=frozenset({"errors"}))
    quiet = {"shape": heard(2), "p95": heard(2)}
    found = decide(replace(case, relative={**quiet, "errors": heard(250)}))
    assert (found.action, found.stream, found.log_e) == (Action.HOLD, "errors", math.log(250))
    assert found.sentence.endswith(
        "this is 250 times (limit 100) as likely if the candidate is worse than the baseline"
    )
    loud = {"shape": heard(250), "p95": heard(250)}
    assert decide(replace(case, relative={**loud, "errors": heard(0.001)})).action is Action.ROLLBACK
    assert decide(replace(case, relative={**quiet, "errors": heard(99)})).action is Action.CONTINUE


# --- limits ---


def test_without_a_baseline_a_limit_rolls_back() -> None:
    """At 100 % the hard limits decide, and the sentence says that nobody was compared with."""
    case = a_case(["p95 < 500ms", "errors < 1%"], percent=100)
    streams = {"p95": heard(2), "errors": heard(1000, baseline=(0, 0))}
    found = decide(replace(case, absolute=streams))
    assert (found.action, found.stream) == (Action.ROLLBACK, "errors")
    assert found.log_e == pytest.approx(math.log(501))
    assert found.sentence.endswith(
        "501 times (limit 100) as likely if the limit is exceeded; nobody is left on the baseline to compare with"
    )
    assert decide(replace(case, absolute={"errors": heard(99)})).action is Action.CONTINUE


def test_without_a_baseline_a_soft_limit_holds() -> None:
    """A soft limit that is exceeded at 100 % takes nothing back."""
    case = a_case(["p95 < 500ms", "errors < 1%"], percent=100, soft=frozenset({"errors"}))
    found = decide(replace(case, absolute={"p95": heard(2), "errors": heard(1000)}))
    assert (found.action, found.stream) == (Action.HOLD, "errors")


def test_a_limit_for_which_nobody_is_blamed() -> None:
    """With a baseline beside it, a limit that is exceeded holds, and the comparison goes before it."""
    case = replace(a_case(), absolute={"errors": heard(250)})
    found = decide(replace(case, relative={"errors": heard(2)}))
    assert found.action is Action.HOLD
    assert found.sentence.endswith("as likely if the limit is exceeded; the comparison does not blame the candidate")
    assert decide(replace(case, relative={"errors": heard(250)})).action is Action.ROLLBACK


# --- the comparison is not to be trusted ---


def test_a_wrong_split() -> None:
    """Too many of the users got the candidate: told in users, with the share that was asked for."""
    case = replace(a_case(), newcomers=(350, 650), judged_s=40.0)
    strength = log_split((350, 650), (0.25, 0.75))
    found = decide(case)
    assert found == Decision(
        action=Action.HOLD,
        stream="split",
        log_e=strength,
        needed=-math.log(0.001),
        candidate=Pair(350, 1000),
        baseline=NONE,
        seconds=40.0,
        limit="",
        why=(
            "350 of 1000 (35 %) of the users were given the candidate, 25 % were to; this is "
            f"{say_number(math.exp(strength))} times (limit 1000) as likely if something loses or moves users, "
            "so that the comparison is not to be trusted"
        ),
    )
    assert found.sentence == found.why
    assert decide(replace(case, newcomers=(250, 750))).action is Action.CONTINUE


@pytest.mark.parametrize(("percent", "newcomers"), [(0, (0, 5)), (0, (5, 5)), (100, (5, 0)), (100, (5, 5))])
def test_nothing_is_split_among_nobody_or_everybody(percent: float, newcomers: tuple[int, int]) -> None:
    """Where all users are to be on one arm, there is no split to distrust, however suspicious one is."""
    case = a_case(percent=percent, split_alpha=0.5)
    assert decide(replace(case, newcomers=newcomers)).stream != "split"


def test_a_failed_self_test() -> None:
    """If a part of the baseline looks worse than its rest, it holds, and quotes what was found there."""
    case = replace(a_case(), relative={"errors": heard(2)})
    failed = replace(case, relative={"errors": heard(250)})
    found = decide(case, self_test=[failed])
    assert (found.action, found.stream, found.log_e) == (Action.HOLD, "errors", math.log(250))
    why = "a part of the baseline looks worse than its rest, the comparison is not to be trusted"
    assert found.sentence == f"{why}: {decide(failed).sentence}"
    assert decide(case, self_test=[case]).action is Action.CONTINUE
    assert decide(failed, self_test=[failed]).action is Action.ROLLBACK


# --- the whole service ---


def test_a_starving_service() -> None:
    """Too little throughput holds as soon as it reaches the limit, told of the whole service."""
    case = a_case(["errors < 1%", "throughput > 50/s"])
    floor = heard(250, candidate=(0, 480), baseline=(0, 0))
    found = decide(replace(case, floor=floor))
    assert (found.action, found.stream, found.limit) == (Action.HOLD, "throughput", "throughput > 50/s")
    assert (found.log_e, found.needed) == (math.log(250), LIMIT)
    assert found.sentence == (
        "the whole service served 480 requests in 12 s, throughput > 50/s is promised; this is 250 times (limit 100) "
        "as likely if the promise is broken"
    )
    assert decide(replace(case, floor=floor._replace(log_e=LIMIT))).action is Action.HOLD
    assert decide(replace(case, floor=heard(99))).action is Action.CONTINUE
    assert decide(replace(a_case(), floor=floor)).action is Action.CONTINUE


# --- nothing ---


def test_nothing_speaks_loud_enough() -> None:
    """What goes on says what speaks loudest of what is hard, and how loud all of that is."""
    case = a_case(["p95 < 500ms", "errors < 1%"], soft=frozenset({"p95"}))
    streams = {"shape": heard(90), "p95": heard(90), "errors": heard(5)}
    found = decide(replace(case, relative=streams, absolute={"errors": heard(7)}))
    assert (found.action, found.stream, found.log_e, found.needed) == (Action.CONTINUE, "errors", math.log(5), LIMIT)
    assert found.sentence == (
        f"nothing speaks against the candidate: errors: {COUNTS} failed, in 12 s; "
        "this is 5 times (limit 100) as likely if it is worse"
    )


def test_where_all_is_soft_the_loudest_of_it_is_said() -> None:
    """Without a hard stream the soft ones are told."""
    case = a_case(soft=frozenset({"errors"}))
    found = decide(replace(case, relative={"errors": heard(5)}))
    assert (found.action, found.stream, found.log_e) == (Action.CONTINUE, "errors", math.log(5))


def test_without_a_baseline_the_limits_are_told() -> None:
    """At 100 % what goes on tells of the limits, not of a comparison that is over."""
    case = a_case(percent=100)
    found = decide(replace(case, relative={"errors": heard(50)}, absolute={"errors": heard(5)}))
    assert (found.action, found.log_e) == (Action.CONTINUE, math.log(5))


def test_without_slos_there_is_nothing_to_judge() -> None:
    """A flag that promises nothing goes on, and says so."""
    found = decide(a_case([]))
    assert found == Decision(
        action=Action.CONTINUE,
        stream="",
        log_e=0.0,
        needed=LIMIT,
        candidate=NONE,
        baseline=NONE,
        seconds=0.0,
        limit="",
        why="there is nothing to judge: no SLOs",
    )
    assert found.sentence == "there is nothing to judge: no SLOs"
