"""Claims about every store that lives on a server: what happens between processes, and when the server is away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import pytest

from canary_sdk import connect
from canary_sdk.clock import SYSTEM_CLOCK
from canary_sdk.errors import CanaryError, StaleWrite, StoreError
from canary_sdk.ports import Change, Pushing
from canary_sdk.testing import ManualClock
from tests.forks import exit_code, forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from canary_sdk import Canary
    from tests.stores.places import Place, RemoteStore

AT: Final = 1_750_000_000.0
TURNS: Final = 1_000
"""How often a test looks, a hundredth of a second apart, before it gives up."""
FLAG: Final = {"flags": {"checkout": {"rollout": 100}}}


@pytest.fixture
def store(place: Place) -> Iterator[RemoteStore]:
    """A store at a place of its own."""
    with closing(place.open()) as opened:
        yield opened


@pytest.fixture
def ours(place: Place) -> Iterator[Place]:
    """A place on a server that a test may stop; it runs again afterwards."""
    if not place.server.command:
        pytest.skip("this server is not ours to stop")
    yield place
    assert place.server.process is not None
    if place.server.process.poll() is None:
        place.server.signal(signal.SIGCONT)
    else:
        place.server.start()


def put(store: RemoteStore, key: str, body: str, expected: int | None = None) -> int:
    """Commit one document."""
    return store.commit([Change("flag", key, body, expected)], actor="ada", reason="", at=AT)


def bodies(store: RemoteStore) -> dict[str, str]:
    """Return what is stored, by key."""
    return {document.key: document.body for document in store.load().documents}


def uses(store: RemoteStore) -> list[Callable[[], object]]:
    """Return every use of a store."""
    return [store.version, store.load, store.audit, lambda: put(store, "b", "1")]


def refusal(act: Callable[[], object]) -> str:
    """Return the message with which the store refuses."""
    with pytest.raises(StoreError) as caught:
        act()
    assert not isinstance(caught.value, StaleWrite)
    return str(caught.value)


def eventually(act: Callable[[], object]) -> None:
    """Try until it is so."""
    for _ in range(TURNS):
        if act():
            return
        SYSTEM_CLOCK.pause(0.01)
    pytest.fail("it did not come to pass")


# --- processes ---

COUNTING: Final = """
import sys
from canary_sdk.errors import StaleWrite
from canary_sdk.ports import Change
from tests.stores.places import PLACES
store = PLACES[sys.argv[1]](None, sys.argv[2]).open(timeout_s=10.0)
for _ in range(int(sys.argv[3])):
    while True:
        old = next((each for each in store.load().documents if each.key == "counter"), None)
        body, revision = (str(int(old.body) + 1), old.revision) if old else ("1", 0)
        try:
            store.commit([Change("flag", "counter", body, revision)], actor="", reason="", at=0.0)
        except StaleWrite:
            continue
        break
store.close()
"""


def kind(place: Place) -> str:
    """Return the key of the place's kind in `PLACES`."""
    return type(place).__name__.removesuffix("Place").lower()


