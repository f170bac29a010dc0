"""Claims about what flags and segments may say of each other."""

from __future__ import annotations

import itertools
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_sdk.core.config.configuration import parse_declaration
from canary_sdk.core.config.references import MOST_STEPS, dangling, segments_of


def problems_of(data: dict[str, Any]) -> list[str]:
    """Return what refers in vain, as printed."""
    declared = parse_declaration(data)
    policies = {"default": declared.auto_rollback} if declared.auto_rollback else {}
    found = dangling(declared.flags, declared.segments, declared.plans, declared.channels, policies)
    return [str(problem) for problem in found]


def requiring(*others: str, variant: str = "on") -> dict[str, Any]:
    """Return a flag that requires others."""
    return {"prerequisites": [{"flag": other, "variant": variant} for other in others]}


def within(*others: str) -> dict[str, Any]:
    """Return a segment that is any of others."""
    return {"if": {"any": [{"segment": other} for other in others]}}


TEST: Final = {"if": {"attribute": "a", "equals": 1}}
PLAN: Final = {"stages": [{"percent": 100, "bake": "1h"}]}
RULE: Final = {"if": {"all": [{"segment": "staff"}, {"not": {"segment": "guests"}}]}, "serve": "on"}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"flags": {"a": {}}}, []),
        ({"flags": {"a": requiring("b"), "b": requiring("c"), "c": {}}}, []),
        ({"flags": {"a": {"rules": [RULE]}}, "segments": {"staff": TEST, "guests": within("staff")}}, []),
        # channels
        ({"auto_rollback": {"notify": ["night"]}, "notify": {"night": {"kind": "slack", "url_env": "URL"}}}, []),
        (
            {"auto_rollback": {"notify": ["night", "nigth"]}, "notify": {"night": {"kind": "slack", "url_env": "URL"}}},
            [
                (
                    "auto_rollback.notify.1: found the channel 'nigth', expected one that is declared: night; "
                    "did you mean 'night'?"
                )
            ],
        ),
        # flags
        (
            {"flags": {"a": requiring("bb"), "b": {}}},
            ["flags.a.prerequisites.0.flag: found the flag 'bb', expected one that is declared: a or b"],
        ),
        (
            {"flags": {"a": requiring("b", variant="On"), "b": {}}},
            [
                (
                    "flags.a.prerequisites.0.variant: found 'On', expected a variant of b: 'on' or 'off'; "
                    "did you mean 'on'?"
                )
            ],
        ),
        ({"flags": {"a": requiring("a")}}, ["flags.a.prerequisites: found a circle: a → a, expected none"]),
        (
            {"flags": {"a": requiring("b"), "b": requiring("c"), "c": requiring("b")}},
            [
                "flags.b.prerequisites: found a circle: b → c → b, expected none",
                "flags.c.prerequisites: found a circle: c → b → c, expected none",
            ],
        ),
        # in one environment only
        (
            {"flags": {"a": {"environments": {"s": requiring("b")}}, "b": requiring("a")}},
            [
                "flags.a.environments.s.prerequisites: found a circle: a → b → a, expected none",
                "flags.b.prerequisites: found a circle: b → a → b, expected none",
            ],
        ),
        (
            {
                "flags": {
                    "a": requiring("b", variant="blue"),
                    "b": {
                        "type": "string",
                        "default": "x",
                        "variants": {"blue": {"value": "b"}, "red": {"value": "r"}},
                        "environments": {"s": {"candidate": "c"}},
                    },
                }
            },
            ["flags.a.prerequisites.0.variant: found 'blue', expected a variant of b: 'baseline' or 'candidate'"],
        ),
        # segments
        (
            {"flags": {"a": {"rules": [RULE]}}, "segments": {"staff": TEST}},
            ["flags.a.rules.0.if: found the segment 'guests', expected one that is declared: staff"],
        ),
        (
            {"flags": {"a": {"environments": {"s": {"rules": [RULE]}}}}},
            [
                "flags.a.environments.s.rules.0.if: found the segment 'staff', expected none: there are none",
                "flags.a.environments.s.rules.0.if: found the segment 'guests', expected none: there are none",
            ],
        ),
        (
            {"segments": {"a": within("b"), "b": within("a"), "c": within("a", "d")}},
            [
                "segments.c.if: found the segment 'd', expected one that is declared: a, b or c",
                "segments.a.if: found a circle: a → b → a, expected none",
                "segments.b.if: found a circle: b → a → b, expected none",
            ],
        ),
        # plans
        ({"flags": {"a": {"plan": "careful"}}, "plans": {"careful": PLAN}}, []),
        (
            {"flags": {"a": {"plan": "carefull"}}, "plans": {"careful": PLAN}},
            [
                (
                    "flags.a.plan: found the plan 'carefull', expected one that is declared: careful; "
                    "did you mean 'careful'?"
                )
            ],
        ),
        (
            {"flags": {"a": {"environments": {"s": {"plan": "careful"}}}}},
            ["flags.a.environments.s.plan: found the plan 'careful', expected none: there are none"],
        ),
    ],
)
def test_what_refers_in_vain_is_named(data: dict[str, Any], expected: list[str]) -> None:
    """Each reference that finds nothing, or comes back to where it began, is named where it stands, with its way."""
    assert problems_of(data) == expected


