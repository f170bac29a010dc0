"""Celery: a job is a unit of work, opened by `scope`. Prefork needs nothing: every child begins anew by itself."""

import os

from celery import Celery

from canary_sdk import connect

canary = connect()
app = Celery("shop", broker=os.environ.get("BROKER_URL", "memory://"), backend="cache+memory://")


@app.task
def charge(user_id):
    with canary.scope("charge", key=user_id):
        return "new" if canary.is_enabled("new-checkout") else "old"
