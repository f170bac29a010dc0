"""Configuration files: a name that ends in `.json` is JSON, any other TOML. It knows no flag.

What is wrong with what a file says is told with its line, whoever finds it. A file is written as a whole or not at all.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.core.config.configuration import parse_declaration
from canary_sdk.errors import CanaryError, ConfigError, Problem
from canary_sdk.stores import json, toml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from os import PathLike
    from types import ModuleType

    from canary_sdk.core.config.configuration import Declaration
    from canary_sdk.stores.toml import Place

FORMATS: Final[Mapping[str, ModuleType]] = {".toml": toml, ".json": json}
"""What each name's end means. A format has `parse`, `lines` and `write`."""


@contextmanager
def configuration(config: object) -> Iterator[Any]:
    """Lend the plain data of a file, or of a dictionary as it is.

    A `ConfigError` that is raised inside is given the file and the lines. Raises one for a file that cannot be read.
    """
    if not isinstance(config, (str, os.PathLike)):
        yield config
        return
    path, text = Path(config), ""
    form = FORMATS.get(path.suffix.lower(), toml)
    try:
        text = _read(path)
        yield form.parse(text)
    except ConfigError as error:
        raise ConfigError(_placed(error.problems, form, text), source=str(path)) from error.__cause__


def read_declaration(path: PathLike[str] | str) -> Declaration:
    """Read a whole configuration file. Raises `ConfigError` with every mistake, its file and its line."""
    with configuration(path) as data:
        return parse_declaration(data)


def write(path: PathLike[str] | str, data: Mapping[str, Any]) -> None:
    """Write a configuration file. Raises `CanaryError` for a name of no known format, or if it cannot be written."""
    path = Path(path)
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise CanaryError(f"{path}: expected a name that ends in {' or '.join(FORMATS)}")
    text = form.write(data)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        half.write_text(text, encoding="utf-8", newline="\n")
        half.replace(path)
    except OSError as error:
        with suppress(OSError):
            half.unlink()
        raise CanaryError(f"{path}: the file cannot be written: {error.strerror or error}") from error


def nearest(lines: Mapping[Place, int], place: Place) -> int | None:
    """Return the line of the longest known beginning of `place`: its own, or that of the nearest table above it."""
    return next((lines[place[:depth]] for depth in range(len(place), 0, -1) if place[:depth] in lines), None)


def _read(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError([Problem((), f"the file cannot be read: {error.strerror or error}")]) from error
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem((), "the file is not UTF-8; save it as UTF-8", line)]) from error


def _placed(problems: Iterable[Problem], form: ModuleType, text: str) -> Iterator[Problem]:
    """Find the lines of those that have none; what has no path is about the file as a whole."""
    lines = None
    for problem in problems:
        if problem.path and not problem.line:
            lines = lines or form.lines(text)
            yield replace(problem, line=nearest(lines, problem.path))
        else:
            yield problem
