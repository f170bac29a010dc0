"""A Celery application whose jobs are units of work: `connect`, `scope`, and nothing for Celery."""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery  # type: ignore[import-untyped,import-not-found,unused-ignore]

from canary_sdk import connect

canary = connect()
folder = os.environ["JOBS"]
app = Celery(
    "jobs",
    broker="filesystem://",
    broker_transport_options={
        "data_folder_in": folder,
        "data_folder_out": folder,
        "control_folder": f"{folder}-control",
    },
    broker_connection_retry_on_startup=True,
)

if "EVALUATE_AT_IMPORT" in os.environ:
    canary.is_enabled("checkout", "whoever loads it")


@app.task  # type: ignore[untyped-decorator]
def job(key: str) -> None:
    """Do something for somebody; the candidate fails, if it is a broken one."""
    with canary.scope("job", key=key):
        if canary.is_enabled("checkout") and Path(folder).with_name("broken").exists():
            raise RuntimeError
