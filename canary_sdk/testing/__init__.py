"""What users' own tests are built from: forced answers, a clock to move by hand, made-up traffic, a kit for stores."""

from canary_sdk.testing.clock import ManualClock
from canary_sdk.testing.override import override
from canary_sdk.testing.traffic import Behaviour, Simulated, simulate

__all__ = ["Behaviour", "ManualClock", "Simulated", "override", "simulate"]
