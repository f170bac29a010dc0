"""Claims about changing what is stored: nothing is lost, nothing half done, everything can be explained and undone."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from canary_sdk import connect
from canary_sdk.core.events import FlagsChanged
from canary_sdk.errors import ConfigError, Refused, StaleWrite, UnknownFlag
from canary_sdk.ports import Action
from canary_sdk.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from canary_sdk import Canary
    from canary_sdk.core.events import Event
    from canary_sdk.ports import HistoryRow

CHECKOUT: Final = {"rollout": 5, "description": "new", "environments": {"staging": {"rollout": 100}}}


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Canary, Canary]]:
    """Two processes' clients of one store, which has one flag at revision 1."""
    url = f"sqlite:///{tmp_path}/canary.db"
    with connect(url, background=False) as mine, connect(url, background=False) as theirs:
        mine.apply({"flags": {"checkout": CHECKOUT}}, actor="deploy")
        yield mine, theirs


def fields(canary: Canary, flag_key: str = "checkout") -> Mapping[str, Any]:
    """Return the fields of a flag that hold now."""
    return canary.flags()[flag_key].fields


# --- update ---


def test_an_update_changes_the_named_fields_only(canary: Canary) -> None:
    """Fields are set and removed, the others stay, and it is served at once and by the next process."""
    canary.apply({"flags": {"checkout": CHECKOUT}})
    assert not canary.is_enabled("checkout", "u")
    assert canary.update("checkout", {"rollout": "100%", "description": None}) == 2
    assert fields(canary) == {"rollout": 100.0, "environments": {"staging": {"rollout": 100.0}}}
    assert canary.is_enabled("checkout", "u")


def test_an_update_of_an_environment_changes_its_overrides(canary: Canary) -> None:
    """An environment's fields are its own; one without any is gone; a new one may be begun."""
    canary.apply({"flags": {"checkout": CHECKOUT}})
    canary.update("checkout", {"rollout": None}, environment="staging")
    assert "environments" not in fields(canary)
    canary.update("checkout", {"rollout": 50, "enabled": False}, environment="test")
    assert fields(canary)["environments"] == {"test": {"rollout": 50.0, "enabled": False}}
    assert fields(canary)["rollout"] == 5.0
    assert not canary.status().flags["checkout"].flag.enabled


def test_an_update_is_checked_as_a_whole(canary: Canary) -> None:
    """Every mistake is named at once, those against other fields too, and then nothing was changed."""
    canary.apply({"flags": {"page": {"type": "integer", "default": 20, "maximum": 50}}})
    with pytest.raises(ConfigError) as caught:
        canary.update("page", {"rollout": 101, "rolout": 1, "default": 60})
    assert {problem.path for problem in caught.value.problems} == {
        ("flags", "page", name) for name in ("rollout", "rolout", "default")
    }
    with pytest.raises(ConfigError, match=r"environments\.s\.type"):
        canary.update("page", {"type": "string"}, environment="s")
    with pytest.raises(ConfigError, match="expected the argument `environment`"):
        canary.update("page", {"environments": {"s": {"rollout": 5}}})
    assert len(canary.history("page")) == 1


def test_an_unknown_flag_is_refused(canary: Canary) -> None:
    """A typo is named, with the flags that there are; a deleted flag is unknown."""
    canary.apply({"flags": {"checkout": {}, "search": {}}})
    canary.delete("search")
    for act in (
        partial(canary.update, "chekcout", {"rollout": 5}),
        partial(canary.update, "search", {"rollout": 5}),
        partial(canary.delete, "search"),
    ):
        with pytest.raises(UnknownFlag, match=r"there is no flag '.*' in this store; it has checkout$"):
            act()


def test_a_stale_write_is_refused_and_explained(two: tuple[Canary, Canary]) -> None:
    """Whoever looked before somebody else wrote is told who that was, when, why and which fields; nothing is merged."""
    mine, theirs = two
    seen = mine.flags()["checkout"].revision
    theirs.update("checkout", {"rollout": 25}, actor="grace", reason="looks good")
    with pytest.raises(StaleWrite) as caught:
        mine.update("checkout", {"description": "newer"}, expected=seen)
    assert (caught.value.expected, caught.value.found) == (1, 2)
    for words in ("checkout is at revision 2, and not at 1", "grace", "rollout 5 → 25", "looks good", "UTC"):
        assert words in str(caught.value)
    with pytest.raises(StaleWrite):
        mine.delete("checkout", expected=seen)
    assert fields(mine)["description"] == "new"
    assert mine.update("checkout", {"description": "newer"}, expected=2) == 3


