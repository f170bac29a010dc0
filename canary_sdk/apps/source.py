"""Finds where an application's source asks for flags, by reading its syntax; nothing is imported or run.

Found are the calls of our methods on what is a `Canary` by its name (`canary`, or what `connect` was assigned to),
FastAPI's dependency on such a one, and OpenFeature's calls on anything. A key may be written there, or be a constant
that is assigned a text anywhere in what is read, as `canary generate` writes them.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from canary_sdk.apps.constants import DOCSTRING
from canary_sdk.errors import CanaryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

OURS: Final = frozenset(
    ("breaker", "evaluate", "feature", "flag", "is_enabled", "kill", "mark", "release", "reset", "settled", "value")
)
DEPENDENCY: Final = "enabled"
"""FastAPI's way of asking: `enabled(canary, "new-checkout")`."""
OPENFEATURE: Final = re.compile(r"get_(boolean|string|integer|float|object)_(value|details)(_async)?")
NOT_SOURCE: Final = frozenset({"__pycache__", "build", "dist", "node_modules", "site-packages"})


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line of a file."""

    path: str
    line: int

    def __str__(self) -> str:
        """Write it as compilers do."""
        return f"{self.path}:{self.line}"


@dataclass(slots=True)
class Found:
    """What was found: where each key is asked for, where a key cannot be told, and every text that is written.

    A constant of a generated module counts as written where it is used.
    """

    asked: dict[str, list[Place]] = field(default_factory=dict)
    untold: list[Place] = field(default_factory=list)
    texts: set[str] = field(default_factory=set)
    files: int = 0

    def missing(self, known: Iterable[str]) -> dict[str, list[Place]]:
        """Return the keys that are asked for and not known, with where."""
        return {key: sorted(places) for key, places in sorted(self.asked.items()) if key not in set(known)}

    def unused(self, known: Iterable[str]) -> list[str]:
        """Return the known keys that are written nowhere."""
        return sorted(set(known) - self.texts)


def find(paths: Iterable[Path]) -> Found:
    """Read the Python files at these paths, folders with all that is in them.

    Hidden folders, virtual environments and what was built are left out. Raises `CanaryError` naming file and line.
    """
    trees = {path: _parsed(path) for path in _files(paths)}
    constants: dict[str, set[str]] = {}
    clients = {"canary"}
    for tree in trees.values():
        for name, value in _assignments(tree):
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                constants.setdefault(name, set()).add(value.value)
            elif isinstance(value, ast.Call) and _last_name(value.func) == "connect":
                clients.add(name)
    found = Found(files=len(trees))
    for path, tree in trees.items():
        own = {name: value.value for name, value in _assignments(tree) if isinstance(value, ast.Constant)}
        is_generated = (ast.get_docstring(tree) or "").startswith(DOCSTRING)
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and not is_generated:
                found.texts.add(node.value)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.texts.update(constants.get(_last_name(node), ()))
            elif isinstance(node, ast.Call) and _asks(node, clients):
                _note(found, node, Place(str(path), node.lineno), own, constants)
    return found


def _note(
    found: Found, call: ast.Call, place: Place, own: Mapping[str, object], constants: dict[str, set[str]]
) -> None:
    """Note which key a call asks for: written there, a constant of this file, or one that only one file has."""
    asked = call.args[1:] if _last_name(call.func) == DEPENDENCY else call.args
    key = next((each.value for each in call.keywords if each.arg == "flag_key"), asked[0] if asked else None)
    if key is None:
        return
    text: object = None
    if isinstance(key, ast.Constant):
        text = key.value
    elif isinstance(key, ast.Name) and key.id in own:
        text = own[key.id]
    elif len(texts := constants.get(_last_name(key), set())) == 1:
        (text,) = texts
    if isinstance(text, str):
        found.asked.setdefault(text, []).append(place)
    else:
        found.untold.append(place)


def _asks(call: ast.Call, clients: set[str]) -> bool:
    """Whether a call asks a flag."""
    method = call.func
    if _last_name(method) == DEPENDENCY:
        return bool(call.args) and _last_name(call.args[0]).lstrip("_") in clients
    if not isinstance(method, ast.Attribute):
        return False
    if OPENFEATURE.fullmatch(method.attr):
        return True
    return method.attr in OURS and _last_name(method.value).lstrip("_") in clients


def _assignments(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Tell what is assigned to which name, or to an attribute of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield _last_name(target), node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield _last_name(node.target), node.value


def _last_name(node: ast.expr) -> str:
    """Return a name, or the last part of a dotted one; empty for anything else."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), str(path))
    except SyntaxError as error:
        raise CanaryError(f"{path}:{error.lineno}: {error.msg}") from None
    except (OSError, ValueError) as error:
        raise CanaryError(f"{path}: {error}") from None


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            inside = [each for each in path.iterdir() if each.suffix == ".py" or (each.is_dir() and _is_source(each))]
            yield from _files(sorted(inside))
        else:
            yield path


def _is_source(folder: Path) -> bool:
    name = folder.name
    return not name.startswith(".") and name not in NOT_SOURCE and not (folder / "pyvenv.cfg").exists()
