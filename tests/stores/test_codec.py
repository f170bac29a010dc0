"""Claims about stored documents, and about what applying a configuration writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canary_sdk.core.breaker import AutoRollback, Breaker, State
from canary_sdk.core.config.configuration import auto_rollback_fields, parse_declaration, parse_flag
from canary_sdk.errors import ConfigError, StaleWrite, StoreError
from canary_sdk.ports import Change, Document
from canary_sdk.stores import codec
from canary_sdk.stores.codec import Held
from canary_sdk.stores.memory import MemoryStore
from canary_sdk.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from canary_sdk.core.config.configuration import Declaration
    from canary_sdk.core.config.fields import Fields
    from canary_sdk.ports import FlagStore

AT: Final = 1_750_000_000.0
TRIPPED: Final = Breaker(
    "new-checkout", State.OPEN, breaches=3, reason="p95 „zu hoch“", tripped_at=AT, killed=True, killed_at=AT + 0.5
)


def a_document(kind: str, key: str, body: str, revision: int = 1) -> Document:
    """Return a stored document."""
    return Document(kind, key, body, revision)


def declared(fields: Fields) -> str:
    """Return the body of a document that holds what was declared."""
    return codec.encode(Held(fields, fields))


# --- documents ---


def test_bodies_are_what_they_always_were() -> None:
    """The text of documents that older releases wrote is written today, byte for byte."""
    flag = parse_flag("f", {"rollout": "5%", "description": "ü", "environments": {"s": {"enabled": False}}})
    assert declared(flag.fields) == (
        '{"fields":{"description":"ü","environments":{"s":{"enabled":false}},"rollout":5.0},"format":1}'
    )
    assert declared(auto_rollback_fields(AutoRollback(probe_percent=1.0, notify=("slack",)))) == (
        '{"fields":{"breaches":3,"enabled":true,"interval":30.0,"min_samples":50,"notify":["slack"],"probe":1.0,'
        '"probe_after":300.0,"timeout":120.0,"tolerance":"10%"},"format":1}'
    )
    assert codec.encode_breaker(Breaker("f")) == (
        '{"fields":{"breaches":0,"flag_key":"f","incident":false,"kill_reason":"","killed":false,"killed_at":null,'
        '"overdue":false,"passes":0,"reason":"","recovered":false,"state":"CLOSED","tripped_at":null},"format":1}'
    )


@pytest.mark.parametrize(
    ("held", "body"),
    [
        (Held({"rollout": 5.0}, {"rollout": 1.0}), '{"declared":{"rollout":1.0},"fields":{"rollout":5.0},"format":1}'),
        (Held(None, {"rollout": 1.0}), '{"declared":{"rollout":1.0},"fields":null,"format":1}'),
        (Held({}, {}), '{"fields":{},"format":1}'),
        (Held({"default": 1}, {"default": True}), '{"declared":{"default":true},"fields":{"default":1},"format":1}'),
    ],
)
def test_what_was_declared_is_kept_where_it_differs(held: Held, body: str) -> None:
    """A document keeps what was declared beside what holds, where these are not the same, and reads both again."""
    assert codec.encode(held) == body
    assert codec.decode(a_document("flag", "f", body)) == held


def test_a_deleted_document_holds_nothing() -> None:
    """What was deleted is no flag and no policy, and no damage either."""
    body = '{"declared":{},"fields":null,"format":1}'
    assert codec.decode_flag(a_document("flag", "f", body)) is None
    assert codec.decode_policy(a_document("auto_rollback", "default", body)) is None
    assert codec.stored_flag(a_document("flag", "f", body)) is None


def test_breaker_comes_back() -> None:
    """A breaker is read from its own document as the same value."""
    key = codec.state_key("eu/production", "new-checkout")
    assert codec.decode_breaker(a_document(codec.BREAKER, key, codec.encode_breaker(TRIPPED))) == TRIPPED


def test_policy_comes_back() -> None:
    """A policy is read from its own document as the same value."""
    policy = AutoRollback(enabled=False, interval_s=0.25, tolerance=0.12345, probe_percent=0.5, notify=("a", "b"))
    body = declared(auto_rollback_fields(policy))
    assert codec.decode_policy(a_document(codec.AUTO_ROLLBACK, codec.DEFAULT, body)) == policy


DECODERS: Final[Mapping[str, Callable[[Document], object]]] = {
    codec.FLAG: codec.decode_flag,
    codec.AUTO_ROLLBACK: codec.decode_policy,
    codec.BREAKER: codec.decode_breaker,
}


@pytest.mark.parametrize("kind", DECODERS)
def test_newer_format_is_refused(kind: str) -> None:
    """A document of a newer format is refused with the format found and the newest that is known."""
    document = a_document(kind, "e/f", '{"format":2,"fields":{},"more":[]}')
    with pytest.raises(StoreError, match=rf"^{kind} e/f was written in format 2 .* knows formats up to 1: upgrade"):
        DECODERS[kind](document)


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "null",
        "5",
        "{}",
        '{"format":1}',
        '{"format":"1","fields":{}}',
        '{"format":0,"fields":{}}',
        '{"format":1,"fields":[]}',
        '{"format":1,"fields":null}',
        '{"format":1,"declared":{}}',
        '{"format":1,"fields":{"state":"AJAR","rollout":101,"tolerance":"x"}}',
        "[" * 100_000,
    ],
)
def test_damage_is_refused(kind: str, body: str) -> None:
    """A document that is not whole is refused by its kind, key and revision, whatever is wrong with it."""
    with pytest.raises(StoreError, match=rf"^{kind} e/f, revision 7, is damaged: "):
        DECODERS[kind](a_document(kind, "e/f", body, 7))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("breaches", "3"),
        ("killed", "yes"),
        ("reason", None),
        ("tripped_at", "yesterday"),
        ("flag_key", "other"),
        ("flag_key", 5),
        ("state", None),
    ],
)
def test_damaged_breaker_is_refused(field: str, value: object) -> None:
    """A breaker with a field of the wrong type, or of another flag, is refused rather than believed."""
    fields = {**TRIPPED.to_dict(), field: value}
    with pytest.raises(StoreError, match="is damaged"):
        codec.decode_breaker(a_document(codec.BREAKER, "e/new-checkout", json.dumps({"format": 1, "fields": fields})))


# --- what is written ---


def apply(store: FlagStore, data: object) -> int:
    """Apply a configuration as the package does."""
    changes = codec.changes_for(parse_declaration(data), store.load())
    return store.commit(changes, actor="ada", reason="", at=AT)


def flags_of(store: FlagStore) -> dict[str, object]:
    """Return what the store holds, decoded."""
    return {document.key: DECODERS[document.kind](document) for document in store.load().documents}


def test_applying_twice_writes_once() -> None:
    """Applying the same again wants no change, in whatever spelling."""
    store = MemoryStore()
    apply(store, {"flags": {"a": {"rollout": 5}}, "auto_rollback": {"interval": "30s"}})
    declaration = parse_declaration({"flags": {"a": {"rollout": "5%"}}, "auto_rollback": {"interval": 30}})
    assert codec.changes_for(declaration, store.load()) == []


def test_only_differences_are_written() -> None:
    """What is new is to be made, what differs is to be changed at its revision, all else is left alone."""
    store = MemoryStore()
    apply(store, {"flags": {"a": {"rollout": 5}, "b": {}, "c": {}}, "auto_rollback": {}})
    apply(store, {"flags": {"a": {"rollout": 6}}})
    declaration = parse_declaration({"flags": {"a": {"rollout": 7}, "b": {}, "d": {}}})
    assert codec.changes_for(declaration, store.load()) == [
        Change("flag", "a", declared(declaration.flags["a"].fields), expected=2),
        Change("flag", "d", declared(declaration.flags["d"].fields), expected=0),
    ]


def test_an_edit_in_between_is_not_lost() -> None:
    """A change that was planned on an older snapshot is refused after somebody else's edit."""
    store = MemoryStore()
    apply(store, {"flags": {"a": {"rollout": 5}}})
    changes = codec.changes_for(parse_declaration({"flags": {"a": {"rollout": 6}}}), store.load())
    apply(store, {"flags": {"a": {"rollout": 0}}})
    with pytest.raises(StaleWrite):
        store.commit(changes, actor="grace", reason="", at=AT)