def test_an_update_that_changes_nothing_leaves_no_trace(canary: Canary) -> None:
    """The revision stays, and the history has no row of it."""
    canary.apply({"flags": {"checkout": CHECKOUT}})
    assert canary.update("checkout", {"rollout": "5 %"}) == 1
    assert len(canary.history()) == 1


def _raise_by(url: str, name: str, times: int) -> None:
    """Change one field again and again, as another process would."""
    with connect(url, background=False) as canary:
        for number in range(1, times + 1):
            canary.update("checkout", {"rollout": number}, environment=name, actor=name)


@pytest.mark.timeout(120)  # three interpreters start
def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    """Several processes change several fields of one flag without looking: each change is there, and in the history."""
    url = f"sqlite:///{tmp_path}/canary.db"
    with connect(url, background=False) as canary:
        canary.apply({"flags": {"checkout": {}}})
        context = multiprocessing.get_context("spawn")
        writers = [context.Process(target=_raise_by, args=(url, f"env-{n}", 10)) for n in range(3)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert [writer.exitcode for writer in writers] == [0, 0, 0]
        assert fields(canary)["environments"] == {f"env-{n}": {"rollout": 10.0} for n in range(3)}
        rows = canary.history("checkout")
        assert [row.revision for row in rows] == list(range(31, 0, -1))


def test_threads_that_write_at_once_lose_nothing(canary: Canary) -> None:
    """The same within one process, over the store in memory."""
    canary.apply({"flags": {"checkout": {}}})

    def write(name: str) -> None:
        for number in range(1, 21):
            canary.update("checkout", {"rollout": number}, environment=name)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, ["a", "b", "c", "d"]))
    assert fields(canary)["environments"] == {name: {"rollout": 20.0} for name in "abcd"}
    assert canary.flags()["checkout"].revision == 81


# --- apply, and what operators changed ---


def test_applying_again_undoes_no_operator(canary: Canary) -> None:
    """The same file at every start leaves operators' changes alone: set, removed, in environments, and deletions."""
    config = {"flags": {"checkout": CHECKOUT, "search": {"rollout": 5}}}
    canary.apply(config)
    canary.update("checkout", {"rollout": 25, "description": None, "salt": "x"})
    canary.update("checkout", {"rollout": 1}, environment="staging")
    canary.delete("search")
    before, version = canary.export(), canary.apply({})
    assert canary.apply(config) == version
    assert canary.export() == before
    assert before["flags"] == {
        "checkout": {"rollout": 25.0, "salt": "x", "environments": {"staging": {"rollout": 1.0}}}
    }


def test_what_changed_in_the_file_takes_the_files_value(canary: Canary) -> None:
    """A field that the file changed holds as the file says, whatever operators did; the others stay theirs."""
    canary.apply({"flags": {"checkout": {"rollout": 5, "description": "a", "salt": "s"}}})
    canary.update("checkout", {"rollout": 25, "description": "mine", "salt": None})
    canary.apply({"flags": {"checkout": {"rollout": 10, "description": "a"}}})
    assert fields(canary) == {"rollout": 10.0, "description": "mine"}
    assert [str(each) for each in canary.flags()["checkout"].drift] == ["description 'a' → 'mine'"]


def test_a_file_that_catches_up_ends_the_difference(canary: Canary) -> None:
    """Once the file says what operators made of it, their change is the declaration, and a later file may change it."""
    canary.apply({"flags": {"checkout": {"rollout": 5}}})
    canary.update("checkout", {"rollout": 25})
    canary.apply({"flags": {"checkout": {"rollout": 25}}})
    assert canary.flags()["checkout"].drift == ()
    assert canary.history()[0].sentence == "declared as it was"
    canary.apply({"flags": {"checkout": {"rollout": 5}}})
    assert fields(canary) == {"rollout": 5.0}


