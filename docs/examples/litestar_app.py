"""Litestar: the ASGI middleware around the whole application."""

from litestar import Litestar, Request, get

from canary_sdk import connect
from canary_sdk.integrations.asgi import CanaryMiddleware

canary = connect()
canary.apply({"flags": {"new-checkout": {"rollout": 50, "slos": ["p95 < 500ms", "errors < 1%"]}}})


@get("/checkout/{cart:int}")
async def checkout(cart: int, request: Request) -> dict[str, str]:
    is_new = canary.is_enabled("new-checkout", request.headers.get("x-user"))
    return {"checkout": "new" if is_new else "old"}


app = CanaryMiddleware(Litestar([checkout]), canary=canary)
