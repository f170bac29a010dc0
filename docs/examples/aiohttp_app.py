"""aiohttp's server: a middleware of its own kind."""

from aiohttp import web

from canary_sdk import connect
from canary_sdk.integrations.aiohttp import setup

canary = connect()
canary.apply({"flags": {"new-checkout": {"rollout": 50, "slos": ["p95 < 500ms", "errors < 1%"]}}})


async def checkout(request):
    is_new = canary.is_enabled("new-checkout")
    return web.json_response({"checkout": "new" if is_new else "old"})


app = web.Application()
app.router.add_get("/checkout/{cart}", checkout)
setup(app, canary=canary, key=lambda request: request.headers.get("x-user"))