def test_a_deleted_flag_comes_back_when_its_declaration_changes(canary: Canary) -> None:
    """A deletion holds against the same declaration; another one creates the flag anew, at a higher revision."""
    canary.apply({"flags": {"checkout": {"rollout": 5}}})
    canary.delete("checkout", reason="gone")
    assert not canary.is_enabled("checkout", "u")
    canary.apply({"flags": {"checkout": {"rollout": 5}}})
    assert canary.flags() == {}
    canary.apply({"flags": {"checkout": {"rollout": 100}}})
    assert canary.flags()["checkout"].revision == 3
    assert canary.is_enabled("checkout", "u")
    assert [row.action for row in canary.history("checkout")] == [Action.CREATED, Action.DELETED, Action.CREATED]


def test_force_takes_the_declaration_as_it_is(canary: Canary) -> None:
    """With force the file wins over every operator, deletions too; flags that it does not mention stay."""
    config = {"flags": {"checkout": {"rollout": 5}, "search": {}}}
    canary.apply({**config, "flags": {**config["flags"], "other": {}}})
    canary.update("checkout", {"rollout": 25, "salt": "x"})
    canary.update("other", {"rollout": 1})
    canary.delete("search")
    canary.apply(config, force=True)
    assert canary.export()["flags"] == {"checkout": {"rollout": 5.0}, "search": {}, "other": {"rollout": 1.0}}


def test_a_declaration_that_contradicts_an_operator_is_refused(canary: Canary, tmp_path: Path) -> None:
    """If the two together are no flag, nothing is applied: the file's line, the operator's field and the way out."""
    path = tmp_path / "canary.toml"
    path.write_text('[flags.page]\ntype = "integer"\ndefault = 20\nmaximum = 50\n[flags.other]\n')
    canary.apply({"flags": {"page": {"type": "integer", "default": 20, "maximum": 90}}})
    canary.update("page", {"default": 60})
    with pytest.raises(ConfigError) as caught:
        canary.apply(path)
    assert str(caught.value).startswith(f"{path}:3: flags.page.default: found default 60 and maximum 50")
    assert "somebody changed default: change that first, or apply with force" in str(caught.value)
    assert set(canary.flags()) == {"page"}
    canary.apply(path, force=True)
    assert fields(canary, "page")["default"] == 20


def test_a_type_may_change_where_the_values_do(canary: Canary) -> None:
    """True is not 1: a flag that becomes an integer gets the integer's default, though Python calls them equal."""
    canary.apply({"flags": {"page": {"default": True}}})
    canary.apply({"flags": {"page": {"type": "integer", "default": 1}}})
    assert json.dumps(fields(canary, "page"), sort_keys=True) == '{"default": 1, "type": "integer"}'


def test_documents_without_a_declared_part_are_their_own_declaration(tmp_path: Path) -> None:
    """What an older release stored loads, and is taken as declared: the file's changes take effect."""
    from canary_sdk.ports import Change
    from canary_sdk.stores.sqlite import SQLiteStore

    store = SQLiteStore(tmp_path / "canary.db")
    body = '{"fields":{"description":"a","rollout":5.0},"format":1}'
    store.commit([Change("flag", "checkout", body)], actor="", reason="", at=1.0)
    store.close()
    with connect(f"sqlite:///{tmp_path}/canary.db", background=False) as canary:
        assert canary.flags()["checkout"].drift == ()
        canary.apply({"flags": {"checkout": {"rollout": 6}}})
        assert fields(canary) == {"rollout": 6.0}


# --- history and undo ---


def test_the_history_tells_everything_newest_first(canary: Canary, clock: ManualClock) -> None:
    """Each change has who, when, why, where and from what to what; kill, release and reset stand in it too."""
    canary.apply({"flags": {"checkout": CHECKOUT, "search": {}}}, actor="deploy", reason="v1")
    clock.advance(5)
    canary.update("checkout", {"rollout": 50}, environment="staging", actor="ada", reason="try")
    canary.kill("checkout", reason="looks wrong", actor="bob")
    canary.release("checkout", actor="bob")
    rows = canary.history("checkout")
    assert [(row.actor, row.reason, row.environment, row.sentence) for row in rows] == [
        ("bob", "released", "test", "released"),
        ("bob", "looks wrong", "test", "killed"),
        ("ada", "try", "staging", "staging rollout 100 → 50"),
        ("deploy", "v1", "", "created"),
    ]
    assert rows[2].at == rows[3].at + 5 == clock.wall()
    assert [row.id for row in rows] == sorted((row.id for row in rows), reverse=True)
    assert canary.history("checkout", limit=2) == rows[:2]
    assert canary.history("checkout", limit=0) == canary.history("nobody") == ()
    assert {row.key for row in canary.history()} == {"checkout", "search"}


