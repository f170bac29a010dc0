"""The public face, pinned: a name that is added, renamed or lost is a decision, and is taken here."""

from __future__ import annotations

import importlib
import types

import pytest

APPROVED = {
    "canary_sdk": [
        "Canary",
        "CanaryError",
        "ConfigError",
        "Evaluation",
        "EvaluationContext",
        "Reason",
        "StaleWrite",
        "StoreError",
        "connect",
    ],
    "canary_sdk.integrations.asgi": ["CanaryMiddleware"],
    "canary_sdk.integrations.openfeature": ["Arms", "CanaryProvider", "GuardedProvider"],
    "canary_sdk.integrations.wsgi": ["CanaryMiddleware"],
    "canary_sdk.testing": ["Behaviour", "ManualClock", "Simulated", "override", "simulate"],
}

CANARY = [
    "apply",
    "breaker",
    "calibration",
    "close",
    "compact",
    "current_unit",
    "delete",
    "environment",
    "evaluate",
    "evaluate_all",
    "export",
    "failures",
    "feature",
    "flag",
    "flags",
    "force",
    "history",
    "is_enabled",
    "kill",
    "mark",
    "observe",
    "overrides",
    "release",
    "resalt",
    "reset",
    "rollouts",
    "scope",
    "settled",
    "stale",
    "status",
    "subscribe",
    "tick",
    "undo",
    "units",
    "unsubscribe",
    "update",
    "value",
    "version",
]


def public(thing: object) -> list[str]:
    """Return the names of an object that do not begin with an underscore, sorted."""
    return sorted(name for name in dir(thing) if not name.startswith("_"))


def offered(module: types.ModuleType) -> list[str]:
    """Return what a module lists, or else the public classes and functions that it defines."""
    own = [name for name in public(module) if getattr(getattr(module, name), "__module__", "") == module.__name__]
    return sorted(getattr(module, "__all__", own))


@pytest.mark.parametrize("name", APPROVED)
def test_a_module_offers_what_was_approved(name: str) -> None:
    """A public module offers the approved names, and every one of them is there."""
    module = importlib.import_module(name)
    assert offered(module) == APPROVED[name]
    assert set(offered(module)) <= set(public(module))


def test_nothing_else_looks_public() -> None:
    """Beside the approved names the package shows its own modules only."""
    package = importlib.import_module("canary_sdk")
    others = set(public(package)) - set(APPROVED["canary_sdk"])
    assert [name for name in others if not isinstance(getattr(package, name), types.ModuleType)] == []


def test_a_canary_offers_what_was_approved(canary: object) -> None:
    """A `Canary` has the approved methods and attributes, and no other public one."""
    assert public(canary) == CANARY
