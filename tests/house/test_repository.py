"""The repository itself: what is kept in it, and what is not."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()

RECORDS = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))

REGISTRY = re.compile(
    r"https?://[^\s/]*(?:pypi|pythonhosted|npmjs|registry)[^\s/]*|--(?:extra-)?index-url|--find-links"
)
LOCK_FILES = {"Pipfile.lock", "package-lock.json", "pdm.lock", "poetry.lock", "pylock.toml", "uv.lock"}


def kept() -> list[Path]:
    """Return the files that the repository keeps, or would if they were added now."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("not a clone: nothing says what is kept")
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def normalised(requirement: str) -> str:
    """Return the name in a requirement, written as registries compare it."""
    name = re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted() -> set[str]:
    """Return the name of every requirement in pyproject.toml, of every extra."""
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return {normalised(requirement) for each in lists for requirement in each} - {PROJECT["name"]}


def test_no_registry_is_named() -> None:
    """No file names a package registry, so a clone installs from wherever its user does."""
    naming = [path for path in kept() if path != Path(__file__) and REGISTRY.search(path.read_text(errors="replace"))]
    assert naming == []


def test_no_lock_file_is_kept() -> None:
    """No lock file is kept: each carries the addresses of one registry."""
    assert [path for path in kept() if path.name in LOCK_FILES] == []


def test_constraints_are_pins_and_nothing_else() -> None:
    """Every line of the constraints is `name==version`, with a marker or without."""
    pin = re.compile(r"[a-z0-9][a-z0-9-]*==[0-9][0-9a-z.]*( ; .+)?")
    assert [line for line in CONSTRAINTS if not pin.fullmatch(line)] == []


def test_constraints_pin_every_requirement() -> None:
    """Everything that pyproject.toml asks for, in any extra, has a pin."""
    assert wanted() - {normalised(line) for line in CONSTRAINTS} == set()


def test_the_readme_starts_with_two_commands() -> None:
    """The README's first sh block is two lines: one shows the product, one runs the tests; .ci/run reads the second."""
    block = re.search(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert block
    demo, tests = block[1].splitlines()
    assert demo.endswith("canary demo")
    assert tests.endswith("-m pytest")


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_decision_record_has_its_three_parts(record: Path) -> None:
    """A decision record is numbered and has context, decision and consequences, in this order."""
    text = record.read_text()
    assert text.startswith(f"# {record.name[:4]} ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]


def test_decision_records_are_numbered_without_a_gap_or_a_double() -> None:
    """A number names one record: they are counted from one."""
    assert [int(record.name[:4]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))


def test_every_test_states_its_claim() -> None:
    """Every test has a docstring: the sentence that it would refute by failing."""
    silent = [
        f"{path.relative_to(ROOT)}::{node.name}"
        for path in TESTS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []
