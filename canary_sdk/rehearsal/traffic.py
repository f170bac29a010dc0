"""The load driver as seen by its parent: starts the process, reads its lines, and makes sure that it is gone."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from canary_sdk.errors import CanaryError
from canary_sdk.rehearsal.figures import tally_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from canary_sdk.core.judge.slo import Slo
    from canary_sdk.core.judge.tally import Tally

CLOSE_S: Final = 3.0
"""How long the process may take to end by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much traffic, by whom, and what for: `paths` such as "GET /?user={user}", each as often as it is named."""

    paths: tuple[str, ...]
    rate: float = 200.0
    clients: int = 64
    users: int = 5_000
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Second:
    """What the clients saw in one second; times in seconds, `began` and `ended` monotonic."""

    began: float
    ended: float
    sent: int
    errors: int
    unsent: int
    times: tuple[float, ...]

    @property
    def middle(self) -> float:
        """The moment that this second is booked under."""
        return (self.began + self.ended) / 2


class Traffic:
    """A running load driver. Use as a context manager. Threads: `seconds` may be read from any."""

    def __init__(self, url: str, load: Load) -> None:
        """Start the process. It leads a process group of its own, so that Ctrl-C in the terminal only reaches us."""
        self.load = load
        self.seconds: list[Second] = []
        self._process = subprocess.Popen(  # noqa: S603 - our own module, every argument is ours
            [sys.executable, "-m", "canary_sdk.rehearsal.load", *_arguments(url, load)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name="canary-traffic", daemon=True)
        self._reader.start()

    def check(self) -> None:
        """Raise `CanaryError` when the process is gone although nobody closed it."""
        code = self._process.poll()
        if code is not None:
            _, told = self._process.communicate()
            raise CanaryError(f"the load driver ended with {code}: {told.strip() or 'it said nothing'}")

    def close(self) -> None:
        """End the process: ask, wait a little, then kill. Idempotent."""
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(CLOSE_S)
        for stream in (self._process.stdout, self._process.stderr):
            if stream:
                stream.close()

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.close()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self.seconds.append(parse_second(line))


def count(seconds: Iterable[Second], slos: Sequence[Slo] = ()) -> Tally:
    """Count what the clients saw in these seconds."""
    kept = list(seconds)
    return tally_of(
        (time for second in kept for time in second.times),
        errors=sum(second.errors for second in kept),
        seconds=sum(second.ended - second.began for second in kept),
        slos=slos,
    )


def parse_second(line: str) -> Second:
    """Read one line of the load driver."""
    told = json.loads(line)
    times = tuple(latency / 1000 for latency in told["latencies_ms"])
    return Second(told["from"], told["to"], told["sent"], told["errors"], told["unsent"], times)


def _arguments(url: str, load: Load) -> list[str]:
    numbers = {"rate": load.rate, "clients": load.clients, "users": load.users, "seed": load.seed}
    pairs = [("url", url), *(("path", path) for path in load.paths), *numbers.items()]
    return [word for name, value in pairs for word in (f"--{name}", str(value))]
