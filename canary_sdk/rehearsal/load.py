"""The load driver: `python -m canary_sdk.rehearsal.load --url http://127.0.0.1:8000 --path "GET /?user={user}"`.

A process of its own, so that its work is not the application's. Requests are due at their scheduled times whether or
not earlier ones were answered, and a latency counts from when the request was due: a slow server cannot slow the
arrivals and so hide its slowness. Keep-alive connections, never more than `--clients`; what finds none free waits, and
what waits too long is told as `unsent`. Writes one JSON line a second. Only speaks to this machine, and ends when its
parent does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import json
import random
import socket
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import urlsplit

import h11

from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.rehearsal.figures import QUANTILES, quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")


class Route(NamedTuple):
    """What to ask for. `{user}` in the target becomes a user's name."""

    method: str
    target: str


class Arrival(NamedTuple):
    """One request to make: when (seconds from the start), by whom, and what."""

    due: float
    user: str
    route: Route

    @property
    def target(self) -> str:
        """The request's target with the user filled in."""
        return self.route.target.replace("{user}", self.user)


@dataclass(slots=True)
class Second:
    """What the clients saw in one second."""

    sent: int = 0
    errors: int = 0
    unsent: int = 0
    latencies_ms: list[float] = field(default_factory=list)

    def line(self, begin: float, end: float) -> str:
        """One line of JSON: answered requests in milliseconds, and counts. `from` and `to` are monotonic seconds."""
        ordered = sorted(self.latencies_ms)
        figures = {f"p{q * 100:g}": quantile(ordered, q) for q in QUANTILES}
        counts = {"sent": self.sent, "ok": len(ordered) - self.errors, "errors": self.errors, "unsent": self.unsent}
        return json.dumps({"from": begin, "to": end, **counts, **figures, "latencies_ms": ordered})


def arrivals(rate: float, users: int, routes: Sequence[Route], seed: int) -> Iterator[Arrival]:
    """Draw requests without end: evenly spaced with some jitter, users and routes drawn from a seeded generator."""
    draw = random.Random(seed)
    number = 0
    while True:
        due = (number + draw.random()) / rate
        yield Arrival(due, f"user-{draw.randrange(users):05d}", draw.choice(routes))
        number += 1


