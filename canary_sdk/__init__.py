"""Release a feature to a share of its users and take it back by itself, in the same process, within seconds."""

from canary_sdk.compose import connect
from canary_sdk.core.flags.evaluation import Evaluation, EvaluationContext, Reason
from canary_sdk.errors import CanaryError, ConfigError, StaleWrite, StoreError
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