def test_many_names_are_not_listed() -> None:
    """Where there are many to choose from, they are counted."""
    flags: dict[str, Any] = {f"f{number}": {} for number in range(11)}
    assert problems_of({"flags": {**flags, "a": requiring("b")}}) == [
        "flags.a.prerequisites.0.flag: found the flag 'b', expected one of the 12 that are declared"
    ]


@pytest.mark.parametrize("length", [MOST_STEPS, MOST_STEPS + 1, 3_000])
def test_a_long_chain_is_refused(length: int) -> None:
    """A flag may ask a hundred others in the end and not more, however long the chain is, and no recursion is deep."""
    flags = {f"f{number}": requiring(f"f{number + 1}") for number in range(length)} | {f"f{length}": {}}
    assert bool(problems_of({"flags": flags})) == (length > MOST_STEPS)


def test_a_circle_among_too_many_is_refused() -> None:
    """Where so much is referred to that no way back is looked for, flags that refer to each other are too much."""
    crowd = [f"f{number}" for number in range(MOST_STEPS + 1)]
    flags: dict[str, Any] = {key: {} for key in crowd} | {"a": requiring(*crowd, "b"), "b": requiring(*crowd, "a")}
    words = f"found more than {MOST_STEPS} references, those of the others included, expected fewer"
    assert problems_of({"flags": flags}) == [f"flags.{key}.prerequisites: {words}" for key in "ab"]


def test_a_tangle_is_refused() -> None:
    """References that double at each step are refused before they are many, although each is short."""
    segments: dict[str, Any] = {f"s{number}": within(f"s{number + 1}", f"s{number + 2}") for number in range(40)}
    problems = problems_of({"segments": segments | {"s40": TEST, "s41": TEST}})
    assert problems
    assert {problem.partition(": ")[2] for problem in problems} == {
        f"found more than {MOST_STEPS} references, those of the others included, expected fewer"
    }


def test_the_segments_of_a_flag_are_found_through_others() -> None:
    """All that its rules refer to, and what those refer to, once, as far as it is there; and nothing else."""
    rules = [RULE, {"if": {"segment": "gone"}, "serve": "off"}]
    data = {"staff": TEST, "guests": within("staff", "friends", "guests"), "friends": TEST, "others": TEST}
    declared = parse_declaration({"flags": {"f": {"rules": rules}, "plain": {}}, "segments": data})
    segments = {key: segment.condition for key, segment in declared.segments.items()}
    found = segments_of(declared.flags["f"].base, segments)
    assert found == {key: segments[key] for key in ("staff", "guests", "friends")}
    assert segments_of(declared.flags["plain"].base, segments) == {}


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=3, unique=True)))
def test_circles_are_found(graph: dict[str, list[str]]) -> None:
    """Exactly those flags are named that can be reached from themselves, each with a way that exists."""
    complete = {name: graph.get(name, []) for name in "abcdef"}
    flags = {name: requiring(*others) for name, others in complete.items()}
    reach = {name: set(others) for name, others in complete.items()}
    for _ in complete:
        reach = {name: others.union(*(reach[other] for other in others)) for name, others in reach.items()}
    found = {problem.split(".")[1]: problem for problem in problems_of({"flags": flags})}
    assert found.keys() == {name for name in complete if name in reach[name]}
    for name, problem in found.items():
        way = problem.partition("circle: ")[2].partition(",")[0].split(" → ")
        assert way[0] == way[-1] == name
        assert all(later in complete[earlier] for earlier, later in itertools.pairwise(way))
