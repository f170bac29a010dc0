"""The floors of docs/architecture.md, held by import-linter."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.needs import need

if TYPE_CHECKING:
    from collections.abc import Iterator

need("importlinter")

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")

TRESPASSES = [
    ("core/trespass.py", "import time", "core is pure"),
    ("core/trespass.py", "def late() -> None:\n    import random", "core is pure"),
    ("core/trespass.py", "from canary_sdk import connect", "imports point down the floors"),
    ("core/judge/trespass.py", "from canary_sdk.core.rollout import state", "so they do in core"),
    ("runtime/trespass.py", "from canary_sdk.stores import memory", "imports point down the floors"),
    ("runtime/trespass.py", "import sqlite3", "drivers are known to adapters only"),
    ("stores/memory.py", "from canary_sdk.stores import sqlite", "no store knows another"),
    ("stores/redis.py", "from canary_sdk.stores import postgres", "no store knows another"),
    ("utils.py", "", "imports point down the floors"),
]


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Run the contracts of `root`'s pyproject.toml over `root`'s package."""
    return subprocess.run(
        [LINT_IMPORTS, "--no-cache"],
        cwd=root,
        env={"PYTHONPATH": str(root), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the package and its contracts to where they may be violated."""
    root = tmp_path_factory.mktemp("floors")
    shutil.copy(ROOT / "pyproject.toml", root)
    shutil.copytree(ROOT / "canary_sdk", root / "canary_sdk", ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture
def trespass(copy: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Add a line to one module of the copy, and take it back afterwards."""
    name, line = request.param
    module = copy / "canary_sdk" / name
    before = module.read_text() if module.exists() else None
    module.write_text(f"{before or ''}\n{line}\n")
    yield copy
    if before is None:
        module.unlink()
    else:
        module.write_text(before)


def test_every_import_points_down() -> None:
    """The package keeps every contract in pyproject.toml."""
    report = lint_imports(ROOT)
    assert report.returncode == 0, report.stdout + report.stderr


@pytest.mark.parametrize(
    ("trespass", "contract"),
    [((name, line), contract) for name, line, contract in TRESPASSES],
    indirect=["trespass"],
)
def test_a_trespass_breaks_its_contract(trespass: Path, contract: str) -> None:
    """Each contract is broken by the import that it forbids."""
    report = lint_imports(trespass)
    assert f"{contract} BROKEN" in report.stdout, report.stdout + report.stderr
