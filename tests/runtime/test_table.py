"""Claims about the flag table: pinned answer, guard, the flag's own choice and the mark, in every shape it has."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk import EvaluationContext, Reason, connect
from canary_sdk.core.breaker import KILLED, PROBING, TRIPPED
from canary_sdk.core.config.configuration import parse_flag
from canary_sdk.core.flags.compiled import CompiledFlag, compile_flag
from canary_sdk.core.flags.evaluation import Evaluation, Role
from canary_sdk.core.flags.explanation import Cause
from canary_sdk.runtime.scope import Unit
from canary_sdk.runtime.table import build_table

if TYPE_CHECKING:
    from canary_sdk import Canary
    from canary_sdk.runtime.table import Context

KEYS: Final = [f"user-{number}" for number in range(200)]
SWISS: Final = {"if": {"attribute": "country", "equals": "CH"}, "serve": "on"}
SHAPES: Final[dict[str, dict[str, Any]]] = {
    "nobody": {"rollout": 0},
    "everybody": {"rollout": 100},
    "plain": {"rollout": 50},
    "disabled": {"rollout": 50, "enabled": False},
    "targets": {"rollout": 50, "targets": {"on": ["user-1"], "off": ["user-2"]}},
    "rule": {"rollout": 50, "rules": [SWISS]},
    "rule of everybody": {"rollout": 100, "rules": [{**SWISS, "serve": "default"}]},
    "variants": {
        "type": "string",
        "default": "x",
        "rollout": 50,
        "variants": {"blue": {"value": "b"}, "green": {"value": "g"}},
    },
}


class Subclass(EvaluationContext):
    """A context of an application's own."""


CONTEXTS: Final[list[Context]] = [
    "user-1",
    "user-2",
    "",
    None,
    EvaluationContext("user-3"),
    EvaluationContext(None, {"country": "CH"}),
    EvaluationContext("user-4", {"country": "CH"}),
    EvaluationContext("", {"country": "DE"}),
    Subclass("user-5", {"country": "CH"}),
]


def a_unit(ended: float = 0.0, *, in_request: bool = True, subject: Any = None) -> Unit:
    """Return a unit of work as it stands in a context variable."""
    unit = Unit()
    unit.marks = {}
    unit.responded, unit.ended, unit.status, unit.outcome = 0.0, ended, 0, 0
    unit.in_request, unit.subject = in_request, subject
    return unit


UNITS: Final = st.one_of(
    st.none(),
    st.builds(
        a_unit,
        st.sampled_from([0.0, 5.0]),
        in_request=st.booleans(),
        subject=st.sampled_from([None, "user-7", lambda: "user-8", lambda: None]),
    ),
)


def expected(flag: CompiledFlag, context: Context, unit: Unit | None, bits: int) -> tuple[Evaluation, str | None]:
    """Answer as the architecture tells it, step by step: an oracle that has one shape for all flags."""
    if unit is not None and unit.ended and not unit.in_request:
        unit = None
    attributes = context.attributes if isinstance(context, EvaluationContext) else {}
    key = context.targeting_key if isinstance(context, EvaluationContext) else context
    if key is None and unit is not None:
        key = unit.subject() if callable(unit.subject) else unit.subject
    if unit is not None and "f" in unit.marks:
        return unit.marks["f"]
    if bits:
        return (flag.probe(key, attributes) if bits == PROBING else flag.tripped), key
    return flag.choose(key, attributes), key


@pytest.mark.parametrize("shape", SHAPES)
@given(
    st.lists(st.tuples(st.sampled_from(CONTEXTS), st.sampled_from([0, 0, TRIPPED, KILLED, PROBING])), max_size=4),
    UNITS,
    st.booleans(),
)
def test_every_shape_answers_and_marks_alike(
    shape: str, asked: list[tuple[Context, int]], unit: Unit | None, met: bool
) -> None:
    """Whatever shape a flag is compiled to, answers and marks are those of the plain sequence of steps."""
    flag = compile_flag(parse_flag("f", SHAPES[shape]).base, 20.0)
    if unit is not None and met:
        unit.marks["f"] = (flag.tripped, "before")
    guard = memoryview(bytearray(1)).cast("B", ())
    current: ContextVar[Unit | None] = ContextVar("unit", default=unit)
    table = build_table({"f": flag}, 1, lambda _: guard, current.get)
    for context, bits in asked:
        guard[()] = bits
        answer, key = expected(flag, context, unit, bits)
        marks = {} if unit is None else dict(unit.marks)
        attributes = context.attributes if isinstance(context, EvaluationContext) else {}
        assert table.peek("f", key, attributes) == answer
        assert marks == ({} if unit is None else unit.marks)
        assert table.entries["f"].resolve(context, unit) == answer
        if unit is not None and not unit.is_over:
            marks.setdefault("f", (answer, key))
        assert marks == ({} if unit is None else unit.marks)


