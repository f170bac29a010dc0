"""What the documentation shows is accepted as it stands."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from canary_sdk import connect

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = [
    (path, block)
    for path in sorted(DOCS.glob("*.md"))
    for block in re.findall(r"```toml\n(.*?)```", path.read_text(), re.DOTALL)
]


@pytest.mark.parametrize(
    ("path", "block"), BLOCKS, ids=[f"{path.stem} {index}" for index, (path, _) in enumerate(BLOCKS)]
)
def test_every_configuration_is_accepted(path: Path, block: str) -> None:
    """Each TOML block can be applied, and the same again changes nothing."""
    with connect("memory:", background=False) as canary:
        version = canary.apply(tomllib.loads(block))
        assert version == 1, path
        assert canary.apply(tomllib.loads(block)) == version
