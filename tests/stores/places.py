"""A place of its own for each test on a real server: a schema of PostgreSQL, a prefix of Redis.

`Place` speaks to the server as any other program would, never through a store.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

if TYPE_CHECKING:
    from canary_sdk.ports import Board, FlagStore, Pushing
    from tests.servers import Server

    class RemoteStore(FlagStore, Pushing, Board, Protocol):
        """What both stores are."""


@dataclass
class Place(ABC):
    """Where a test keeps its store."""

    server: Server
    url: str = ""

    @abstractmethod
    def make(self) -> None:
        """Make the place, empty."""

    @abstractmethod
    def open(self, **options: Any) -> RemoteStore:
        """Return a new store of this place."""

    @abstractmethod
    def cut(self) -> int:
        """End the connections of everybody else; return how many there were."""

    @abstractmethod
    def deafen(self, store: Any) -> None:
        """Let a store hear no more, without its noticing."""

    @abstractmethod
    def empty(self) -> None:
        """Take away all that is stored."""

    @abstractmethod
    def remove(self) -> None:
        """Take the place away."""


class PostgresPlace(Place):
    """A schema, whose connections carry its name."""

    def make(self) -> None:
        """Make the schema."""
        self.name = f"canary_{uuid.uuid4().hex[:12]}"
        wanted = urlencode({"options": f"-csearch_path={self.name}", "application_name": self.name})
        self.url = f"{self.server.url}?{wanted}"
        self.ask(f"CREATE SCHEMA {self.name}")

    def open(self, **options: Any) -> RemoteStore:
        """Return a new store of this place."""
        from canary_sdk.stores.postgres import PostgresStore

        return PostgresStore(self.url, **options)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Run SQL in the schema."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True, application_name="") as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def cut(self) -> int:
        """End the connections of everybody else."""
        everybody = f"FROM pg_stat_activity WHERE application_name = '{self.name}'"
        return len(self.ask(f"SELECT pg_terminate_backend(pid, 5000) {everybody}"))

    def deafen(self, store: Any) -> None:
        """Let a store hear no more."""
        with store._reader.use() as sql:
            sql.execute("UNLISTEN *")

    def empty(self) -> None:
        """Drop the tables."""
        self.ask("DROP TABLE canary_store, canary_document, canary_audit, canary_journal, canary_notice")

    def remove(self) -> None:
        """Drop the schema."""
        self.cut()
        self.ask(f"DROP SCHEMA {self.name} CASCADE")


class RedisPlace(Place):
    """A prefix."""

    def make(self) -> None:
        """Choose a prefix that nobody has."""
        self.prefix = f"canary-{uuid.uuid4().hex[:12]}"
        self.url = f"{self.server.url}/0?prefix={self.prefix}"

    def open(self, **options: Any) -> RemoteStore:
        """Return a new store of this place."""
        from canary_sdk.stores.redis import RedisStore

        return RedisStore(self.url, **options)

    def ask(self, *command: Any) -> Any:
        """Run a command."""
        import redis

        with redis.Redis.from_url(self.server.url) as client:
            return client.execute_command(*command)

    def cut(self) -> int:
        """End the connections of everybody else."""
        return sum(int(self.ask("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")) for kind in ("normal", "pubsub"))

    def deafen(self, store: Any) -> None:
        """Let a store hear no more."""
        store._ear._pubsub.unsubscribe()

    def empty(self) -> None:
        """Delete every key of the prefix."""
        for key in self.ask("KEYS", f"{self.prefix}:*"):
            self.ask("DEL", key)

    def remove(self) -> None:
        """Delete every key of the prefix."""
        with suppress(Exception):
            self.empty()


PLACES: dict[str, type[Place]] = {"postgres": PostgresPlace, "redis": RedisPlace}
