"""Claims about flags that have outlived their use."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from canary_sdk.core.config.configuration import parse_flag
from canary_sdk.core.flags.staleness import Stale, Why, settled_on, staleness

if TYPE_CHECKING:
    from collections.abc import Iterator

AT = 1_767_225_600.0  # 2026-01-01T00:00:00Z
DAY = 86_400.0


@pytest.fixture(params=["UTC", "Pacific/Auckland", "America/Los_Angeles"])
def _somewhere(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let this machine be elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("fields", "variant"),
    [
        ({}, "off"),
        ({"rollout": 100}, "on"),
        ({"rollout": 99.999}, None),
        ({"rollout": 0.001}, None),
        ({"default": True, "candidate": False}, "on"),
        ({"rollout": 50, "enabled": False}, "off"),
        ({"targets": {"on": ["user-1"]}}, None),
        ({"targets": {"on": ["user-1"]}, "rules": [], "rollout": 100}, None),
        ({"rules": [{"if": {"attribute": "country", "in": ["CH"]}, "serve": "on"}]}, None),
        ({"rollout": 100, "prerequisites": [{"flag": "g", "variant": "on"}]}, None),
        ({"type": "integer", "default": 1, "candidate": 2, "rollout": 100}, "candidate"),
        (
            {
                "type": "string",
                "default": "a",
                "rollout": 100,
                "variants": {"b": {"value": "b"}, "c": {"value": "c"}},
            },
            None,
        ),
    ],
)
def test_what_everybody_is_served(fields: dict[str, Any], variant: str | None) -> None:
    """A flag has settled on a variant if nobody, whoever asks, is answered another one."""
    assert settled_on(parse_flag("f", fields).base) == variant


@pytest.mark.parametrize(
    ("since", "is_stale"), [(AT - 30 * DAY, True), (AT - 30.9 * DAY, True), (AT - 30 * DAY + 1, False), (None, False)]
)
def test_it_is_stale_after_so_many_days(since: float | None, is_stale: bool) -> None:
    """Settled for as many days as asked it is stale, a second less it is not, nor if nobody knows since when."""
    found = list(staleness(parse_flag("f", {"rollout": 100}).base, since, AT, 30))
    assert found == [Stale("f", Why.SETTLED, "everybody has been served 'on' for 30 days")] * is_stale


@pytest.mark.parametrize(("at", "is_stale"), [(AT - 1, False), (AT, True)])
@pytest.mark.usefixtures("_somewhere")
def test_it_expires_when_its_day_is_over(at: float, is_stale: bool) -> None:
    """The date itself is the last day, in UTC, wherever the machine is; what the flag serves does not matter."""
    flag = parse_flag("f", {"rollout": 5, "expires": "2025-12-31"}).base
    found = list(staleness(flag, None, at, 30))
    assert found == [Stale("f", Why.EXPIRED, "expired on 2025-12-31")] * is_stale