@pytest.mark.parametrize("shape", SHAPES)
@given(
    st.lists(st.tuples(st.sampled_from(CONTEXTS), st.sampled_from([0, 0, TRIPPED, KILLED, PROBING])), max_size=4),
    UNITS,
    st.booleans(),
)
def test_is_enabled_says_what_every_shape_answers(
    shape: str, asked: list[tuple[Context, int]], unit: Unit | None, met: bool
) -> None:
    """What `is_enabled` answers by itself, and marks, is what the plain sequence of steps would."""
    with connect("memory:", background=False) as canary:
        canary.apply({"flags": {"f": SHAPES[shape]}, "auto_rollback": {"probe": "20%", "probe_after": "5m"}})
        table = canary._wake()
        flag, guard = table.flags["f"], table.guards["f"]
        if unit is not None and met:
            unit.marks["f"] = (flag.tripped, "before")
        token = canary.units.enter(unit)
        for context, bits in asked:
            guard[()] = bits
            answer, key = expected(flag, context, unit, bits)
            marks = {} if unit is None else dict(unit.marks)
            assert canary.is_enabled("f", context) is answer.enabled
            if unit is not None and not unit.is_over:
                marks.setdefault("f", (answer, key))
            assert marks == ({} if unit is None else unit.marks)
        canary.units.leave(token)
        assert not canary.failures.counts


class Overtaking:
    """A guard byte during whose reading another thread of the unit marks the flag."""

    def __init__(self, unit: Unit, answer: Evaluation) -> None:
        self._unit = unit
        self._answer = answer

    def __getitem__(self, _: tuple[()]) -> int:
        """Be overtaken, and see the flag closed."""
        self._unit.marks["f"] = (self._answer, "user-1")
        return 0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("context", ["user-1", EvaluationContext("user-1"), None], ids=["key", "context", "unit"])
def test_threads_of_one_unit_agree(shape: str, context: Context) -> None:
    """Who was overtaken between looking for a mark and setting one gives the answer that the other thread gave."""
    flag = compile_flag(parse_flag("f", SHAPES[shape]).base)
    unit = a_unit(subject="user-1")
    guard = cast("memoryview", Overtaking(unit, flag.tripped))
    table = build_table({"f": flag}, 1, lambda _: guard, lambda: unit)
    assert table.entries["f"].resolve(context, unit) is flag.tripped
    assert unit.marks == {"f": (flag.tripped, "user-1")}


# --- through a Canary ---

FLAGS: Final[dict[str, dict[str, Any]]] = {
    "flags": {
        "basket": {"rollout": 100},
        "checkout": {
            "rollout": 100,
            "prerequisites": [{"flag": "basket", "variant": "on"}],
            "environments": {"test": {"salt": "other"}},
        },
        "staff": {"rules": [{"name": "staff", "if": {"segment": "staff"}, "serve": "on"}]},
        "half": {"rollout": 50},
    },
    "segments": {"staff": {"if": {"attribute": "mail", "ends_with": "@shop.example"}}},
}


def test_a_prerequisite_that_trips_takes_what_needs_it_along(canary: Canary) -> None:
    """The guard of a required flag is looked at, so killing it is felt at the next evaluation of the other."""
    canary.apply(FLAGS)
    assert canary.is_enabled("checkout", "u")
    canary.kill("basket", reason="test")
    answer = canary.evaluate("checkout", "u")
    assert (answer.value, answer.reason, answer.role) == (False, Reason.PREREQUISITE_FAILED, Role.APART)
    canary.release("basket")
    assert canary.is_enabled("checkout", "u")


def test_a_prerequisite_is_what_the_unit_was_answered(canary: Canary) -> None:
    """A unit that was served the required variant goes on with it, and asking a prerequisite marks nothing."""
    canary.apply(FLAGS)
    with canary.scope("one", key="u") as unit:
        assert canary.is_enabled("checkout")
        assert unit is not None
        assert set(unit.marks) == {"checkout"}
    with canary.scope("two", key="u") as unit:
        assert canary.is_enabled("basket")
        canary.kill("basket", reason="test")
        assert canary.is_enabled("checkout")
    with canary.scope("three", key="u"):
        assert not canary.is_enabled("checkout")


def test_rules_ask_for_attributes_and_segments(canary: Canary) -> None:
    """Attributes reach the rules, also where the unit's own key is used; a key alone has none."""
    canary.apply(FLAGS)
    staff = EvaluationContext("u", {"mail": "u@shop.example"})
    assert canary.evaluate("staff", staff).reason is Reason.TARGETING_MATCH
    assert not canary.is_enabled("staff", "u")
    with canary.scope("one", key="u") as unit:
        assert canary.is_enabled("staff", EvaluationContext(None, {"mail": "x@shop.example"}))
        assert unit is not None
        assert unit.marks["staff"][1] == "u"