def test_newer_documents_are_not_overwritten() -> None:
    """Applying to a document that a newer release wrote is refused; damage may be repaired by applying."""
    store = MemoryStore()
    documents = [Change("flag", "a", '{"format":2}'), Change("flag", "b", "{")]
    store.commit(documents, actor="", reason="", at=AT)
    with pytest.raises(StoreError, match="newer release"):
        apply(store, {"flags": {"a": {}, "b": {}}})
    apply(store, {"flags": {"b": {}}})
    assert store.load().documents[0].body == '{"format":2}'
    assert codec.decode_flag(store.load().documents[1]) == parse_flag("b", {})


# --- properties ---

PERCENTS: Final = st.integers(0, 100_000).map(lambda thousandths: thousandths / 1_000)
SLOS: Final = st.lists(st.sampled_from(["p95 < 500ms", "errors<1%", "throughput > 50/s", "call.p99 < 1s"]), unique=True)
SHARED: Final[dict[str, st.SearchStrategy[Any]]] = {
    "description": st.text(max_size=10).filter(lambda text: text.isprintable()),
    "rollout": PERCENTS | PERCENTS.map("{}%".format),
    "enabled": st.booleans(),
    "salt": st.text("ab ü🐤", min_size=1, max_size=5).filter(str.strip),
    "slos": SLOS,
}
VALUES: Final[dict[str, st.SearchStrategy[Any]]] = {
    "boolean": st.booleans(),
    "integer": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9),
    "string": st.text(max_size=10),
}