def test_undo_restores_what_a_change_replaced(canary: Canary) -> None:
    """Only the fields of that change go back; undoing the undo does it again; later changes of others stay."""
    canary.apply({"flags": {"checkout": {"rollout": 5}}})
    canary.update("checkout", {"rollout": 25, "salt": "x"})
    change = canary.history()[0].id
    canary.update("checkout", {"description": "d"})
    assert canary.undo(change, actor="ada") == 4
    assert fields(canary) == {"rollout": 5.0, "description": "d"}
    undo = canary.history()[0]
    assert (undo.actor, undo.reason) == ("ada", f"undo of change {change}")
    canary.undo(undo.id)
    assert fields(canary) == {"rollout": 25.0, "salt": "x", "description": "d"}


def test_undo_of_coming_and_going(canary: Canary) -> None:
    """To undo a creation is to delete, a deletion to create as it was; the file does not bring it back by itself."""
    config = {"flags": {"checkout": {"rollout": 5}}}
    canary.apply(config)
    created = canary.history()[0].id
    canary.undo(created)
    assert canary.flags() == {}
    canary.apply(config)
    assert canary.flags() == {}
    canary.undo(canary.history()[0].id)
    canary.update("checkout", {"rollout": 25})
    canary.delete("checkout")
    canary.undo(canary.history()[0].id)
    assert fields(canary) == {"rollout": 25.0}
    canary.apply(config)
    assert fields(canary) == {"rollout": 25.0}


def test_undo_of_an_apply_outlives_the_next_start(canary: Canary) -> None:
    """What a file changed may be undone, and applying that file again does not bring it back."""
    canary.apply({"flags": {"checkout": {"rollout": 5}}})
    canary.apply({"flags": {"checkout": {"rollout": 50}}})
    canary.undo(canary.history()[0].id)
    canary.apply({"flags": {"checkout": {"rollout": 50}}})
    assert fields(canary) == {"rollout": 5.0}


def test_undo_is_refused_where_it_would_undo_somebody_else(canary: Canary) -> None:
    """If the same fields were changed since, that change is named; with force it is done all the same."""
    canary.apply({"flags": {"checkout": {"rollout": 5}}})
    created = canary.history()[0].id
    canary.update("checkout", {"rollout": 25})
    change = canary.history()[0].id
    canary.update("checkout", {"rollout": 50}, actor="grace")
    with pytest.raises(
        StaleWrite, match=r"(?s)was changed again since\. Since then:.*grace: rollout 25 → 50"
    ) as caught:
        canary.undo(change)
    assert (caught.value.expected, caught.value.found) == (2, 3)
    with pytest.raises(StaleWrite):
        canary.undo(created)
    canary.undo(change, force=True)
    assert fields(canary) == {"rollout": 5.0}
    canary.undo(created, force=True)
    assert canary.flags() == {}
    canary.undo(change, force=True)
    assert fields(canary) == {"rollout": 5.0}


def test_undo_step_by_step(canary: Canary) -> None:
    """Changes of one field are undone one after another, the last one first."""
    canary.apply({"flags": {"checkout": {"rollout": 5}}})
    for percent in (25, 50, 100):
        canary.update("checkout", {"rollout": percent})
    steps = [row.id for row in canary.history()[:3]]
    for change in steps:
        canary.undo(change)
    assert fields(canary) == {"rollout": 5.0}


def test_what_cannot_be_undone_says_so(canary: Canary) -> None:
    """A kill, a change that is not there, and one that changed nothing that holds, are refused in words."""
    canary.apply({"flags": {"checkout": {"rollout": 5}}})
    canary.kill("checkout", reason="x")
    with pytest.raises(Refused, match=r"let go of it with release\('checkout'\)"):
        canary.undo(canary.history()[0].id)
    with pytest.raises(Refused, match="there is no change 999 in this store"):
        canary.undo(999)
    canary.update("checkout", {"rollout": 25})
    canary.apply({"flags": {"checkout": {"rollout": 25}}})
    with pytest.raises(Refused, match="there is nothing to undo"):
        canary.undo(canary.history()[0].id)


