"""A WSGI application, as every server of the table gets it: `connect`, the middleware, and nothing for the server."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from canary_sdk import connect
from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.integrations.wsgi import CanaryMiddleware

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

canary = connect()

if "EVALUATE_AT_IMPORT" in os.environ:
    canary.is_enabled("checkout", "whoever loads it")


def page(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer who answered and on which arm; the candidate of /broken fails."""
    SYSTEM_CLOCK.pause(0.002)
    served = canary.is_enabled("checkout", environ["QUERY_STRING"])
    failed = served and environ["PATH_INFO"] == "/broken"
    headers = [("content-type", "application/json"), ("x-answered-at", str(SYSTEM_CLOCK.wall()))]
    start_response("500 Broken" if failed else "200 OK", headers)
    return [json.dumps([os.getpid(), served]).encode()]


application = CanaryMiddleware(page, canary=canary)
