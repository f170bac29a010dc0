"""A plain script: each step is a unit of work; `close` waits, within bounds, until what was counted has been judged."""

import sys

from canary_sdk import connect

with connect() as canary:
    canary.apply({"flags": {"new-checkout": {"rollout": 50, "slos": ["p95 < 500ms", "errors < 1%"]}}})
    for user_id in sys.argv[1:]:
        with canary.scope("invoice", key=user_id):
            print(user_id, "new" if canary.is_enabled("new-checkout") else "old")
