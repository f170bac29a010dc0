"""The plots of the documentation are what the simulation draws, and are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest

from benchmarks.simulation.plots import IMAGES, PLOTS
from benchmarks.simulation.svg import Axis, Curve, drawn

PAGE: Final = Path(__file__).parents[2] / "docs" / "statistics.md"


@pytest.mark.stress
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_what_the_simulation_draws(name: str) -> None:
    """Drawn anew, it is the committed file, to the last byte."""
    assert PLOTS[name]() == (IMAGES / name).read_text()


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_shown(name: str) -> None:
    """The page on statistics shows it, with words for those who do not see it; and it has a title of its own."""
    assert f"](images/{name})" in PAGE.read_text()
    root = ET.parse(IMAGES / name).getroot()
    assert root.tag.endswith("}svg")
    assert root[0].tag.endswith("}title")


def test_a_chart_places_its_points() -> None:
    """The first tick is at one end and the last at the other, and what is beyond them stays there."""
    up = Axis("", ((1, "1"), (100, "100")), log=True)
    assert [up.place(value) for value in (0, 1, 10, 100, 1e9)] == [0, 0, 0.5, 1, 1]
    across = Axis("", ((0, "0"), (10, "10")))
    assert [across.place(value) for value in (-1, 0, 5, 10)] == [0, 0, 0.5, 1]
    chart = drawn("a < b", across, up, [Curve("one & all", [(0, 1), (10, 100)], "red", dashed=True)])
    assert 'points="64.0,312.0 512.0,16.0"' in chart
    assert ET.fromstring(chart)[0].text == "a < b"
