"""OpenFeature: our flags through its API, and our measurement and rollback around anybody else's provider.

The only package that imports `openfeature`, whose import makes a thread pool: so nothing else of ours imports this one.
"""

from canary_sdk.integrations.openfeature.guarded import Arms, GuardedProvider
from canary_sdk.integrations.openfeature.provider import CanaryProvider

__all__ = ["Arms", "CanaryProvider", "GuardedProvider"]
