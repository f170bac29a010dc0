"""Hosts that serve a rollout: processes with an arena and a thread of their own each, told by a line what to do."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from canary_sdk import connect

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

PLAN: Final = {"stages": [{"percent": 50, "bake": "1h"}, {"percent": 100, "bake": "1h"}], "interval": "2s"}
CONFIG: Final = {
    "flags": {"checkout": {"slos": ["errors < 5%"], "plan": PLAN}},
    "auto_rollback": {"interval": "2s", "breaches": 2, "min_samples": 40, "rule": "consecutive"},
}
RATE: Final = 30
"""Requests a second and host: of the candidate's too few on one host to judge, and enough on two."""

HOST: Final = """
import itertools, json, sys, threading, time
from canary_sdk import connect

canary = connect(sys.argv[1], environment="bench")
mode = {"rate": int(sys.argv[2]), "fails": False}
seen = {"failed": 0, "raised": 0}

def serve():
    for user in map(str, itertools.count()):
        time.sleep(1 / mode["rate"])
        try:
            with canary.scope("job", key=user):
                if canary.is_enabled("checkout") and mode["fails"]:
                    raise RuntimeError
        except RuntimeError:
            seen["failed"] += 1
        except Exception:
            seen["raised"] += 1

threading.Thread(target=serve, daemon=True).start()
for line in sys.stdin:
    mode.update(json.loads(line))
    status, breaker = canary.status(), canary.breaker("checkout")
    hosts = status.hosts.get("checkout", ((), ()))
    print(json.dumps({
        "name": canary._controller._name,
        "share": canary.flag("checkout").rollout if breaker.is_serving else 0,
        "reason": breaker.reason,
        "stale": status.stale,
        "heard": len(hosts[0]),
        "silent": list(hosts[1]),
        **seen,
    }), flush=True)
canary.close()
"""


class ServingHost:
    """A process that stands for a host."""

    def __init__(self, url: str, folder: Path) -> None:
        """Start it, with an arena of its own; it serves from now on."""
        folder.mkdir()
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOST, url, str(RATE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "CANARY_ARENA_DIR": str(folder)},
        )
        self.name = self.look()["name"]

    def look(self, **mode: Any) -> dict[str, Any]:
        """Let it serve in this way from now on, and return what it says of itself."""
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(mode), file=self.process.stdin, flush=True)
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def close(self) -> None:
        """End it, as its operator would."""
        try:
            self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


class Relay:
    """Passes on what is said between one host and its server, until it is cut."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 0)
        self._open: list[socket.socket] = []
        self._listen(0)
        self.url = url.replace(f":{parts.port}", f":{self._port}", 1)

    def _listen(self, port: int) -> None:
        self._listening = socket.create_server(("127.0.0.1", port))
        self._port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, args=[self._listening], daemon=True).start()

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near = listening.accept()[0]
                far = socket.create_connection(self._server)
                self._open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=[one, other], daemon=True).start()

    def cut(self) -> None:
        """End all connections, and let nobody in."""
        for each in (self._listening, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open.clear()

    def mend(self) -> None:
        """Let everybody in again."""
        self._listen(self._port)


def _pump(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while said := one.recv(65_536):
            other.sendall(said)
    for each in (one, other):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


class Serving:
    """Three hosts that lead a flag through a plan; the first moves it, the last speaks to the server by a relay."""

    def __init__(self, url: str, folder: Path) -> None:
        """Start them."""
        self._stack = ExitStack()
        self.operator = self._stack.enter_context(connect(url, environment="bench", background=False))
        self.operator.apply(CONFIG)
        self.relay = Relay(url)
        self._stack.callback(self.relay.cut)
        self.hosts = []
        for number, place in enumerate((url, url, self.relay.url)):
            self.hosts.append(ServingHost(place, folder / f"host-{number}"))
            self._stack.callback(self.hosts[-1].close)
            if not number:
                self.operator.rollouts.start("checkout")

    def looks(self, **mode: Any) -> list[dict[str, Any]]:
        """Let all serve in this way, and return what each says."""
        return [host.look(**mode) for host in self.hosts]

    def __enter__(self) -> Self:
        """Use them for a while."""
        return self

    def __exit__(self, *_: object) -> None:
        """End them."""
        self._stack.close()
