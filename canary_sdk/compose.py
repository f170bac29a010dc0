"""The only place that knows every adapter: turns a URL and settings into a `Canary`."""

from __future__ import annotations

import os
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.errors import CanaryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from canary_sdk.clock import Clock
    from canary_sdk.measure.arena import Arena
    from canary_sdk.ports import FlagStore
    from canary_sdk.runtime.client import Canary

URL_VARIABLE: Final = "CANARY_URL"
ENVIRONMENT_VARIABLE: Final = "CANARY_ENVIRONMENT"
DEFAULT_URL: Final = "sqlite:///canary.db"
DEFAULT_ENVIRONMENT: Final = "production"


def connect(
    url: str | None = None,
    *,
    environment: str | None = None,
    clock: Clock = SYSTEM_CLOCK,
    background: bool = True,
) -> Canary:
    """Return a `Canary` over the store at `url`; nothing is opened or started before it is first used.

    `url` is `sqlite:///relative.db`, `sqlite:////absolute.db`, `postgresql://…`, `redis://…`, `rediss://…` or
    `memory:`; CANARY_URL if omitted, else `sqlite:///canary.db`. `environment` is CANARY_ENVIRONMENT if omitted, else
    "production". `background` False starts no thread: call `tick()` yourself. Raises `CanaryError` for a
    URL that no store answers to, and where its driver is missing.
    """
    from canary_sdk.telemetry.log import LogSink
    from canary_sdk.telemetry.notify import Notifier

    canary = _join(url, environment, clock=clock, background=background)
    itself = weakref.ref(canary)  # a sink is held by the Canary, and shall not hold it
    canary.subscribe(LogSink())

    def leads() -> bool:
        held = itself()
        return held is not None and held.status().leads

    canary.subscribe(Notifier(canary.environment, canary.failures.note, leads))
    return canary


def operate(url: str, *, environment: str | None = None, actor: str = "", create: bool = False) -> Canary:
    """Return a `Canary` for one command of an operator: it starts no thread, and tells only whom `notify` names.

    Raises `CanaryError` as `connect`, and for a file that is not there, unless it is to `create` it.
    """
    from canary_sdk.telemetry.notify import Notifier

    canary = _join(url, environment, background=False, actor=actor, create=create)
    canary.subscribe(Notifier(canary.environment, canary.failures.note, None))
    return canary


def _join(
    url: str | None,
    environment: str | None,
    *,
    clock: Clock = SYSTEM_CLOCK,
    background: bool,
    actor: str = "",
    create: bool = True,
) -> Canary:
    # What serves is imported here and not with the package: by whoever connects, and before the first request.
    from canary_sdk.measure.arena import Arena
    from canary_sdk.measure.mapping import default_path
    from canary_sdk.runtime.client import Canary
    from canary_sdk.stores.repository import DocumentRepository

    url = url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
    environment = environment or os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_ENVIRONMENT
    store, identity = _open_store(url, create=create)

    def open_arena() -> Arena:
        return Arena(default_path(identity, environment) if identity else None, clock=clock)

    return Canary(
        DocumentRepository(store, environment),
        environment=environment,
        open_arena=open_arena,
        clock=clock,
        actor=actor,
        background=background,
    )


def _open_store(url: str, *, create: bool) -> tuple[FlagStore, str]:
    """Return the store and what identifies it on this host; a store that nobody else can see has no identity."""
    scheme = url.partition(":")[0]
    if scheme == "memory":
        from canary_sdk.stores.memory import MemoryStore

        return MemoryStore(), ""
    if scheme == "sqlite":
        from urllib.parse import urlsplit

        from canary_sdk.stores.sqlite import SQLiteStore

        parts = urlsplit(url)
        path = _sqlite_path(url, parts.netloc, parts.path)
        if not create and not os.path.exists(path):  # noqa: PTH110 - pathlib is not worth its import here
            raise CanaryError(f"there is no store at {path}: apply a configuration to make one, or name another")
        return SQLiteStore(path), f"sqlite:{os.path.realpath(path)}"
    if scheme in {"postgresql", "postgres"}:
        with _installed("postgres", "psycopg"):
            from canary_sdk.stores.postgres import PostgresStore

        return PostgresStore(url), url
    if scheme in {"redis", "rediss"}:
        with _installed("redis", "redis"):
            from canary_sdk.stores.redis import RedisStore

        return RedisStore(url), url
    expected = "sqlite:///file.db, sqlite:////absolute/file.db, postgresql://…, redis://…, rediss://… or memory:"
    shown = f"{scheme}:…" if "@" in url else url  # what stands before an @ may be a password
    raise CanaryError(f"no store answers to {shown!r}: expected {expected}")


@contextmanager
def _installed(extra: str, driver: str) -> Iterator[None]:
    """Say which extra brings the driver that is missing."""
    try:
        yield
    except ImportError as error:
        raise CanaryError(f"this store needs {driver} ({error}): pip install 'canary-rollout[{extra}]'") from error


def _sqlite_path(url: str, netloc: str, path: str) -> str:
    if netloc or not path.strip("/"):
        msg = f"{url}: expected three slashes for a relative path (sqlite:///file.db), four for an absolute one"
        raise CanaryError(msg)
    from urllib.parse import unquote

    return unquote(path[1:])
