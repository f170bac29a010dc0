"""What flags, segments, plans and channels say of each other: whether it is there, and whether asking for it ends.

Each is declared, and stored, by itself; this looks at all of them together. It changes nothing and decides nothing.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from canary_sdk.core.flags.conditions import segments_in
from canary_sdk.core.reading import either, hint, say
from canary_sdk.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from canary_sdk.core.breaker import AutoRollback
    from canary_sdk.core.config.channels import ChannelDeclaration
    from canary_sdk.core.config.configuration import FlagDeclaration, PlanDeclaration, SegmentDeclaration
    from canary_sdk.core.flags.flag import Condition, Flag, Prerequisite

    Flags = Mapping[str, FlagDeclaration]
    Segments = Mapping[str, SegmentDeclaration]
    Plans = Mapping[str, PlanDeclaration]
    Channels = Mapping[str, ChannelDeclaration]
    Policies = Mapping[str, AutoRollback]
    Graph = Mapping[str, Sequence[str]]
    Path = tuple[str, ...]

MOST_STEPS: Final = 100
"""How many others may be asked, over and over, for one answer: so that no request pays for a tangle."""


def dangling(
    flags: Flags, segments: Segments, plans: Plans, channels: Channels, policies: Policies
) -> tuple[Problem, ...]:
    """Name everything that is referred to and not there, or does not end."""
    found = [*unsound(flags, segments), *_unanswerable(flags), *_planless(flags, plans), *_untold(policies, channels)]
    return tuple(dict.fromkeys(found))


def segments_of(flag: Flag, segments: Mapping[str, Condition]) -> dict[str, Condition]:
    """Return the segments that a flag refers to, and those that they refer to, as far as they are there."""
    found: dict[str, Condition] = {}
    wanted = [name for rule in flag.rules for name in segments_in(rule.condition)]
    while wanted:
        name = wanted.pop()
        if name in segments and name not in found:
            found[name] = segments[name]
            wanted += segments_in(segments[name])
    return found


def unsound(flags: Flags, segments: Segments) -> Iterator[Problem]:
    """Name what cannot be compiled or would not end: segments that are not there, circles, tangles."""
    graph = {key: list(segments_in(segment.condition)) for key, segment in segments.items()}
    for key, others in graph.items():
        yield from _unknown_segments(("segments", key, "if"), others, segments)
    for key, words in _endless(graph):
        yield Problem(("segments", key, "if"), words)
    for key, flag in flags.items():
        for environment, resolved in _everywhere(flag):
            for index, rule in enumerate(resolved.rules):
                path = (*_place(key, resolved, environment, "rules"), str(index), "if")
                yield from _unknown_segments(path, list(segments_in(rule.condition)), segments)
    for environment, resolved_flags in _by_environment(flags):
        required = {key: [each.flag for each in flag.prerequisites] for key, flag in resolved_flags.items()}
        for key, words in _endless(required):
            yield Problem(_place(key, resolved_flags[key], environment, "prerequisites"), words)


def _unknown_segments(path: Path, named: Sequence[str], segments: Segments) -> Iterator[Problem]:
    for segment in named:
        if segment not in segments:
            yield Problem(path, f"found the segment {say(segment)}, expected {_one_of(segments)}")


def _unanswerable(flags: Flags) -> Iterator[Problem]:
    """Name the prerequisites that no flag can meet, in any environment."""
    for environment, resolved in _by_environment(flags):
        for key, flag in resolved.items():
            path = _place(key, flag, environment, "prerequisites")
            for index, prerequisite in enumerate(flag.prerequisites):
                yield from _unmet((*path, str(index)), prerequisite, resolved)


def _unmet(path: Path, prerequisite: Prerequisite, flags: Mapping[str, Flag]) -> Iterator[Problem]:
    other = flags.get(prerequisite.flag)
    if other is None:
        yield Problem((*path, "flag"), f"found the flag {say(prerequisite.flag)}, expected {_one_of(flags)}")
    elif prerequisite.variant not in other.values:
        names = list(other.values)
        words = (
            f"expected a variant of {prerequisite.flag}: {either(map(repr, names))}{hint(prerequisite.variant, names)}"
        )
        yield Problem((*path, "variant"), f"found {say(prerequisite.variant)}, {words}")


def _planless(flags: Flags, plans: Plans) -> Iterator[Problem]:
    """Name the plans that are not there."""
    for key, flag in flags.items():
        for environment, resolved in _everywhere(flag):
            if isinstance(resolved.plan, str) and resolved.plan not in plans:
                words = f"expected {_one_of(plans)}{hint(resolved.plan, sorted(plans))}"
                yield Problem(
                    _place(key, resolved, environment, "plan"), f"found the plan {say(resolved.plan)}, {words}"
                )


def _untold(policies: Policies, channels: Channels) -> Iterator[Problem]:
    """Name the channels that are to be told and are not there."""
    for policy in policies.values():
        for index, channel in enumerate(policy.notify):
            if channel not in channels:
                words = f"expected {_one_of(channels)}{hint(channel, sorted(channels))}"
                yield Problem(("auto_rollback", "notify", str(index)), f"found the channel {say(channel)}, {words}")


def _one_of(known: Mapping[str, object]) -> str:
    if not known:
        return "none: there are none"
    names = sorted(known)
    return (
        f"one that is declared: {either(names)}" if len(names) <= 10 else f"one of the {len(names)} that are declared"
    )


# --- circles ---


def _endless(graph: Graph) -> Iterator[tuple[str, str]]:
    """Find what refers to itself in the end, with the way it takes, and what refers to too much."""
    circles = {start: way for start in graph if (way := _way_back(graph, start))}
    for start, way in circles.items():
        yield start, f"found a circle: {' → '.join(way)}, expected none"
    sizes: dict[str, float] = dict.fromkeys(circles, 0)
    for start in graph:
        if start not in circles and _size(graph, start, MOST_STEPS, sizes) > MOST_STEPS:
            yield start, f"found more than {MOST_STEPS} references, those of the others included, expected fewer"


def _way_back(graph: Graph, start: str) -> Path:
    """Return the shortest way from a node to itself, empty if there is none among the nearest others."""
    came_from: dict[str, str] = {}
    nearest = [start]
    for node in nearest:
        for other in graph.get(node, ()):
            if other == start:
                return (*_way(came_from, start, node), start)
            if other not in came_from and len(nearest) <= MOST_STEPS:
                came_from[other] = node
                nearest.append(other)
    return ()


def _way(came_from: Mapping[str, str], start: str, end: str) -> Path:
    way = [end]
    while way[-1] != start:
        way.append(came_from[way[-1]])
    return tuple(reversed(way))


def _size(graph: Graph, node: str, levels: int, sizes: dict[str, float]) -> float:
    """Count all that a node refers to in the end, as often as it does; what does not end is infinite."""
    if node not in sizes and levels >= 0:
        sizes[node] = inf
        sizes[node] = sum(1 + _size(graph, each, levels - 1, sizes) for each in graph.get(node, ()))
    return sizes.get(node, inf)


# --- environments ---


def _everywhere(flag: FlagDeclaration) -> Iterator[tuple[str, Flag]]:
    yield "", flag.base
    yield from flag.environments.items()


def _by_environment(flags: Flags) -> Iterator[tuple[str, dict[str, Flag]]]:
    """Return all flags as each environment that any of them mentions has them, and as all others do."""
    environments = {name for flag in flags.values() for name in flag.environments}
    for environment in ["", *sorted(environments)]:
        yield environment, {key: flag.for_environment(environment) for key, flag in flags.items()}


def _place(key: str, flag: Flag, environment: str, field: str) -> Path:
    """Return where a field stands that holds in an environment."""
    return ("flags", key, "environments", environment, field) if field in flag.overridden else ("flags", key, field)