def test_undo_reaches_the_policy(canary: Canary) -> None:
    """The section `auto_rollback` is changed by files only; that can be undone, and stays so at the next start."""
    canary.apply({"auto_rollback": {"breaches": 3}})
    canary.apply({"auto_rollback": {"breaches": 5}})
    row = canary.history()[0]
    assert (row.kind, row.sentence) == ("auto_rollback", "breaches 3 → 5")
    canary.undo(row.id)
    canary.apply({"auto_rollback": {"breaches": 5}})
    assert canary.export()["auto_rollback"]["breaches"] == 3


# --- export ---


@pytest.mark.parametrize("name", ["all.toml", "all.json"])
def test_an_export_is_what_holds_and_can_be_applied(canary: Canary, tmp_path: Path, name: str) -> None:
    """What is exported, operators' changes and all, gives the same again in an empty store."""
    canary.apply({"flags": {"checkout": CHECKOUT, "gone": {}}, "auto_rollback": {"interval": "1s"}})
    canary.update("checkout", {"description": 'a "b"\n\\ü🐤\x00'})
    canary.delete("gone")
    path = tmp_path / name
    data = canary.export(path)
    read = {".toml": tomllib.loads, ".json": json.loads}[path.suffix]
    assert read(path.read_text(encoding="utf-8")) == data == canary.export()
    with connect("memory:", background=False) as other:
        other.apply(path)
        assert other.export() == data


def test_an_empty_store_exports_nothing(canary: Canary, tmp_path: Path) -> None:
    """An empty store is an empty configuration, which can be applied."""
    assert canary.export(tmp_path / "all.toml") == {"flags": {}}
    assert canary.apply(tmp_path / "all.toml") == 0


# --- what others are told ---


class Told:
    """Remembers which flags were said to have changed."""

    def __init__(self) -> None:
        self.changes: list[FlagsChanged] = []

    def handle(self, event: Event) -> None:
        """Remember the event, if it is one of these."""
        if isinstance(event, FlagsChanged):
            self.changes.append(event)


def test_a_changed_table_is_told_once(tmp_path: Path, clock: ManualClock) -> None:
    """Every process tells which flags changed, and only if they did: not at its start, not for others' fields."""
    url = f"sqlite:///{tmp_path}/canary.db"
    told = {name: Told() for name in ("production", "staging")}
    with (
        connect(url, environment="production", clock=clock, background=False) as production,
        connect(url, environment="staging", clock=clock, background=False) as staging,
    ):
        production.apply({"flags": {"checkout": {}, "search": {}}})
        for canary in (production, staging):
            canary.subscribe(told[canary.environment])
            canary.tick()
        production.update("checkout", {"rollout": 5}, environment="production")
        clock.advance(2)
        staging.tick()
        version = production.apply({"flags": {"checkout": {}, "search": {"rollout": 1}, "new": {}}})
        for _ in range(2):
            clock.advance(2)
            production.tick()
            staging.tick()
    assert [change.flag_keys for change in told["production"].changes] == [("checkout",), ("new", "search")]
    (change,) = told["staging"].changes
    assert (change.flag_keys, change.version) == (("new", "search"), version)
    assert change.sentence == f"new, search changed, as of version {version} of the store"


def test_a_changed_segment_changes_the_flags_that_refer_to_it(canary: Canary) -> None:
    """A flag is told to have changed when a segment of its rules did, or one that this refers to; no other flag is."""
    rules = [{"if": {"segment": "outer"}, "serve": "on"}]
    segments = {"outer": {"if": {"segment": "inner"}}, "inner": {"if": {"attribute": "plan", "in": ["pro"]}}}
    canary.apply({"flags": {"checkout": {"rules": rules}, "search": {}}, "segments": segments})
    told = Told()
    canary.subscribe(told)
    canary.tick()
    canary.apply({"segments": {"inner": {"if": {"attribute": "plan", "in": ["pro", "free"]}}}})
    canary.tick()
    assert [change.flag_keys for change in told.changes] == [("checkout",)]


# --- everything at once, against a naive model ---

