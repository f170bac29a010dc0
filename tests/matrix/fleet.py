"""Three processes that stand for three hosts: each has an arena of its own, all share a store."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from canary_sdk import connect

if TYPE_CHECKING:
    from tests.servers import Server

CONFIG = {
    "flags": {"checkout": {"rollout": 50, "slos": ["errors < 1%"]}},
    "auto_rollback": {"interval": "1s", "breaches": 1, "min_samples": 20, "rule": "consecutive"},
}
HOST = """
import itertools, sys, time
from canary_sdk import connect
from canary_sdk.core.breaker import State

url, role, trips = sys.argv[1], sys.argv[2], int(sys.argv[3])
users = map(str, itertools.count())

def until(happened):
    while not happened():
        time.sleep(0.0005)

def fails_until_tripped(canary):
    while canary.breaker("checkout").state is State.CLOSED:
        try:
            with canary.scope("job", key=next(users)):
                if canary.is_enabled("checkout"):
                    raise RuntimeError
        except RuntimeError:
            pass
        time.sleep(0.002)
    return canary.breaker("checkout").tripped_at

with connect(url, environment="bench") as canary:
    if role == "deaf":
        canary._repository.has_news = lambda: False
    canary.is_enabled("checkout", "u")
    print(flush=True)
    for _ in range(trips):
        sys.stdin.readline()
        if role == "fails":
            print(fails_until_tripped(canary), flush=True)
            sys.stdin.readline()
            canary.reset("checkout")
        else:
            until(lambda: canary.evaluate("checkout", "u").reason == "TRIPPED")
            print(time.time(), flush=True)
            sys.stdin.readline()
            until(lambda: canary.evaluate("checkout", "u").reason != "TRIPPED")
        print(flush=True)
"""


class Host:
    """A process that stands for a host."""

    def __init__(self, url: str, role: str, trips: int, folder: Path) -> None:
        """Start it, with an arena of its own."""
        folder.mkdir()
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOST, url, role, str(trips)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "CANARY_ARENA_DIR": str(folder)},
        )
        self.hear()

    def tell(self) -> None:
        """Let it go on."""
        assert self.process.stdin
        print(file=self.process.stdin, flush=True)

    def hear(self) -> str:
        """Wait for what it says."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()


def delays(server: Server, others: str, trips: int) -> list[float]:
    """Let it trip that often; return how many milliseconds each trip took to the last of the others."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        with connect(server.url, environment="bench", background=False) as operator:
            operator.apply(CONFIG)
        roles = ("fails", others, others)
        hosts = [Host(server.url, role, trips, Path(folder) / str(number)) for number, role in enumerate(roles)]
        for _ in range(trips):
            for host in reversed(hosts):
                host.tell()
            tripped_at, *off_at = [float(host.hear()) for host in hosts]
            found.append((max(off_at) - tripped_at) * 1_000)
            for host in hosts:
                host.tell()
                host.hear()
        for host in hosts:
            host.process.communicate()
    return found