def test_two_processes_write_at_the_same_time(place: Place, store: RemoteStore) -> None:
    """Two processes that begin the store and count up by compare-and-set at the same time lose no count."""
    command = [sys.executable, "-W", "error", "-c", COUNTING, kind(place), place.url, "25"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writers = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    complaints = [writer.communicate(timeout=60)[1] for writer in writers]
    assert [(writer.returncode, said) for writer, said in zip(writers, complaints, strict=True)] == [(0, ""), (0, "")]
    assert bodies(store) == {"counter": "50"}
    assert len(store.audit(limit=1_000)) == store.version() == 50


def test_processes_that_begin_a_store_at_the_same_time(place: Place) -> None:
    """Children that all find nothing begin the store together, and every commit is there."""
    gate, go = os.pipe()

    def begin(number: int) -> None:
        os.read(gate, 1)
        with closing(place.open(timeout_s=10.0)) as store:
            put(store, f"flag-{number}", "1")

    children = [forked(lambda number=number: begin(number)) for number in range(4)]  # type: ignore[misc]
    os.write(go, b"." * 4)
    assert [exit_code(pid) for pid in children] == [0] * 4
    os.close(gate)
    os.close(go)
    with closing(place.open()) as store:
        assert len(bodies(store)) == store.version() == 4


def test_killed_writers_lose_nothing_they_acknowledged(place: Place, store: RemoteStore) -> None:
    """After writers were killed in the middle of writing, every acknowledged commit is there, whole and audited."""
    acknowledged = 0
    for round_ in range(6):
        ear, mouth = os.pipe()

        def write(first: int = acknowledged, mouth: int = mouth) -> None:
            mine = place.open(timeout_s=10.0)
            for number in range(first + 1, first + 10_000):
                changes = [Change("flag", key, f"{number}") for key in ("left", "right")]
                mine.commit(changes, actor="", reason=f"{number}", at=AT)
                os.write(mouth, b".")

        pid = forked(write)
        os.close(mouth)
        for _ in range(round_ % 3 + 1):
            acknowledged += len(os.read(ear, 1))
        for _ in range(round_ * 9_973):  # a little later in the next commit each time
            pass
        os.kill(pid, signal.SIGKILL)
        assert exit_code(pid) == -signal.SIGKILL
        while more := os.read(ear, 100):
            acknowledged += len(more)
        os.close(ear)
        put(store, "after", f"{round_}")  # behind whatever the server still had to do for the dead
        found = bodies(store)
        assert found["left"] == found["right"]
        assert acknowledged <= int(found["left"]) <= acknowledged + 1
        assert len(store.audit(kind="flag", key="left", limit=100_000)) == int(found["left"])
        acknowledged = int(found["left"])


# --- forks ---


def test_child_and_parent_both_go_on_after_a_fork(store: RemoteStore) -> None:
    """A store in use is used on by parent and child, and each hears of what the other does."""
    put(store, "before", "1")
    listening(store)

    def child() -> None:
        put(store, "child", "1")
        listening(store)
        put(store, "child", "2")
        eventually(store.has_news)
        listening(store)  # what the child takes in, the parent must hear all the same

    assert exit_code(forked(child)) == 0
    assert store.has_news()
    put(store, "parent", "1")
    assert bodies(store) == {"before": "1", "child": "2", "parent": "1"}


def test_a_child_that_ends_cuts_nothing(store: RemoteStore, place: Place) -> None:
    """A child that only closes what it inherited, or nothing at all, leaves the connections of its parent whole."""
    put(store, "before", "1")
    listening(store)
    assert exit_code(forked(store.close)) == exit_code(forked(lambda: None)) == 0
    assert not store.has_news()
    with closing(place.open()) as other:
        put(other, "a", "1")
    eventually(store.has_news)


def test_a_fork_in_the_middle_of_a_use_hangs_nobody(store: RemoteStore) -> None:
    """Children forked while another thread commits without a pause commit as well, and nothing is lost."""
    put(store, "thread", "0")
    stop = False

    def commit_on() -> int:
        number = 0
        while not stop:
            number += 1
            put(store, "thread", f"{number}")
        return number

    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(commit_on)
        children = [forked(lambda n=n: put(store, f"child-{n}", "1")) for n in range(4)]  # type: ignore[misc]
        codes = [exit_code(pid) for pid in children]
        stop = True
        last = thread.result(30)
    assert codes == [0] * 4
    assert bodies(store) == {"thread": f"{last}"} | {f"child-{number}": "1" for number in range(4)}


# --- a server that is away ---


def test_a_server_that_was_restarted_is_found_again(ours: Place, store: RemoteStore) -> None:
    """While the server is stopped every use says so, naming it; afterwards everything is there and goes on."""
    put(store, "a", "1")
    store.version()
    ours.server.stop()
    for use in uses(store):
        said = refusal(use)
        assert store.name in said  # type: ignore[attr-defined]
        assert "see that the server runs and can be reached" in said
    assert not store.has_news()
    ours.server.start()
    assert bodies(store) == {"a": "1"}
    assert put(store, "a", "2") == 2


def test_a_server_that_stands_still_holds_nobody(ours: Place) -> None:
    """Every use of a paused server ends with an error soon after the timeout; when it goes on, so does the store."""
    with closing(ours.open(timeout_s=0.3)) as store, closing(ours.open(timeout_s=0.3)) as fresh:
        put(store, "a", "1")
        store.version()
        ours.server.signal(signal.SIGSTOP)
        for use in (*uses(store), *uses(fresh)):
            begun = SYSTEM_CLOCK.monotonic()
            assert "the server runs, is overloaded or cut off" in refusal(use)
            assert SYSTEM_CLOCK.monotonic() - begun < 5.0
        assert not store.has_news()
        ours.server.signal(signal.SIGCONT)
        eventually(lambda: _answers(store))
        assert bodies(store)["a"] == "1"


def _answers(store: RemoteStore) -> bool:
    try:
        return store.version() >= 1
    except StoreError:
        return False


def test_cut_connections_are_no_failure(place: Place, store: RemoteStore) -> None:
    """Connections that somebody cut while nobody used them are opened again, and nothing is raised."""
    for number in range(3):
        put(store, "a", f"{number}")
        assert bodies(store) == {"a": f"{number}"}
        assert place.cut() > 0
        assert [bool(use()) for use in uses(store)[:3]] == [True] * 3
        assert place.cut() > 0


def test_a_store_that_was_emptied_is_not_taken_for_a_new_one(place: Place, store: RemoteStore) -> None:
    """When all that was stored disappears, every use says so; nobody is served an empty store in its place."""
    put(store, "a", "1")
    store.version()
    place.empty()
    for use in uses(store) * 2:
        assert "restart to begin with" in refusal(use)
    with closing(place.open()) as fresh:
        assert fresh.version() == 0
    for use in (store.version, store.load, lambda: put(store, "b", "1")):
        assert "restart to begin with" in refusal(use)


# --- word of a change ---


def listening(store: RemoteStore) -> None:
    """Make a store listen, and take in what it has heard so far."""
    assert isinstance(store, Pushing)
    for _ in range(TURNS):
        store.version()
        if not store.has_news():
            return
        SYSTEM_CLOCK.pause(0.001)
    pytest.fail("it never falls silent")


def test_word_comes_once_for_a_change(place: Place, store: RemoteStore) -> None:
    """A listening store hears of another's commit, until it has asked for the version; and of nothing else."""
    with closing(place.open()) as other:
        listening(store)
        assert not store.has_news()
        put(other, "a", "1")
        eventually(store.has_news)
        listening(store)
        put(other, "a", "1")  # changes nothing
        with pytest.raises(StaleWrite):
            put(other, "a", "2", expected=7)
        assert other.version() == store.version() == 1
        assert not store.has_news()


def test_no_word_before_the_first_look(store: RemoteStore) -> None:
    """A store that nobody has used yet has no news, and opens nothing to find out."""
    assert not store.has_news()


@pytest.fixture
def watcher(place: Place) -> Iterator[Canary]:
    """A Canary whose clock stands still, so that its poll never falls due by itself."""
    with connect(place.url, environment="test", clock=ManualClock(), background=False) as canary:
        for _ in range(5):
            canary.tick()
            canary._clock.advance(1.0)  # type: ignore[attr-defined]
        canary.tick()
        canary.tick()
        yield canary


def served(canary: Canary) -> bool:
    """Take a turn; return whether the flag is on."""
    canary.tick()
    return canary.is_enabled("checkout", "user-1")


APPLYING: Final = "import sys, canary_sdk; canary_sdk.connect(sys.argv[1], background=False).apply({})"


def test_a_change_of_another_process_is_pushed(place: Place, watcher: Canary) -> None:
    """What another process applies is served here although no poll falls due: only word of it can have brought it."""
    assert not served(watcher)
    command = APPLYING.replace("{}", repr(FLAG))
    subprocess.run(
        [sys.executable, "-c", command, place.url],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    eventually(lambda: served(watcher))


def test_polling_finds_what_word_was_lost_of(place: Place, watcher: Canary) -> None:
    """A Canary that has been made deaf serves what it knows until the poll falls due, and then the change."""
    store: Any = watcher._repository._store  # type: ignore[attr-defined]
    place.deafen(store)
    with connect(place.url, environment="test", background=False) as other:
        other.apply(FLAG)
    for _ in range(20):
        assert not served(watcher)
    watcher._clock.advance(1.0)  # type: ignore[attr-defined]
    assert served(watcher)


def test_word_comes_again_after_the_connection_was_cut(place: Place, watcher: Canary) -> None:
    """When its connections are cut a Canary looks at once, opens new ones, and hears through them; nothing is stale."""
    place.cut()
    with connect(place.url, environment="test", background=False) as other:
        other.apply(FLAG)
        eventually(lambda: served(watcher))
        assert watcher.status().stale == ""
        for _ in range(3):
            watcher.tick()
            watcher._clock.advance(1.0)  # type: ignore[attr-defined]
        watcher.tick()
        watcher.tick()
        other.update("checkout", {"rollout": 0})
        eventually(lambda: not served(watcher))


def test_a_store_that_is_away_is_tried_once_a_second(ours: Place, watcher: Canary) -> None:
    """While the server is away the ticks between two polls ask for nothing; afterwards the change is served."""
    ours.server.stop()
    watcher._clock.advance(1.0)  # type: ignore[attr-defined]
    watcher.tick()
    assert "see that the server runs" in watcher.status().stale
    counted = sum(watcher.failures.counts.values())
    for _ in range(20):
        watcher.tick()
    assert sum(watcher.failures.counts.values()) == counted
    ours.server.start()
    with connect(ours.url, environment="test", background=False) as other:
        other.apply(FLAG)
    watcher._clock.advance(1.0)  # type: ignore[attr-defined]
    assert served(watcher)
    assert watcher.status().stale == ""


# --- what an operator is told ---

SECRET: Final = "hush#hush/hush"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "redis", "rediss"])
@pytest.mark.parametrize(
    "form",
    ["{scheme}://ada:{secret}@127.0.0.1:1/0", "{scheme}://ada:{secret}@[127/0", "{scheme}://:{secret}@127.0.0.1:x/0"],
)
@pytest.mark.parametrize("secret", [SECRET, "hush%23hush%2Fhush", "hush%hush\u2100"])
def test_no_password_is_ever_said(scheme: str, form: str, secret: str) -> None:
    """Neither an error, nor what led to it, nor how a store shows itself holds the password, or a part of it."""
    pytest.importorskip("psycopg")
    pytest.importorskip("redis")

    def use() -> None:
        client = connect(form.format(scheme=scheme, secret=secret), background=False)
        store = client._repository._store  # type: ignore[attr-defined]
        assert "hush" not in repr(store)
        store.version()

    with pytest.raises(CanaryError) as caught:
        use()
    error: BaseException | None = caught.value
    while error is not None:
        assert "hush" not in f"{error}{error!r}", error
        error = None if error.__suppress_context__ and error.__cause__ is None else error.__cause__ or error.__context__


def test_a_url_of_nobody_keeps_its_password() -> None:
    """A URL with a scheme that no store answers to is refused without showing what may be a password."""
    with pytest.raises(CanaryError, match=r"no store answers to 'mysql:…'") as caught:
        connect(f"mysql://ada:{SECRET}@host/db")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(("scheme", "driver", "extra"), [("postgresql", "psycopg", "postgres"), ("redis",) * 3])
def test_a_missing_driver_names_its_extra(scheme: str, driver: str, extra: str) -> None:
    """Without the driver, connecting says what to install; everything else works."""
    script = (
        f"import sys; sys.modules[{driver!r}] = None\n"
        "from canary_sdk import CanaryError, connect\n"
        "connect('memory:', background=False).apply({'flags': {'a': {}}})\n"
        f"try: connect('{scheme}://ada:hush@host/0')\n"
        "except CanaryError as error: print(error)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert f"pip install 'canary-rollout[{extra}]'" in done.stdout
    assert "hush" not in done.stdout


def test_half_a_character_is_refused(store: RemoteStore) -> None:
    """Text that cannot be encoded is refused by its own error, and the store goes on."""
    assert "holds half a character" in refusal(lambda: put(store, "a", "\ud800"))
    assert put(store, "a", "1") == 1