def test_a_segment_changes_for_all_flags_at_once(canary: Canary) -> None:
    """A segment is stored by itself; what refers to it follows when it is declared anew."""
    canary.apply(FLAGS)
    canary.apply({"segments": {"staff": {"if": {"attribute": "mail", "ends_with": "@new.example"}}}})
    assert canary.is_enabled("staff", EvaluationContext("u", {"mail": "u@new.example"}))
    assert not canary.is_enabled("staff", EvaluationContext("u", {"mail": "u@shop.example"}))


def test_what_has_not_changed_is_not_compiled_again(canary: Canary) -> None:
    """A change of one flag leaves the others as they were compiled; one that flags share leaves none."""
    canary.apply(FLAGS)
    shared: list[dict[str, Any]] = [
        {"segments": {"staff": {"if": {"attribute": "mail", "ends_with": "@new.example"}}}},
        {"segments": {"more": {"if": {"attribute": "mail", "ends_with": "@new.example"}}}},
        {"auto_rollback": {"probe": "5%"}},
    ]
    before = canary._wake().flags
    canary.update("half", {"rollout": 60})
    after = canary._wake().flags
    assert [key for key in FLAGS["flags"] if after[key] is not before[key]] == ["half"]
    for change in shared:
        before = canary._wake().flags
        canary.apply(change)
        after = canary._wake().flags
        assert not [key for key in FLAGS["flags"] if after[key] is before[key]]


def test_a_segment_of_which_only_the_kind_changes_is_another(canary: Canary) -> None:
    """The number 1 and true are equal to Python, and not to a condition."""
    flag = {"rules": [{"if": {"segment": "paid"}, "serve": "on"}]}
    for constant, other in ((1, True), (True, 1)):
        canary.apply({"flags": {"f": flag}, "segments": {"paid": {"if": {"attribute": "paid", "in": [constant]}}}})
        assert canary.is_enabled("f", EvaluationContext("u", {"paid": constant}))
        assert not canary.is_enabled("f", EvaluationContext("u", {"paid": other}))


def test_all_flags_are_answered_and_none_is_met(canary: Canary) -> None:
    """Bulk evaluation gives what each flag would answer here, and the unit is measured for none of them."""
    canary.apply(FLAGS)
    canary.kill("basket", reason="test")
    for key in KEYS[:20]:
        answers = canary.evaluate_all(key)
        assert answers == {flag_key: canary.evaluate(flag_key, key) for flag_key in FLAGS["flags"]}
    with canary.scope("one", key="u") as unit:
        assert canary.evaluate("basket").reason is Reason.TRIPPED
        canary.release("basket")
        answers = canary.evaluate_all()
        assert (answers["basket"].reason, answers["half"].role) == (Reason.TRIPPED, canary.evaluate("half", "u").role)
        assert unit is not None
        assert set(unit.marks) == {"basket", "half"}


def test_one_failing_flag_spoils_no_other(canary: Canary) -> None:
    """A key that cannot be hashed fails the flags that need it, says so, and leaves the others their answers."""
    canary.apply(FLAGS)
    nonsense: Any = 42
    answers = canary.evaluate_all(nonsense)
    assert (answers["half"].reason, answers["basket"].value) == (Reason.ERROR, True)
    assert canary.evaluate_all(EvaluationContext("u", nonsense))["basket"].value is True


def test_attributes_that_raise_are_the_rules_own_business(canary: Canary) -> None:
    """Attributes that are no mapping match no rule, and the flag answers by its percentage."""
    canary.apply(FLAGS)
    nonsense: Any = object()
    assert canary.evaluate("staff", EvaluationContext("u", nonsense)).reason is Reason.DEFAULT


def test_an_explanation_speaks_of_the_answer_that_was_served(canary: Canary) -> None:
    """It names environment, overrides and cause, the answer is marked as any other, and a second one is pinned."""
    canary.apply(FLAGS)
    with canary.scope("one", key="u") as unit:
        answer = canary.evaluate("checkout", explain=True)
        assert unit is not None
        assert unit.marks["checkout"][0] == answer
        again = canary.evaluate("checkout", explain=True)
    assert answer.explanation is not None
    assert again.explanation is not None
    assert str(answer.explanation) == (
        "checkout is 'on' in test, which overrides salt, because everybody is in the rollout"
    )
    assert (answer.explanation.cause, again.explanation.cause) == (Cause.ROLLOUT, Cause.PINNED)
    canary.kill("checkout", reason="test")
    killed = canary.evaluate("checkout", "u", explain=True)
    assert killed.reason is Reason.TRIPPED
    assert killed.explanation is not None
    assert killed.explanation.cause is Cause.KILLED


def test_explaining_what_is_not_there_raises_nothing(canary: Canary) -> None:
    """An unknown flag has the caller's default and no explanation."""
    answer = canary.evaluate("unheard-of", "u", explain=True)
    assert (answer.reason, answer.explanation) == (Reason.ERROR, None)