KEYS: Final = st.sampled_from(["a", "b"])
PATCHES: Final = st.dictionaries(
    st.sampled_from(["rollout", "enabled", "description"]), st.none() | st.integers(0, 2), min_size=1
).map(lambda patch: {name: value if value is None else VALUES[name][value] for name, value in patch.items()})
VALUES: Final[dict[str, list[Any]]] = {
    "rollout": [0.0, 5.0, 25.0],
    "enabled": [True, False, True],
    "description": ["", "x", "y"],
}
ENVIRONMENTS: Final = st.sampled_from([None, "staging"])
WRONG: Final = st.sampled_from([{"rollout": 101}, {"rolout": 1}, {"enabled": 1}, {"rollout": 5, "type": "int"}])
WHO: Final = st.integers(0, 1)

Flat = dict[str, Any]


def flat(table: Mapping[str, Any] | None) -> Flat | None:
    """Return a flag's fields as `name` or `environment/name`: all that the model knows of them."""
    if table is None:
        return None
    own = {name: value for name, value in table.items() if name != "environments"}
    others = table.get("environments", {}).items()
    return own | {f"{environment}/{name}": value for environment, each in others for name, value in each.items()}


def replayed(rows: tuple[HistoryRow, ...]) -> dict[str, Flat]:
    """Return the flags that the history leads to, from nothing."""
    flags: dict[str, Flat] = {}
    for row in reversed(rows):
        fields = flags.setdefault(row.key, {})
        if row.action is Action.CREATED:
            assert not fields
        for each in row.differences:
            name = "/".join(each.path[1:]) if each.environment else each.path[0]
            assert fields.pop(name, None) == each.before
            if each.after is not None:
                fields[name] = each.after
        if row.action is Action.DELETED:
            assert not flags.pop(row.key)
    return flags


