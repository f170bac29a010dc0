"""Starlette: the ASGI middleware among the others, first of all."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from canary_sdk import connect
from canary_sdk.integrations.asgi import CanaryMiddleware

canary = connect()
canary.apply({"flags": {"new-checkout": {"rollout": 50, "slos": ["p95 < 500ms", "errors < 1%"]}}})


async def checkout(request):
    is_new = canary.is_enabled("new-checkout", request.headers.get("x-user"))
    return JSONResponse({"checkout": "new" if is_new else "old"})


app = Starlette(
    routes=[Route("/checkout/{cart:int}", checkout)],
    middleware=[Middleware(CanaryMiddleware, canary=canary)],
)
