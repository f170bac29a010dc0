"""What users' own tests are built from: a clock that is moved by hand, and the conformance kit for stores."""

from canary_sdk.testing.clock import ManualClock

__all__ = ["ManualClock"]
