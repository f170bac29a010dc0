"""A Starlette application with its three ways to run a view: in the loop, its thread pool, a thread of asyncio's."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from canary_sdk import connect
from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.integrations.asgi import CanaryMiddleware

if TYPE_CHECKING:
    from starlette.requests import Request

canary = connect()

if "EVALUATE_AT_IMPORT" in os.environ:
    canary.is_enabled("checkout", "whoever loads it")


def answer(request: Request) -> JSONResponse:
    """Answer who answered and on which arm; the candidate of /broken fails."""
    served = canary.is_enabled("checkout", request.url.query)
    failed = served and request.url.path == "/broken"
    return JSONResponse([os.getpid(), served], status_code=500 if failed else 200)


async def loop(request: Request) -> JSONResponse:
    """Run in the event loop."""
    await asyncio.sleep(0.002)
    return answer(request)


async def to_thread(request: Request) -> JSONResponse:
    """Run in a thread of asyncio's."""
    return await asyncio.to_thread(answer, request)


def pool(request: Request) -> JSONResponse:
    """Run in Starlette's thread pool."""
    SYSTEM_CLOCK.pause(0.002)
    return answer(request)


routes = [Route("/", loop), Route("/broken", loop), Route("/pool", pool), Route("/to_thread", to_thread)]
application = CanaryMiddleware(Starlette(routes=routes), canary=canary)
