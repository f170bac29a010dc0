"""The dashboard shows what is exported, under the names that it is exported by."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("opentelemetry.sdk")

from canary_sdk.telemetry.otel import names
from canary_sdk.telemetry.otel.metrics import _INSTRUMENTS

DASHBOARD = Path(__file__).parents[2] / "docs" / "dashboards" / "grafana.json"
UNITS = {"s": "_seconds", "%": "", "{": ""}
"""What is appended, by how the unit begins: nothing for what is counted, nor where the name says it already."""


def exported() -> set[str]:
    """Return the names as Prometheus has them: dots become underscores, the unit and the kind are put behind."""
    written = {
        name.replace(".", "_") + ("_total" if kind == "counter" else UNITS[unit[0]])
        for name, kind, unit, _, _ in _INSTRUMENTS
    }
    return written | {f"{name.replace('.', '_')}_seconds" for name in (names.REQUEST_DURATION, names.UNIT_DURATION)}


def queries() -> list[str]:
    """Return every query of the dashboard."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_every_metric_is_shown_and_none_that_there_is_not() -> None:
    """A metric that is renamed is renamed there as well."""
    shown = {name for query in queries() for name in re.findall(r"([a-z_]+?)(?:_bucket|_count)?\{", query)}
    assert shown == exported()


def test_every_label_is_one_of_ours() -> None:
    """What a query groups by is an attribute of a point, a bucket's limit, or the instance."""
    ours = {name.replace(".", "_") for name in vars(names).values() if isinstance(name, str)}
    asked = {
        label.strip()
        for query in queries()
        for group in re.findall(r"by \(([^)]*)\)", query)
        for label in group.split(",")
    }
    assert asked <= ours | {"le", "instance"}
