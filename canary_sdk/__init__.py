"""Release a feature to a share of its users and take it back by itself, in the same process, within seconds."""

from typing import TYPE_CHECKING

from canary_sdk.compose import connect
from canary_sdk.core.flags.evaluation import Evaluation, EvaluationContext, Reason
from canary_sdk.errors import CanaryError, ConfigError, StaleWrite, StoreError

if TYPE_CHECKING:
    from canary_sdk.runtime.client import Canary

__version__ = "0.1.0"

__all__ = [
    "Canary",
    "CanaryError",
    "ConfigError",
    "Evaluation",
    "EvaluationContext",
    "Reason",
    "StaleWrite",
    "StoreError",
    "connect",
]


def __getattr__(name: str) -> object:
    """Import `Canary` where it is asked for by name; whoever connects gets one, and what it needs, from `connect`."""
    if name == "Canary":
        from canary_sdk.runtime.client import Canary

        return Canary
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Show what is public, imported yet or not."""
    return __all__
