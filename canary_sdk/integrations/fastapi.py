"""FastAPI: a flag as a dependency, on top of the ASGI middleware.

@app.get("/checkout")
async def checkout(is_new: Annotated[bool, enabled(canary, "new-checkout")]): ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from canary_sdk.runtime.client import Canary


def enabled(canary: Canary, flag_key: str) -> Any:
    """Return the dependency that is whether the flag is on for whom the middleware's `key` names. Never raises."""
    from fastapi import Depends

    async def is_enabled() -> bool:  # a coroutine function, which FastAPI calls without a thread
        return canary.is_enabled(flag_key)

    return Depends(is_enabled)
