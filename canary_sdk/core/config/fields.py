"""The fields of a declared document, one by one: what differs between two, and what becomes of a third. Pure.

Fields are a plain dictionary, as `configuration` writes it. Each has a path: `("rollout",)`, or in an environment
`("environments", "staging", "rollout")`. What stands at a path is one value, a list or a table too, and is never merged
any deeper. None stands for a field that is not there; no field can hold it. An environment that overrides nothing says
nothing, so it is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Fields = Mapping[str, Any]
Path = tuple[str, ...]

ENVIRONMENTS: Final = "environments"


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that differs: from what, to what; None where it is not there."""

    path: Path
    before: Any
    after: Any

    @property
    def environment(self) -> str:
        """The environment whose field it is; empty for the document's own."""
        return self.path[1] if len(self.path) > 1 else ""

    @property
    def name(self) -> str:
        """The field, for people: `rollout`, or `staging rollout`."""
        return " ".join(self.path[-2:])

    def __str__(self) -> str:
        """Say it in one line: `rollout 5 → 25`."""
        return f"{self.name} {say_field(self.before)} → {say_field(self.after)}"


def say_field(value: object) -> str:
    """Write a field's value as its declaration would; a dash where there is none."""
    match value:
        case None:
            return "–"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.15g}"
        case list() | tuple():
            return f"[{', '.join(map(say_field, value))}]"
        case Mapping():
            return f"{{{', '.join(f'{name} = {say_field(each)}' for name, each in value.items())}}}"
        case _:
            return repr(value)


def flat(fields: Fields) -> dict[Path, Any]:
    """Return every field by its path."""
    own = {(name,): value for name, value in fields.items() if name != ENVIRONMENTS}
    return own | {
        (ENVIRONMENTS, environment, name): value
        for environment, overrides in fields.get(ENVIRONMENTS, {}).items()
        for name, value in overrides.items()
    }


def differences(before: Fields, after: Fields) -> tuple[Difference, ...]:
    """Return what differs: the document's own fields first, each in alphabetical order."""
    old, new = flat(before), flat(after)
    paths = sorted(old.keys() | new.keys(), key=lambda path: (len(path), path))
    return tuple(
        Difference(path, old.get(path), new.get(path)) for path in paths if not _is_same(old.get(path), new.get(path))
    )


def patched(fields: Fields, changes: Mapping[Path, Any]) -> dict[str, Any]:
    """Return the fields with these changes; None removes. An environment without a field goes with its last one."""
    result: dict[str, Any] = {}
    for path, value in sorted((flat(fields) | dict(changes)).items()):
        if value is not None:
            table = result
            for name in path[:-1]:
                table = table.setdefault(name, {})
            table[path[-1]] = value
    return result


def merged(declared: Fields, now: Fields, declaration: Fields) -> dict[str, Any]:
    """Return what holds after `declaration`: what it changes of what was `declared` before, else what holds `now`."""
    return patched(now, {each.path: each.after for each in differences(declared, declaration)})


def _is_same(left: object, right: object) -> bool:
    """Tell whether two values are one: true is not 1, as JSON and TOML have it."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_is_same(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_is_same, left, right))
    return type(left) is type(right) and left == right
