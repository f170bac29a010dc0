"""The load driver against a real server: it keeps its schedule, counts honestly, stays on this machine, and ends."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from itertools import islice
from typing import TYPE_CHECKING

import h11
import pytest

from canary_sdk.rehearsal.load import Arrival, Driver, Route, Second, arrivals, loopback, main, parse_route
from canary_sdk.rehearsal.traffic import count, parse_second

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

ROUTE = Route("GET", "/?user={user}")


class Server:
    """A small HTTP server that remembers what it was asked."""

    def __init__(self, answer: Callable[[int], int | None] = lambda _: 200) -> None:
        """Answer the n-th request with a status, or never if that is None."""
        self.asked: list[str] = []
        self.connections = 0
        self.port = 0
        self._answer = answer
        self._tasks: set[asyncio.Task[None] | None] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side is done with it."""
        self.connections += 1
        self._tasks.add(asyncio.current_task())
        try:
            await self._converse(reader, writer)
        except (asyncio.CancelledError, OSError):
            writer.transport.abort()
        finally:
            writer.close()

    async def end(self) -> None:
        """Hang up on everybody."""
        tasks = [task for task in self._tasks if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER)
        status: int | None = None
        while data := await reader.read(65_536):
            http.receive_data(data)
            while isinstance(event := http.next_event(), h11.Request | h11.EndOfMessage):
                if isinstance(event, h11.Request):
                    self.asked.append(event.target.decode())
                    status = self._answer(len(self.asked) - 1)
                elif status is None:
                    await asyncio.Event().wait()
                else:
                    response = h11.Response(status_code=status, headers=[("content-length", "2")])
                    writer.write((http.send(response) or b"") + (http.send(h11.Data(data=b"ok")) or b""))
                    writer.write(http.send(h11.EndOfMessage()) or b"")
                    http.start_next_cycle()


@contextlib.asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Server]:
    """Serve on a free port."""
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await server.end()


@pytest.fixture
async def drivers() -> AsyncIterator[Callable[..., Driver]]:
    """Make drivers that let go of everything when the test is over."""
    made: list[Driver] = []

    def make(port: int, *, clients: int, timeout_s: float) -> Driver:
        made.append(Driver("127.0.0.1", port, clients=clients, timeout_s=timeout_s))
        return made[-1]

    yield make
    for driver in made:
        await driver.close()


def at_once(number: int, users: int = 3) -> Iterator[Arrival]:
    """So many requests that are all due now."""
    return iter([Arrival(0.0, f"user-{index % users}", ROUTE) for index in range(number)])


async def settled(driver: Driver, answered: int) -> Second:
    """Wait until so many requests have an outcome."""
    while len(driver.second.latencies_ms) < answered:  # noqa: ASYNC110 - the driver tells nobody
        await asyncio.sleep(0.001)
    return driver.second


async def test_every_request_is_made_and_counted(drivers: Callable[..., Driver]) -> None:
    """What was due was sent, with the user in the path, and every answer is counted once."""
    async with serving(Server()) as server:
        driver = drivers(server.port, clients=4, timeout_s=5)
        await driver.run(at_once(20), seconds=1)
        second = await settled(driver, 20)
    assert (second.sent, second.errors, second.unsent) == (20, 0, 0)
    assert server.asked[:3] == ["/?user=user-0", "/?user=user-1", "/?user=user-2"]


async def test_connections_are_kept_and_bounded(drivers: Callable[..., Driver]) -> None:
    """Never more clients than asked for, and each keeps its connection for the next request."""
    async with serving(Server()) as server:
        driver = drivers(server.port, clients=4, timeout_s=5)
        await driver.run(at_once(40), seconds=1)
        await settled(driver, 40)
    assert server.connections <= 4


async def test_server_errors_and_silence_are_errors(drivers: Callable[..., Driver]) -> None:
    """A 500 and an answer that never comes are errors; a 404 is none."""
    async with serving(Server(lambda number: (200, 500, 404, None)[number])) as server:
        driver = drivers(server.port, clients=1, timeout_s=0.05)
        for _ in range(4):
            await driver.run(at_once(1), seconds=1)
            await settled(driver, len(driver.second.latencies_ms) + 1)
    assert (driver.second.errors, len(driver.second.latencies_ms)) == (2, 4)


async def test_a_server_that_is_not_there_is_an_error(drivers: Callable[..., Driver]) -> None:
    """A refused connection is counted, and stops nothing."""
    async with serving(Server()) as server:
        port = server.port
    driver = drivers(port, clients=1, timeout_s=1)
    await driver.run(at_once(2), seconds=1)
    assert (await settled(driver, 2)).errors == 2