class Connection:
    """One keep-alive connection to the server."""

    def __init__(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take over an open stream."""
        self._host = host
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)

    @property
    def is_usable(self) -> bool:
        """Whether another request may be sent."""
        return self._http.our_state is h11.IDLE and not self._reader.at_eof()

    async def ask(self, method: str, target: str) -> int:
        """Send one request, read its whole answer, and return the status."""
        headers = [("Host", self._host), ("Content-Length", "0")]
        request = self._http.send(h11.Request(method=method, target=target, headers=headers)) or b""
        self._writer.write(request + (self._http.send(h11.EndOfMessage()) or b""))
        status = 0
        while not isinstance(event := self._http.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status = event.status_code
            elif event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(65_536))
            elif isinstance(event, h11.ConnectionClosed):
                raise ConnectionError("the server closed the connection before it answered")
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        return status

    def close(self) -> None:
        """Close the stream at once."""
        self._writer.transport.abort()


class Driver:
    """Makes the arrivals happen and counts what came of them."""

    def __init__(self, host: str, port: int, *, clients: int, timeout_s: float) -> None:
        """Connect to nothing yet."""
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._clients = clients
        self._in_flight = 0
        self._idle: list[Connection] = []
        self._waiting: deque[tuple[float, Arrival]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self.second = Second()

    async def run(self, schedule: Iterator[Arrival], seconds: float) -> None:
        """Follow the schedule for so many seconds; what is in flight then goes on until `close`."""
        start = SYSTEM_CLOCK.monotonic()
        for arrival in schedule:
            if arrival.due > seconds:
                break
            due = start + arrival.due
            await asyncio.sleep(max(0.0, due - SYSTEM_CLOCK.monotonic()))
            self._begin(due, arrival)

    async def close(self) -> None:
        """Let go of everything at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._idle:
            self._idle.pop().close()
        await asyncio.sleep(0)

    async def tell(self, write: Callable[[str], None], period_s: float = 1.0) -> None:
        """Write one line a period, for ever."""
        begin = SYSTEM_CLOCK.monotonic()
        while True:
            await asyncio.sleep(period_s)
            end = SYSTEM_CLOCK.monotonic()
            finished, self.second = self.second, Second()
            write(finished.line(begin, end))
            begin = end

    def _begin(self, due: float, arrival: Arrival) -> None:
        """Send it now if a client is free, else let it wait; what waits longer than an answer may take is not sent."""
        while self._waiting and due - self._waiting[0][0] > self._timeout_s:
            self._waiting.popleft()
            self.second.unsent += 1
        if self._in_flight >= self._clients:
            self._waiting.append((due, arrival))
            return
        self._in_flight += 1
        task = asyncio.create_task(self._client(due, arrival))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _client(self, due: float, arrival: Arrival) -> None:
        """One client: make this request, then whatever has been waiting."""
        await self._exchange(due, arrival)
        while self._waiting:
            await self._exchange(*self._waiting.popleft())
        self._in_flight -= 1

    async def _exchange(self, due: float, arrival: Arrival) -> None:
        self.second.sent += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                failed = await self._ask(arrival) >= 500
        except (OSError, TimeoutError, h11.ProtocolError):
            failed = True
        self.second.errors += failed
        self.second.latencies_ms.append(round((SYSTEM_CLOCK.monotonic() - due) * 1000, 3))

    async def _ask(self, arrival: Arrival) -> int:
        connection = await self._connection()
        try:
            return await connection.ask(arrival.route.method, arrival.target)
        finally:
            if connection.is_usable:
                self._idle.append(connection)
            else:
                connection.close()

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            connection.close()
        return Connection(self._host, *await asyncio.open_connection(self._host, self._port))


def loopback(url: str) -> tuple[str, int]:
    """Return address and port of a URL on this machine. Raises `ValueError` for any other."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        raise ValueError(f'found "{url}", expected a URL such as "http://127.0.0.1:8000"')
    port = parts.port or 80
    found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    addresses = [str(address[4][0]) for address in found]
    if not all(ipaddress.ip_address(address).is_loopback for address in addresses):
        raise ValueError(f'"{parts.hostname}" is {addresses[0]}: load is only driven against this machine')
    return addresses[0], port


def parse_route(text: str) -> Route:
    """Read `GET /path`, or a path alone. Raises `ValueError`."""
    method, _, target = text.strip().rpartition(" ")
    if not target.startswith("/"):
        raise ValueError(f'found "{text}", expected a method and a path, such as "GET /?user={{user}}"')
    return Route(method.strip() or "GET", target)


async def drive(options: argparse.Namespace) -> None:
    """Drive the load until its time is over or the parent is gone."""
    driver = Driver(*options.url, clients=options.clients, timeout_s=options.timeout)
    schedule = arrivals(options.rate, options.users, options.path or [Route("GET", "/")], options.seed)
    work = asyncio.create_task(driver.run(schedule, options.seconds))
    telling = asyncio.create_task(driver.tell(_print))
    orphaned = asyncio.create_task(_end_of_input())
    ended, _ = await asyncio.wait([work, telling, orphaned], return_when=asyncio.FIRST_COMPLETED)
    await driver.close()
    for task in ended:
        task.result()


def _print(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


async def _end_of_input() -> None:
    """Return when standard input ends: the parent closed it or died."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1024):
        pass


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="canary_sdk.rehearsal.load", description=__doc__)
    parser.add_argument("--url", type=_told(loopback), required=True, help="where it listens; loopback only")
    parser.add_argument("--path", type=_told(parse_route), action="append", help='"GET /?user={user}"; repeat for more')
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second (%(default)s)")
    parser.add_argument("--clients", type=int, default=64, help="connections at most (%(default)s)")
    parser.add_argument("--users", type=int, default=5_000, help="different users (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3_600.0, help="how long (%(default)s)")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds a client waits (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="which users come in which order (%(default)s)")
    return parser


def _told(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Let argparse show the sentence of a ValueError."""

    def read(text: str) -> T:
        try:
            return parse(text)
        except (ValueError, OSError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the load driver."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(drive(_options().parse_args(arguments)))


if __name__ == "__main__":
    main()
