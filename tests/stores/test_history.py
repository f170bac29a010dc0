"""Claims about the history: what a row says, and what a refusal tells of those who were faster."""

from __future__ import annotations

from typing import Final

import pytest

from canary_sdk.core.breaker import Breaker, State
from canary_sdk.core.config.fields import Difference
from canary_sdk.errors import Refused, StoreError
from canary_sdk.ports import Action, AuditRow
from canary_sdk.stores import codec, history
from canary_sdk.stores.codec import NOTHING, Held

AT: Final = 1_750_000_000.0
ON: Final = Breaker("checkout")


def a_row(kind: str, key: str, before: str | None, after: str | None) -> AuditRow:
    """Return the audit row of a change."""
    return AuditRow(7, AT, "ada", "because", kind, key, before, after, 9, 3)


def of_a_flag(before: Held, after: Held) -> AuditRow:
    """Return the audit row of a flag's change."""
    bodies = [None if each is NOTHING else codec.encode(each) for each in (before, after)]
    return a_row(codec.FLAG, "checkout", *bodies)


def of_a_breaker(before: Breaker | None, after: Breaker) -> AuditRow:
    """Return the audit row of a breaker's change."""
    old = codec.encode_breaker(before) if before else None
    return a_row(codec.BREAKER, "eu/production/checkout", old, codec.encode_breaker(after))


def held(**fields: object) -> Held:
    """Return what a flag's document holds."""
    return Held(fields, fields)


def test_a_row_says_who_when_why_and_what() -> None:
    """A row has all that the audit has, and each field that differs."""
    row = history.told(of_a_flag(held(rollout=5.0, salt="x"), held(rollout=25.0, salt="x", enabled=False)))
    assert (row.id, row.at, row.actor, row.reason, row.kind, row.key) == (7, AT, "ada", "because", "flag", "checkout")
    assert (row.revision, row.environment, row.action) == (3, "", Action.CHANGED)
    assert row.differences == (Difference(("enabled",), None, False), Difference(("rollout",), 5.0, 25.0))
    assert row.sentence == "enabled – → false, rollout 5 → 25"


def test_a_change_of_one_environment_names_it() -> None:
    """Where all fields are one environment's, the row is; where they are several's, it is nobody's."""
    fields = {"environments": {"staging": {"rollout": 1.0}}}
    assert history.told(of_a_flag(held(), held(**fields))).environment == "staging"
    assert history.told(of_a_flag(held(), held(rollout=1.0, **fields))).environment == ""


@pytest.mark.parametrize(
    ("before", "after", "action"),
    [
        (NOTHING, held(), Action.CREATED),
        (held(), Held(None, {}), Action.DELETED),
        (held(), NOTHING, Action.DELETED),
        (Held(None, {}), held(), Action.CREATED),
        (held(), Held({}, {"rollout": 5.0}), Action.CHANGED),
    ],
)
def test_coming_and_going_is_told(before: Held, after: Held, action: Action) -> None:
    """A flag is created, deleted or changed, whether or not something of it is kept after a deletion."""
    row = history.told(of_a_flag(before, after))
    assert (row.action, row.differences) == (action, ())


@pytest.mark.parametrize(
    ("before", "after", "action", "sentence"),
    [
        (None, Breaker("checkout", killed=True), Action.KILLED, "killed"),
        (Breaker("checkout", killed=True), ON, Action.RELEASED, "released"),
        (ON, Breaker("checkout", State.OPEN), Action.TRIPPED, "tripped"),
        (Breaker("checkout", State.OPEN), Breaker("checkout", State.HALF_OPEN), Action.PROBED, "probed"),
        (Breaker("checkout", State.HALF_OPEN), Breaker("checkout", State.OPEN), Action.TRIPPED, "tripped"),
        (Breaker("checkout", State.HALF_OPEN), ON, Action.RECOVERED, "recovered"),
        (Breaker("checkout", State.OPEN), ON, Action.RESET, "reset"),
        (Breaker("checkout", State.OPEN), Breaker("checkout", State.OPEN, recovered=True), Action.CHANGED, None),
    ],
)
def test_what_a_breaker_did_is_told(
    before: Breaker | None, after: Breaker, action: Action, sentence: str | None
) -> None:
    """Each act of a breaker has its name, with the flag and the environment it is of; and none can be undone."""
    row = of_a_breaker(before, after)
    told = history.told(row)
    assert (told.action, told.key, told.environment) == (action, "checkout", "eu/production")
    assert told.sentence == (sentence or "recovered false → true")
    with pytest.raises(Refused, match=r"^change 7 of checkout \(.*\) cannot be undone: "):
        history.undone(row, NOTHING, 3, (), force=True)


def test_what_undoes_a_kill_is_said() -> None:
    """Whoever tries to undo a kill is told to release."""
    with pytest.raises(Refused, match=r"let go of it with release\('checkout'\)$"):
        history.undone(of_a_breaker(None, Breaker("checkout", killed=True)), NOTHING, 3, (), force=False)


def test_damage_does_not_hide_the_history() -> None:
    """A row whose body cannot be read is shown as it is, and cannot be undone."""
    row = a_row(codec.FLAG, "checkout", "{", codec.encode(held(rollout=5.0)))
    assert history.told(row).differences[0] == Difference(("body",), "{", None)
    with pytest.raises(StoreError, match="is damaged"):
        history.undone(row, held(rollout=5.0), 3, (), force=True)


def test_a_refusal_names_those_who_were_faster() -> None:
    """It says both revisions, and of each change since: when, who, which fields, why; the newest first, and not all."""
    row = history.told(of_a_flag(held(rollout=5.0), held(rollout=25.0)))
    error = history.stale("checkout", 9, 2, [row] * 7)
    assert (error.found, error.expected) == (9, 2)
    first, *lines, more, advice = str(error).splitlines()
    assert first == "checkout is at revision 9, and not at 2 as expected; nothing was written. Since then:"
    assert lines == ["  revision 3, 2025-06-15 15:06:40 UTC, ada: rollout 5 → 25 (because)"] * 5
    assert (more, advice) == ("  and 2 more", "Look at it again and decide anew")