async def test_a_slow_server_cannot_hide_its_slowness(drivers: Callable[..., Driver]) -> None:
    """With one client that is held up, those who waited for it count their waiting from when they were due."""
    async with serving(Server(lambda number: None if number == 0 else 200)) as server:
        driver = drivers(server.port, clients=1, timeout_s=0.1)
        await driver.run(at_once(3), seconds=1)
        second = await settled(driver, 3)
    assert min(second.latencies_ms) >= 100


def test_the_same_seed_makes_the_same_traffic() -> None:
    """Users, paths and times are drawn from the seed alone, at the rate asked for."""
    routes = [Route("GET", "/a"), Route("POST", "/b?u={user}")]
    first, second = (list(islice(arrivals(50, 10, routes, seed=7), 200)) for _ in range(2))
    assert first == second
    assert first != list(islice(arrivals(50, 10, routes, seed=8), 200))
    assert 3.9 < first[-1].due < 4.1
    assert [arrival.due for arrival in first] == sorted(arrival.due for arrival in first)
    assert {arrival.route for arrival in first} == set(routes)


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1:80", "http://10.0.0.1/", "https://127.0.0.1/", "127.0.0.1:80", "ftp://localhost"]
)
def test_only_this_machine_is_ever_asked(url: str) -> None:
    """An address that is not loopback is refused, before anything is sent."""
    with pytest.raises(ValueError, match=r"this machine|expected a URL"):
        loopback(url)


def test_this_machine_is_accepted() -> None:
    """Loopback by number and by name."""
    assert loopback("http://127.0.0.1:8123") == ("127.0.0.1", 8123)
    assert loopback("http://localhost:8123")[1] == 8123


def test_a_route_is_a_method_and_a_path() -> None:
    """GET when the method is left out; what is no path is refused."""
    assert parse_route("POST /x") == Route("POST", "/x")
    assert parse_route("/x") == Route("GET", "/x")
    with pytest.raises(ValueError, match="expected a method and a path"):
        parse_route("x")


def test_a_refused_address_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The command says why and leaves with a usage error."""
    with pytest.raises(SystemExit) as left:
        main(["--url", "http://192.0.2.1:80"])
    assert left.value.code == 2
    assert "only driven against this machine" in capsys.readouterr().err


def test_a_line_is_read_back_as_it_was_counted() -> None:
    """What one process writes the other one reads, to the last figure."""
    line = Second(sent=3, errors=1, unsent=2, latencies_ms=[3.0, 1.0, 2.0]).line(10.0, 11.0)
    second = parse_second(line)
    assert (second.sent, second.errors, second.unsent, second.times) == (3, 1, 2, (0.001, 0.002, 0.003))
    tally = count([second, second])
    assert (tally.requests, tally.errors, tally.seconds, tally.quantiles[0.5]) == (6, 2, 2.0, 0.002)


async def start(port: int, *arguments: str) -> subprocess.Popen[str]:
    """Start the command as a process of its own."""
    words = [sys.executable, "-m", "canary_sdk.rehearsal.load", "--url", f"http://127.0.0.1:{port}", *arguments]
    return await asyncio.to_thread(
        subprocess.Popen, words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


async def finished(process: subprocess.Popen[str], close: bool) -> tuple[str, str]:
    """Wait for its end, after closing its input if asked."""

    def wait() -> tuple[str, str]:
        assert process.stdin is not None
        if close:
            process.stdin.close()
            process.stdin = None
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        assert process.stdout is not None
        assert process.stderr is not None
        with process:
            return process.stdout.read(), process.stderr.read()

    return await asyncio.to_thread(wait)


async def test_the_command_writes_a_line_a_second_and_ends_in_time() -> None:
    """One JSON line a second, about as many requests as asked for, and its own end."""
    async with serving(Server()) as server:
        process = await start(server.port, "--rate", "50", "--seconds", "2.3", "--users", "5")
        told, errors = await finished(process, close=False)
    seconds = [parse_second(line) for line in told.splitlines()]
    assert (process.returncode, errors, len(seconds)) == (0, "", 2)
    assert 20 <= sum(second.sent for second in seconds) <= 120


async def test_the_command_ends_with_its_parent() -> None:
    """When its input ends, which is what the death of its parent looks like, it ends as well."""
    async with serving(Server()) as server:
        process = await start(server.port, "--rate", "20")
        while not server.asked:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
        _, errors = await finished(process, close=True)
    assert (process.returncode, errors) == (0, "")