@st.composite
def flags(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the table of a flag without a mistake."""
    kind = draw(st.sampled_from(sorted(VALUES)))
    fields = {"candidate": VALUES[kind], **SHARED}
    table = draw(st.fixed_dictionaries({"type": st.just(kind), "default": VALUES[kind]}, optional=fields))
    overrides = st.fixed_dictionaries({}, optional=fields | {"default": VALUES[kind]}).filter(bool)
    environments = st.dictionaries(ENVIRONMENTS, overrides, min_size=1)
    return table | draw(st.just({}) | st.fixed_dictionaries({"environments": environments}))


ENVIRONMENTS: Final = st.sampled_from(["staging", "production", "eu.west-1"])
GOOD: Final = st.fixed_dictionaries(
    {"flags": st.dictionaries(st.sampled_from(["a", "b", "c", "d.e"]), flags(), max_size=3)},
    optional={"auto_rollback": st.fixed_dictionaries({}, optional={"tolerance": PERCENTS.map("{}%".format)})},
)
MISTAKES: Final = st.sampled_from(
    [{"rolout": 1}, {"rollout": 101}, {"type": "int"}, {"slos": ["p95"]}, {"environments": {"s": {"enabled": 1}}}]
)
BAD: Final = st.builds(lambda good, wrong: {"flags": {**good["flags"], "z": wrong}}, GOOD, MISTAKES)


@given(flags())
def test_flags_come_back(table: dict[str, Any]) -> None:
    """Any flag that can be declared is read from its own document as the same value, and written alike again."""
    flag = parse_flag("f", table)
    body = declared(flag.fields)
    again = codec.decode_flag(a_document(codec.FLAG, "f", body))
    assert again == flag
    assert declared(again.fields) == body
    assert {name: again.for_environment(name) for name in ("staging", "production", "none")} == {
        name: flag.for_environment(name) for name in ("staging", "production", "none")
    }


@settings(max_examples=50)
@given(st.lists(GOOD | BAD, max_size=5))
def test_store_is_as_before_or_as_declared(sequence: list[dict[str, Any]]) -> None:
    """A refused configuration leaves the store as it was; an accepted one leaves it exactly as declared."""
    check_sequence(MemoryStore(), sequence)


@settings(max_examples=10, deadline=None)
@given(st.lists(GOOD | BAD, max_size=3))
def test_file_is_as_before_or_as_declared(tmp_path_factory: pytest.TempPathFactory, sequence: list[Any]) -> None:
    """The same for a store in a file."""
    store = SQLiteStore(_fresh(tmp_path_factory))
    check_sequence(store, sequence)
    store.close()


def check_sequence(store: FlagStore, sequence: list[dict[str, Any]]) -> None:
    """Apply one configuration after another, and hold the store against a plain dictionary."""
    expected: dict[str, object] = {}
    for data in sequence:
        before = store.load(), store.audit(limit=1_000)
        try:
            apply(store, data)
        except ConfigError:
            assert (store.load(), store.audit(limit=1_000)) == before
        else:
            expected |= _declared(parse_declaration(data))
        assert flags_of(store) == expected


def _declared(declaration: Declaration) -> dict[str, object]:
    policy = declaration.auto_rollback
    return {**declaration.flags, **({} if policy is None else {codec.DEFAULT: policy})}


def _fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "canary.db"