class Changes(RuleBasedStateMachine):
    """Two clients of one store, and a dictionary that says what must be there."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        url = f"sqlite:///{self.folder.name}/canary.db"
        self.clients = [connect(url, background=False, clock=ManualClock()) for _ in range(2)]
        self.now: dict[str, Flat] = {}
        self.declared: dict[str, Flat] = {}
        self.revisions: dict[str, int] = {}
        self.changes: dict[int, tuple[str, Flat | None, Flat | None]] = {}

    def teardown(self) -> None:
        """Close both, and leave nothing behind."""
        for client in self.clients:
            client.close()
        self.folder.cleanup()

    def became(self, key: str, after: Flat | None, declared: Flat | None = None) -> None:
        """Note what a flag has become; it counts as a change if anything of it is another."""
        before, was = self.now.get(key), self.declared.get(key)
        declared = was if declared is None else declared
        assert declared is not None
        if (before, was) == (after, declared):
            return
        self.now.pop(key, None)
        if after is not None:
            self.now[key] = after
        self.declared[key] = declared
        self.revisions[key] = self.revisions.get(key, 0) + 1
        newest = self.clients[0].history(key, limit=1)[0]
        assert newest.revision == self.revisions[key]
        self.changes[newest.id] = key, before, after

    @initialize()
    def first(self) -> None:
        """Begin with one flag."""
        self.apply(0, {"a": ({"rollout": 5.0}, {"rollout": 25.0})}, force=False)

    @rule(
        who=WHO,
        flags=st.dictionaries(KEYS, st.tuples(PATCHES, PATCHES), max_size=2),
        force=st.sampled_from([False, False, True]),
    )
    def apply(self, who: int, flags: dict[str, tuple[Flat, Flat]], *, force: bool) -> None:
        """Declare some flags: each field that differs from its last declaration takes effect, and no other."""
        config: dict[str, Any] = {}
        for key, (own, staging) in flags.items():
            config[key] = {name: value for name, value in own.items() if value is not None}
            if overrides := {name: value for name, value in staging.items() if value is not None}:
                config[key]["environments"] = {"staging": overrides}
        self.clients[who].apply({"flags": config}, force=force)
        for key, table in config.items():
            new, was, now = flat(table) or {}, self.declared.get(key), self.now.get(key)
            if was is None or force:
                self.became(key, new, new)
            elif now is None:
                self.became(key, None if new == was else new, new)
            else:
                names = new.keys() | was.keys() | now.keys()
                source = {name: new if new.get(name) != was.get(name) else now for name in names}
                self.became(key, {name: source[name][name] for name in names if name in source[name]}, new)

    @rule(who=WHO, key=KEYS, patch=PATCHES, environment=ENVIRONMENTS, age=st.sampled_from([None, 0, 0, 1, 2, -1]))
    def update(self, who: int, key: str, patch: Flat, environment: str | None, age: int | None) -> None:
        """Change fields, having looked at the present revision, at an older one, at one that never was, or at none."""
        revision = self.revisions.get(key, 0)
        expected = None if age is None else revision - age
        attempt = partial(self.clients[who].update, key, patch, environment=environment, expected=expected)
        if revision and age:
            with pytest.raises(StaleWrite) as caught:
                attempt()
            assert (caught.value.found, caught.value.expected) == (revision, expected)
        elif key not in self.now:
            with pytest.raises(UnknownFlag):
                attempt()
        else:
            prefix = f"{environment}/" if environment else ""
            after = {**self.now[key], **{prefix + name: value for name, value in patch.items()}}
            returned = attempt()
            self.became(key, {name: value for name, value in after.items() if value is not None})
            assert returned == self.revisions[key]

    @rule(who=WHO, key=KEYS, patch=PATCHES, wrong=WRONG)
    def update_wrongly(self, who: int, key: str, patch: Flat, wrong: Flat) -> None:
        """Change something right and something wrong together: nothing of it may happen."""
        with pytest.raises(ConfigError if key in self.now else UnknownFlag):
            self.clients[who].update(key, patch | wrong)

    @rule(who=WHO, key=KEYS, wrong=WRONG)
    def apply_wrongly(self, who: int, key: str, wrong: Flat) -> None:
        """Declare a good flag and a bad one: neither may be there afterwards."""
        with pytest.raises(ConfigError):
            self.clients[who].apply({"flags": {key: {"rollout": 99}, "z": wrong}}, force=True)

    @rule(who=WHO, key=KEYS)
    def delete(self, who: int, key: str) -> None:
        """Delete a flag, if it is there."""
        if key in self.now:
            assert self.clients[who].delete(key) == self.revisions[key] + 1
            self.became(key, None)

    @rule(who=WHO, which=st.integers(0, 30), force=st.booleans())
    def undo(self, who: int, which: int, *, force: bool) -> None:
        """Undo one of the changes; without force, only if nobody has changed the same fields since."""
        change = sorted(self.changes)[-1 - which % len(self.changes)]
        key, before, after = self.changes[change]
        now = self.now.get(key)
        client = self.clients[who]
        if before == after:
            with pytest.raises(Refused, match="nothing to undo"):
                client.undo(change, force=force)
            return
        names = {
            name for name in {**(before or {}), **(after or {})} if (before or {}).get(name) != (after or {}).get(name)
        }
        if before is None or after is None or now is None:
            holds, result = now == after, before
        else:
            holds = all(now.get(name) == after.get(name) for name in names)
            result = {name: value for name, value in now.items() if name not in names}
            result |= {name: value for name, value in before.items() if name in names}
        if holds or force:
            client.undo(change, force=force)
            self.became(key, result)
        else:
            with pytest.raises(StaleWrite):
                client.undo(change)

    @invariant()
    def both_see_what_must_be_there(self) -> None:
        """Each client finds the flags of the model, at its revisions and declarations."""
        for client in self.clients:
            flags = client.flags()
            assert {key: flat(flag.fields) for key, flag in flags.items()} == self.now
            assert {key: flag.revision for key, flag in flags.items()} == {key: self.revisions[key] for key in self.now}
            assert all(flat(flag.declared) == self.declared[key] for key, flag in flags.items())

    @invariant()
    def the_history_explains_it(self) -> None:
        """Replaying the history from nothing gives the present flags; each change of the model is one row of it."""
        rows = self.clients[0].history(limit=10_000)
        assert replayed(rows) == self.now
        assert {row.id for row in rows} == set(self.changes)

    @invariant()
    def it_can_be_moved(self) -> None:
        """An export into an empty store exports alike."""
        data = self.clients[1].export()
        with connect("memory:", background=False) as other:
            other.apply(data)
            assert other.export() == data


TestChanges = Changes.TestCase
TestChanges.settings = settings(max_examples=100, stateful_step_count=20, deadline=None)
pytest.mark.timeout(120)(TestChanges)
