"""What users' own tests are built from: forced answers, a clock to move by hand, the conformance kit for stores."""

from canary_sdk.testing.clock import ManualClock
from canary_sdk.testing.override import override

__all__ = ["ManualClock", "override"]
