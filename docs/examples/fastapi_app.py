"""FastAPI: the ASGI middleware, and the flag as a dependency."""

from typing import Annotated

from fastapi import FastAPI

from canary_sdk import connect
from canary_sdk.integrations.asgi import CanaryMiddleware
from canary_sdk.integrations.fastapi import enabled

canary = connect()
canary.apply({"flags": {"new-checkout": {"rollout": 50, "slos": ["p95 < 500ms", "errors < 1%"]}}})


def user_of(scope):
    return dict(scope["headers"]).get(b"x-user", b"").decode() or None


app = FastAPI()
app.add_middleware(CanaryMiddleware, canary=canary, key=user_of)


@app.get("/checkout/{cart}")
async def checkout(cart: int, is_new: Annotated[bool, enabled(canary, "new-checkout")]):
    return {"cart": cart, "checkout": "new" if is_new else "old"}
